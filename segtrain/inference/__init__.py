"""From a checkpoint to masks."""

from segtrain.inference.predictor import Predictor, load_predictor

__all__ = ["Predictor", "load_predictor"]

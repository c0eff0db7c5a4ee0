"""Metrics: integer counts on the device (`counts`, `calibration`) and scores as pure functions of them."""

from segtrain.metrics.calibration import CalibrationProbe, image_nll
from segtrain.metrics.counts import SegmentationMetrics, Threshold, image_counts, logit_cuts, predict_ids
from segtrain.metrics.mean import Mean
from segtrain.metrics.scores import dataset_scores, image_scores, rates, score
from segtrain.metrics.seen import SeenClasses

__all__ = [
    "CalibrationProbe",
    "Mean",
    "SeenClasses",
    "SegmentationMetrics",
    "Threshold",
    "dataset_scores",
    "image_counts",
    "image_nll",
    "image_scores",
    "logit_cuts",
    "predict_ids",
    "rates",
    "score",
]

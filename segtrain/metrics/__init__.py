"""Metrics: integer counts on the device (`counts`) and scores as pure functions of them (`scores`)."""

from segtrain.metrics.counts import SegmentationMetrics, image_counts, predict_ids
from segtrain.metrics.scores import dataset_scores, image_scores, rates, score

__all__ = [
    "SegmentationMetrics",
    "dataset_scores",
    "image_counts",
    "image_scores",
    "predict_ids",
    "rates",
    "score",
]

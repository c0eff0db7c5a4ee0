"""Data: a layout's listing or `synthetic` gives a DataSource; `datasets` and `sampler` make it loadable."""

from segtrain.data.datasets import EvaluationDataset, SegmentationDataset, collate
from segtrain.data.sampler import EvaluationBatches, ResumableSampler
from segtrain.data.source import DataSource, Examples

__all__ = [
    "DataSource",
    "EvaluationBatches",
    "EvaluationDataset",
    "Examples",
    "ResumableSampler",
    "SegmentationDataset",
    "collate",
]

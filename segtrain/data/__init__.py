"""Data: layouts (`folder`, `stack`, `synthetic`) give a DataSource; `datasets` and `sampler` make it loadable."""

from segtrain.data.datasets import SegmentationDataset, collate
from segtrain.data.masks import read_mask
from segtrain.data.readers import READERS, read_image
from segtrain.data.reading import Reading
from segtrain.data.sampler import EvaluationBatches, ResumableSampler
from segtrain.data.source import DataSource, Examples

__all__ = [
    "READERS",
    "DataSource",
    "EvaluationBatches",
    "Examples",
    "Reading",
    "ResumableSampler",
    "SegmentationDataset",
    "collate",
    "read_image",
    "read_mask",
]

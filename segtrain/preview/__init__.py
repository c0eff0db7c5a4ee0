"""What augmentation and mixing make of training samples, as a picture."""

from segtrain.preview.samples import Stages, is_traced, stages, trace_samples
from segtrain.preview.sheet import Cell
from segtrain.preview.views import compare_sheet, image_cell, overlay_cell, sample_cell, sample_sheet, side_of

__all__ = [
    "Cell",
    "Stages",
    "compare_sheet",
    "image_cell",
    "is_traced",
    "overlay_cell",
    "sample_cell",
    "sample_sheet",
    "side_of",
    "stages",
    "trace_samples",
]

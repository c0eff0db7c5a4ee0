"""How well outlines agree: boundary IoU, Hausdorff distance and average surface distance of one image, in pixels.

On the host, with SciPy: distances to a contour are not sums over pixels, so these scores are means over images.
Ignored pixels belong to neither mask. Pixels outside the image count as outside of the mask, as in the papers'
code, so an object that the image cuts off has a contour there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from segtrain.task import Task

Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.integer]
Values = npt.NDArray[np.float64]
RATIO = 0.02  # width of the boundary, of the image's diagonal (Cheng et al. 2021, section 4)


class Surface(NamedTuple):
    """Scores of one class on one image.

    boundary_iou: in [0, 1].
    hd95, asd: in pixels; 0 is perfect.

    All are NaN where the class is in neither mask. Where it is in one of them only, boundary_iou is 0 and the
    distances are the image's diagonal, the largest there can be: a missed object is not hidden, and means stay finite.
    """

    boundary_iou: float
    hd95: float
    asd: float


def image_surfaces(target: Ids, predicted: Ids, task: Task) -> list[Surface]:
    """Scores of each class on one image.

    Args:
        target: ids, [H, W] or in multilabel [K, H, W].
        predicted: of predict_ids, the same shape.
        task: mode, classes, ignore index.
    """
    valid = target != task.ignore_index
    if task.mode == "multilabel":
        layers = zip(target, predicted, valid, strict=True)
        return [surface((t == 1) & v, (p == 1) & v) for t, p, v in layers]
    classes = range(task.num_classes) if task.exclusive else (1,)
    return [surface((target == c) & valid, (predicted == c) & valid) for c in classes]


def surface(truth: Mask, predicted: Mask) -> Surface:
    """Scores of two masks [H, W]."""
    present = int(truth.any()), int(predicted.any())
    height, width = truth.shape
    if sum(present) < 2:
        diagonal = math.hypot(height - 1, width - 1)
        return Surface(0.0, diagonal, diagonal) if any(present) else Surface(math.nan, math.nan, math.nan)
    boundary = max(1, round(RATIO * math.hypot(height, width)))
    rows, columns = (np.flatnonzero((truth | predicted).any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # nothing outside of it matters
    masks = np.pad(truth[box], 1), np.pad(predicted[box], 1)
    there, back = surface_distances(*masks)
    return Surface(boundary_iou(*masks, boundary), percentile_distance(there, back), mean_distance(there, back))


def boundary_iou(truth: Mask, predicted: Mask, width: int) -> float:
    """IoU of what lies within `width` of its own mask's contour (Cheng et al. 2021, eq. 3).

    Their code erodes `width` times by 3 x 3 pixels; that is the chessboard distance to the outside.

    Args:
        truth: [H, W] with a margin of False.
        predicted: the same.
        width: in pixels, at least 1.
    """
    one, other = (mask & (ndimage.distance_transform_cdt(mask, "chessboard") <= width) for mask in (truth, predicted))
    return float((one & other).sum() / (one | other).sum())


def surface_distances(truth: Mask, predicted: Mask) -> tuple[Values, Values]:
    """Distance of each contour pixel of the truth to the nearest one of the prediction, and the reverse.

    A contour consists of the mask's pixels with one of their four neighbours outside; distances are Euclidean,
    between pixel centres. (The same in MedPy and MONAI.)
    """
    one, other = (mask & ~ndimage.binary_erosion(mask) for mask in (truth, predicted))
    return ndimage.distance_transform_edt(~other)[one], ndimage.distance_transform_edt(~one)[other]


def percentile_distance(there: Values, back: Values, percentile: float = 95.0) -> float:
    """The larger of the two directed percentiles, as MONAI and Maier-Hein et al. 2024 have it; 100 is Hausdorff's.

    (MedPy's hd95 is the percentile of both together, which is smaller where one mask has a long extra contour.)
    """
    return float(max(np.percentile(there, percentile), np.percentile(back, percentile)))


def mean_distance(there: Values, back: Values) -> float:
    """Average symmetric surface distance: the mean over the pixels of both contours (Heimann et al. 2009)."""
    return float((there.sum() + back.sum()) / (len(there) + len(back)))

"""Shapes to pixels, by one rule: a pixel belongs to a shape when its centre lies inside.

The centre of the pixel in row r and column c is (x, y) = (c + .5, r + .5), as in COCO, labelme and YOLO files, where
(0, 0) is the corner of the image. Inside is even-odd: a ring that runs back along itself cuts a hole. A centre
exactly on an edge belongs to the shape on its right, else below: shapes that share an edge share no pixel and leave
none out.

Written here because drawing routines answer another question: OpenCV's and Pillow's polygons take in every pixel that
the outline touches, which makes an object of 10 pixels across 16 to 21 % too large (docs/data.md has the figures).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]
GROUND = 0  # id of the pixels where no object is


class Patch(NamedTuple):
    """The pixels of a shape: True within a rectangle of the image, False outside of it."""

    top: int
    left: int
    bits: Bits

    def of(self, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The part of an array [H, W] that the rectangle covers, as a view."""
        height, width = self.bits.shape
        return plane[self.top : self.top + height, self.left : self.left + width]


class Layers(NamedTuple):
    """Where each id is, for labels whose objects may overlap.

    ids: one for each plane, none twice.
    planes: [L, H, W]; a pixel that is in none of them has the id GROUND.
    """

    ids: Sequence[int]
    planes: Bits


def union(patches: Sequence[Patch], size: tuple[int, int]) -> Patch:
    """The pixels of at least one of the patches; size is (height, width) of the image."""
    if len(patches) == 1:
        return patches[0]
    plane = np.zeros(size, dtype=bool)
    for patch in patches:
        patch.of(plane)[patch.bits] = True
    return Patch(0, 0, plane)


def polygon(points: Points, size: tuple[int, int]) -> Patch:
    """The pixels whose centre is inside a closed ring.

    Each edge toggles, in each row whose centre it crosses, all pixels to the right of the crossing.

    Args:
        points: (x, y) of the corners, [P, 2], in pixels; the last is joined to the first.
        size: (height, width) of the image; what reaches outside is cut off.
    """
    top, left, height, width = _frame(points.min(0), points.max(0), size)
    ends = np.roll(points, -1, axis=0)
    down = (points[:, 1] <= ends[:, 1])[:, None]
    upper, lower = np.where(down, points, ends), np.where(down, ends, points)  # both directions cross alike
    first = np.clip(np.ceil(upper[:, 1] - 0.5), top, top + height).astype(np.int64)
    last = np.clip(np.ceil(lower[:, 1] - 0.5), top, top + height).astype(np.int64)
    edge = np.repeat(np.arange(len(points)), last - first)
    start = np.cumsum(last - first) - (last - first)
    row = np.arange(len(edge)) - start[edge] + first[edge]
    (x, y), (run, rise) = upper[edge].T, (lower - upper)[edge].T
    crossing = x + (row + 0.5 - y) * (run / rise)
    column = np.clip(np.ceil(crossing - 0.5), left, left + width).astype(np.int64)
    toggles = np.bincount((row - top) * (width + 1) + column - left, minlength=height * (width + 1))
    odd = np.bitwise_and(np.cumsum(toggles.reshape(height, width + 1), axis=1), 1).astype(bool)
    return Patch(top, left, odd[:, :width])


def disc(centre: Points, radius: float, size: tuple[int, int]) -> Patch:
    """The pixels whose centre is at most a radius away from a point (x, y); what reaches outside is cut off."""
    top, left, height, width = _frame(centre - radius, centre + radius, size)
    x, y = np.arange(left, left + width) + 0.5, np.arange(top, top + height) + 0.5
    return Patch(top, left, np.hypot(x[None] - centre[0], y[:, None] - centre[1]) <= radius)


def _frame(low: Points, high: Points, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the pixels between two points (x, y), as far as they are in the image."""
    left, top = (int(value) for value in np.clip(np.floor(low), 0, (size[1], size[0])))
    right, bottom = (int(value) for value in np.clip(np.ceil(high), 0, (size[1], size[0])))
    return top, left, bottom - top, right - left

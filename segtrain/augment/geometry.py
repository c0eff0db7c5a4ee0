"""Shapes: any number of ops becomes one map from output to input pixels, and one look-up in image and mask.

An op is a pullback: it says where in the image before it a pixel of the image after it was. Those that are matrices are
multiplied; where one bends, the map is made on a lattice of LATTICE pixels, and evenly between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
import numpy.typing as npt

from segtrain.augment.colors import Pixels
from segtrain.windows import Size, Window

Floats = npt.NDArray[np.floating]
LookUp = Callable[[Pixels, int, float], Pixels]  # (array [H, W, ...], interpolation, value outside) -> the same, moved
Pullback = Callable[[Floats], Floats]  # (x, y) of output pixels [..., 2] to those of input pixels
LATTICE = 4  # pixels: bends over some ten pixels are followed within a tenth of one
EXACT = 1e-6
TRANSPOSED = 4  # channels: most that OpenCV, which is ten times as fast as NumPy, can transpose


@dataclass(frozen=True)
class Move:
    """One op: a matrix [3, 3] on (x, y, 1), or a bend; either maps output to input pixels."""

    matrix: Floats | None = None
    bend: Pullback | None = None

    def pull(self, points: Floats) -> Floats:
        """(x, y) of output pixels [..., 2] to those of input pixels."""
        if self.bend is not None:
            return self.bend(points)
        assert self.matrix is not None
        moved = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.asarray(moved[..., :2] / moved[..., 2:])


def combine(moves: Sequence[Move]) -> Move:
    """One move that does what these do one after another."""
    matrices = [move.matrix for move in moves if move.matrix is not None]
    if len(matrices) == len(moves):
        return Move(reduce(np.matmul, matrices))

    def bend(points: Floats) -> Floats:
        for move in reversed(moves):
            points = move.pull(points)
        return points

    return Move(bend=bend)


@dataclass(frozen=True)
class Map:
    """Where each pixel of an output is taken from: by a matrix, or point by point.

    Args:
        size: (height, width) of the output.
        matrix: see Move.
        points: (x, y) of the input, float32 [H, W] each, where there is no matrix.
    """

    size: Size
    matrix: Floats | None = None
    points: tuple[Floats, Floats] | None = None

    @property
    def reach(self) -> Window:
        """The window that holds all pixels that are looked at; it may lie outside of the image."""
        if self.points is None:
            height, width = self.size
            corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float64)
            columns, rows = Move(self.matrix).pull(corners).T
        else:
            columns, rows = self.points
        left, top = (math.floor(float(axis.min()) + EXACT) for axis in (columns, rows))
        right, bottom = (math.ceil(float(axis.max()) - EXACT) for axis in (columns, rows))
        return Window(top, left, bottom - top + 1, right - left + 1)

    def within(self, top: int, left: int) -> Map:
        """The same look-up in a part of the input that begins at this row and column."""
        if self.points is not None:
            return Map(self.size, points=(self.points[0] - np.float32(left), self.points[1] - np.float32(top)))
        shift = Move(np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]]))
        return Map(self.size, combine([shift, Move(self.matrix)]).matrix)


def map_of(move: Move, size: Size) -> Map:
    """The look-up that carries a move out on crops of (height, width)."""
    return Map(size, move.matrix) if move.matrix is not None else Map(size, points=coordinates(move, size))


def warp(image: Pixels, mask: Pixels, where: Map, ignore_index: int) -> tuple[Pixels, Pixels]:
    """Look up image (evenly between pixels) and mask (at the nearest pixel).

    Args:
        image: [h, w, C].
        mask: [(K,) h, w].
        where: each pixel of the output is taken from.
        ignore_index: of mask area that has no input.

    Returns:
        [H, W, C] and [(K,) H, W]; what has no input is 0 in the image.
    """
    look_up = _by_points(where.points) if where.points is not None else _by_matrix(where, image.shape[:2])
    moved = look_up(image, cv2.INTER_LINEAR, 0).reshape(*where.size, image.shape[2])
    if mask.ndim == 2:
        return moved, look_up(mask, cv2.INTER_NEAREST, ignore_index)
    return moved, np.stack([look_up(plane, cv2.INTER_NEAREST, ignore_index) for plane in mask])


def quarter(matrix: Floats, size: Size) -> tuple[bool, bool, bool] | None:
    """Whether rows, columns are mirrored and then swapped, if the matrix does exactly that; else None."""
    height, width = size
    (a, b, c), (d, e, f), last = rounded = [[round(value) for value in row] for row in matrix.tolist()]
    signs = (abs(a), abs(b), abs(d), abs(e))
    if last != [0, 0, 1] or signs not in ((1, 0, 0, 1), (0, 1, 1, 0)) or np.abs(matrix - rounded).max() > EXACT:
        return None
    columns, rows, swapped = a + b < 0, d + e < 0, a == 0
    fits = (c, f) == (columns * (width - 1), rows * (height - 1)) and (height == width or not swapped)
    return (rows, columns, swapped) if fits else None


def turn(array: Pixels, turned: tuple[bool, bool, bool]) -> Pixels:
    """Mirror rows, mirror columns, swap them, of an array [H, W, ...]."""
    rows, columns, swapped = turned
    if rows or columns:
        array = np.asarray(cv2.flip(array, int(columns) - int(rows and columns) * 2)).reshape(array.shape)
    if swapped and math.prod(array.shape[2:]) <= TRANSPOSED:
        return np.asarray(cv2.transpose(array)).reshape(array.shape)
    return np.ascontiguousarray(array.swapaxes(0, 1)) if swapped else array


def coordinates(move: Move, size: Size) -> tuple[Floats, Floats]:
    """(x, y) of the input of each output pixel, float32 [H, W] each."""
    rows, columns = (np.arange(-1, -(-side // LATTICE) + 1) * LATTICE + (LATTICE - 1) / 2 for side in size)
    lattice = move.pull(np.stack(np.meshgrid(columns, rows), axis=-1)).astype(np.float32)
    dense = cv2.resize(lattice, None, fx=LATTICE, fy=LATTICE, interpolation=cv2.INTER_LINEAR)
    x, y = cv2.split(dense[LATTICE : LATTICE + size[0], LATTICE : LATTICE + size[1]])
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def _by_matrix(where: Map, size: Size) -> LookUp:
    assert where.matrix is not None
    turned = quarter(where.matrix, size) if size == where.size else None
    if turned is not None:
        return lambda array, how, outside: turn(array, turned)
    straight = bool(np.array_equal(where.matrix[2], (0, 0, 1)))
    transform, matrix = (cv2.warpAffine, where.matrix[:2]) if straight else (cv2.warpPerspective, where.matrix)
    keep, shape = cv2.BORDER_CONSTANT, where.size[::-1]

    def look_up(array: Pixels, how: int, outside: float) -> Pixels:
        flags = how | cv2.WARP_INVERSE_MAP
        return np.asarray(transform(array, matrix, shape, flags=flags, borderMode=keep, borderValue=outside))

    return look_up


def _by_points(points: tuple[Floats, Floats]) -> LookUp:
    def look_up(array: Pixels, how: int, outside: float) -> Pixels:
        return np.asarray(cv2.remap(array, *points, how, borderMode=cv2.BORDER_CONSTANT, borderValue=outside))

    return look_up

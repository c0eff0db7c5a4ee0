"""The ops of shape: each takes the (height, width) of the crop and what was drawn, and gives a move."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random

import cv2
import numpy as np

from segtrain.augment.geometry import Floats, Move, combine
from segtrain.augment.parameters import Drawn
from segtrain.windows import Size


def _around_middle(size: Size, forward: Floats, right: float = 0, down: float = 0) -> Move:
    """A matrix [2, 2] that moves points of the image around its middle, which itself goes to the right and down."""
    (a, b), (c, d) = forward.tolist()
    x, y, scale = (size[1] - 1) / 2, (size[0] - 1) / 2, a * d - b * c
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale  # its inverse; by hand, for NumPy takes its time
    to_x, to_y = x + right, y + down
    return Move(np.array([[a, b, x - a * to_x - b * to_y], [c, d, y - c * to_x - d * to_y], [0.0, 0.0, 1.0]]))


def hflip(size: Size) -> Move:
    """Mirror left and right."""
    return _around_middle(size, np.diag([-1.0, 1.0]))


def vflip(size: Size) -> Move:
    """Mirror top and bottom."""
    return _around_middle(size, np.diag([1.0, -1.0]))


def turn_by_quarters(size: Size, seed: int) -> Move:
    """90, 180 or 270 degrees."""
    return _around_middle(size, _quarters(1 + seed % 3))


def d4(size: Size, seed: int) -> Move:
    """One of the eight symmetries of a square."""
    return _around_middle(size, _quarters(seed % 4) @ np.diag([1.0, -1.0 if seed // 4 % 2 else 1.0]))


def _quarters(number: int) -> Floats:
    return np.asarray(np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), number))


def rotate(size: Size, degrees: float) -> Move:
    """Counter-clockwise on the screen, where y points down."""
    return _around_middle(size, _rotation(degrees))


def _rotation(degrees: float) -> Floats:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])


def scale(size: Size, factor: float) -> Move:
    """Zoom around the middle."""
    return _around_middle(size, np.diag([factor, factor]))


def stretch(size: Size, factor: float) -> Move:
    """Width by the root of the factor, height by its inverse, so that areas stay."""
    return _around_middle(size, _stretching(factor))


def _stretching(factor: float) -> Floats:
    return np.diag([math.sqrt(factor), 1 / math.sqrt(factor)])


def translate(size: Size, x: float, y: float) -> Move:
    """To the right and down."""
    return _around_middle(size, np.eye(2), x, y)


def shear(size: Size, x: float, y: float) -> Move:
    """Columns slanted by x degrees, then rows by y degrees."""
    return _around_middle(size, _shearing(x, y))


def _shearing(x: float, y: float) -> Floats:
    along_x, along_y = math.tan(math.radians(x)), math.tan(math.radians(y))
    return np.asarray(np.array([[1.0, 0.0], [along_y, 1.0]]) @ np.array([[1.0, along_x], [0.0, 1.0]]))


def affine(size: Size, degrees: float, scale: float, stretch: float, shear: float, x: float, y: float) -> Move:
    """Slant, stretch, zoom, turn, and then shift."""
    forward = _rotation(degrees) @ (scale * _stretching(stretch)) @ _shearing(shear, 0)
    return _around_middle(size, forward, x, y)


def crop(size: Size, share: float, ratio: float, seed: int) -> Move:
    """A part anywhere in the image, so large as its share and ratio allow, as large as the image."""
    (height, width), random = size, Random(seed)
    part_height, part_width = box(size, share, ratio)
    left, top = random.uniform(0, width - part_width), random.uniform(0, height - part_height)
    matrix = np.diag([part_width / width, part_height / height, 1.0])
    # of pixels as areas: their edges, not their middles, meet the part's
    matrix[:2, 2] = left + (part_width / width - 1) / 2, top + (part_height / height - 1) / 2
    return Move(matrix)


def box(size: Size, share: float, ratio: float) -> tuple[float, float]:
    """(height, width) of a share of an area; as wide by high as the ratio says, as far as it fits in."""
    area = share * size[0] * size[1]
    width = min(max(math.sqrt(area * ratio), area / size[0]), size[1])
    return area / width, width


def perspective(size: Size, share: float, seed: int) -> Move:
    """Each corner by up to a share of the sides, evenly."""
    (height, width), random = size, np.random.default_rng(seed)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - np.float32(0.5)
    moved = corners + random.uniform(-share, share, (4, 2)) * (width, height)
    return Move(np.asarray(cv2.getPerspectiveTransform(moved.astype(np.float32), corners), np.float64))


def elastic(size: Size, pixels: float, spacing: float, seed: int) -> Move:
    """Normal deviates of so many pixels at nodes of a spacing, cubic between (after Simard et al. 2003)."""
    return _bend(size, (spacing, spacing), lambda random, nodes: random.normal(0, pixels, nodes), seed, cv2.INTER_CUBIC)


def grid(size: Size, share: float, cells: int, seed: int) -> Move:
    """The nodes of a grid of cells x cells by up to a share of a cell, linear between."""
    cell = size[1] / cells, size[0] / cells

    def draw(random: np.random.Generator, nodes: tuple[int, ...]) -> Floats:
        return random.uniform(-share, share, nodes) * cell

    return _bend(size, cell, draw, seed, cv2.INTER_LINEAR)


def _bend(
    size: Size,
    spacing: tuple[float, float],
    draw: Callable[[np.random.Generator, tuple[int, ...]], Floats],
    seed: int,
    how: int,
) -> Move:
    """Displacements that are drawn at nodes (x, y) pixels apart; two rings of nodes lie outside of the image."""
    margin = 2
    columns, rows = (math.ceil(side / step) + 1 + 2 * margin for side, step in zip(size[::-1], spacing, strict=True))
    nodes = draw(np.random.default_rng(seed), (rows, columns, 2)).astype(np.float32)

    def pull(points: Floats) -> Floats:
        places = (points / spacing + margin).astype(np.float32)
        moved = cv2.remap(nodes, places[..., 0], places[..., 1], how, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(points + moved)

    return Move(bend=pull)


MOVES: Mapping[str, Callable[..., Move]] = {
    "hflip": hflip,
    "vflip": vflip,
    "turn": turn_by_quarters,
    "d4": d4,
    "rotate": rotate,
    "scale": scale,
    "stretch": stretch,
    "translate": translate,
    "shear": shear,
    "affine": affine,
    "crop": crop,
    "perspective": perspective,
    "elastic": elastic,
    "grid": grid,
}


def moved_by(drawn: Sequence[tuple[str, Drawn]], size: Size) -> Move:
    """One move of several ops with what was drawn for them."""
    return combine([MOVES[name](size, **parameters) for name, parameters in drawn])

"""Parts of images: windows that are read alone, and tiles, by which large images go through a net."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segtrain import checks

Array = npt.NDArray[np.generic]
Size = tuple[int, int]

SIDE, MARGIN = 2048, 128  # of tiles, where nothing is said
GRID = 32  # pixels: tiles begin at multiples, so that pooling halves them where it halves the whole image


class Window(NamedTuple):
    """A part of an image, in pixels; it lies inside the image."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and its columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def cut(image: Array, mask: Array, window: Window | None) -> tuple[Array, Array]:
    """The part of an image [H, W, C] and its mask [(K,) H, W] that lies in the window; views, not copies."""
    if window is None:
        return image, mask
    return image[window.slices], mask[(..., *window.slices)]


class Tile(NamedTuple):
    """A part of an image that goes through the net by itself.

    window: what the net sees.
    core: what counts of its output, in pixels of the image; the cores of all tiles are the image, without overlap.
    size: (height, width) of the image.
    """

    window: Window
    core: Window
    size: Size

    @classmethod
    def whole(cls, size: Size) -> Tile:
        """An image of (height, width) that is not cut."""
        window = Window(0, 0, *size)
        return cls(window, window, size)

    @property
    def inner(self) -> Window:
        """The core, in pixels of the window."""
        (top, left, *_), (core_top, core_left, *sides) = self.window, self.core
        return Window(core_top - top, core_left - left, *sides)

    @property
    def first(self) -> bool:
        """Whether it is the first one of its image."""
        return self.core.top == self.core.left == 0

    @property
    def last(self) -> bool:
        """Whether it is the last one of its image."""
        return (self.core.top + self.core.height, self.core.left + self.core.width) == self.size


@dataclass(frozen=True)
class Tiling:
    """Which images are cut into tiles, and where.

    Args:
        side: most of a tile, in pixels; images of at most side x side pixels stay whole; None: all do. Tiles
            have sides of multiples of `step` up to it.
        margin: pixels around the core of a tile that the net sees but that do not count, except at the image's edges.
        stride: of the net, in pixels.

    Raises:
        UserError: a value out of range.
    """

    side: int | None = SIDE
    margin: int = MARGIN
    stride: int = GRID

    def __post_init__(self) -> None:
        if self.side is None:
            return
        checks.whole("tile", self.side, self.step, word="null")
        checks.whole(
            f"tile_margin, with tile={self.side},", self.margin, 0, (self.side // self.step - 1) * self.step // 2
        )

    @property
    def step(self) -> int:
        """Tiles begin at multiples of it."""
        return math.lcm(GRID, self.stride)

    def tiles(self, size: Size) -> list[Tile]:
        """The tiles of an image of (height, width), row by row; a single one where it stays whole."""
        if self.side is None or size[0] * size[1] <= self.side**2:
            return [Tile.whole(size)]
        rows, columns = (list(_spans(length, self.side, self.margin, self.step)) for length in size)
        return [
            Tile(Window(row.start, column.start, row.length, column.length), _core(row, column), size)
            for row in rows
            for column in columns
        ]


class Span(NamedTuple):
    """A tile along one axis: where it starts, its length, and the first pixel of its core and the one behind it."""

    start: int
    length: int
    core: int
    end: int


def _spans(length: int, side: int, margin: int, step: int) -> Iterator[Span]:
    """As few as will do, as short as that number allows; each pixel counts where it is farthest from an edge.

    All but the last are of one length, and the last one ends with the image.
    """
    steps, most, shared = math.ceil(length / step), side // step, math.ceil(2 * margin / step)
    gaps = max(0, math.ceil((steps - most) / (most - shared)))
    long = math.ceil((steps + gaps * shared) / (gaps + 1))
    starts = [index * (steps - long) // max(1, gaps) * step for index in range(gaps + 1)]
    ends = [min(start + long * step, length) for start in starts]
    cuts = [0, *((start + end) // 2 for start, end in zip(starts[1:], ends[:-1], strict=True)), length]
    for start, end, core, behind in zip(starts, ends, cuts[:-1], cuts[1:], strict=True):
        yield Span(start, end - start, core, behind)


def _core(row: Span, column: Span) -> Window:
    return Window(row.core, column.core, row.end - row.core, column.end - column.core)

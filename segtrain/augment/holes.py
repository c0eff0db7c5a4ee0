"""Holes: parts of the image that are covered; the mask below them is kept, or ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import numpy as np

from segtrain.augment import fields
from segtrain.augment.colors import Pixels, means
from segtrain.augment.moves import box
from segtrain.augment.parameters import Drawn
from segtrain.windows import Size, Window


def erase(size: Size, share: float, ratio: float, number: int, seed: int) -> list[Window]:
    """Rectangles anywhere inside, each of so much area and width by height (random erasing, Zhong et al. 2020)."""
    (height, width), random = size, Random(seed)
    if share == 0:
        return []
    high, wide = (max(1, round(side)) for side in box(size, share, ratio))
    return [
        Window(random.randint(0, height - high), random.randint(0, width - wide), high, wide) for _ in range(number)
    ]


def cutout(size: Size, pixels: int, number: int, seed: int) -> list[Window]:
    """Squares around pixels anywhere, cut off at the edge (DeVries and Taylor 2017)."""
    random = Random(seed)
    corners = [
        (random.randrange(size[0]) - pixels // 2, random.randrange(size[1]) - pixels // 2) for _ in range(number)
    ]
    return [_inside(top, left, pixels, size) for top, left in corners]


def grid_drop(size: Size, pixels: int, share: float, seed: int) -> list[Window]:
    """A square in each cell of a grid that begins anywhere (GridMask, Chen et al. 2020)."""
    random, side = Random(seed), round(share * pixels)
    top, left = random.randrange(pixels) - pixels, random.randrange(pixels) - pixels
    cells = [(y, x) for y in range(top, size[0], pixels) for x in range(left, size[1], pixels)]
    holes = [_inside(y, x, side, size) for y, x in cells]
    return [hole for hole in holes if hole.height and hole.width]


def _inside(top: int, left: int, side: int, size: Size) -> Window:
    """The part of a square that lies in the image; of no height or width where none does."""
    bottom, right = min(top + side, size[0]), min(left + side, size[1])
    top, left = max(top, 0), max(left, 0)
    return Window(top, left, max(0, bottom - top), max(0, right - left))


HOLES: Mapping[str, Callable[..., list[Window]]] = {"erase": erase, "cutout": cutout, "grid_drop": grid_drop}


def cover(
    image: Pixels, mask: Pixels, holes: list[Window], fill: str, ignored: int | None, seed: int
) -> tuple[Pixels, Pixels]:
    """Cover holes.

    Args:
        image: [H, W, C], uint8 or float32 in [0, 1].
        mask: [(K,) H, W].
        holes: where.
        fill: "black", "mean" (of each channel of the image) or "noise" (even over all values).
        ignored: id of the mask in holes; None: it is kept.
        seed: of the noise.

    Returns:
        Copies.
    """
    image, mask = image.copy(), mask if ignored is None else mask.copy()
    values = 0 if fill == "black" else means(image).astype(image.dtype)
    for number, hole in enumerate(holes):
        image[hole.slices] = values if fill != "noise" else _noise(seed + number, image[hole.slices])
        if ignored is not None:
            mask[(..., *hole.slices)] = ignored
    return image, mask


def _noise(seed: int, like: Pixels) -> Pixels:
    random = fields.generator(seed)
    if like.dtype == np.uint8:
        return random.integers(0, 256, like.shape, np.uint8)
    return random.random(like.shape, np.float32)


def cut_holes(image: Pixels, mask: Pixels, name: str, drawn: Drawn, ignore_index: int) -> tuple[Pixels, Pixels]:
    """One op of holes with what was drawn for it."""
    places = {key: value for key, value in drawn.items() if key not in ("fill", "label")}
    holes = HOLES[name]((image.shape[0], image.shape[1]), **places)
    return cover(image, mask, holes, drawn["fill"], ignore_index if drawn["label"] == "ignore" else None, drawn["seed"])

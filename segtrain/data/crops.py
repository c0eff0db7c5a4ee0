"""Which part of an image a training sample is: a window anywhere, or one around a pixel of a class drawn for it.

The window is chosen before anything is read, so a reader decodes no more than it has to, and nothing that costs
is done to pixels that are thrown away. Where the image is smaller than the crop, it lies at a random place in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from segtrain.data.sampling import Sampling
from segtrain.data.source import Examples
from segtrain.task import Task
from segtrain.windows import Array, Window


class Crop(NamedTuple):
    """A crop of an image.

    Args:
        top: its first row in the image; negative: so many rows above the image.
        left: its first column; negative likewise.
        forced: whether it was placed around a pixel of a class.
    """

    top: int
    left: int
    forced: bool = False


@dataclass(frozen=True)
class Crops:
    """Chooses the crops of a training set, all of one size.

    Args:
        size: (height, width) in pixels.
        ignore_index: id of mask area outside the image.
        oversample: share of the crops, in [0, 1], that are placed around a pixel of one of the classes.
        classes: that may be drawn for it: first one of those in the image, each as likely, then one of its pixels.
    """

    size: tuple[int, int]
    ignore_index: int
    oversample: float = 0.0
    classes: tuple[int, ...] = ()

    def choose(self, examples: Examples, index: int, seed: int) -> Crop:
        """The crop of an image; equal seeds give equal crops.

        An image with none of the classes is cropped anywhere.
        """
        random = np.random.default_rng(seed)
        size = examples.sizes[index]
        if self.oversample > 0 and random.random() < self.oversample:
            pixels = examples.places(index)
            pixels = pixels[np.isin(pixels[:, 0], self.classes)]
            if len(pixels):
                drawn = pixels[pixels[:, 0] == random.choice(np.unique(pixels[:, 0]))]
                _, row, column = drawn[random.integers(len(drawn))].tolist()
                top = _around(random, row, size[0], self.size[0])
                return Crop(top, _around(random, column, size[1], self.size[1]), forced=True)
        return Crop(_anywhere(random, size[0], self.size[0]), _anywhere(random, size[1], self.size[1]))

    def window(self, crop: Crop, size: tuple[int, int]) -> Window:
        """The part of an image (of that height and width) that a crop shows."""
        top, height = _inside(crop.top, size[0], self.size[0])
        left, width = _inside(crop.left, size[1], self.size[1])
        return Window(top, left, height, width)

    def around(self, crop: Crop, reach: Window, size: tuple[int, int]) -> Window:
        """The part of an image that lies in a window by the crop's own rows and columns; at least one pixel of it."""
        top, height = _within(crop.top + reach.top, reach.height, size[0])
        left, width = _within(crop.left + reach.left, reach.width, size[1])
        return Window(top, left, height, width)

    def fill(self, image: Array, mask: Array, crop: Crop) -> tuple[Array, Array]:
        """What was read of the window as a whole crop: where there is no image, 0 and the ignore index.

        Args:
            image: [h, w, C], at most as large as the crop.
            mask: [(K,) h, w].
            crop: as chosen.

        Returns:
            [H, W, C] and [(K,) H, W]; the same arrays where nothing is missing.
        """
        if image.shape[:2] == self.size:
            return image, mask
        above, before = max(0, -crop.top), max(0, -crop.left)
        rows, columns = slice(above, above + image.shape[0]), slice(before, before + image.shape[1])
        whole = np.zeros((*self.size, image.shape[2]), image.dtype)
        ids = np.full((*mask.shape[:-2], *self.size), self.ignore_index, mask.dtype)
        whole[rows, columns], ids[..., rows, columns] = image, mask
        return whole, ids


def training_crops(size: tuple[int, int], task: Task, sampling: Sampling) -> Crops:
    """The crops of a task's training set, (height, width) in pixels."""
    return Crops(size, task.ignore_index, sampling.oversample, wanted_classes(task, sampling))


def wanted_classes(task: Task, sampling: Sampling) -> tuple[int, ...]:
    """Ids of the classes that crops are placed around; in multilabel every class is foreground."""
    ids = range(2 if task.mode == "binary" else task.num_classes)
    return tuple(ids) if sampling.background or task.mode == "multilabel" else tuple(ids[1:])


def _span(image: int, crop: int) -> tuple[int, int]:
    """First and last start of a crop that lies in the image or, where it is larger, holds all of it."""
    return min(0, image - crop), max(0, image - crop)


def _anywhere(random: np.random.Generator, image: int, crop: int) -> int:
    low, high = _span(image, crop)
    return int(random.integers(low, high + 1))


def _around(random: np.random.Generator, pixel: int, image: int, crop: int) -> int:
    """A start from which the crop holds the pixel."""
    low, high = _span(image, crop)
    return int(random.integers(max(low, pixel - crop + 1), min(high, pixel) + 1))


def _inside(start: int, image: int, crop: int) -> tuple[int, int]:
    """(start, length) of the part of a crop that lies in the image."""
    first = max(0, start)
    return first, min(image, start + crop) - first


def _within(start: int, length: int, image: int) -> tuple[int, int]:
    """Start and length of the part of a span that lies in the image; of its nearest pixel where none does."""
    first = min(max(start, 0), image - 1)
    return first, max(1, min(start + length, image) - first)

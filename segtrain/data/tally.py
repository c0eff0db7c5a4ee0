"""What an image and its mask hold, counted block by block, so that a file need not fit into memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from segtrain.decode.masks import IdArray
from segtrain.windows import Array

PLACES = 8  # kept of each id: enough that crops differ, and 100,000 findings still fit into memory
EXACT = 1 << 24  # pixels up to which OpenCV's histogram, of float32, counts exactly
MANY = 32  # ids of a mask above which one sort is quicker than a look for each
MOST_CHANNELS = 4  # that OpenCV resizes together
GIST = (9, 8)  # width and height of the picture that the difference hash is of
Place = tuple[int, int]
Sums = npt.NDArray[np.float64]


class Values(NamedTuple):
    """Per channel of an image: sum of the values in [0, 1], sum of their squares, smallest and largest value."""

    total: Sums
    squared: Sums
    low: Sums
    high: Sums

    def joined(self, other: Values) -> Values:
        """Of two images together."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Values(self.total + other.total, self.squared + other.squared, low, high)


class Tally:
    """Values, ids, places, digest and gist of an image that comes in bands of rows, from top to bottom.

    Args:
        seed: of the random places.

    Attributes:
        values: of the image.
        ids: pixels of each id in the mask.
        places: (row, column) of up to PLACES pixels of each id, drawn at random.
    """

    def __init__(self, seed: int) -> None:
        self.values = Values(*[np.zeros(0)] * 4)
        self.ids: Counter[int] = Counter()
        self.places: dict[int, list[Place]] = {}
        self._random = np.random.default_rng(seed)
        self._digest = hashlib.blake2b(digest_size=8)
        self._rows: list[Array] = []

    def add(self, image: Array, mask: IdArray, top: int) -> None:
        """Count a band: image [h, W, C] and mask [h, W], whose first row is row `top` of the whole."""
        values = values_of(image)
        self.values = values if top == 0 else self.values.joined(values)
        for index, (count, found) in places_of(mask, self._random).items():
            below = [(row + top, column) for row, column in found]
            self.places[index] = self._merged(self.places.get(index, []), self.ids[index], below, count)
            self.ids[index] += count
        self._digest.update(np.ascontiguousarray(image).data)
        few: npt.NDArray[Any] = np.ascontiguousarray(image[..., :MOST_CHANNELS])
        narrow = cv2.resize(few, (GIST[0], few.shape[0]), interpolation=cv2.INTER_AREA)
        self._rows.append(narrow.reshape(*narrow.shape[:2], -1).mean(2, dtype=np.float32))

    def _merged(self, kept: list[Place], before: int, fresh: list[Place], count: int) -> list[Place]:
        """Random places of the `before` + `count` pixels, of random ones of each."""
        if not before:
            return fresh
        wanted = min(PLACES, before + count)
        early = int((self._random.choice(before + count, wanted, replace=False) < before).sum())
        parts = ((kept, early), (fresh, wanted - early))
        chosen = [part[i] for part, n in parts for i in self._random.choice(len(part), n, replace=False)]
        return sorted(chosen)

    @property
    def digest(self) -> str:
        """Of the pixels: equal for equal ones."""
        return self._digest.hexdigest()

    @property
    def gist(self) -> str:
        """Difference hash: whether each of 8 x 9 mean greys is brighter than its right neighbour."""
        small = cv2.resize(np.concatenate(self._rows), GIST, interpolation=cv2.INTER_AREA)
        return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def values_of(image: Array) -> Values:
    """What the values of an image [H, W, C] are, in [0, 1]."""
    if image.dtype != np.uint8:
        exact = image.reshape(-1, image.shape[2]).astype(np.float64)
        return Values(exact.sum(0), (exact**2).sum(0), exact.min(0), exact.max(0))
    levels = np.stack([histogram(image, channel) for channel in range(image.shape[2])])
    scale = np.arange(256) / 255
    low, high = (levels > 0).argmax(1), 255 - (levels[:, ::-1] > 0).argmax(1)
    return Values(levels @ scale, levels @ scale**2, scale[low], scale[high])


def histogram(image: Array, channel: int = 0) -> npt.NDArray[np.int64]:
    """Pixels of each value of a channel of an 8-bit image [H, W, C]: OpenCV counts without the interpreter's lock."""
    rows = max(1, EXACT // image.shape[1])
    strips = (np.asarray(image[top : top + rows], np.uint8) for top in range(0, image.shape[0], rows))
    pixels = np.zeros(256, np.int64)
    for strip in strips:
        pixels += cv2.calcHist([strip], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
    return pixels


def count_ids(mask: IdArray) -> dict[int, int]:
    """Pixels of each id of a mask [H, W]."""
    if mask.dtype != np.uint8:
        ids, counts = np.unique(mask, return_counts=True)
        return dict(zip(ids.tolist(), counts.tolist(), strict=True))
    pixels = histogram(np.ascontiguousarray(mask)[..., None])
    return {int(index): int(pixels[index]) for index in np.flatnonzero(pixels)}


def places_of(mask: IdArray, random: np.random.Generator) -> dict[int, tuple[int, list[Place]]]:
    """Of each id of a mask [H, W]: its pixels, and (row, column) of up to PLACES random ones of them."""
    flat, found, ids = mask.ravel(), {}, count_ids(mask)
    order = np.argsort(flat, kind="stable") if len(ids) > MANY else None
    start = 0
    for index, count in sorted(ids.items()):
        which = random.choice(count, min(PLACES, count), replace=False)
        places = np.flatnonzero(flat == index)[which] if order is None else order[start + which]
        found[index] = (count, [divmod(place, mask.shape[1]) for place in np.sort(places).tolist()])
        start += count
    return found

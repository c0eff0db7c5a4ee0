"""What an image and its mask hold, counted block by block, so that a file need not fit into memory."""

from __future__ import annotations

import hashlib
from collections import Counter

import cv2
import numpy as np
import numpy.typing as npt

from segtrain.data.masks import IdArray
from segtrain.data.source import Array

PLACES = 8  # kept of each id: enough that crops differ, and 100,000 findings still fit into memory
GIST = (9, 8)  # width and height of the picture that the difference hash is of
Place = tuple[int, int]
Sums = npt.NDArray[np.float64]


class Tally:
    """Sums, ids, places, digest and gist of an image that comes in bands of rows, from top to bottom.

    Args:
        seed: of the random places.

    Attributes:
        total: per channel, sum over the pixels of the value, in [0, 1].
        squared: per channel, sum of its square.
        ids: pixels of each id in the mask.
        places: (row, column) of up to PLACES pixels of each id, drawn at random.
    """

    def __init__(self, seed: int) -> None:
        self.total: Sums = np.zeros(0)
        self.squared: Sums = np.zeros(0)
        self.ids: Counter[int] = Counter()
        self.places: dict[int, list[Place]] = {}
        self._random = np.random.default_rng(seed)
        self._digest = hashlib.blake2b(digest_size=8)
        self._rows: list[Array] = []

    def add(self, image: Array, mask: IdArray, top: int) -> None:
        """Count a band: image [h, W, C] and mask [h, W], whose first row is row `top` of the whole."""
        total, squared = sums(image)
        self.total = total if top == 0 else self.total + total
        self.squared = squared if top == 0 else self.squared + squared
        for index, (count, found) in places_of(mask, self._random).items():
            below = [(row + top, column) for row, column in found]
            self.places[index] = self._merged(self.places.get(index, []), self.ids[index], below, count)
            self.ids[index] += count
        self._digest.update(np.ascontiguousarray(image).data)
        planes = [np.asarray(plane, dtype=np.float32) for plane in np.moveaxis(image, 2, 0)]
        size = (GIST[0], image.shape[0])
        self._rows.append(np.mean([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes], axis=0))

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


def sums(image: Array) -> tuple[Sums, Sums]:
    """Per channel of [H, W, C], the sum of the values in [0, 1] and of their squares, float64."""
    values = image.reshape(-1, image.shape[2])
    if image.dtype != np.uint8:
        exact = values.astype(np.float64)
        return exact.sum(0), (exact**2).sum(0)
    levels = np.stack([np.bincount(channel, minlength=256) for channel in values.T])  # exact, and less memory
    scale = np.arange(256) / 255
    return levels @ scale, levels @ scale**2


def places_of(mask: IdArray, random: np.random.Generator) -> dict[int, tuple[int, list[Place]]]:
    """Of each id of a mask [H, W]: its pixels, and (row, column) of up to PLACES random ones of them."""
    flat = mask.ravel()
    order = np.argsort(flat, kind="stable")
    ids, starts, counts = np.unique(flat[order], return_index=True, return_counts=True)
    found = {}
    for index, start, count in zip(ids.tolist(), starts.tolist(), counts.tolist(), strict=True):
        chosen = order[start + random.choice(count, min(PLACES, count), replace=False)]
        found[index] = (count, [divmod(place, mask.shape[1]) for place in np.sort(chosen).tolist()])
    return found

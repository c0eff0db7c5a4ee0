"""What is asked of sampling, and where in the images the classes are, known without decoding them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain import checks

Pixels = npt.NDArray[np.int32]  # [P, 3]: class, row, column
MOST = 8  # pixels of each class of an image, as many as the scan keeps of each id
NOWHERE: Pixels = np.zeros((0, 3), np.int32)
Kept = Sequence[tuple[int, int]]  # (row, column)


@dataclass(frozen=True)
class Sampling:
    """What a user asks for.

    Args:
        oversample: share of the crops that are placed around a pixel of a class that is drawn first, [0, 1].
        background: whether class 0 is drawn for it like the others.
        repeat: images that hold a class that fewer than this share of the images hold come more often; None: no.
        bank: crops around pixels of classes that are kept to paste from, see bank.py.
        by_area: images come in proportion to their pixels, so that crops cover large and small ones alike.

    Raises:
        UserError: a value out of range.
    """

    oversample: float = 0.0
    background: bool = False
    repeat: float | None = None
    bank: int = 0
    by_area: bool = False

    def __post_init__(self) -> None:
        checks.number("data.oversample", self.oversample, 0, 1)
        checks.flag("data.oversample_background", self.background)
        checks.whole("data.bank", self.bank, 0)
        checks.flag("data.by_area", self.by_area)
        if self.repeat is not None:
            checks.number("data.repeat", self.repeat, above=0, high=1, word="null")

    @property
    def looks(self) -> bool:
        """Whether it needs to know where the classes are."""
        return self.oversample > 0 or self.repeat is not None or self.bank > 0


class Places:
    """A few pixels of each class of each image, packed: 100,000 images of 10 classes take 100 MB.

    Args:
        images: of each image the pixels [P, 3].
    """

    def __init__(self, images: Sequence[Pixels]) -> None:
        self._ends = np.cumsum([0, *(len(pixels) for pixels in images)])
        self._pixels = np.concatenate([NOWHERE, *images])

    def __getitem__(self, index: int) -> Pixels:
        pixels: Pixels = self._pixels[self._ends[index] : self._ends[index + 1]]
        return pixels


def merge_places(
    places: Mapping[int, Kept], counts: Mapping[int, int], table: npt.NDArray[np.int16], seed: int
) -> Pixels:
    """Pixels of each class from those of the ids in its file.

    Of ids that are one class together, each gives as many as a draw from all their pixels would have taken.

    Args:
        places: random pixels of each id.
        counts: pixels of each id.
        table: class of each id.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    merged: list[tuple[int, int, int]] = []
    for label in sorted({int(table[i]) for i in places}):
        ids = [i for i in sorted(places) if table[i] == label]
        number = min(MOST, sum(len(places[i]) for i in ids))
        for i, taken in zip(ids, _shares(random, [counts[i] for i in ids], number), strict=True):
            chosen = random.permutation(len(places[i]))[:taken]
            merged += [(label, *places[i][place]) for place in chosen.tolist()]
    return np.array(merged, np.int32).reshape(-1, 3)


def _shares(random: np.random.Generator, counts: Sequence[int], number: int) -> list[int]:
    """How many of `number` pixels, drawn from all, are of each kind."""
    if len(counts) == 1:
        return [number]
    scale = 1 + sum(counts) // 10**9  # numpy draws from at most 10^9
    drawn = random.multivariate_hypergeometric([max(1, n // scale) for n in counts], number)
    return [int(n) for n in drawn]


def mask_places(mask: npt.NDArray[np.generic], seed: int) -> Pixels:
    """Up to MOST random pixels of each class of a mask: ids [H, W], or [K, H, W] planes of {0, 1}."""
    random = np.random.default_rng(seed)
    planes = dict(enumerate(mask == 1)) if mask.ndim == 3 else {int(i): mask == i for i in np.unique(mask)}
    found = []
    for label, plane in planes.items():
        pixels = np.argwhere(plane)
        pixels = random.choice(pixels, min(MOST, len(pixels)), replace=False)
        found.append(np.column_stack([np.full(len(pixels), label), pixels]))
    return np.concatenate(found).astype(np.int32)

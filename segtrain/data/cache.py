"""Decode once: keep decoded images in memory, up to a limit."""

from __future__ import annotations

from segtrain.data.sampling import Pixels
from segtrain.data.source import Array, Examples, Window, cut


class RamCache:
    """Keeps what was read, until the limit; what does not fit is read anew each time. Implements Examples.

    Args:
        examples: what to read from.
        limit: bytes, for this object in this process.
    """

    def __init__(self, examples: Examples, limit: int) -> None:
        self.ids = examples.ids
        self.sizes = examples.sizes
        self._examples = examples
        self._room = limit
        self._kept: dict[int, tuple[Array, Array]] = {}

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        """As Examples.read; the arrays are read-only, since the next epoch gets the same ones."""
        return cut(*self._whole(index), window)

    def places(self, index: int) -> Pixels:
        """As Examples.places."""
        return self._examples.places(index)

    def _whole(self, index: int) -> tuple[Array, Array]:
        if index in self._kept:
            return self._kept[index]
        image, mask = self._examples.read(index)
        size = image.nbytes + mask.nbytes
        if size <= self._room:
            image.flags.writeable = mask.flags.writeable = False
            self._room -= size
            self._kept[index] = (image, mask)
        return image, mask

"""An image file on its way through a net: read in parts where that can be done, and kept small for its overlay."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from segtrain.decode.readers import header_of_parts, read_image, read_window
from segtrain.decode.reading import Reading
from segtrain.windows import Array, Tiling, Window


class OpenedImage:
    """A file that is read in parts where the net takes it in tiles and it can be decoded so; else as a whole.

    Args:
        path: of the file.
        reading: what to make of it.
        tiling: which images are taken in tiles.
        show: whether to keep what overlays show of it.

    Attributes:
        size: (height, width) in pixels.
        shown: each `step`-th row and column of what was read, [h, w, C] with at most 3 channels.
        step: 1, but for images of more pixels than are decoded as a whole.

    Raises:
        UserError: it cannot be read, or not as a whole where it must be.
    """

    shown: Array

    def __init__(self, path: Path, reading: Reading, tiling: Tiling, show: bool = True) -> None:
        self._show = show
        header = header_of_parts(path, reading.pages)
        self._part: Callable[[Window], Array]
        if header is not None and len(tiling.tiles(header.size)) > 1:
            self.size = header.size
            self._part = partial(read_window, path, size=header.size, reading=reading)
        else:
            whole = read_image(path, reading, verify=True)
            self.size = (whole.shape[0], whole.shape[1])
            self._part = lambda window: whole[window.slices]
        self.step = math.ceil(math.sqrt(self.size[0] * self.size[1] / reading.max_pixels))

    def read(self, window: Window) -> Array:
        """A part of it, as read_image would give it.

        Raises:
            UserError: that part is damaged.
        """
        part = self._part(window)
        if self._show:
            self._keep(part, window)
        return part

    def _keep(self, part: Array, window: Window) -> None:
        """Tiles overlap; what two of them show is the same."""
        few = part[-window.top % self.step :: self.step, -window.left % self.step :: self.step, :3]
        if not hasattr(self, "shown"):
            height, width = (math.ceil(side / self.step) for side in self.size)
            self.shown = np.empty((height, width, few.shape[2]), few.dtype)
        top, left = math.ceil(window.top / self.step), math.ceil(window.left / self.step)
        self.shown[top : top + few.shape[0], left : left + few.shape[1]] = few

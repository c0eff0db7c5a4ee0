"""Parts of images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


class Window(NamedTuple):
    """A part of an image, in pixels; it lies inside the image."""

    top: int
    left: int
    height: int
    width: int


def cut(image: Array, mask: Array, window: Window | None) -> tuple[Array, Array]:
    """The part of an image [H, W, C] and its mask [(K,) H, W] that lies in the window; views, not copies."""
    if window is None:
        return image, mask
    rows, columns = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
    return image[rows, columns], mask[..., rows, columns]

"""One policy for the EXIF orientation of images and masks: OpenCV turns what it decodes in colour, Pillow nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segtrain.decode.headers import Size
from segtrain.errors import UserError

SIDEWAYS = 5  # from this tag on, height and width change places


def turned_size(size: Size, tag: int) -> Size:
    """Size of an image once it stands upright."""
    return (size[1], size[0]) if tag >= SIDEWAYS else size


def turn(array: npt.NDArray[Any], tag: int) -> npt.NDArray[Any]:
    """An image [H, W, ...] as its EXIF orientation says it should be seen."""
    if tag >= SIDEWAYS:
        array = np.swapaxes(array, 0, 1)
    if tag in (3, 4, 7, 8):  # first stored row is seen at the bottom
        array = array[::-1]
    if tag in (2, 3, 6, 7):  # first stored column is seen at the right
        array = array[:, ::-1]
    return np.ascontiguousarray(array) if tag > 1 else array


def applied_tag(path: Path, tag: int, stored: Size, meant: Size | None, policy: str) -> int:
    """The orientation to apply to what is stored in a file: its tag, or 1 for none.

    Args:
        path: the file, for messages.
        tag: its EXIF orientation.
        stored: its (height, width) without turning.
        meant: the size that its label or its image has; None where nothing tells.
        policy: a word of ORIENTATIONS.

    Raises:
        UserError: the sizes do not tell whether the label was drawn on the turned image.
    """
    if tag == 1 or policy == "ignore":
        return 1
    if policy == "apply":
        return tag
    turned = turned_size(stored, tag)
    if meant is None or stored == turned or meant not in (stored, turned):
        raise UserError(
            f"{path}: EXIF says it is rotated (orientation {tag}), and sizes do not tell whether its label was drawn "
            "on the rotated image; set data.orientation=apply or ignore, or save it upright, without the tag"
        )
    return tag if meant == turned else 1

"""Mask files to ids, by Pillow alone: OpenCV turns the ids 0, 1, 2 of a palette PNG into grey values 0, 38, 75."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segtrain.data.readers import check_layout, naming, open_image
from segtrain.errors import UserError
from segtrain.task import Color

IdArray = npt.NDArray[np.integer]

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
ID_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class MaskRules:
    """How pixel values of mask files become ids, the same for all files of a data set.

    Args:
        colors: id of each RGB colour, for masks that hold colours; None where they hold ids.
    """

    colors: Mapping[Color, int] | None = None


def read_mask(path: Path, rules: MaskRules | None = None) -> IdArray:
    """Decode a mask file to the ids it holds, [H, W].

    Args:
        path: PNG, BMP or TIFF.
        rules: of the data set; None: pixels are ids.

    Raises:
        UserError: missing, damaged, JPEG (its values are blurred) or with colours instead of ids.
    """
    with open_image(path) as mask:
        if mask.format == "JPEG":
            raise UserError(f"{path}: JPEG blurs the ids of a mask; export it again as PNG")
        if mask.mode not in ID_MODES:
            raise UserError(f"{path}: a mask of mode {mask.mode} holds colours, not class ids; save single-channel ids")
        check_layout(path, mask)
        with naming(path):
            array = np.asarray(mask)
    return array.astype(np.uint8) if array.dtype == bool else array

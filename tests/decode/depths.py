"""Small data sets of every depth and number of channels, with the pixels that were written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

Array = npt.NDArray[Any]
COUNTS = {"train": 6, "val": 2, "test": 2}
SIDE = 40


def scene(seed: int, channels: int) -> tuple[Array, Array]:
    """Bright squares on a dark ground: image [H, W, C] in [0, 1], float64, and ids [H, W]."""
    random = np.random.default_rng(seed)
    image = random.uniform(0, 0.25, (SIDE, SIDE, channels))
    ids = np.zeros((SIDE, SIDE), np.uint8)
    top, left = random.integers(0, SIDE - 14, 2)
    image[top : top + 14, left : left + 14] += 0.5
    ids[top : top + 14, left : left + 14] = 1
    return image, ids


def stored(image: Array, depth: str) -> Array:
    """An image in [0, 1] as the values of a file."""
    if depth == "float32":
        return image.astype(np.float32)
    return np.round(image * np.iinfo(depth).max).astype(depth)


def make_depths(root: Path, depth: str, channels: int, suffix: str = "tif", **options: Any) -> Path:
    """A data set for data=folder.

    Args:
        root: where to make it.
        depth: uint8, uint16 or float32.
        channels: of each image.
        suffix: tif, or png of one channel.
        **options: of the TIFFs.
    """
    for place, (split, count) in enumerate(COUNTS.items()):
        for index in range(count):
            image, ids = scene(100 * place + index, channels)
            for kind in ("images", "masks"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
            path = root / "images" / split / f"{split}{index}.{suffix}"
            values = stored(image, depth)
            if suffix == "png":
                Image.fromarray(values[..., 0]).save(path)
            else:
                write_tiff(path, values, **options)
            Image.fromarray(ids).save(root / "masks" / split / f"{split}{index}.png")
    return root


def write_tiff(path: Path, values: Array, **options: Any) -> None:
    """A TIFF of [H, W] or [H, W, C], one page."""
    photometric = options.pop("photometric", "minisblack")
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if options.get("planarconfig") == "separate":
        values = np.moveaxis(values, 2, 0)
    layout = {"planarconfig": "contig"} | options if values.ndim == 3 else options
    tifffile.imwrite(path, values, photometric=photometric, **layout)

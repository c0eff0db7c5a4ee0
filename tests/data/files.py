"""Image files, mask files and whole data sets to read, with the arrays that they must give."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Bytes = npt.NDArray[np.uint8]
ORIENTATION = 0x0112
REQUEST: Mapping[str, Any] = {
    "mode": "auto",
    "num_classes": None,
    "ignore_index": 255,
    "names": None,
    "palette": None,
}


def picture(height: int, width: int) -> Bytes:
    """RGB [H, W, 3] that JPEG keeps well: the left half pure red, smooth slopes of green and blue on the right."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    slopes = np.stack([x * 60, y * 200, x * 220], axis=2)
    red = np.broadcast_to([255.0, 0.0, 0.0], slopes.shape)
    return np.where((np.arange(width) < (width + 1) // 2)[None, :, None], red, slopes).astype(np.uint8)


def noise(seed: int, height: int, width: int) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def bomb(path: Path, side: int) -> None:
    """A PNG whose header promises side x side pixels, in under 100 bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def truncate(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def save_ids(path: Path, ids: npt.NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(path)


def save_pair(root: Path, split: str, stem: str, image: Bytes, ids: npt.NDArray[Any]) -> None:
    save_ids(root / "images" / split / f"{stem}.png", image)
    save_ids(root / "masks" / split / f"{stem}.png", ids)


def make_folder(
    root: Path,
    ids: Sequence[int] = (0, 1, 255),
    splits: Mapping[str, int] | None = None,
    declared: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, tuple[Bytes, Bytes]]:
    """Write a data set for data=folder: images of different odd sizes, masks of random ids.

    Returns:
        (image, ids of the mask) as written, by "<split>/<stem>".
    """
    written = {}
    for split, number in (splits or {"train": 3, "val": 2, "test": 1}).items():
        for index in range(number):
            stem, height, width = f"bïld {index}", 7 + 2 * index, 11 + index // 2
            image = noise(seed + index, height, width)
            mask = np.random.default_rng(seed + index).choice(ids, (height, width)).astype(np.uint8)
            mask.flat[: len(ids)] = ids  # each id in each file
            save_pair(root, split, stem, image, mask)
            written[f"{split}/{stem}"] = (image, mask)
    if declared is not None:
        (root / "dataset.json").write_text(json.dumps(declared), encoding="utf-8")
    return written

"""Small sound images and masks of all kinds, and what must hold when our readers read a damaged one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

PIXELS = 4_000_000  # of the readers' limit: a damaged header may promise much
UNSUITED = {"jpg": ("alpha", "palette", "one_bit"), "webp": ("palette", "one_bit"), "gif": ("rgb", "alpha")}
Array = npt.NDArray[Any]


def sources() -> dict[str, bytes]:
    """Sound files by name; Pillow or OpenCV can read each of them."""
    y, x = np.mgrid[:48, :64]
    grey = ((x * 3 + y * 5) % 256).astype(np.uint8)
    rgb, ids = np.stack([grey, grey.T[:48, :48].repeat(2, 1)[:, :64], 255 - grey], 2), (x // 9 % 3).astype(np.uint8)
    deep = grey.astype(np.uint16) * 257
    palette = Image.fromarray(ids)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    found = {
        f"{name}.{kind}": _pillow(image, kind, options) for name, image, kind, options in _by_pillow(grey, rgb, palette)
    }
    found |= {
        f"deep_{n}.png": cv2.imencode(".png", a)[1].tobytes()
        for n, a in (("grey", deep), ("rgb", np.dstack([deep] * 3)))
    }
    for name, array, options in (
        ("deep", deep, {}),
        ("deep_tiled", deep, {"tile": (16, 16), "compression": "zlib", "predictor": True}),
        ("rgb_tiled", rgb, {"tile": (16, 16), "photometric": "rgb", "compression": "zlib"}),
        ("deep_rgb", np.dstack([deep] * 3), {"photometric": "rgb", "rowsperstrip": 7}),
        ("float", grey.astype(np.float32) / 255, {"compression": "zlib"}),
        ("pages", np.stack([grey, grey]), {}),
    ):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, array, **{"photometric": "minisblack"} | options)
        found[f"{name}.tif"] = buffer.getvalue()
    return found


def _by_pillow(grey: Array, rgb: Array, palette: Image.Image) -> Iterator[tuple[str, Image.Image, str, dict[str, Any]]]:
    pictures = {"grey": Image.fromarray(grey), "rgb": Image.fromarray(rgb), "palette": palette}
    pictures["one_bit"] = pictures["grey"].convert("1")
    pictures["alpha"] = pictures["rgb"].convert("RGBA")
    for name, image in pictures.items():
        for kind, options in (
            ("png", {}),
            ("bmp", {}),
            ("tif", {}),
            ("lzw.tif", {"compression": "tiff_lzw"}),
            ("jpg", {"quality": 90}),
            ("webp", {"lossless": True}),
            ("gif", {}),
        ):
            if name not in UNSUITED.get(kind, ()):
                yield name, image, kind, options


def _pillow(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    names = {"jpg": "JPEG", "tif": "TIFF", "lzw.tif": "TIFF"}
    image.save(buffer, names.get(kind, kind), **options)
    return buffer.getvalue()


def verdict(path: Path) -> list[str]:
    """What our readers did wrong with a file; empty where all is well."""
    from segtrain.data.listing import Item, MaskFile
    from segtrain.data.scan import look
    from segtrain.decode.masks import MaskRules
    from segtrain.decode.reading import Reading
    from segtrain.errors import UserError

    wrong = []
    for reading in (Reading(max_pixels=PIXELS), Reading(channels="native", max_pixels=PIXELS, reader="pillow")):
        for name, act in _acts(path, reading, MaskRules(max_pixels=PIXELS)):
            try:
                act()
                if name != "read" and not name.startswith("window") and not decodes(path):
                    wrong.append(f"{name}: success, where Pillow and OpenCV fail")
            except UserError as error:
                if not str(error).startswith(f"{path}: ") or "\n" in str(error):
                    wrong.append(f"{name}: the error names no file, or is several lines: {error}")
            except BaseException as error:
                wrong.append(f"{name}: {type(error).__name__}: {error}")
    try:
        finding = look(Item("x", path, MaskFile(path)), MaskRules(max_pixels=PIXELS), Reading(max_pixels=PIXELS))
    except BaseException as error:
        return [*wrong, f"scan: {type(error).__name__}: {error}"]
    if not finding.fault and not decodes(path):
        wrong.append("scan: success, where Pillow and OpenCV fail")
    return wrong


def _acts(path: Path, reading: Any, rules: Any) -> Iterator[tuple[str, Any]]:
    from dataclasses import replace

    from segtrain.data.source import Window
    from segtrain.decode.masks import read_mask
    from segtrain.decode.readers import read_header, read_image, read_window

    def window() -> None:
        header = read_header(path, reading.pages)
        height, width = (min(side, 24) for side in header.size)
        read_window(path, Window(0, 0, height, width), header.size, reading)
        read_mask(path, rules, window=Window(0, 0, height, width))

    yield "read", lambda: read_image(path, reading)
    yield "verified", lambda: read_image(path, reading, verify=True)
    yield "turned", lambda: read_image(path, replace(reading, orientation="apply", pages=0), verify=True)
    yield "window", window
    yield "mask", lambda: read_mask(path, rules)
    yield "threshold", lambda: read_mask(path, replace(rules, threshold=100.0))


def decodes(path: Path) -> bool:
    """Whether Pillow or OpenCV makes an image of it."""
    try:
        with Image.open(path) as image:
            image.load()
        return True
    except Exception:
        return (
            cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) is not None
            if path.stat().st_size
            else False
        )

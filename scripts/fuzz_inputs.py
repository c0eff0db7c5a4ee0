"""Randomly damaged images and masks, read by our readers in child processes with limits of time and memory.

    python scripts/fuzz_inputs.py --files 10000 --seed 0

Each file is one of many small, sound ones (PNG, JPEG, TIFF, BMP, WebP, GIF; 8 and 16 bits, palettes, tiles, pages) with
bytes cut, flipped, replaced or inserted. What must never happen: a crash, a hang, an error that is no UserError or does
not name the file, and success where Pillow and OpenCV both fail. The damaged files that did are kept.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

MEMORY = 6 * 2**30  # bytes of address space of a child
SECONDS = 20.0  # for one file
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


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """A few bytes cut, flipped, replaced or inserted; every second time near the head, where it hurts most."""
    data = bytearray(content)
    for _ in range(random.integers(1, 6)):
        if not data:
            break
        end = min(len(data), 256) if random.random() < 0.5 else len(data)
        place, how = int(random.integers(0, end)), int(random.integers(0, 5))
        if how == 0:
            data[place] ^= 1 << int(random.integers(0, 8))
        elif how == 1:
            data[place] = int(random.choice([0, 1, 127, 128, 255, int(random.integers(0, 256))]))
        elif how == 2:
            data[place:place] = random.bytes(int(random.integers(1, 9)))
        elif how == 3:
            del data[place : place + int(random.integers(1, 33))]
        elif random.random() < 0.3:
            del data[place:]
    return bytes(data)


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


def child(pipe: Connection) -> None:
    """Answer a path with what went wrong, until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders written in C say much
    while (path := pipe.recv()) is not None:
        pipe.send(verdict(Path(path)))


@dataclass
class Worker:
    """A child process that is started anew where it crashed or hung."""

    process: Any = None
    pipe: Any = None
    context: Any = field(default_factory=lambda: multiprocessing.get_context("fork"))

    def ask(self, path: Path) -> list[str]:
        """What went wrong with a file, crashes and hangs included."""
        if self.process is None:
            self.pipe, theirs = self.context.Pipe()
            self.process = self.context.Process(target=child, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()
        self.pipe.send(str(path))
        try:
            if self.pipe.poll(SECONDS):
                return list(self.pipe.recv())
            answer = f"hang: no answer in {SECONDS:g} s"
        except (EOFError, ConnectionError):
            self.process.join()
            answer = f"crash: exit code {self.process.exitcode}"
        self.stop()
        return [answer]

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def fuzz(files: int, seed: int, folder: Path) -> dict[str, list[str]]:
    """Try so many damaged files; what went wrong with each, by its path (the file is left there)."""
    random, worker, found = np.random.default_rng(seed), Worker(), {}
    intact = sources()
    names = sorted(intact)
    for number in range(files):
        name = names[number % len(names)]
        path = folder / f"{number:06d}_{name}"
        path.write_bytes(damaged(intact[name], random))
        if wrong := worker.ask(path):
            found[str(path)] = wrong
            print(f"{path}: {wrong}", flush=True)
        else:
            path.unlink()
    worker.stop()
    return found


def main() -> int:
    """Returns 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz_inputs_"))
    found = fuzz(arguments.files, arguments.seed, folder)
    print(f"{arguments.files} files, {len(found)} went wrong" + (f"; they are in {folder}" if found else ""))
    if not found:
        shutil.rmtree(folder)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

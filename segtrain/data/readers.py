"""Image files to arrays: RGB uint8 by a reader of choice. (Masks: masks.py.)

All readers give the same array for the same 8-bit file (a test proves it).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from segtrain import checks
from segtrain.errors import UserError

ImageArray = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # whatever the file is called: Pillow would start Ghostscript for EPS
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
MAX_PIXELS = 100_000_000  # a 17 KB file can hold 12,000 x 12,000 pixels; refuse before decoding
DEEP = re.compile(";16[BLN]")  # Pillow's name of 16-bit data that it would cut to 8 bits: "RGB;16B"
ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
Image.MAX_IMAGE_PIXELS = None  # our own check, with its own message, stands in `open_image`


def open_image(path: Path) -> Image.Image:
    """Open a file and read its header alone.

    Raises:
        UserError: missing, empty, no image, or more pixels than MAX_PIXELS.
    """
    try:
        image = Image.open(path, formats=FORMATS)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # a damaged header makes Pillow raise anything, TypeError included
        raise UserError(f"{path}: not a readable image ({_contents(path)}); replace or remove it") from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise UserError(f"{path}: {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}; cut it into tiles")
    return image


def read_image(path: Path, reader: str = "opencv") -> ImageArray:
    """Decode an 8-bit image file.

    Args:
        path: PNG, JPEG, BMP, TIFF or WebP; grey and palette images become RGB, alpha is dropped.
        reader: a key of READERS.

    Returns:
        RGB, uint8, [H, W, 3], as stored in the file.

    Raises:
        UserError: missing, damaged, 16-bit or float, or rotated by EXIF; the sentence names the file.
    """
    checks.choice("data.reader", reader, READERS)
    with open_image(path) as header:
        check_header(path, header)
        if header.mode not in ("L", "RGB"):  # readers disagree on the rest, so Pillow converts it for all
            return decode(path, header)
        size = (header.height, header.width)
    with naming(path, f"{reader} cannot decode it", "replace or remove it, or try another data.reader"):
        array = READERS[reader](path)
    if array is None or array.shape[:2] != size:
        raise UserError(f"{path}: damaged, {reader} cannot decode it; replace or remove it")
    return array


def check_header(path: Path, header: Image.Image) -> None:
    """Refuse what would be read wrongly without a word: several pages, deep colours, a rotation tag.

    Raises:
        UserError: naming the file and the remedy.
    """
    check_layout(path, header)
    deep = any(DEEP.search(str(tile.args)) for tile in getattr(header, "tile", ()))
    if deep or header.mode not in EIGHT_BIT:
        depth = "16 bits" if deep else f"mode {header.mode}"
        raise UserError(f"{path}: pixels of {depth}, only 8-bit images are read; convert it to 8 bits")


def check_layout(path: Path, header: Image.Image) -> None:
    """Refuse several pages and a rotation tag.

    Raises:
        UserError: naming the file and the remedy.
    """
    with naming(path):
        pages = getattr(header, "n_frames", 1)
        turned = Image.Image.getexif(header).get(ORIENTATION, 1)  # the PNG class's own would decode the whole file
    if pages > 1:
        raise UserError(f"{path}: holds {pages} pages, an image must have one; split it")
    if turned not in (0, 1):
        raise UserError(f"{path}: EXIF says it is rotated (orientation {turned}); save it upright, without the tag")


def decode(path: Path, header: Image.Image) -> ImageArray:
    """Decode an opened file by Pillow, which unlike OpenCV notices a truncated JPEG.

    Raises:
        UserError: the file is damaged.
    """
    with naming(path):
        return np.asarray(header.convert("RGB"))


@contextmanager
def naming(path: Path, what: str = "damaged", remedy: str = "replace or remove it") -> Iterator[None]:
    """Decoders raise whatever they like at a damaged file (OSError, SyntaxError, TypeError, cv2.error): say which."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"{path}: {what} ({error}); {remedy}") from error


def _opencv(path: Path) -> ImageArray | None:
    encoded = np.fromfile(path, dtype=np.uint8)  # cv2.imread fails on some non-ASCII paths
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = cv2.imdecode(encoded, flags)
    return None if decoded is None else np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _pillow(path: Path) -> ImageArray:
    with open_image(path) as image:
        return decode(path, image)


def _skimage(path: Path) -> ImageArray:
    try:
        from skimage.io import imread
    except ImportError as error:
        raise UserError("data.reader=skimage needs scikit-image: pip install 'segtrain[readers]'") from error
    return _rgb(np.asarray(imread(path)))


def _matplotlib(path: Path) -> ImageArray:
    from matplotlib.image import imread

    array = np.asarray(imread(path))
    return _rgb(array if array.dtype == np.uint8 else np.round(array * 255).astype(np.uint8))  # PNG comes as [0, 1]


def _rgb(array: npt.NDArray[np.uint8]) -> ImageArray:
    return np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array


READERS: dict[str, Callable[[Path], ImageArray | None]] = {
    "opencv": _opencv,
    "pillow": _pillow,
    "skimage": _skimage,
    "matplotlib": _matplotlib,
}


def _contents(path: Path) -> str:
    """What stands in the file instead of an image."""
    if path.is_dir():
        return "a folder"
    try:
        with path.open("rb") as file:
            start = file.read(8)
        return f"{path.stat().st_size} bytes, starting with {start!r}"
    except OSError as error:
        return str(error.strerror)

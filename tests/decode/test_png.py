"""PNGs that OpenCV decodes by itself: the same pixels as Pillow's, and none of the kinds that need a second look."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from segtrain.data.listing import Item, MaskFile
from segtrain.data.scan import look
from segtrain.decode import masks, readers
from segtrain.decode.masks import MaskRules, read_mask
from segtrain.decode.png import decode_png, plain_png
from segtrain.decode.readers import read_image
from segtrain.decode.reading import Reading
from segtrain.errors import UserError
from tests.data.files import Bytes, noise

Without = Callable[[ModuleType, Callable[[], Any]], None]
HEAD = 33  # signature and IHDR


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def inserted(png: bytes, kind: bytes, content: bytes) -> bytes:
    return png[:HEAD] + chunk(kind, content) + png[HEAD:]


RGB = Image.fromarray(noise(0, 5, 7))
GREY = RGB.convert("L")
EXIF = Image.Exif()
EXIF[0x0112] = 6
TEXT = PngImagePlugin.PngInfo()
TEXT.add_text("Software", "a paint program")
TEXT.add_text("Rawness", "no rotation", zip=True)

PLAIN = {
    "rgb": encoded(RGB),
    "grey": encoded(GREY),
    "gamma": inserted(encoded(GREY), b"gAMA", struct.pack(">I", 100_000)),
    "dots per inch": encoded(RGB, dpi=(300, 300)),
    "a colour profile": encoded(RGB, icc_profile=b"profile"),
    "a date": inserted(encoded(RGB), b"tIME", bytes(7)),
}
OTHERS = {
    "palette": encoded(RGB.quantize(4)),
    "transparency": encoded(RGB.convert("RGBA")),
    "grey transparency": encoded(GREY.convert("LA")),
    "one bit": encoded(GREY.convert("1")),
    "16 bits": encoded(Image.fromarray(np.full((5, 7), 300, np.uint16))),
    "a transparent colour": encoded(RGB, transparency=(1, 2, 3)),
    "rotated": encoded(RGB, exif=EXIF),
    "rotated in a text": inserted(encoded(RGB), b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"exif")),
    "rotated in XMP": inserted(encoded(RGB), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'/>"),
    "animated": encoded(RGB, save_all=True, append_images=[Image.fromarray(noise(1, 5, 7))]),
    "cut at the end": encoded(RGB)[:-12],
    "cut in the middle": encoded(RGB)[:60],
    "only a head": encoded(RGB)[:HEAD],
    "nothing after the signature": encoded(RGB)[:8],
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain(kind: str, tmp_path: Path) -> None:
    found = plain_png(PLAIN[kind])
    assert found is not None
    assert found.size == (5, 7)
    expected = np.asarray(Image.open(io.BytesIO(PLAIN[kind]))).reshape(5, 7, -1)
    assert found.channels == expected.shape[2]
    np.testing.assert_array_equal(decode_png(tmp_path, PLAIN[kind], found, 35), expected)
    repeated = np.repeat(expected, 3, axis=2) if found.channels == 1 else expected
    np.testing.assert_array_equal(decode_png(tmp_path, PLAIN[kind], found, 35, rgb=True), repeated)


@pytest.mark.parametrize("kind", OTHERS)
def test_not_plain(kind: str) -> None:
    assert plain_png(OTHERS[kind]) is None


def test_a_text_that_says_nothing_of_rotation_is_plain() -> None:
    assert plain_png(encoded(RGB, pnginfo=TEXT)) == plain_png(encoded(RGB))


@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_any_plain_png_is_what_pillow_reads(height: int, width: int, grey: bool, level: int, seed: int) -> None:
    image = Image.fromarray(noise(seed, height, width))
    content = encoded(image.convert("L") if grey else image, compress_level=level)
    found = plain_png(content)
    assert found is not None
    assert found.size == (height, width)
    pixels = decode_png(Path("x.png"), content, found, height * width)
    np.testing.assert_array_equal(pixels.squeeze(), np.asarray(Image.open(io.BytesIO(content))).squeeze())


@pytest.mark.parametrize("channels", ["rgb", "grey", "native"])
@pytest.mark.parametrize("kind", [*PLAIN, *OTHERS])
def test_images_are_the_same_with_and_without(kind: str, channels: str, written: Path, without: Without) -> None:
    reading = Reading(channels=channels, orientation="apply")
    without(readers, lambda: read_image(written, reading))


@pytest.mark.parametrize("rules", [MaskRules(), MaskRules(threshold=100.0), MaskRules({(0, 0, 0): 3})], ids=str)
@pytest.mark.parametrize("kind", [*PLAIN, *OTHERS])
def test_masks_are_the_same_with_and_without(kind: str, rules: MaskRules, written: Path, without: Without) -> None:
    without(masks, lambda: read_mask(written, rules))


@pytest.fixture
def written(kind: str, tmp_path: Path) -> Path:
    """The PNG of a kind as a file."""
    path = tmp_path / "x.png"
    path.write_bytes((PLAIN | OTHERS)[kind])
    return path


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Without:
    """Compares what a module reads with what it reads where it takes no PNG for plain."""

    def compare(module: ModuleType, read: Callable[[], Any]) -> None:
        alone = outcome(read)
        monkeypatch.setattr(module, "plain_png", lambda _: None)
        assert_same(alone, outcome(read))

    return compare


def outcome(read: Any) -> Bytes | str:
    try:
        return np.asarray(read())
    except UserError as error:
        return str(error)


def assert_same(found: Bytes | str, expected: Bytes | str) -> None:
    assert type(found) is type(expected), (found, expected)
    if isinstance(found, str):
        assert found == expected
    else:
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype  # type: ignore[union-attr]


def test_too_large_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(PLAIN["grey"])
    for read in (
        lambda: read_image(path, Reading(max_pixels=34)),
        lambda: read_mask(path, MaskRules(max_pixels=34)),
    ):
        with pytest.raises(UserError, match=re.escape(f"{path}: 7 x 5 pixels, more than 34;")):
            read()


@given(st.integers(HEAD + 8, 120), st.integers(0, 7))
def test_damaged_pixels_are_noticed_without_pillow(place: int, bit: int) -> None:
    content = bytearray(PLAIN["rgb"])
    begin = content.index(b"IDAT")
    content[begin + 4 + place % (len(content) - begin - 20)] ^= 1 << bit
    found = plain_png(bytes(content))
    assert found is not None
    with pytest.raises(UserError, match=r"^x\.png: damaged"):
        decode_png(Path("x.png"), bytes(content), found, 100)


def test_the_scan_reads_every_byte_of_a_plain_mask(tmp_path: Path) -> None:
    image, mask = tmp_path / "a.png", tmp_path / "m.png"
    image.write_bytes(PLAIN["rgb"])
    content = bytearray(PLAIN["grey"])
    content[content.index(b"IDAT") + 9] ^= 1
    mask.write_bytes(content)
    assert look(Item("a", image, MaskFile(mask)), MaskRules()).fault.startswith(f"{mask}: damaged")

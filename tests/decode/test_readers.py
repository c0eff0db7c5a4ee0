"""Files to arrays: four readers, one result; ids of masks kept; each fault named with its file and a remedy."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from segtrain.data.listing import Item, MaskFile
from segtrain.data.scan import look
from segtrain.decode.headers import MAX_PIXELS
from segtrain.decode.masks import MaskRules, read_mask
from segtrain.decode.readers import READERS, read_image
from segtrain.decode.reading import DECODERS, Reading
from segtrain.errors import UserError
from tests.data.files import Bytes, bomb, noise, oriented, picture, truncate

SIZES = [(37, 53), (1, 1), (5, 1)]
BLUE_AND_RED = [0, 0, 255, 255, 0, 0]
LOSSLESS = {"png": {}, "bmp": {}, "tif": {}, "webp": {"lossless": True}}


def grey(image: Bytes) -> Bytes:
    return np.asarray(Image.fromarray(image).convert("L"))


def as_rgb(plane: Bytes) -> Bytes:
    return np.repeat(plane[..., None], 3, axis=2)


def palette_image(height: int, width: int) -> tuple[Image.Image, Bytes]:
    """Id 0 is blue and id 1 is red, in a checkerboard."""
    ids = (np.indices((height, width)).sum(0) % 2).astype(np.uint8)
    image = Image.fromarray(ids).convert("P")
    image.putdata(ids.ravel().tolist())
    image.putpalette(BLUE_AND_RED)
    return image, np.array(BLUE_AND_RED, np.uint8).reshape(2, 3)[ids]


def read_by_all(path: Path) -> Bytes:
    arrays = {reader: read_image(path, Reading(reader)) for reader in READERS}
    for reader, array in arrays.items():
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, arrays["pillow"], err_msg=reader)
    return arrays["pillow"]


# ---- images --------------------------------------------------------------------------------------------------------


def test_the_four_readers() -> None:
    assert sorted(READERS) == sorted(DECODERS) == ["matplotlib", "opencv", "pillow", "skimage"]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_rgb_is_read_exactly(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    path, image = tmp_path / f"ein Bild, 日本 {size}.{suffix}", picture(*size)
    Image.fromarray(image).save(path, **LOSSLESS[suffix])
    np.testing.assert_array_equal(read_by_all(path), image)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_grey_palette_and_one_bit_become_rgb(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    path, plane = tmp_path / f"a.{suffix}", noise(0, *size)[..., 0]
    Image.fromarray(plane).save(path)
    np.testing.assert_array_equal(read_by_all(path), as_rgb(plane))
    image, expected = palette_image(*size)
    image.save(path)
    np.testing.assert_array_equal(read_by_all(path), expected)
    Image.fromarray(plane > 127).save(path)
    np.testing.assert_array_equal(read_by_all(path), as_rgb(np.where(plane > 127, 255, 0).astype(np.uint8)))


@pytest.mark.parametrize("transparency", ["alpha", "one colour"])
def test_transparency_is_dropped(tmp_path: Path, transparency: str) -> None:
    path, image = tmp_path / "a.png", picture(9, 12)
    if transparency == "alpha":
        Image.fromarray(np.dstack([image, noise(1, 9, 12)[..., 0]])).save(path)
    else:
        Image.fromarray(image).save(path, transparency=(255, 0, 0))
    np.testing.assert_array_equal(read_by_all(path), image)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {"subsampling": "4:2:0"}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {})],
)
def test_jpeg(tmp_path: Path, mode: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    path, image = tmp_path / "a.jpeg", picture(*size)
    Image.fromarray(image).convert(mode).save(path, quality=95, **options)
    expected = as_rgb(grey(image)) if mode == "L" else image
    assert np.abs(read_by_all(path).astype(int) - expected).mean() < 8


@pytest.mark.parametrize("suffix", [*LOSSLESS, "jpg"])
def test_red_is_red(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path, **LOSSLESS.get(suffix, {}))
    red, *others = np.moveaxis(read_by_all(path), -1, 0)
    assert red.min() > 250
    assert np.max(others) < 5


# ---- masks ---------------------------------------------------------------------------------------------------------


def test_palette_ids_are_kept_where_opencv_breaks_them(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    image, _ = palette_image(5, 7)
    image.save(path)
    ids = np.indices((5, 7)).sum(0) % 2
    np.testing.assert_array_equal(read_mask(path), ids)
    assert (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) != ids).any()


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("dtype", "ids"), [(bool, [0, 1]), (np.uint8, [0, 1, 255]), (np.uint16, [0, 300, 65535])])
def test_ids_of_any_depth(tmp_path: Path, suffix: str, dtype: type, ids: list[int]) -> None:
    path = tmp_path / f"m.{suffix}"
    written = np.random.default_rng(0).choice(ids, (5, 7))
    Image.fromarray(written.astype(dtype)).save(path)
    mask = read_mask(path)
    np.testing.assert_array_equal(mask, written)
    assert mask.dtype.kind in "iu"


# ---- faults --------------------------------------------------------------------------------------------------------

SMALL = Image.fromarray(picture(16, 20))
GREY = SMALL.convert("L")
Write = Callable[[Path], Any]


def cut(image: Image.Image, kind: str, share: float = 0.8) -> Write:
    def write(path: Path) -> None:
        image.save(path, kind)
        truncate(path, share)

    return write


def two_pages(image: Image.Image, kind: str = "TIFF") -> Write:
    return lambda path: image.save(path, kind, save_all=True, append_images=[ImageOps.mirror(image)])


def deep(array: npt.NDArray[Any]) -> Write:
    return lambda path: tifffile.imwrite(path, array, photometric="minisblack", planarconfig="contig")


def half_clear(image: Image.Image) -> Image.Image:
    clear = image.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    return clear


FAULTY: dict[str, tuple[str, Write, str]] = {
    "truncated PNG": ("x.png", cut(GREY, "PNG"), "replace or remove"),
    "truncated TIFF": ("x.tif", cut(GREY, "TIFF", 0.4), "replace or remove"),
    "zero bytes": ("x.png", lambda path: path.write_bytes(b""), "0 bytes.*replace or remove"),
    "HTML": ("x.png", lambda path: path.write_text("<!DOCTYPE html>"), "15 bytes.*<!DOCTYP.*replace or remove"),
    "EPS": ("x.png", lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "replace"),
    "Git LFS": ("x.png", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "dead link": ("x.png", lambda path: path.symlink_to("gone.png"), r"a link that leads nowhere \(to gone.png\)"),
    "folder": ("x.png", Path.mkdir, "a folder"),
    "missing": ("x.png", lambda path: None, "no such file"),
    "bomb": ("x.png", lambda path: bomb(path, 12000), "12000 x 12000.*tiles"),
    "two pages": ("x.tif", two_pages(GREY), "2 pages.*split"),
    "rotated": ("x.tif", lambda path: GREY.save(path, exif=oriented(4)), "orientation 4.*data.orientation.*upright"),
    "rotated PNG": ("x.png", lambda path: GREY.save(path, exif=oriented(3)), "orientation 3.*upright"),
    "link to itself": ("x.png", lambda path: path.symlink_to(path), "not a readable image"),
}
FAULTY_IMAGES = FAULTY | {
    "GIF": ("x.png", lambda path: SMALL.save(path, "GIF"), r"not a readable image \(a GIF.*save it as PNG"),
    "truncated JPEG": ("x.jpg", cut(SMALL, "JPEG"), "replace or remove"),
    "truncated WebP": ("x.webp", cut(SMALL, "WEBP"), "replace or remove"),
    "NaN": ("x.tif", deep(np.full((5, 7), np.nan, np.float32)), "35 values are NaN"),
    "infinite": ("x.tif", deep(np.array([[0, np.inf, 1]], np.float32)), ": 1 values are NaN or infinite"),
    "floats up to 9": ("x.tif", deep(np.array([[0, 9.5]], np.float32)), "0 .. 9.5, beyond.*data.value_range"),
    "32 bits": ("x.tif", deep(np.array([[0, 70000]], np.uint32)), "uint32, 0 .. 70000; declare.*data.value_range"),
    "five channels": ("x.tif", deep(np.zeros((4, 6, 5), np.uint8)), "5 channels.*data.channels=native"),
    "two frames": ("x.jpg", two_pages(SMALL, "MPO"), "2 pages.*split"),
    "animation": ("x.webp", two_pages(SMALL, "WEBP"), "2 pages.*split"),
    "rotated JPEG": ("x.jpg", lambda path: SMALL.save(path, exif=oriented(2)), "orientation 2.*upright"),
}
FAULTY_MASKS = FAULTY | {
    "GIF of colours": ("x.gif", SMALL.save, r"colours, not class ids"),
    "animated GIF": ("x.gif", two_pages(GREY, "GIF"), "2 pages"),
    "JPEG": ("x.jpg", GREY.save, "JPEG.*PNG"),
    "JPEG named PNG": ("x.png", lambda path: GREY.save(path, "JPEG"), "JPEG.*PNG"),
    "colours": ("x.png", SMALL.save, r"colours, not class ids: .* in \d+ pixels.*data.colors"),
    "colours and alpha": ("x.png", SMALL.convert("RGBA").save, "colours, not class ids"),
    "transparency that varies": ("x.png", half_clear(SMALL).save, "4 channels.*single-channel"),
    "grey, transparency that varies": ("x.png", half_clear(SMALL).convert("LA").save, "2 channels.*single-channel"),
    "float": ("x.tif", deep(np.array([[0, 0.5]], np.float32)), "fractions.*data.mask_threshold"),
    "16-bit colours": ("x.tif", deep(np.ones((3, 4, 3), np.uint16)), "uint16; save single-channel"),
}


def check_message(message: str, path: Path, says: str) -> None:
    assert message.startswith(f"{path}: ")
    assert re.search(says, message), message
    assert "\n" not in message


def refused(read: Callable[[], object], path: Path, says: str) -> None:
    with pytest.raises(UserError) as caught:
        read()
    check_message(str(caught.value), path, says)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("fault", [name for name in FAULTY_IMAGES if name != "truncated JPEG"])
def test_faulty_image(tmp_path: Path, fault: str, reader: str) -> None:
    name, write, says = FAULTY_IMAGES[fault]
    write(tmp_path / name)
    refused(lambda: read_image(tmp_path / name, Reading(reader)), tmp_path / name, says)


@pytest.mark.parametrize("ids", [[[0, 0]], [[255, 255]], [[0, 255]], [[0, 3], [7, 255]], [list(range(256))]])
def test_a_gif_holds_grey_ids_however_it_numbers_them(tmp_path: Path, ids: list[list[int]]) -> None:
    """Its own numbers are 0 for all that is white, where all is white."""
    mask = np.array(ids, np.uint8)
    Image.fromarray(mask).save(tmp_path / "x.gif")
    np.testing.assert_array_equal(read_mask(tmp_path / "x.gif"), mask)


def test_a_gif_of_colours_goes_by_the_colours(tmp_path: Path) -> None:
    colors = {(0, 0, 0): 0, (128, 0, 0): 1, (0, 128, 0): 2}
    for ids in ([[0, 1, 2]], [[2, 2, 1]]):
        coloured = Image.fromarray(np.array(ids, np.uint8))
        coloured.putpalette([value for color in colors for value in color])
        coloured.save(tmp_path / "x.gif")
        np.testing.assert_array_equal(read_mask(tmp_path / "x.gif", MaskRules(colors)), ids)


@pytest.mark.parametrize("fault", FAULTY_MASKS)
def test_faulty_mask(tmp_path: Path, fault: str) -> None:
    name, write, says = FAULTY_MASKS[fault]
    write(tmp_path / name)
    refused(lambda: read_mask(tmp_path / name), tmp_path / name, says)


@pytest.mark.parametrize("fault", FAULTY_IMAGES)
def test_the_scan_finds_faulty_images(tmp_path: Path, fault: str) -> None:
    """Also the truncated JPEG, of which OpenCV makes a picture with a grey bottom without a word."""
    name, write, says = FAULTY_IMAGES[fault]
    write(tmp_path / name)
    GREY.save(tmp_path / "mask.png")
    assert look(Item("x", tmp_path / "mask.png", MaskFile(tmp_path / "mask.png")), MaskRules()).fault == ""
    check_message(
        look(Item("x", tmp_path / name, MaskFile(tmp_path / "mask.png")), MaskRules()).fault, tmp_path / name, says
    )


def test_upright_orientation_is_no_fault(tmp_path: Path) -> None:
    GREY.save(tmp_path / "x.png", exif=oriented(1))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), as_rgb(np.asarray(GREY)))
    np.testing.assert_array_equal(read_mask(tmp_path / "x.png"), np.asarray(GREY))


def test_as_many_pixels_as_allowed(tmp_path: Path) -> None:
    assert MAX_PIXELS == 10**8
    GREY.save(tmp_path / "x.png")
    path, exactly, less = tmp_path / "x.png", 16 * 20, 16 * 20 - 1
    assert read_mask(path, MaskRules(max_pixels=exactly)).shape == (16, 20)
    assert read_image(path, Reading(max_pixels=exactly)).shape == (16, 20, 3)
    says = "20 x 16 pixels, more than 319.*data.max_pixels"
    refused(lambda: read_mask(path, MaskRules(max_pixels=less)), path, says)
    refused(lambda: read_image(path, Reading(max_pixels=less)), path, says)


def test_compression_that_a_reader_lacks(tmp_path: Path) -> None:
    """skimage reads LZW with a further package only: either it does, or it says so in our words."""
    path = tmp_path / "x.tif"
    SMALL.save(path, compression="tiff_lzw")
    for reader in ("opencv", "pillow", "matplotlib"):
        np.testing.assert_array_equal(read_image(path, Reading(reader)), np.asarray(SMALL))
    try:
        np.testing.assert_array_equal(read_image(path, Reading("skimage")), np.asarray(SMALL))
    except UserError as error:
        assert "another data.reader" in str(error)  # noqa: PT017 - either outcome is right


def test_unknown_reader(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.reader.*did you mean opencv\?"):
        read_image(tmp_path / "x.png", Reading("opencvv"))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


INTACT = {
    ".png": encoded(SMALL, "PNG"),
    ".jpg": encoded(SMALL, "JPEG"),
    ".bmp": encoded(GREY, "BMP"),
    ".tif": encoded(GREY, "TIFF"),
    ".webp": encoded(SMALL, "WEBP"),
}
EDITS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on damaged metadata
@given(suffix=st.sampled_from(list(INTACT)), edits=EDITS, share=st.sampled_from([1.0, 1.0, 0.9, 0.3, 0.02]))
def test_any_damage_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, edits: list[tuple[int, int]], share: float
) -> None:
    content = bytearray(INTACT[suffix])
    for place, value in edits:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    for read in (read_mask, *(lambda path, reader=reader: read_image(path, Reading(reader)) for reader in READERS)):
        try:
            assert read(path).ndim in (2, 3)
        except UserError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017 - either outcome is right
    finding = look(Item("x", path, MaskFile(path)), MaskRules())
    assert str(path) in finding.fault if finding.fault else finding.ids

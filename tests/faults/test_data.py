"""Images and masks as decoders really behave: one test for each kind of file that they get wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from segtrain.data import DataSource
from segtrain.data.files import FileData
from segtrain.data.listing import Item, MaskFile
from segtrain.data.scan import look
from segtrain.decode.headers import MAX_PIXELS
from segtrain.decode.masks import MaskRules, read_mask
from segtrain.decode.readers import read_image, read_window
from segtrain.decode.reading import Reading
from segtrain.errors import UserError
from segtrain.layouts.folder import FolderLayout
from segtrain.windows import Window
from tests.data.files import REQUEST, bomb, make_folder, noise, oriented, picture, save_ids, truncate

IMAGE = picture(20, 28)
IDS = (np.indices((20, 28)).sum(0) // 9 % 3).astype(np.uint8)
RED, GREEN = (255, 0, 0), (0, 255, 0)


def refused(act: Any) -> str:
    with pytest.raises(UserError) as caught:
        act()
    return str(caught.value)


def fault_of(image: Path, mask: Path | None = None, **options: Any) -> str:
    """What the scan says of an image and its mask."""
    if mask is None:
        mask = image.with_name("whole mask.png")
        save_ids(mask, IDS)
    return look(Item("x", image, MaskFile(mask)), MaskRules(**options), Reading()).fault


def opened(root: Path, **options: Any) -> DataSource:
    return FileData(str(root), FolderLayout(), **options).open(REQUEST)


def colored(ids: npt.NDArray[Any], colors: Mapping[int, tuple[int, int, int]]) -> npt.NDArray[np.uint8]:
    return np.array([colors[i] for i in range(max(colors) + 1)], np.uint8)[ids]


@pytest.mark.fault("Data", "truncated JPEG", "named, not half grey")
def test_truncated_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(noise(0, 20, 28)).save(path)
    truncate(path, 0.6)
    assert fault_of(path).startswith(f"{path}: damaged")
    assert refused(lambda: read_image(path, verify=True)).startswith(f"{path}: damaged")


@pytest.mark.parametrize("damage", ["truncated", "bits"])
@pytest.mark.fault("Data", "truncated or bit-rotted PNG", "named, no crash")
def test_truncated_or_bit_rotted_png(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(noise(0, 20, 28)).save(path)
    if damage == "truncated":
        truncate(path, 0.6)
    else:
        content = bytearray(path.read_bytes())
        content[60] ^= 255
        path.write_bytes(content)
    assert refused(lambda: read_image(path, verify=True)).startswith(f"{path}: ")
    assert fault_of(path).startswith(f"{path}: ")


@pytest.mark.fault("Data", "a PNG chunk that promises gigabytes", "named, before room is made for it")
def test_a_png_that_promises_gigabytes(tmp_path: Path) -> None:
    """OpenCV first makes room for all of the chunk."""
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), noise(0, 20, 28).astype(np.uint16))
    content = bytearray(path.read_bytes())
    content[33] |= 0x70
    path.write_bytes(content)
    assert "ends too early" in refused(lambda: read_image(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "(an empty file, 0 bytes)"),
        (b"\n<!DOCTYPE html><html>", "(an HTML page of 22 bytes, beginning with <!DOCTYP)"),
        (b"x,y", "(3 bytes, starting with x,y)"),
    ],
)
@pytest.mark.fault("Data", "zero bytes, HTML, text named .png", "named, with size and first bytes")
def test_other_things_named_png(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    assert says in refused(lambda: read_image(path))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.fault("Data", "16-bit grey", "all 16 bits, divided by 65535")
def test_sixteen_bit_grey(tmp_path: Path, suffix: str) -> None:
    path, values = tmp_path / f"x.{suffix}", np.arange(560, dtype=np.uint16).reshape(20, 28) * 117
    Image.fromarray(values).save(path)
    image = read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, np.repeat((values / 65535)[..., None], 3, 2), atol=1e-7)


@pytest.mark.fault("Data", "12-bit files", "divided by the declared range; values beyond it are refused")
def test_declared_value_range(tmp_path: Path) -> None:
    path, values = tmp_path / "x.png", np.array([[100, 2000, 4095]], np.uint16)
    Image.fromarray(values).save(path)
    grey = read_image(path, Reading(channels="grey", value_range=4095))
    np.testing.assert_allclose(grey[..., 0], values / 4095, rtol=1e-6)
    grey = read_image(path, Reading(channels="grey", value_range=[100, 4100]))
    np.testing.assert_allclose(grey[..., 0], (values - 100.0) / 4000, rtol=1e-6)
    message = refused(lambda: read_image(path, Reading(value_range=4000)))
    assert message.startswith(f"{path}: values 100 .. 4095, beyond the range 0 .. 4000")
    Image.fromarray(IMAGE).save(path)
    assert "8 bits" in refused(lambda: read_image(path, Reading(value_range=4000)))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.fault("Data", "16-bit colours", "all 16 bits, alpha dropped")
def test_sixteen_bit_colours(tmp_path: Path, suffix: str) -> None:
    path, values = tmp_path / f"x.{suffix}", IMAGE.astype(np.uint16) * 200
    cv2.imwrite(str(path), values[..., ::-1])
    np.testing.assert_allclose(read_image(path), values / 65535, atol=1e-7)
    with_alpha = np.dstack([values, np.full((20, 28), 65535, np.uint16)])
    if suffix == "tif":
        tifffile.imwrite(path, with_alpha, photometric="rgb", extrasamples=["unassalpha"])
    else:
        cv2.imwrite(str(path), with_alpha[..., [2, 1, 0, 3]])
    assert read_image(path, Reading(channels="native")).shape == (20, 28, 4)
    np.testing.assert_allclose(read_image(path), values / 65535, atol=1e-7)


@pytest.mark.fault("Data", "float TIFF", "as it is; NaN and Inf refused, file named")
def test_float_tiff(tmp_path: Path) -> None:
    path, values = tmp_path / "x.tif", noise(0, 20, 28)[..., 0].astype(np.float32) / 255
    tifffile.imwrite(path, values)
    np.testing.assert_array_equal(read_image(path, Reading(channels="grey"))[..., 0], values)
    for bad in (np.nan, np.inf):
        values[3, 4] = bad
        tifffile.imwrite(path, values)
        assert refused(lambda: read_image(path)).startswith(f"{path}: 1 values are NaN or infinite")


@pytest.mark.fault("Data", "multi-page TIFF", "channels where so configured, else refused")
def test_multi_page_tiff(tmp_path: Path) -> None:
    path, pages = tmp_path / "x.tif", np.moveaxis(noise(0, 20, 28), 2, 0)[:2]
    tifffile.imwrite(path, pages, photometric="minisblack")
    assert f"{path}: holds 2 pages" in refused(lambda: read_image(path))
    stacked = read_image(path, Reading(channels="native", pages="channels"))
    np.testing.assert_array_equal(stacked, np.moveaxis(pages, 0, 2))
    np.testing.assert_array_equal(read_image(path, Reading(channels="grey", pages=1))[..., 0], pages[1])
    assert "no page 2" in refused(lambda: read_image(path, Reading(pages=2)))


@pytest.mark.fault("Data", "TIFF with overviews", "the full page")
def test_smaller_versions_of_a_page_are_no_pages(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(IMAGE, photometric="rgb")
        file.write(IMAGE[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_image(path), IMAGE)


@pytest.mark.fault("Data", "animated GIF", "refused, named")
def test_animated_gif(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(IMAGE).save(path, "GIF", save_all=True, append_images=[Image.fromarray(IMAGE[::-1])])
    assert "(a GIF, " in refused(lambda: read_image(path))


@pytest.mark.fault("Data", "palette mask", "ids")
def test_palette_mask(tmp_path: Path) -> None:
    path, mask = tmp_path / "m.png", Image.fromarray(IDS)
    mask.putpalette([9, 9, 9, 255, 0, 0, 0, 255, 0])
    mask.save(path)
    for rules in (MaskRules(), MaskRules({RED: 7})):
        np.testing.assert_array_equal(read_mask(path, rules), IDS)


@pytest.mark.fault("Data", "RGB colour mask", "ids by the colour map; an unknown colour is named with its count")
def test_rgb_colour_mask(tmp_path: Path) -> None:
    path, colors = tmp_path / "m.png", {0: (0, 0, 0), 1: RED, 2: GREEN}
    save_ids(path, colored(IDS, colors))
    rules = MaskRules({color: index for index, color in colors.items()})
    np.testing.assert_array_equal(read_mask(path, rules), IDS)
    Image.fromarray(colored(IDS, colors)).convert("RGBA").save(path)
    np.testing.assert_array_equal(read_mask(path, rules), IDS)
    message = refused(lambda: read_mask(path, MaskRules({(0, 0, 0): 0, RED: 1})))
    assert message.startswith(f"{path}: ")
    assert f"(0,255,0) in {(IDS == 2).sum()} pixels" in message
    assert f"(255,0,0) in {(IDS == 1).sum()} pixels" in refused(lambda: read_mask(path))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
@pytest.mark.fault("Data", "mask of three equal channels", "ids")
def test_three_equal_channels_are_ids(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(IDS).convert(mode).save(path)
    np.testing.assert_array_equal(read_mask(path), IDS)


@pytest.mark.parametrize("where", ["classes.txt", "dataset.json", "data.colors"])
@pytest.mark.fault("Data", "data set of colour masks", "read, wherever the colours are declared")
def test_a_data_set_of_colour_masks(tmp_path: Path, where: str) -> None:
    colors = {0: (0, 0, 0), 1: RED, 4: GREEN}
    make_folder(tmp_path, (0, 1, 4))
    for path in (tmp_path / "masks").rglob("*.png"):
        save_ids(path, colored(np.asarray(Image.open(path)), colors | {2: RED, 3: RED}))
    if where == "classes.txt":
        (tmp_path / where).write_text("0\tground\t0,0,0\n1\tcar\t255,0,0\n4\tvoid\t0,255,0\tignore\n")
    elif where == "dataset.json":
        classes = ", ".join(f'{{"id": {i}, "name": "c{i}", "palette": {list(colors[i])}}}' for i in colors)
        (tmp_path / where).write_text(f'{{"classes": [{classes}], "ignore_index": 4}}')
    given = {"colors": {i: list(c) for i, c in colors.items()}, "ignore_ids": 4} if where == "data.colors" else {}
    source = opened(tmp_path, **given)
    mask = source.splits["train"].read(0)[1]
    expected = colored(np.array([[0, 1, 2]]), {0: (0,) * 3, 1: (1,) * 3, 2: (255,) * 3})[..., 0].ravel().tolist()
    assert sorted(np.unique(mask).tolist()) == expected
    assert source.task.mode == "binary"


@pytest.mark.parametrize("given", [{1: [255, 0]}, {1: [0, 0, 0], 2: [0, 0, 0]}, {1: "red"}, "yes", {1: [0, 0, 256]}])
@pytest.mark.fault("Data", "impossible colour map", "refused")
def test_impossible_colour_maps(tmp_path: Path, given: Any) -> None:
    assert refused(lambda: FileData(str(tmp_path), FolderLayout(), colors=given)).startswith("data.colors")


@pytest.mark.fault("Data", "0 / 255 mask", "foreground only where the whole data set is so")
def test_0_255_mask(tmp_path: Path) -> None:
    """Decided for the data set: beside other ids, 255 is ignored, even in a file that has 0 and 255 alone."""
    make_folder(tmp_path / "two", (0, 255))
    assert np.unique(opened(tmp_path / "two").splits["train"].read(0)[1]).tolist() == [0, 1]
    make_folder(tmp_path / "three", (0, 1, 255))
    first = tmp_path / "three" / "masks" / "train" / "bïld 0.png"
    save_ids(first, np.where(np.asarray(Image.open(first)) == 1, 0, np.asarray(Image.open(first))).astype(np.uint8))
    assert np.unique(opened(tmp_path / "three").splits["train"].read(0)[1]).tolist() == [0, 255]


@pytest.mark.fault("Data", "JPEG mask", "refused; data.mask_threshold reads it")
def test_jpeg_mask(tmp_path: Path) -> None:
    path, mask = tmp_path / "m.jpg", (IDS > 0) * np.uint8(255)
    Image.fromarray(mask).save(path)
    assert len(np.unique(np.asarray(Image.open(path)))) > 2
    assert "data.mask_threshold" in refused(lambda: read_mask(path))
    np.testing.assert_array_equal(read_mask(path, MaskRules(threshold=128)), mask > 0)


@pytest.mark.fault("Data", "smoothed mask", "refused; data.mask_threshold reads it")
def test_smoothed_mask(tmp_path: Path) -> None:
    path, values = tmp_path / "m.tif", np.linspace(0, 1, 560, dtype=np.float32).reshape(20, 28)
    tifffile.imwrite(path, values)
    assert "data.mask_threshold" in refused(lambda: read_mask(path))
    np.testing.assert_array_equal(read_mask(path, MaskRules(threshold=0.5)), values > 0.5)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64])
@pytest.mark.fault("Data", "ids of 16, 32 and 64 bits", "read")
def test_deep_ids(tmp_path: Path, dtype: type) -> None:
    path, ids = tmp_path / "m.tif", IDS.astype(dtype) * 30000
    tifffile.imwrite(path, ids)
    np.testing.assert_array_equal(read_mask(path), ids)


@pytest.mark.fault("Data", "mask of one value", "read")
def test_one_value_masks(tmp_path: Path) -> None:
    make_folder(tmp_path, (0, 1))
    save_ids(tmp_path / "masks" / "train" / "bïld 0.png", np.zeros((7, 11), np.uint8))
    assert np.unique(opened(tmp_path).splits["train"].read(0)[1]).tolist() == [0]


@pytest.mark.parametrize("tag", range(2, 9))
@pytest.mark.fault("Data", "EXIF orientation", "the size of the mask tells which was meant; square: asks")
def test_exif_orientation(tmp_path: Path, tag: int) -> None:
    """Pillow's own transposition is the reference."""
    path, mask = tmp_path / "x.png", tmp_path / "m.png"
    Image.fromarray(IMAGE).save(path, exif=oriented(tag))
    with Image.open(path) as image:
        from PIL import ImageOps

        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_image(path, Reading(orientation="apply")), upright)
    np.testing.assert_array_equal(read_image(path, Reading(orientation="ignore")), IMAGE)
    for expected in (upright, IMAGE):
        save_ids(mask, expected[..., 0] // 128)
        finding = look(Item("x", path, MaskFile(mask)), MaskRules(), Reading())
        if tag < 5:
            assert "data.orientation=apply or ignore" in finding.fault
        else:
            assert (finding.fault, finding.size) == ("", expected.shape[:2])
            np.testing.assert_array_equal(read_image(path, Reading(), finding.size), expected)
    Image.fromarray(IMAGE[:20, :20]).save(path, exif=oriented(tag))
    save_ids(mask, IDS[:20, :20])
    assert "data.orientation=apply or ignore" in fault_of(path, mask)


@pytest.mark.fault("Data", "EXIF orientation, as a data set", "turned as its masks are")
def test_exif_orientation_of_a_data_set(tmp_path: Path) -> None:
    make_folder(tmp_path, (0, 1))
    path = tmp_path / "images" / "train" / "bïld 0.png"
    upright = np.asarray(Image.open(path))
    Image.fromarray(np.rot90(upright)).save(path, exif=oriented(6))
    np.testing.assert_array_equal(opened(tmp_path).splits["train"].read(0)[0], upright)


@pytest.mark.parametrize("kind", ["opaque", "clear"])
@pytest.mark.fault("Data", "RGBA", "alpha dropped, with one warning unless opaque")
def test_rgba(tmp_path: Path, kind: str) -> None:
    make_folder(tmp_path, (0, 1))
    for path in (tmp_path / "images").rglob("*.png"):
        with Image.open(path) as image:
            clear = image.convert("RGBA")
        clear.putalpha(255 if kind == "opaque" else 77)
        clear.save(path)
    source = opened(tmp_path)
    assert source.channels == 3
    assert len([note for note in source.notes if "transparency" in note]) == (kind == "clear")
    assert opened(tmp_path, channels="native").channels == 4


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "tif"), ("CMYK", "jpg"), ("1", "png"), ("P", "png")])
@pytest.mark.fault("Data", "CMYK, 1-bit, palette", "converted")
def test_cmyk_one_bit_and_palette(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    image = Image.fromarray(IMAGE).convert(mode)
    image.save(path)
    with Image.open(path) as saved:
        np.testing.assert_array_equal(read_image(path), np.asarray(saved.convert("RGB")))
        np.testing.assert_array_equal(
            read_image(path, Reading(channels="grey"))[..., 0], np.asarray(saved.convert("RGB").convert("L"))
        )


@pytest.mark.fault("Data", "decompression bomb", "refused by its header")
def test_bomb(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    bomb(path, 12000)
    assert f"more than {MAX_PIXELS:,}" in refused(lambda: read_image(path))
    assert f"more than {MAX_PIXELS:,}" in refused(lambda: read_mask(path))


@pytest.mark.fault("Data", "symlink loop, folder named x.png", "named, no hang")
def test_a_symlink_loop_and_a_folder_named_png(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "x.png").mkdir()
    for name in ("a.png", "x.png"):
        assert refused(lambda name=name: read_image(tmp_path / name)).startswith(f"{tmp_path / name}: not a readable")


@pytest.mark.fault("Data", "unicode and spaces in names", "loads")
def test_unicode_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "ein Bild, 日本.png"
    Image.fromarray(IMAGE).save(path)
    np.testing.assert_array_equal(read_image(path), IMAGE)


@pytest.mark.fault("Data", "images of different kinds", "all listed")
def test_images_of_different_kinds_are_all_listed(tmp_path: Path) -> None:
    make_folder(tmp_path, (0, 1), {"train": 5, "val": 2})
    deep, wide = (tmp_path / "images" / "train" / f"bïld {i}.png" for i in (1, 2))
    with Image.open(deep) as image:
        Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16)).save(deep)
    with Image.open(wide) as image:
        Image.fromarray(np.asarray(image)[..., 0]).save(wide)
    message = refused(lambda: opened(tmp_path, channels="native"))
    assert f"{deep}: 1 channels of float32, but most images have 3 of uint8" in message
    assert f"{wide}: 1 channels of uint8, but most images have 3 of uint8" in message


@pytest.mark.fault("Data", "windows of a huge tiled TIFF", "read, exempt from the limit")
def test_windows_need_not_fit_into_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, IMAGE, photometric="rgb", tile=(16, 16), compression="zlib")
    reading, window = Reading(max_pixels=64), Window(3, 5, 8, 8)
    assert "more than 64" in refused(lambda: read_image(path, reading))
    np.testing.assert_array_equal(read_window(path, window, (20, 28), reading), IMAGE[3:11, 5:13])


def test_a_tiff_whose_parts_hold_less_than_its_pixels(tmp_path: Path) -> None:
    path, values = tmp_path / "x.tif", IMAGE.astype(np.uint16)
    tifffile.imwrite(path, values, photometric="rgb", rowsperstrip=7)
    np.testing.assert_allclose(read_image(path), values / 65535, atol=1e-7)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["RowsPerStrip"].overwrite(20)  # one strip of all rows, with the bytes of seven
    assert f"{path}: " in refused(lambda: read_image(path, verify=True))

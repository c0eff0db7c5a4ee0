"""Parts of images: equal to the cut of the whole, and of large TIFFs read without decoding more."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from segtrain.data import examples as examples_module
from segtrain.data import scan as scan_module
from segtrain.data.classes import Declared, FileClass, build_class_map
from segtrain.data.files import FileExamples
from segtrain.data.listing import Item, MaskFile
from segtrain.data.sampling import NOWHERE, Places
from segtrain.data.scan import bands, look
from segtrain.decode.headers import Header
from segtrain.decode.masks import MaskRules
from segtrain.decode.readers import read_image, read_window
from segtrain.decode.reading import Reading
from segtrain.errors import UserError
from segtrain.windows import Window
from tests.data.files import REQUEST, noise

SIDE, TILE = 20_000, 512
WINDOWS = [Window(0, 0, 1, 1), Window(3, 5, 20, 9), Window(15, 15, 18, 34), Window(0, 0, 45, 61), Window(44, 60, 1, 1)]
KINDS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (16, 32), "compression": "zlib"},
    "tiles with predictor": {"tile": (16, 16), "compression": "zlib", "predictor": True},
    "uncompressed tiles": {"tile": (16, 16)},
    "strips": {"rowsperstrip": 7, "compression": "zlib"},
    "uncompressed strips": {"rowsperstrip": 7},
    "one strip": {},
    "planes": {"planarconfig": "separate", "tile": (16, 16), "compression": "zlib"},
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_the_cut_of_the_whole(tmp_path: Path, kind: str, dtype: type) -> None:
    path, image = tmp_path / "x.tif", noise(0, 45, 61).astype(dtype)
    values = np.moveaxis(image, 2, 0) if kind == "planes" else image
    tifffile.imwrite(path, values, photometric="rgb", **KINDS[kind])
    whole = read_image(path)
    np.testing.assert_allclose(whole, image if dtype == np.uint8 else image / 65535, atol=1e-6)
    for window in WINDOWS:
        part = read_window(path, window, (45, 61))
        rows, columns = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
        np.testing.assert_array_equal(part, whole[rows, columns])


@pytest.mark.parametrize("suffix", ["png", "jpg", "lzw.tif"])
def test_files_that_are_decoded_as_a_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(noise(0, 45, 61)).save(path, **({"compression": "tiff_lzw"} if suffix == "lzw.tif" else {}))
    np.testing.assert_array_equal(read_window(path, Window(3, 5, 20, 9), (45, 61)), read_image(path)[3:23, 5:14])
    with pytest.raises(UserError, match="more than 100"):
        read_window(path, Window(3, 5, 2, 2), (45, 61), Reading(max_pixels=100))


def tiles(channels: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Tiles of the large file; each has its own colour, and its id is whether row + column is odd."""
    across = -(-SIDE // TILE)
    for row in range(across):
        for column in range(across):
            yield np.full((TILE, TILE, channels)[: 2 + (channels > 1)], color(row, column, channels), np.uint8)


def color(row: int, column: int, channels: int) -> Any:
    return (row + column) % 2 if channels == 1 else [row, column, (row + column) % 2]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Item:
    """20,000 x 20,000 pixels in under 2 MB."""
    folder = tmp_path_factory.mktemp("large")
    for name, channels, photometric in (("image", 3, "rgb"), ("mask", 1, "minisblack")):
        shape = (SIDE, SIDE, 3) if channels == 3 else (SIDE, SIDE)
        options = {"tile": (TILE, TILE), "compression": "zlib", "compressionargs": {"level": 1}}
        tifffile.imwrite(
            folder / f"{name}.tif", tiles(channels), shape=shape, dtype=np.uint8, photometric=photometric, **options
        )
    return Item("large", folder / "image.tif", MaskFile(folder / "mask.tif"))


def examples(item: Item) -> FileExamples:
    classes = build_class_map(Declared([FileClass(0, "even"), FileClass(1, "odd")]), REQUEST)
    return FileExamples([item], [(SIDE, SIDE)], Reading(), MaskRules(), classes, Places([NOWHERE]))


@pytest.mark.slow  # half a minute to write the file
def test_a_window_of_a_large_file_takes_little_memory(large: Item) -> None:
    source = examples(large)
    window = Window(11_000, 17_003, 512, 512)
    tracemalloc.start()
    image, mask = source.read(0, window)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    rows, columns = np.mgrid[11_000:11_512, 17_003:17_515] // TILE
    np.testing.assert_array_equal(image, np.stack([rows, columns, (rows + columns) % 2], axis=2))
    np.testing.assert_array_equal(mask, (rows + columns) % 2)
    assert most < 16e6  # the whole has 1.2 GB
    with pytest.raises(UserError, match="20000 x 20000 pixels, more than 100,000,000"):
        source.read(0)


def test_the_scan_of_a_large_file_goes_band_by_band(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, ids = noise(1, 45, 61), (noise(2, 45, 61)[..., 0] % 3).astype(np.uint8)
    item = Item("x", tmp_path / "x.tif", MaskFile(tmp_path / "m.tif"))
    tifffile.imwrite(item.image, image, photometric="rgb", tile=(16, 16), compression="zlib")
    tifffile.imwrite(item.label.files[0], ids, rowsperstrip=5, compression="zlib")
    whole = look(item, MaskRules())
    monkeypatch.setattr(scan_module, "BAND", 16 * 61)
    limits = MaskRules(max_pixels=1500), Reading(max_pixels=1500)  # less than the whole, more than a band
    banded = look(item, *limits)
    assert (banded.fault, banded.size, banded.ids) == ("", (45, 61), whole.ids)
    assert (banded.digest, banded.gist) == (whole.digest, whole.gist)
    np.testing.assert_allclose([banded.total, banded.squared], [whole.total, whole.squared])
    for index, places in banded.places.items():
        assert len(set(places)) == 8
        assert all(ids[place] == index for place in places)
        assert max(row for row, _ in places) >= 16  # of all bands, not of the first alone


@pytest.mark.parametrize("size", [(45, 61), (5000, 7001), (3, 2**25)])
def test_bands_cover_each_row_once(size: tuple[int, int]) -> None:
    found = list(bands(Header(size, block=(512, 512))))
    if found == [None]:
        assert size[0] * size[1] <= scan_module.BAND
        return
    windows = [window for window in found if window is not None]
    rows = [row for w in windows for row in range(w.top, w.top + w.height)]
    assert rows == list(range(size[0]))
    assert {(w.left, w.width) for w in windows} == {(0, size[1])}
    assert bands(Header(size)).__next__() is None


@pytest.mark.parametrize(("most", "rows"), [(10**6, None), (2000, 32), (1000, 16), (700, 11), (50, 1)])
def test_bands_have_no_more_pixels_than_may_be_decoded(most: int, rows: int | None) -> None:
    """Of 45 x 61 pixels in blocks of 16 rows: as many blocks as fit, or else rows."""
    found = list(bands(Header((45, 61), block=(16, 61)), most))
    assert (found == [None]) == (rows is None)
    windows = [window for window in found if window is not None]
    assert max((window.height for window in windows), default=None) == rows
    assert [row for w in windows for row in range(w.top, w.top + w.height)] == list(range(45 if rows else 0))


def noted(what: str, decoded: list[tuple[str, str]]) -> Any:
    """A function of the module of examples that also notes the item it reads."""
    read = getattr(examples_module, what)

    def reading(item: Item, *rest: Any) -> Any:
        decoded.append((what, item.id))
        return read(item, *rest)

    return reading


@pytest.mark.parametrize(("suffix", "times"), [("png", 1), ("tif", 4)])
def test_what_cannot_be_read_in_parts_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, times: int
) -> None:
    items, ids = [], (noise(2, 45, 61)[..., 0] % 2).astype(np.uint8)
    for index in range(2):
        item = Item(str(index), tmp_path / f"{index}.{suffix}", MaskFile(tmp_path / f"m{index}.{suffix}"))
        for path, array in ((item.image, noise(index, 45, 61)), (item.label.files[0], ids)):
            if suffix == "png":
                Image.fromarray(array).save(path)
            else:
                tifffile.imwrite(path, array, tile=(16, 16))
        items.append(item)
    classes = build_class_map(Declared([FileClass(0, "even"), FileClass(1, "odd")]), REQUEST)
    source = FileExamples(items, [(45, 61)] * 2, Reading(), MaskRules(), classes, Places([NOWHERE] * 2))
    decoded: list[tuple[str, str]] = []
    for what in ("read_pixels", "read_ids"):
        monkeypatch.setattr(examples_module, what, noted(what, decoded))
    for index in (0, 1):
        for window in (Window(3, 5, 20, 9), Window(0, 0, 45, 61), Window(15, 15, 18, 34), Window(44, 60, 1, 1)):
            image, mask = source.read(index, window)
            np.testing.assert_array_equal(image, noise(index, 45, 61)[window.slices])
            np.testing.assert_array_equal(mask, ids[window.slices])
    assert Counter(decoded) == {(what, name): times for what in ("read_pixels", "read_ids") for name in "01"}

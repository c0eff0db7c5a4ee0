"""Data sets of 16 bits, floats and many channels: arrays, statistics, whole trainings and predictions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segtrain import load
from segtrain.cli import main
from segtrain.data import DataSource
from segtrain.data.files import FileData
from segtrain.decode.readers import read_image
from segtrain.decode.reading import Reading
from segtrain.errors import UserError
from segtrain.layouts.folder import FolderLayout
from tests import tiny
from tests.data.files import REQUEST
from tests.decode.depths import COUNTS, make_depths, scene, stored

# depth, channels, file, how they are read, channels then
CASES: dict[str, tuple[str, int, str, list[str], int]] = {
    "16-bit grey PNG": ("uint16", 1, "png", [], 3),
    "16-bit grey TIFF as grey": ("uint16", 1, "tif", ["data.channels=grey"], 1),
    "float TIFF": ("float32", 3, "tif", [], 3),
    "five 16-bit channels": ("uint16", 5, "tif", ["data.channels=native"], 5),
    "two 8-bit channels": ("uint8", 2, "tif", ["data.channels=native"], 2),
}


def opened(root: Path, *settings: str) -> DataSource:
    options = {key.removeprefix("data."): value for key, value in (s.split("=") for s in settings)}
    return FileData(str(root), FolderLayout(), **options).open(REQUEST)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES)
def test_arrays_and_statistics(tmp_path: Path, case: str) -> None:
    depth, channels, suffix, settings, read = CASES[case]
    source = opened(make_depths(tmp_path, depth, channels, suffix), *settings)
    images = [stored(scene(i, channels)[0], depth) for i in range(COUNTS["train"])]
    unit = [image / (1.0 if depth == "float32" else np.iinfo(depth).max) for image in images]
    unit = [np.repeat(image, 3, 2) if read == 3 and channels == 1 else image for image in unit]
    assert (source.channels, source.dtype) == (read, "uint8" if depth == "uint8" else "float32")
    for index, expected in enumerate(unit):
        image, mask = source.splits["train"].read(index)
        assert image.dtype == source.dtype
        scale = 255 if depth == "uint8" else 1
        np.testing.assert_allclose(image / scale, expected, atol=1e-6)
        np.testing.assert_array_equal(mask, scene(index, channels)[1])
    pixels = np.concatenate([image.reshape(-1, read) for image in unit])
    np.testing.assert_allclose(source.mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(source.std, pixels.std(0), rtol=1e-5)


SEEN = ("16-bit grey PNG", "five 16-bit channels")  # the others differ in how they are read, which is tested above


@pytest.mark.parametrize(
    "case", [name if name in SEEN else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_trains_evaluates_and_predicts(tmp_path: Path, case: str) -> None:
    depth, channels, suffix, settings, read = CASES[case]
    root = make_depths(tmp_path / "data", depth, channels, suffix)
    run = tiny.train(tmp_path / "out", "epochs=1", *settings, data=tiny.folder(root))
    assert tiny.summary(run)["test"]["iou"] >= 0
    assert main(["evaluate", f"run={run.folder}"]) == 0
    words = [f"run={run.folder}", f"input={root / 'images' / 'test'}", f"output={tmp_path / 'masks'}"]
    assert main(["predict", *words]) == 0
    predictor = load(run.best)
    assert predictor.channels == read
    source = opened(root, *settings)
    for index, name in enumerate(source.splits["test"].ids):
        written = np.asarray(Image.open(tmp_path / "masks" / f"{name}.png"))
        np.testing.assert_array_equal(written, predictor(source.splits["test"].read(index)[0]))
        assert np.asarray(Image.open(tmp_path / "masks" / f"{name}_overlay.png")).shape == (*written.shape, 3)


def test_a_declared_range_and_a_command_that_changes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_depths(tmp_path / "data", "uint16", 1)
    run = tiny.train(tmp_path / "out", "epochs=1", "data.value_range=[0,65535]", data=tiny.folder(root))
    assert load(run.best).reading == Reading(value_range=[0, 65535])
    words = [f"run={run.folder}", f"input={root / 'images' / 'test'}", f"output={tmp_path / 'masks'}"]
    assert main(["predict", *words, "value_range=100"]) != 0
    assert "declare it with value_range=" in capsys.readouterr().err
    assert main(["predict", *words, "value_range=99999"]) == 0


def test_a_blank_sixteen_bit_set_has_a_deviation_to_divide_by(tmp_path: Path) -> None:
    root = make_depths(tmp_path, "uint16", 1)
    for path in (root / "images").rglob("*.tif"):
        tifffile.imwrite(path, np.zeros((40, 40), np.uint16))
    assert opened(root).std == pytest.approx([1 / 65535] * 3)


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"rowsperstrip": 7}, {"planarconfig": "separate"}], ids=str)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_layouts_of_tiff(tmp_path: Path, options: dict[str, Any], byteorder: str) -> None:
    root = make_depths(tmp_path, "uint16", 5, byteorder=byteorder, **options)
    source = opened(root, "data.channels=native")
    np.testing.assert_allclose(source.splits["train"].read(0)[0], stored(scene(0, 5)[0], "uint16") / 65535, atol=1e-6)


def test_pages_as_channels(tmp_path: Path) -> None:
    root = make_depths(tmp_path, "uint16", 3)
    for path in (root / "images").rglob("*.tif"):
        tifffile.imwrite(path, np.moveaxis(tifffile.imread(path), 2, 0), photometric="minisblack")
    source = opened(root, "data.channels=native", "data.pages=channels")
    np.testing.assert_allclose(source.splits["train"].read(0)[0], stored(scene(0, 3)[0], "uint16") / 65535, atol=1e-6)


def test_pictures_are_of_three_channels_whatever_the_images_have(tmp_path: Path) -> None:
    from segtrain.draw import to_rgb

    for channels in (1, 2, 4, 7):
        dark = torch.rand(6, 5, channels).numpy() * 0.01  # 12 bits of 16: black without a stretch
        shown = to_rgb(dark)
        assert (shown.shape, shown.dtype, shown.max()) == ((6, 5, 3), np.uint8, 255)


@pytest.mark.parametrize("tag", [258, 322, 324])
def test_tiles_that_lost_a_tag_are_no_other_image(tmp_path: Path, tag: int) -> None:
    """Tifffile takes such a file for one of single bits, or of strips, of which it finds none."""
    path = tmp_path / "x.tif"
    kind = {"tile": (16, 16), "photometric": "minisblack", "compression": "zlib", "predictor": True}
    tifffile.imwrite(path, np.full((32, 32), 300, np.uint16), **kind)  # type: ignore[arg-type]
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].tags[tag].offset
    content[offset : offset + 2] = (65000).to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{path}: ")):
        read_image(path)

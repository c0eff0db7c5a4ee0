"""data=stack: each page an image, with the page of the same number as its mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from segtrain.data.files import FileData
from segtrain.errors import UserError
from segtrain.layouts.stack import StackLayout
from tests import tiny
from tests.data.files import REQUEST
from tests.decode.depths import scene, stored


def make_stacks(root: Path, names: dict[str, int], depth: str = "uint8") -> None:
    """Stacks of images and masks, by their paths below images and masks."""
    for number, (name, pages) in enumerate(names.items()):
        scenes = [scene(100 * number + page, 1) for page in range(pages)]
        for kind, values in (
            ("images", [stored(image, depth)[..., 0] for image, _ in scenes]),
            ("masks", [ids for _, ids in scenes]),
        ):
            path = root / kind / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, np.stack(values), photometric="minisblack")


@pytest.mark.parametrize("names", [{"train": 11, "val": 2}, {"train/a": 3, "train/b": 2, "val/c": 2, "test/d": 1}])
def test_each_page_is_an_image(tmp_path: Path, names: dict[str, int]) -> None:
    make_stacks(tmp_path, names, "uint16")
    source = FileData(str(tmp_path), StackLayout(), channels="grey").open(REQUEST)
    for split, examples in source.splits.items():
        pages = [
            (n, page)
            for n, (name, count) in enumerate(names.items())
            if name.startswith(split)
            for page in range(count)
        ]
        assert len(examples.ids) == len(set(examples.ids)) == len(pages)
        assert list(examples.ids) == sorted(examples.ids)
        for index, (number, page) in enumerate(pages):
            image, ids = scene(100 * number + page, 1)
            read, mask = examples.read(index)
            np.testing.assert_allclose(read, stored(image, "uint16") / 65535, atol=1e-6)
            np.testing.assert_array_equal(mask, ids)


def test_slices_of_a_stack_are_a_group(tmp_path: Path) -> None:
    make_stacks(tmp_path, {"train/a": 3, "train/b": 2, "val/c": 2})
    items = StackLayout().find(tmp_path).items
    assert [item.group for item in items] == ["train/a"] * 3 + ["train/b"] * 2 + ["val/c"] * 2


def test_faults_of_stacks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}: no train stacks"):
        StackLayout().find(tmp_path)
    make_stacks(tmp_path, {"train": 3, "val": 2, "test": 2})
    mask = tmp_path / "masks" / "train.tif"
    tifffile.imwrite(mask, np.zeros((2, 40, 40), np.uint8), photometric="minisblack")
    (tmp_path / "masks" / "test.tif").unlink()
    (tmp_path / "images" / "val.tif").write_bytes(b"II*\0broken")
    faults = StackLayout().find(tmp_path).faults
    assert f"{mask}: 2 pages, but its images have 3; they must have as many" in faults
    assert any(fault.startswith(f"{tmp_path / 'images' / 'test.tif'}: no stack") for fault in faults)
    assert any(fault.startswith(f"{tmp_path / 'images' / 'val.tif'}: damaged") for fault in faults)


def test_trains_on_stacks(tmp_path: Path) -> None:
    make_stacks(tmp_path / "data", {"train": 6, "val": 2, "test": 1})
    run = tiny.train(tmp_path / "out", "epochs=1", data=["data=stack", f"data.root={tmp_path / 'data'}"])
    assert "test" in tiny.summary(run)

"""Names of files that look the same and differ in how Unicode composes them, in each layout."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from segtrain.data.listing import Layout
from segtrain.layouts.coco import CocoLayout
from segtrain.layouts.folder import FolderLayout
from segtrain.layouts.labelme import LabelmeLayout
from segtrain.layouts.table import TableLayout
from segtrain.layouts.yolo import YoloLayout
from tests.data.annotated import make_coco, make_labelme, make_yolo
from tests.data.trees import write

ONE, TWO = (unicodedata.normalize(form, "Übung") for form in ("NFC", "NFD"))
NAMES = {"train": [ONE], "val": ["b"]}
BOXES = {"train": {ONE: [("cat", 2, 3, 20, 22)]}, "val": {"v": [("dog", 2, 3, 20, 22)]}}


def respelt(root: Path, suffix: str = ".png") -> None:
    """The files of that ending get the name that macOS would give them."""
    for path in sorted(root.rglob(f"{ONE}*{suffix}")):
        path.rename(path.with_name(path.name.replace(ONE, TWO)))


@pytest.mark.parametrize(
    "place",
    [
        lambda s, n: (f"images/{s}/{n}.jpg", f"masks/{s}/{n}.png"),
        lambda s, n: (f"{s}/{n}.jpg", f"{s}/{n}_mask.png"),
        lambda s, n: (f"{s}/{n}.jpg", f"{s}/{n}.png"),
    ],
)
def test_masks_in_folders(place: Callable[[str, str], tuple[str, str]], tmp_path: Path) -> None:
    write(tmp_path, place, names=NAMES)
    respelt(tmp_path)
    found = FolderLayout().find(tmp_path)
    assert not found.faults
    assert [item.id for item in found.items] == [ONE, "b"]


def test_patterns_and_lists(tmp_path: Path) -> None:
    write(tmp_path, lambda _, n: (f"images/{n}.jpg", f"masks/{n}.png"), names=NAMES)
    respelt(tmp_path / "images", ".jpg")
    (tmp_path / "train.txt").write_text(f"{ONE}\n", encoding="utf-8")
    (tmp_path / "val.txt").write_text("b\n")
    for layout in (FolderLayout(), FolderLayout("images/*.jpg", "masks/*.png")):
        found = layout.find(tmp_path)
        assert ([item.id for item in found.items], found.faults) == ([ONE, "b"], [])


def test_two_files_that_become_one(tmp_path: Path) -> None:
    names = {"train": [ONE, TWO], "val": ["b"]}
    write(tmp_path, lambda s, n: (f"images/{s}/{n}.jpg", f"masks/{s}/{n}.png"), names=names)
    faults = FolderLayout().find(tmp_path).faults
    assert len(faults) == 2
    assert all("stands there twice" in fault and "how Unicode composes it; remove one" in fault for fault in faults)


def test_a_table(tmp_path: Path) -> None:
    write(tmp_path, lambda _, n: (f"{n}.jpg", f"{n}.png"), names=NAMES)
    respelt(tmp_path)
    (tmp_path / "t.csv").write_text(f"image,mask,split\n{ONE}.jpg,{ONE}.png,train\n", encoding="utf-8")
    found = TableLayout().find(tmp_path)
    assert (len(found.items), found.faults) == (1, [])


@pytest.mark.parametrize(
    ("make", "layout", "suffix"),
    [
        (make_coco, CocoLayout(), ".png"),
        (make_labelme, LabelmeLayout(), ".png"),
        (make_yolo, YoloLayout(), ".txt"),
    ],
)
def test_annotations(make: Callable[..., Path], layout: Layout, suffix: str, tmp_path: Path) -> None:
    make(tmp_path, BOXES)
    respelt(tmp_path, suffix)
    found = layout.find(tmp_path)
    assert (len(found.items), found.faults) == (2, [])
    assert all(path.is_file() for item in found.items for path in item.label.files)

"""What data=folder says where it finds nothing: the cause, and what to type."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from segtrain.errors import UserError
from segtrain.layouts.advice import SIGNS
from segtrain.layouts.folder import FolderLayout
from tests.data.annotated import MAKERS
from tests.data.trees import TREES, folder


def said(root: Path) -> str:
    with pytest.raises(UserError, match="no images with masks are found there") as caught:
        FolderLayout().find(root)
    return str(caught.value)


@pytest.mark.parametrize("name", MAKERS)
def test_labels_that_are_objects(name: str, tmp_path: Path) -> None:
    root = tmp_path / "my data"
    MAKERS[name](root)
    assert f"this looks like {SIGNS[name][0]}: data={name} data.root='{root}'" in said(root)
    assert f"{root} looks like {SIGNS[name][0]}: data={name} data.root='{root}'" in said(tmp_path)


@pytest.mark.parametrize("name", ["csv", "voc", "pet"])
def test_other_layouts(name: str, tmp_path: Path) -> None:
    TREES[name](tmp_path)
    assert f"data={name} data.root={tmp_path}" in said(tmp_path)


def test_objects_without_splits(tmp_path: Path) -> None:
    MAKERS["objects"](tmp_path)
    assert f"data=objects data.root={tmp_path / 'train'}" in said(tmp_path / "train")


@pytest.mark.parametrize("place", ["images", "images/train", "masks/val", "images/train/deep"])
def test_a_part_of_the_data(place: str, tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "images" / "train" / "deep").mkdir()
    shutil.copy(tmp_path / "images" / "train" / "a.png", tmp_path / "images" / "train" / "deep" / "x.png")
    message = said(tmp_path / place)
    assert ("deep" in place) != (f"{tmp_path} has images and masks: data.root={tmp_path}" in message)


def test_one_folder_further_down(tmp_path: Path) -> None:
    folder(tmp_path / "set 2")
    assert f"set 2 has some: data.root='{tmp_path / 'set 2'}'" in said(tmp_path)


def test_a_format_that_is_not_read(tmp_path: Path) -> None:
    written = folder(tmp_path)
    for key, (_, mask) in written.items():
        (tmp_path / "masks" / f"{key}.png").unlink()
        np.save(tmp_path / "masks" / f"{key}.npy", mask)
    assert f"{tmp_path / 'masks'} holds files of a format that is not read (.npy): save them as PNG" in said(tmp_path)


def test_folders_that_are_empty_or_missing(tmp_path: Path) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    assert f"{tmp_path / 'images'} is empty" in said(tmp_path)
    folder(tmp_path)
    shutil.rmtree(tmp_path / "masks")
    assert "images holds images, but no folder of masks is beside it: name one with data.layout.masks" in said(tmp_path)

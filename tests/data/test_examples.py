"""The files of a split: the mask alone is the mask of the pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from segtrain.cli import main
from segtrain.data.facts import by_split
from segtrain.data.files import FileData
from segtrain.layouts.coco import CocoLayout
from segtrain.layouts.folder import FolderLayout
from tests import tiny
from tests.data.annotated import MAKERS
from tests.data.files import noise

REQUEST = {"mode": "auto", "num_classes": None, "ignore_index": 255}


@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
@pytest.mark.parametrize("layout", ["folder", "coco"])
def test_the_mask_alone_is_that_of_the_pair(layout: str, mode: str, tmp_path: Path) -> None:
    if layout == "folder":
        tiny.make_folder(tmp_path, ids=(0, 3, 7))
    else:
        MAKERS["coco"](tmp_path)
    data = FileData(str(tmp_path), FolderLayout() if layout == "folder" else CocoLayout())
    survey, request = data.survey(), REQUEST | {"mode": mode}
    splits = by_split(survey.sound)
    examples = data.uncached(splits["train"], data.class_map(survey, splits, request))
    for index in range(len(examples.ids)):
        np.testing.assert_array_equal(examples.mask(index), examples.read(index)[1])


def test_the_mask_alone_may_be_larger_than_what_is_decoded_at_once(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "val")):
        for kind, pixels in (("images", noise(seed, 64, 96)), ("masks", np.eye(64, 96, dtype=np.uint8))):
            path = tmp_path / kind / split / "a.tif"
            path.parent.mkdir(parents=True)
            tifffile.imwrite(path, pixels, tile=(16, 16), photometric="rgb" if pixels.ndim == 3 else "minisblack")
    words = [f"data.root={tmp_path}", "data.max_pixels=2000", "crop=32"]
    assert main(["check", "data=folder", *words]) == 0

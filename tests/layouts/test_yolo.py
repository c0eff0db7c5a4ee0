"""data=yolo: Ultralytics' polygons, both ways that folders lie, and every fault by its line."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from segtrain.errors import UserError
from segtrain.layouts.yolo import YoloLayout
from tests.data.annotated import BOXES, WIDTH, drawn, faults, make_yolo, masks, opened


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_yolo(tmp_path / "my yolo")


def expect(root: Path, layout: YoloLayout | None = None) -> None:
    source = opened(root, layout or YoloLayout())
    assert list(source.task.names) == ["background", "cat", "dog"]
    assert any("raised by 1" in note for note in source.notes)
    for split, boxes in BOXES.items():
        found = masks(source, split)
        assert list(found) == sorted(boxes)
        for stem, mask in found.items():
            np.testing.assert_array_equal(mask, drawn(boxes[stem]), err_msg=stem)


def test_images_and_labels(root: Path) -> None:
    assert not (root / "labels" / "train" / "empty.txt").exists()  # an image without a file is background
    expect(root)
    (root / "labels" / "train" / "empty.txt").write_text("\n")
    expect(root)


def test_split_folders_first(root: Path) -> None:
    """As Roboflow writes them, with `valid`."""
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        for kind in ("images", "labels"):
            (root / name).mkdir(exist_ok=True)
            (root / kind / split).rename(root / name / kind)
    expect(root)


def test_names(root: Path) -> None:
    (root / "data.yaml").rename(root / "x.yml")
    (root / "x.yml").write_text("names:\n  0: cat\n  1: dog\n")
    assert f"{root / 'data.yaml'}: cannot be read as yaml" in faults(root, YoloLayout())
    expect(root, YoloLayout(names="x.yml"))


@pytest.mark.parametrize("content", ["names: {a: b}", "names: []", "nc: 3", "- 1", "", "names: {-1: x}"])
def test_bad_names(root: Path, content: str) -> None:
    (root / "data.yaml").write_text(content)
    assert f"{root / 'data.yaml'}: has no names of classes" in faults(root, YoloLayout())


def test_bad_yaml(root: Path) -> None:
    (root / "data.yaml").write_text("names: [\nx: {")
    assert "cannot be read as yaml" in faults(root, YoloLayout())


def test_overlap_and_outside(root: Path) -> None:
    path = root / "labels" / "train" / "b.txt"
    path.write_text("0 -0.5 0 1.5 0 1.5 .5 -0.5 .5\n1 .25 .25 .75 .25 .75 1 .25 1\n")
    source = opened(root, YoloLayout(overlap="ignore"))
    mask = masks(source)["b"]
    expected = drawn([("cat", 0, 0, WIDTH, 17), ("dog", 10, 8, 30, 34)])
    expected[8:17, 10:30] = 255
    np.testing.assert_array_equal(mask[9:], expected[9:])
    np.testing.assert_array_equal(mask[:8], expected[:8])  # row 8: its centre is at .25 exactly
    assert "1 objects reach outside of their image and are cut off (the first in b.png)" in source.notes


def test_everything_wrong_is_listed_by_line(root: Path) -> None:
    path = root / "labels" / "train" / "a.txt"
    lines = {
        "0 .5 .5 .2 .2": "a box (4 numbers) does not say which pixels",
        "0 .1 .1 .2 .2 .3": "a polygon of 5 numbers",
        "0": "a polygon of 0 points",
        "7 .1 .1 .2 .2 .3 .1": "class 7 is none of the 2 names",
        "cat .1 .1 .2 .2 .3 .1": "begins with 'cat', not with the number of a class",
        "1 .1 .1 .2 nan .3 .1": "a coordinate of nan",
        "1 .1 .1 .2 x .3 .1": "coordinates that are not numbers",
        "0 12 15 40 15 40 40": "a coordinate of 40: coordinates are pixels, not shares of the image",
        "0 -.9 .1 0 .1 0 .5": "no part of it lies in the image",
    }
    path.write_text("\n".join(lines))
    (root / "labels" / "val" / "alone.txt").write_text("")
    message = faults(root, YoloLayout())
    for number, says in enumerate(lines.values(), 1):
        assert f"{path}: line {number}: {says}" in message
    assert f"{root / 'labels/val/alone.txt'}: no image {root / 'images/val/alone'}.*" in message
    assert message.startswith(f"{root}: 10 faults")


def test_a_label_that_is_no_text(root: Path) -> None:
    (root / "labels" / "train" / "a.txt").write_bytes(b"\xff\xfe\xfa")
    assert "a.txt: cannot be read as text" in faults(root, YoloLayout())


def test_nothing_there(root: Path) -> None:
    (root / "images").rename(root / "pictures")
    with pytest.raises(UserError, match=r"no images in images/<split> or <split>/images"):
        opened(root, YoloLayout())


def test_names_that_are_no_texts(root: Path) -> None:
    (root / "data.yaml").write_text("names: [cat, [a, b]]")
    assert "the name of class 1 is a list, not a text" in faults(root, YoloLayout())
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise("abcdefghi")]
    (root / "data.yaml").write_text("\n".join(lines) + "\nnames: *i\n")  # as a text, gigabytes
    assert "the name of class 0 is a list" in faults(root, YoloLayout())
    (root / "data.yaml").write_text("names: " + "[" * 5000)
    assert f"{root / 'data.yaml'}: cannot be read as yaml" in faults(root, YoloLayout())

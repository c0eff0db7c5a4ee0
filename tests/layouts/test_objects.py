"""data=objects: a mask for each object; pixels where two touch, against a search of all neighbours."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from segtrain.errors import UserError
from segtrain.layouts.objects import ObjectsLayout, touches
from tests.data.annotated import BOXES, HEIGHT, WIDTH, Boxes, faults, make_objects, masks, opened

TOUCHING: Boxes = {
    "train": {
        "a": [("cat", 2, 2, 10, 10), ("cat", 10, 4, 20, 12), ("cat", 21, 4, 25, 12)],  # touch; a gap of one pixel
        "b": [("cat", 2, 2, 10, 10), ("cat", 10, 10, 20, 20)],  # by a corner
        "c": [("cat", 2, 2, 10, 10), ("cat", 8, 2, 20, 20), ("cat", 30, 30, 40, 34)],  # overlap
    },
    "val": {"v": [("cat", 2, 2, 10, 10)]},
}


def slow(numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    found = np.zeros(numbers.shape, dtype=bool)
    for y in range(numbers.shape[0]):
        for x in range(numbers.shape[1]):
            near = numbers[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            found[y, x] = numbers[y, x] > 0 and bool(((near > 0) & (near != numbers[y, x])).any())
    return found


def numbered(boxes: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Number of the last object at each pixel, and where there are several."""
    numbers, several = np.zeros((HEIGHT, WIDTH), np.int32), np.zeros((HEIGHT, WIDTH), dtype=bool)
    for number, (_, left, top, right, bottom) in enumerate(boxes, 1):
        several[top:bottom, left:right] |= numbers[top:bottom, left:right] > 0
        numbers[top:bottom, left:right] = number
    return numbers, several


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_objects(tmp_path / "my nuclei", TOUCHING)


def test_touching_pixels_of_random_objects() -> None:
    numbers = np.kron(np.random.default_rng(0).integers(0, 4, (12, 14)), np.ones((2, 3))).astype(np.int32)
    np.testing.assert_array_equal(touches(numbers), slow(numbers))


@pytest.mark.parametrize(
    ("touching", "mode", "pixel"), [("none", "binary", 1), ("class", "multiclass", 2), ("ignore", "binary", 255)]
)
def test_what_touching_pixels_are(root: Path, touching: str, mode: str, pixel: int) -> None:
    source = opened(root, ObjectsLayout(touching))
    assert source.task.mode == mode
    assert source.task.names[-1] == ("touching" if touching == "class" else "object")
    for stem, mask in masks(source).items():
        numbers, several = numbered(TOUCHING["train"][stem])
        touch = slow(numbers) | several
        assert touch.any()
        np.testing.assert_array_equal(mask, np.where(touch, pixel, numbers > 0), err_msg=stem)


def test_settings_and_files_make_other_findings(root: Path, tmp_path: Path) -> None:
    kept = {"scan_dir": str(tmp_path / "scan")}
    before = opened(root, ObjectsLayout(), **kept).stats
    assert opened(root, ObjectsLayout("ignore"), **kept).stats != before
    (root / "train" / "a" / "masks" / "0.png").unlink()
    assert opened(root, ObjectsLayout(), **kept).stats.positives[0] == before.positives[0] - 64


@pytest.mark.parametrize("name", ["val", "valid"])
def test_splits(tmp_path: Path, name: str) -> None:
    make_objects(tmp_path, BOXES)
    if name != "val":
        (tmp_path / "val").rename(tmp_path / name)
    assert {s: list(e.ids) for s, e in opened(tmp_path, ObjectsLayout()).splits.items()} == {
        "train": ["a", "b", "c"],
        "val": ["v"],
        "test": ["t"],
    }


def test_everything_wrong_is_listed(root: Path) -> None:
    train = root / "train"
    shutil.rmtree(train / "a" / "masks")
    shutil.copy(train / "b" / "images" / "b.png", train / "b" / "images" / "b2.png")
    Image.new("L", (WIDTH, 3)).save(train / "c" / "masks" / "1.png")
    Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 4).save(
        root / "val" / "v" / "masks" / "0.png"
    )
    (train / "d" / "images").mkdir(parents=True)
    message = faults(root, ObjectsLayout())
    for says in (
        f"{train / 'a' / 'masks'}: no masks of objects",
        f"{train / 'b' / 'images'}: 2 images, there must be one",
        f"{train / 'd' / 'images'}: 0 images, there must be one",
        f"{train / 'c' / 'masks' / '1.png'}: 40 x 3 pixels, but its image has 40 x 34",
        f"{root / 'val/v/masks/0.png'}: holds the values [0, 1, 2, 3]; the mask of one object has 0 and one other",
    ):
        assert says in message
    assert message.startswith(f"{root}: 5 faults")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folders <split>/<image>/images"):
        opened(tmp_path, ObjectsLayout())
    with pytest.raises(UserError, match=r"data\.layout\.touching must be one of none, class, ignore"):
        ObjectsLayout("boundary")

"""data=labelme: every kind of shape that has an area, where the image is, which class a label is, and every fault."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from segtrain.errors import UserError
from segtrain.layouts.labelme import LabelmeLayout
from tests.data.annotated import BOXES, HEIGHT, WIDTH, drawn, faults, make_labelme, masks, opened, planes, write_json

Content = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_labelme(tmp_path / "my labels")


def change(root: Path, edit: Callable[[Content], object], name: str = "train/a") -> Path:
    path = root / f"{name}.json"
    content = json.loads(path.read_text())
    edit(content)
    write_json(path, content)
    return path


def shapes(*found: Content) -> Callable[[Content], object]:
    return lambda content: content.update(shapes=list(found))


def encoded(mask: npt.NDArray[Any]) -> str:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def expect(root: Path, layout: LabelmeLayout | None = None) -> None:
    source = opened(root, layout or LabelmeLayout())
    assert list(source.task.names) == ["background", "cat", "dog"]
    for split, boxes in BOXES.items():
        for stem, mask in masks(source, split).items():
            np.testing.assert_array_equal(mask, drawn(boxes[stem]), err_msg=stem)


# ---- what is read --------------------------------------------------------------------------------------------------


def test_polygons_and_alphabetical_classes(root: Path) -> None:
    expect(root)
    assert opened(root, LabelmeLayout()).notes[-1] == "classes from the labels in use"


def test_kinds_of_shapes(root: Path) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    small = np.random.default_rng(0).random((7, 5)) < 0.5
    small[0, 0] = small[-1, -1] = True
    cases: dict[str, tuple[Content, npt.NDArray[np.bool_]]] = {
        "rectangle": ({"points": [[20, 22], [2, 3]]}, planes([("cat", 2, 3, 20, 22)])["cat"]),  # any two corners
        "circle": ({"points": [[12.3, 11.1], [12.3, 18.2]]}, np.hypot(x - 12.3, y - 11.1) <= 7.1),
        "mask": ({"points": [[6, 9], [10, 15]], "mask": encoded(small)}, np.pad(small, ((9, 18), (6, 29)))),
    }
    for kind, (fields, expected) in cases.items():
        change(root, shapes({"label": "cat", "shape_type": kind, **fields}))
        np.testing.assert_array_equal(masks(opened(root, LabelmeLayout()))["a"] == 1, expected, err_msg=kind)


@pytest.mark.parametrize(("left", "top"), [(-3, -2), (WIDTH - 2, HEIGHT - 3), (-3, 10)])
def test_a_mask_is_cut_at_the_border(root: Path, left: int, top: int) -> None:
    points = [[left, top], [left + 4, top + 6]]
    shape = {"label": "cat", "shape_type": "mask", "points": points, "mask": encoded(np.ones((7, 5), np.uint8) * 255)}
    change(root, shapes(shape))
    source = opened(root, LabelmeLayout())
    expected = planes([("cat", max(0, left), max(0, top), max(0, left + 5), max(0, top + 7))])["cat"]
    np.testing.assert_array_equal(masks(source)["a"] == 1, expected)
    assert "1 objects reach outside of their image and are cut off (the first in a.png)" in source.notes


def test_labels_that_differ_in_blanks_or_capitals(root: Path) -> None:
    """Blanks at the ends are nobody's intention; capitals may be."""
    change(root, lambda content: content["shapes"][0].update(label=" cat "))
    assert opened(root, LabelmeLayout()).task.names == ("background", "cat", "dog")
    change(root, lambda content: content["shapes"][0].update(label="Cat"))
    source = opened(root, LabelmeLayout())
    assert source.task.names == ("background", "Cat", "cat", "dog")
    (warning,) = source.warnings
    assert warning.startswith("the labels Cat and cat differ in capitals alone")
    assert warning.endswith("merge them with data.classes")


def test_an_object_beside_its_image_is_a_fault(root: Path) -> None:
    points = [[WIDTH, 3], [WIDTH + 4, 3], [WIDTH + 4, 9]]
    change(root, shapes({"label": "cat", "shape_type": "polygon", "points": points}))
    assert f"{root / 'train' / 'a.json'}: shape 0 (cat): no part of it lies in the image" in faults(
        root, LabelmeLayout()
    )


def test_classes_of_the_users_own(root: Path) -> None:
    (root / "classes.txt").write_text("0\tlawn\n7\tdog\t255,0,0\n3\tcat\t0,0,255\n")
    assert "classes.txt calls the id 0 'lawn', but 0 is the background" in faults(root, LabelmeLayout())
    (root / "classes.txt").write_text("0\tbackground\t9,9,9\n7\tcat\t255,0,0\n3\tdog\t0,0,255\n")
    source = opened(root, LabelmeLayout())
    assert source.task.names == ("background", "dog", "cat")
    assert source.task.palette == ((9, 9, 9), (0, 0, 255), (255, 0, 0))
    cat, dog = planes(BOXES["train"]["b"]).values()
    np.testing.assert_array_equal(masks(source)["b"], np.select([dog, cat], [1, 2], 0))
    (root / "classes.txt").write_text("7\tcats\n3\tdog\n")
    message = faults(root, LabelmeLayout())
    assert (
        f"{root / 'train/a.json'}: shape 0 (cat): a label that is none of the classes - did you mean cats?" in message
    )


def test_labels_that_are_ignored(root: Path) -> None:
    """Of the layout's setting, and labelme's own; _background_ is no class."""

    def relabel(content: Content) -> None:
        content["shapes"][0]["label"] = "__ignore__"
        content["shapes"].append({**content["shapes"][1], "label": "_background_"})

    change(root, relabel)
    for page in sorted(root.rglob("*.json")):
        if page.stem != "a":
            change(
                root,
                lambda c: [s.update(label="blurred") for s in c["shapes"] if s["label"] == "cat"],
                str(page.relative_to(root).with_suffix("")),
            )
    source = opened(root, LabelmeLayout(ignored=["blurred"]))
    assert source.task.mode == "binary"
    assert source.task.names == ("dog",)
    for stem, mask in masks(source).items():
        whole = drawn(BOXES["train"][stem])
        expected = np.select([whole == 1, whole == 2], [255, 0 if stem == "a" else 1], 0)  # the dog of a: background
        np.testing.assert_array_equal(mask, expected)


def test_one_folder_without_splits_says_what_is_missing(root: Path) -> None:
    for path in (root / "val").iterdir():
        path.rename(root / path.name)
    for split in BOXES:
        shutil.rmtree(root / split)
    assert [item.split for item in LabelmeLayout().find(root).items] == [""]
    assert "no split is given for 1 images (v.png); make one with data.split=random" in faults(root, LabelmeLayout())


@pytest.mark.parametrize("name", ["../pictures/a.png", "..\\pictures\\a.png", "./../pictures/a.png"])
def test_images_in_another_folder(root: Path, name: str) -> None:
    (root / "pictures").mkdir()
    (root / "train" / "a.png").rename(root / "pictures" / "a.png")
    change(root, lambda c: c.update(imagePath=name))
    expect(root)


@pytest.mark.parametrize("name", ["C:\\Users\\me\\a.png", "/home/me/a.png", "../../../a.png", "old/a.png"])
def test_an_image_that_was_moved_beside_its_file(root: Path, name: str) -> None:
    change(root, lambda c: c.update(imagePath=name))
    expect(root)
    (note,) = [note for note in opened(root, LabelmeLayout()).notes if "not there" in note]
    assert note.startswith("1 files name a path that is not there; the image beside is used (first: a.json)")


def test_images_without_a_file_are_left_out(root: Path) -> None:
    Image.new("RGB", (9, 9)).save(root / "train" / "new.jpg")
    source = opened(root, LabelmeLayout())
    assert "1 images have no JSON file and are left out (first: new.jpg)" in source.notes
    assert list(source.splits["train"].ids) == ["a", "b", "c", "empty"]


def test_the_size_may_be_missing(root: Path) -> None:
    change(root, lambda c: [c.pop("imageHeight"), c.update(imageWidth=None)])
    expect(root)


# ---- bad files -----------------------------------------------------------------------------------------------------


def test_everything_wrong_with_shapes_is_listed(root: Path) -> None:
    found = [
        ({"shape_type": "linestrip", "points": [[1, 2], [3, 4]]}, "a linestrip has no area to fill; draw a polygon"),
        ({"shape_type": "point", "points": [[1, 2]]}, "a point has no area to fill"),
        ({"points": [[1, 2], [3, 4]]}, "a polygon of 2 points [[1, 2], [3, 4]]; at least 3"),
        ({"points": [[1, 2], [3, None], [5, 6]]}, "a coordinate of nan"),
        ({"points": [[1, 2], [3, 4], [float("inf"), 6]]}, "a coordinate of inf"),
        ({"shape_type": "circle", "points": [[1, 2]]}, "a circle of 1 points, which has two"),
        ({"shape_type": "rectangle", "points": [[1, 2, 3]]}, "a rectangle of 1 points"),
        ({"shape_type": "mask", "points": [[1, 2], [3, 4]], "mask": "AAAA"}, "a mask that is not a PNG in base64"),
        ({"shape_type": "mask", "points": [[1, 2], [3, 4]], "mask": "%"}, "a mask that is not a PNG in base64"),
        ({"points": None}, "coordinates that are not numbers: None"),
    ]
    path = change(root, shapes(*({"label": "cat", **fields} for fields, _ in found)))
    message = faults(root, LabelmeLayout())
    assert message.startswith(f"{root}: {len(found)} faults:")
    for number, (_, says) in enumerate(found):
        assert f"{path}: shape {number} (cat): {says}" in message


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda c: c.update(imagePath="../../../gone.png"), "the path '../../../gone.png' leads out of"),
        (lambda c: c.update(imagePath="/gone.png"), "the path '/gone.png' leads out of"),
        (lambda c: c.update(imagePath="gone.png"), r"its image 'gone.png' \(imagePath\) is not there"),
        (lambda c: c.pop("imagePath"), "its image is named None"),
        (lambda c: c.update(imagePath="b.png"), "train/b.png: labelled twice, in .*/a.json and .*/b.json"),
        (lambda c: c.pop("shapes"), "a.json: has no list 'shapes'"),
        (lambda c: c.update(imageWidth=7), "says that a.png has 7 x 34 pixels, but it has 40 x 34"),
    ],
)
def test_one_wrong_file(root: Path, edit: Callable[[Content], object], says: str) -> None:
    path = change(root, edit)
    message = faults(root, LabelmeLayout())
    assert re.search(says, message)
    assert str(path) in message


def test_broken_json(root: Path) -> None:
    (root / "val" / "v.json").write_text('{\n"shapes": [,]}')
    assert f"{root / 'val/v.json'}: line 2, column 12: Expecting value" in faults(root, LabelmeLayout())


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no JSON files beside images"):
        opened(tmp_path, LabelmeLayout())

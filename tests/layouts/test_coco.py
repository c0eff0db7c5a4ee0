"""data=coco: what COCO's files give, in each of their forms, and every fault in them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segtrain.errors import UserError
from segtrain.layouts.coco import CocoLayout
from tests.data.annotated import (
    BOXES,
    HEIGHT,
    WIDTH,
    Boxes,
    coco,
    drawn,
    faults,
    make_coco,
    masks,
    opened,
    planes,
    write_json,
)
from tests.data.annotated import picture as draw_picture
from tests.layouts.test_rle import compressed, lengths

Content = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_coco(tmp_path / "my coco")


def file(root: Path, split: str = "train") -> Path:
    return root / "annotations" / f"instances_{split}2017.json"


def change(root: Path, edit: Callable[[Content], object], split: str = "train") -> None:
    content = json.loads(file(root, split).read_text())
    edit(content)
    write_json(file(root, split), content)


def expect(root: Path, layout: CocoLayout | None = None) -> None:
    """All masks of a data set are those of BOXES."""
    source = opened(root, layout or CocoLayout())
    assert list(source.task.names) == ["background", "cat", "dog"]
    assert source.task.mode == "multiclass"
    for split, boxes in BOXES.items():
        found = masks(source, split)
        assert list(found) == sorted(boxes)
        for stem, mask in found.items():
            np.testing.assert_array_equal(mask, drawn(boxes[stem]), err_msg=stem)


# ---- what is read --------------------------------------------------------------------------------------------------


def test_polygons_the_smallest_on_top(root: Path) -> None:
    expect(root)


@pytest.mark.parametrize("folder", ["images/{}2017", "images/{}", "{}", "images"])
def test_images_in_the_usual_places(root: Path, folder: str) -> None:
    for split in BOXES:
        target = root / folder.format(split)
        target.mkdir(parents=True, exist_ok=True)
        for path in (root / f"{split}2017").iterdir():
            path.rename(target / path.name)
        (root / f"{split}2017").rmdir()
    expect(root)


def test_roboflow(tmp_path: Path) -> None:
    """Files beside the images, `valid` for val, and a heading with the id 0 that no object has."""
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        content = coco(split, BOXES)
        content["categories"].insert(0, {"id": 0, "name": "animal", "supercategory": "none"})
        write_json(tmp_path / name / "_annotations.coco.json", content)
        for stem, boxes in BOXES[split].items():
            draw_picture(tmp_path / name / f"{stem}.png", boxes)
    expect(tmp_path)
    assert opened(tmp_path, CocoLayout()).notes[-1] == "classes from the categories of _annotations.coco.json"


def test_files_elsewhere(root: Path) -> None:
    for split in BOXES:
        (root / "labels").mkdir(exist_ok=True)
        file(root, split).rename(root / "labels" / f"{split}.json")
        (root / "pictures").mkdir(exist_ok=True)
        (root / f"{split}2017").rename(root / "pictures" / split)
    with pytest.raises(UserError, match=r"no annotation files .*data.layout.annotations="):
        opened(root, CocoLayout())
    expect(root, CocoLayout(annotations="labels/{split}.json", images="pictures/{split}"))


@pytest.mark.parametrize("form", ["compressed", "counts", "parts"])
def test_other_forms_of_a_segmentation(root: Path, form: str) -> None:
    def encode(content: Content) -> None:
        for annotation in content["annotations"]:
            (flat,) = annotation["segmentation"]
            left, top, right, bottom = (int(v) for v in (flat[0], flat[1], flat[4], flat[5]))
            mask = planes([("cat", left, top, right, bottom)])["cat"]
            runs = {"size": [HEIGHT, WIDTH], "counts": lengths(mask)}
            if form == "compressed":
                runs["counts"] = compressed(runs["counts"])
            halves = [[left, top, right, top, left, bottom], [right, top, right, bottom, left, bottom]]
            annotation["segmentation"] = halves if form == "parts" else runs

    for split in BOXES:
        change(root, encode, split)
    expect(root)


def test_categories_that_begin_at_0_are_raised(tmp_path: Path) -> None:
    make_coco(tmp_path, first_id=0)
    expect(tmp_path)
    (note,) = [note for note in opened(tmp_path, CocoLayout()).notes if "raised by 1" in note]
    assert "0 is the background" in note


def test_a_category_background_is_the_background(root: Path) -> None:
    def add(content: Content) -> None:
        content["categories"].append({"id": 0, "name": "background"})

    for split in BOXES:
        change(root, add, split)
    expect(root)


@pytest.mark.parametrize("ids", [(255, 90), (65534, 3)])
def test_any_ids(root: Path, ids: tuple[int, int]) -> None:
    """An id of 255 is a class like others; what is ignored gets another id."""

    def rename(content: Content) -> None:
        for entry in content["annotations"]:
            entry["category_id"] = ids[entry["category_id"] - 1]
        for place, entry in enumerate(content["categories"]):
            entry["id"] = ids[place]

    for split in BOXES:
        change(root, rename, split)
    change(root, lambda content: content["annotations"][0].update(iscrowd=1))
    mask = masks(opened(root, CocoLayout(), classes={ids[0]: "cat", ids[1]: "dog"}))["a"]
    cat, dog = planes(BOXES["train"]["a"]).values()
    np.testing.assert_array_equal(mask, np.where(dog, 2, np.where(cat, 255, 0)))


@pytest.mark.parametrize(
    ("crowd", "pixel"),
    [("ignore", 255), ("class", 1), ("none", 0)],
)
def test_crowds(root: Path, crowd: str, pixel: int) -> None:
    change(root, lambda content: content["annotations"][0].update(iscrowd=1))
    cat, dog = planes(BOXES["train"]["a"]).values()
    mask = masks(opened(root, CocoLayout(crowd=crowd)))["a"]
    np.testing.assert_array_equal(mask, np.where(dog, 2, np.where(cat, pixel, 0)))


def test_overlap_rules(root: Path) -> None:
    change(root, lambda content: content["annotations"].reverse())
    boxes = {stem: list(reversed(found)) for stem, found in BOXES["train"].items()}
    for stem, mask in masks(opened(root, CocoLayout())).items():
        np.testing.assert_array_equal(mask, drawn(boxes[stem]))
    for stem, mask in masks(opened(root, CocoLayout(overlap="file_order"))).items():
        np.testing.assert_array_equal(mask, drawn(boxes[stem], by_size=False))
    for stem, mask in masks(opened(root, CocoLayout(overlap="ignore"))).items():
        cat, dog = planes(boxes[stem]).values()
        np.testing.assert_array_equal(mask, np.select([cat & dog, cat, dog], [255, 1, 2], 0))


def test_objects_of_one_class_may_overlap(tmp_path: Path) -> None:
    boxes: Boxes = {**BOXES, "train": {"a": [("cat", 2, 2, 12, 12), ("cat", 8, 8, 20, 20), ("dog", 30, 30, 34, 34)]}}
    make_coco(tmp_path, boxes)
    mask = masks(opened(tmp_path, CocoLayout(overlap="ignore")))["a"]
    np.testing.assert_array_equal(mask, drawn(boxes["train"]["a"]))


def test_settings_make_other_fingerprints(root: Path) -> None:
    change(root, lambda content: content["annotations"][0].update(iscrowd=1))
    layouts = [CocoLayout(), CocoLayout(overlap="ignore"), CocoLayout(crowd="class"), CocoLayout(crowd="none")]
    assert len({opened(root, layout).fingerprint for layout in layouts}) == len(layouts)


def test_findings_are_made_anew_for_another_rule(root: Path, tmp_path: Path) -> None:
    kept = {"scan_dir": str(tmp_path / "scans")}
    for layout in (CocoLayout(), CocoLayout(overlap="ignore"), CocoLayout()):
        assert opened(root, layout, **kept).stats == opened(root, layout).stats


# ---- bad files -----------------------------------------------------------------------------------------------------


def test_everything_wrong_with_objects_is_listed(root: Path) -> None:
    long = [1.0, 2.0, 3.0, 4.0]

    def spoil(content: Content) -> None:
        entries = content["annotations"]
        extra = [dict(entries[0], id=n) for n in range(900, 909)]
        extra[0]["segmentation"] = [long]
        extra[1]["segmentation"] = [[1, 2, float("nan"), 4, 5, 6]]
        extra[2]["segmentation"] = [[*long, 5]]
        extra[3]["category_id"] = 77
        extra[4]["image_id"] = 5555
        extra[5]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": [1, 2]}
        extra[6]["segmentation"] = []
        extra[7]["segmentation"] = [["x", 1, 2, 3, 4, 5]]
        extra[8]["segmentation"] = {"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}
        entries += extra

    change(root, spoil)
    message = faults(root, CocoLayout())
    assert message.startswith(f"{root}: 9 faults:")
    for number, says in enumerate(
        [
            "(a.png): a polygon of 2 points [1.0, 2.0, 3.0, 4.0]; at least 3 are needed",
            "(a.png): a coordinate of nan",
            "(a.png): a polygon of 5 numbers",
            "(a.png): category_id 77 is none of the categories; add it there, or remove the annotation",
            ": image_id 5555 is none of the images",
            f"(a.png): an RLE of 3 pixels, but its size is {HEIGHT} x {WIDTH}",
            "(a.png): its segmentation is []: a box alone does not say which pixels; draw it as a polygon, or",
            "(a.png): coordinates that are not numbers: ['x', 1, 2, 3, 4, 5]",
            f"(a.png): an RLE of size [{WIDTH}, {HEIGHT}], but the image has [{HEIGHT}, {WIDTH}]",
        ]
    ):
        space = "" if says.startswith(":") else " "
        assert f"{file(root)}: annotation {900 + number}{space}{says}" in message


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda c: c["images"][0].update(file_name="gone.png"), "image 10: no gone.png in .*data.layout.images"),
        (lambda c: c["images"][0].update(file_name="../../x.png"), r"image 10: the path '../../x.png' leads out of"),
        (lambda c: c["images"][0].update(file_name="/etc/x.png"), "image 10: the path '/etc/x.png' leads out of"),
        (lambda c: c["images"][0].update(file_name=None), "image 10: its image is named None"),
        (lambda c: c["images"][0].pop("width"), "image 10: its height and width are 34 and None"),
        (lambda c: c["images"][0].update(width=WIDTH - 1), "says that a.png has 39 x 34 pixels, but it has 40 x 34"),
        (lambda c: c["images"][1].update(id=10), "image 10: two images have this number"),
        (lambda c: c["images"][1].update(file_name="a.png"), "a.png: labelled twice, in .*train2017.json"),
        (lambda c: c.pop("annotations"), "has no list 'annotations'"),
        (lambda c: c["categories"].append(7), "has no list 'categories' of objects"),
        (lambda c: c["categories"].clear(), "has no categories"),
        (lambda c: c["categories"][0].update(id=-1), "category 'cat' has the id -1"),
        (lambda c: c["categories"][0].update(id="one"), "category 'cat' has the id 'one'"),
        (lambda c: c["categories"][0].update(name="dog"), "category 'dog' has the id 2 here and 1 in another place"),
    ],
)
def test_one_wrong_entry(root: Path, edit: Callable[[Content], object], says: str) -> None:
    change(root, edit)
    message = faults(root, CocoLayout())
    assert re.search(says, message)
    assert str(file(root)) in message


def test_categories_must_agree_between_files(root: Path) -> None:
    change(root, lambda content: content["categories"][1].update(name="wolf"), "val")
    assert f"{file(root, 'val')}: category 2 is 'wolf' here and 'dog' in another place" in faults(root, CocoLayout())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"images": [],\n "annotations": [}', "line 2, column 18: Expecting value; not valid JSON"),
        (b"", "not valid JSON (an empty file, 0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1", "not valid JSON (a Git LFS pointer, not the file); run `git"),
        (b"\xff\xfe\xfa", "cannot be read as JSON"),
        (b"[" * 100000, "cannot be read as JSON"),
        (b"[1]", "holds a list, not an object"),
    ],
)
def test_broken_json_is_named_with_its_line(root: Path, content: bytes, says: str) -> None:
    file(root, "val").write_bytes(content)
    assert f"{file(root, 'val')}: {says}" in faults(root, CocoLayout())


def test_two_files_that_name_one_image(root: Path) -> None:
    shutil.copy(file(root), root / "annotations" / "instances_train_more.json")
    message = faults(root, CocoLayout(images="train2017", annotations="annotations/instances_train*.json"))
    assert f"{root / 'train2017' / 'a.png'}: labelled twice, in {file(root)} and " in message
    assert "instances_train_more.json" in message


def test_an_image_in_two_splits(root: Path) -> None:
    for path in (root / "val2017").iterdir():
        shutil.copy(path, root / "train2017" / path.name)
    shutil.rmtree(root / "val2017")
    change(root, lambda c: c["images"].append({**c["images"][0], "id": 99, "file_name": "v.png"}))
    message = faults(root, CocoLayout(images="train2017"))
    assert f"{root / 'train2017' / 'v.png'}: labelled twice" in message
    assert "(train and val)" in message


def test_images_of_one_name(root: Path) -> None:
    (root / "train2017" / "x").mkdir()
    for name in ("x/a.png", "x-a.png"):
        draw_picture(root / "train2017" / name, [])
        change(root, lambda c, name=name: c["images"].append({**c["images"][0], "id": name, "file_name": name}))
    assert "has the same name as" in faults(root, CocoLayout())


def test_what_lies_outside_altogether_is_a_fault(root: Path) -> None:
    flat = [-9.0, 3.0, 0.0, 3.0, 0.0, 6.0]
    change(root, lambda c: c["annotations"][2].update(segmentation=[flat]))
    assert "annotation 102 (b.png): no part of it lies in the image; correct its coordinates" in faults(
        root, CocoLayout()
    )


def test_what_reaches_outside_is_cut_and_noted(root: Path) -> None:
    flat = [-9.0, -9.0, WIDTH + 9.0, -9.0, WIDTH + 9.0, 6.0, -9.0, 6.0]
    change(root, lambda c: c["annotations"][2].update(segmentation=[flat]))  # of b.png
    source = opened(root, CocoLayout())
    assert "1 objects reach outside of their image and are cut off (the first in b.png)" in source.notes
    expected = drawn([("dog", 0, 0, WIDTH, 6), BOXES["train"]["b"][1]])
    np.testing.assert_array_equal(masks(source)["b"], expected)
    assert not [note for note in opened(make_coco(root.parent / "fine"), CocoLayout()).notes if "outside" in note]


@pytest.mark.parametrize("options", [{"overlap": "smal_on_top"}, {"crowd": "ignored"}])
def test_words(options: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"data.layout.\w+ must be one of .*did you mean"):
        CocoLayout(**options)


def test_an_image_that_changes_size_after_the_start(root: Path) -> None:
    examples = opened(root, CocoLayout()).splits["train"]
    Image.new("RGB", (WIDTH, HEIGHT + 1)).save(root / "train2017" / "a.png")
    with pytest.raises(UserError, match="changed since the start"):
        examples.read(0)


def test_annotations_outside_of_the_root(tmp_path: Path) -> None:
    make_coco(tmp_path)
    message = faults(tmp_path, CocoLayout(annotations=str(tmp_path / "annotations/instances_{split}2017.json")))
    assert "data.layout.annotations=" in message
    assert "must be a path below data.root" in message

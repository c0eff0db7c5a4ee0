"""Objects that overlap, through the whole path of a multilabel task: each class has its own layer and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from segtrain.data.classes import Declared, FileClass, build_class_map
from segtrain.data.combinations import combinations_of
from segtrain.data.facts import class_stats
from segtrain.data.finding import Finding
from segtrain.data.listing import Layout
from segtrain.data.raster import Layers
from segtrain.data.scan import look
from segtrain.data.tally import PLACES
from segtrain.decode.masks import MaskRules
from segtrain.layouts.coco import CocoLayout
from segtrain.layouts.labelme import LabelmeLayout
from segtrain.layouts.yolo import YoloLayout
from tests.data.annotated import BOXES, MAKERS, Boxes, make_coco, masks, opened, planes, write_json
from tests.data.files import REQUEST

LAYOUTS: Mapping[str, Layout] = {"coco": CocoLayout(), "labelme": LabelmeLayout(), "yolo": YoloLayout()}


def crowd(root: Path, *numbers: int) -> None:
    """Make annotations of the training file crowds."""
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    for number in numbers:
        content["annotations"][number]["iscrowd"] = 1
    write_json(path, content)


def slow_stats(found: Mapping[str, npt.NDArray[Any]]) -> list[list[int]]:
    """Positives, valid and present of masks [K, H, W]."""
    positives, valid, present = [], [], []
    for layer in zip(*found.values(), strict=True):
        positives.append(sum(int((mask == 1).sum()) for mask in layer))
        valid.append(sum(int((mask != 255).sum()) for mask in layer))
        present.append(sum(int((mask != 255).sum()) for mask in layer if (mask == 1).any()))
    return [positives, valid, present]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_keeps_what_lies_below(name: str, tmp_path: Path) -> None:
    source = opened(MAKERS[name](tmp_path), LAYOUTS[name], mode="multilabel")
    assert source.task.names == ("cat", "dog")  # the background is no class of its own
    for split, boxes in BOXES.items():
        for stem, mask in masks(source, split).items():
            np.testing.assert_array_equal(mask, np.stack(list(planes(boxes[stem]).values())), err_msg=stem)
            assert mask.dtype == np.uint8
    stats = source.stats
    assert [list(stats.positives), list(stats.valid), list(stats.present)] == slow_stats(masks(source))


def test_crowds_are_ignored_where_no_class_is_labelled(tmp_path: Path) -> None:
    make_coco(tmp_path)
    crowd(tmp_path, 0, 4)  # the cat of a, the dog of c, which has a cat within
    source = opened(tmp_path, CocoLayout(), mode="multilabel")
    found = masks(source)
    cat, dog = planes(BOXES["train"]["a"]).values()
    np.testing.assert_array_equal(found["a"], [np.where(cat, 255, 0), np.where(dog, 1, np.where(cat, 255, 0))])
    cat, dog = planes(BOXES["train"]["c"]).values()
    np.testing.assert_array_equal(found["c"], [np.where(cat, 1, np.where(dog, 255, 0)), np.where(dog, 255, 0)])
    stats = source.stats
    assert [list(stats.positives), list(stats.valid), list(stats.present)] == slow_stats(found)
    assert stats.valid[0] != stats.valid[1]


def test_the_view_merges_what_overlaps_once(tmp_path: Path) -> None:
    make_coco(tmp_path)
    source = opened(tmp_path, CocoLayout(), mode="multilabel", classes={"cat": "animal", 2: "animal"})
    assert source.task.names == ("animal",)
    for stem, mask in masks(source).items():
        np.testing.assert_array_equal(mask, [np.any(list(planes(BOXES["train"][stem]).values()), axis=0)])
    assert list(source.stats.positives) == slow_stats(masks(source))[0]


def test_the_view_selects(tmp_path: Path) -> None:
    make_coco(tmp_path)
    source = opened(tmp_path, CocoLayout(), mode="multilabel", classes={2: "hound"}, ignore_ids=[1])
    assert source.task.names == ("hound",)
    cat, dog = planes(BOXES["train"]["a"]).values()
    np.testing.assert_array_equal(masks(source)["a"], [np.where(dog, 1, np.where(cat, 255, 0))])
    assert list(source.stats.valid) == slow_stats(masks(source))[1]
    one = opened(tmp_path, CocoLayout(), classes={2: "hound"})
    assert (one.task.mode, one.task.names) == ("binary", ("hound",))


def test_pixels_without_an_object_can_be_ignored(tmp_path: Path) -> None:
    """As in a data set of which only a part is labelled."""
    source = opened(make_coco(tmp_path), CocoLayout(), mode="multilabel", ignore_ids=[0])
    cat, dog = planes(BOXES["train"]["a"]).values()
    none = ~(cat | dog)
    np.testing.assert_array_equal(masks(source)["a"], [np.where(none, 255, cat), np.where(none, 255, dog)])
    assert [list(source.stats.positives), list(source.stats.valid)] == slow_stats(masks(source))[:2]
    assert opened(tmp_path, CocoLayout(), ignore_ids=[0]).task.names == ("dog",)  # cat against dog


def test_overlap_is_noted_where_it_is_lost(tmp_path: Path) -> None:
    make_coco(tmp_path)
    several = sum(int(np.all(list(planes(boxes).values()), axis=0).sum()) for boxes in BOXES["train"].values())
    objects = sum(int(np.any(list(planes(boxes).values()), axis=0).sum()) for boxes in BOXES["train"].values())
    notes = opened(tmp_path, CocoLayout()).notes
    share = f"{several / objects:.2%} of the objects' pixels belong to several classes"
    assert f"{share}; task=multilabel keeps them all" in notes
    merged = opened(tmp_path, CocoLayout(), mode="multiclass", classes={1: "animal", 2: "animal", 0: "background"})
    for source in (opened(tmp_path, CocoLayout(), mode="multilabel"), merged):
        assert not [note for note in source.notes if "several classes" in note]


def test_kept_findings_tell_the_same(tmp_path: Path) -> None:
    make_coco(tmp_path / "data")
    crowd(tmp_path / "data", 0)
    first, second = (
        opened(tmp_path / "data", CocoLayout(), mode="multilabel", scan_dir=str(tmp_path / "scan")) for _ in range(2)
    )
    assert (first.stats, first.fingerprint, first.notes) == (second.stats, second.fingerprint, second.notes)
    assert list((tmp_path / "scan").iterdir())


def test_the_fingerprint_sees_what_lies_below(tmp_path: Path) -> None:
    """The dog hidden by a smaller cat: only the layers change."""
    prints = []
    for number, dog in enumerate([("dog", 3, 3, 9, 9), ("dog", 3, 3, 8, 10)]):
        cat = ("cat", 3, 3, 9, 10)
        boxes: Boxes = {**BOXES, "train": {"a": [dog, cat, ("dog", 20, 20, 30, 30)]}}
        root = make_coco(tmp_path / str(number), boxes)
        layout = CocoLayout(overlap="file_order")
        np.testing.assert_array_equal(masks(opened(root, layout))["a"][:15, :15] == 2, False)
        source = opened(root, layout, mode="multilabel")
        prints.append((source.fingerprint, int(masks(source)["a"][1].sum())))
    assert prints[0][1] != prints[1][1]
    assert prints[0][0] != prints[1][0]


def test_hidden_objects_have_places(tmp_path: Path) -> None:
    """Where to crop to meet a class that lies below another in each of its pixels."""
    boxes: Boxes = {**BOXES, "train": {"a": [("dog", 5, 5, 9, 9), ("cat", 0, 0, 20, 20)]}}
    (item, *_) = CocoLayout(overlap="file_order").find(make_coco(tmp_path, boxes)).items
    found = look(item, MaskRules())
    assert sorted(found.ids) == [0, 1]
    assert len(found.places[2]) == PLACES
    assert all(5 <= y < 9 and 5 <= x < 9 for y, x in found.places[2])


def test_combinations_by_hand() -> None:
    layers = Layers([3, 5, 255], np.array([[[1, 1, 0, 0, 0]], [[0, 1, 1, 0, 0]], [[0, 0, 1, 0, 0]]], dtype=bool))
    assert sorted(combinations_of(layers)) == [([0], 2), ([3], 1), ([3, 5], 1), ([5, 255], 1)]
    assert combinations_of(Layers([3], layers.planes[:1])) == []  # nothing could overlap: the ids say it all
    declared = Declared([FileClass(0, "none"), FileClass(3, "c"), FileClass(5, "e")], {255}, ground=0)
    mapped = build_class_map(declared, {**REQUEST, "mode": "multilabel"})
    stats = class_stats([Finding((1, 5), shared=combinations_of(layers))], mapped)
    assert (stats.positives, stats.valid, stats.present) == ([2, 2], [4, 5], [4, 5])
    np.testing.assert_array_equal(mapped.apply_layers(layers), [[[1, 1, 255, 0, 0]], [[0, 1, 1, 0, 0]]])


def test_masks_of_ids_keep_their_background_class() -> None:
    declared = Declared([FileClass(0, "road"), FileClass(3, "car")])
    mapped = build_class_map(declared, {**REQUEST, "mode": "multilabel"})
    assert mapped.task.names == ("road", "car")
    np.testing.assert_array_equal(mapped.apply(np.array([[0, 3]])), [[[1, 0]], [[0, 1]]])

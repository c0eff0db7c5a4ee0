"""From ids in files to canonical ids: what is declared, what is found, what is asked for, and their conflicts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtrain.data.classes import ClassMap, Declared, FileClass, build_class_map
from segtrain.data.conventions import declared_from_ids
from segtrain.data.declarations import read_declared
from segtrain.errors import UserError
from segtrain.task import default_palette
from tests.data.files import REQUEST

STREET = Declared([FileClass(i, name) for i, name in ((0, "road"), (4, "car"), (7, "bus"), (9, "walker"))], {11})


def view(classes: Mapping[int | str, str] | None, declared: Declared = STREET, **request: Any) -> ClassMap:
    return build_class_map(declared, REQUEST | request, (), classes)


def found(ids: Collection[int], num_classes: int | None = None, **request: Any) -> ClassMap:
    asked = REQUEST | {"num_classes": num_classes} | request
    return build_class_map(declared_from_ids(ids, num_classes), asked)


def ids_of(mapped: ClassMap, *ids: int) -> list[int]:
    return mapped.apply(np.array([ids])).ravel().tolist()


# ---- the union of the ids of all training masks --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "mode", "names", "canonical"),
    [
        ([0, 255], "binary", ("foreground",), {0: 0, 255: 1}),
        ([0, 1], "binary", ("foreground",), {0: 0, 1: 1}),
        ([0, 1, 255], "binary", ("foreground",), {0: 0, 1: 1, 255: 255}),
        ([3, 8], "binary", ("foreground",), {3: 0, 8: 1}),
        ([0, 7, 9], "multiclass", ("class_0", "class_7", "class_9"), {0: 0, 7: 1, 9: 2}),
        ([1, 2, 300, 255], "multiclass", ("class_1", "class_2", "class_300"), {1: 0, 2: 1, 300: 2, 255: 255}),
    ],
)
def test_union(ids: list[int], mode: str, names: tuple[str, ...], canonical: dict[int, int]) -> None:
    mapped = found(ids)
    assert (mapped.task.mode, mapped.task.names, mapped.task.ignore_index) == (mode, names, 255)
    assert ids_of(mapped, *canonical) == list(canonical.values())
    assert mapped.unknown([*ids, 2000]) == [2000]
    assert mapped.apply(np.array([[ids[0]]], np.uint16)).dtype == np.uint8


def test_one_meaning_for_the_whole_set() -> None:
    """A file with 0 and 255 alone has a foreground, or ignored pixels, as the other files decide."""
    assert ids_of(found({0, 255}), 0, 255) == [0, 1]
    assert ids_of(found({0, 1, 255}), 0, 255) == [0, 255]


@pytest.mark.parametrize("ids", [[], [0], [7], [1, 255]])
def test_one_class_is_nothing_to_learn(ids: list[int]) -> None:
    with pytest.raises(UserError, match=r"only the ids .*at least two classes"):
        found(ids)


def test_number_of_classes_asked_for() -> None:
    mapped = found([0, 2], 4, mode="multiclass")  # class 1 and 3 are in no training mask
    assert (mapped.task.num_classes, ids_of(mapped, 0, 1, 2, 3, 255)) == (4, [0, 1, 2, 3, 255])
    assert mapped.unknown([3, 4]) == [4]


@pytest.mark.parametrize("mode", ["auto", "binary"])
def test_binary_has_one_class(mode: str) -> None:
    assert ids_of(found([0, 255], 1, mode=mode), 0, 255) == [0, 1]


# ---- dataset.json and classes.txt ----------------------------------------------------------------------------------

TEXT = "7\tbus\t0,0,200\n0\troad\t9,9,9\n\n4\tcar\t200,0,0\n11\tvoid\tignore\n"
JSON = {
    "task": "multilabel",
    "ignore_index": 11,
    "classes": [
        {"id": 7, "name": "bus", "palette": [0, 0, 200]},
        {"id": 0, "name": "road", "palette": [9, 9, 9]},
        {"id": 4, "name": "car", "palette": [200, 0, 0]},
    ],
}


def test_nothing_declared(tmp_path: Path) -> None:
    assert read_declared(tmp_path) is None


@pytest.mark.parametrize(("name", "mode"), [("dataset.json", "multilabel"), ("classes.txt", "multiclass")])
def test_declared_by_id(tmp_path: Path, name: str, mode: str) -> None:
    (tmp_path / name).write_text(TEXT if name.endswith("txt") else json.dumps(JSON))
    declared = read_declared(tmp_path)
    assert declared is not None
    mapped = view(None, declared)
    assert (mapped.task.mode, mapped.task.names) == (mode, ("road", "car", "bus"))
    assert mapped.task.palette == ((9, 9, 9), (200, 0, 0), (0, 0, 200))
    assert mapped.origin == name
    assert (mapped.unknown([0, 4, 7, 11]), mapped.unknown([255, -1, 99999, 1])) == ([], [-1, 1, 255, 99999])
    asked = view(None, declared, mode="multiclass")
    assert ids_of(asked, 0, 4, 7, 11) == [0, 1, 2, 255]


def test_json_goes_before_text_and_colours_are_optional(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(TEXT)
    plain = {"classes": [{"id": 1, "name": "cell"}, {"id": 0, "name": "rest"}], "ignore_index": -1}
    (tmp_path / "dataset.json").write_text(json.dumps(plain))
    declared = read_declared(tmp_path)
    assert declared is not None
    mapped = view(None, declared)
    assert (mapped.task.mode, mapped.task.names, mapped.origin) == ("binary", ("cell",), "dataset.json")
    assert mapped.task.palette == default_palette(1, "binary")
    assert mapped.unknown([65535]) == [65535]  # the table's last place, where -1 would point to


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dataset.json", "{"),
        ("dataset.json", "[]"),
        ("dataset.json", "{}"),
        ("dataset.json", '{"classes": [{"id": 0}]}'),
        ("dataset.json", '{"classes": [{"id": "a", "name": "b"}]}'),
        ("dataset.json", '{"classes": [{"id": 0, "name": "a", "palette": 3}]}'),
        ("dataset.json", '{"classes": [{"id": 0, "name": "a"}, {"id": 70000, "name": "b"}]}'),
        ("dataset.json", '{"classes": [{"id": 0, "name": "a"}, {"id": -1, "name": "b"}]}'),
        ("dataset.json", '{"classes": [{"id": 0, "name": "a"}, {"id": 0, "name": "b"}]}'),
        ("dataset.json", '{"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "a"}]}'),
        ("dataset.json", '{"classes": [], "ignore_index": "none"}'),
        ("classes.txt", "0 road 128 64 128\n1 car 64 0 128\n"),  # colours and `ignore` need tabs
        ("classes.txt", "0 road\n11 void ignore\n"),
        ("classes.txt", "0 road\n11\n"),
        ("classes.txt", "0 road\ncar\n"),
        ("classes.txt", "0,road,128\n"),
        ("classes.txt", "0: road\n"),
        ("classes.txt", "road\n\ncar\n"),
        ("classes.txt", "road,car\n"),
        ("classes.txt", "road\ncar\nroad\n"),
        ("dataset.json", "[" * 100_000),
        ("labelmap.txt", "road\n"),
        ("labelmap.txt", "road:1,2::\n"),
        ("train/_classes.csv", "Pixel Value, Class\nx, road\n"),
        ("train/_classes.csv", "Pixel Value, Class\n1\n"),
        ("classes.txt", "zero\troad\n"),
        ("classes.txt", "0\troad\t1,2\n"),
        ("classes.txt", "0\troad\tignored\n"),
        ("dataset.json", '{"classes": [{"id": Infinity, "name": "a"}]}'),
        ("dataset.json", '{"classes": [{"id": 1.5, "name": "a"}]}'),
        ("dataset.json", '{"labels": {"a": 1e999}}'),
        ("dataset.json", '{"classes": [{"id": 0, "name": "a"}], "ignore_index": 2.5}'),
    ],
)
def test_broken_declaration(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name}: cannot be read as a list of classes \(.+\); see docs"):
        read_declared(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "road\ntraffic light\nbus",
        "\ufeffroad\r\ntraffic light\r\nbus \r\n\r\n",
        "2 bus\n0 road\n1 traffic light\n",
        "0,road\n1, traffic light\n2,bus",
        "0\troad\n1 traffic light\n\n2,bus",
    ],
)
def test_other_forms_of_classes_txt(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_bytes(text.encode())
    declared = read_declared(tmp_path)
    assert declared is not None
    assert [(c.id, c.name) for c in declared.classes] == [(0, "road"), (1, "traffic light"), (2, "bus")]
    assert declared.origin == "classes.txt" + ("" if "0" in text else ", numbered by line from 0")


def test_a_line_that_does_not_fit_is_named(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("0 road\n1 car\nbus\n")
    with pytest.raises(UserError, match=r"\(line 3, 'bus', does not fit: a line is id<tab>name, .*\); see docs"):
        read_declared(tmp_path)


def test_labelmap_of_cvat(tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\na:b:9,8,7::\nc::x,y:z\n"
    )
    declared = read_declared(tmp_path)
    assert declared is not None
    assert declared.classes == [
        FileClass(0, "background", (0, 0, 0)),
        FileClass(1, "a:b", (9, 8, 7)),
        FileClass(2, "c"),
    ]


def test_table_of_roboflow(tmp_path: Path) -> None:
    for split in ("test", "train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, car\n")
    declared = read_declared(tmp_path)
    assert declared is not None
    assert declared.classes == [FileClass(0, "background"), FileClass(1, "car")]
    (tmp_path / "valid" / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, bus\n")
    with pytest.raises(UserError, match=r"train/_classes.csv: .*valid/_classes.csv says otherwise"):
        read_declared(tmp_path)
    for split in ("test", "train", "valid"):
        (tmp_path / split / "_classes.csv").write_text("filename, car, bus\na.jpg, 1, 0\n")
    assert read_declared(tmp_path) is None


def test_unknown_mode_is_named() -> None:
    with pytest.raises(UserError, match=r"task.mode must be one of .*'panoptic'"):
        view(None, Declared(STREET.classes, mode="panoptic"))


# ---- data.ignore_ids and data.classes ------------------------------------------------------------------------------


def test_ignored_ids_add_up() -> None:
    mapped = build_class_map(STREET, REQUEST, ignore_ids=[4, 200])
    assert mapped.task.names == ("road", "bus", "walker")
    assert ids_of(mapped, 0, 4, 7, 9, 11, 200) == [0, 255, 1, 2, 255, 255]
    for wrong in (-1, 70000, "11"):
        with pytest.raises(UserError, match=f"data.ignore_ids .*{wrong}"):
            build_class_map(STREET, REQUEST, ignore_ids=[wrong])


@pytest.mark.parametrize(
    ("classes", "mode", "names", "canonical"),
    [  # of the ids 0, 4, 7, 9 and the ignored 11
        ({9: "pedestrian"}, "binary", ("pedestrian",), [0, 0, 0, 1, 255]),
        ({"walker": "pedestrian"}, "binary", ("pedestrian",), [0, 0, 0, 1, 255]),
        ({4: "vehicle", "bus": "vehicle"}, "binary", ("vehicle",), [0, 1, 1, 0, 255]),
        ({7: "bus", 9: "walker"}, "multiclass", ("background", "bus", "walker"), [0, 0, 1, 2, 255]),
        ({0: "ground", 4: "v", 7: "v", 9: "w"}, "multiclass", ("ground", "v", "w"), [0, 1, 1, 2, 255]),
        ({9: "w", 7: "v", 4: "v", 0: "w"}, "binary", ("v",), [0, 1, 1, 0, 255]),
        ({9: "background", 7: "bus"}, "binary", ("bus",), [0, 0, 1, 0, 255]),
        ({4: "v", 7: "v", 9: "v", 0: "background"}, "binary", ("v",), [0, 1, 1, 1, 255]),
    ],
)
def test_views(classes: dict[int | str, str], mode: str, names: tuple[str, ...], canonical: list[int]) -> None:
    mapped = view(classes)
    assert (mapped.task.mode, mapped.task.names) == (mode, names)
    assert ids_of(mapped, 0, 4, 7, 9, 11) == canonical


def test_a_view_has_a_mode_of_its_own() -> None:
    declared = Declared(STREET.classes, STREET.ignored, mode="multiclass")
    assert view(None, declared).task.mode == "multiclass"
    assert view({9: "walker"}, declared).task.mode == "binary"


def test_a_view_takes_the_first_members_colour() -> None:
    declared = Declared([FileClass(0, "a", (1, 1, 1)), FileClass(1, "b", (2, 2, 2)), FileClass(2, "c", (3, 3, 3))])
    assert view({2: "fg"}, declared).task.palette == ((3, 3, 3),)
    assert view({0: "x", 1: "y", 2: "y"}, declared, mode="multiclass").task.palette == ((1, 1, 1), (2, 2, 2))


@pytest.mark.parametrize(
    ("classes", "request_", "says"),
    [
        ({8: "x"}, {}, r"data.classes: 8 is not a class.*4 car"),
        ({11: "x"}, {}, r"data.classes: 11 is not a class"),
        ({"cars": "x"}, {}, r"'cars' is not a class.*4 car"),
        ({4: "x", "car": "y"}, {}, r"data.classes lists a class twice"),
        ({0: "x", 4: "x", 7: "x", 9: "x"}, {}, r"at least two classes.*leave 1"),
        (None, {"mode": "binary"}, r"task=binary needs two classes.* has 4.*data.classes="),
        (None, {"mode": "panoptic"}, r"task.mode must be one of"),
        (None, {"num_classes": 3}, r"task.num_classes=3, but the data has 4 in mode multiclass.*road"),
        ({9: "x"}, {"num_classes": 2}, r"task.num_classes=2, but the data has 1 in mode binary"),
        (None, {"ignore_index": -1}, r"task.ignore_index must be in \[0, 255\].*-1"),
        (None, {"ignore_index": 2}, r"task.ignore_index 2 is also the id of a class"),
        (None, {"names": ["a"]}, r"4 classes but 1 names"),
    ],
)
def test_conflicts(classes: dict[int | str, str] | None, request_: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        view(classes, **request_)


def test_what_is_asked_for_holds() -> None:
    names, palette = ["a", "b", "c", "d"], [(i, i, i) for i in range(4)]
    mapped = view(None, names=names, palette=palette, ignore_index=200, num_classes=4)
    assert (mapped.task.names, mapped.task.palette) == (tuple(names), tuple(palette))
    assert ids_of(mapped, 9, 11) == [3, 200]


def test_multilabel_is_one_plane_per_class() -> None:
    ids = np.array([[0, 4, 11], [9, 9, 7]], np.uint8)
    mask = view(None, mode="multilabel").apply(ids)
    assert mask.dtype == np.uint8
    for plane, file_id in zip(mask, (0, 4, 7, 9), strict=True):
        np.testing.assert_array_equal(plane, np.where(ids == 11, 255, ids == file_id))

"""Annotation files with one value replaced by anything: read, or refused by a sentence that names the file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segtrain.data.listing import Layout
from segtrain.errors import UserError
from segtrain.layouts.coco import CocoLayout
from segtrain.layouts.labelme import LabelmeLayout
from tests.data.annotated import HEIGHT, WIDTH, make_coco, make_labelme, opened
from tests.layouts.test_rle import compressed

ODD: list[Any] = [
    None, True, -1, 0, 3, 2**70, 1e308, -1e308, float("nan"), float("inf"), "", "x", "3", "é\0", [], [[]], [[[1]]],
    [1, "a"], [None] * 6, {}, {"counts": 3, "size": 4}, {"counts": [2**70], "size": [HEIGHT, WIDTH]},
    {"counts": "0" * 50, "size": [HEIGHT, WIDTH]}, {"counts": [HEIGHT * WIDTH], "size": [HEIGHT, WIDTH]},
    {"counts": compressed([HEIGHT * WIDTH]), "size": [HEIGHT, WIDTH]}, "..", "/", "a/../b.png", [1, 2, 3, 4, 5, 6],
    [[1, 1, 1, 1, 1, 1]], [[1e9, 1, 2, 2, -1e8, 5]],
]  # fmt: skip

TRIES = 60  # of about 5000; all have been tried


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to all values of a JSON document."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []
    for key in keys:
        yield (*path, key)
        yield from places(content[key], (*path, key))


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


@pytest.mark.parametrize(
    ("make", "name", "layout"),
    [
        (make_coco, "annotations/instances_train2017.json", CocoLayout()),
        (make_labelme, "train/a.json", LabelmeLayout()),
    ],
)
def test_any_value_in_any_place(make: Callable[[Path], Path], name: str, layout: Layout, tmp_path: Path) -> None:
    path = make(tmp_path) / name
    good = path.read_text()
    draw = random.Random(0)
    ways = list(places(json.loads(good)))
    refused = []
    for way, number in draw.sample([(way, number) for way in ways for number in range(len(ODD))], TRIES):
        content = json.loads(good)
        replaced(content, way, ODD[number])
        path.write_text(json.dumps(content))
        try:
            opened(tmp_path, layout, mode="multilabel", cache="none").splits["train"].read(0)
        except UserError as error:
            refused.append(str(error))
    assert all(str(tmp_path) in message for message in refused)
    assert TRIES / 8 < len(refused) < TRIES  # both happen

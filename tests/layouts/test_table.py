"""data=csv: every row that cannot be used is named by its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtrain.data.files import FileData
from segtrain.data.listing import Listing
from segtrain.errors import UserError
from segtrain.layouts.table import TableLayout
from tests.data.files import REQUEST
from tests.data.trees import array_pair, save, table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three pairs a, b, c without a table."""
    for seed, name in enumerate("abc"):
        image, mask = array_pair(seed, (0, 1))
        save(tmp_path / "in" / f"{name}.png", image)
        save(tmp_path / "out" / f"{name}_x.png", mask)
    return tmp_path


def find(root: Path, text: str, name: str = "t.csv", **settings: Any) -> Listing:
    (root / name).write_text(text, encoding="utf-8")
    return TableLayout(**settings).find(root)


def refused(root: Path, text: str | None = None, **settings: Any) -> str:
    if text is not None:
        (root / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        TableLayout(**settings).find(root)
    return str(caught.value)


def test_gives_what_was_written(tmp_path: Path) -> None:
    written = table(tmp_path)
    source = FileData(str(tmp_path), TableLayout()).open(REQUEST)
    found = {f"{split}/{name}": (e, i) for split, e in source.splits.items() for i, name in enumerate(e.ids)}
    assert set(found) == set(written)
    for key, (examples, index) in found.items():
        image, mask = examples.read(index)
        np.testing.assert_array_equal(image, written[key][0])
        np.testing.assert_array_equal(mask, written[key][1] > 0)
    assert source.notes[0] == "pairs from pairs.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_of_every_kind(root: Path, delimiter: str, start: str, end: str) -> None:
    rows = [
        ["Weight", "mask", " Image ", "site", "split", "group"],
        ["2.5", "out/a_x.png", "in/a.png", "x", "Training", "p 1"],
        [],
        ["", '"out/b_x.png"', "in/b.png", "x", "valid", ""],
        ["1", "out/c_x.png", " in/c.png ", "x", "", "p 1"],
    ]
    found = find(root, start + "".join(delimiter.join(row) + end for row in rows), "any name.tsv")
    assert not found.faults
    assert [(i.id, i.split, i.group, i.weight) for i in found.items] == [
        ("in/a", "train", "p 1", 2.5),
        ("in/b", "val", "", 1.0),
        ("in/c", "", "p 1", 1.0),
    ]
    assert [[str(path.relative_to(root)) for path in i.label.files] for i in found.items] == [
        ["out/a_x.png"], ["out/b_x.png"], ["out/c_x.png"]
    ]  # fmt: skip
    assert list(found.notes) == ["pairs from any name.tsv", "column site is not used"]


def test_paths_as_windows_writes_them(root: Path) -> None:
    found = find(root, "image,mask\nin\\a.png,out\\a_x.png\n..\\b.png,out\\b_x.png\nC:\\b.png,out\\b_x.png\n")
    assert [(item.id, item.image) for item in found.items] == [("in/a", root / "in" / "a.png")]
    assert all("leads out of data.root" in fault for fault in found.faults)
    assert len(found.faults) == 2


def test_a_misspelt_column_is_said(root: Path) -> None:
    found = find(root, "image,mask,wieght\nin/a.png,out/a_x.png,3\n")
    assert "column wieght is not used - did you mean weight?" in found.notes


def test_every_fault_has_its_line(root: Path) -> None:
    good = "in/a.png,out/a_x.png"
    rows = [
        f"{good},train,1",
        f"{good},train,1",
        f"{good},val,1",
        "in/b.png,out/b_x.png,trian,1",
        "in/b.png,out/b_x.png,train,0",
        "in/b.png,out/b_x.png,train,-1",
        "in/b.png,out/b_x.png,train,much",
        "in/b.png,out/b_x.png,train,nan",
        "in/b.png,out/b_x.png,train,inf",
        "in/b.png,out/b_x.png,train",
        "in/b.png,out/b_x.png,train,1,2",
        ",out/b_x.png,train,1",
        "in/b.png,out/none.png,train,1",
        "in,out/b_x.png,train,1",
        "../b.png,out/b_x.png,train,1",
        f"in/b.png,{root}/out/b_x.png,train,1",
        '"in/b.png","out/b_x.png",train,1',
    ]
    found = find(root, "image,mask,split,weight\n" + "\n".join(rows))
    assert [(item.id, item.split) for item in found.items] == [("in/a", "train"), ("in/b", "train"), ("in/a", "val")]
    parts = [
        (3, "the id in/a stands already in line 2"),
        (5, "got 'trian' - did you mean train?"),
        (6, "weight must be a number > 0, got 0.0"),
        (7, "weight must be a number > 0, got -1.0"),
        (8, "weight must be a number > 0, got 'much'"),
        (9, "got 'nan'"),
        (10, "got 'inf'"),
        (11, "3 fields, but the header has 4"),
        (12, "5 fields, but the header has 4"),
        (13, "image is empty"),
        (14, "mask out/none.png: no such file"),
        (15, "image in: no such file"),
        (16, "image ../b.png leads out of data.root; allow it with data.layout.allow_outside=true"),
        (17, "out/b_x.png leads out of data.root"),
    ]
    assert len(found.faults) == len(parts)
    for fault, (line, part) in zip(found.faults, parts, strict=True):
        assert fault.startswith(f"{root / 't.csv'} line {line}: ")
        assert part in fault


def test_outside_where_it_is_allowed(root: Path) -> None:
    inner = root / "inner"
    inner.mkdir()
    text = f"image,mask\n../in/a.png,{root}/out/a_x.png\n"
    assert len(find(inner, text).faults) == 1
    (item,) = find(inner, text, allow_outside=True).items
    assert item.image.samefile(root / "in" / "a.png")
    assert item.label.files == (root / "out" / "a_x.png",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "t.csv line 1: no column image and mask; the file is empty"),
        ("images,mask\n", "no column image; it has images, mask - did you mean images?"),
        (
            "image\tmasque\n",
            "no column mask; it has image, masque - did you mean masque? Call them mask",
        ),
        ("image,mask,mask\n", "line 1: the column mask stands there twice"),
        ('image,mask\n"in/a.png,out/a_x.png\n', "cannot be read as a table"),
    ],
)
def test_tables_that_cannot_be_used(root: Path, text: str, says: str) -> None:
    assert says in refused(root, text)


def test_a_table_without_rows(root: Path) -> None:
    assert find(root, "image,mask\n").faults == [
        f"{root / 't.csv'}: no rows below the header; write one for each image"
    ]


def test_which_table(root: Path) -> None:
    assert "no table (.csv, .tsv) there; name one with data.layout.table=FILE" in refused(root)
    (root / "scores.csv").write_text("epoch,iou\n1,2\n")
    assert "no column image and mask; it has epoch, iou; call them image and mask" in refused(root)
    text = "image,mask\nin/a.png,out/a_x.png\n"
    assert len(find(root, text).items) == 1  # the other one is no such table
    (root / "u.tsv").write_text(text)
    assert "several tables (t.csv, u.tsv)" in refused(root)
    assert len(TableLayout(table="u.tsv").find(root).items) == 1
    assert f"{root / 'v.csv'}: no such file" in refused(root, table="v.csv")
    (root / "t.csv").write_bytes(text.encode("utf-16"))
    assert f"{root / 't.csv'}: cannot be read as a table" in refused(root, table="t.csv")
    assert "data.layout.allow_outside must be true or false" in refused(root, allow_outside="perhaps")

"""Splits made from the data: complete, without leaks, balanced, and the same for ever."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrain.data.files import FileData
from segtrain.data.finding import Finding, Found
from segtrain.data.listing import Item, MaskFile
from segtrain.data.splits import Splitting, divide
from segtrain.data.stratify import assign, deal
from segtrain.errors import UserError
from segtrain.layouts.folder import FolderLayout
from tests.data.files import REQUEST, make_folder, save_ids

ROOT = Path("/data")


def made(number: int, ids: Sequence[dict[int, int]] | None = None, group: Any = None, split: Any = None) -> list[Found]:
    """Items a000.png, a001.png, ... with the given pixels of each id."""
    found = []
    for i in range(number):
        item = Item(f"a{i:03}", ROOT / "images" / f"a{i:03}.png", MaskFile(ROOT / f"{i}.png"))
        item = replace(item, group=group(i) if group else "", split=split(i) if split else "")
        found.append((item, Finding((10, 10), ids=ids[i] if ids else {0: 100}, digest=f"{i}")))
    return found


def splits_of(found: Sequence[Found], **settings: Any) -> dict[str, list[str]]:
    divided, _ = divide(found, ROOT, Splitting(**{"mode": "random", **settings}))
    assert [item.image for item, _ in divided] == [item.image for item, _ in found]
    splits: dict[str, list[str]] = defaultdict(list)
    for item, _ in divided:
        splits[item.split].append(item.id)
    return splits


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 30), min_size=12, max_size=80),
    stratify=st.booleans(),
    seed=st.integers(0, 9),
    mode=st.sampled_from(["random", "kfold"]),
)
def test_groups_stay_together_and_nothing_is_lost(groups: list[int], stratify: bool, seed: int, mode: str) -> None:
    random = np.random.default_rng(seed)
    ids = [{0: 50, 1: int(random.integers(0, 50))} for _ in groups]
    found = made(len(groups), ids, lambda i: f"g{groups[i]}")
    given_parts = {"mode": mode, "stratify": stratify, "seed": seed, "folds": 3}
    if len(set(groups)) < 3:
        with pytest.raises(UserError, match=r"each part needs a group"):
            splits_of(found, **given_parts)
        return
    splits = splits_of(found, **given_parts)
    assert set(splits) == ({"train", "val", "test"} if mode == "random" else {"train", "val"})
    where = {name: split for split, names in splits.items() for name in names}
    assert len(where) == len(groups)  # each item once
    for group in set(groups):
        assert len({where[f"a{i:03}"] for i, g in enumerate(groups) if g == group}) == 1
    assert splits == splits_of(found, **given_parts)


@given(number=st.integers(20, 200), val=st.floats(0.1, 0.4), test=st.floats(0.05, 0.3))
@settings(max_examples=40, deadline=None)
def test_shares_of_images(number: int, val: float, test: float) -> None:
    splits = splits_of(made(number), val_share=val, test_share=test, stratify=False)
    for name, share in (("val", val), ("test", test), ("train", 1 - val - test)):
        assert abs(len(splits[name]) - share * number) < 1 + 1e-9


def test_the_seed_decides() -> None:
    found = made(50)
    assert splits_of(found, seed=0)["val"] == splits_of(found, seed=0)["val"] != splits_of(found, seed=1)["val"]


def test_folds_cover_all_and_share_nothing() -> None:
    found = made(23)
    folds = [splits_of(found, mode="kfold", folds=5, fold=k) for k in range(5)]
    validated = [name for fold in folds for name in fold["val"]]
    assert sorted(validated) == sorted(item.id for item, _ in found)
    for fold in folds:
        assert not set(fold["val"]) & set(fold["train"])
        assert len(fold["val"]) + len(fold["train"]) == 23


def test_rare_classes_are_balanced_by_pixels() -> None:
    """A class in one image of ten, of very unequal size: by chance alone a fifth of the images gets anything."""
    random = np.random.default_rng(0)
    ids = [{0: 1000} | ({1: int(random.lognormal(3, 1.2)) + 1} if i % 10 == 0 else {}) for i in range(300)]
    total = sum(each.get(1, 0) for each in ids)
    found = made(300, ids)

    def error(stratify: bool, seed: int) -> float:
        val = splits_of(found, val_share=0.2, test_share=0.2, stratify=stratify, seed=seed)["val"]
        return abs(sum(ids[int(name[1:])].get(1, 0) for name in val) / total - 0.2)

    assert max(error(True, seed) for seed in range(10)) < 0.01
    assert np.mean([error(False, seed) for seed in range(10)]) > 0.03  # so that the line above can fail


def test_each_goes_where_the_whole_deviates_least() -> None:
    """The rule against trying every place, deviation computed anew each time."""
    random = np.random.default_rng(1)
    content, shares = random.random((12, 3)), np.array([0.5, 0.3, 0.2])
    content /= content.sum(0)
    have, dealt = np.zeros((3, 3)), deal(content, shares)
    for place, (group, chosen) in enumerate(zip(content, dealt, strict=True)):
        costs = []
        for part in range(3):
            trial = have.copy()
            trial[part] += group
            costs.append(sum(((trial[s] - shares[s]) ** 2).sum() / shares[s] for s in range(3)))
        if place < 9:  # the last three may have to fill what is empty
            assert chosen == int(np.argmin(costs))
        have[chosen] += group


def test_identical_images_stay_together() -> None:
    found = made(30)
    found = [(item, replace(finding, digest=str(i // 3))) for i, (item, finding) in enumerate(found)]
    where = {name: split for split, names in splits_of(found).items() for name in names}
    for i in range(0, 30, 3):
        assert len({where[f"a{k:03}"] for k in (i, i + 1, i + 2)}) == 1


def test_groups_by_a_regular_expression() -> None:
    found = made(40)
    where = {name: s for s, names in splits_of(found, group=r"images/a(\d\d)").items() for name in names}
    for i in range(0, 40, 10):
        assert len({where[f"a{k:03}"] for k in range(i, i + 10)}) == 1
    with pytest.raises(UserError, match=r"data.group='b' matches nothing in 40 images \(images/a000.png, .* 35 more\)"):
        splits_of(found, group="b")


def test_the_test_images_of_the_layout_stay() -> None:
    found = made(40, split=lambda i: "test" if i < 10 else "train")
    for mode in ("random", "kfold"):
        splits = splits_of(found, mode=mode)
        assert splits["test"] == [f"a{i:03}" for i in range(10)]
        assert splits["val"]


def test_a_given_split_with_leaking_groups_is_refused() -> None:
    found = made(6, group=lambda i: f"g{i // 2}", split=lambda i: "val" if i > 2 else "train")
    with pytest.raises(
        UserError, match=r"group g1 lies in train and val \(images/a002.png, images/a003.png\); .*=random"
    ):
        divide(found, ROOT, Splitting())
    divide(found[:2] + found[4:], ROOT, Splitting())
    with pytest.raises(UserError, match=r"no split is given for 6 images .*data.split=random"):
        divide(made(6), ROOT, Splitting())


@pytest.mark.parametrize("mode", ["given", "random", "kfold"])
def test_groups_by_a_regular_expression_do_not_leak_into_given_splits(mode: str) -> None:
    """Whoever names groups relies on them: also where splits are there already, and the kept test images."""
    found = made(40, split=lambda i: "test" if i < 5 else "val" if i < 20 else "train")
    with pytest.raises(UserError, match=r"group 00 lies in test and .*; .*data\.exclude"):
        divide(found, ROOT, Splitting(mode, folds=2, group=r"images/a(\d\d)"))
    divided, _ = divide(found[10:], ROOT, Splitting(mode, folds=2, group=r"images/a(\d\d)"))
    assert len(divided) == 30


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mode": "radnom"}, r"data.split must be one of .*did you mean random"),
        ({"val_share": 0}, "data.val_share must be"),
        ({"val_share": 0.8, "test_share": 0.3}, "leave no images to train on"),
        ({"fold": 5}, r"data.fold must be a whole number in \[0, 4\], got 5"),
        ({"folds": 1}, "data.folds must be"),
        ({"group": "("}, r"data.group='\(' is no regular expression"),
        ({"stratify": "yes"}, "data.stratify must be true or false"),
    ],
)
def test_refused_settings(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Splitting(**{"mode": "random", **wrong})


def test_too_few_groups() -> None:
    with pytest.raises(
        UserError, match=r"data.split makes 5 parts .* of 9 images in 3 groups: .* \(a stack, a patient"
    ):
        splits_of(made(9, group=lambda i: str(i // 3)), mode="kfold")
    assert len(assign([f for _, f in made(3)], [0, 1, 2], {"a": 0.98, "b": 0.01, "c": 0.01}, True, 0)) == 3


# ---- the file ------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_folder(tmp_path / "cells")
    return tmp_path / "cells"


def opened(root: Path, **settings: Any) -> dict[str, list[str]]:
    source = FileData(str(root), FolderLayout(), split_dir=str(root.parent / "kept"), **settings).open(REQUEST)
    return {split: list(examples.ids) for split, examples in source.splits.items()}


def test_a_division_never_changes_silently(root: Path) -> None:
    first = opened(root, split="random", val_share=0.5)
    (file,) = (root.parent / "kept").iterdir()
    assert opened(root, split="random", val_share=0.5) == first
    text = file.read_text()
    flipped = [line.replace("\ttrain", "\t?").replace("\tval", "\ttrain").replace("\t?", "\tval") for line in
               text.splitlines()[1:]]  # fmt: skip
    file.write_text("\n".join(flipped))
    after = opened(root, split="random", val_share=0.5)
    assert (after["train"], after["val"]) == (first["val"], first["train"])  # the file is what counts
    save_ids(root / "images" / "train" / "new.png", np.zeros((8, 8), np.uint8))
    save_ids(root / "masks" / "train" / "new.png", np.eye(8, dtype=np.uint8))
    with pytest.raises(UserError, match=r"has no split for 1 images \(images/train/new.png\); add lines"):
        opened(root, split="random", val_share=0.5)
    file.write_text(file.read_text() + "\nimages/train/new.png\tval\n")
    assert "new" in opened(root, split="random", val_share=0.5)["val"]
    file.write_text(file.read_text() + "\nimages/train/new.png\tvla\n")
    with pytest.raises(UserError, match=r"line \d+: .*vla' should be an image, a tab and one of .*val"):
        opened(root, split="random", val_share=0.5)


def test_images_of_one_name_from_two_splits_are_told_apart(root: Path) -> None:
    """make_folder names the images of each split alike."""
    splits = opened(root, split="kfold", folds=2)
    assert len({*splits["train"], *splits["val"]}) == len(splits["train"]) + len(splits["val"]) == 5
    assert any(name.startswith("images_") for name in splits["train"])


def test_folds_share_one_file(root: Path) -> None:
    vals = [opened(root, split="kfold", folds=3, fold=fold)["val"] for fold in range(3)]
    assert len(list((root.parent / "kept").iterdir())) == 1
    assert len({name for val in vals for name in val}) == 5


def test_a_file_of_ones_own(root: Path, tmp_path: Path) -> None:
    items = FolderLayout().find(root).items
    lines = [f"{item.image.relative_to(root)}\t{item.split}" for item in items]
    (tmp_path / "mine.tsv").write_text("\n".join(lines))
    given_splits = opened(root)
    mine = opened(root, split="random", split_file=str(tmp_path / "mine.tsv"))
    assert {split: len(names) for split, names in mine.items()} == {s: len(n) for s, n in given_splits.items()}


@pytest.mark.parametrize("content", [b"a\tx\xff\n", b"\xff\xfe"])
def test_a_file_that_is_no_text(content: bytes, root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.tsv: cannot be read \(not a text in UTF-8\); restore it"):
        opened(root, split="random", split_file=str(tmp_path / "mine.tsv"))

"""The bank of copy-paste: each class has its share of the crops, equal for equal seeds, from files and drawn data."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segtrain.augment import build_augmentation
from segtrain.data import DataSource
from segtrain.data.bank import bank_crops
from segtrain.data.files import FileData
from segtrain.data.sampling import Places
from segtrain.data.synthetic import SyntheticData
from segtrain.errors import UserError
from segtrain.layouts.folder import FolderLayout
from segtrain.task import Batch, Task
from tests import tiny
from tests.data.files import REQUEST

CROP = (16, 24)


def same(image: Any, mask: Any, seed: int) -> tuple[Any, Any]:
    return image, mask


def synthetic(mode: str) -> DataSource:
    return SyntheticData(size=48, train=12, val=1, test=0, foreground=0.2).open({**REQUEST, "mode": mode})


def folder(root: Path, mode: str = "multiclass", bank: int = 8, **settings: Any) -> DataSource:
    """Images of 40 x 36 pixels; one in two is smaller than a crop."""
    tiny.make_folder(root, ids=(0, 1, 2), counts=(6, 1, 1), sizes=[(40, 36), (14, 20)])
    return FileData(str(root), FolderLayout(), bank=bank, **settings).open({**REQUEST, "mode": mode})


def holds(mask: torch.Tensor, task: Task, label: int) -> bool:
    return bool(((mask[label] == 1) if task.mode == "multilabel" else (mask == label)).any())


def check_bank(source: DataSource, classes: tuple[int, ...]) -> Batch:
    """Each crop holds the class that it is for."""
    bank = bank_crops(source, same, 1, CROP, classes, 12)
    planes = (source.task.num_classes,) if source.task.mode == "multilabel" else ()
    assert bank["image"].shape == (12, source.channels, *CROP)
    assert bank["mask"].shape == (12, *planes, *CROP)
    for index, mask in enumerate(bank["mask"]):
        assert holds(mask, source.task, classes[index % len(classes)])
    assert len(set(bank["id"])) > 1
    return bank


@pytest.mark.parametrize(("mode", "classes"), [("binary", (1,)), ("multiclass", (1, 2, 3)), ("multilabel", (0, 1, 2))])
def test_each_class_of_synthetic_data_has_its_share(mode: str, classes: tuple[int, ...]) -> None:
    check_bank(synthetic(mode), classes)


@pytest.mark.parametrize("cache", ["ram", "none", "disk"])
@pytest.mark.parametrize(("mode", "classes"), [("multiclass", (2, 1)), ("multilabel", (0, 2))])
def test_each_class_of_files_has_its_share(tmp_path: Path, mode: str, classes: tuple[int, ...], cache: str) -> None:
    source = folder(tmp_path / "data", mode, cache=cache, cache_dir=str(tmp_path / "cache"))
    bank = check_bank(source, classes)
    assert (bank["mask"] == source.task.ignore_index).any()  # beside the small images


def test_a_crop_depends_on_seed_and_number_alone() -> None:
    source = synthetic("multiclass")
    augmentation = build_augmentation({"turns": {"op": "HorizontalFlip", "p": 0.5}}, CROP, 255)
    whole, first, other = (
        bank_crops(source, augmentation, seed, CROP, (1, 2, 3), number) for seed, number in ((1, 9), (1, 5), (2, 9))
    )
    assert torch.equal(whole["image"][:5], first["image"])
    assert torch.equal(whole["mask"][:5], first["mask"])
    assert all(not torch.equal(a, b) for a, b in zip(whole["image"], other["image"], strict=True))


def test_crops_are_changed_as_training_crops_are() -> None:
    source = synthetic("binary")
    seeds: list[int] = []

    def inverted(image: Any, mask: Any, seed: int) -> tuple[Any, Any]:
        seeds.append(seed)
        return 255 - image, mask

    plain, changed = (bank_crops(source, transform, 1, CROP, (1,), 6) for transform in (same, inverted))
    assert torch.equal(changed["image"], 255 - plain["image"])
    assert len(set(seeds)) == 6


def test_each_image_with_the_class_is_as_likely(tmp_path: Path) -> None:
    source = folder(tmp_path)
    bank = bank_crops(source, same, 3, CROP, (1,), 300)
    examples, counts = source.splits["train"], Counter(bank["id"])
    assert set(counts) == {examples.ids[index] for index in range(6) if (examples.read(index)[1] == 1).any()}
    assert len(counts) == 5
    assert min(counts.values()) > 60 - 4 * 7


def test_classes_that_no_image_holds_have_no_crops(tmp_path: Path) -> None:
    source = folder(tmp_path)
    bank = bank_crops(source, same, 1, CROP, (1, 7), 8)
    assert len(bank["id"]) == 4
    with pytest.raises(UserError, match="does not say where its classes are"):
        bank_crops(source, same, 1, CROP, (7,), 8)


def test_places_are_remembered_only_where_they_are_needed(tmp_path: Path) -> None:
    known, unknown = folder(tmp_path), folder(tmp_path, bank=0)
    assert known.sampling.looks
    assert not unknown.sampling.looks
    assert len(known.splits["train"].places(0))
    assert not len(unknown.splits["train"].places(0))
    # to be remembered changes no crop of a training
    assert (known.sampling.oversample, known.sampling.repeat) == (0, None)
    assert replace(known.sampling, bank=0) == unknown.sampling
    assert Places([known.splits["train"].places(0)])[0].dtype == np.int32

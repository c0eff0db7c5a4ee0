"""Objects, their sizes and shapes, and how often random crops meet a class, against slow counts."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from segtrain.audit.components import Facts, look_at_class, measure, share_of_crops
from segtrain.task import Task

Mask = npt.NDArray[np.uint8]


def random_masks(task: Task, number: int = 5) -> list[Mask]:
    random = np.random.default_rng(0)
    ids = [0, 1, 255] if task.mode != "multiclass" else [*range(task.num_classes - 1), 255]
    shape = (task.num_classes, 40, 33) if task.mode == "multilabel" else (40, 33)
    masks = [random.choice(ids, shape).astype(np.uint8) for _ in range(number)]
    masks.append(np.zeros(shape, np.uint8))
    return masks


def facts_of(masks: Sequence[Mask], task: Task, crop: tuple[int, int] = (16, 16)) -> Facts:
    sizes = [(mask.shape[-2], mask.shape[-1]) for mask in masks]
    return measure(masks.__getitem__, sizes, 3, task, crop)


def planes(masks: Sequence[Mask], task: Task, index: int) -> list[npt.NDArray[np.bool_]]:
    if task.mode == "multilabel":
        return [mask[index] == 1 for mask in masks]
    return [mask == (1 if task.mode == "binary" else index) for mask in masks]


def test_counts_against_scipy(task: Task) -> None:
    masks = random_masks(task)
    facts = facts_of(masks, task)
    for index, found in enumerate(facts.classes):
        own = planes(masks, task, index)
        labels = [ndimage.label(plane, np.ones((3, 3))) for plane in own]
        areas = np.concatenate([np.bincount(label.ravel())[1:] for label, _ in labels])
        assert found.objects == sum(number for _, number in labels)
        assert found.pixels == sum(int(plane.sum()) for plane in own) == facts.stats.positives[index]
        assert found.images == sum(bool(plane.any()) for plane in own)
        if found.objects:
            assert found.areas == tuple(np.quantile(areas, [0.1, 0.5, 0.9], method="nearest"))
    valid = [sum(int((m[k] if task.mode == "multilabel" else m != 255).sum()) for m in [mask != 255 for mask in masks])
             if task.mode == "multilabel" else sum(int((mask != 255).sum()) for mask in masks)
             for k in range(task.num_classes)]  # fmt: skip
    assert list(facts.stats.valid) == valid
    assert facts.empty == 1
    assert facts.stats.images == len(masks)


def test_how_many_crops_hold_a_class() -> None:
    binary = np.zeros((50, 61), np.uint8)
    binary[7, 9] = binary[40:44, 50] = 1
    tops, lefts = range(0, 50 - 20 + 1, 4), range(0, 61 - 12 + 1, 4)
    slow = np.mean([[binary[y : y + 20, x : x + 12].any() for x in lefts] for y in tops])
    assert share_of_crops(binary, (20, 12)) == pytest.approx(slow)
    assert share_of_crops(binary, (200, 200)) == 1.0  # the crop takes in the whole image
    assert share_of_crops(np.zeros_like(binary), (200, 200)) == 0.0


def drawn(shape: str, width: int) -> Mask:
    canvas = np.zeros((256, 256), np.uint8)
    if shape == "disc":
        cv2.circle(canvas, (128, 128), width // 2, 1, -1)
    else:
        canvas[100 : 100 + width, 20 : 20 + 200] = 1
    return canvas


@pytest.mark.parametrize("width", [3, 5, 9])
def test_a_band_has_its_width_and_length(width: int) -> None:
    found = facts_of([drawn("band", width)], Task("binary")).classes[0]
    assert found.thickness == pytest.approx(width, rel=0.35)
    assert found.length == pytest.approx(200 / width, rel=0.6)
    assert found.extent == 200


def test_a_disc_is_not_long() -> None:
    found = facts_of([drawn("disc", 60)], Task("binary")).classes[0]
    assert 1.0 < found.length < 3.0
    assert found.extent == pytest.approx(60, abs=2)


def test_one_object_touching_all_borders() -> None:
    look = look_at_class(np.ones((8, 9), bool), (4, 4))
    assert look.areas.tolist() == [72]
    assert look.extents.tolist() == [9]
    assert look.hit == 1.0

"""Scores as functions of counts, against scikit-learn and a NumPy oracle; the corner cases by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score
from torch.testing import assert_close

from segtrain.metrics import dataset_scores, rates, score
from segtrain.metrics.scores import NAMES, Rates, accuracy, image_scores
from segtrain.task import Task
from tests.conftest import TASKS

Ids = npt.NDArray[np.int64]
THEIRS = {"iou": jaccard_score, "dice": f1_score, "precision": precision_score, "recall": recall_score}
THREE = Task(mode="multiclass", num_classes=3, names=("road", "car", "sky"))
FOREGROUND = Task(mode="binary")
TWO_LABELS = Task(mode="multilabel", num_classes=2)


def confusion(truth: Ids, predicted: Ids, classes: int) -> torch.Tensor:
    """Rows truth, columns prediction, pixel by pixel."""
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    for t, p in zip(truth, predicted, strict=True):
        counts[t, p] += 1
    return counts


def yes_or_no(tn: int, fp: int, fn: int, tp: int) -> torch.Tensor:
    return torch.tensor([[tn, fp], [fn, tp]])


PIXELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


@given(pixels=PIXELS, background=st.booleans())
def test_multiclass_scores_are_sklearns(pixels: list[tuple[int, int]], background: bool) -> None:
    """Over the classes that occur; all three where the mean is micro."""
    truth, predicted = np.array(pixels).T
    found = dataset_scores(confusion(truth, predicted, 3), THREE, include_background=background)
    occur = [c for c in np.unique(np.array(pixels)) if background or c > 0]
    for name, theirs in THEIRS.items():
        expected = theirs(truth, predicted, labels=occur, average="macro", zero_division=0) if occur else math.nan
        assert_close(found[name].item(), float(expected), equal_nan=True)
    for name in ("iou", "dice"):
        expected = THEIRS[name](truth, predicted, labels=occur, average="micro", zero_division=0) if occur else math.nan
        assert_close(found[f"micro/{name}"].item(), float(expected), equal_nan=True)
        each = THEIRS[name](truth, predicted, labels=[0, 1, 2], average=None, zero_division=0)
        for c, label in enumerate(THREE.names):
            occurs = c in truth or c in predicted
            assert_close(found[f"class/{name}_{label}"].item(), each[c] if occurs else math.nan, equal_nan=True)
    assert_close(found["accuracy"].item(), accuracy_score(truth, predicted))


@given(pixels=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_binary_scores_are_sklearns_of_the_foreground(pixels: list[tuple[bool, bool]]) -> None:
    truth, predicted = np.array(pixels, dtype=np.int64).T
    found = dataset_scores(confusion(truth, predicted, 2)[None], FOREGROUND)
    present = truth.any() or predicted.any()
    for name, theirs in THEIRS.items():
        expected = theirs(truth, predicted, zero_division=0) if present else math.nan
        assert_close(found[name].item(), float(expected), equal_nan=True)
    assert_close(found["micro/iou"], found["iou"], equal_nan=True)
    assert_close(found["class/iou_foreground"], found["iou"], equal_nan=True)
    assert_close(found["accuracy"].item(), accuracy_score(truth, predicted))


def test_multilabel_is_the_mean_of_binaries_and_micro_sums_them() -> None:
    counts = torch.stack([yes_or_no(5, 1, 2, 4), yes_or_no(8, 0, 3, 1)])
    found = dataset_scores(counts, TWO_LABELS)
    assert_close(found["iou"].item(), (4 / 7 + 1 / 4) / 2)
    assert_close(found["dice"].item(), (8 / 11 + 2 / 5) / 2)
    assert_close(found["precision"].item(), (4 / 5 + 1) / 2)
    assert_close(found["recall"].item(), (4 / 6 + 1 / 4) / 2)
    assert_close(found["micro/iou"].item(), 5 / 11)
    assert_close(found["micro/dice"].item(), 10 / 16)
    assert_close(found["accuracy"].item(), 18 / 24)
    assert_close(found["class/iou_class_1"].item(), 1 / 4)


def test_rates_of_a_confusion_matrix() -> None:
    counts = torch.tensor([[5, 1, 0], [2, 3, 4], [0, 0, 6]])
    assert [c.tolist() for c in rates(counts, THREE)] == [[5, 3, 6], [2, 1, 4], [1, 6, 0]]
    assert [c.tolist() for c in rates(yes_or_no(1, 2, 3, 4)[None], FOREGROUND)] == [[4], [2], [3]]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0, 0), [math.nan] * 4),  # absent from truth and prediction
        ((0, 5, 0), [0.0] * 4),  # only false positives
        ((0, 0, 5), [0.0] * 4),  # never predicted
        ((3, 0, 0), [1.0] * 4),
        ((2, 1, 1), [1 / 2, 2 / 3, 2 / 3, 2 / 3]),
    ],
)
def test_corner_cases(counts: tuple[int, int, int], expected: list[float]) -> None:
    given = Rates(*(torch.tensor([c]) for c in counts))
    found = torch.cat([score(name, given) for name in NAMES])
    assert_close(found, torch.tensor(expected, dtype=torch.float64), equal_nan=True)


def test_absent_classes_are_left_out_of_means_but_not_a_class_that_is_only_predicted() -> None:
    absent = torch.tensor([[6, 0, 0], [0, 2, 0], [0, 0, 0]])
    found = dataset_scores(absent, THREE)
    assert found["iou"] == 1
    assert found["class/iou_sky"].isnan()
    assert_close(dataset_scores(torch.tensor([[6, 0, 1], [0, 2, 0], [0, 0, 0]]), THREE)["iou"].item(), (6 / 7 + 1) / 3)


def test_nothing_labelled_is_not_a_number(task: Task) -> None:
    shape = (4, 4) if task.exclusive else (task.num_classes, 2, 2)
    found = dataset_scores(torch.zeros(shape, dtype=torch.int64), task)
    assert all(value.isnan() for value in found.values())


def test_scores_are_float64_and_exact_for_huge_counts() -> None:
    hits = 2**53 - 1
    found = dataset_scores(yes_or_no(0, 1, 0, 10**12)[None], FOREGROUND)
    assert all(value.dtype == torch.float64 and value.shape == () for value in found.values())
    assert found["iou"] == 10**12 / (10**12 + 1)
    assert accuracy(yes_or_no(hits // 2, 0, 0, 1)[None], FOREGROUND) == 1


def test_keys(task: Task) -> None:
    shape = (4, 4) if task.exclusive else (task.num_classes, 2, 2)
    classes = {f"class/{name}_{label}" for name in ("iou", "dice") for label in task.names}
    expected = {*NAMES, "accuracy", "micro/iou", "micro/dice"} | classes
    assert set(dataset_scores(torch.ones(shape, dtype=torch.int64), task)) == expected


# image 0: both classes; image 1: class 1 absent; image 2: class 1 only claimed; image 3: nothing labelled
IMAGES = torch.stack(
    [
        torch.stack([yes_or_no(5, 1, 2, 4), yes_or_no(6, 1, 1, 4)]),
        torch.stack([yes_or_no(6, 1, 1, 4), yes_or_no(12, 0, 0, 0)]),
        torch.stack([yes_or_no(0, 0, 0, 12), yes_or_no(10, 2, 0, 0)]),
        torch.stack([yes_or_no(0, 0, 0, 0), yes_or_no(0, 0, 0, 0)]),
    ]
)


@pytest.mark.parametrize(
    ("empty", "expected"),
    [
        (math.nan, [(4 / 7 + 4 / 6) / 2, 4 / 6, 1 / 2, math.nan]),
        (1.0, [(4 / 7 + 4 / 6) / 2, (4 / 6 + 1) / 2, 1 / 2, math.nan]),
        (0.0, [(4 / 7 + 4 / 6) / 2, (4 / 6 + 0) / 2, 1 / 2, math.nan]),
    ],
)
def test_empty_score(empty: float, expected: list[float]) -> None:
    """What a class counts that an image lacks; claimed where it is not, it counts 0; the last image has no label."""
    found = image_scores(IMAGES, TWO_LABELS, "iou", include_background=True, empty_score=empty)
    assert_close(found, torch.tensor(expected), equal_nan=True)


@pytest.mark.parametrize("mode", ["multiclass"])
@pytest.mark.parametrize("name", ["iou", "dice"])
def test_image_scores_without_background(mode: str, name: str) -> None:
    counts = torch.randint(0, 9, (5, 4, 4))
    found = image_scores(counts, TASKS[mode], name, include_background=False, empty_score=math.nan)
    expected = [float(dataset_scores(each, TASKS[mode], include_background=False)[name]) for each in counts]
    assert_close(found, torch.tensor(expected))

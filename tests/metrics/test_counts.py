"""The metric's state: exact counts of every valid pixel, whatever the batches, types and processes."""

from __future__ import annotations

import itertools
import math
import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.segmentation import MeanIoU

from segtrain.errors import UserError
from segtrain.metrics import SegmentationMetrics, image_counts, predict_ids
from segtrain.metrics.counts import FIXED_POINT
from segtrain.task import Task
from segtrain.windows import Tile, Tiling
from tests.conftest import SIZE, TARGETS, TASKS, ignored_entries, make_logits, make_target

BINARY, MULTICLASS, MULTILABEL = TASKS["binary"], TASKS["multiclass"], TASKS["multilabel"]
STATES = ("counts", "so_far", "image_totals", "image_numbers")
BATCH = (7, 5, 6)


def measure(task: Task, logits: Tensor, target: Tensor, parts: list[int] | None = None, **params: Any) -> Any:
    """A metric that has seen a batch, cut into parts of the given sizes."""
    metrics = SegmentationMetrics(task, **params)
    sizes = parts or [len(logits)]
    for z, t in zip(logits.split(sizes), target.split(sizes), strict=True):
        metrics.update(z, t)
    return metrics


def sklearn_counts(task: Task, logits: Tensor, target: Tensor) -> npt.NDArray[np.int64]:
    """Counts of a batch over its valid pixels."""
    if task.exclusive:
        valid = target != task.ignore_index
        return np.asarray(confusion_matrix(target[valid], logits.argmax(1)[valid], labels=range(task.num_classes)))
    per_class = []
    for ids, z in zip(target.view(logits.shape).unbind(1), logits.unbind(1), strict=True):
        valid = ids != task.ignore_index
        per_class.append(confusion_matrix(ids[valid], z[valid].sigmoid() > 0.5, labels=[0, 1]))
    return np.stack(per_class)


def image_oracle(task: Task, logits: Tensor, target: Tensor, name: str, empty: float | None, first: int) -> float:
    """Mean over the images with a label of the mean over classes, by sets of pixels."""
    images = []
    for z, ids in zip(logits, target.view(len(target), -1, *target.shape[-2:]), strict=True):
        scores = []
        for c in range(first, task.num_classes):
            truth = ids[0] == c if task.exclusive else ids[c] == 1
            valid = (ids[0] if task.exclusive else ids[c]) != task.ignore_index
            claimed = (z.argmax(0) == c if task.exclusive else z[c] > 0) & valid
            both, either = int((truth & claimed).sum()), int((truth | claimed).sum())
            if either:
                scores.append(both / either if name == "iou" else 2 * both / (both + either))
            elif empty is not None:
                scores.append(empty)
        if scores and bool((ids != task.ignore_index).any()):
            images.append(sum(scores) / len(scores))
    return sum(images) / len(images) if images else math.nan


@given(
    mode=st.sampled_from(list(TASKS)),
    seed=st.integers(0, 2**31),
    ignored=st.floats(0, 0.95),
    kind=st.sampled_from(TARGETS),
)
def test_counts_are_sklearns(mode: str, seed: int, ignored: float, kind: str) -> None:
    task = TASKS[mode]
    logits, target = make_logits(task, seed=seed), make_target(task, kind, ignored=ignored, seed=seed + 1)
    if kind == "ignored":
        assert image_counts(logits, target, task).sum() == 0
        return
    for each, z, ids in zip(image_counts(logits, target, task), logits.split(1), target.split(1), strict=True):
        if (ids != 255).flatten(2 if mode == "multilabel" else 1).any(-1).all():  # scikit-learn refuses no pixels
            np.testing.assert_array_equal(each, sklearn_counts(task, z, ids))
    assert measure(task, logits, target).counts.sum() == (target != 255).sum()


def test_states_are_the_confusion_matrix(task: Task) -> None:
    """Of the whole split, whatever the batches."""
    logits, target = make_logits(task, BATCH), make_target(task, size=BATCH)
    np.testing.assert_array_equal(measure(task, logits, target, [3, 4]).counts, sklearn_counts(task, logits, target))


@given(
    mode=st.sampled_from(list(TASKS)),
    seed=st.integers(0, 2**31),
    ignored=st.floats(0, 1),
    size=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
    step=st.integers(1, 6),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    ids=st.sampled_from([torch.uint8, torch.int64]),
)
def test_scores_are_those_of_the_confusion_matrix_of_the_split(
    mode: str, seed: int, ignored: float, size: Any, step: int, dtype: torch.dtype, ids: torch.dtype
) -> None:
    """In NumPy, over all pixels at once; the metric gets batches of any number of images."""
    task = TASKS[mode]
    logits = make_logits(task, size, seed=seed).to(dtype)
    target = make_target(task, size=size, ignored=ignored, seed=seed + 1)
    sizes = [step] * (size[0] // step) + ([size[0] % step] if size[0] % step else [])
    found = measure(task, logits, target.to(ids), sizes).compute()
    z = logits.double().movedim(1, 0).flatten(1).numpy()
    t = target.view(size[0], -1, *size[1:]).movedim(1, 0).flatten(1).numpy()
    for c, label in enumerate(task.names):
        truth, valid = (t[0] == c, t[0] != 255) if task.exclusive else (t[c] == 1, t[c] != 255)
        claimed = ((z.argmax(0) == c) if task.exclusive else (z[c] > 0)) & valid
        either = (truth | claimed).sum()
        expected = (truth & claimed).sum() / either if either else math.nan
        assert float(found[f"class/iou_{label}"]) == pytest.approx(float(expected), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("task", [*TASKS.values(), Task("multiclass", 21)], ids=lambda t: f"{t.mode}-{t.num_classes}")
def test_types_do_not_matter(task: Task, dtype: torch.dtype, precision: torch.dtype) -> None:
    """Cells of 21 x 21 classes do not fit in the uint8 of the target."""
    logits, target = make_logits(task).to(precision), make_target(task)
    expected = measure(task, logits.float(), target)
    copies = logits.clone(), target.to(dtype).clone()
    found = measure(task, logits, target.to(dtype))
    assert torch.equal(found.counts, expected.counts)
    assert torch.equal(logits, copies[0])
    assert torch.equal(target.to(dtype), copies[1])


def test_ignored_pixels_do_not_matter(task: Task) -> None:
    logits, target = make_logits(task), make_target(task)
    expected = measure(task, logits, target).compute()
    for fill in (-50.0, 50.0, torch.inf, torch.nan):
        found = measure(task, logits.masked_fill(ignored_entries(target, task), fill), target).compute()
        assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("empty", [None, 0, 1])
@pytest.mark.parametrize("scale", [0.5, 100.0])
def test_image_means(task: Task, empty: float | None, include_background: bool, scale: float) -> None:
    """Small images of few classes, so that some classes are absent; one image without labels."""
    logits = make_logits(task, (9, 1, 2), scale)
    target = make_target(task, size=(9, 1, 2), ignored=0.2)
    target[4] = task.ignore_index
    found = measure(task, logits, target, empty_score=empty, include_background=include_background).compute()
    first = 1 if task.exclusive and not include_background else 0
    for name in ("iou", "dice"):
        expected = image_oracle(task, logits, target, name, empty, first)
        assert_close(found[f"image/{name}"].item(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("parts", [[1] * 7, [3, 4], [6, 1], [2, 2, 2, 1]])
@pytest.mark.parametrize(
    "task", [*TASKS.values(), Task("multiclass", 21), Task("multilabel", 21)], ids=lambda t: f"{t.mode}-{t.num_classes}"
)
def test_the_division_into_batches_changes_nothing(task: Task, parts: list[int]) -> None:
    logits, target = make_logits(task, BATCH), make_target(task, size=BATCH)
    whole, cut = measure(task, logits, target), measure(task, logits, target, parts)
    for name in STATES:
        assert torch.equal(getattr(whole, name), getattr(cut, name)), name
    assert_close(whole.compute(), cut.compute(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("params", [{}, {"empty_score": 1, "include_background": False}])
@pytest.mark.parametrize("together", [1, 3])
def test_an_image_in_tiles_scores_as_the_whole(task: Task, together: int, params: dict[str, Any]) -> None:
    """Three images in tiles, the second of them without a label; whole ones before and after."""
    sizes, tiling = [(70, 33), (64, 40), (65, 40)], Tiling(32, 0)
    whole, cut = (SegmentationMetrics(task, **params) for _ in range(2))
    for metrics in (whole, cut):
        metrics.update(make_logits(task, BATCH), make_target(task, size=BATCH))
    for index, (height, width) in enumerate(sizes):
        logits = make_logits(task, (1, height, width), seed=index)
        target = make_target(task, seed=index, size=(1, height, width))
        target = torch.full_like(target, task.ignore_index) if index == 1 else target
        whole.update(logits, target)
        tiles = tiling.tiles((height, width))
        for group in in_groups(tiles, together):
            parts = [(..., *tile.window.slices) for tile in group]
            batch = torch.cat([logits[part] for part in parts]), torch.cat([target[part] for part in parts])
            cut.update(*batch, None, group)
    for metrics in (whole, cut):
        metrics.update(make_logits(task, BATCH, seed=9), make_target(task, size=BATCH, seed=9))
    for name in ("counts", "image_totals", "image_numbers"):
        assert torch.equal(getattr(whole, name), getattr(cut, name)), name
    assert_close(whole.compute(), cut.compute(), rtol=0, atol=0, equal_nan=True)


def in_groups(tiles: list[Tile], most: int) -> Iterator[list[Tile]]:
    """Tiles of one size that follow each other."""
    for _, group in itertools.groupby(tiles, lambda tile: tile.window[2:]):
        same = list(group)
        yield from (same[start : start + most] for start in range(0, len(same), most))


def test_an_image_whose_tiles_are_cut_short_scores_as_what_was_seen(task: Task) -> None:
    logits, target = make_logits(task, (1, 64, 64)), make_target(task, size=(1, 64, 64))
    first, *_ = Tiling(32, 0).tiles((64, 64))
    whole, cut = SegmentationMetrics(task), SegmentationMetrics(task)
    part = (..., *first.window.slices)
    cut.update(logits[part], target[part], None, [first])
    whole.update(logits[part], target[part])
    assert_close(whole.compute(), cut.compute(), rtol=0, atol=0, equal_nan=True)


def test_states_of_two_processes_add_up(task: Task) -> None:
    logits, target = make_logits(task, BATCH), make_target(task, size=BATCH)
    whole = measure(task, logits, target)
    first, second = measure(task, logits[:3], target[:3]), measure(task, logits[3:], target[3:])
    for name in STATES:
        setattr(first, name, getattr(first, name) + getattr(second, name))
    assert_close(first.compute(), whole.compute(), rtol=0, atol=0, equal_nan=True)


def test_states_are_integers_of_fixed_size_and_reduced_by_sums(task: Task) -> None:
    metrics = measure(task, make_logits(task), make_target(task))
    shapes = {name: getattr(metrics, name).shape for name in STATES}
    assert set(metrics._defaults) == set(STATES)
    for name, reduce in metrics._reductions.items():
        assert getattr(metrics, name).dtype == torch.int64
        assert reduce is torch.sum or reduce.__name__ == "dim_zero_sum"
    metrics.update(make_logits(task, BATCH), make_target(task, size=BATCH))
    assert {name: getattr(metrics, name).shape for name in STATES} == shapes


def test_reset_and_pickling(task: Task) -> None:
    logits, target = make_logits(task), make_target(task)
    metrics = measure(task, logits, target)
    expected = metrics.compute()
    assert_close(pickle.loads(pickle.dumps(metrics)).compute(), expected, rtol=0, atol=0, equal_nan=True)
    metrics.reset()
    assert all(getattr(metrics, name).sum() == 0 for name in STATES)
    metrics.update(logits, target)
    assert_close(metrics.compute(), expected, rtol=0, atol=0, equal_nan=True)


def test_fixed_point_is_exact_for_scores_that_float32_holds() -> None:
    logits = torch.tensor([[[[1.0, 1.0, 1.0, -1.0]]]])
    metrics = measure(BINARY, logits, torch.tensor([[[1, 1, 0, 1]]]))
    assert metrics.image_totals[0] == FIXED_POINT // 2
    assert metrics.compute()["image/iou"] == 0.5


def test_one_stray_pixel_does_not_halve_the_score_of_the_data_set() -> None:
    """Means over samples (torchmetrics' default) say .50, the data set .97: FORMULAS.md's example."""
    target = torch.zeros(2, 6, 6, dtype=torch.int64)
    target[0] = 1
    logits = torch.where(target == 1, 5.0, -5.0).unsqueeze(1)
    logits[1, 0, 0, 0] = 5.0  # the stray pixel, on an image without foreground
    found = measure(BINARY, logits, target).compute()
    assert_close(found["iou"].item(), 36 / 37)
    assert found["image/iou"] == 0.5  # the false positive is not hidden
    theirs = MeanIoU(num_classes=2, include_background=False, input_format="index")
    assert_close(float(theirs((logits > 0).long().squeeze(1), target)), 0.5)


@pytest.mark.parametrize("empty", [None, 0, 1])
def test_false_positives_on_an_empty_image_count_0(task: Task, empty: float | None) -> None:
    target = make_target(task, "empty", ignored=0)
    logits = torch.full((SIZE[0], task.num_classes, *SIZE[1:]), 1.0)
    logits[:, -1] = 5.0  # every pixel claimed
    found = measure(task, logits, target, empty_score=empty, include_background=False).compute()
    claimed, rest = 1, task.num_classes - 1 - int(task.exclusive)
    if task.mode == "multilabel":
        claimed, rest = 3, 0  # each label is claimed by itself
    expected = 0.0 if empty is None else empty * rest / (claimed + rest)
    assert_close(found["image/iou"].item(), float(expected))
    assert found["iou"] == 0


@pytest.mark.parametrize(("empty", "expected"), [(None, math.nan), (0, 0.0), (1, 1.0)])
@pytest.mark.parametrize("mode", ["binary", "multilabel"])
def test_silence_on_empty_images_counts_the_empty_score(mode: str, empty: float | None, expected: float) -> None:
    task = TASKS[mode]
    logits = torch.full((SIZE[0], task.num_classes, *SIZE[1:]), -1.0)
    found = measure(task, logits, make_target(task, "empty"), empty_score=empty).compute()
    assert_close(found["image/iou"].item(), expected, equal_nan=True)
    assert found["iou"].isnan()


def test_predictions(task: Task) -> None:
    logits = make_logits(task)
    ids = predict_ids(logits, task)
    expected = logits.argmax(1) if task.exclusive else (logits.sigmoid() > 0.5).byte()
    assert torch.equal(ids, expected.squeeze(1) if task.mode == "binary" else expected)
    assert ids.dtype == (torch.int64 if task.exclusive else torch.uint8)


def test_a_probability_of_one_half_is_a_no_and_a_tie_the_first_class() -> None:
    assert predict_ids(torch.zeros(1, 1, 1, 1), BINARY).item() == 0
    assert predict_ids(torch.zeros(1, 4, 1, 1), MULTICLASS).item() == 0


def test_strides_do_not_matter(task: Task) -> None:
    logits, target = make_logits(task), make_target(task)
    strided = logits.to(memory_format=torch.channels_last), target.transpose(-1, -2).contiguous().transpose(-1, -2)
    assert torch.equal(measure(task, *strided).counts, measure(task, logits, target).counts)


@pytest.mark.parametrize("mode", ["binary", "multilabel"])
def test_thresholds(mode: str) -> None:
    """One for all or one per class; also for logits in half precision, and kept out of the checkpoint."""
    task = TASKS[mode]
    logits, thresholds = make_logits(task), [0.2, 0.5, 0.9][: task.num_classes]
    metrics = SegmentationMetrics(task, threshold=thresholds)
    expected = (logits.sigmoid() > torch.tensor(thresholds).view(-1, 1, 1)).byte()
    assert torch.equal(metrics.predict(logits).view_as(expected), expected)
    same = SegmentationMetrics(task, threshold=0.2).predict(logits.double()).view_as(expected)
    assert torch.equal(same, (logits.sigmoid() > 0.2).byte())
    assert not metrics.state_dict()


@pytest.mark.parametrize(
    ("mode", "threshold", "part"),
    [
        ("binary", 0, "above 0 and below 1, got 0"),
        ("binary", 1.0, "above 0 and below 1, got 1.0"),
        ("binary", "half", "threshold must be a number in [0, 1], got 'half'"),
        ("multilabel", [0.5, 0.5], "one number or 3 (one per class), got 2"),
        ("multiclass", 0.4, "only binary and multilabel have one"),
    ],
)
def test_refused_thresholds(mode: str, threshold: Any, part: str) -> None:
    with pytest.raises(UserError, match=re.escape(part)):
        SegmentationMetrics(TASKS[mode], threshold=threshold)


@pytest.mark.parametrize("value", [0.5, "one", -1, math.nan])
def test_refused_empty_score(value: Any) -> None:
    with pytest.raises(UserError, match=f"empty_score must be null, 0 or 1, got {value!r}"):
        SegmentationMetrics(BINARY, empty_score=value)


def test_refused_shapes(task: Task) -> None:
    with pytest.raises(UserError, match="logits must be"):
        measure(task, make_logits(task)[:, :0], make_target(task))
    with pytest.raises(UserError, match="target must be"):
        measure(task, make_logits(task), make_target(task)[..., 1:])

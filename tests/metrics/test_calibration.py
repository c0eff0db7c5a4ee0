"""The probe of probabilities: right against NumPy, scikit-learn and torchmetrics, and exact however data is divided."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, precision_recall_curve
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from segtrain.errors import UserError
from segtrain.metrics import CalibrationProbe, SegmentationMetrics, image_nll
from segtrain.metrics.calibration import CELLS, LARGEST_NLL, SCALE
from segtrain.metrics.curves import (
    Histogram,
    average_precision,
    best_thresholds,
    expected_calibration_error,
    precision_recall,
    reliability,
    sweep_thresholds,
)
from segtrain.task import Task
from tests.conftest import TASKS, ignored_entries, make_logits, make_target
from tests.metrics import oracle

BINARY, MULTICLASS, MULTILABEL = TASKS["binary"], TASKS["multiclass"], TASKS["multilabel"]
STATES = ("histogram", "within", "totals", "broken")
BATCH = (7, 5, 6)
BIG = (2, 40, 50)
RESOLUTION = 2**-15  # of a probability in ECE


def measure(task: Task, logits: Tensor, target: Tensor, parts: list[int] | None = None) -> CalibrationProbe:
    """A probe that has seen a batch, cut into parts of the given sizes."""
    probe = CalibrationProbe(task)
    sizes = parts or [len(logits)]
    for z, t in zip(logits.split(sizes), target.split(sizes), strict=True):
        probe.update(z, t)
    return probe


def values(probe: CalibrationProbe) -> dict[str, float]:
    return {name: float(value) for name, value in probe.compute().items()}


@given(
    mode=st.sampled_from(list(TASKS)),
    seed=st.integers(0, 2**31),
    ignored=st.floats(0, 0.9),
    scale=st.sampled_from([0.1, 2.0, 8.0]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    size=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 40)),
    ids=st.sampled_from([torch.uint8, torch.int64]),
)
def test_scores_are_the_oracles(
    mode: str, seed: int, ignored: float, scale: float, dtype: torch.dtype, size: Any, ids: torch.dtype
) -> None:
    task = TASKS[mode]
    logits = make_logits(task, size, scale, seed).to(dtype)
    target = make_target(task, size=size, ignored=ignored, seed=seed + 1)
    found = values(measure(task, logits, target.to(ids)))
    if bool((target == 255).all()):
        assert all(math.isnan(value) for value in found.values())
        return
    nll, brier = oracle.nll_and_brier(task, logits, target)
    assert found["nll"] == pytest.approx(nll, abs=1e-6, rel=1e-6)
    assert found["brier"] == pytest.approx(brier, abs=1e-6)
    assert found["ece"] == pytest.approx(oracle.ece(task, logits, target), abs=RESOLUTION + 1e-6)


def test_binary_scores_are_scikit_learns_and_torchmetrics() -> None:
    logits, target = make_logits(BINARY, BIG), make_target(BINARY, size=BIG, ignored=0)
    found, p, y = values(measure(BINARY, logits, target)), logits.double().sigmoid().flatten(), target.flatten()
    assert found["nll"] == pytest.approx(log_loss(y, p), abs=1e-6)
    assert found["brier"] == pytest.approx(brier_score_loss(y, p), abs=1e-6)
    assert found["ece"] == pytest.approx(float(binary_calibration_error(p, y, n_bins=16)), abs=RESOLUTION)


def test_multiclass_scores_are_scikit_learns_and_torchmetrics() -> None:
    logits, target = make_logits(MULTICLASS, BIG), make_target(MULTICLASS, size=BIG, ignored=0)
    found, y = values(measure(MULTICLASS, logits, target)), target.flatten()
    p = logits.double().softmax(1).movedim(1, -1).flatten(0, 2)
    assert found["nll"] == pytest.approx(log_loss(y, p), abs=1e-6)
    assert found["brier"] == pytest.approx(brier_score_loss(y, p, scale_by_half=False), abs=1e-6)
    theirs = multiclass_calibration_error(p, y, num_classes=4, n_bins=16)
    assert found["ece"] == pytest.approx(float(theirs), abs=RESOLUTION)


def test_a_net_that_is_sure_and_right_has_no_error_of_calibration(task: Task) -> None:
    """With bin centres in place of means ECE would be .002."""
    target = make_target(task, ignored=0)
    ids = target.unsqueeze(1) if task.mode == "binary" else target
    truth = torch.nn.functional.one_hot(target, 4).movedim(-1, 1) if task.exclusive else ids
    found = values(measure(task, 60.0 * truth - 30.0, target))
    assert found["ece"] <= RESOLUTION
    assert found["nll"] < 1e-6
    assert found["brier"] < 1e-6


@given(
    mode=st.sampled_from(list(TASKS)),
    seed=st.integers(0, 2**31),
    cuts=st.sets(st.integers(1, 6)),
    size=st.tuples(st.integers(1, 6), st.integers(1, 33)),
)
def test_the_division_into_batches_changes_no_bit(mode: str, seed: int, cuts: set[int], size: tuple[int, int]) -> None:
    task, batch = TASKS[mode], (7, *size)
    logits, target = make_logits(task, batch, seed=seed), make_target(task, size=batch, seed=seed + 1)
    edges = [0, *sorted(cuts), 7]
    whole = measure(task, logits, target)
    cut = measure(task, logits, target, [b - a for a, b in itertools.pairwise(edges)])
    for name in STATES:
        assert torch.equal(getattr(whole, name), getattr(cut, name)), name


def test_states_of_two_processes_add_up(task: Task) -> None:
    logits, target = make_logits(task, BATCH), make_target(task, size=BATCH)
    whole = measure(task, logits, target)
    first, second = measure(task, logits[:3], target[:3]), measure(task, logits[3:], target[3:])
    for name in STATES:
        setattr(first, name, getattr(first, name) + getattr(second, name))
    assert values(first) == values(whole)


def test_states_are_integers_of_fixed_size_and_reduced_by_sums(task: Task) -> None:
    probe = measure(task, make_logits(task), make_target(task))
    assert set(probe._defaults) == set(STATES)
    for name, reduce in probe._reductions.items():
        assert getattr(probe, name).dtype == torch.int64
        assert getattr(probe, name).shape == probe._defaults[name].shape
        assert reduce is torch.sum or reduce.__name__ == "dim_zero_sum"
    assert list(probe.compute()) == probe.names()


def test_each_labelled_decision_is_counted_once(task: Task) -> None:
    target = make_target(task)
    histogram = measure(task, make_logits(task), target).histogram
    assert histogram.sum() == (target != 255).sum()
    if not task.exclusive:
        for index, ids in enumerate(target.view(len(target), task.num_classes, *target.shape[-2:]).unbind(1)):
            assert histogram[index].sum(-1).tolist() == [int((ids == 0).sum()), int((ids == 1).sum())]


def test_ignored_pixels_do_not_matter(task: Task) -> None:
    logits, target = make_logits(task), make_target(task)
    expected = measure(task, logits, target)
    for fill in (-50.0, 50.0, torch.inf, -torch.inf, torch.nan):
        found = measure(task, logits.masked_fill(ignored_entries(target, task), fill), target)
        for name in STATES:
            assert torch.equal(getattr(found, name), getattr(expected, name)), (name, fill)


def test_inputs_are_not_changed(task: Task) -> None:
    logits, target = make_logits(task), make_target(task)
    copies = logits.clone(), target.clone()
    measure(task, logits, target)
    assert torch.equal(logits, copies[0])
    assert torch.equal(target, copies[1])


def test_strides_do_not_matter(task: Task) -> None:
    logits, target = make_logits(task, BIG), make_target(task, size=BIG)
    strided = logits.to(memory_format=torch.channels_last), target.transpose(-1, -2).contiguous().transpose(-1, -2)
    found, expected = measure(task, *strided), measure(task, logits, target)
    assert_close(found.compute(), expected.compute(), atol=1e-6, rtol=0)
    if not task.exclusive:  # sums over classes may be in another order
        assert all(torch.equal(getattr(found, name), getattr(expected, name)) for name in STATES)


def test_given_predictions_are_used_as_they_would_be_found(task: Task) -> None:
    logits, target = make_logits(task), make_target(task)
    probe = CalibrationProbe(task)
    probe.update(logits, target, SegmentationMetrics(task).predict(logits))
    assert values(probe) == values(measure(task, logits, target))


def test_among_equal_logits_the_predicted_class_is_the_first() -> None:
    found = measure(MULTICLASS, torch.zeros(1, 4, 1, 4), torch.tensor([[[0, 1, 2, 3]]]))
    assert found.histogram[0].sum(-1).tolist() == [3, 1]


@pytest.mark.parametrize("size", [1e4, math.inf])
def test_certain_and_wrong_costs_a_hundred(size: float) -> None:
    right, wrong = torch.full((1, 1, 1, 1), size), torch.full((1, 1, 1, 1), -size)
    yes = torch.ones(1, 1, 1, dtype=torch.int64)
    assert values(measure(BINARY, right, yes)) == pytest.approx({"nll": 0, "brier": 0, "ece": 0}, abs=RESOLUTION)
    expected = {"nll": LARGEST_NLL, "brier": 1, "ece": 1}
    assert values(measure(BINARY, wrong, yes)) == pytest.approx(expected, abs=RESOLUTION)


def test_an_impossible_class_costs_a_hundred() -> None:
    logits = torch.tensor([0.0, 0.0, 0.0, -math.inf]).view(1, 4, 1, 1)
    found = values(measure(MULTICLASS, logits, torch.tensor([[[3]]])))
    assert found == pytest.approx({"nll": LARGEST_NLL, "brier": 4 / 3, "ece": 1 / 3}, abs=RESOLUTION)


def test_what_is_not_a_number_does_not_disappear(task: Task) -> None:
    logits, target = make_logits(task), make_target(task, ignored=0)
    logits[1, 0, 2, 3] = math.nan
    assert all(math.isnan(value) for value in values(measure(task, logits, target)).values())


def test_nll_of_each_image_is_the_probes(task: Task) -> None:
    logits, target = make_logits(task, BATCH, scale=60), make_target(task, size=BATCH)
    target[2] = task.ignore_index
    logits[3] = logits[3].masked_fill(ignored_entries(target[3:4], task)[0], math.nan)
    found = image_nll(logits, target, task)
    expected = [values(measure(task, z, t))["nll"] for z, t in zip(logits.split(1), target.split(1), strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert found.isnan().tolist() == [index == 2 for index in range(7)]


def test_reset(task: Task) -> None:
    logits, target = make_logits(task), make_target(task)
    probe = measure(task, logits, target)
    expected = values(probe)
    probe.reset()
    assert all(getattr(probe, name).sum() == 0 for name in STATES)
    probe.update(logits, target)
    assert values(probe) == expected


def test_refused_shapes(task: Task) -> None:
    with pytest.raises(UserError, match="target must be"):
        measure(task, make_logits(task), make_target(task)[..., 1:])


# ---- the cells -----------------------------------------------------------------------------------------------------


def test_a_probability_on_an_edge_belongs_to_the_cell_below() -> None:
    edges = torch.arange(CELLS + 1) / CELLS
    above = torch.nextafter(edges[:-1], torch.tensor(2.0))
    assert torch.equal((edges[1:] * SCALE).int(), torch.arange(CELLS, dtype=torch.int32))
    assert torch.equal((above * SCALE).int(), torch.arange(CELLS, dtype=torch.int32))


# ---- what follows from the histogram -------------------------------------------------------------------------------


Counted = tuple[Task, Tensor, Tensor, Tensor]


@pytest.fixture(params=["binary", "multilabel"])
def counted(request: pytest.FixtureRequest) -> Counted:
    """A task, logits, a target, and the histogram of them."""
    return count(TASKS[request.param])


def count(task: Task) -> Counted:
    target = make_target(task, size=BIG)
    ids = target.view(BIG[0], -1, *BIG[1:])
    logits = make_logits(task, BIG) + 2.0 * (ids == 1)
    return task, logits, target, measure(task, logits, target).histogram


@pytest.mark.parametrize("threshold", [1, 3, 64, 100, 128, 129, 200, 254, 255])
def test_each_threshold_scores_as_if_counted_anew(counted: Counted, threshold: int) -> None:
    task, logits, target, histogram = counted
    metrics = SegmentationMetrics(task, threshold=threshold / 256)
    metrics.update(logits, target)
    expected, sweep = metrics.compute(), sweep_thresholds(histogram)
    assert sweep.thresholds[:, threshold - 1].unique().tolist() == [threshold / 256]
    for name in ("iou", "dice"):
        for index, label in enumerate(task.names):
            found = getattr(sweep, name)[index, threshold - 1]
            assert_close(found, expected[f"class/{name}_{label}"], rtol=0, atol=0)
    for name in ("precision", "recall"):
        assert_close(getattr(sweep, name)[:, threshold - 1].mean(), expected[name])


def test_curves_are_scikit_learns(counted: Counted) -> None:
    task, logits, target, histogram = counted
    curve, areas = precision_recall(histogram), average_precision(histogram)
    for index, (p, y) in enumerate(oracle.decisions(task, logits, target)):
        grid = np.ceil(p * 256)
        assert areas[index].item() == pytest.approx(average_precision_score(y, grid))
        precision, recall, thresholds = precision_recall_curve(y, grid)
        places = (np.append(thresholds, 257) - 1).astype(int)
        np.testing.assert_allclose(curve.precision[index][places], precision)
        np.testing.assert_allclose(curve.recall[index][places], recall)
        total = curve.tp[index] + curve.fp[index] + curve.fn[index] + curve.tn[index]
        assert total.unique().tolist() == [len(y)]


def test_best_thresholds(counted: Counted) -> None:
    sweep = sweep_thresholds(counted[3])
    best = best_thresholds(sweep)
    for index in range(len(best)):
        assert sweep.iou[index].max() == sweep.iou[index, round(best[index].item() * 256) - 1]


def test_of_equally_good_thresholds_the_nearest_to_one_half_is_the_best() -> None:
    histogram = torch.zeros(2, 2, 256, dtype=torch.int64)
    histogram[0, 0, 20], histogram[0, 1, 99] = 5, 7  # all from 21/256 to 99/256 are perfect
    assert best_thresholds(sweep_thresholds(histogram)).tolist() == [99 / 256, 0.5]


def test_classes_without_pixels_have_no_error_and_no_area() -> None:
    histogram = torch.zeros(2, 2, 256, dtype=torch.int64)
    histogram[0, 1, 255] = 3
    assert expected_calibration_error(Histogram(histogram, 64 * histogram)).isnan().tolist() == [False, True]
    assert average_precision(histogram).isnan().tolist() == [False, True]
    assert reliability(Histogram(histogram, 64 * histogram)).number.sum(-1).tolist() == [3, 0]


def test_reliability_by_hand() -> None:
    """Four decisions at p = .75, three of them yes: calibrated."""
    z = torch.full((1, 1, 1, 4), math.log(3))
    probe = measure(BINARY, z, torch.tensor([[[1, 1, 1, 0]]]))
    bins = reliability(Histogram(probe.histogram, probe.within))
    place = int(bins.number[0].argmax())
    assert bins.number[0, place] == 4
    assert bins.confidence[0, place].item() == pytest.approx(0.75, abs=RESOLUTION)
    assert bins.share[0, place] == 0.75

"""Class weights by name: against their papers' formulas, written out once more in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segtrain.losses import build_loss
from segtrain.losses.weights import WEIGHTINGS, weights_from
from segtrain.task import ClassStats, Task

TASK = Task("multiclass", 4)
# 10 images of 1000 pixels; class 3 occurs in two of them
STATS = ClassStats(
    positives=[7000, 2000, 900, 100], valid=[10_000] * 4, present=[10_000, 8_000, 5_000, 2_000], images=10
)
N, F = np.array(STATS.positives, dtype=np.float64), np.array([0.7, 0.2, 0.09, 0.01])
G = N / np.array(STATS.present)
B = (N.mean() - 1) / N.mean()
EXPECTED = {
    "auto": F**-0.5,
    "sqrt": F**-0.5,
    "inverse": 1 / F,
    "median_frequency": np.median(G) / G,
    "enet": 1 / np.log(1.02 + F),
    "effective": (1 - B) / (1 - B**N),
}


def test_each_has_its_formula() -> None:
    assert EXPECTED.keys() == WEIGHTINGS.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_weights_are_those_of_the_formula_with_mean_1_over_pixels(name: str) -> None:
    weights = weights_from("key", name, TASK, STATS)
    np.testing.assert_allclose(weights, EXPECTED[name] / (F * EXPECTED[name]).sum(), rtol=1e-9)


@pytest.mark.parametrize("name", EXPECTED)
def test_losses_take_them_and_say_what_they_came_to(name: str) -> None:
    expected = torch.tensor(EXPECTED[name] / (F * EXPECTED[name]).sum(), dtype=torch.float32)
    for loss, key, buffer in (("ce", "class_weights", "weight"), ("focal", "alpha", "alpha")):
        built = build_loss(loss, TASK, STATS, **{key: name})
        torch.testing.assert_close(getattr(built, buffer), expected)
        assert built.derived[key] == pytest.approx(expected.tolist(), rel=1e-5)


def test_what_was_given_is_not_derived() -> None:
    assert build_loss("ce", TASK, STATS, class_weights=[1, 2, 3, 4]).derived == {}
    assert build_loss("focal", TASK, STATS).derived == {}


def test_rare_classes_weigh_more_by_every_name() -> None:
    for name in WEIGHTINGS:
        weights = weights_from("key", name, TASK, STATS)
        assert weights is not None
        assert weights[3] == max(weights)
        assert weights[0] == min(weights)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_class_that_never_occurs_has_a_finite_weight(name: str) -> None:
    stats = ClassStats([9000, 900, 100, 0], [10_000] * 4, [10_000, 9_000, 1_000, 0], 10)
    with pytest.warns(UserWarning, match="no training pixel is class_3"):
        weights = weights_from("key", name, TASK, stats)
    assert weights is not None
    assert weights[3] == (max(weights) if name == "enet" else weights[2])  # as the rarest that occurs


def test_effective_numbers_differ_for_millions_of_pixels() -> None:
    """With the paper's fixed beta of .9999 they would be the same for all classes."""
    stats = ClassStats([10**8, 10**7, 10**6, 10**5], [2 * 10**8] * 4, [2 * 10**8] * 4, 100)
    weights = weights_from("key", "effective", TASK, stats)
    assert weights is not None
    assert weights[3] > 5 * weights[2] > 25 * weights[1]

"""The curves of a loss are autograd's, and equal closed forms that are written here independently of the losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from segtrain.errors import UserError
from segtrain.explain.curves import PIXELS, PROBABILITIES, SHARES, foreground, pixel_curve, share_curve, statistics
from segtrain.losses import build_loss
from segtrain.task import Task

Array = npt.NDArray[np.float64]
BINARY = Task(mode="binary")
P = PROBABILITIES.numpy()
SHARE, OTHERS = 0.03, 0.7
FG = round(SHARE * PIXELS)


def of_label(label: int, positive: Callable[[Array], Array]) -> Array:
    """A function of p_t, the probability of the pixel's own label."""
    return positive(P if label else 1 - P)


def bce(label: int) -> tuple[Array, Array]:
    return of_label(label, lambda pt: -np.log(pt)), P - label


def focal(label: int, gamma: float = 3.0, alpha: float = 0.25) -> tuple[Array, Array]:
    weight, sign = (alpha, 1) if label else (1 - alpha, -1)
    cost = of_label(label, lambda pt: -weight * (1 - pt) ** gamma * np.log(pt))
    # d/dz of -(1 - p)^g log p, with dp/dz = p (1 - p); the sign turns for a background pixel
    slope = of_label(label, lambda pt: sign * weight * (1 - pt) ** gamma * (gamma * pt * np.log(pt) - (1 - pt)))
    return cost, slope


def region(label: int, fp: float, fn: float, smooth: float) -> tuple[Array, Array]:
    """1 - (I + s) / (I + fp (P - I) + fn (Y - I) + s) of the picture, and its derivative by this pixel's logit."""

    def parts(p: Any) -> tuple[Any, Any]:
        overlap = OTHERS * (FG - label) + p * label
        false = (1 - OTHERS) * (PIXELS - FG - (1 - label)) + p * (1 - label)
        return overlap + smooth, overlap + fp * false + fn * (FG - overlap) + smooth

    top, bottom = parts(P)
    right_top, right_bottom = parts(float(label))
    cost = right_top / right_bottom - top / bottom
    by_p = -(bottom - top * (1 - fn)) / bottom**2 if label else top * fp / bottom**2
    return PIXELS * cost, PIXELS * by_p * P * (1 - P)


FORMS: dict[str, tuple[Callable[[int], tuple[Array, Array]], dict[str, Any]]] = {
    "bce": (bce, {}),
    "focal": (focal, {"gamma": 3.0, "alpha": 0.25}),
    "dice": (lambda label: region(label, 0.5, 0.5, 1.0), {"smooth": 2.0}),
    "tversky": (lambda label: region(label, 0.2, 0.9, 1.5), {"fp_weight": 0.2, "fn_weight": 0.9, "smooth": 1.5}),
}


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("name", FORMS)
def test_a_pixels_curve_is_the_closed_form(name: str, label: int) -> None:
    form, params = FORMS[name]
    curve = pixel_curve(build_loss(name, BINARY, **params), BINARY, label, SHARE, OTHERS)
    cost, slope = form(label)
    np.testing.assert_allclose(curve.cost.numpy(), cost, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(curve.slope.numpy(), slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("task", [Task(mode="multiclass", num_classes=3), Task(mode="multilabel", num_classes=2)])
def test_in_other_modes_cross_entropy_is_that_of_two_classes(task: Task, label: int) -> None:
    curve = pixel_curve(build_loss("ce", task), task, label)
    cost, slope = bce(label)
    np.testing.assert_allclose(curve.cost.numpy(), cost, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(curve.slope.numpy(), slope, rtol=1e-6, atol=1e-9)


def test_by_the_share_dice_is_its_formula_and_bce_is_pulled_by_the_larger_class() -> None:
    shares = SHARES.numpy()
    count, q = np.round(shares * PIXELS), 0.8
    dice = share_curve(lambda share: build_loss("dice", BINARY, smooth=1.0), BINARY, q)
    overlap, false = q * count, (1 - q) * (PIXELS - count)
    np.testing.assert_allclose(dice.value.numpy(), 1 - (2 * overlap + 1) / (overlap + false + count + 1), rtol=1e-6)
    pull = (2 * (overlap + false + count + 1) - (2 * overlap + 1)) / (2 * overlap + 1)  # per pixel, fg to bg
    np.testing.assert_allclose(dice.balance.numpy(), pull * count / (PIXELS - count), rtol=1e-6)
    plain = share_curve(lambda share: build_loss("bce", BINARY), BINARY, q)
    np.testing.assert_allclose(plain.value.numpy(), -np.log(q), rtol=1e-6)
    np.testing.assert_allclose(plain.balance.numpy(), count / (PIXELS - count), rtol=1e-6)


def test_balanced_bce_pulls_equally_at_every_share() -> None:
    curve = share_curve(lambda share: build_loss("balanced_bce", BINARY, statistics(share, BINARY)), BINARY)
    np.testing.assert_allclose(curve.balance.numpy(), 1, rtol=1e-6)


@pytest.mark.parametrize("share", [1e-4, 0.001, 0.05, 0.5, 0.9999])
def test_the_disc_has_exactly_its_pixels_and_the_one_looked_at(share: float) -> None:
    mask = foreground(share)
    assert int(mask.sum()) == round(share * PIXELS)
    assert mask[50, 50]
    assert not mask[0, 0]


def test_statistics_are_of_the_share() -> None:
    assert statistics(0.2, BINARY).share() == [0.2]
    assert statistics(0.2, Task(mode="multiclass", num_classes=3)).share() == [0.8, 0.1, 0.1]
    assert statistics(0.2, Task(mode="multilabel", num_classes=2)).share() == [0.2, 0.2]


@pytest.mark.parametrize(("share", "others", "word"), [(0, 0.8, "share"), (1, 0.8, "share"), (0.1, 1, "others")])
def test_what_no_picture_has_is_refused(share: float, others: float, word: str) -> None:
    with pytest.raises(UserError, match=word):
        pixel_curve(build_loss("bce", BINARY), BINARY, 1, share, others)


def test_grids_rise_within_their_ranges() -> None:
    for grid in (PROBABILITIES, SHARES):
        assert torch.equal(grid, grid.sort().values.unique())
        assert grid.min() > 0
        assert grid.max() < 1

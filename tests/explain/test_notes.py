"""What is said beside the curves, of losses about which it is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from segtrain.contract.promise import Loss
from segtrain.explain import notes
from segtrain.explain.curves import PixelCurve, foreground, pixel_curve, statistics
from segtrain.losses import Combo, build_loss
from segtrain.task import Task
from tests.contract.wrong import RightMean

BINARY, MULTICLASS = Task(mode="binary"), Task(mode="multiclass", num_classes=3)
SHARE = 0.02


def said(loss: Loss, task: Task = BINARY, share: float = SHARE) -> list[str]:
    curves: list[PixelCurve] = [pixel_curve(loss, task, label, share) for label in (1, 0)]
    return notes.notes(loss, task, share, 0.8, curves)


def built(name: str, task: Task = BINARY, **params: Any) -> Loss:
    return build_loss(name, task, statistics(SHARE, task), **params)


@pytest.mark.parametrize(
    ("name", "params"), [("bce", {}), ("ce", {}), ("focal", {"alpha": 0.25}), ("poly", {}), ("bce", {"pos_weight": 3})]
)
def test_a_mean_over_pixels_needs_no_note(name: str, params: dict[str, Any]) -> None:
    assert said(built(name, **params)) == []
    assert said(RightMean(BINARY)) == []


@pytest.mark.parametrize("name", ["dice", "tversky", "jaccard", "mcc", "lovasz", "ohem"])
def test_what_depends_on_all_others(name: str) -> None:
    assert said(built(name))[0] == notes.OTHERS


@pytest.mark.slow
@pytest.mark.parametrize("name", ["boundary", "cldice"])
def test_what_depends_on_neighbours(name: str) -> None:
    assert said(built(name))[0] == notes.NEIGHBOURS
    combo = Combo({"dice": build_loss("dice", BINARY), "shape": build_loss(name, BINARY)})
    assert said(combo)[0] == notes.NEIGHBOURS


def test_what_depends_on_the_share_of_the_picture() -> None:
    """With beta per batch, and with torch's rule for weights."""
    assert said(built("balanced_bce", beta="batch")) == [notes.SHARE]
    assert notes.SHARE in said(built("ce", MULTICLASS, class_weights=[1.0, 5.0, 2.0]), MULTICLASS)


def test_weights_of_the_training_set_are_written() -> None:
    (line,) = said(built("balanced_bce"))
    assert line.startswith("beta 49, as of a training set with 2 % foreground; ")  # .98 / .02
    weighted = built("ce", MULTICLASS, class_weights="inverse")
    assert said(weighted, MULTICLASS)[0].startswith("class_weights 0.34, 33.3, 33.3, as of")  # 1 / (3 share)
    assert said(Combo({"x": weighted}), MULTICLASS)[0].startswith("x class_weights ")


def test_where_there_is_no_gradient() -> None:
    assert notes.NOWHERE in said(built("lovasz"))
    assert "75 % of this picture's pixels have no gradient" in said(built("ohem", share=0.25))
    far = [line for line in said(built("boundary")) if "have no gradient" in line]
    assert len(far) == 1
    assert "% of those far from a contour" in far[0]


def test_a_loss_below_0_is_explained() -> None:
    assert notes.BELOW in said(built("boundary"))
    assert notes.BELOW in said(built("ce", label_smoothing=0.1))
    assert notes.BELOW not in said(built("dice"))


def test_only_pixels_near_the_contour_are_counted_as_near() -> None:
    """A loss that looks at the disc's edge alone: all pixels far from it are without gradient."""
    inside = foreground(SHARE).double()[None, None]
    edge = torch.nn.functional.max_pool2d(inside, 3, 1, 1) - inside

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return (logits.sigmoid() * edge).mean()

    share = f"{100 * float((edge == 0).double().mean()):.3g} %"
    (line,) = notes._without_gradient(loss, BINARY, foreground(SHARE), 0.8, around=True)
    assert line == f"{share} of this picture's pixels have no gradient, 100 % of those far from a contour"


def test_losses_with_the_same_note_share_a_line() -> None:
    assert notes.grouped(["a", "b", "c"], [["x", "y"], [], ["y"]]) == ["a: x", "a, c: y"]

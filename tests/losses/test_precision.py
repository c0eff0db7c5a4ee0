"""Sums over large images, and classes that never occur: what no small tensor shows."""

from __future__ import annotations

import pytest
import torch

from segtrain.losses import activations, build_loss
from segtrain.losses.spread import CHUNK, sums_by_class
from segtrain.task import ClassStats, Task
from tests.conftest import TASKS, generator, make_logits, make_target
from tests.losses.contract import run, same


@pytest.mark.parametrize("pixels", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_sums_in_blocks_are_the_sums(pixels: int) -> None:
    values, target = (
        torch.rand(2, pixels, generator=generator(0)),
        torch.randint(0, 5, (2, pixels), generator=generator(1)),
    )
    expected = torch.stack([(values.double() * (target == c)).sum(1) for c in range(5)], dim=1)
    assert torch.allclose(sums_by_class(values, target, 5).double(), expected, rtol=1e-6)


def test_a_large_image_keeps_the_digits_of_a_small_one() -> None:
    task, size = TASKS["multiclass"], (1, 2048, 2048)
    logits = torch.randn(1, task.num_classes, *size[1:], generator=generator(2))
    target = torch.randint(0, task.num_classes, size, generator=generator(3))
    loss = build_loss("dice", task)
    assert float(loss(logits, target)) == pytest.approx(float(loss(logits.double(), target)), abs=2e-6)


@pytest.mark.parametrize("name", ["dice", "tversky", "focal_tversky", "mcc", "generalized_dice", "unified_focal"])
def test_a_nearly_perfect_prediction_keeps_its_errors(name: str, task: Task) -> None:
    """A difference of sums over a million pixels would lose them, and the gradient with them."""
    size = (1, 512, 512)
    target = make_target(task, size=size, ignored=0.1)
    known = target.masked_fill(target == 255, 0)
    hot = torch.nn.functional.one_hot(known, task.num_classes).movedim(-1, 1) if task.exclusive else known
    noise = make_logits(task, size, scale=0.5)
    logits = 7 * (2 * hot.view_as(noise) - 1) + noise
    loss = build_loss(name, task)
    value, gradient = run(loss, logits, target)
    expected, slope = run(loss, logits.double(), target)
    assert float(value) == pytest.approx(float(expected), rel=1e-3, abs=1e-7)
    # 1 - p of a pixel that is sure is itself known to some percent: p is rounded to 6e-8 where 1 - p is 1e-6
    assert float((gradient - slope).abs().sum() / slope.abs().sum()) < 2e-2


def test_a_batch_without_weight_is_0() -> None:
    task = TASKS["multiclass"]
    loss = build_loss("ce", task, class_weights=[0, 1, 1, 1], label_smoothing=0.1)
    value, gradient = run(loss, make_logits(task), make_target(task, "empty"))
    assert value == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("name", ["ce", "focal", "dice", "unified_focal"])
def test_blocks_change_nothing(name: str, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (2, 40, 60)  # 1024 + 1024 + 352 pixels
    logits, target = make_logits(task, size), make_target(task, size=size)
    whole = run(build_loss(name, task), logits, target)
    monkeypatch.setattr(activations, "BLOCK", 1)
    assert len(list(activations.blocks(logits.flatten(2)))) == 2 * 3
    same(run(build_loss(name, task), logits, target), whole, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("name", "mode", "params"), [
    ("balanced_bce", "binary", {}),
    ("focal", "binary", {"alpha": "auto"}),
    ("ce", "multiclass", {"class_weights": "auto"}),
])  # fmt: skip
def test_a_class_that_never_occurs_is_said(name: str, mode: str, params: dict[str, str]) -> None:
    task = TASKS[mode]
    stats = ClassStats([0] * task.num_classes, [1000] * task.num_classes, [0] * task.num_classes, 10)
    with pytest.warns(UserWarning, match=f"no training pixel is {task.names[0]}"):
        build_loss(name, task, stats, **params)

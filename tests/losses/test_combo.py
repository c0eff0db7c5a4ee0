"""Combinations: one activation for all terms, and weights that change over the epochs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from segtrain.callbacks.report import read_rows
from segtrain.errors import UserError
from segtrain.losses import Combo, build_loss, spread
from segtrain.task import Task
from tests import tiny
from tests.conftest import TASKS, make_logits, make_target


class Plain(nn.Module):
    """A user's loss that knows nothing of pixels spread for it."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return logits.square().mean()


def test_the_logits_are_activated_once(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    activation = "Softmax" if task.exclusive else "Sigmoid"
    true, calls = getattr(spread, activation), []

    class Counted:
        @staticmethod
        def apply(*arguments: Any) -> Any:
            calls.append(arguments)
            return true.apply(*arguments)

    names = ("ce", "dice", "focal", "tversky", "mcc", "unified_focal")
    combo, logits, target = Combo({n: build_loss(n, task) for n in names}), make_logits(task), make_target(task)
    expected = [build_loss(name, task)(logits, target) for name in names]
    monkeypatch.setattr(spread, activation, Counted)
    assert torch.equal(torch.stack(list(combo.parts(logits, target).values())), torch.stack(expected))
    assert len(calls) == 1


def test_terms_of_other_tasks_and_of_users_are_computed_by_themselves() -> None:
    task, other = TASKS["binary"], Task("binary", ignore_index=7)
    logits, target = make_logits(task), make_target(task)
    target[0, 0, 0] = 7
    target[0, 0, 1] = 0
    terms = {"other": build_loss("ce", other), "plain": Plain()}
    with pytest.raises(AssertionError):  # 255 is no label where 7 is ignored: the terms see different pixels
        torch.testing.assert_close(*(build_loss("ce", t)(logits, target) for t in (task, other)))
    expected = {"other": terms["other"](logits, target), "plain": logits.square().mean()}
    assert Combo({"ce": build_loss("ce", task), **terms}).parts(logits, target).items() >= expected.items()


@given(
    start=st.floats(0, 5),
    to=st.floats(0, 5),
    begin=st.integers(0, 9),
    length=st.integers(1, 9),
    epoch=st.integers(0, 25),
)
def test_a_ramp_goes_from_one_weight_to_the_other(start: float, to: float, begin: int, length: int, epoch: int) -> None:
    for shape in ("linear", "cosine"):
        ramp = {"to": to, "begin": begin, "end": begin + length, "shape": shape}
        combo = Combo({"a": Plain(), "b": Plain()}, {"a": start, "b": 2.0}, {"a": ramp})
        combo.epoch = epoch
        part = min(1.0, max(0, epoch - begin) / length)
        part = part if shape == "linear" else math.sin(math.pi / 2 * part) ** 2
        assert combo.weight("a") == pytest.approx((1 - part) * start + part * to, abs=1e-9)
        assert combo.weight("b") == 2.0
        combo.epoch = None  # after training
        assert combo.weight("a") == to


def test_the_weight_of_the_epoch_weighs_the_term() -> None:
    combo = Combo({"a": Plain(), "b": Plain()}, {"a": 0.0}, {"a": {"to": 4.0, "end": 2}})
    logits = torch.full((1, 1, 1, 1), 3.0)
    for epoch, total in ((0, 9.0), (1, 27.0), (2, 45.0), (None, 45.0)):
        combo.epoch = epoch
        assert float(combo(logits, logits)) == total


def test_a_term_without_weight_is_not_computed() -> None:
    class Broken(nn.Module):
        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            raise AssertionError("computed")

    logits = torch.full((1, 1, 1, 1), 3.0, requires_grad=True)
    combo = Combo({"a": Plain(), "b": Broken()}, {"b": 0.0}, {"b": {"to": 1.0, "begin": 1, "end": 2}})
    for epoch in (0, 1):
        combo.epoch = epoch
        assert list(combo.parts(logits, logits)) == combo.active() == ["a"]
    combo.epoch = 2
    with pytest.raises(AssertionError, match="computed"):
        combo(logits, logits)
    with pytest.raises(UserError, match=r"loss.weights are all 0: nothing would be learned"):
        Combo({"a": Plain(), "b": Plain()}, {"a": 0, "b": 0})
    late = Combo({"a": Plain()}, {"a": 0.0}, {"a": {"to": 1.0, "begin": 1, "end": 2}})  # at first nothing has a weight
    late.epoch = 0
    value = late(logits, logits)
    value.backward()
    assert float(value.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"c": {"to": 1, "end": 2}}, "loss.ramps: each key must be one of a, b; got 'c'"),
    ({"a": {"to": 1}}, "loss.ramps.a.end is missing"),
    ({"a": {"end": 1}}, "loss.ramps.a.to is missing"),
    ({"a": {"to": 1, "end": 2, "start": 0}}, "loss.ramps.a: each key must be one of to, begin, end, shape"),
    ({"a": {"to": -1, "end": 2}}, "loss.ramps.a.to must be a number >= 0, got -1"),
    ({"a": {"to": 1, "begin": 2, "end": 2}}, "loss.ramps.a.end must be a number > 2"),
    ({"a": {"to": 1, "begin": -1, "end": 2}}, "loss.ramps.a.begin must be a number >= 0, got -1"),
    ({"a": {"to": 1, "end": 2, "shape": "lineer"}}, "got 'lineer' - did you mean linear?"),
    ({"a": 3}, "loss.ramps.a must be settings as in {to: 1, end: 10}, got 3"),
]


@pytest.mark.parametrize(("ramps", "message"), REFUSED)
def test_refused_ramps(ramps: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Combo({"a": Plain(), "b": Plain()}, ramps=ramps)
    assert message in str(caught.value)


def test_a_training_follows_the_ramp_and_logs_it(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "loss=dice_boundary", "epochs=3")
    rows = read_rows(run.folder / "metrics.csv")
    assert [float(row["train_weights/boundary"]) for row in rows] == pytest.approx([0, 1 / 3, 2 / 3], abs=1e-6)
    assert "train_parts/boundary" not in rows[0] or not rows[0]["train_parts/boundary"]  # not computed yet
    for row in rows:
        parts = {name: float(row.get(f"train_parts/{name}") or 0) for name in ("dice", "ce", "boundary")}
        total = parts["dice"] + parts["ce"] + float(row["train_weights/boundary"]) * parts["boundary"]
        assert float(row["train/loss"]) == pytest.approx(total, rel=1e-4)

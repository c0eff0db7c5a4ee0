"""What the guards measure: the norm of the gradient is torch's; hooks that do nothing cost nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from segtrain.callbacks import KeepLast, StepSeeds, guards
from segtrain.trainer import STEP_HOOKS, without_empty_hooks
from tests import tiny

norms: list[float] = []


class Norms(Callback):
    """What torch says of each step."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        found = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(found)))


_forgotten = tiny.cleared(norms)


@pytest.mark.parametrize("few", [guards.FEW, 0])
@pytest.mark.parametrize("words", tiny.every(2, [["trainer.accumulate=2", "batch_size=2"], ["trainer.log_every=1"]]))
def test_the_mean_norm_of_each_epoch(
    tmp_path: Path, words: list[str], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "FEW", few)
    watch = ["+callbacks.norms._target_=tests.test_guards.Norms", "--allow", "tests"]
    run = tiny.train(tmp_path, *words, *watch)
    logged = [float(row["optim/grad_norm"]) for row in tiny.table(run)]
    half = len(norms) // 2
    assert half > 1
    for found, expected in zip(logged, (norms[:half], norms[half:]), strict=True):
        assert found == pytest.approx(math.fsum(expected) / half, rel=1e-5)


def test_hooks_of_a_step_that_do_nothing_are_not_called(tmp_path: Path) -> None:
    seeds, last = without_empty_hooks([StepSeeds(1), KeepLast(tmp_path)])
    assert [hook for hook in STEP_HOOKS if callable(getattr(seeds, hook))] == ["on_train_batch_start"]
    assert [hook for hook in STEP_HOOKS if callable(getattr(last, hook))] == ["on_train_batch_end"]
    for hook in dir(Callback):
        if hook.startswith("on_") and hook not in STEP_HOOKS:
            assert callable(getattr(seeds, hook)), hook

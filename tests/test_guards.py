"""A number that is not finite stops the run; no file ever holds one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from segtrain.cli import main
from tests import tiny


class Poison(Callback):
    """Makes one place of one training step NaN.

    Args:
        place: "loss", "gradient", "image" or "validation".
        step: optimizer step at which it does so.
    """

    def __init__(self, place: str, step: int) -> None:
        self.place, self.step = place, step

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.place == "image" and trainer.global_step == self.step:
            batch["image"] = torch.full(batch["image"].shape, torch.nan)
        if self.place == "loss" and trainer.global_step == self.step:
            pl_module.net.net.head.bias.data.fill_(torch.nan)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self.place == "validation" and trainer.global_step == self.step:
            pl_module.net.net.head.bias.data.fill_(torch.nan)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        if self.place == "gradient" and trainer.global_step == self.step:
            pl_module.net.net.head.weight.grad[0, 0] = torch.inf


@pytest.mark.parametrize("check", ["log", "step"])
@pytest.mark.parametrize("place", ["loss", "gradient", "image"])
def test_the_run_stops_and_names_the_step(
    tmp_path: Path, place: str, check: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny.SYNTHETIC, *tiny.FAST, "epochs=3", f"trainer.check={check}", f"output_dir={tmp_path}"]
    poison = f"+callbacks.poison={{_target_:tests.test_guards.Poison,place:{place},step:3}}"
    assert main(["train", *words, poison, "--allow", "tests"]) == 1
    error = capsys.readouterr().err
    assert "of step 3 (epoch 2) is not finite" in error
    assert place in error.partition("is not finite")[0]
    assert "learning rate" in error
    run = tiny.read_run(tiny.find_latest(tmp_path))
    assert run.status == "failed"
    for path in (run.best, run.last):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(bool(value.isfinite().all()) for value in state.values() if value.is_floating_point())
    assert not (run.folder / "summary.json").exists()


def test_the_samples_of_the_step_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*tiny.SYNTHETIC, *tiny.FAST, "trainer.check=step", f"output_dir={tmp_path}"]
    poison = "+callbacks.poison={_target_:tests.test_guards.Poison,place:gradient,step:1}"
    assert main(["train", *words, poison, "--allow", "tests"]) == 1
    named = capsys.readouterr().err.partition("since the last check: ")[2].partition(".")[0]
    assert named.count("train_") == 4


def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*tiny.SYNTHETIC, *tiny.FAST, "epochs=3", f"output_dir={tmp_path}"]
    poison = "+callbacks.poison={_target_:tests.test_guards.Poison,place:validation,step:4}"  # behind epoch 2
    assert main(["train", *words, poison, "--allow", "tests"]) == 1
    assert "the validation loss of epoch 2 is not finite (nan)" in capsys.readouterr().err
    run = tiny.read_run(tiny.find_latest(tmp_path))
    assert run.status == "failed"
    assert torch.load(run.last, weights_only=True)["global_step"] == 2

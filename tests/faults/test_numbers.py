"""A number that is not finite stops the run; no file ever holds one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from PIL import Image

from segtrain.cli import main
from tests import tiny
from tests.faults import plant
from tests.faults.warm import Child


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
@pytest.mark.fault("Numbers", "NaN loss, NaN image, infinite gradient at step k", "stops, names the step; files finite")
def test_the_run_stops_and_names_the_step(
    tmp_path: Path, place: str, check: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny.SYNTHETIC, *tiny.FAST, "epochs=3", f"trainer.check={check}", f"output_dir={tmp_path}"]
    poison = f"+callbacks.poison={{_target_:tests.faults.test_numbers.Poison,place:{place},step:3}}"
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


@pytest.mark.fault("Numbers", "which samples, with trainer.check=step", "those of the step are named")
def test_the_samples_of_the_step_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*tiny.SYNTHETIC, *tiny.FAST, "trainer.check=step", f"output_dir={tmp_path}"]
    poison = "+callbacks.poison={_target_:tests.faults.test_numbers.Poison,place:gradient,step:1}"
    assert main(["train", *words, poison, "--allow", "tests"]) == 1
    named = capsys.readouterr().err.partition("since the last check: ")[2].partition(".")[0]
    assert named.count("train_") == 4


@pytest.mark.fault("Numbers", "validation loss not finite", "stops; the checkpoints are those of earlier epochs")
def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*tiny.SYNTHETIC, *tiny.FAST, "epochs=3", f"output_dir={tmp_path}"]
    poison = "+callbacks.poison={_target_:tests.faults.test_numbers.Poison,place:validation,step:4}"  # behind epoch 2
    assert main(["train", *words, poison, "--allow", "tests"]) == 1
    assert "the validation loss of epoch 2 is not finite (nan)" in capsys.readouterr().err
    run = tiny.read_run(tiny.find_latest(tmp_path))
    assert run.status == "failed"
    assert torch.load(run.last, weights_only=True)["global_step"] == 2


def masks_of(root: Path, value: int, keep: int) -> Path:
    """A data set whose masks hold one value alone, but for the first so many training masks."""
    tiny.make_folder(root, ids=(0, 1))
    train, rest = sorted((root / "masks" / "train").iterdir()), list((root / "masks" / "val").iterdir())
    for path in [*train[keep:], *rest]:
        Image.fromarray(np.full_like(np.asarray(Image.open(path)), value)).save(path)
    (root / "classes.txt").write_text("0\tground\n1\tthing\n255\tvoid\tignore\n")
    return root


@pytest.mark.fault("Numbers", "NaN metric", "never the best: no best.ckpt, and it says so")
def test_a_metric_that_is_never_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data=folder", f"data.root={masks_of(tmp_path / 'data', 255, keep=6)}", *tiny.FAST]
    assert main(["train", *words, f"output_dir={tmp_path / 'out'}"]) == 0
    run = tiny.read_run(tiny.find_latest(tmp_path / "out"))
    assert not run.best.exists()
    assert run.last.exists()
    assert "was not a number in any epoch" in capsys.readouterr().out


@pytest.mark.parametrize(
    "loss",
    ["dice_ce", "lovasz", "ohem"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("focal", "tversky", "boundary", "unified_focal")],
)
@pytest.mark.parametrize("value", tiny.every(2, [0, 255]))
@pytest.mark.fault("Numbers", "batches without foreground, batches all ignored", "every loss and weight stays finite")
def test_nothing_to_learn_from_in_a_batch(tmp_path: Path, value: int, loss: str) -> None:
    words = ["data=folder", f"data.root={masks_of(tmp_path / 'data', value, keep=1)}", *tiny.FAST, f"loss={loss}"]
    assert main(["train", *words, "batch_size=1", "epochs=1", f"output_dir={tmp_path / 'out'}"]) == 0
    run = tiny.read_run(tiny.find_latest(tmp_path / "out"))
    assert all(np.isfinite(float(row["train/loss"])) for row in tiny.curves(run))
    state = torch.load(run.last, weights_only=True)["state_dict"]
    assert all(bool(value.isfinite().all()) for value in state.values() if value.is_floating_point())


@pytest.mark.parametrize(("value", "says"), [(0, "no pixel of the 6 training masks is thing"), (255, "are ignored")])
@pytest.mark.fault("Numbers", "empty foreground or all ignored in the whole data set", "refused before training")
def test_nothing_to_learn_from_at_all(
    tmp_path: Path, value: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data=folder", f"data.root={masks_of(tmp_path / 'data', value, keep=0)}", *tiny.FAST]
    assert main(["train", *words, f"output_dir={tmp_path / 'out'}"]) == 1
    assert says in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("env.json"))


@pytest.mark.fault("Numbers", "out of memory", "one sentence that says what to lower; checkpoint intact")
def test_out_of_memory(tmp_path: Path) -> None:
    words = ["train", *tiny.SYNTHETIC, *tiny.FAST, "output_dir=out", *plant.at_step(3, "raise_memory_error")]
    child = Child(words, tmp_path)
    assert child.ended() == 1
    assert child.err.count("\n") == 1
    assert "memory ran out in step 3" in child.err
    assert all(word in child.err for word in ("batch_size", "crop", "trainer.accumulate", "bf16-mixed", "intact"))
    assert tiny.global_step(tiny.read_run(tiny.find_latest(tmp_path / "out"))) == 2

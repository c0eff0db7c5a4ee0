"""freeze_encoder= and optim.encoder_factor=: an encoder that is left alone for a while, or learns slowly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from segtrain.callbacks import FreezeEncoder
from segtrain.checkpoint import net_weights
from segtrain.cli import main
from segtrain.errors import UserError
from segtrain.models import build_model
from segtrain.runs import Run, find_latest, read_run
from segtrain.task import Task
from tests import tiny
from tests.tiny import curves

SMALL = ["model=unet_resnet34", "model.encoder=tu-mobilenetv3_small_050"]
FAST = [*SMALL, "crop=32", "batch_size=4", "epochs=2", "~callbacks.pictures"]
ENCODER = "net.encoder."
State = dict[str, torch.Tensor]
epochs: list[State] = []


class Watch(Callback):
    """Keeps the net as it is before the first epoch and behind each."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        epochs.append({name: value.clone() for name, value in pl_module.net.state_dict().items()})


WATCH = ["+callbacks.watch._target_=tests.test_freezing.Watch", "--allow", "tests"]


_forgotten = tiny.cleared(epochs)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an encoder, as a file."""
    net: Any = build_model(Task("binary"), 3, [0.5] * 3, [0.25] * 3, "unet", "tu-mobilenetv3_small_050").net
    path = tmp_path_factory.mktemp("weights") / "encoder.pt"
    torch.save(net.encoder.state_dict(), path)
    return path


def changed(one: State, other: State) -> set[str]:
    """Which parts of the net differ, batch norm's statistics included."""
    return {"encoder" if name.startswith(ENCODER) else "rest" for name in tiny.differing(one, other)}


@pytest.mark.parametrize(("frozen", "second"), tiny.every(2, [("1", {"encoder", "rest"}), ("always", {"rest"})]))
def test_the_encoder_is_kept(tmp_path: Path, weights: Path, frozen: str, second: set[str]) -> None:
    words = [f"model.encoder_weights={weights}", f"freeze_encoder={frozen}", "optim.warmup=0"]
    tiny.train(tmp_path, *words, *WATCH, fast=FAST)
    stored = torch.load(weights, weights_only=True)
    assert tiny.differing(stored, {k.removeprefix(ENCODER): v for k, v in epochs[0].items() if ENCODER in k}) == []
    assert changed(epochs[0], epochs[1]) == {"rest"}
    assert changed(epochs[1], epochs[2]) == second


FROZEN_FIRST = ["freeze_encoder=1", "checkpoint.every_steps=1"]


@pytest.fixture(scope="module")
def whole(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What none has disturbed: two epochs of two steps."""
    words = [f"model.encoder_weights={weights}", *FROZEN_FIRST]
    return tiny.train(tmp_path_factory.mktemp("whole"), *words, fast=FAST)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_resume_is_exact_within_and_behind_the_frozen_epochs(
    tmp_path: Path, weights: Path, whole: Run, step: int
) -> None:
    words = [f"model.encoder_weights={weights}", *FROZEN_FIRST]
    command = ["train", *tiny.SYNTHETIC, *FAST, *words, f"output_dir={tmp_path / 'cut'}"]
    assert main([*command, *tiny.stop_at(step)]) == 1
    assert main(["train", "resume=latest", f"output_dir={tmp_path / 'cut'}", "~callbacks.stop"]) == 0
    run: Run = read_run(find_latest(tmp_path / "cut"))
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []
    assert curves(whole) == curves(run)


@pytest.mark.slow
def test_two_processes_keep_it_too(tmp_path: Path, weights: Path) -> None:
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "num_workers=0"]
    words = [f"model.encoder_weights={weights}", "freeze_encoder=1", "epochs=1", *ranks, "trainer.sync_batchnorm=false"]
    command = ["train", *tiny.SYNTHETIC, *FAST, *words, f"output_dir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "segtrain", *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = net_weights(torch.load(read_run(find_latest(tmp_path)).last, weights_only=True))
    kept = {k.removeprefix(ENCODER): v for k, v in found.items() if k.startswith(ENCODER)}
    assert tiny.differing(torch.load(weights, weights_only=True), kept) == []


@pytest.mark.slow
def test_the_encoder_learns_at_its_own_rate(tmp_path: Path, weights: Path) -> None:
    """With SGD, no momentum and no decay, the first step is the rate times the gradient."""
    words = [f"model.encoder_weights={weights}", "optim=sgd", "optim.momentum=0", "optim.weight_decay=0"]
    words += ["optim.schedule=constant", "optim.warmup=0", "lr=.01", "epochs=1", "trainer.limit_train=1", *WATCH]
    moved = {}
    for factor in (1.0, 0.25):
        epochs.clear()
        tiny.train(tmp_path / str(factor), *words, f"optim.encoder_factor={factor}", fast=FAST)
        moved[factor] = {
            name: after - epochs[0][name]
            for name, after in epochs[1].items()
            if after.is_floating_point() and "running" not in name
        }
    for name, step in moved[1.0].items():
        factor = 0.25 if name.startswith(ENCODER) else 1.0
        torch.testing.assert_close(moved[0.25][name], factor * step, atol=1e-6, rtol=1e-3)
    assert any(step.abs().max() > 1e-4 for name, step in moved[1.0].items() if name.startswith(ENCODER))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["freeze_encoder=1", *tiny.NET], "freeze_encoder=1: this net has no encoder of its own"),
        (["optim.encoder_factor=.1", *tiny.NET], "optim.encoder_factor=0.1: this net has no encoder of its own"),
        (["freeze_encoder=2", *SMALL], "freeze_encoder=2 would keep random weights; begin with trained ones by"),
        (["freeze_encoder=-1", *SMALL], "freeze_encoder must be always or"),
        (["freeze_encoder=often", *SMALL], "freeze_encoder must be always or"),
        (["optim.encoder_factor=0", *SMALL], "optim.encoder_factor must be a number > 0"),
    ],
)
def test_what_cannot_be_frozen_is_refused(
    tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *tiny.SYNTHETIC, *words, "crop=32", f"output_dir={tmp_path}"]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "synthetic").exists()


def test_zero_epochs_are_allowed() -> None:
    assert FreezeEncoder(0).epochs == 0
    with pytest.raises(UserError):
        FreezeEncoder(True)

"""bfloat16 is compared with float32 at the first step, and given up where it computes something else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segtrain import hardware
from segtrain.callbacks.rounding import rounding
from segtrain.losses import build_loss
from segtrain.models import build_model
from segtrain.module import SegmentationModule
from segtrain.optim import Optim
from segtrain.runs import read_run
from segtrain.task import Batch, Task
from tests import tiny

BINARY = Task("binary")


class Shifted(nn.Module):
    """Adds and takes away a number: nothing in exact arithmetic; in bfloat16 the last digits are gone."""

    def __init__(self, net: nn.Module, shift: float) -> None:
        super().__init__()
        self.net, self.shift = net, shift

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.net(image)
        shift = torch.tensor(self.shift, dtype=logits.dtype)
        return (logits + shift) - shift


def make(shift: float = 0, dropout: float = 0, images: int = 4) -> tuple[SegmentationModule, Batch]:
    torch.manual_seed(0)
    net: nn.Module = build_model(BINARY, 3, [0.5] * 3, [0.25] * 3, "plain_unet", width=4, depth=2)
    net = Shifted(nn.Sequential(net, nn.Dropout(dropout)), shift)
    module = SegmentationModule(net, build_loss("ce", BINARY), BINARY, Optim())
    image = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8)
    mask = torch.randint(0, 2, (images, 32, 32))
    return module, Batch(image=image, mask=mask, id=[""] * images, forced=[False] * images, tiles=[])


def test_an_ordinary_net_stands_it() -> None:
    found = rounding(*make())
    assert 0 < found.loss < 0.002
    assert 0 < found.gradient < 0.3
    assert found.harmless


@pytest.mark.parametrize("shift", [1e3, 1e5])
def test_a_net_that_loses_its_digits_does_not(shift: float) -> None:
    assert not rounding(*make(shift)).harmless


def test_dropped_units_are_the_same() -> None:
    """Else half of all losses would differ by what dropout does."""
    assert rounding(*make(dropout=0.5)).loss < 0.01


def test_nan_is_not_harmless() -> None:
    module, batch = make()
    with torch.no_grad():
        next(iter(module.net.parameters())).fill_(torch.nan)
    assert not rounding(module, batch).harmless


@pytest.mark.parametrize("images", [1, 3])
def test_of_few_images_the_losses_alone_are_compared(images: int) -> None:
    found = rounding(*make(images=images))
    assert found.gradient == 0
    assert found.harmless
    assert not rounding(*make(1e5, images=images)).harmless


def test_nothing_is_changed() -> None:
    module, batch = make(dropout=0.5)
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    rounding(module, batch)
    assert torch.equal(state, torch.get_rng_state())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on hardware that has bfloat16; elsewhere it is emulated, with the same numbers."""
    monkeypatch.setattr(hardware, "has_native_bf16", lambda accelerator: True)


@pytest.mark.usefixtures("native")
def test_a_training_says_what_it_found(tmp_path: Path) -> None:
    found = tiny.summary(tiny.train(tmp_path, "epochs=1"))["chosen"]
    assert found["precision"] == "bf16-mixed"
    assert "losses differ by 0." in found["rounding"]


@pytest.mark.usefixtures("native")
def test_a_net_that_does_not_stand_it_is_trained_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = tiny.train(tmp_path / "exact", "trainer.precision=32-true")
    rounded = tiny.train(tmp_path / "rounded", "trainer.precision=bf16-mixed")
    monkeypatch.setattr("segtrain.callbacks.rounding.LOSS_LIMIT", -1.0)
    capsys.readouterr()
    saved = tiny.train(tmp_path / "auto", "checkpoint.every_steps=1")
    assert "bfloat16 is not safe for this net (losses differ by " in capsys.readouterr().out
    assert tiny.summary(saved)["chosen"]["precision"] == "32-true"
    same = tiny.weights(saved)
    for name, value in tiny.weights(exact).items():
        assert torch.equal(value, same[name]), name
    assert any(not torch.equal(value, same[name]) for name, value in tiny.weights(rounded).items())


@pytest.mark.slow
@pytest.mark.usefixtures("native")
def test_a_run_goes_on_in_what_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the check, made anew, would find otherwise."""
    exact: Any = tiny.train(tmp_path / "exact", "trainer.precision=32-true")
    words = [*tiny.SYNTHETIC, *tiny.FAST, f"output_dir={tmp_path / 'auto'}", "checkpoint.every_steps=1"]
    with monkeypatch.context() as strict:
        strict.setattr("segtrain.callbacks.rounding.LOSS_LIMIT", -1.0)
        assert tiny.main(["train", *words, *tiny.stop_at(1)]) == 1
    assert tiny.main(["train", "resume=latest", f"output_dir={tmp_path / 'auto'}", "~callbacks.stop"]) == 0
    same = tiny.weights(read_run(tmp_path / "auto" / "latest"))
    for name, value in tiny.weights(exact).items():
        assert torch.equal(value, same[name]), name

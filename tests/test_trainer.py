"""Where and how a training runs: devices, precision, limits, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain import trainer
from segtrain.cli.compose import compose
from segtrain.datamodule import SegmentationDataModule
from segtrain.errors import UserError
from tests import tiny


def settings(*words: str) -> dict[str, Any]:
    config, _ = compose("train", list(words))
    return dict(config.trainer)


def test_the_limits_reach_the_trainer() -> None:
    built = trainer.build_trainer(settings("trainer.limit_train=3", "trainer.limit_test=0"), 2, [], [])
    assert (built.limit_train_batches, built.limit_val_batches, built.limit_test_batches) == (3, 1.0, 0)
    assert built.max_epochs == 2
    with pytest.raises(UserError, match=r"trainer.limit_val must be a whole number >= 1, got 0"):
        trainer.build_trainer(settings("trainer.limit_val=0"), 2, [], [])


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bfloat16_is_taken_only_where_the_hardware_has_it(
    native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "has_native_bf16", lambda accelerator: native)
    assert trainer.choose_precision("auto", "cpu") == expected
    assert trainer.choose_precision("32-true", "cpu") == "32-true"


def test_the_best_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for available, expected in ((True, "gpu"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda value=available: value)
        assert trainer.choose_accelerator("auto") == expected
    with pytest.raises(UserError, match="torch finds no such device here"):
        trainer.choose_accelerator("gpu")


@pytest.mark.parametrize("pinned", [True, False])
def test_only_pinned_memory_is_copied_without_waiting(pinned: bool) -> None:
    asked: list[bool] = []

    class Watched(torch.Tensor):
        def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            asked.append(kwargs["non_blocking"])
            return self

    source: Any = None
    transform: Any = None
    data = SegmentationDataModule(source, transform, 0, 1, (1, 1), 0, pin_memory=pinned)
    batch: Any = {"image": torch.zeros(1).as_subclass(Watched), "mask": torch.zeros(1).as_subclass(Watched), "id": []}
    data.transfer_batch_to_device(batch, "cpu", 0)
    assert asked == [pinned, pinned]


def test_float16_is_for_prediction_alone() -> None:
    with pytest.raises(UserError, match="is for prediction alone; use bf16-mixed or 32-true"):
        trainer.build_trainer(settings("trainer.precision=16-mixed"), 1, [], [])
    assert trainer.choose_precision("16-mixed", "gpu") == "16-mixed"
    with pytest.raises(UserError, match="is for GPUs"):
        trainer.choose_precision("16-mixed", "cpu")


@pytest.mark.parametrize("devices", [[], -3, 0, "x", 0.5])
def test_what_lightning_refuses_is_a_sentence(devices: Any) -> None:
    with pytest.raises(UserError, match=r"^trainer: .*devices"):
        trainer.build_trainer(settings("trainer=cpu") | {"devices": devices}, 2, [], [])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_in_each_precision(tmp_path: Path, precision: str) -> None:
    """With a clip of next to nothing, plain SGD leaves the weights where they are."""
    words = ["optim=sgd", "optim.weight_decay=0", "epochs=1", f"trainer.precision={precision}", "num_workers=0"]
    runs = [tiny.train(tmp_path / clip, *words, f"trainer.clip={clip}") for clip in ("1e-12", "2e-12", "1")]
    nets = [
        {k: v for k, v in tiny.weights(run).items() if k.endswith(("weight", "bias")) and k.startswith("net.")}
        for run in runs
    ]
    moved = [max(float((net[key] - nets[0][key]).abs().max()) for key in net) for net in nets]
    assert moved[1] < 1e-6 < 1e-4 < moved[2]

"""Where and how a training runs: devices, precision, limits, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segtrain import hardware, trainer
from segtrain.cli import main
from segtrain.cli.compose import compose
from segtrain.datamodule import SegmentationDataModule
from segtrain.errors import UserError
from segtrain.loading import quota
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
    monkeypatch.setattr(hardware, "has_native_bf16", lambda accelerator: native)
    assert hardware.choose_precision("auto", "cpu") == expected
    assert hardware.choose_precision("32-true", "cpu") == "32-true"


def test_the_best_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for available, expected in ((True, "gpu"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda value=available: value)
        assert hardware.choose_accelerator("auto") == expected
    with pytest.raises(UserError, match="torch finds no such device here"):
        hardware.choose_accelerator("gpu")


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
    with pytest.raises(UserError, match="is for prediction alone; use auto, bf16-mixed or 32-true"):
        trainer.build_trainer(settings("trainer.precision=16-mixed"), 1, [], [])
    assert hardware.choose_precision("16-mixed", "gpu") == "16-mixed"
    with pytest.raises(UserError, match="is for GPUs"):
        hardware.choose_precision("16-mixed", "cpu")


@pytest.mark.parametrize("devices", [[], -3, 0, "x", 0.5])
def test_what_lightning_refuses_is_a_sentence(devices: Any) -> None:
    with pytest.raises(UserError, match=r"^trainer: .*devices"):
        trainer.build_trainer(settings("trainer=cpu") | {"devices": devices}, 2, [], [])


@pytest.mark.parametrize("precision", tiny.every(2, ["32-true", "bf16-mixed"]))
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


@pytest.mark.parametrize(
    ("content", "cores"), [("150000 100000", 1), ("400000 100000", 4), ("max 100000", None), ("x", None)]
)
def test_a_container_is_given_cores_by_time(tmp_path: Path, content: str, cores: int | None) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert quota(tmp_path / "cpu.max") == cores
    assert quota(tmp_path / "none") is None


def test_threads_are_no_more_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(hardware, "usable_cores", lambda: 4)
    assert (hardware.limit_threads("auto"), hardware.limit_threads(8), chosen) == (4, 8, [4, 8])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # as OMP_NUM_THREADS=1 has it
    assert (hardware.limit_threads("auto"), chosen) == (1, [4, 8])
    with pytest.raises(UserError, match=r"trainer.threads must be auto or a whole number >= 1, got 0"):
        hardware.limit_threads(0)


def test_what_was_chosen_is_said_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path, "epochs=1", "trainer=cpu", "trainer.precision=32-true", "num_workers=1")
    chosen = tiny.summary(run)["chosen"]
    why = chosen["why"]
    assert {key: chosen[key] for key in ("device", "processes", "threads", "workers", "images_per_step", "lr")} == {
        "device": "cpu",
        "processes": 1,
        "threads": 1,
        "workers": 1,
        "images_per_step": 4,
        "lr": 2e-3,
    }
    assert list(why) == ["device", "load", "compile"]
    assert why["device"].startswith("cpu, 1 thread on ")
    assert why["device"].endswith("; channels_last; 32-true: as asked for")
    assert why["load"] == "1 loading process, as asked for"
    shown = capsys.readouterr().out
    for subject, said in why.items():
        assert f"{subject:6} {said}\n" in shown


def test_a_rate_that_is_scaled_is_said(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "epochs=1", "optim.scaling=linear", "lr=.01", "trainer.accumulate=4")
    chosen = tiny.summary(run)["chosen"]
    assert (chosen["lr"], chosen["images_per_step"]) == (0.02, 16)
    assert chosen["why"]["lr"] == "0.02: 0.01 for 8 images, a step has 16"


def test_scores_of_a_part_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path, "epochs=1", "trainer.limit_val=2", "debug=fast")
    said = "".join(capsys.readouterr().out.splitlines())
    assert "limit  at most 1 of train, 2 of val, 1 of test batches: losses and scores are of those alone" in said
    assert "test split, its first 1 batch alone, best epoch 1" in said
    assert tiny.summary(run)["limits"] == {"train": 1, "val": 2, "test": 1}
    words = ["split=val", "batch_size=1", "trainer.limit_test=2", "surface=false"]
    assert main(["evaluate", f"run={run.folder}", *words]) == 0
    assert "val split of synthetic, its first 2 batches alone" in " ".join(capsys.readouterr().out.split())


def test_threads_are_those_of_training_evaluation_and_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    run = tiny.train(tmp_path, "epochs=1", "trainer=cpu", "trainer.threads=3")
    assert 3 in chosen
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image)
    for number, words in (
        (5, ["evaluate", "surface=false"]),
        (7, ["predict", f"input={image}", f"output={tmp_path / 'masks'}"]),
    ):
        assert main([*words, f"run={run.folder}", f"trainer.threads={number}"]) == 0
        assert number in chosen

"""A whole training and validation step makes no one wait: forward, loss, backward, metrics, logging."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from segtrain.cli import main
from tests import tiny

# operations whose result the host must know, or whose size depends on the data
WAITING = ("_local_scalar_dense", "nonzero", "bincount", "masked_select", "unique", "item", "equal")


class Watch(TorchDispatchMode):
    """Collects the names of waiting operations."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        booleans = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if any(name.startswith(w) for w in WAITING) or booleans:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class Watcher(Callback):
    """Watches from the start of a batch to its end; the second batch, since the first one may set things up.

    Attributes:
        found: waiting operations, by stage.
    """

    found: dict[str, list[str]] = {}  # noqa: RUF012 - read by the test that started the training

    def __init__(self) -> None:
        self._watch: Watch | None = None

    def _begin(self, batch_idx: int) -> None:
        if batch_idx == 1:
            self._watch = Watch()
            self._watch.__enter__()

    def _end(self, stage: str) -> None:
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
            Watcher.found[stage] = self._watch.found
            self._watch = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._begin(batch_idx)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._end("train")

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        self._begin(batch_idx)

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self._end("val")


SAVING = ["deep_supervision=1", "trainer.activation_checkpointing=true"]
CASES = [["task=binary"], ["task=multiclass", "loss=focal"], ["task=multilabel"], ["mix=mixup", "mix.p=1"], SAVING]


@pytest.mark.parametrize("words", CASES)
def test_no_step_waits_for_the_device(tmp_path: Path, words: list[str]) -> None:
    Watcher.found = {}
    sizes = ["data.train=12", "data.val=40", "batch_size=4", "epochs=1"]
    watcher = ["+callbacks.watch={_target_:tests.test_step.Watcher}", "--allow", "tests"]
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, *sizes, *words, *watcher, f"output_dir={tmp_path}"]) == 0
    assert Watcher.found == {"train": [], "val": []}


def test_the_watch_sees_what_it_should() -> None:
    with Watch() as watch:
        float(torch.ones(1).sum())
        torch.arange(3)[torch.tensor([True, False, True])]
        torch.bincount(torch.arange(3))
    assert watch.found == ["_local_scalar_dense", "index", "bincount"]

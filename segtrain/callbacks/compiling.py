"""compile: the net's steps of training go through torch.compile; scoring does not, whose images have any size."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

STEPS = 5  # behind the first, by which it is known what a step takes


class Compiled(Callback):
    """Compiles the net for training, and says once how long that has taken.

    Args:
        say: prints a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._ends: list[float] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Weights, names and checkpoints stay those of the net."""
        if pl_module.device.type == "cpu":  # a toolkit without a GPU is no news, where no GPU is used
            logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        net: Any = pl_module.net
        pl_module.training_net = (torch.compile(net, dynamic=False),)  # type: ignore[assignment]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Free what was compiled."""
        pl_module.training_net = ()  # type: ignore[assignment]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock."""
        if not self._ends:
            self._ends.append(time.perf_counter())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say what the first step took beyond the others."""
        if len(self._ends) <= 1 + STEPS:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize()
            self._ends.append(time.perf_counter())
            if len(self._ends) == 2 + STEPS:
                step = (self._ends[-1] - self._ends[1]) / STEPS
                compiling = max(0, self._ends[1] - self._ends[0] - step)
                self.say(f"compile {compiling:.0f} s; a step now takes {step:.3g} s")

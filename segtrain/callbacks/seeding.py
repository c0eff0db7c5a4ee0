"""Each training step gets its own seed, so that dropout and the like continue exactly after a resume."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from segtrain.seeds import derive, scrambled, seed_torch


class StepSeeds(Callback):
    """Seeds torch by (seed, "step", epoch, rank) and the batch before each training step; costs some microseconds."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._epoch, self._base = -1, 0  # of the epoch, which is derived once

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        if self._epoch != trainer.current_epoch:
            self._epoch = trainer.current_epoch
            self._base = derive(self.seed, "step", self._epoch, trainer.global_rank)
        seed_torch(scrambled(self._base + batch_idx) >> 1)

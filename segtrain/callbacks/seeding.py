"""Each training step gets its own seed, so that dropout and the like continue exactly after a resume."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from segtrain.seeds import derive, seed_torch


class StepSeeds(Callback):
    """Seeds torch by (seed, "step", epoch, batch, rank) before each training step; costs a microsecond."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        seed_torch(derive(self.seed, "step", trainer.current_epoch, batch_idx, trainer.global_rank))

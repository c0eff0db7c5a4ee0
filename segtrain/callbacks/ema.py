"""The moving average of the weights: what is validated, kept and tested where `ema` is set."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from segtrain import checks


class Ema(WeightAveraging):
    """Lightning's swap of weights and average around validation and saving, with an update that waits for nothing.

    After optimizer step t, average <- d average + (1 - d) weights with d = min(decay, (1 + t) / (10 + t)), which lets
    the first epochs count less (as TensorFlow's ExponentialMovingAverage with num_updates). Means and variances of
    batch norm are averaged likewise, its counts copied. A checkpoint has the average in state_dict, and the weights
    beside it.

    Args:
        decay: in [0, 1); .99 remembers about 100 steps.

    Raises:
        UserError: another decay.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = checks.number("ema", decay, 0, 0.999999)
        self._pairs: tuple[list[Tensor], list[Tensor]] = [], []
        self._counts: list[tuple[Tensor, Tensor]] = []
        self._swapped = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the net to where it will be trained; it is still on the CPU."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pair each tensor with its average; from here on both stay where they are."""
        assert self._average_model is not None
        averages, currents = (
            [each.detach() for each in itertools.chain(module.parameters(), module.buffers())]
            for module in (self._average_model.module, pl_module)
        )
        pairs = list(zip(averages, currents, strict=True))
        real = [pair for pair in pairs if pair[0].is_floating_point()]
        self._pairs = [average for average, _ in real], [current for _, current in real]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update, where the optimizer made a step."""
        step = trainer.global_step
        if step > self._latest_update_step:
            averages, currents = self._pairs
            torch._foreach_lerp_(averages, currents, 1 - min(self.decay, (1 + step) / (10 + step)))
            for average, current in self._counts:
                average.copy_(current)
            self._latest_update_step = step

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Within a validation, which a signal ends: swap back first. What is in the checkpoint already follows."""
        if self._swapped:
            self._swap_models(pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

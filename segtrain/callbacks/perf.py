"""Speed of the training loop: images per second, and the share of the time spent waiting for data."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Speed(Callback):
    """Logs perf/images_per_s and perf/data_wait (in [0, 1]) of each epoch's training part.

    Attributes:
        images: trained on in this session, all processes together.
        seconds: spent training in this session, without validation.
    """

    def __init__(self) -> None:
        self.images, self.seconds, self.epoch_seconds = 0, 0.0, 1e-9
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._started = self._ready_at = time.perf_counter()
        self._waited, self._epoch_images = 0.0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; an epoch that is continued in its middle has no start of its own."""
        self._begin_epoch()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._begin_epoch()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The time since the last step ended was spent waiting for this batch."""
        self._waited += time.perf_counter() - self._ready_at

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count; the epoch's last batch ends the measurement, before validation."""
        self._ready_at = time.perf_counter()
        self._epoch_images += len(batch["id"]) * trainer.world_size
        if trainer.is_last_batch:
            self._finish()

    def _finish(self) -> None:
        self.images += self._epoch_images
        self.epoch_seconds = max(self._ready_at - self._started, 1e-9)
        self.seconds += self.epoch_seconds

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's figures."""
        pl_module.log("perf/images_per_s", self._epoch_images / self.epoch_seconds)
        pl_module.log("perf/data_wait", self._waited / self.epoch_seconds)

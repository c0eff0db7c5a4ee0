"""Speed of the training loop: images per second, and the share of the time spent waiting for data."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Speed(Callback):
    """Logs perf/images_per_s and perf/data_wait (in [0, 1]) of each epoch's training part.

    Its sums are kept in checkpoints: a run that was continued counts all sessions, each up to what is continued.

    Args:
        started: when this session began, by time.perf_counter().

    Attributes:
        images: trained on, all processes together.
        seconds: spent training, without validation.
    """

    def __init__(self, started: float) -> None:
        self.images, self.seconds, self.epoch_seconds = 0, 0.0, 1e-9
        self._session = started
        self._begin_epoch()

    def total_seconds(self) -> float:
        """From the start of each session to its end."""
        return time.perf_counter() - self._session

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, with those of the epoch that is being trained."""
        seconds = self.seconds + (self._ready_at - self._started if self._epoch_images else 0.0)
        epoch = {"rate": self._rate, "seconds": self.epoch_seconds, "waited": self._waited}
        sums = {"images": self.images + self._epoch_images, "seconds": seconds, "total": self.total_seconds()}
        return sums | {"epoch": epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.images, self.seconds = int(state_dict["images"]), float(state_dict["seconds"])
        self._session -= float(state_dict["total"])
        epoch = {key: float(value) for key, value in state_dict.get("epoch", {"rate": 0}).items()}
        if epoch["rate"]:  # saved between the last step of an epoch and its report
            self._rate, self.epoch_seconds, self._waited = epoch["rate"], epoch["seconds"], epoch["waited"]

    def _begin_epoch(self) -> None:
        self._started = self._ready_at = time.perf_counter()
        self._waited, self._epoch_images, self._rate = 0.0, 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; an epoch that is continued in its middle has no start of its own."""
        if not self._rate:
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
        self._rate, self._epoch_images = self._epoch_images / self.epoch_seconds, 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's figures."""
        pl_module.log("perf/images_per_s", self._rate, logger=False)
        pl_module.log("perf/data_wait", self._waited / self.epoch_seconds, logger=False)

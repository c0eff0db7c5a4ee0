"""Speed of the training loop: images per second, the share of the time that waits for data, memory, what limits it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from segtrain.loading import usable_cores

NO_CACHE = "none"
FEW = 10  # steps, of which no advice is given
WAITS = 0.15  # share of the time from which on waiting is what to change
VALIDATES = 0.35  # share of an epoch from which on it is said that validation may come less often
ROOM = 0.5  # share of a GPU's memory


class Speed(Callback):
    """Logs perf/images_per_s, perf/data_wait (in [0, 1]) of each epoch's training part, and perf/memory_gib, its peak.

    Once, behind the first epoch that is as the others will be, it says what takes the time and what would change that.

    Its sums are kept in checkpoints: a run that was continued counts all sessions, each up to what is continued.

    Args:
        started: when this session began, by time.perf_counter().
        say: prints a line.
        cache: "none", or where decoded images are kept: the first epoch then fills it, and is not as the others. None:
            the data cannot be cached.

    Attributes:
        images: trained on, all processes together.
        seconds: spent training, without validation.
    """

    def __init__(self, started: float, say: Callable[[str], None], cache: str | None = None) -> None:
        self.say, self.cache, self._epochs, self._fresh = say, cache, 0, True
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
        self._validating, self._validated = 0.0, 0.0
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
        if self._fresh and pl_module.training_net and not trainer.is_last_batch:
            self._begin_epoch()  # with the step behind the one in which the net was compiled
        else:
            self._ready_at = time.perf_counter()
            self._epoch_images += len(batch["id"]) * trainer.world_size
        self._fresh = False
        if trainer.is_last_batch:
            self._finish()

    def _finish(self) -> None:
        self.images += self._epoch_images
        self.epoch_seconds = max(self._ready_at - self._started, 1e-9)
        self.seconds += self.epoch_seconds
        self._rate, self._epoch_images = self._epoch_images / self.epoch_seconds, 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._validating = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop it."""
        self._validated += time.perf_counter() - self._validating

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's figures."""
        pl_module.log("perf/images_per_s", self._rate, logger=False)
        waited, memory = self._waited / self.epoch_seconds, peak_memory(pl_module.device)
        pl_module.log("perf/data_wait", waited, logger=False)
        if memory is not None:
            pl_module.log("perf/memory_gib", memory, logger=False)
        self._epochs += 1
        filled = 1 if self.cache in (None, NO_CACHE) or trainer.max_epochs == 1 else 2
        if self._epochs == filled:
            workers = int(trainer.datamodule.workers)  # type: ignore[attr-defined]
            free = None if memory is None else free_share(pl_module.device, memory)
            said = bottleneck(waited, trainer.num_training_batches, workers, self.cache, free)
            said += less_often(self._validated, self.epoch_seconds)
            self.say(f"speed  {self._rate:.3g} images a second; {said}")


def bottleneck(waited: float, steps: float, workers: int, cache: str | None, free: float | None) -> str:
    """What takes the time, and what to change.

    Args:
        waited: share of the time spent waiting for data, in [0, 1].
        steps: of the epoch.
        workers: loading processes.
        cache: where decoded images are kept, or "none"; None where that is not for this data.
        free: share of a GPU's memory that was never used; None on a CPU.
    """
    said = f"{waited:.0%} of the time went into waiting for data"
    if steps < FEW:
        return f"{said}, in too few steps to tell what to change"
    if waited < WAITS:
        room = free is not None and free > ROOM
        return f"{said}: the net takes the rest" + (
            f", and {free:.0%} of its memory is free for a larger batch_size" if room else ""
        )
    remedies = ["data.cache=ram"] if cache == NO_CACHE else []
    more = 2 * max(workers, 1)
    remedies += [f"num_workers={more}"] if free is not None and more < usable_cores() else []
    return f"{said}: try {' or '.join([*remedies, 'an aug with fewer ops'])}"


def less_often(validated: float, trained: float) -> str:
    """What would make validation a smaller share of an epoch, where it is a large one; else nothing.

    Args:
        validated: seconds of an epoch that validation took.
        trained: those that training took.
    """
    share = validated / max(validated + trained, 1e-9)
    if share < VALIDATES:
        return ""
    return f"; validation takes {share:.0%} of an epoch: with passes=4 and a quarter of the epochs it comes less often"


def peak_memory(device: torch.device) -> float | None:
    """GiB that the device held at most (a CPU: this process), where that can be known."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**30
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        return None
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def free_share(device: torch.device, used: float) -> float | None:
    """Share of a GPU's memory beyond what was used; None for others.

    Args:
        device: of the training.
        used: GiB.
    """
    if device.type != "cuda":
        return None
    return 1 - used * 2**30 / float(torch.cuda.get_device_properties(device).total_memory)

"""`best.ckpt` by the monitored score and `last.ckpt` for continuing; two callbacks, since they are two jobs.

(Lightning's save_last=True writes `last` only when the best improves, and a rerun writes last-v1.ckpt.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch import Tensor
from torchmetrics import Metric

from segtrain import checks

BEST, LAST = "best.ckpt", "last.ckpt"
CLOCK_STEPS = 20  # processes agree about the time every so many steps, not at each


class KeepBest(ModelCheckpoint):
    """Keeps the checkpoint with the best monitored score, written at the end of its epoch.

    A score that is not a number is never the best: where it never is one, there is no best.ckpt.

    Args:
        folder: where best.ckpt goes.
        monitor: the score.
        mode: "max" or "min".
    """

    def __init__(self, folder: Path, monitor: str, mode: str) -> None:
        super().__init__(
            dirpath=folder,
            filename=Path(BEST).stem,
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        )
        self.path = str(Path(str(self.dirpath)) / BEST)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether the score is the best so far; Lightning would also keep a first epoch without one."""
        if current is not None and bool(torch.isnan(current)):
            return False
        return super().check_monitor_top_k(trainer, current)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score as that of this folder's best.ckpt, wherever the folder stood before.

        (Lightning forgets the score where the folder has moved, and the next epoch would be the best again.)
        """
        if not Path(self.path).is_file():
            return
        here: dict[str, Any] = {"dirpath": self.dirpath, "best_model_path": self.path, "kth_best_model_path": self.path}
        here["best_k_models"] = {self.path: state_dict["best_model_score"]}
        super().load_state_dict(state_dict | here)


class KeepLast(Checkpoint):
    """Writes `last.ckpt` at the end of each epoch, after its validation, and between by steps or minutes.

    Within an epoch it writes at optimizer steps only, and never at the epoch's last batch: resuming from there
    would skip the validation.

    Args:
        folder: where last.ckpt goes.
        every_steps: optimizer steps between two saves within an epoch; None for none.
        every_minutes: minutes after which the next step saves; None for never.

    Raises:
        UserError: a value out of range.
    """

    def __init__(self, folder: Path, every_steps: int | None = None, every_minutes: float | None = None) -> None:
        self.path = folder / LAST
        self.every_steps = None if every_steps is None else checks.whole("checkpoint.every_steps", every_steps, 1)
        minutes = None if every_minutes is None else checks.number("checkpoint.every_minutes", every_minutes, above=0)
        self.every_seconds = None if minutes is None else 60 * minutes
        self._saved_at = time.monotonic()
        self._validating = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at zero in all processes but the first, whose sums, where restored, are those of all."""
        if trainer.global_rank > 0:
            for module in pl_module.modules():
                if isinstance(module, Metric):
                    module.reset()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is due and the state is one that training can continue from."""
        if self.resumable(trainer, batch_idx) and self._due(trainer):
            self.save(trainer)

    def resumable(self, trainer: Trainer, batch_idx: int) -> bool:
        """Whether training could continue from the state behind this batch."""
        return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not trainer.is_last_batch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the finished epoch."""
        self.save(trainer)

    def _due(self, trainer: Trainer) -> bool:
        step = trainer.global_step
        if self.every_steps is not None and step % self.every_steps == 0:
            return True
        if self.every_seconds is None or (trainer.world_size > 1 and step % CLOCK_STEPS != 0):
            return False
        late = time.monotonic() - self._saved_at > self.every_seconds
        return bool(trainer.strategy.reduce_boolean_decision(late, all=False))

    def save(self, trainer: Trainer) -> None:
        """Write last.ckpt; all processes must call this."""
        with _summed(trainer):
            trainer.save_checkpoint(self.path)
        self._saved_at = time.monotonic()

    def save_before_validation(self, trainer: Trainer) -> None:
        """Write last.ckpt, within a validation, as a state that goes on with the whole of it."""
        self._validating = True
        self.save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Within a validation: count its first batch as begun and none as done.

        That is how Lightning knows a validation that was interrupted; one of which no batch has begun it would skip.
        """
        if self._validating:
            begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress = {"total": dict(begun), "current": dict(begun), "is_last_batch": False}
            checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"] = progress


@contextmanager
def _summed(trainer: Trainer) -> Iterator[None]:
    """The sums of an epoch over all processes, since the file is written by the first."""
    sums = [module for module in trainer.lightning_module.modules() if isinstance(module, Metric)]
    for each in sums if trainer.world_size > 1 else ():
        each.sync()
    try:
        yield
    finally:
        for each in sums if trainer.world_size > 1 else ():
            each.unsync()

"""What ends a training before its last epoch: a score that no longer improves, or a signal."""

from __future__ import annotations

import signal
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from segtrain.callbacks.checkpoints import CLOCK_STEPS, KeepLast
from segtrain.signals import Signals, Stopped


class EarlyStop(EarlyStopping):
    """Lightning's, but a run that goes on has the patience it is given now, not the one it began with."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore all but the patience."""
        super().load_state_dict(state_dict | {"patience": self.patience})


class StopSignal(Callback):
    """At a signal: saves behind the step that is being made, or before the validation that is, and ends the run.

    Signals are looked at between batches, never in their handler, which may come in the middle of a save. (Lightning's
    handler saves nothing and, with several processes, waits for the others within.)

    Args:
        last: saves the state to continue from.
        signals: tell whether the run shall end.
    """

    def __init__(self, last: KeepLast, signals: Signals) -> None:
        self.last, self.signals = last, signals
        self._common = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over."""
        self.signals.install()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and end, where the state is one that training can continue from."""
        if not self.signals.received and trainer.world_size == 1:
            return
        if trainer.world_size > 1 and trainer.global_step % CLOCK_STEPS != 0:
            return
        if self.last.resumable(trainer, batch_idx) and self._agreed(trainer):
            self.last.save(trainer)
            self._end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save and end before the validation; see how many batches each process has at least."""
        batches = torch.tensor(float(sum(trainer.num_val_batches)), device=pl_module.device)
        self._common = int(trainer.strategy.reduce(batches, reduce_op="min"))
        self._end_validation(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Save and end; the validation is made anew when the run goes on."""
        if trainer.world_size == 1 or ((batch_idx + 1) % CLOCK_STEPS == 0 and batch_idx < self._common):
            self._end_validation(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End here, behind the epoch that has been saved."""
        if self._agreed(trainer):
            self._end()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End before the test, which a signal ends at once."""
        if self._agreed(trainer):
            self._end()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over."""
        self.signals.install()

    def _end_validation(self, trainer: Trainer) -> None:
        if self._agreed(trainer):
            self.last.save_before_validation(trainer)
            self._end()

    def _agreed(self, trainer: Trainer) -> bool:
        """Whether any of the processes was told to end; all must ask at the same step."""
        return bool(trainer.strategy.reduce_boolean_decision(bool(self.signals.received), all=False))

    def _end(self) -> None:
        raise Stopped(self.signals.received or signal.SIGTERM)  # 0: another process was asked

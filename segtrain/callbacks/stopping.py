"""What ends a training before its last epoch: a score that no longer improves, or a request of the system."""

from __future__ import annotations

import signal
import threading
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException

from segtrain.callbacks.checkpoints import CLOCK_STEPS, KeepLast


class EarlyStop(EarlyStopping):
    """Lightning's, but a run that goes on has the patience it is given now, not the one it began with."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore all but the patience."""
        super().load_state_dict(state_dict | {"patience": self.patience})


class StopSignal(Callback):
    """At SIGTERM: saves after the step that is being made and ends the training.

    It takes the place of Lightning's handler, which saves nothing and, with several processes, waits for the others
    inside the handler. During validation the signal waits for the next epoch.

    Args:
        last: saves the state to continue from.

    Attributes:
        received: whether the signal has come.
    """

    def __init__(self, last: KeepLast) -> None:
        self.last = last
        self.received = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over; Lightning gives the signal back to its former owner when the training ends."""
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        self.received = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and end, where the state is one that training can continue from."""
        if trainer.world_size > 1 and trainer.global_step % CLOCK_STEPS != 0:
            return
        if self.last.resumable(trainer, batch_idx) and self._agreed(trainer):
            self.last.save(trainer)
            raise SIGTERMException

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End here, behind the epoch that has been saved."""
        if self._agreed(trainer):
            raise SIGTERMException

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End before the test."""
        if self._agreed(trainer):
            raise SIGTERMException

    def _agreed(self, trainer: Trainer) -> bool:
        """Whether any of the processes was told to end; all must ask at the same step."""
        return bool(trainer.strategy.reduce_boolean_decision(self.received, all=False))

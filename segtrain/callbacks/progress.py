"""A bar within the epoch, on a terminal; it never asks the device for a value."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class StepBar(Callback):
    """Shows how far the epoch is; draws itself four times a second, whatever the steps take.

    Args:
        console: where to draw; nothing is drawn where it is not a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar; the epoch's first step shows it and its last one takes it away."""
        if not self.console.is_terminal or not trainer.is_global_zero:
            return
        if self._bar is None:
            self._start(trainer)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=batch_idx + 1)
        if trainer.is_last_batch:
            self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal in order."""
        self._stop()

    def _start(self, trainer: Trainer) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        self._bar = Progress(
            *columns, TimeRemainingColumn(), console=self.console, transient=True, refresh_per_second=4
        )
        self._task = self._bar.add_task(f"epoch {trainer.current_epoch + 1}", total=trainer.num_training_batches)
        self._bar.start()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

"""After each epoch: one line on the terminal, one row in `metrics.csv`, one point on each curve of the loggers."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from segtrain.errors import UserError
from segtrain.runs import write_text

SHOWN = ("train/loss", "val/loss", "val/iou", "val/dice")
FIRST = ["epoch", "step"]

Row = dict[str, str]


class EpochReport(Checkpoint):
    """Reports an epoch once all of its values are known, and before it is saved: no saved epoch lacks its row.

    (Lightning gives the values to the loggers only after the callbacks, and those keep them for a while: a kill would
    leave a gap in the curves. So all is logged with logger=False, and written here.)

    (A Checkpoint, because Lightning calls these behind the module, which logs its losses in on_train_epoch_end; it
    must stand before the callbacks that save.)

    Args:
        say: prints a line.
        path: of the csv file.
        monitor: the score that decides which checkpoint is best; a star marks a new best.
        mode: "max" or "min".
    """

    def __init__(self, say: Callable[[str], None], path: Path, monitor: str, mode: str) -> None:
        self.say, self.path = say, path
        self.monitor, self.sign = monitor, (1 if mode == "max" else -1)
        self._best = -math.inf
        self._started = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the rows that training will write again."""
        kept = [row for row in read_rows(self.path) if int(row["epoch"]) <= trainer.current_epoch]
        if trainer.is_global_zero and kept:
            write_rows(self.path, kept)
        scores = [float(row[self.monitor]) for row in kept if row.get(self.monitor)]
        self._best = max((self.sign * s for s in scores if not math.isnan(s)), default=-math.inf)
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch."""
        if not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch + 1
        values = {key: float(value) for key, value in sorted(trainer.callback_metrics.items())}
        row = {"epoch": str(epoch), "step": str(trainer.global_step)}
        row |= {key: _written(value) for key, value in values.items()}
        write_rows(self.path, [*(r for r in read_rows(self.path) if r["epoch"] != row["epoch"]), row])
        for logger in trainer.loggers:
            logger.log_metrics(values, last_step(trainer))
            logger.save()
        self.say(self._line(epoch, trainer.max_epochs, values))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the test's scores to the loggers."""
        scores = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test")}
        for logger in trainer.loggers:
            logger.log_metrics(scores, trainer.global_step)
            logger.save()

    def _line(self, epoch: int, epochs: int | None, values: dict[str, float]) -> str:
        shown = dict.fromkeys((*SHOWN, self.monitor))
        parts = "  ".join(f"{key} {values[key]:.4f}" for key in shown if key in values)
        score = self.sign * float(_written(values.get(self.monitor, math.nan)))  # as it is read from the table
        star = " *" if score > self._best else ""
        self._best = max(self._best, score) if star else self._best
        return f"epoch {epoch:{len(str(epochs))}}/{epochs}  {parts}  {time.monotonic() - self._started:.1f} s{star}"


def last_step(trainer: Trainer) -> int:
    """Number of the last optimizer step, counted from 0: where an epoch's values stand in TensorBoard.

    A run that is continued behind the epoch makes all void that stands at later steps.
    """
    return max(0, trainer.global_step - 1)


def _written(value: float) -> str:
    return f"{value:.8g}"


def read_rows(path: Path) -> list[Row]:
    """The rows of a csv file; none where it is missing.

    Raises:
        UserError: it is damaged.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            _ = int(row["epoch"]), [float(value) for value in row.values() if value]
    except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path}: damaged, not a table of epochs and scores ({error}); restore it, or remove it to go on without it"
        ) from error
    return rows


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write the table whole."""
    columns = FIRST + sorted({key for row in rows for key in row} - set(FIRST))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())

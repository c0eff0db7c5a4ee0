"""TensorBoard beyond scalars: the "Compare losses" layout, hyper-parameters without false points, texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

# Loss values of different losses must not be compared; these can be.
LAYOUT = {
    "Compare losses": {
        "IoU": ["Multiline", ["val/iou"]],
        "Dice": ["Multiline", ["val/dice"]],
        "IoU per image": ["Multiline", ["val_image/iou"]],
        "Precision": ["Multiline", ["val/precision"]],
        "Recall": ["Multiline", ["val/recall"]],
        "NLL": ["Multiline", ["val_probe/nll"]],
        "ECE": ["Multiline", ["val_probe/ece"]],
    }
}


class EventFile(TensorBoardLogger):
    """One event file in the run's own folder, without what Lightning adds to it.

    Args:
        folder: of the run.
        purge_step: the step from which earlier events in the folder are void.
    """

    def __init__(self, folder: Path, purge_step: int = 0) -> None:
        super().__init__(str(folder), name="", version="", default_hp_metric=False, purge_step=purge_step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars, but not NaN (a class that does not occur) nor "epoch", which would be the first chart."""
        shown = {tag: value for tag, value in metrics.items() if tag != "epoch" and not math.isnan(value)}
        super().log_metrics(shown, step)

    def save(self) -> None:
        """Flush; Lightning's own also writes an empty hparams.yaml."""
        self.experiment.flush()

    def finalize(self, status: str) -> None:
        """Flush: training is followed by the test, and a closed writer would begin a second file."""
        self.experiment.flush()


def describe_run(logger: TensorBoardLogger, texts: Mapping[str, str]) -> None:
    """At the start: the layout and what is being run, as texts."""
    writer: SummaryWriter = logger.experiment
    writer.add_custom_scalars(LAYOUT)
    for tag, text in texts.items():
        writer.add_text(tag, "    " + text.replace("\n", "\n    "), 0)  # four spaces: shown as code


def record_result(
    logger: TensorBoardLogger, choices: Mapping[str, str | int | float], scores: Mapping[str, float], step: int
) -> None:
    """At the end: the best scores as val_best/*, and the run as one row of the HParams table.

    Written directly: Lightning's log_hyperparams adds a false 0 at step 0 to each score.
    """
    writer: Any = logger.experiment
    for tag, value in scores.items():
        writer.add_scalar(tag, value, step)
    file_writer = writer._get_file_writer()
    for summary in hparams(dict(choices), dict.fromkeys(scores, 0.0)):  # type: ignore[no-untyped-call]
        file_writer.add_summary(summary)
    writer.close()

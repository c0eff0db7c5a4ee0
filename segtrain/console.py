"""What a run says: lines to the terminal and to train.log, tables, and silence about what is known."""

from __future__ import annotations

import io
import logging
import math
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from segtrain.task import Task

log = logging.getLogger("segtrain")

KNOWN_WARNINGS = (
    "The '.*_dataloader' does not have many workers",  # chosen by num_workers
    "You're resuming from a checkpoint that ended before the epoch ended",  # our sampler can
    "The number of training batches",  # the running mean is logged at the end of each epoch all the same
    "Checkpoint directory .* exists and is not empty",  # when a run is continued
    "It is recommended to use .*sync_dist",  # values come from torchmetrics objects, which are exact already
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # within Lightning
    "Trying to infer the `batch_size`",  # epoch values are logged once, so no batch weighs in
    "The ``compute`` method of metric MeanMetric was called before",  # resumed behind an epoch's last step
)


def set_up_logging() -> None:
    """Lines of segtrain go to the terminal as they are; Lightning speaks only of what is wrong."""
    if not log.handlers:
        handler = _TerminalHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO if getattr(rank_zero_only, "rank", 0) == 0 else logging.WARNING)
    log.propagate = False
    for name in ("lightning.pytorch", "lightning.fabric", "lightning_fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message)


class _TerminalHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever sys.stdout is now: notebooks and tests replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def log_to(path: Path) -> logging.Handler:
    """Also write all lines to a file; returns the handler to remove again."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    return handler


def score_table(scores: Mapping[str, float], stage: str, task: Task, title: str) -> str:
    """Scores per class and their means as a text table.

    Args:
        scores: by tag, such as test/iou and test_class/iou_car.
        stage: val or test.
        task: names the classes.
        title: printed above.
    """
    table = Table()
    table.add_column("class")
    for heading in ("IoU", "Dice"):
        table.add_column(heading, justify="right")
    for name in task.names:
        table.add_row(name, *(_cell(scores.get(f"{stage}_class/{s}_{name}")) for s in ("iou", "dice")))
    table.add_section()
    for name, group in (("mean", stage), ("mean over images", f"{stage}_image")):
        table.add_row(name, *(_cell(scores.get(f"{group}/{s}")) for s in ("iou", "dice")))
    text = io.StringIO()
    Console(file=text, width=100, color_system=None).print(table)
    others = "  ".join(f"{name} {_cell(scores.get(f'{stage}/{name}'))}" for name in ("precision", "recall", "accuracy"))
    return f"{title}\n{text.getvalue()}{others}"


def _cell(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"

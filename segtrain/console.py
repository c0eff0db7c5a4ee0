"""What a run says: lines to the terminal and to train.log, tables, and silence about what is known."""

from __future__ import annotations

import io
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from segtrain.secrets import hidden
from segtrain.task import Task

log = logging.getLogger("segtrain")

LONGEST_SHOWN = 40  # characters of a class's name in a list
SURFACES = (("boundary IoU", "boundary_iou"), ("HD95 px", "hd95"), ("ASD px", "asd"))

KNOWN_WARNINGS = (
    ".* does not have a deterministic implementation",  # of deterministic=warn, which has listed them at the start
    "The '.*_dataloader' does not have many workers",  # chosen by num_workers
    "You're resuming from a checkpoint that ended before the epoch ended",  # our sampler can
    "The number of training batches",  # the running mean is logged at the end of each epoch all the same
    "Checkpoint directory .* exists and is not empty",  # when a run is continued
    "It is recommended to use .*sync_dist",  # values come from torchmetrics objects, which are exact already
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # within Lightning
    "Trying to infer the `batch_size`",  # epoch values are logged once, so no batch weighs in
    "The ``compute`` method of metric (Mean|SeenClasses) was called before",  # resumed behind an epoch's last step
)


def set_up_logging(rank: int = 0) -> None:
    """Lines of segtrain go to the terminal as they are; Lightning speaks only of what is wrong.

    Args:
        rank: of this process; only the first tells more than what is wrong.
    """
    log.addFilter(_without_secrets)  # a second time it changes nothing
    if not log.handlers:
        handler = _TerminalHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    log.propagate = False
    for name in ("lightning.pytorch", "lightning.fabric", "lightning_fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("PIL", "tifffile"):  # what they find wrong in a file is an exception too
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message)
    warnings.formatwarning = _warning_in_words


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = hidden(record.getMessage()), None
    return True


_pythons_own = warnings.formatwarning


def _warning_in_words(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Warnings of segtrain as a sentence; others as Python writes them, with file and line."""
    ours = category is UserWarning and Path(filename).is_relative_to(Path(__file__).parent)
    return hidden(f"warning: {message}\n" if ours else _pythons_own(message, category, filename, lineno, line))


class _TerminalHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever sys.stdout is now: notebooks and tests replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Where the reader of our output has gone (`| head`), the run goes on, with its log as a file."""
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            super().handleError(record)


class _LogFile(logging.FileHandler):
    """Says nothing of a disk that is full: the run ends because of it, and says so once."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def log_to(path: Path) -> logging.Handler:
    """Also write all lines to a file; returns the handler to remove again."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    return handler


@contextmanager
def progress_bars() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Bars on a terminal, one for each thing that takes time; elsewhere a line when it is done.

    Yields:
        A function that takes what is done and gives one that is told (done, in all).
    """
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bars:

        def begin(what: str) -> Callable[[int, int], None]:
            task, started = bars.add_task(what, total=None), time.perf_counter()

            def tell(done: int, whole: int) -> None:
                bars.update(task, completed=done, total=whole)
                if done == whole and not console.is_terminal:
                    log.info(f"looked through {whole} {what} in {time.perf_counter() - started:.1f} s")

            return tell

        yield begin


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first few of names that can be a thousand, and how many there are."""
    shown = ", ".join(name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}..." for name in names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


def score_table(scores: Mapping[str, float], stage: str, task: Task, title: str) -> str:
    """Scores per class and their means as a text table.

    Args:
        scores: by tag, such as test/iou and test_class/iou_car.
        stage: val or test.
        task: names the classes.
        title: printed above.
    """
    columns = [(head, f"{stage}_class", f"{stage}_image", name) for head, name in (("IoU", "iou"), ("Dice", "dice"))]
    if f"{stage}_surface/hd95" in scores:  # of evaluate
        columns += [(head, f"{stage}_surface", f"{stage}_surface", name) for head, name in SURFACES]
    table = Table()
    table.add_column("class")
    for heading, *_ in columns:
        table.add_column(heading, justify="right")
    for label in task.names:
        table.add_row(label, *(_cell(scores.get(f"{group}/{name}_{label}")) for _, group, _, name in columns))
    table.add_section()
    table.add_row("mean", *(_cell(scores.get(f"{stage}/{name}")) for *_, name in columns))
    table.add_row("mean over images", *(_cell(scores.get(f"{group}/{name}")) for _, _, group, name in columns))
    text = io.StringIO()
    Console(file=text, width=100, color_system=None).print(table)
    others = [(name, f"{stage}/{name}") for name in ("precision", "recall", "accuracy")]
    others += [(name.upper(), f"{stage}_probe/{name}") for name in ("nll", "ece")]
    line = "  ".join(f"{name} {_cell(scores.get(tag))}" for name, tag in others)
    return f"{title}\n{text.getvalue()}{line}"


def _cell(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"

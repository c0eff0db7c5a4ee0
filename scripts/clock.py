"""When steps end: of loops that call `note`, and of trainings that have the callback `Clock` or `Turns`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback

ends: list[float] = []
between: list[Callable[[], object]] = []  # what Turns does behind each step


def note(now: Callable[[], float] = time.perf_counter) -> None:
    """The end of a step, of a GPU too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    ends.append(now())


def steps(block: Callable[[], object], skip: int) -> list[float]:
    """Seconds of each step of a block, behind the first few."""
    ends.clear()
    block()
    return [after - before for before, after in itertools.pairwise(ends)][skip:]


class Clock(Callback):
    """Notes when each training step ended.

    Args:
        now: the time, in seconds; time.process_time counts that of this process alone.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now

    def on_train_batch_end(self, *_: Any) -> None:
        """Behind all others."""
        note(self.now)


class Turns(Callback):
    """Behind each training step makes another kind of step, so that both meet the machine as busy as it is just then.

    Notes when a step begins, when it ended, and when the other has: three times a step.
    """

    def on_train_start(self, *_: Any) -> None:
        """Of the first step."""
        note()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Validation is of no step."""
        ends[-1] = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Behind all others."""
        note()
        for step in between:
            step()
        note()


def turns(block: Callable[[], object], other: Callable[[], object], skip: int) -> list[tuple[float, float]]:
    """Seconds of each step of a training that has Turns, and of the other that was made behind it.

    Args:
        block: trains.
        other: makes a step of another kind.
        skip: steps at the beginning that do not count.
    """
    ends.clear()
    between[:] = [other]
    block()
    between.clear()
    lasting = [after - before for before, after in itertools.pairwise(ends)]
    return list(zip(lasting[::2], lasting[1::2], strict=True))[skip:]


class EpochClock(Callback):
    """Notes the CPU time of this process when training begins, and when each epoch has been validated."""

    def on_train_start(self, *_: Any) -> None:
        """Ahead of the first epoch."""
        ends.append(time.process_time())

    def on_train_epoch_end(self, *_: Any) -> None:
        """Behind its validation."""
        ends.append(time.process_time())

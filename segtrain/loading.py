"""How many loading processes: tried out for a few seconds before a training on a GPU, none on a CPU.

On a CPU the training itself uses all cores, and a loading process without a core of its own costs a quarter of the
speed (docs/benchmarks.md). On a GPU one core feeds the device; how many of the others are worth using depends on
decoder, augmentation and cache, so it is measured on the data itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from segtrain.signals import held_back, ignore_signals

MOST = 8  # loading processes: beyond that the main process, which collects the batches, is the limit
SECONDS = 0.7  # of each trial, after its first batch
GAIN = 1.1  # times as fast as before, or more processes are not worth it
# of what a loading process does when a sample takes too long: it is ended by the system, wherever it stands
ALARM = getattr(signal, "SIGALRM", None)
CONTAINER = Path("/sys/fs/cgroup/cpu.max")
Load = Callable[[int], Iterable[Any]]
Rate = Callable[[Iterator[Any]], float]


def candidates(cores: int) -> list[int]:
    """Numbers of loading processes that are tried: 0, 1, 2, 4, 8, one core left to the main process."""
    return [number for number in (0, 1, 2, 4, MOST) if number < cores]


def usable_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine's."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, quota(CONTAINER) or cores)


def quota(path: Path) -> int | None:
    """Cores that a container is given by time, such as by `docker run --cpus`; None: no limit, or another system.

    Args:
        path: cgroup's cpu.max: microseconds of computing, or "max", and the period that they are for.
    """
    try:
        most, period = path.read_text().split()
        return max(1, int(most) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None


def batches_per_second(batches: Iterator[Any], seconds: float = SECONDS) -> float:
    """How fast batches come, from the first one on; endless where none comes after it."""
    next(batches, None)
    started, number = time.perf_counter(), 0
    for _ in batches:
        number += 1
        if time.perf_counter() - started > seconds:
            break
    return number / max(time.perf_counter() - started, 1e-9) if number else float("inf")


def choose_workers(load: Load, cores: int, rate: Rate = batches_per_second) -> tuple[int, str]:
    """Try more and more loading processes as long as they are worth it.

    Args:
        load: makes the batches with so many loading processes.
        cores: that may be used.
        rate: measures how many batches a second come.

    Returns:
        The number, and what was measured, in words.
    """
    speeds: dict[int, float] = {}
    best = 0
    for number in candidates(cores):
        speeds[number] = rate(iter(load(number)))
        if number and speeds[number] < GAIN * speeds[best]:
            break
        best = number
    tried = ", ".join(f"{speed:.3g} with {number}" for number, speed in speeds.items())
    return best, f"{best} loading processes (batches a second: {tried})"


class Loader(DataLoader[Any]):
    """torch's, but no signal to the whole group ends a loading process, not even while it starts."""

    def __iter__(self) -> Any:
        with held_back():  # torch gives each process a handler that ends it, before start_worker is called
            return super().__iter__()


class Watched(Dataset[Any]):
    """A data set whose loading process ends where a sample takes too long, as behind a disk that hangs.

    The system ends it by SIGALRM, also within a decoder; the training process sees that within seconds. (A DataLoader
    with a timeout of its own looks for processes that were killed only when that is over.)

    Args:
        dataset: what is loaded.
        seconds: that a sample may take.
    """

    def __init__(self, dataset: Any, seconds: float) -> None:
        self.dataset, self.seconds = dataset, seconds

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Any) -> Any:
        if ALARM is None:  # Windows
            return self.dataset[key]
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        try:
            return self.dataset[key]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def start_worker(worker: int) -> None:
    """In a loading process: signals to the whole group are not for it, its alarm is."""
    ignore_signals()
    if ALARM is not None:
        signal.signal(ALARM, signal.SIG_DFL)

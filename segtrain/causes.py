"""What made a training fail, where torch or a loading process says it in other words than a user needs."""

from __future__ import annotations

import errno
import multiprocessing
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

import torch
from lightning.pytorch import Trainer

from segtrain.errors import UserError
from segtrain.signals import interruption

MEMORY = re.compile(r"out of memory|can't allocate memory|Cannot allocate memory|CUBLAS_STATUS_ALLOC_FAILED", re.I)
KILLED = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: (\w+)|exited unexpectedly)")
IN_WORKER = re.compile(r"^Caught \w+ in DataLoader worker process")
COMPILER = ("torch._dynamo", "torch._inductor")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
INTACT = "the checkpoints are intact, and resume=latest goes on from the last one"


@contextmanager
def failures_in_words(trainer: Trainer, doing: str) -> Iterator[None]:
    """Say in one sentence what failed, and leave no process behind.

    Args:
        trainer: that trains or tests.
        doing: "train", or the split that is scored.

    Raises:
        UserError: memory has run out, or a loading process was killed, raised or hung.
    """
    before = multiprocessing.active_children()  # those of whoever calls this, such as a pool
    try:
        yield
    except BaseException as error:
        _end_other_processes(trainer, before)
        if (stopped := interruption(error)) is not None:
            raise stopped from None
        if isinstance(error, Exception) and (sentence := explain(error, doing, trainer.global_step)):
            raise UserError(sentence) from error
        raise


def _end_other_processes(trainer: Trainer, before: Sequence[BaseProcess]) -> None:
    """Loading processes that did not end by themselves, as one that hangs; the processes that Lightning started."""
    for process in multiprocessing.active_children():
        if process not in before:
            process.kill()
    launcher = trainer.strategy.launcher
    if launcher is not None and trainer.global_rank == 0:
        launcher.kill(signal.SIGKILL)


def explain(error: Exception, doing: str, step: int) -> str:
    """What failed and what to do about it, in one sentence; empty where the error speaks for itself.

    Args:
        error: as it was raised.
        doing: "train", or the split that is scored.
        step: optimizer steps made so far.
    """
    said = str(error)
    while IN_WORKER.match(said):  # the last lines of its traceback are what it raised
        kind, said = _raised(said)
        if kind == UserError.__name__ and not IN_WORKER.match(said):
            return said
        if not IN_WORKER.match(said) and not MEMORY.search(said):
            return f"a loading process failed with {kind}: {said} (--traceback shows where)"
    where = f"in step {step}" if doing == "train" else f"while scoring the {doing} split"
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or MEMORY.search(said):
        remedy = (
            "lower batch_size (with trainer.accumulate raised as much, the same is trained) or crop, choose a smaller "
            "model or trainer.precision=bf16-mixed"
            if doing == "train"
            else "lower tile or batch_size"
        )
        return f"memory ran out {where}: {remedy}; {INTACT}"
    killed = KILLED.search(str(error.__cause__)) or KILLED.search(said)  # the cause tells the signal
    if killed and killed[2] == "Alarm":
        return (
            f"a loading process took longer than worker_timeout for a sample {where}: the disk or a decoder hangs; "
            f"look at the images, raise worker_timeout, or load with num_workers=0; {INTACT}"
        )
    if killed:
        how = f"by {killed[2]}" if killed[2] else "from outside"
        return (
            f"a loading process (pid {killed[1]}) was killed {how} {where}, most often because memory or /dev/shm is "
            f"full: lower num_workers or data.cache_gb; {INTACT}"
        )
    if type(error).__module__.startswith(COMPILER):
        return f"torch cannot compile this net {where} ({said.strip().splitlines()[0]}): set compile=false; {INTACT}"
    if isinstance(error, OSError) and error.errno in FULL:
        return f"{error.filename or 'the run folder'} cannot be written {where} ({error.strerror}): make room; {INTACT}"
    return ""


def _raised(traceback: str) -> tuple[str, str]:
    """(class, message) of the error at the end of a traceback."""
    last = list(re.finditer(r"^([\w.]+): ", traceback, re.M))[-1:]
    if not last:
        return "an error", " ".join(traceback.split())[-200:]
    return last[0][1].rpartition(".")[2], " ".join(traceback[last[0].end() :].split())

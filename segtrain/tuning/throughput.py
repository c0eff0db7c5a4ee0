"""batch_size=auto: steps of more and more images are timed, until they no longer train more images a second.

Larger batches keep a device busier, up to where it is; from there on they take memory alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segtrain.causes import MEMORY
from segtrain.errors import UserError

MOST = 256  # images
GAIN = 1.05  # times as many images a second, or a larger batch is not worth it
PATIENCE = 2  # sizes in a row that are not worth it
SECONDS, LEAST = 0.5, 3  # of each trial, and steps, behind its first one
SHARE = 0.8  # of the free memory of a CPU
BACKWARD = 2  # gradients take at most as much memory as what is kept for them
LIMITS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"  # of a container


class NoRoomError(Exception):
    """A step of this size would take more memory than is free."""


def batch_sizes(least: int, images: int) -> list[int]:
    """Powers of two from `least` on, none larger than the number of training images, unless there is no other."""
    tried = [size for size in (2**power for power in range(MOST.bit_length())) if least <= size <= min(images, MOST)]
    return tried or [min(least, images)]


def choose_batch(sizes: list[int], rate: Callable[[int], float]) -> tuple[int, dict[int, float]]:
    """The smallest batch that trains nearly as many images a second as the best one.

    Args:
        sizes: that may be tried, rising.
        rate: images a second with a size; raises NoRoomError or what torch says where memory is too small.

    Returns:
        The size, and what was measured.

    Raises:
        UserError: there is no room for the smallest.
    """
    speeds: dict[int, float] = {}
    for size in sizes:
        best, tried = max(speeds.values(), default=0.0), list(speeds.values())
        if len(tried) > PATIENCE and all(speed < GAIN * max(tried[:-PATIENCE]) for speed in tried[-PATIENCE:]):
            break
        try:
            speeds[size] = rate(size)
        except (NoRoomError, RuntimeError) as error:
            if not isinstance(error, (NoRoomError, torch.OutOfMemoryError)) and not MEMORY.search(str(error)):
                raise
            break
    if not speeds:
        raise UserError(
            f"batch_size=auto: memory does not suffice for a step of {sizes[0]} images; lower crop or choose a smaller "
            "model"
        )
    best = max(speeds.values())
    return next(size for size, speed in speeds.items() if GAIN * speed >= best), speeds


def timed(step: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the fastest of some steps, behind a first one; the others met what else the machine does.

    Args:
        step: what is timed.
        device: that makes it.
    """
    step()
    started, fastest, number = time.perf_counter(), math.inf, 0
    while number < LEAST or time.perf_counter() - started < SECONDS:
        _wait(device)
        begun = time.perf_counter()
        step()
        _wait(device)
        fastest, number = min(fastest, time.perf_counter() - begun), number + 1
    return fastest


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def kept_bytes(forward: Callable[[], Any]) -> int:
    """Bytes that a forward pass keeps for the backward pass, each tensor counted once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(kept.values())


def free_memory() -> float:
    """Bytes of the CPU's memory that this process may still take; endless where that is not known."""
    return min(_limits(), default=math.inf)


def _limits() -> Iterator[float]:
    information = Path("/proc/meminfo")
    for line in information.read_text().splitlines() if information.is_file() else ():
        if line.startswith("MemAvailable:"):
            yield 1024.0 * int(line.split()[1])
    most, used = map(Path, LIMITS)
    if most.is_file() and used.is_file() and most.read_text().strip() != "max":
        yield float(int(most.read_text()) - int(used.read_text()))

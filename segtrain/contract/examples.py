"""Small logits and targets of each mode: what losses are tried on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segtrain.task import ClassStats, Task

TASKS = {
    "binary": Task(mode="binary"),
    "multiclass": Task(mode="multiclass", num_classes=4),
    "multilabel": Task(mode="multilabel", num_classes=3),
}
STATS = {
    "binary": ClassStats(positives=[60], valid=[1000], present=[800], images=10),
    "multiclass": ClassStats(positives=[600, 250, 100, 50], valid=[1000] * 4, present=[1000, 900, 500, 200], images=10),
    "multilabel": ClassStats(positives=[400, 90, 200], valid=[1000, 900, 800], present=[900, 300, 500], images=10),
}
SIZE = (3, 5, 6)  # N, H, W
SMALL = (2, 2, 3)
TARGETS = ("random", "empty", "full", "ignored")
HALVES = (torch.float16, torch.bfloat16)
FLOATS = (torch.float32, *HALVES)


class Example(NamedTuple):
    """One input of a loss.

    logits: [N, C, H, W].
    target: ids, as the task says.
    """

    logits: Tensor
    target: Tensor


def generator(seed: int) -> torch.Generator:
    """Random numbers that do not depend on what ran before."""
    return torch.Generator().manual_seed(seed)


def make_logits(task: Task, size: Sequence[int] = SIZE, scale: float = 2.0, seed: int = 0) -> Tensor:
    """Normal logits [N, C, H, W], float32."""
    number, height, width = size
    return scale * torch.randn(number, task.num_classes, height, width, generator=generator(seed))


def make_target(
    task: Task, kind: str = "random", size: Sequence[int] = SIZE, ignored: float = 0.3, seed: int = 1
) -> Tensor:
    """Ids of the task, int64, a share of them ignored.

    Args:
        task: any mode.
        kind: "random"; "empty" (no foreground); "full" (foreground, or the last class, everywhere); "ignored" (all).
        size: N, H, W.
        ignored: share of ignored pixels.
        seed: of the ids and of what is ignored.
    """
    number, height, width = size
    shape = (number, task.num_classes, height, width) if task.mode == "multilabel" else (number, height, width)
    top = task.num_classes - 1 if task.exclusive else 1
    random = torch.randint(0, top + 1, shape, generator=generator(seed))
    ids = {"random": random, "empty": torch.zeros_like(random), "full": torch.full_like(random, top)}.get(kind, random)
    drop = torch.rand(shape, generator=generator(seed + 1)) < (1.0 if kind == "ignored" else ignored)
    return ids.masked_fill(drop, task.ignore_index)


def ignored_entries(target: Tensor, task: Task) -> Tensor:
    """Which logits [N, C, H, W] stand at ignored pixels."""
    number, height, width = len(target), *target.shape[-2:]
    return (target == task.ignore_index).view(number, -1, height, width).expand(-1, task.num_classes, -1, -1)


# ---- the examples that promises are tried on -----------------------------------------------------------------------


def usual(task: Task) -> Iterator[Example]:
    """Random logits and ids, a third ignored."""
    yield Example(make_logits(task), make_target(task))


def precise(task: Task) -> Iterator[Example]:
    """The same in float64, small."""
    yield Example(make_logits(task, SMALL).double(), make_target(task, size=SMALL))


def all_labelled(task: Task) -> Iterator[Example]:
    """A larger image without ignored pixels."""
    size = (1, 16, 16)
    yield Example(make_logits(task, size), make_target(task, size=size, ignored=0))


def every_float(task: Task) -> Iterator[Example]:
    """The usual example in each precision of the logits."""
    yield from (Example(make_logits(task).to(dtype), make_target(task)) for dtype in FLOATS)


def every_integer(task: Task) -> Iterator[Example]:
    """The usual example with int64 and uint8 ids."""
    yield from (Example(make_logits(task), make_target(task).to(dtype)) for dtype in (torch.int64, torch.uint8))


def laid_out(task: Task) -> Iterator[Example]:
    """The usual example with uint8 and int32 ids, then in the strides of channels_last and of a transposed mask."""
    logits, target = make_logits(task), make_target(task)
    yield from (Example(logits, target.to(dtype)) for dtype in (torch.uint8, torch.int32))
    yield Example(logits.to(memory_format=torch.channels_last), target.mT.contiguous().mT)


def without_foreground(task: Task) -> Iterator[Example]:
    """Masks of background alone."""
    yield Example(make_logits(task), make_target(task, "empty"))


def without_labels(task: Task) -> Iterator[Example]:
    """Everything ignored, whatever the logits are."""
    logits, target = make_logits(task), make_target(task, "ignored")
    yield from (Example(z, target) for z in (logits, *(torch.full_like(logits, x) for x in (1e4, torch.nan))))


def extreme(task: Task) -> Iterator[Example]:
    """Logits of N(0, 1), +-50 and +-1e4 in each precision, on every kind of mask."""
    normal = make_logits(task, scale=1)
    for kind in TARGETS:
        for logits in (normal, 50 * normal.sign(), 1e4 * normal.sign()):
            yield from (Example(logits.to(dtype), make_target(task, kind)) for dtype in FLOATS)


def in_half(task: Task) -> Iterator[Example]:
    """Half-precision logits, on every kind of mask."""
    for dtype in HALVES:
        yield from (Example(make_logits(task, scale=4).to(dtype), make_target(task, kind)) for kind in TARGETS)


def large_in_half(task: Task) -> Iterator[Example]:
    """Half a million float16 logits: [2, 1, 512, 512], or one image of several classes."""
    size = (max(1, 2 // task.num_classes), 512, 512)
    yield Example(make_logits(task, size).half(), make_target(task, size=size))


def partly_ignored(task: Task) -> Iterator[Example]:
    """float64 logits; half of the pixels ignored, in all classes at once."""
    target = make_target(task, ignored=0)
    drop = torch.rand(SIZE, generator=generator(5)) < 0.5
    drop = drop.unsqueeze(1) if target.ndim == 4 else drop
    yield Example(make_logits(task).double(), target.masked_fill(drop, task.ignore_index))


def unfit(task: Task) -> Iterator[Example]:
    """Shapes and types that contradict the task, one at a time."""
    logits, target = make_logits(task, SMALL), make_target(task, size=SMALL)
    number, channels, height, width = logits.shape
    yield Example(torch.zeros(number, channels + 1, height, width), target)
    yield Example(logits[0], target[0])
    yield Example(logits, target[..., 1:])
    yield Example(logits, target[None])
    yield Example(logits.long(), target)
    yield Example(logits, target.float())
    yield Example(logits, target == 1)

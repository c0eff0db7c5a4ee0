"""What all tests share: one thread, fixed seeds, and tensors for each of the three modes."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis
import pytest
import torch
from torch import Tensor

from segtrain.task import ClassStats, Task

torch.set_num_threads(1)
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50, database=None)
hypothesis.settings.load_profile("repeatable")

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
TARGETS = ("random", "empty", "full", "ignored")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    """Each of the three modes."""
    return TASKS[request.param]


def generator(seed: int) -> torch.Generator:
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

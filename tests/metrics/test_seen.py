"""What training has seen, against counting with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from segtrain.metrics import SeenClasses
from segtrain.task import Task

TASKS = [Task("binary"), Task("multiclass", 4), Task("multiclass", 4, -1), Task("multilabel", 3)]


def masks(task: Task, number: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    """Random ids; class 1 in no mask but the first, masks without labels and without rare classes among them."""
    random = np.random.default_rng(seed)
    planes = (task.num_classes,) if task.mode == "multilabel" else ()
    values = random.integers(0, max(2, task.num_classes) if not planes else 2, (number, *planes, 9, 7))
    if task.exclusive:
        values[1:][values[1:] == 1] = 0
    values[random.random(values.shape) < 0.2] = task.ignore_index
    values[-1] = task.ignore_index
    return torch.from_numpy(values).to(dtype)


def counted(task: Task, target: torch.Tensor) -> dict[str, float]:
    """The shares by plain loops."""
    shares: dict[str, float] = {}
    for index, name in enumerate(task.names):
        plane: Any = (target[:, index] if task.mode == "multilabel" else target).numpy()
        hits = plane == (index if task.exclusive else 1)
        shares[f"seen/{name}"] = hits.sum() / (plane != task.ignore_index).sum()
        shares[f"seen/crops_{name}"] = np.mean([image.any() for image in hits])
    return shares


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_shares(task: Task, dtype: torch.dtype) -> None:
    if task.ignore_index < 0 and dtype == torch.uint8:
        dtype = torch.int16
    target = masks(task, 7, 0, dtype)
    seen = SeenClasses(task)
    for part, forced in ((target[:2], [True, False]), (target[2:], [True] * 3 + [False] * 2)):
        seen.update(part, forced)
    found = {key: float(value) for key, value in seen.compute().items()}
    assert found.pop("sampling/forced") == pytest.approx(4 / 7)
    assert found == pytest.approx(counted(task, target))
    seen.reset()
    seen.update(target, [False] * 7)
    assert "sampling/forced" not in seen.compute()


def test_the_state_is_kept_in_checkpoints() -> None:
    task = TASKS[1]
    seen, restored = SeenClasses(task), SeenClasses(task)
    seen.update(masks(task, 3, 0, torch.uint8), [True, False, False])
    restored.load_state_dict(seen.state_dict())
    for metric in (seen, restored):
        metric.update(masks(task, 5, 1, torch.uint8), [False] * 5)
    assert seen.compute() == restored.compute()
    assert set(seen.state_dict()) == {"pixels", "valid", "crops", "samples", "forced"}


def test_nothing_seen_is_no_number() -> None:
    seen = SeenClasses(Task("binary"))
    seen.update(torch.full((2, 3, 3), 255), [False] * 2)
    assert np.isnan(float(seen.compute()["seen/foreground"]))
    assert float(seen.compute()["seen/crops_foreground"]) == 0

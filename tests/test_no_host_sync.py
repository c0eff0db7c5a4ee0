"""Losses and metrics never make the host wait for the device, shown without a GPU in two ways.

`NoSync` watches every operation for those whose result the host must know; under `FakeTensorMode` all tensors
claim to be on "cuda", so that mixing devices raises and copies to the host can be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torchmetrics import Metric

from segtrain.contract.waiting import HostWaits, NoSync, without_data
from segtrain.metrics import CalibrationProbe, SeenClasses, SegmentationMetrics
from segtrain.task import Task
from segtrain.windows import Tile, Window
from tests.conftest import TASKS, make_logits, make_target
from tests.losses.test_contract import PAIRS, build

DTYPES = [torch.int64, torch.uint8]


def inputs(task: Task, dtype: torch.dtype, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Logits and target; on "cuda" without data."""
    logits, target = make_logits(task), make_target(task).to(dtype)
    if device == "cpu":
        return logits, target
    return torch.empty(logits.shape, device=device), torch.empty(target.shape, dtype=dtype, device=device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "mode"), PAIRS)
def test_loss(name: str, mode: str, dtype: torch.dtype) -> None:
    loss, (logits, target) = build(name, TASKS[mode]), inputs(TASKS[mode], dtype)
    logits.requires_grad_()
    with NoSync():
        loss(logits, target).backward()
    assert logits.grad is not None


@pytest.mark.parametrize(("name", "mode"), PAIRS)
def test_loss_on_a_fake_gpu(name: str, mode: str) -> None:
    loss = build(name, TASKS[mode])
    with FakeTensorMode(), NoSync():
        value = loss._apply(without_data)(*inputs(TASKS[mode], torch.int64, "cuda"))
    assert value.device.type == "cuda"


METRICS: dict[str, Callable[[Task], Metric]] = {
    "counts": SegmentationMetrics,
    "counts with settings": lambda t: SegmentationMetrics(
        t, include_background=False, empty_score=1, threshold=0.5 if t.exclusive else [0.4] * t.num_classes
    ),
    "probe": CalibrationProbe,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", METRICS)
def test_metrics(task: Task, name: str, dtype: torch.dtype) -> None:
    metrics = METRICS[name](task)
    with NoSync():
        metrics.update(*inputs(task, dtype))
        metrics.update(*inputs(task, dtype))
    assert all(getattr(metrics, state).sum() > 0 for state in metrics._defaults if state not in ("broken", "so_far"))


@pytest.mark.parametrize("name", METRICS)
def test_metrics_on_a_fake_gpu(task: Task, name: str) -> None:
    metrics = METRICS[name](task)
    with FakeTensorMode(), NoSync():
        metrics._apply(without_data).update(*inputs(task, torch.int64, "cuda"))
    assert {getattr(metrics, state).device.type for state in metrics._defaults} == {"cuda"}


def test_counts_of_tiles(task: Task) -> None:
    """A batch of the first tiles of an image, and one of the last."""
    metrics, fake, (logits, target) = SegmentationMetrics(task), SegmentationMetrics(task), inputs(task, torch.int64)
    number, (height, width) = 2 * len(target), target.shape[-2:]
    parts = [Window(0, index * width, height, width) for index in range(number)]
    tiles = [Tile(part, part, (height, number * width)) for part in parts]
    halves = tiles[: len(target)], tiles[len(target) :]
    with NoSync():
        for half in halves:
            metrics.update(logits, target, None, half)
    with FakeTensorMode(), NoSync():
        for half in halves:
            fake._apply(without_data).update(*inputs(task, torch.int64, "cuda"), None, half)
    assert torch.equal(metrics.so_far, metrics.counts)
    assert metrics.image_numbers.tolist() == [1, 1]
    assert {getattr(fake, state).device.type for state in fake._defaults} == {"cuda"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_seen(task: Task, dtype: torch.dtype) -> None:
    seen, fake = SeenClasses(task), SeenClasses(task)
    with NoSync():
        seen.update(inputs(task, dtype)[1], [True, False])
    with FakeTensorMode(), NoSync():
        fake._apply(without_data).update(inputs(task, dtype, "cuda")[1], [True, False])
    assert seen.pixels.sum() > 0
    assert {getattr(fake, state).device.type for state in fake._defaults} == {"cuda"}


# ---- the watchers can fail -----------------------------------------------------------------------------------------

ANYWHERE: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool((x > 0).any()),
    "float": lambda x: float(x.mean()),
    "boolean indexing": lambda x: x[x > 0],
    "assignment by a mask": lambda x: x.clone().__setitem__(x > 0, 0),
    "assignment of a tensor by a mask": lambda x: x.clone().__setitem__(x > 0, x[:1].sum()),
    "masked_select": lambda x: x.masked_select(x > 0),
    "nonzero": lambda x: x.nonzero(),
    "where with one argument": lambda x: torch.where(x > 0),
    "bincount": lambda x: x.abs().long().bincount(),
    "unique": lambda x: x.unique(),
    "unique_consecutive": lambda x: x.unique_consecutive(),
    "equal": lambda x: torch.equal(x, x + 1),
}
FROM_THE_GPU: dict[str, Callable[[Tensor], Any]] = {
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu", non_blocking=True),
    "tolist": lambda x: x.tolist(),
    "copy_": lambda x: torch.zeros(4).copy_(x),
}
WAITED = (HostWaits, DataDependentOutputException, DynamicOutputShapeException)


@pytest.mark.parametrize("name", ANYWHERE)
def test_watcher_sees(name: str) -> None:
    with NoSync(), pytest.raises(HostWaits):
        ANYWHERE[name](torch.tensor([1.0, -1.0, 2.0, 2.0]))


@pytest.mark.parametrize("name", ANYWHERE | FROM_THE_GPU)
def test_watcher_sees_on_a_fake_gpu(name: str) -> None:
    with FakeTensorMode(), NoSync(), pytest.raises(WAITED):
        (ANYWHERE | FROM_THE_GPU)[name](torch.empty(4, device="cuda"))


def test_a_fake_gpu_refuses_tensors_of_the_host() -> None:
    with FakeTensorMode(), NoSync(), pytest.raises(RuntimeError, match="device"):
        torch.empty(4, device="cuda") + torch.empty(4)


def test_what_needs_no_waiting_passes() -> None:
    def work(device: str) -> Tensor:
        x = torch.empty(4, device=device)
        ids = torch.zeros(4, dtype=torch.int64, device=device)
        return torch.where(x > 0, x, 0).scatter_add(0, ids, x)[ids].masked_fill(x > 0, 1).sum()

    with NoSync():
        assert work("cpu").device.type == "cpu"
    with FakeTensorMode(), NoSync():
        assert work("cuda").device.type == "cuda"

"""Shapes that a task takes and refuses, decided without looking at the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from segtrain.contract.waiting import NoSync
from segtrain.errors import UserError
from segtrain.losses import build_loss
from segtrain.metrics import SegmentationMetrics
from segtrain.task import Task, check_shapes

EMPTY = [(0, 4, 5), (2, 0, 5), (2, 4, 0), (0, 0, 0)]  # N, H, W


def tensors(task: Task, size: tuple[int, int, int], device: str = "cpu") -> tuple[Tensor, Tensor]:
    number, height, width = size
    logits = torch.empty(number, task.num_classes, height, width, device=device)
    target = torch.empty_like(logits if task.mode == "multilabel" else logits[:, 0], dtype=torch.int64)
    return logits, target


@pytest.mark.parametrize("size", EMPTY)
def test_tensors_without_a_pixel_are_refused_with_their_shape(task: Task, size: tuple[int, int, int]) -> None:
    shape = rf"\[{size[0]}, {task.num_classes}, {size[1]}, {size[2]}\]"
    with FakeTensorMode(), NoSync(), pytest.raises(UserError, match=rf"{task.mode}: .* at least, got {shape}"):
        check_shapes(*tensors(task, size, "cuda"), task)


@pytest.mark.parametrize("size", EMPTY)
def test_losses_and_metrics_refuse_them_too(task: Task, size: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="at least"):
        build_loss("dice", task)(*tensors(task, size))
    with pytest.raises(UserError, match="at least"):
        SegmentationMetrics(task).update(*tensors(task, size))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_classes": "3"}, "task.num_classes must be a whole number, got '3'"),
        ({"num_classes": True}, "task.num_classes must be a whole number, got True"),
        ({"ignore_index": 1.5}, "task.ignore_index must be a whole number, got 1.5"),
        ({"names": "ab"}, "task.names must be a list with an entry for each class, got 'ab'"),
        ({"palette": 3}, "task.palette must be a list with an entry for each class, got 3"),
        ({"palette": [[1, 2]]}, r"task.palette holds \[red, green, blue\] for each class, got \[1, 2\]"),
    ],
)
def test_fields_of_another_kind_are_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Task(**{"mode": "binary", **fields})


def test_one_pixel_is_enough(task: Task) -> None:
    check_shapes(*tensors(task, (1, 1, 1)), task)

"""A batch is gone through once, in pieces of the size that is asked for; labels as bytes are the same labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import Metric

from segtrain.metrics import CalibrationProbe, SegmentationMetrics
from segtrain.metrics import pieces as module
from segtrain.metrics.pieces import pieces, yes_and_valid
from segtrain.task import Task
from tests.conftest import make_logits, make_target

SIZE = (7, 5, 6)
METRICS: list[Any] = [SegmentationMetrics, CalibrationProbe]


def states(metrics: Metric) -> dict[str, list[Any]]:
    return {name: getattr(metrics, name).tolist() for name in metrics._defaults}


@given(shape=st.tuples(*[st.integers(0, 5)] * 4), limit=st.integers(1, 200))
def test_each_pixel_is_in_one_piece_and_no_piece_is_too_large(shape: tuple[int, ...], limit: int) -> None:
    seen = torch.zeros(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CACHED", limit)
        limit *= torch.get_num_threads()
        for n, r in pieces(seen):
            seen[n, :, r] += 1
            assert seen[n, :, r].numel() <= max(limit, shape[1] * shape[3])
    assert (seen == 1).all()


def test_pieces_grow_with_the_threads_and_where_kernels_are_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (16, 1, 512, 512)
    for threads in (1, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert len(list(pieces(torch.empty(shape)))) == 16 // threads
    assert len(list(pieces(torch.empty(shape, device="meta")))) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_pieces_change_no_bit(metric: Any, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = make_logits(task, SIZE), make_target(task, size=SIZE)
    found = []
    for limit in (10**6, 1, 2 * logits[0, :, 0].numel(), 2 * logits[0].numel(), 3 * logits[0].numel() - 1):
        monkeypatch.setattr(module, "CACHED", limit)
        metrics = metric(task)
        metrics.update(logits, target)
        found.append(states(metrics))
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("ignore", [-1, -128, -255, 254, 256, 257, 1000])
@pytest.mark.parametrize("metric", METRICS)
def test_any_index_may_be_ignored(metric: Any, task: Task, ignore: int) -> None:
    """257 and -255 are 1 in a byte, 256 is 0."""
    logits, target = make_logits(task, SIZE), make_target(task, size=SIZE)
    expected, found = metric(task), metric(Task(task.mode, task.num_classes, ignore))
    expected.update(logits, target)
    found.update(logits, torch.where(target == 255, ignore, target))
    assert states(found) == states(expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_yes_and_valid(dtype: torch.dtype) -> None:
    yes, valid = yes_and_valid(torch.tensor([0, 1, 255], dtype=dtype), Task("binary"))
    assert yes.tolist() == [0, 1, 0]
    assert valid.tolist() == [1, 1, 0]
    assert {yes.dtype, valid.dtype} == {torch.uint8}

"""What all tests share: one thread, fixed seeds, and tensors for each of the three modes."""

from __future__ import annotations

import os

import hypothesis
import pytest
import torch

from segtrain.contract.examples import (
    SIZE,
    STATS,
    TARGETS,
    TASKS,
    generator,
    ignored_entries,
    make_logits,
    make_target,
)
from segtrain.task import Task

__all__ = ["SIZE", "STATS", "TARGETS", "TASKS", "generator", "ignored_entries", "make_logits", "make_target"]

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, and of Lightning with several
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    """Each of the three modes."""
    return TASKS[request.param]

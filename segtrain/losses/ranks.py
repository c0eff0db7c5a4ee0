"""Sums over the processes of a distributed run.

Each process averages its gradients with the others (DistributedDataParallel), so a loss that is to give what one
process with the whole batch would give returns its own share times the number of processes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


def world_size() -> int:
    """Number of processes that train together; 1 without a distributed run."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def sum_counts(count: Tensor) -> Tensor:
    """The sum over all processes of a number that has no gradient; one all-reduce, nothing is read by the host."""
    if world_size() == 1:
        return count
    total = count.detach().clone()
    distributed.all_reduce(total)
    return total


def sum_with_gradient(values: Tensor) -> Tensor:
    """The sum over all processes, with gradient; every process must go on to compute the same loss from it."""
    if world_size() == 1:
        return values
    total: Tensor = _Sum.apply(values)
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # The gradient is the same on all processes, and their mean is taken later; so nothing need be sent.
        return gradient * world_size()

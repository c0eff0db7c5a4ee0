"""A loss as a user would write one, outside the package."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segtrain.task import Task


class SquaredError(nn.Module):
    """Mean squared error of the probability; scale is its only parameter."""

    def __init__(self, task: Task, scale: float) -> None:
        super().__init__()
        assert isinstance(task, Task)
        self.scale = scale

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.scale * torch.mean((logits.sigmoid().squeeze(1) - (target == 1).float()) ** 2)


class ScatteredError(SquaredError):
    """The same with an operation that torch calls nondeterministic on every device: put_ of values at equal places."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        places = torch.zeros(2, dtype=torch.long, device=logits.device)
        shift = torch.zeros(3, device=logits.device).put_(places, torch.zeros(2, device=logits.device))
        return super().forward(logits, target) + shift.sum()

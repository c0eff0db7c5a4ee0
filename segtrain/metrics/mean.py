"""A mean that stays on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class Mean(Metric):
    """A weighted mean of scalars; in checkpoints too, and the host need not wait for it.

    (Torchmetrics' MeanMetric makes the host look for NaN or, told not to, takes all weights as 1.)
    """

    full_state_update = False
    mean_value: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean_value", "weight"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum", persistent=True)

    def update(self, value: Tensor, weight: Tensor | float = 1.0) -> None:
        """Take in one value."""
        self.mean_value += value * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """The mean; NaN of nothing."""
        return self.mean_value / self.weight

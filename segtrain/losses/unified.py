"""Unified focal loss: a focal cross entropy and a focal Tversky loss that treat rare classes and background apart.

`loss=unified_focal`; parameters in conf/loss/unified_focal.yaml.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segtrain import checks
from segtrain.losses.contingency import background
from segtrain.losses.focal import focus
from segtrain.losses.region import FLOOR, RegionMean, tversky_loss
from segtrain.losses.spread import Pixels, Sums, spread
from segtrain.task import Task


class UnifiedFocalLoss(nn.Module):
    """weight x focal Tversky + (1 - weight) x focal cross entropy, asymmetric (Yeung et al. 2022).

        cross entropy   foreground: delta nll;          background: (1 - delta) (1 - p_t)^gamma nll
        Tversky         foreground: (1 - TI)^(1-gamma); background: 1 - TI,    TI with prices delta of false
                        negatives and 1 - delta of false positives

    So the background's easy pixels are focused away and the foreground's are enhanced. Binary and multilabel: each
    label's foreground and background; multiclass: class 0 is the background.

    Args:
        task: any mode.
        weight: of the Tversky part, in [0, 1].
        delta: price of missing foreground against claiming it, in (0, 1); .6 is the paper's.
        gamma: in [0, 1); .5 is the paper's.
        smooth: s > 0, in pixels.
        reduce: "batch" or "image", see RegionMean; of the Tversky part.
        sync: sum the Tversky part over the processes of a distributed run.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: a parameter out of range.
    """

    needs = ("nll", "sums")

    def __init__(
        self,
        task: Task,
        weight: float = 0.5,
        delta: float = 0.6,
        gamma: float = 0.5,
        smooth: float = 1.0,
        reduce: str = "batch",
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.task = task
        self.weight = checks.number("unified_focal: weight", weight, 0, 1)
        self.delta = checks.number("unified_focal: delta", delta, high=1 - 1e-6, above=0)
        self.gamma = checks.number("unified_focal: gamma", gamma, 0, 0.999)
        self.smooth = checks.number("unified_focal: smooth", smooth, above=0)
        self.region = RegionMean("unified_focal", task, reduce, True, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        return self.weight * self._tversky(pixels) + (1 - self.weight) * self._cross_entropy(pixels)

    def _cross_entropy(self, pixels: Pixels) -> Tensor:
        foreground = pixels.labels > 0 if self.task.exclusive else pixels.labels
        eased = (1 - self.delta) * focus(pixels.nll, self.gamma)
        return pixels.mean(torch.where(foreground, self.delta * pixels.nll, eased))

    def _tversky(self, pixels: Pixels) -> Tensor:
        sums = self.region.sums(pixels)
        plain = self._index_loss(sums)
        enhanced = plain.clamp(min=FLOOR).pow(1 - self.gamma)
        if not self.task.exclusive:
            return self.region.mean(pixels, (enhanced + self._index_loss(background(sums))) / 2, sums.seen)
        return self.region.mean(pixels, torch.cat([plain[:, :1], enhanced[:, 1:]], dim=1), sums.seen)

    def _index_loss(self, sums: Sums) -> Tensor:
        return tversky_loss(sums, 1 - self.delta, self.delta, self.smooth)

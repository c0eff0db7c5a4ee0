"""Losses over the whole 2 x 2 table of a class, true negatives included: generalized Dice and MCC.

    I = sum(p y)   P = sum(p)   Y = sum(y)   V valid pixels;   TP = I   FP = P - I   FN = Y - I   TN = V - Y - FP

`loss=generalized_dice`, `loss=mcc`; parameters in conf/loss/.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segtrain import checks
from segtrain.losses.region import RegionMean
from segtrain.losses.spread import Pixels, Sums, spread
from segtrain.task import Task

# how a class of Y pixels is weighted: the exponent of Y
WEIGHTINGS = {"square": 2, "simple": 1, "uniform": 0}


class GeneralizedDiceLoss(nn.Module):
    """1 - (2 sum(w I) + s) / (sum(w (P + Y)) + s) over the classes, w = 1 / Y^2 (Sudre et al. 2017).

    Classes of any size weigh alike. Binary and multilabel: the classes are foreground and background of each label.
    Weights are scaled so that the largest is 1. A class that does not occur gets the largest: infinite, as its formula
    says, it would silence the others.

    Args:
        task: any mode.
        weighting: "square" (the paper's), "simple" (w = 1 / Y) or "uniform" (w = 1).
        smooth: s > 0, in pixels of the smallest class.
        reduce: "batch" or "image", see RegionMean.
        include_background: multiclass only: whether class 0 takes part.
        sync: sum over the processes of a distributed run.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: a parameter out of range.
    """

    needs = ("sums",)

    def __init__(
        self,
        task: Task,
        weighting: str = "square",
        smooth: float = 1.0,
        reduce: str = "batch",
        include_background: bool = True,
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.task = task
        self.power = WEIGHTINGS[checks.choice("generalized_dice: weighting", weighting, WEIGHTINGS)]
        self.smooth = checks.number("generalized_dice: smooth", smooth, above=0)
        self.region = RegionMean("generalized_dice", task, reduce, include_background, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        sums = self.region.sums(pixels)
        if self.task.exclusive:
            kept = Sums(*(each[:, self.region.first :] for each in sums))
            values = self._loss(kept).expand(-1, self.task.num_classes)  # one value for all classes of an image
        else:
            pairs = zip(sums, background(sums), strict=True)
            values = self._loss(Sums(*(torch.stack(pair, dim=-1) for pair in pairs))).squeeze(-1)
        return self.region.mean(pixels, values, sums.seen)

    def _loss(self, sums: Sums) -> Tensor:
        """The loss over the classes of the last dimension, which stays."""
        truth = sums.truth.detach()
        occurs = truth > 0
        smallest = truth.where(occurs, torch.inf).amin(-1, keepdim=True)
        weight = (smallest / truth).pow(self.power).where(occurs, 1.0)
        errors = (weight * (sums.claimed + sums.missed)).sum(-1, keepdim=True)
        overlap = (weight * sums.overlap).sum(-1, keepdim=True)
        return errors / (errors + 2 * overlap + self.smooth)


def background(sums: Sums) -> Sums:
    """The sums of the complement, 1 - p and 1 - y: what was missed is what its background claims."""
    truth = sums.seen - sums.truth
    return Sums(truth - sums.claimed, sums.missed, sums.claimed, truth, sums.seen)


class MCCLoss(nn.Module):
    """1 - Matthews' correlation of prediction and truth, mean over classes (Abhishek & Hamarneh 2021).

        MCC = (TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN))

    `smooth` pixels are added to TP and to TN: the correlation stays defined where a class is nowhere or everywhere,
    a perfect prediction has exactly 1, and an empty mask has a gradient.

    Args:
        task: any mode.
        smooth: s > 0, in pixels.
        reduce: "batch" or "image", see RegionMean.
        include_background: multiclass only: whether class 0 takes part.
        sync: sum over the processes of a distributed run.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: a parameter out of range.
    """

    needs = ("sums",)

    def __init__(
        self,
        task: Task,
        smooth: float = 1.0,
        reduce: str = "batch",
        include_background: bool = True,
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.task = task
        self.smooth = checks.number("mcc: smooth", smooth, above=0)
        self.region = RegionMean("mcc", task, reduce, include_background, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        sums = self.region.sums(pixels)
        return self.region.mean(pixels, 1 - self._correlation(sums), sums.seen)

    def _correlation(self, sums: Sums) -> Tensor:
        """MCC of each image and class as a product of ratios: the products of counts would leave float32's digits."""
        tp, tn = sums.overlap + self.smooth, background(sums).overlap.clamp(min=0) + self.smooth
        fp, fn = sums.claimed.clamp(min=0), sums.missed.clamp(min=0)
        positive = ((tp + fp) * (tp + fn)).sqrt()
        negative = ((tn + fp) * (tn + fn)).sqrt()
        return (tp / positive) * (tn / negative) - (fp / positive) * (fn / negative)

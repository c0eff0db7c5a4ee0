"""Losses over regions: Dice, Jaccard and Tversky, from sums of probabilities per class.

    I = sum(p y)   P = sum(p)   Y = sum(y)       over the valid pixels, in float32

`loss=dice`, `loss=jaccard`, `loss=tversky`; parameters in conf/loss/. On an empty target the smoothing
term keeps a gradient that pushes false positives down (SMP returns 0 there, whatever is predicted).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F

from segtrain import checks
from segtrain.losses.spread import Spread, probabilities, spread
from segtrain.task import Task

BLOCK = 4096  # pixels added one by one before blocks are added pairwise


class Sums(NamedTuple):
    """Sums over the valid pixels, each [N, C], or [1, C] after summing over the batch.

    overlap: I; predicted: P; truth: Y; seen: number of valid pixels.
    """

    overlap: Tensor
    predicted: Tensor
    truth: Tensor
    seen: Tensor


class RegionMean(nn.Module):
    """How region losses sum over pixels and average over classes and images; shared by all of them.

    Args:
        name: of the loss, for error messages.
        task: any mode.
        reduce: "batch" sums over all images before dividing, "image" scores each image and averages over
            those that have a valid pixel.
        include_background: multiclass only: whether class 0 takes part in the mean.
        sync: sum over the processes of a distributed run, with gradient (reduce=batch only).

    Raises:
        UserError: unknown reduce, or sync with reduce=image.
    """

    def __init__(self, name: str, task: Task, reduce: str, include_background: bool, sync: bool) -> None:
        super().__init__()
        self.task = task
        self.reduce = checks.choice(f"{name}: reduce", reduce, ("batch", "image"))
        self.sync = checks.flag(f"{name}: sync", sync)
        self.include_background = checks.flag(f"{name}: include_background", include_background)
        if self.sync:
            checks.choice(f"{name}: reduce (with sync=true)", reduce, ("batch",))

    def sums(self, logits: Tensor, target: Tensor, squared: bool = False) -> Sums:
        """I, P and Y per class, [N, C] for reduce=image and [1, C] for reduce=batch."""
        sums = region_sums(spread(logits, target, self.task), self.task, squared)
        if self.reduce == "image":
            return sums
        summed = torch.stack(sums).sum(1, keepdim=True)
        if self.sync and torch.distributed.is_initialized():
            summed = all_reduce(summed)  # type: ignore[no-untyped-call]
        return Sums(*summed.unbind())

    def loss(self, index: Tensor, sums: Sums) -> Tensor:
        """Mean of 1 - index over the kept classes and over the images that have a valid pixel."""
        first = 0 if self.include_background or not self.task.exclusive else 1
        counts = (sums.seen > 0)[:, first:].to(index.dtype)
        return ((1 - index)[:, first:] * counts).sum() / counts.sum().clamp(min=1)


def region_sums(pixels: Spread, task: Task, squared: bool = False) -> Sums:
    """I, P and Y of each image and class, without a one-hot tensor.

    Args:
        pixels: spread logits and target.
        task: mode.
        squared: P = sum(p^2), as in V-Net (y^2 = y for hard targets).
    """
    p = probabilities(pixels, task)
    valid = pixels.valid.to(p.dtype)
    if not task.exclusive:
        y = pixels.target.to(p.dtype)
        p = p * valid
        return Sums((p * y).sum(2), (p * p if squared else p).sum(2), (y * valid).sum(2), valid.sum(2))
    own = p.gather(1, pixels.target.unsqueeze(1)).squeeze(1) * valid
    overlap, truth = (sums_by_class(values, pixels.target, task.num_classes) for values in (own, valid))
    predicted = ((p * p if squared else p) * valid.unsqueeze(1)).sum(2)
    return Sums(overlap, predicted, truth, valid.sum(1, keepdim=True).expand_as(truth))


def sums_by_class(values: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Sum of the values [N, P] over the pixels of each class, [N, C].

    In blocks: a scatter adds one by one, which over millions of pixels loses the digits of a float32 sum.
    """
    short = -values.shape[1] % BLOCK
    values, target = F.pad(values, (0, short)), F.pad(target, (0, short))
    blocks = values.new_zeros(len(values), values.shape[1] // BLOCK, num_classes)
    return blocks.scatter_add(2, target.view(*blocks.shape[:2], BLOCK), values.view(*blocks.shape[:2], BLOCK)).sum(1)


class DiceLoss(nn.Module):
    """Soft Dice: 1 - (2 I + s) / (P + Y + s), mean over classes (Milletari et al. 2016).

    Args:
        task: any mode.
        smooth: s > 0, in pixels; 1 is Laplace smoothing. (SMP's smooth=s is this with 2 s.)
        squared: P = sum(p^2), the V-Net form.
        reduce: "batch" or "image", see RegionMean.
        include_background: multiclass only: whether class 0 takes part.
        sync: sum over the processes of a distributed run.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: a parameter out of range.
    """

    def __init__(
        self,
        task: Task,
        smooth: float = 1.0,
        squared: bool = False,
        reduce: str = "batch",
        include_background: bool = True,
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.smooth = checks.number("dice: smooth", smooth, above=0)
        self.squared = checks.flag("dice: squared", squared)
        self.region = RegionMean("dice", task, reduce, include_background, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        sums = self.region.sums(logits, target, self.squared)
        index = (2 * sums.overlap + self.smooth) / (sums.predicted + sums.truth + self.smooth)
        return self.region.loss(index, sums)


class TverskyLoss(nn.Module):
    """1 - (I + s) / (I + a (P - I) + b (Y - I) + s), mean over classes (Salehi et al. 2017).

    Args:
        task: any mode.
        fp_weight: a >= 0, price of false positives. (Papers and libraries swap alpha and beta.)
        fn_weight: b >= 0, price of false negatives; above a it favours recall.
        smooth: s > 0, in pixels.
        reduce: "batch" or "image", see RegionMean.
        include_background: multiclass only: whether class 0 takes part.
        sync: sum over the processes of a distributed run.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: a parameter out of range.
    """

    def __init__(
        self,
        task: Task,
        fp_weight: float = 0.3,
        fn_weight: float = 0.7,
        smooth: float = 1.0,
        reduce: str = "batch",
        include_background: bool = True,
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.fp_weight = checks.number("tversky: fp_weight", fp_weight, 0)
        self.fn_weight = checks.number("tversky: fn_weight", fn_weight, 0)
        self.smooth = checks.number("tversky: smooth", smooth, above=0)
        self.region = RegionMean("tversky", task, reduce, include_background, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        sums = self.region.sums(logits, target)
        return self.region.loss(tversky_index(sums, self.fp_weight, self.fn_weight, self.smooth), sums)


class JaccardLoss(nn.Module):
    """Soft IoU: 1 - (I + s) / (P + Y - I + s), mean over classes; Tversky with both weights 1.

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

    def __init__(
        self,
        task: Task,
        smooth: float = 1.0,
        reduce: str = "batch",
        include_background: bool = True,
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.smooth = checks.number("jaccard: smooth", smooth, above=0)
        self.region = RegionMean("jaccard", task, reduce, include_background, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        sums = self.region.sums(logits, target)
        return self.region.loss(tversky_index(sums, 1.0, 1.0, self.smooth), sums)


def tversky_index(sums: Sums, fp_weight: float, fn_weight: float, smooth: float) -> Tensor:
    """(I + s) / (I + a (P - I) + b (Y - I) + s) per image and class, 1 where prediction and truth agree."""
    false_positive, false_negative = sums.predicted - sums.overlap, sums.truth - sums.overlap
    return (sums.overlap + smooth) / (sums.overlap + fp_weight * false_positive + fn_weight * false_negative + smooth)

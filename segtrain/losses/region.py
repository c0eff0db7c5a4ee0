"""Losses over regions: Dice, Jaccard and Tversky, from sums of probabilities per class.

    I = sum(p y)   P = sum(p)   Y = sum(y)       over the valid pixels, in float32

`loss=dice`, `loss=jaccard`, `loss=tversky`, `loss=focal_tversky`; parameters in conf/loss/. On an empty target the
smoothing term keeps a gradient that pushes false positives down (SMP returns 0 there, whatever is predicted).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segtrain import checks
from segtrain.losses.ranks import sum_with_gradient
from segtrain.losses.spread import Pixels, Sums, spread
from segtrain.task import Task

FLOOR = 1e-6  # of what a root is taken: its slope is infinite at 0, where a prediction is perfect


class RegionMean(nn.Module):
    """How region losses sum over pixels and average over classes and images; shared by all of them.

    Args:
        name: of the loss, for error messages.
        task: any mode.
        reduce: "batch" sums over all images before dividing, "image" scores each class of each image and averages
            over the pairs that have a valid pixel.
        include_background: multiclass only: whether class 0 takes part in the mean.
        sync: in training, sum over the processes of a distributed run, with gradient (reduce=batch only).

    Raises:
        UserError: unknown reduce, or sync with reduce=image.
    """

    def __init__(self, name: str, task: Task, reduce: str, include_background: bool, sync: bool) -> None:
        super().__init__()
        self.reduce = checks.choice(f"{name}: reduce", reduce, ("batch", "image"))
        self.sync = checks.flag(f"{name}: sync", sync)
        self.first = 0 if checks.flag(f"{name}: include_background", include_background) or not task.exclusive else 1
        if self.sync:
            checks.choice(f"{name}: reduce (with sync=true)", reduce, ("batch",))

    def sums(self, pixels: Pixels, squared: bool = False) -> Sums:
        """The sums per class, [N, C] for reduce=image and [1, C] for reduce=batch."""
        return Sums(*self.summed(pixels, pixels.sums(squared)))

    def summed(self, pixels: Pixels, sums: Sequence[Tensor]) -> Sequence[Tensor]:
        """Sums of each image [N, C] as they are (reduce=image), or over the batch, [1, C]."""
        if self.reduce == "image":
            return sums
        whole = torch.stack(list(sums)).sum(1, keepdim=True)
        return (sum_with_gradient(whole) if self.sync and pixels.joint else whole).unbind()

    def mean(self, pixels: Pixels, values: Tensor, seen: Tensor) -> Tensor:
        """Mean of the values [N or 1, C] over the kept classes and images, where they have a valid pixel.

        Args:
            pixels: of the batch.
            values: [N or 1, C].
            seen: number of valid pixels, likewise.
        """
        counted = (seen > 0)[:, self.first :].to(values.dtype)
        total = (values[:, self.first :] * counted).sum()
        if self.reduce == "image":
            return pixels.ratio(total, counted.sum())
        return total / counted.sum().clamp(min=1)


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
        self.needs = ("squares",) if self.squared else ("sums",)
        self.task = task
        self.region = RegionMean("dice", task, reduce, include_background, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        sums = self.region.sums(pixels, self.squared)
        return self.region.mean(pixels, tversky_loss(sums, 0.5, 0.5, self.smooth / 2), sums.seen)


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

    needs = ("sums",)

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
        self.fp_weight, self.fn_weight = prices("tversky", fp_weight, fn_weight)
        self.smooth = checks.number("tversky: smooth", smooth, above=0)
        self.task = task
        self.region = RegionMean("tversky", task, reduce, include_background, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        sums = self.region.sums(pixels)
        return self.region.mean(pixels, tversky_loss(sums, self.fp_weight, self.fn_weight, self.smooth), sums.seen)


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
        self.smooth = checks.number("jaccard: smooth", smooth, above=0)
        self.task = task
        self.region = RegionMean("jaccard", task, reduce, include_background, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        sums = self.region.sums(pixels)
        return self.region.mean(pixels, tversky_loss(sums, 1.0, 1.0, self.smooth), sums.seen)


class FocalTverskyLoss(nn.Module):
    """(1 - TI)^(1 / gamma) of each class, then the mean; TI is Tversky's index (Abraham & Khan 2019).

    gamma > 1 keeps the slope high for classes that are segmented well already. 1 - TI is taken as at least
    1e-6: at 0 the slope of the root is infinite.

    Args:
        task: any mode.
        gamma: > 0; 4/3 is the paper's, 1 is Tversky.
        fp_weight: price of false positives, >= 0.
        fn_weight: price of false negatives, >= 0.
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
        gamma: float = 4 / 3,
        fp_weight: float = 0.3,
        fn_weight: float = 0.7,
        smooth: float = 1.0,
        reduce: str = "batch",
        include_background: bool = True,
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.gamma = checks.number("focal_tversky: gamma", gamma, above=0)
        self.fp_weight, self.fn_weight = prices("focal_tversky", fp_weight, fn_weight)
        self.smooth = checks.number("focal_tversky: smooth", smooth, above=0)
        self.task = task
        self.region = RegionMean("focal_tversky", task, reduce, include_background, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        sums = self.region.sums(pixels)
        values = tversky_loss(sums, self.fp_weight, self.fn_weight, self.smooth)
        return self.region.mean(pixels, values.clamp(min=FLOOR).pow(1 / self.gamma), sums.seen)


def prices(name: str, fp_weight: float, fn_weight: float) -> tuple[float, float]:
    """The prices of false positives and negatives, checked.

    Raises:
        UserError: one of them is below 0.
    """
    return checks.number(f"{name}: fp_weight", fp_weight, 0), checks.number(f"{name}: fn_weight", fn_weight, 0)


def tversky_loss(sums: Sums, fp_weight: float, fn_weight: float, smooth: float) -> Tensor:
    """1 - (I + s) / (I + a (P - I) + b (Y - I) + s) per image and class, without the cancellation near 0."""
    errors = fp_weight * sums.claimed + fn_weight * sums.missed
    return errors / (sums.overlap + errors + smooth)

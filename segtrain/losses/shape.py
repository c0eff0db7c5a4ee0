"""Losses that look at neighbouring pixels: centre lines (clDice) and boundaries.

`loss=cldice`, `loss=boundary`; parameters in conf/loss/. Both are made of max-pooling, so they run on the device.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segtrain import checks
from segtrain.errors import UserError
from segtrain.losses.region import RegionMean, tversky_loss
from segtrain.losses.spread import Pixels, spread
from segtrain.task import Task


class CLDiceLoss(nn.Module):
    """(1 - a) Dice + a clDice: for tubes such as vessels, roads and cracks (Shit et al. 2021).

    clDice is the harmonic mean of two shares: of the predicted centre line that lies in the truth, and of the true
    centre line that is covered by the prediction; classes other than the background, mean. Centre lines are soft
    skeletons: what repeated erosion takes away and opening does not bring back. Ignored pixels count as outside.
    A class that does not occur has no centre line; it has Dice alone.

    Args:
        task: any mode.
        alpha: a in [0, 1], share of clDice.
        iterations: of the erosion, >= 1: at least the largest radius of the structures, in pixels.
        smooth: s > 0, in pixels.
        reduce: "batch" or "image", see RegionMean.
        include_background: multiclass only: whether class 0 takes part in Dice.
        sync: sum over the processes of a distributed run.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: a parameter out of range.
    """

    needs = ("sums",)

    def __init__(
        self,
        task: Task,
        alpha: float = 0.5,
        iterations: int = 3,
        smooth: float = 1.0,
        reduce: str = "batch",
        include_background: bool = True,
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.task = task
        self.alpha = checks.number("cldice: alpha", alpha, 0, 1)
        self.iterations = checks.whole("cldice: iterations", iterations, 1)
        self.smooth = checks.number("cldice: smooth", smooth, above=0)
        self.dice = RegionMean("cldice", task, reduce, include_background, sync)
        self.lines = RegionMean("cldice", task, reduce, False, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        sums = self.dice.sums(pixels)
        dice = tversky_loss(sums, 0.5, 0.5, self.smooth / 2)
        lines = torch.where(sums.truth > 0, 1 - self._lines(pixels), dice)
        regions = self.dice.mean(pixels, dice, sums.seen)
        return (1 - self.alpha) * regions + self.alpha * self.lines.mean(pixels, lines, sums.seen)

    def _lines(self, pixels: Pixels) -> Tensor:
        """clDice of each class, [N or 1, C]."""
        p, y = pixels.image(pixels.probabilities), pixels.image(pixels.memberships)
        with torch.no_grad():
            true_line = skeleton(y, self.iterations)
        line = skeleton(p, self.iterations)
        parts = (line * y, line, true_line * p, true_line)
        inside, length, covered, true_length = self.lines.summed(pixels, [part.sum((2, 3)) for part in parts])
        precision = (inside + self.smooth) / (length + self.smooth)
        sensitivity = (covered + self.smooth) / (true_length + self.smooth)
        return 2 * precision * sensitivity / (precision + sensitivity)


def skeleton(values: Tensor, iterations: int) -> Tensor:
    """Soft skeleton of [N, C, H, W] in [0, 1] (Shit et al. 2021, algorithm 1)."""
    line = F.relu(values - dilate(erode(values), 3))
    for _ in range(iterations):
        values = erode(values)
        rest = F.relu(values - dilate(erode(values), 3))
        line = line + F.relu(rest - line * rest)
    return line


def erode(values: Tensor) -> Tensor:
    """The least of each pixel and its four neighbours; outside the image there are none."""
    negative = -values
    columns, rows = F.max_pool2d(negative, (3, 1), 1, (1, 0)), F.max_pool2d(negative, (1, 3), 1, (0, 1))
    return -torch.maximum(columns, rows)


def dilate(values: Tensor, width: int) -> Tensor:
    """The largest in a square of the given odd width around each pixel."""
    return F.max_pool2d(values, width, 1, width // 2)


class BoundaryLoss(nn.Module):
    """1 - F1 of the boundaries, mean over classes and images (Bokhovkin & Burnaev 2019).

    A boundary is where the greatest 1 - p in a window exceeds 1 - p itself; precision and recall allow a
    distance. A class that is nowhere or everywhere has no boundary to find; it has Dice. Where nothing has an edge,
    right or wrong, there is no gradient: use it beside a region loss, best with a growing weight (dice_boundary).

    Args:
        task: any mode.
        width: of the window that finds boundaries, odd, in pixels; 3 is the paper's.
        tolerance: width of the window in which boundaries meet, odd, in pixels; the paper has 3 to 5.
        smooth: s > 0, in pixels.
        reduce: "batch" or "image", see RegionMean.
        include_background: multiclass only: whether class 0 takes part.
        sync: sum over the processes of a distributed run.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: a parameter out of range.
    """

    needs = ("sums",)
    not_promised: ClassVar = dict.fromkeys(
        ("right is best", "perfect is 0"), "a mask and its complement have boundaries at the same place"
    )

    def __init__(
        self,
        task: Task,
        width: int = 3,
        tolerance: int = 5,
        smooth: float = 1.0,
        reduce: str = "image",
        include_background: bool = True,
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.task = task
        self.width, self.tolerance = odd("boundary: width", width), odd("boundary: tolerance", tolerance)
        self.smooth = checks.number("boundary: smooth", smooth, above=0)
        self.region = RegionMean("boundary", task, reduce, include_background, sync)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        sums = self.region.sums(pixels)
        f1, true_length = self._f1(pixels)
        dice = tversky_loss(sums, 0.5, 0.5, self.smooth / 2)
        return self.region.mean(pixels, torch.where(true_length > 0, 1 - f1, dice), sums.seen)

    def _f1(self, pixels: Pixels) -> tuple[Tensor, Tensor]:
        """F1 and length of the true boundary of each class, [N or 1, C]."""
        valid = pixels.valid.unsqueeze(1) if self.task.exclusive else pixels.valid
        inside = pixels.image(valid.to(pixels.logits.dtype))
        line = self._boundary(pixels.image(pixels.probabilities), inside)
        with torch.no_grad():
            true_line = self._boundary(pixels.image(pixels.memberships), inside)
            near_truth = dilate(true_line, self.tolerance)
        parts = (line * near_truth, line, true_line * dilate(line, self.tolerance), true_line)
        hit, length, found, true_length = self.region.summed(pixels, [part.sum((2, 3)) for part in parts])
        precision = (hit + self.smooth) / (length + self.smooth)
        recall = (found + self.smooth) / (true_length + self.smooth)
        return 2 * precision * recall / (precision + recall), true_length

    def _boundary(self, values: Tensor, inside: Tensor) -> Tensor:
        """Where something outside is near, [N, C, H, W]; ignored pixels make and have no boundary."""
        outside = (1 - values) * inside
        return (dilate(outside, self.width) - outside) * inside


def odd(key: str, value: int) -> int:
    """An odd width of at least 3.

    Raises:
        UserError: it is even or too small.
    """
    if checks.whole(key, value, 3) % 2 == 0:
        raise UserError(f"{key} must be odd, so that the window has a middle; got {value}")
    return value

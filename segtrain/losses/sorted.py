"""Losses that sort the pixels by how wrong they are: Lovasz and online hard example mining.

`loss=lovasz`, `loss=ohem`; parameters in conf/loss/. Tensors keep their size whatever is ignored or selected, so
the host never waits for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segtrain import checks
from segtrain.losses.activations import integer
from segtrain.losses.spread import Pixels, spread
from segtrain.task import Task

MILLION = 10**6


class LovaszLoss(nn.Module):
    """Convex extension of 1 - IoU: hinge in binary and multilabel, softmax in multiclass (Berman et al. 2018).

    The errors, sorted from the largest, are weighted by how much each raises 1 - IoU: 1 / U for a foreground
    pixel and I / (U (U - 1)) for a background pixel, I and U being intersection and union with all pixels up to
    this one taken as wrong. (The differences of a running IoU, as commonly written, lose all digits in float32.)
    Softmax: mean over the classes that occur. Hinge: mean over the classes; where a class does not occur, whose
    extension would be the largest error alone, it is the mean hinge, so that every false positive is pushed down.

    Args:
        task: any mode.
        reduce: "batch" sorts the pixels of all images together, "image" each image's own, and averages over those
            that have a valid pixel.
        include_background: multiclass only: whether class 0 takes part.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: a parameter out of range.
    """

    needs = ()

    def __init__(self, task: Task, reduce: str = "batch", include_background: bool = True) -> None:
        super().__init__()
        self.task = task
        self.reduce = checks.choice("lovasz: reduce", reduce, ("batch", "image"))
        self.first = 0 if checks.flag("lovasz: include_background", include_background) or not task.exclusive else 1

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        classes = [self._class(pixels, *each) for each in self._errors(pixels)]
        values, counted = (torch.stack(each, dim=1) for each in zip(*classes, strict=True))  # [N or 1, C]
        by_image = (values * counted).sum(1) / counted.sum(1).clamp(min=1)
        seen = (counted.sum(1) > 0).to(values.dtype)
        if self.reduce == "image":
            return pixels.ratio((by_image * seen).sum(), seen.sum())
        return by_image.sum()

    def _errors(self, pixels: Pixels) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(error >= 0, label, valid) of each class, each [N, P] or [1, N P]; error and label 0 where ignored."""
        truth = pixels.memberships
        if self.task.exclusive:
            errors = (truth - pixels.probabilities).abs()
            valid = pixels.valid.unsqueeze(1).expand_as(truth)
        else:
            margin = (1 - pixels.erased * (2 * truth - 1)) * pixels.valid
            errors, valid = margin.clamp(min=0), pixels.valid
        rows = [tensor.unbind(1)[self.first :] for tensor in (errors, truth, valid)]
        flat = [[row.reshape(1, -1) if self.reduce == "batch" else row for row in each] for each in rows]
        return list(zip(*flat, strict=True))

    def _class(self, pixels: Pixels, errors: Tensor, truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of a class [N or 1], and whether it counts: it occurs (softmax), or anything is valid (hinge)."""
        total, seen = truth.sum(1, keepdim=True), valid.sum(1, keepdim=True)
        with torch.no_grad():
            weights = lovasz_weights(errors, truth, valid, total)
            if not self.task.exclusive:
                weights = torch.where(total > 0, weights, valid / seen.clamp(min=1))
        counted = (total if self.task.exclusive else seen) > 0
        return (errors * weights).sum(1), counted.squeeze(1).to(errors.dtype)


def lovasz_weights(errors: Tensor, truth: Tensor, valid: Tensor, total: Tensor) -> Tensor:
    """What each pixel's error adds to 1 - IoU, in the order of the errors; all [R, L], total [R, 1] = truth.sum(1).

    Errors are >= 0, so their bits sort like integers, which is twice as fast as sorting floats.
    """
    order = errors.contiguous().view(integer(errors)).bitwise_not().sort(dim=1).indices
    positive = truth.gather(1, order)
    negative = valid.gather(1, order).to(truth.dtype) - positive
    intersection = total - positive.cumsum(1)
    union = total + negative.cumsum(1)
    steps = positive / union + negative * intersection / (union * (union - 1)).clamp(min=1)
    return torch.empty_like(steps).scatter_(1, order, steps)


class OHEMLoss(nn.Module):
    """Cross entropy of the hardest pixels alone (online hard example mining, Shrivastava et al. 2016).

    Args:
        task: any mode; binary and multilabel: the yes-or-no choices of all classes together.
        share: of the valid pixels of a batch (of each process) that count, those with the largest loss, at most 1,
            which is cross entropy.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: share is out of range.
    """

    needs = ("nll",)

    def __init__(self, task: Task, share: float = 0.25) -> None:
        super().__init__()
        self.task = task
        self.share = checks.number("ohem: share", share, 1 / MILLION, 1)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        values = pixels.nll.flatten()
        parts = round(self.share * MILLION)  # in whole numbers: .1 of 10 in float32 is more than 1
        wanted = (pixels.valid.sum() * parts + MILLION - 1) // MILLION
        hardest = values.topk((len(values) * parts + MILLION - 1) // MILLION).values  # at most so many are wanted
        chosen = torch.arange(len(hardest), device=values.device) < wanted
        return pixels.ratio((hardest * chosen).sum(), wanted)

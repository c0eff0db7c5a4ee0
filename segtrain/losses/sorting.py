"""Losses that sort the pixels by how wrong they are: Lovasz and online hard example mining.

`loss=lovasz`, `loss=ohem`; parameters in conf/loss/. Tensors keep their size whatever is ignored or selected, so
the host never waits for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segtrain import checks
from segtrain.bits import integer
from segtrain.losses.spread import Pixels, spread
from segtrain.task import Task

MILLION = 10**6


class LovaszLoss(nn.Module):
    """Convex extension of 1 - IoU: hinge in binary and multilabel, softmax in multiclass (Berman et al. 2018).

    The errors, sorted from the largest, are weighted by how much each raises 1 - IoU: 1 / U for a foreground
    pixel and I / (U (U - 1)) for a background pixel, I and U being intersection and union with all pixels up to
    this one taken as wrong. (The differences of a running IoU, as commonly written, lose all digits in float32.)
    Softmax: mean over the classes that occur; where none of the kept ones does, their mean probability. Hinge: mean
    over the classes; one that does not occur, whose extension would be its largest error alone, has its cross
    entropy instead, so that no false positive is let off.

    Args:
        task: any mode.
        reduce: "batch" sorts the pixels of all images together, "image" each image's own, and averages over those
            that have a valid pixel.
        include_background: multiclass only: whether class 0 takes part.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: a parameter out of range.
    """

    def __init__(self, task: Task, reduce: str = "batch", include_background: bool = True) -> None:
        super().__init__()
        self.task = task
        self.needs = () if task.exclusive else ("nll",)
        self.reduce = checks.choice("lovasz: reduce", reduce, ("batch", "image"))
        self.first = 0 if checks.flag("lovasz: include_background", include_background) or not task.exclusive else 1

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        classes = zip(*map(self._class, *self._rows(pixels)), strict=True)
        losses, counted, seen = (torch.stack(each, dim=1) for each in classes)  # [N, C] or [1, C]
        counted = counted.where(counted.any(1, keepdim=True), seen)  # where no class occurs, all of them
        by_image = (losses * counted).sum(1) / counted.sum(1).clamp(min=1)  # [N], or [1] for the batch
        labelled = seen.any(1).to(losses.dtype)
        if self.reduce == "image":
            return pixels.ratio((by_image * labelled).sum(), labelled.sum())
        return by_image.sum()

    def _rows(self, pixels: Pixels) -> list[list[Tensor]]:
        """Errors >= 0, labels, validity, and what an absent class has; lists of one [N, P] or [1, N P] per class."""
        truth = pixels.memberships
        if self.task.exclusive:
            errors = (truth - pixels.probabilities).abs()
            valid = pixels.valid.unsqueeze(1).expand_as(truth)
            instead = errors  # p, where the class does not occur
        else:
            errors = ((1 - pixels.erased * (2 * truth - 1)) * pixels.valid).clamp(min=0)
            valid, instead = pixels.valid, pixels.nll
        rows = [tensor.unbind(1)[self.first :] for tensor in (errors, truth, valid, instead)]
        return [[row.reshape(1, -1) if self.reduce == "batch" else row for row in each] for each in rows]

    def _class(self, errors: Tensor, truth: Tensor, valid: Tensor, instead: Tensor) -> tuple[Tensor, ...]:
        """Loss of a class, whether it takes part in the mean, and whether anything is valid; each [N or 1]."""
        occurs, number = truth.sum(1) > 0, valid.sum(1)
        with torch.no_grad():
            weights = lovasz_weights(errors, truth)
        loss = torch.where(occurs, (errors * weights).sum(1), instead.sum(1) / number.clamp(min=1))
        seen = (number > 0).to(loss.dtype)
        return loss, occurs.to(loss.dtype) if self.task.exclusive else seen, seen


def lovasz_weights(errors: Tensor, truth: Tensor) -> Tensor:
    """What each pixel's error adds to 1 - IoU, in the order of the errors; all [R, L].

    Errors are >= 0, so their bits sort like integers, which is twice as fast as sorting floats. Ignored pixels have
    error 0, so they come after all that count, and what they add is multiplied by 0.
    """
    keys = errors.contiguous().view(integer(errors)).bitwise_not()
    # torch sorts integers by their digits in one dimension only
    order = keys.sort(dim=1).indices if len(keys) > 1 else keys[0].sort().indices.unsqueeze(0)
    positive = truth.gather(1, order)
    counting = truth.dtype if truth.shape[1] < 2**24 else torch.int64  # whole numbers that float32 can hold
    total, found = truth.sum(1, keepdim=True), positive.cumsum(1, dtype=counting)
    place = torch.arange(1, truth.shape[1] + 1, dtype=counting, device=truth.device)
    union = (place - found).to(truth.dtype).add_(total).clamp_(min=1)
    on_negative = (total - found.to(truth.dtype)).div_((union * (union - 1)).clamp_(min=1))
    return torch.empty_like(union).scatter_(1, order, on_negative.lerp_(union.reciprocal_(), positive))


class OHEMLoss(nn.Module):
    """Cross entropy of the hardest pixels alone (online hard example mining, Shrivastava et al. 2016).

    Args:
        task: any mode; binary and multilabel: the yes-or-no choices of all classes together.
        share: of the valid pixels of a batch (of each process) that count, those with the largest loss, rounded up; in
            [1e-6, 1], 1 is cross entropy.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: share is out of range.
    """

    needs = ("nll",)

    def __init__(self, task: Task, share: float = 0.25) -> None:
        super().__init__()
        self.task = task
        self.share = checks.number("ohem: share", share, 1 / MILLION, 1)
        easy = "the pixels that are not among the hardest have no gradient"
        self.not_promised = {"empty mask": easy} if self.share < 1 else {}

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

"""Losses that judge each pixel by itself: cross entropy and its weighted forms.

`loss=bce`, `loss=ce`, `loss=balanced_bce`; parameters in conf/loss/. Sums and means run over the valid
pixels alone (SMP and mmseg divide by all pixels, torch gives NaN where everything is ignored).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segtrain import checks
from segtrain.errors import UserError
from segtrain.losses.spread import mean_over, per_class, spread
from segtrain.losses.weights import balance, class_weights, known_shares, per_class_numbers
from segtrain.task import ClassStats, Task


class BCELoss(nn.Module):
    """Binary cross entropy: mean over valid pixels of -[w y log p + (1 - y) log(1 - p)].

    Args:
        task: binary or multilabel (multiclass: use ce).
        pos_weight: w, weight of the positives, > 0; one number, one per class, or None for 1.
        label_smoothing: e in [0, 1): targets become y (1 - e) + e / 2.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: multiclass task, or a parameter out of range.
    """

    weight: Tensor | None

    def __init__(
        self, task: Task, pos_weight: float | Sequence[float] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        require_binary_choices("bce", task)
        self.task = task
        self.smoothing = checks.number("bce: label_smoothing", label_smoothing, 0, 0.999)
        values = None if pos_weight is None else per_class_numbers("bce: pos_weight", pos_weight, task, above=0)
        self.register_buffer("weight", column(values), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        pixels = spread(logits, target, self.task)
        y = smooth(pixels.target.to(pixels.logits.dtype), self.smoothing)
        values = F.binary_cross_entropy_with_logits(pixels.logits, y, pos_weight=self.weight, reduction="none")
        return mean_over(pixels.valid, values)


class CELoss(nn.Module):
    """Cross entropy in every mode: softmax in multiclass, BCE in binary and multilabel.

    With weights, torch's rule: the weighted sum is divided by the sum of the weights of the targets.

    Args:
        task: any mode.
        class_weights: None, one weight >= 0 per class, or "auto": 1 / sqrt(share of the class in the
            training set), scaled to mean 1. Multiclass only.
        label_smoothing: in [0, 1).
        stats: of the training set, for "auto".

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: a parameter out of range, or weights in a mode that has no exclusive classes.
    """

    weight: Tensor | None

    def __init__(
        self,
        task: Task,
        class_weights: str | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        stats: ClassStats | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.smoothing = checks.number("ce: label_smoothing", label_smoothing, 0, 0.999)
        if class_weights is not None and not task.exclusive:
            raise UserError(f"ce: class_weights need a multiclass task, this one is {task.mode}; use bce: pos_weight")
        self.register_buffer("weight", _weights(class_weights, task, stats), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        pixels = spread(logits, target, self.task)
        if not self.task.exclusive:
            y = smooth(pixels.target.to(pixels.logits.dtype), self.smoothing)
            return mean_over(pixels.valid, F.binary_cross_entropy_with_logits(pixels.logits, y, reduction="none"))
        labels = pixels.target.masked_fill(~pixels.valid, self.task.ignore_index)
        weight = None if self.weight is None else self.weight.to(pixels.logits.dtype)
        total = F.cross_entropy(
            pixels.logits,
            labels,
            weight,
            ignore_index=self.task.ignore_index,
            reduction="sum",
            label_smoothing=self.smoothing,
        )
        counted = pixels.valid.to(total.dtype) if weight is None else weight[pixels.target] * pixels.valid
        return total / counted.sum().clamp(min=torch.finfo(total.dtype).tiny)


class BalancedBCELoss(nn.Module):
    """Class-balanced binary cross entropy; two losses go by this name, so the form is explicit.

        weighted (default): -[beta y log p + (1 - y) log(1 - p)]           (Jadon 2020, table III)
            beta > 1: fewer false negatives; beta < 1: fewer false positives
        hed:               -2 [beta y log p + (1 - beta) (1 - y) log(1 - p)]   (Xie & Tu 2015, eq. 2)
            0 < beta < 1; the factor 2 makes beta = .5 equal BCE

    Args:
        task: binary or multilabel (multiclass: use ce with class_weights).
        form: "weighted" or "hed".
        beta: a number, one per class, "auto" (from the training set: negatives / positives, hed: negatives
            / all; clamped) or "batch" (the same from the valid pixels of each batch).
        normalize: divide by the mean weight on the training set, so that equal learning rates are fair.
        stats: of the training set, for "auto" and normalize.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: multiclass task, unknown form, beta outside the form's range, stats missing.
    """

    beta: Tensor | None

    def __init__(
        self,
        task: Task,
        form: str = "weighted",
        beta: float | str | Sequence[float] = "auto",
        normalize: bool = False,
        stats: ClassStats | None = None,
    ) -> None:
        super().__init__()
        require_binary_choices("balanced_bce", task)
        self.task = task
        self.form = checks.choice("balanced_bce: form", form, ("weighted", "hed"))
        values = self._values(beta, stats)
        self.register_buffer("beta", column(values), persistent=False)
        self.scale: list[float] | None = None
        if checks.flag("balanced_bce: normalize", normalize):
            self.scale = self._mean_weight(values, stats)

    def _values(self, beta: float | str | Sequence[float], stats: ClassStats | None) -> list[float] | None:
        """Beta per class; None where it is taken from each batch."""
        if beta == "batch":
            return None
        if beta == "auto":
            shares = known_shares("balanced_bce: beta=auto", stats, self.task)
            return balance(torch.tensor(shares, dtype=torch.float64), self.form).tolist()
        high = 1 - 1e-6 if self.form == "hed" else float("inf")
        return per_class_numbers(f"balanced_bce ({self.form} form): beta", beta, self.task, above=0, high=high)

    def _mean_weight(self, values: list[float] | None, stats: ClassStats | None) -> list[float]:
        if values is None:
            raise UserError("balanced_bce: normalize needs a fixed beta (a number or auto), not beta=batch")
        shares = known_shares("balanced_bce: normalize", stats, self.task)
        pairs = zip(values, shares, strict=True)
        if self.form == "hed":
            return [2 * (beta * share + (1 - beta) * (1 - share)) for beta, share in pairs]
        return [beta * share + (1 - share) for beta, share in pairs]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        pixels = spread(logits, target, self.task)
        y = pixels.target.to(pixels.logits.dtype)
        beta = self._batch_beta(y, pixels.valid) if self.beta is None else self.beta
        on_positive, on_negative = (2 * beta, 2 * (1 - beta)) if self.form == "hed" else (beta, torch.ones_like(beta))
        weight = torch.where(pixels.target == 1, on_positive, on_negative)
        values = weight * F.binary_cross_entropy_with_logits(pixels.logits, y, reduction="none")
        if self.scale is not None:
            values = values / per_class(self.scale, values)
        return mean_over(pixels.valid, values)

    def _batch_beta(self, y: Tensor, valid: Tensor) -> Tensor:
        share = (y * valid).sum((0, 2)) / valid.sum((0, 2)).clamp(min=1)
        return balance(share, self.form).unsqueeze(1)


def require_binary_choices(name: str, task: Task) -> None:
    """Refuse a multiclass task: its classes exclude each other, so they are not yes-or-no choices.

    Raises:
        UserError: naming `ce`, which is what the user wants there.
    """
    if task.exclusive:
        raise UserError(f"loss {name} is for binary and multilabel tasks; this one is multiclass: use loss=ce")


def smooth(y: Tensor, amount: float) -> Tensor:
    """Targets moved towards one half: y (1 - e) + e / 2."""
    return y * (1 - amount) + amount / 2 if amount else y


def column(values: Sequence[float] | None) -> Tensor | None:
    """Per-class numbers as [C, 1], to stand beside [N, C, P]; None stays None."""
    return None if values is None else torch.tensor(values, dtype=torch.float32).unsqueeze(1)


def _weights(spec: str | Sequence[float] | None, task: Task, stats: ClassStats | None) -> Tensor | None:
    values = class_weights("ce: class_weights", spec, task, stats)
    return None if values is None else torch.tensor(values, dtype=torch.float32)

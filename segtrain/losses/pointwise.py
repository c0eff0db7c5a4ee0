"""Losses that judge each pixel by itself: cross entropy and its weighted forms.

`loss=bce`, `loss=ce`, `loss=balanced_bce`, `loss=poly`; parameters in conf/loss/. Sums and means run over the
valid pixels alone (SMP and mmseg divide by all pixels, torch gives NaN where everything is ignored), of all
processes in a distributed training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segtrain import checks
from segtrain.errors import UserError
from segtrain.losses.spread import Pixels, spread
from segtrain.losses.weights import balance, known_shares, per_class_numbers, weights_from
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
        self.needs = () if self.smoothing else ("nll",)
        values = None if pos_weight is None else per_class_numbers("bce: pos_weight", pos_weight, task, above=0)
        self.register_buffer("weight", column(values), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        if self.smoothing:
            return pixels.mean(smoothed_bce(pixels, self.smoothing, self.weight))
        values = pixels.nll if self.weight is None else pixels.nll * torch.where(pixels.labels, self.weight, 1.0)
        return pixels.mean(values)


class CELoss(nn.Module):
    """Cross entropy in every mode: softmax in multiclass, BCE in binary and multilabel.

    With weights, torch's rule: the weighted sum is divided by the sum of the weights of the targets.

    Args:
        task: any mode.
        class_weights: None, one weight >= 0 per class, or from the training set: "inverse", "sqrt" (or "auto"),
            "median_frequency", "enet", "effective" (see weights.py). Multiclass only.
        label_smoothing: in [0, 1).
        stats: of the training set.

    Attributes:
        derived: what was computed from the training set, one number per class, by parameter.

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
        self.needs = () if self.smoothing else ("nll",)
        if class_weights is not None and not task.exclusive:
            raise UserError(f"ce: class_weights need a multiclass task, this one is {task.mode}; use bce: pos_weight")
        values = weights_from("ce: class_weights", class_weights, task, stats)
        self.derived = {"class_weights": values} if isinstance(class_weights, str) and values else {}
        self.register_buffer("weight", None if values is None else torch.tensor(values), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        if not self.task.exclusive:
            return pixels.mean(smoothed_bce(pixels, self.smoothing) if self.smoothing else pixels.nll)
        values = self._smoothed(pixels) if self.smoothing else pixels.nll
        if self.weight is None:
            return pixels.mean(values)
        weights = self.weight.to(values.dtype)[pixels.labels] * pixels.valid
        return pixels.ratio((values if self.smoothing else values * weights).sum(), weights.sum())

    def _smoothed(self, pixels: Pixels) -> Tensor:
        """torch's smoothed cross entropy of each pixel, with the weights of all classes in it."""
        labels = pixels.labels.masked_fill(~pixels.valid, self.task.ignore_index)
        weight = None if self.weight is None else self.weight.to(pixels.logits.dtype)
        ignore, smoothing = self.task.ignore_index, self.smoothing
        return F.cross_entropy(
            pixels.erased, labels, weight, ignore_index=ignore, reduction="none", label_smoothing=smoothing
        )


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

    Attributes:
        derived: beta, if it was computed from the training set, one number per class.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: multiclass task, unknown form, beta outside the form's range, stats missing.
    """

    needs = ("nll",)
    beta: Tensor | None
    scale: Tensor | None

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
        self.derived = {"beta": values} if beta == "auto" and values else {}
        self.register_buffer("beta", column(values), persistent=False)
        scale = self._mean_weight(values, stats) if checks.flag("balanced_bce: normalize", normalize) else None
        self.register_buffer("scale", column(scale), persistent=False)

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
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        beta = self._batch_beta(pixels) if self.beta is None else self.beta
        on_positive, on_negative = (2 * beta, 2 * (1 - beta)) if self.form == "hed" else (beta, torch.ones_like(beta))
        if self.scale is not None:
            on_positive, on_negative = on_positive / self.scale, on_negative / self.scale
        return pixels.mean(pixels.nll * torch.where(pixels.labels, on_positive, on_negative))

    def _batch_beta(self, pixels: Pixels) -> Tensor:
        """Beta [C, 1] from the labels of this batch, of all processes in training."""
        positive, valid = (mask.sum((0, 2)).to(pixels.logits.dtype) for mask in (pixels.labels, pixels.valid))
        positive, valid = pixels.everywhere(torch.stack([positive, valid])).unbind()
        return balance(positive / valid.clamp(min=1), self.form).unsqueeze(1)


class PolyLoss(nn.Module):
    """Poly-1: -log p_t + epsilon (1 - p_t), mean over valid pixels (Leng et al. 2022, eq. 5).

    Cross entropy is the sum of (1 - p_t)^j / j over j = 1, 2, ..; epsilon changes the weight of its first term.

    Args:
        task: any mode.
        epsilon: >= -1; above 0 it adds to the gradient of pixels that are right already; 0 is cross entropy.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: epsilon is below -1, where being wrong would pay.
    """

    needs = ("nll",)

    def __init__(self, task: Task, epsilon: float = 1.0) -> None:
        super().__init__()
        self.task = task
        self.epsilon = checks.number("poly: epsilon", epsilon, -1)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        return pixels.mean(pixels.nll - self.epsilon * torch.expm1(-pixels.nll))


def require_binary_choices(name: str, task: Task) -> None:
    """Refuse a multiclass task: its classes exclude each other, so they are not yes-or-no choices.

    Raises:
        UserError: naming `ce`, which is what the user wants there.
    """
    if task.exclusive:
        raise UserError(f"loss {name} is for binary and multilabel tasks; this one is multiclass: use loss=ce")


def smoothed_bce(pixels: Pixels, amount: float, pos_weight: Tensor | None = None) -> Tensor:
    """BCE of each pixel with targets moved towards one half, y (1 - e) + e / 2; 0 where ignored."""
    y = pixels.labels.to(pixels.logits.dtype) * (1 - amount) + amount / 2
    values = F.binary_cross_entropy_with_logits(pixels.erased, y, pos_weight=pos_weight, reduction="none")
    return values * pixels.valid


def column(values: Sequence[float] | None) -> Tensor | None:
    """Per-class numbers as [C, 1], to stand beside [N, C, P]; None stays None."""
    return None if values is None else torch.tensor(values, dtype=torch.float32).unsqueeze(1)

"""Focal loss: cross entropy that spends less on pixels already classified well.

    FL = -alpha_t (1 - p_t)^gamma log p_t        (Lin et al. 2017, eq. 5), mean over valid pixels

`loss=focal` on the command line; parameters in conf/loss/focal.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segtrain import checks
from segtrain.errors import UserError
from segtrain.losses.activations import Focus
from segtrain.losses.spread import Pixels, spread
from segtrain.losses.weights import known_shares, per_class_numbers, weights_from
from segtrain.task import ClassStats, Task


class FocalLoss(nn.Module):
    """Args:
        task: binary, multiclass or multilabel, with its ignore index.
        gamma: focusing exponent, >= 0; 0 is plain cross entropy. 2.0 is Lin et al.'s.
        alpha: None; binary and multilabel: weight of the positives in [0, 1] (one number, or one per
            class; the negatives get 1 - alpha); multiclass: a list with one weight >= 0 per class;
            "auto": from the training set (share of the negatives; multiclass: 1 / sqrt(share), mean 1 over pixels, or
            another weighting by its name, see weights.py).
        stats: of the training set, for "auto".

    Attributes:
        derived: alpha, if it was computed from the training set, one number per class.

    Shape: logits [N, C, H, W], target as the task says; returns a scalar, float32.

    Raises:
        UserError: gamma or alpha is out of range or does not fit the task.
    """

    needs = ("nll",)
    alpha: Tensor | None

    def __init__(
        self,
        task: Task,
        gamma: float = 2.0,
        alpha: float | str | Sequence[float] | None = None,
        stats: ClassStats | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.gamma = checks.number("focal: gamma", gamma, 0)
        values = _alpha_values(alpha, task, stats)
        self.derived = {"alpha": values} if isinstance(alpha, str) and values else {}
        self.register_buffer("alpha", None if values is None else torch.tensor(values), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.of(spread(logits, target, self.task, self.needs, self.training))

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of pixels that are spread already."""
        values = pixels.nll if self.gamma == 0 else focus(pixels.nll, self.gamma)
        return pixels.mean(values if self.alpha is None else values * self._weight(pixels))

    def _weight(self, pixels: Pixels) -> Tensor:
        """alpha_t of each pixel, the shape of the target."""
        assert self.alpha is not None
        alpha = self.alpha.to(pixels.logits.dtype)
        if self.task.exclusive:
            return alpha[pixels.labels]
        alpha = alpha.unsqueeze(1)
        return torch.where(pixels.labels, alpha, 1 - alpha)


def focus(nll: Tensor, gamma: float) -> Tensor:
    """(1 - p_t)^gamma nll, with a finite gradient near p_t = 1 for gamma < 1 too."""
    focused: Tensor = Focus.apply(nll, gamma)
    return focused


def _alpha_values(
    alpha: float | str | Sequence[float] | None, task: Task, stats: ClassStats | None
) -> list[float] | None:
    if alpha is None:
        return None
    if task.exclusive:
        if isinstance(alpha, (int, float)):
            raise UserError(
                f"focal: alpha in multiclass is a list of {task.num_classes} weights or auto, got {alpha!r}"
            )
        return weights_from("focal: alpha", alpha, task, stats)
    if isinstance(alpha, str):
        checks.choice("focal: alpha", alpha, ("auto",))
        return [1 - share for share in known_shares("focal: alpha=auto", stats, task)]
    return per_class_numbers("focal: alpha", alpha, task, low=0, high=1)

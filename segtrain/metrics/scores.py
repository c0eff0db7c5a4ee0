"""Scores as pure functions of integer counts.

Counts are confusion matrices, rows = truth, columns = prediction: [..., C, C] in multiclass,
[..., K, 2, 2] (one yes-or-no matrix per class) in binary and multilabel. A class that occurs neither in
the truth nor in the prediction has no score (NaN) and is left out of means.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from segtrain.task import Task

NAMES = ("iou", "dice", "precision", "recall")


class Rates(NamedTuple):
    """True positives, false positives and false negatives of each class, each [..., C]."""

    tp: Tensor
    fp: Tensor
    fn: Tensor


def rates(counts: Tensor, task: Task) -> Rates:
    """True and false positives and false negatives per class, from counts of the task's form."""
    if task.exclusive:
        tp = counts.diagonal(dim1=-2, dim2=-1)
        return Rates(tp, counts.sum(-2) - tp, counts.sum(-1) - tp)
    return Rates(counts[..., 1, 1], counts[..., 0, 1], counts[..., 1, 0])


def score(name: str, counts: Rates) -> Tensor:
    """One score per class, [..., C]; NaN where the class is absent from truth and prediction.

    iou = tp / (tp + fp + fn), dice = 2 tp / (2 tp + fp + fn), precision = tp / (tp + fp), recall =
    tp / (tp + fn); precision without any prediction and recall without any truth are 0.

    Args:
        name: one of NAMES.
        counts: per class; the dtype of floating counts is kept, integers become float64.
    """
    tp, fp, fn = (c if c.is_floating_point() else c.double() for c in counts)
    union = tp + fp + fn
    below = {"iou": union, "dice": tp + union, "precision": tp + fp, "recall": tp + fn}[name]
    above = 2 * tp if name == "dice" else tp
    return torch.where(union > 0, above / below.clamp(min=1), torch.nan)


def accuracy(counts: Tensor, task: Task) -> Tensor:
    """Share of the labelled pixels (multilabel: of the yes-or-no decisions) that are right; a scalar."""
    right = counts.diagonal(dim1=-2, dim2=-1).sum()
    return right.double() / counts.sum()


def dataset_scores(counts: Tensor, task: Task, include_background: bool = True) -> dict[str, Tensor]:
    """All scores of a data set from its summed counts.

    Args:
        counts: int64, [C, C] or [K, 2, 2].
        task: mode and class names.
        include_background: multiclass only: whether class 0 takes part in means and in micro scores.

    Returns:
        "iou", "dice", "precision", "recall" (means over classes), "accuracy", "micro/<score>" (counts
        summed over classes first), "class/iou_<name>" and "class/dice_<name>"; float64 scalars.
    """
    first = 0 if include_background or not task.exclusive else 1
    by_class = rates(counts, task)
    kept = Rates(*(c[first:] for c in by_class))
    summed = Rates(*(c.sum() for c in kept))
    result = {name: score(name, kept).nanmean() for name in NAMES}
    result["accuracy"] = accuracy(counts, task)
    result |= {f"micro/{name}": score(name, summed) for name in ("iou", "dice")}
    for name in ("iou", "dice"):
        values = score(name, by_class)
        result |= {f"class/{name}_{label}": value for label, value in zip(task.names, values, strict=True)}
    return result


def image_scores(counts: Tensor, task: Task, name: str, include_background: bool, empty_score: float) -> Tensor:
    """Score of each image: the mean over its classes, [N]; NaN where no class or no pixel of it can be scored.

    False positives on an image without the class count as 0, they are never hidden.

    Args:
        counts: of each image, [N, C, C] or [N, K, 2, 2].
        task: mode.
        name: "iou" or "dice".
        include_background: as in dataset_scores.
        empty_score: what a class counts that is absent from truth and prediction; NaN leaves it out.
    """
    first = 0 if include_background or not task.exclusive else 1
    # float32 (units in the last place ~ 6e-8) runs on every device; Apple's GPUs have no float64
    values = score(name, Rates(*(c[:, first:].float() for c in rates(counts, task))))
    labelled = counts.flatten(1).sum(1) > 0  # an image that is ignored altogether is not an empty one
    return values.nan_to_num(nan=empty_score).nanmean(1).masked_fill(~labelled, torch.nan)

"""What calibration scores are, said again in NumPy: float64, one class at a time, loops where they are clearer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch import Tensor

from segtrain.task import Task

Array = npt.NDArray[np.float64]


def probabilities(task: Task, logits: Tensor) -> Array:
    """[C, pixels] of all images."""
    z = logits.double().movedim(1, 0).flatten(1).numpy()
    if not task.exclusive:
        return np.asarray(1 / (1 + np.exp(-z)))
    powers = np.exp(z - z.max(0))
    return np.asarray(powers / powers.sum(0))


def decisions(task: Task, logits: Tensor, target: Tensor) -> Iterator[tuple[Array, Array]]:
    """(probability, label) of the labelled pixels, per class; multiclass: of the largest, and whether it is right."""
    p = probabilities(task, logits)
    ids = target.view(len(target), -1, *target.shape[-2:]).movedim(1, 0).flatten(1).numpy()
    if task.exclusive:
        kept = ids[0] != task.ignore_index
        yield p.max(0)[kept], (p.argmax(0) == ids[0])[kept].astype(float)
        return
    for each, label in zip(p, ids, strict=True):
        kept = label != task.ignore_index
        yield each[kept], (label[kept] == 1).astype(float)


def nll_and_brier(task: Task, logits: Tensor, target: Tensor) -> tuple[float, float]:
    """Means over the labelled decisions."""
    if not task.exclusive:
        p, y = (np.concatenate(parts) for parts in zip(*decisions(task, logits, target), strict=True))
        return float(-np.log(np.where(y == 1, p, 1 - p)).mean()), float(((p - y) ** 2).mean())
    p, ids = probabilities(task, logits), target.flatten().numpy()
    p, ids = p[:, ids != task.ignore_index], ids[ids != task.ignore_index]
    truth = np.arange(task.num_classes)[:, None] == ids
    return float(-np.log((p * truth).sum(0)).mean()), float(((p - truth) ** 2).sum(0).mean())


def ece(task: Task, logits: Tensor, target: Tensor, bins: int = 16) -> float:
    """Mean over classes of the expected calibration error; bins (m/16, (m+1)/16]."""
    errors = []
    for p, y in decisions(task, logits, target):
        place = np.ceil(p * bins) - 1
        gaps = [abs(p[place == m].sum() - y[place == m].sum()) for m in range(bins)]
        errors += [sum(gaps) / len(p)] if len(p) else []
    return float(np.mean(errors))

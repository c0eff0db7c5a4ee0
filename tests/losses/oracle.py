"""The losses once more, from their definitions alone: Python floats, one pixel at a time, nothing of segtrain.losses.

Each returns a function (logits, target) -> float. Slow on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from segtrain.task import Task

Oracle = Callable[[Tensor, Tensor], float]
Formula = Callable[[float, float, float], float]
Array = npt.NDArray[np.float64]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def choices(logits: Tensor, target: Tensor, task: Task) -> Iterator[tuple[int, int, float, int]]:
    """Each labelled yes-or-no choice of a binary or multilabel batch: image, class, probability, label."""
    ids = target.view(logits.shape)
    for (n, c, h, w), z in np.ndenumerate(logits.double().numpy()):
        y = int(ids[n, c, h, w])
        if y != task.ignore_index:
            yield n, c, sigmoid(float(z)), y


def labelled(logits: Tensor, target: Tensor, task: Task) -> Iterator[tuple[int, list[float], int]]:
    """Each labelled pixel of a multiclass batch: image, probabilities, id."""
    for (n, h, w), label in np.ndenumerate(target.numpy()):
        if label != task.ignore_index:
            powers = [math.exp(float(z)) for z in logits[n, :, h, w]]
            yield n, [power / sum(powers) for power in powers], int(label)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def bce(task: Task, weights: Sequence[float] | None = None, smoothing: float = 0.0) -> Oracle:
    """-[w y log p + (1 - y) log(1 - p)], y moved towards 1/2."""

    def value(logits: Tensor, target: Tensor) -> float:
        terms = []
        for _, c, p, label in choices(logits, target, task):
            y = label * (1 - smoothing) + smoothing / 2
            terms.append(-((weights[c] if weights else 1) * y * math.log(p) + (1 - y) * math.log(1 - p)))
        return mean(terms)

    return value


def ce(task: Task, weights: Sequence[float]) -> Oracle:
    """-w_t log p_t, divided by the sum of w_t."""

    def value(logits: Tensor, target: Tensor) -> float:
        pairs = [(weights[label], math.log(p[label])) for _, p, label in labelled(logits, target, task)]
        return -sum(w * log for w, log in pairs) / sum(w for w, _ in pairs)

    return value


def balanced(
    task: Task, form: str, betas: Sequence[float] | None = None, shares: Sequence[float] | None = None
) -> Oracle:
    """Weighted or HED form; betas None: from the batch; shares: divide by the mean weight at these shares."""

    def beta_of(values: list[tuple[int, int, float, int]], c: int) -> float:
        if betas:
            return betas[c]
        labels = [y for _, k, _, y in values if k == c]
        share = min(max(mean(labels), 0.001), 0.999)
        return 1 - share if form == "hed" else (1 - share) / share

    def value(logits: Tensor, target: Tensor) -> float:
        values, terms = list(choices(logits, target, task)), []
        beta = [beta_of(values, c) for c in range(task.num_classes)]
        for _, c, p, y in values:
            yes, no = (2 * beta[c], 2 * (1 - beta[c])) if form == "hed" else (beta[c], 1.0)
            scale = yes * shares[c] + no * (1 - shares[c]) if shares else 1.0
            terms.append(-(yes * y * math.log(p) + no * (1 - y) * math.log(1 - p)) / scale)
        return mean(terms)

    return value


def focal(task: Task, gamma: float, alpha: Sequence[float] | None = None) -> Oracle:
    """-alpha_t (1 - p_t)^gamma log p_t."""

    def weight(c: int, y: int) -> float:
        return 1.0 if alpha is None else alpha[c] if y else 1 - alpha[c]

    def value(logits: Tensor, target: Tensor) -> float:
        if task.exclusive:
            pairs = [(alpha[y] if alpha else 1.0, p[y]) for _, p, y in labelled(logits, target, task)]
        else:
            pairs = [(weight(c, y), p if y else 1 - p) for _, c, p, y in choices(logits, target, task)]
        return mean([-w * (1 - p) ** gamma * math.log(p) for w, p in pairs])

    return value


def region(
    task: Task, formula: Formula, reduce: str = "batch", include_background: bool = True, squared: bool = False
) -> Oracle:
    """Mean of 1 - formula(I, P, Y) over the classes that have a valid pixel (of each image)."""

    def value(logits: Tensor, target: Tensor) -> float:
        sums = np.zeros((len(logits), task.num_classes, 3))
        seen = np.zeros((len(logits), task.num_classes), dtype=bool)
        for n, c, p, y in memberships(logits, target, task):
            seen[n, c] = True
            sums[n, c] += (p * y, p * p if squared else p, y)
        if reduce == "batch":
            sums, seen = sums.sum(0, keepdims=True), seen.any(0, keepdims=True)
        first = 0 if include_background or not task.exclusive else 1
        return mean([1 - formula(*sums[n, c]) for n, c in np.argwhere(seen) if c >= first])

    return value


def memberships(logits: Tensor, target: Tensor, task: Task) -> Iterator[tuple[int, int, float, int]]:
    """Every labelled pixel and class: image, class, probability, whether it belongs."""
    if not task.exclusive:
        yield from choices(logits, target, task)
        return
    for n, p, label in labelled(logits, target, task):
        for c in range(task.num_classes):
            yield n, c, p[c], int(c == label)


def dice(smooth: float) -> Formula:
    return lambda i, p, y: (2 * i + smooth) / (p + y + smooth)


def tversky(fp_weight: float, fn_weight: float, smooth: float) -> Formula:
    return lambda i, p, y: (i + smooth) / (i + fp_weight * (p - i) + fn_weight * (y - i) + smooth)

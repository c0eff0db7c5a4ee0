"""References for the losses over tables of counts, sorted pixels and neighbourhoods; see oracle.py.

Written from the papers' definitions, with loops over pixels and windows, nothing of segtrain.losses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor

from segtrain.task import Task
from tests.losses import oracle
from tests.losses.oracle import Array, Formula, Oracle, choices, labelled, mean

FLOOR = 1e-6  # of 1 - TI under a root
Place = tuple[int, int, int]
Score = Callable[[Array, Array, Array], float]  # p, y and valid of one class, each [n, H, W]


# ---- from the likelihood of each pixel --------------------------------------------------------------------------


def own(logits: Tensor, target: Tensor, task: Task) -> list[tuple[float, bool]]:
    """p_t of each labelled pixel or choice, and whether it is foreground (multiclass: not class 0)."""
    if task.exclusive:
        return [(p[label], label > 0) for _, p, label in labelled(logits, target, task)]
    return [(p if y else 1 - p, bool(y)) for _, _, p, y in choices(logits, target, task)]


def poly(task: Task, epsilon: float) -> Oracle:
    """-log p_t + epsilon (1 - p_t)."""
    return lambda *batch: mean([-math.log(p) + epsilon * (1 - p) for p, _ in own(*batch, task)])


def ohem(task: Task, count: Callable[[int], int]) -> Oracle:
    """Mean of the count(V) largest -log p_t of V."""

    def value(logits: Tensor, target: Tensor) -> float:
        losses = sorted((-math.log(p) for p, _ in own(logits, target, task)), reverse=True)
        return mean(losses[: count(len(losses))])

    return value


# ---- from sums over each class ----------------------------------------------------------------------------------


def focal_tversky(gamma: float, fp_weight: float, fn_weight: float, smooth: float) -> Formula:
    """A formula for oracle.region, which takes it from 1."""
    index = oracle.tversky(fp_weight, fn_weight, smooth)
    return lambda i, p, y: 1 - max(1 - index(i, p, y), FLOOR) ** (1 / gamma)


def maps(logits: Tensor, target: Tensor, task: Task) -> tuple[Array, Array, Array]:
    """Probability, membership and whether it is labelled, of each pixel and class; [N, C, H, W], 0 where ignored."""
    p, y, valid = (np.zeros(tuple(logits.shape)) for _ in range(3))
    for (n, h, w), _ in np.ndenumerate(logits[:, 0].numpy()):
        powers = [math.exp(float(z)) for z in logits[n, :, h, w]]
        for c, power in enumerate(powers):
            label = int(target[n, h, w] if target.ndim == 3 else target[n, c, h, w])
            if label == task.ignore_index:
                continue
            valid[n, c, h, w] = 1
            p[n, c, h, w] = power / sum(powers) if task.exclusive else power / (1 + power)
            y[n, c, h, w] = label == c if task.exclusive else label
    return p, y, valid


def groups(valid: Array, reduce: str) -> Iterator[slice]:
    """What is summed together: all images, or each that has a valid pixel."""
    if reduce == "batch":
        yield slice(None)
    else:
        yield from (slice(n, n + 1) for n in range(len(valid)) if valid[n].any())


def per_class(task: Task, score: Score, reduce: str = "batch", include_background: bool = True) -> Oracle:
    """Mean of the score of one class in one group, over all such pairs that have a valid pixel."""

    def value(logits: Tensor, target: Tensor) -> float:
        p, y, valid = maps(logits, target, task)
        kept = range(0 if include_background or not task.exclusive else 1, task.num_classes)
        return mean(
            [score(p[g, c], y[g, c], valid[g, c]) for g in groups(valid, reduce) for c in kept if valid[g, c].any()]
        )

    return value


def mcc(smooth: float) -> Score:
    """1 - MCC with `smooth` pixels more in TP and TN."""

    def score(p: Array, y: Array, valid: Array) -> float:
        tp, tn = (p * y).sum() + smooth, ((1 - p) * (1 - y) * valid).sum() + smooth
        fp, fn = (p * (1 - y)).sum(), ((1 - p) * y).sum()
        return float(1 - (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))

    return score


WEIGHTINGS: dict[str, Callable[[float], float]] = {
    "square": lambda n: 1 / max(n, 1) ** 2,
    "simple": lambda n: 1 / max(n, 1),
    "uniform": lambda _: 1.0,
}


def generalized_dice(
    task: Task,
    weighting: str = "square",
    smooth: float = 1.0,
    reduce: str = "batch",
    include_background: bool = True,
) -> Oracle:
    """1 - (2 sum(w I) + s) / (sum(w (P + Y)) + s); each label's foreground and background, or all kept classes.

    The largest weight is 1; a class that does not occur has it too.
    """

    def score(classes: list[tuple[Array, Array]]) -> float:
        found = [WEIGHTINGS[weighting](y.sum()) if y.any() else None for _, y in classes]
        largest = max([w for w in found if w is not None], default=1.0)
        weights = [1.0 if w is None else w / largest for w in found]
        above = sum(w * 2 * (p * y).sum() for w, (p, y) in zip(weights, classes, strict=True))
        below = sum(w * (p + y).sum() for w, (p, y) in zip(weights, classes, strict=True))
        return float(1 - (above + smooth) / (below + smooth))

    def value(logits: Tensor, target: Tensor) -> float:
        p, y, valid = maps(logits, target, task)
        if task.exclusive:
            kept = range(0 if include_background else 1, task.num_classes)
            return mean([score([(p[g, c], y[g, c]) for c in kept]) for g in groups(valid, reduce)])
        return per_class(task, lambda p, y, v: score([(p, y), ((1 - p) * v, (1 - y) * v)]), reduce)(logits, target)

    return value


def unified_focal(
    task: Task, weight: float, delta: float, gamma: float, smooth: float, reduce: str = "batch"
) -> Oracle:
    """Asymmetric: the background's cross entropy is focused, the foreground's Tversky index enhanced."""
    index = oracle.tversky(1 - delta, delta, smooth)

    def tversky(p: Array, y: Array, foreground: bool) -> float:
        missing = 1 - index((p * y).sum(), p.sum(), y.sum())
        return max(missing, FLOOR) ** (1 - gamma) if foreground else missing

    def yes_and_no(p: Array, y: Array, valid: Array) -> float:
        return mean([tversky(p, y, True), tversky((1 - p) * valid, (1 - y) * valid, False)])

    def exclusive(logits: Tensor, target: Tensor) -> float:
        p, y, valid = maps(logits, target, task)
        return mean([tversky(p[g, c], y[g, c], c > 0) for g in groups(valid, reduce) for c in range(task.num_classes)])

    def value(logits: Tensor, target: Tensor) -> float:
        entropy = mean(
            [
                -delta * math.log(p) if foreground else -(1 - delta) * (1 - p) ** gamma * math.log(p)
                for p, foreground in own(logits, target, task)
            ]
        )
        region = exclusive if task.exclusive else per_class(task, yes_and_no, reduce)
        return weight * region(logits, target) + (1 - weight) * entropy

    return value


# ---- Lovasz: two definitions ------------------------------------------------------------------------------------


def extension_by_levels(errors: list[float], truth: list[int]) -> float:
    """Integral over t of 1 - IoU where exactly the pixels with an error above t are wrong (the set function)."""
    levels = sorted({0.0, *errors})
    total = 0.0
    for low, high in itertools.pairwise(levels):
        wrong = [e > low for e in errors]
        hit = sum(y and not w for y, w in zip(truth, wrong, strict=True))
        union = sum(y or w for y, w in zip(truth, wrong, strict=True))
        total += (high - low) * (1 - hit / union)
    return total


def extension_by_order(errors: list[float], truth: list[int]) -> float:
    """Sorted errors times the differences of the running 1 - IoU (Berman et al. 2018, algorithm 1)."""
    total, last, hit, union = 0.0, 0.0, sum(truth), sum(truth)
    for error, y in sorted(zip(errors, truth, strict=True), key=lambda pair: -pair[0]):
        hit, union = hit - y, union + 1 - y
        total += error * (1 - hit / union - last)
        last = 1 - hit / union
    return total


def lovasz(
    task: Task,
    extension: Callable[[list[float], list[int]], float] = extension_by_levels,
    reduce: str = "batch",
    include_background: bool = True,
) -> Oracle:
    """Hinge: cross entropy where a label does not occur. Softmax: mean over the classes that occur; where none of those
    kept does, their mean probability.

    Mean over images of the means over classes.
    """

    def hinge(p: Array, y: Array, valid: Array) -> float:
        pairs = [(float(a), int(b)) for a, b, v in zip(p.flat, y.flat, valid.flat, strict=True) if v]
        if not any(b for _, b in pairs):
            return mean([-math.log(1 - a) for a, _ in pairs])
        errors = [max(0.0, 1 - (2 * b - 1) * math.log(a / (1 - a))) for a, b in pairs]
        return extension(errors, [b for _, b in pairs])

    def softmax(p: Array, y: Array, valid: Array) -> float:
        pairs = [(abs(b - a), int(b)) for a, b, v in zip(p.flat, y.flat, valid.flat, strict=True) if v]
        return extension([e for e, _ in pairs], [b for _, b in pairs])

    def value(logits: Tensor, target: Tensor) -> float:
        p, y, valid = maps(logits, target, task)
        scores = []
        for g in groups(valid, reduce):
            if task.exclusive:
                kept = range(0 if include_background else 1, task.num_classes)
                found = [softmax(p[g, c], y[g, c], valid[g, c]) for c in kept if y[g, c].any()]
                scores.append(mean(found or [p[g, c].sum() / valid[g, c].sum() for c in kept]))
            else:
                scores.append(
                    mean([hinge(p[g, c], y[g, c], valid[g, c]) for c in range(task.num_classes) if valid[g, c].any()])
                )
        return mean(scores)

    return value


# ---- from windows around each pixel -----------------------------------------------------------------------------


def near(
    values: Array, reach: int, cross: bool = False
) -> Iterator[tuple[tuple[int, int, int], list[tuple[int, int, int]]]]:
    """Each pixel of [n, H, W] and those of its window, itself included, that lie in the image."""
    for n, h, w in np.ndindex(*values.shape):
        yield (
            (n, h, w),
            [
                (n, h + dy, w + dx)
                for dy in range(-reach, reach + 1)
                for dx in range(-reach, reach + 1)
                if 0 <= h + dy < values.shape[1] and 0 <= w + dx < values.shape[2] and not (cross and dy and dx)
            ],
        )


def eroded(values: Array) -> Array:
    """The least of each pixel and its four neighbours."""
    result = np.zeros_like(values)
    for at, window in near(values, 1, cross=True):
        result[at] = min(values[k] for k in window)
    return result


def dilated(values: Array, width: int = 3) -> Array:
    """The largest of a square window."""
    result = np.zeros_like(values)
    for at, window in near(values, width // 2):
        result[at] = max(values[k] for k in window)
    return result


def skeleton(values: Array, iterations: int) -> Array:
    """S <- S + (1 - S) relu(I - open(I)), for I and each of its erosions."""
    result = np.zeros_like(values)
    for _ in range(iterations + 1):
        result = result + (1 - result) * np.maximum(values - dilated(eroded(values)), 0)
        values = eroded(values)
    return result


def harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b)


def dice_of(p: Array, y: Array, smooth: float) -> float:
    return float(1 - oracle.dice(smooth)((p * y).sum(), p.sum(), y.sum()))


def cldice(
    task: Task, alpha: float, iterations: int, smooth: float, reduce: str = "batch", include_background: bool = True
) -> Oracle:
    """(1 - alpha) Dice + alpha (1 - clDice), clDice of the classes other than the background."""

    def lines(p: Array, y: Array, _: Array) -> float:
        if not y.any():  # no centre line
            return dice_of(p, y, smooth)
        predicted, true = skeleton(p, iterations), skeleton(y, iterations)
        precision = ((predicted * y).sum() + smooth) / (predicted.sum() + smooth)
        coverage = ((true * p).sum() + smooth) / (true.sum() + smooth)
        return float(1 - harmonic(precision, coverage))

    dice = oracle.region(task, oracle.dice(smooth), reduce, include_background)
    centre = per_class(task, lines, reduce, include_background=False)
    return lambda *batch: (1 - alpha) * dice(*batch) + alpha * centre(*batch)


def boundary(width: int, tolerance: int, smooth: float) -> Score:
    """1 - F1 of the boundaries; a boundary is where the largest 1 - p of the valid pixels around exceeds 1 - p."""

    def edges(values: Array, valid: Array) -> Array:
        result = np.zeros_like(values)
        for at, window in near(values, width // 2):
            if valid[at]:
                result[at] = max(1 - values[k] for k in window if valid[k]) - (1 - values[at])
        return result

    def score(p: Array, y: Array, valid: Array) -> float:
        predicted, true = edges(p, valid), edges(y, valid)
        if not true.any():  # nothing to find
            return dice_of(p, y, smooth)
        precision = ((predicted * dilated(true, tolerance)).sum() + smooth) / (predicted.sum() + smooth)
        recall = ((true * dilated(predicted, tolerance)).sum() + smooth) / (true.sum() + smooth)
        return float(1 - harmonic(precision, recall))

    return score

"""Class weights: what a user may write for them, and what `auto` computes from the training set."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from segtrain import checks
from segtrain.errors import UserError
from segtrain.task import ClassStats, Task

# Foreground that (almost) never or (almost) always occurs would get a beta that drowns the other side.
LEAST_SHARE, MOST_SHARE = 0.001, 0.999


def per_class_numbers(
    key: str,
    value: float | str | Sequence[float],
    task: Task,
    *,
    low: float = -math.inf,
    above: float = -math.inf,
    high: float = math.inf,
) -> list[float]:
    """One number for all classes, or one per class, as a list of C numbers.

    Raises:
        UserError: not numbers, out of range, or a list of another length than the classes.
    """
    values = [value] * task.num_classes if isinstance(value, (int, float, str)) else list(value)
    if len(values) != task.num_classes:
        raise UserError(f"{key} needs one number or {task.num_classes}, one per class; got {len(values)}: {values}")
    return [checks.number(key, v, low, high, above=above) for v in values]


def weights_from(
    key: str, spec: str | Sequence[float] | None, task: Task, stats: ClassStats | None
) -> list[float] | None:
    """Weights per class: None, the given list, or one of WEIGHTINGS from the training set, scaled so that a
    training pixel weighs 1 in the mean.

    Raises:
        UserError: another word, a list of another length, or a word without statistics.
    """
    if spec is None:
        return None
    if isinstance(spec, str):
        weighting = WEIGHTINGS[checks.choice(key, spec, WEIGHTINGS)]
        known_shares(f"{key}={spec}", stats, task)
        assert stats is not None
        raw = weighting(stats)
        mean = sum(weight * share for weight, share in zip(raw, stats.share(), strict=True))
        return [weight / (mean or 1.0) for weight in raw]
    return per_class_numbers(key, spec, task, low=0)


def inverse(stats: ClassStats) -> list[float]:
    """1 / f."""
    return [1 / share for share in clamped_shares(stats)]


def square_root(stats: ClassStats) -> list[float]:
    """1 / sqrt(f): between inverse, under which rare classes drown the others, and none."""
    return [1 / math.sqrt(share) for share in clamped_shares(stats)]


def median_frequency(stats: ClassStats) -> list[float]:
    """median(g) / g, g = share of the class in the images that contain it (Eigen & Fergus 2015, section 4)."""
    shares = [p / v if v else 0.0 for p, v in zip(stats.positives, stats.present, strict=True)]
    median = statistics.median([share for share in shares if share > 0] or [1.0])
    return [median / share for share in _positive(shares)]


def enet(stats: ClassStats) -> list[float]:
    """1 / ln(1.02 + f): at most 50 times a class that is everywhere (Paszke et al. 2016, section 5.2)."""
    return [1 / math.log(1.02 + share) for share in stats.share()]


def effective(stats: ClassStats) -> list[float]:
    """(1 - b) / (1 - b^n), n = pixels of the class (Cui et al. 2019, eq. 6).

    With the paper's fixed b, meant for thousands of images, pixel counts would all weigh the same. b = (N - 1) / N is
    its form for a sample space of N; N is the number of pixels of the average class: above it more pixels count little.
    """
    space = max(2.0, sum(stats.positives) / len(stats.positives))
    counts = [share * valid for share, valid in zip(clamped_shares(stats), stats.valid, strict=True)]
    return [1 / -math.expm1(count * math.log1p(-1 / space)) for count in counts]


def clamped_shares(stats: ClassStats) -> list[float]:
    """Share of each class; a class that never occurs counts as the rarest that does."""
    return _positive(stats.share())


def _positive(shares: Sequence[float]) -> list[float]:
    rarest = min((share for share in shares if share > 0), default=1.0)
    return [share or rarest for share in shares]


# what class_weights may be called; f = share of a class in the training set
WEIGHTINGS: dict[str, Callable[[ClassStats], list[float]]] = {
    "auto": square_root,
    "inverse": inverse,
    "sqrt": square_root,
    "median_frequency": median_frequency,
    "enet": enet,
    "effective": effective,
}


def known_shares(key: str, stats: ClassStats | None, task: Task) -> list[float]:
    """Share of each class in the training set, with a warning about classes that never occur there.

    Raises:
        UserError: there are no statistics; the sentence says which parameter needs them.
    """
    if stats is None:
        raise UserError(
            f"{key} needs the statistics of a training set; give a number instead, or stats=ClassStats(...)"
        )
    shares = stats.share()
    absent = [name for name, share in zip(task.names, shares, strict=True) if share == 0]
    if absent:
        warnings.warn(
            f"{key}: no training pixel is {', '.join(absent)}; such a class counts as very rare", stacklevel=2
        )
    return shares


def balance(share: Tensor, form: str) -> Tensor:
    """Beta that balances a class of the given share: (1 - f) / f (weighted) or 1 - f (hed), clamped.

    Args:
        share: f, share of positives among the valid pixels, in [0, 1].
        form: "weighted" or "hed".
    """
    share = torch.clamp(share, LEAST_SHARE, MOST_SHARE)
    return 1 - share if form == "hed" else (1 - share) / share

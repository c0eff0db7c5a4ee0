"""Class weights: what a user may write for them, and what `auto` computes from the training set."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from segtrain import checks
from segtrain.errors import UserError
from segtrain.task import ClassStats, Task

# A class that (almost) never or (almost) always occurs would get a weight that drowns all others.
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


def class_weights(
    key: str, spec: str | Sequence[float] | None, task: Task, stats: ClassStats | None
) -> list[float] | None:
    """Weights per class: None, the given list, or "auto" = 1 / sqrt(share), scaled to mean 1.

    Raises:
        UserError: another word, a list of another length, or "auto" without statistics.
    """
    if spec is None:
        return None
    if isinstance(spec, str):
        checks.choice(key, spec, ("auto",))
        shares = known_shares(f"{key}=auto", stats, task)
        raw = [1 / math.sqrt(max(share, LEAST_SHARE)) for share in shares]
        return [weight * len(raw) / sum(raw) for weight in raw]
    return per_class_numbers(key, spec, task, low=0)


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
        warnings.warn(f"{key}: no training pixel is {', '.join(absent)}; its weight is clamped", stacklevel=2)
    return shares


def balance(share: Tensor, form: str) -> Tensor:
    """Beta that balances a class of the given share: (1 - f) / f (weighted) or 1 - f (hed), clamped.

    Args:
        share: f, share of positives among the valid pixels, in [0, 1].
        form: "weighted" or "hed".
    """
    share = torch.clamp(share, LEAST_SHARE, MOST_SHARE)
    return 1 - share if form == "hed" else (1 - share) / share

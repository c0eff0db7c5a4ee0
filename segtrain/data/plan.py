"""How often each training image comes in an epoch.

    image i comes  length x r_i w_i / sum(r w)  times on average,    length = sum(r), rounded up
    r_i = max over its classes c of max(1, sqrt(t / f_c))            (repeat factors, Gupta et al. 2019, section 4.1)

with f_c the share of the images that hold c, t = data.repeat, and w_i the data's own weight of the image (a column of
its table), with data.by_area times its pixels. So every epoch has the same length; repeat factors alone leave no image
out of any epoch, and weights move samples from image to image without changing how many there are. With passes=n all
factors are n times as large: an epoch is n passes over the images, each time changed anew, and validation comes after
all of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from segtrain.data.crops import wanted_classes
from segtrain.data.sampling import Pixels
from segtrain.data.source import DataSource
from segtrain.task import Task

LOOKED = 1000  # images, for the note on oversampling: enough for two digits, and synthetic ones have to be drawn


@dataclass(frozen=True)
class EpochPlan:
    """Which images an epoch has.

    Args:
        length: samples of an epoch, in all processes together; the same for each epoch.
        proportions: how often each image comes, relative to the others; None: each once.
        notes: what the user should know of it.
    """

    length: int
    proportions: Sequence[float] | None = None
    notes: Sequence[str] = ()


def plan_training(source: DataSource, passes: int = 1) -> EpochPlan:
    """The plan of a data source's training split.

    Args:
        source: the data.
        passes: over all images in an epoch.
    """
    examples, sampling, task = source.splits["train"], source.sampling, source.task
    images = len(examples.ids)
    factors, notes = [1.0] * images, []
    if sampling.repeat is not None:
        factors = repeat_factors([classes_in(examples.places(i), task) for i in range(images)], sampling.repeat)
    weights = source.weights or [1.0] * images
    if sampling.by_area:
        weights = [weight * height * width for weight, (height, width) in zip(weights, examples.sizes, strict=True)]
    plan = plan_epoch(weights, [passes * factor for factor in factors])
    if sampling.oversample > 0:
        notes.append(forced_note(source, plan))
    return EpochPlan(plan.length, plan.proportions, [*plan.notes, *notes])


def forced_note(source: DataSource, plan: EpochPlan) -> str:
    """How many crops will be placed around a class; images that have none are cropped anywhere."""
    examples, wanted = source.splits["train"], wanted_classes(source.task, source.sampling)
    looked = range(0, len(examples.ids), math.ceil(len(examples.ids) / LOOKED))
    having = [i for i in looked if np.isin(examples.places(i)[:, 0], wanted).any()]
    proportions = plan.proportions or [1.0] * len(examples.ids)
    drawn = sum(proportions[i] for i in having) / sum(proportions[i] for i in looked)
    return (
        f"{source.sampling.oversample * drawn:.1%} of the crops around a pixel of a class, "
        f"which {len(having)} of {len(looked)} images have"
    )


def plan_epoch(weights: Sequence[float], factors: Sequence[float]) -> EpochPlan:
    """How often each image comes.

    Args:
        weights: w_i of each image.
        factors: r_i of each image.
    """
    proportions = [factor * weight for factor, weight in zip(factors, weights, strict=True)]
    length = math.ceil(math.fsum(factors))
    if length == len(factors) and len(set(proportions)) == 1:
        return EpochPlan(length)
    if len(set(proportions)) == 1 and length % len(factors) == 0:
        return EpochPlan(length, proportions, [f"{length // len(factors)} passes over the images in an epoch"])
    most = length * max(proportions) / math.fsum(proportions)
    return EpochPlan(length, proportions, [f"{length} samples an epoch, an image comes up to {most:.3g} times"])


def repeat_factors(classes: Sequence[Set[int]], threshold: float) -> list[float]:
    """r_i of each image.

    Args:
        classes: of each image.
        threshold: t, in (0, 1].
    """
    holding = Counter(c for found in classes for c in found)
    factor = {c: max(1.0, math.sqrt(threshold * len(classes) / images)) for c, images in holding.items()}
    return [max((factor[c] for c in found), default=1.0) for found in classes]


def classes_in(pixels: Pixels, task: Task) -> frozenset[int]:
    """The classes of an image; a binary task's background is none."""
    return frozenset(pixels[:, 0].tolist()) & ({1} if task.mode == "binary" else set(range(task.num_classes)))

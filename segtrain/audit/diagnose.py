"""What to train with, from what the training set is: loss, weights, crop, batch, oversampling, each with its reason.

f is the share of a class among the labelled pixels. The thresholds and where they come from stand in docs/check.md;
`loss=auto` asks choose_loss alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from segtrain.audit.components import ClassFacts, Facts, has_background
from segtrain.task import ClassStats, Task

RARE = 0.05  # share of foreground below which easy background is most of what cross entropy sees
VERY_RARE = 0.02  # share below which a net that finds nothing has won; between 1 % and 5 %, which were measured
RARE_LOSS, VERY_RARE_LOSS = "dice_focal", "tversky"
UNEQUAL = 20  # times the rarest class goes into the commonest before classes are weighted
LEAST, MOST = 0.001, 0.999  # shares as balanced_bce clamps them for beta=auto

STEP = 32  # pixels: the stride of most nets; other crops are padded within the net
AROUND = 2  # times the extent of large objects: the object and as much of what surrounds it
LEAST_CROP, MOST_CROP = 128, 512  # pixels: less starves batch norm, more fills the memory
USUAL_BATCH, USUAL_CROP = 8, 128  # the defaults; pixels per step stay what they are there
LEAST_BATCH, MOST_BATCH = 2, 32
LEAST_HIT, OVERSAMPLE = 1 / 3, 0.33  # nnU-Net's share of crops that are made to hold foreground
EMPTY = 0.1  # share of images without foreground from which scores per image need a word
THIN, LONG = 6.0, 8.0  # pixels across, and lengths in widths: what cldice's 3 iterations can follow


class Choice(NamedTuple):
    """A loss, keys to change below `loss.`, and why."""

    loss: str
    settings: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class Advice:
    """One recommendation.

    Args:
        what: that it is about.
        value: as shown.
        reason: with the formula and its numbers.
        settings: keys of the configuration and their values; empty for what is only said.
        loss: option of the group `loss`, where that is what is recommended.
    """

    what: str
    value: str
    reason: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    loss: str = ""

    @property
    def words(self) -> list[str]:
        """What to type for it."""
        chosen = [f"loss={self.loss}"] if self.loss else []
        return chosen + [f"{key}={value}" for key, value in self.settings.items()]


def choose_loss(task: Task, stats: ClassStats) -> Choice:
    """The loss for a training set, from the shares of its classes alone.

    Args:
        task: mode and names of the classes.
        stats: of the training set.
    """
    shares = [(share, name) for share, name in zip(stats.share(), task.names, strict=True) if share > 0]
    if not shares:
        return Choice("dice_ce", {}, "no class occurs in the training masks, so nothing speaks for another loss")
    (rarest, name), (commonest, other) = min(shares), max(shares)
    if task.mode == "multiclass":
        if commonest < UNEQUAL * rarest:
            reason = f"{name}, the rarest class, has {_percent(rarest)}, at least 1 / {UNEQUAL} of {other}"
            return Choice("dice_ce", {}, reason)
        reason = (
            f"{name} has {_percent(rarest)} of the pixels, less than 1 / {UNEQUAL} of {other} "
            f"({_percent(commonest)}): cross entropy weighs classes by 1 / sqrt(f)"
        )
        return Choice("dice_ce", {"terms.ce.class_weights": "auto"}, reason)
    if rarest < VERY_RARE:
        reason = (
            f"{name} has {_percent(rarest)} of the pixels, below {VERY_RARE:.0%}: a miss costs more than a false alarm"
        )
        return Choice(VERY_RARE_LOSS, {}, reason)
    if rarest < RARE:
        reason = f"{name} has {_percent(rarest)} of the pixels, below {RARE:.0%}: easy background is focused away"
        return Choice(RARE_LOSS, {}, reason)
    return Choice("dice_ce", {}, f"{name} has {_percent(rarest)} of the pixels, at least {RARE:.0%}: no class is rare")


def diagnose(facts: Facts) -> list[Advice]:
    """All recommendations for a training set, in the order in which they matter."""
    choice = choose_loss(facts.task, facts.stats)
    settings = {f"loss.{key}": value for key, value in choice.settings.items()}
    shown = " ".join([f"loss={choice.loss}", *(f"{key}={value}" for key, value in settings.items())])
    crop = crop_side(facts)
    return [
        Advice("loss", shown, choice.reason, settings, choice.loss),
        *balance_advice(facts),
        crop,
        batch_size(int(crop.settings["crop"])),
        *oversampling(facts),
        *hints(facts),
    ]


def balance_advice(facts: Facts) -> list[Advice]:
    """Beta and alpha (binary, multilabel) or class weights (multiclass), for the losses that take them."""
    shares, names = facts.stats.share(), facts.task.names
    if facts.task.mode == "multiclass":
        weights = _square_root(shares)
        listed = ", ".join(f"{name} {weight:.2g}" for name, weight in zip(names, weights, strict=True))
        return [Advice("class weights", "class_weights=auto", f"1 / sqrt(f), mean 1 over pixels: {listed}")]
    clamped = [min(max(share, LEAST), MOST) for share in shares]
    beta = ", ".join(f"{(1 - f) / f:.3g}" for f in clamped)
    alpha = ", ".join(f"{1 - f:.3g}" for f in shares)
    return [
        Advice("beta", beta, "(1 - f) / f, with which both sides weigh the same; loss=balanced_bce computes it"),
        Advice("alpha", alpha, "1 - f; loss=focal loss.alpha=auto computes it"),
    ]


def _square_root(shares: Sequence[float]) -> list[float]:
    """1 / sqrt(f), a class that never occurs as the rarest, scaled to a mean of 1 over the pixels."""
    rarest = min((share for share in shares if share > 0), default=1.0)
    raw = [1 / math.sqrt(share or rarest) for share in shares]
    mean = sum(weight * share for weight, share in zip(raw, shares, strict=True))
    return [weight / (mean or 1.0) for weight in raw]


def crop_side(facts: Facts) -> Advice:
    """Large objects with as much again around them, whole strides, at most the shorter side of the usual image."""
    shorter = median(min(size) for size in facts.sizes)
    cap = min(max(int(shorter) // STEP * STEP, STEP), MOST_CROP)
    extent = max((found.extent for found in foreground(facts)), default=0)
    wanted = math.ceil(AROUND * extent / STEP) * STEP
    side = min(max(wanted, LEAST_CROP), cap)
    rule = f"{AROUND} x the extent of large objects ({extent} px) in whole strides of {STEP}"
    if side == wanted:
        reason = rule
    elif side == cap:
        limit = f"the shorter side of the usual image ({shorter:g} px) in whole strides of {STEP}"
        reason = f"{limit if cap < MOST_CROP else f'{MOST_CROP} at most'}; {rule} would be {wanted}"
    else:
        reason = f"{LEAST_CROP} at least; {rule} would be {wanted}"
    return Advice("crop", f"crop={side}", reason, {"crop": side})


def batch_size(crop: int) -> Advice:
    """As many pixels per step as the defaults have."""
    size = round(USUAL_BATCH * USUAL_CROP**2 / crop**2)
    size = min(max(size, LEAST_BATCH), MOST_BATCH)
    reason = f"{USUAL_BATCH} x {USUAL_CROP}^2 / {crop}^2, the pixels of a default step; a GPU takes more"
    return Advice("batch", f"batch_size={size}", reason, {"batch_size": size})


def oversampling(facts: Facts) -> list[Advice]:
    """Crops that are made to hold a rare class, where random ones seldom do."""
    found = min(foreground(facts), key=lambda each: each.hit, default=None)
    if found is None or found.hit >= LEAST_HIT:
        return []
    reason = (
        f"{found.name} is in {_percent(found.hit)} of all random crops of {facts.crop[0]} x {facts.crop[1]}, below "
        f"{LEAST_HIT:.0%}: a third of the crops is made to hold a rare class, as in nnU-Net"
    )
    return [Advice("oversampling", f"data.oversample={OVERSAMPLE}", reason, {"data.oversample": OVERSAMPLE})]


def hints(facts: Facts) -> list[Advice]:
    """What is worth trying or looking at, but is not decided by the data."""
    advice = []
    for found in foreground(facts):
        if found.thickness <= THIN and found.length >= LONG:
            reason = (
                f"{found.name} is thin and long: {found.thickness:.1f} px wide (4 x the mean distance to its edge), "
                f"{found.length:.0f} times as long (area / width^2)"
            )
            advice.append(Advice("thin structures", "try loss=cldice", reason))
    share = facts.empty / len(facts.sizes)
    if share >= EMPTY and has_background(facts.task):
        reason = (
            f"{_percent(share)} of the images have no foreground; val/iou sums over all images, val_image/iou leaves "
            "out those that are empty in truth and prediction, unless metrics.empty_score=1 counts them as right"
        )
        advice.append(Advice("metrics", "look at val_image/iou too", reason))
    return advice


def foreground(facts: Facts) -> list[ClassFacts]:
    """The classes that occur, without the background of a multiclass task."""
    first = 1 if facts.task.mode == "multiclass" and has_background(facts.task) else 0
    return [found for found in facts.classes[first:] if found.objects]


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"

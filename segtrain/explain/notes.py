"""What must be said beside a loss's curves, found by trying it out, so that it holds for a user's own losses too."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segtrain.contract.promise import Loss, run
from segtrain.explain.curves import (
    PIXELS,
    SIDE,
    PixelCurve,
    at_pixel,
    foreground,
    logits_of,
    picture,
    place_of,
    target_of,
)
from segtrain.task import Task

NEIGHBOURS = "what a pixel adds depends on the pixels around it, so its curves hold for this picture only"
OTHERS = "what a pixel adds depends on how right all others are, so its curves hold for this picture only"
SHARE = "what a pixel adds depends on the picture's share of foreground, so its curves hold for this share only"
BELOW = "a loss below 0 means that the picture costs less than with that pixel entirely right"
NOWHERE = "no gradient in this picture: every pixel is right enough for this loss"
TRIED = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)  # probabilities of the pixel looked at
QUALITIES = (0.3, 0.99)  # of the others, in place of the usual: wrong, and nearly perfect
SAME = 1e-6  # relative: far above rounding in float64, far below what a chart shows
FEW = 0.005  # share of pixels
NEAR = 7  # width of the window in which a pixel is near a contour


def notes(loss: Loss, task: Task, share: float, others: float, curves: Sequence[PixelCurve]) -> list[str]:
    """Sentences that a loss's curves need, without its name.

    Args:
        loss: built for the task and a training set of this share.
        task: any mode.
        share: of foreground in the picture.
        others: probability that the pixels that are not looked at give their own class.
        curves: of the loss.
    """
    dependence = _dependence(loss, task, share, others)
    found = [*_derived(loss, share), *dependence]
    if any(float(curve.cost.min()) < -1e-3 * float(curve.cost.abs().max()) for curve in curves):
        found.append(BELOW)
    return found + _without_gradient(loss, task, foreground(share), others, around=NEIGHBOURS in dependence)


def grouped(labels: Sequence[str], found: Sequence[Sequence[str]]) -> list[str]:
    """Lines of notes, each with the labels of all losses that need it."""
    owners: dict[str, list[str]] = {}
    for label, notes_of_one in zip(labels, found, strict=True):
        for note in notes_of_one:
            owners.setdefault(note, []).append(label)
    return [f"{', '.join(several)}: {note}" for note, several in owners.items()]


def _derived(loss: Loss, share: float) -> list[str]:
    """What was computed from the training set."""
    lines = []
    for place, module in loss.named_modules() if isinstance(loss, nn.Module) else ():
        for key, values in getattr(module, "derived", {}).items():
            name = " ".join([*place.split(".")[-1:], key]).strip()
            numbers = ", ".join(f"{value:.3g}" for value in values)
            lines.append(
                f"{name} {numbers}, as of a training set with {100 * share:.3g} % foreground; "
                "in the charts by share they follow the share"
            )
    return lines


def _dependence(loss: Loss, task: Task, share: float, others: float) -> list[str]:
    """What else than its own probability a pixel's gradient depends on: nothing for a mean over pixels."""
    mask = foreground(share)
    usual = _slopes(loss, task, mask, others)
    if _differ(usual, _slopes(loss, task, mask, others, shuffled=True)):
        return [NEIGHBOURS]
    if any(_differ(usual, _slopes(loss, task, mask, quality)) for quality in QUALITIES):
        return [OTHERS]
    other = share / 2 if share * PIXELS >= 2 else 2 * share
    return [SHARE] if _differ(usual, _slopes(loss, task, foreground(other), others)) else []


def _slopes(loss: Loss, task: Task, mask: Tensor, others: float, shuffled: bool = False) -> Tensor:
    """Gradients of both pixels that are looked at; all others may have changed their places."""
    found = []
    for label in (1, 0):
        order = _order(label) if shuffled else torch.arange(PIXELS)
        placed, p = (tensor.flatten()[order].view(SIDE, SIDE) for tensor in (mask, picture(mask, others)))
        found.append(at_pixel(loss, task, placed, p, label, TRIED)[1])
    return torch.cat(found)


def _order(label: int) -> Tensor:
    """A random order of the pixels in which the one looked at keeps its place."""
    order = torch.randperm(PIXELS, generator=torch.Generator().manual_seed(0))
    own = place_of(label) * SIDE + place_of(label)
    order[order == own] = order[own].item()
    order[own] = own
    return order


def _differ(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() > SAME * torch.maximum(a.abs().max(), b.abs().max()))


def _without_gradient(loss: Loss, task: Task, mask: Tensor, others: float, around: bool) -> list[str]:
    """How many pixels of the picture have no gradient; `around`: also of those far from the foreground's contour."""
    _, gradient = run(loss, logits_of(picture(mask, others), task), target_of(mask, task))
    without = (gradient[0] == 0).all(0)
    share = float(without.double().mean())
    if share < FEW:
        return []
    if share == 1:
        return [NOWHERE]
    inside = mask.double()[None]
    far = (F.max_pool2d(inside, NEAR, 1, NEAR // 2) + F.max_pool2d(-inside, NEAR, 1, NEAR // 2))[0] == 0
    farther = f", {100 * float(without[far].double().mean()):.3g} % of those far from a contour" if around else ""
    return [f"{100 * share:.3g} % of this picture's pixels have no gradient{farther}"]

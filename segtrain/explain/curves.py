"""What a loss does to one pixel and to a picture, by autograd through the loss itself.

The reference picture has SIDE x SIDE pixels; the foreground is a disc in its middle (multiclass: class 1, in a
background of class 0, and nothing is given to further classes; multilabel: in every class alike). Every pixel
gives its own class the probability `others`, except for the one that is looked at: in the middle of the disc, or
in a corner.

For losses that are means over pixels, `cost` is that pixel's own loss and `slope` its own dL/dz, whatever the
picture is; for the others they are what the pixel adds in this picture, on the same scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segtrain import checks
from segtrain.contract.promise import Loss, demand, run
from segtrain.task import ClassStats, Task

SIDE = 100
PIXELS = SIDE * SIDE
SURE = 30.0  # the logit of a pixel that is entirely right
PROBABILITIES = torch.tensor(
    [0.001, 0.005, 0.01, *(i / 50 for i in range(1, 50)), 0.99, 0.995, 0.999], dtype=torch.float64
)
SHARES = torch.tensor(
    [
        0.001,
        0.0015,
        0.002,
        0.003,
        0.005,
        0.007,
        0.01,
        0.015,
        0.02,
        0.03,
        0.05,
        0.07,
        0.1,
        0.15,
        0.2,
        0.25,
        0.3,
        0.4,
        0.5,
    ],
    dtype=torch.float64,
)


@dataclass(frozen=True)
class PixelCurve:
    """One pixel of the reference picture, by the probability p of the foreground that it is given.

    Args:
        p: probabilities, rising.
        cost: PIXELS times what the loss is above that of the same picture with this pixel entirely right.
        slope: PIXELS times the gradient of the loss with respect to the pixel's foreground logit.
    """

    p: Tensor
    cost: Tensor
    slope: Tensor


@dataclass(frozen=True)
class ShareCurve:
    """The whole reference picture, by its share of foreground.

    Args:
        share: shares, rising.
        value: of the loss.
        balance: sum of |dL/dz| over the foreground pixels, divided by that over the background pixels.
    """

    share: Tensor
    value: Tensor
    balance: Tensor


def foreground(share: float) -> Tensor:
    """A disc, [SIDE, SIDE] bool, of exactly so many pixels (at least one, at most all but one)."""
    count = min(max(1, round(share * PIXELS)), PIXELS - 1)
    place = torch.arange(SIDE) - (SIDE - 1) / 2 - 1e-3  # the middle of an even number of pixels is none of them
    distance = place[:, None] ** 2 + 1.0001 * place[None, :] ** 2
    order = distance.flatten().argsort(stable=True)
    return torch.zeros(PIXELS, dtype=torch.bool).index_fill(0, order[:count], True).view(SIDE, SIDE)


def statistics(share: float, task: Task) -> ClassStats:
    """Of a training set with this share of foreground; in multiclass the classes but the first divide it equally."""
    many = 10**6
    each = [share] * task.num_classes
    if task.exclusive:
        each = [1 - share] + [share / (task.num_classes - 1)] * (task.num_classes - 1)
    return ClassStats([round(s * many) for s in each], [many] * len(each), [many] * len(each), 100)


def logits_of(p: Tensor, task: Task) -> Tensor:
    """Logits [1, C, H, W] that give the foreground the probability p [H, W], and the background the rest."""
    z = torch.logit(p.double())
    if not task.exclusive:
        return z.expand(1, task.num_classes, *z.shape).clone()
    logits = torch.full((1, task.num_classes, *z.shape), -SURE, dtype=torch.float64)
    logits[:, 0], logits[:, 1] = 0, z
    return logits


def target_of(mask: Tensor, task: Task) -> Tensor:
    """Ids of the picture whose foreground is this mask."""
    ids = mask.long()[None]
    return ids[:, None].expand(1, task.num_classes, *mask.shape).clone() if task.mode == "multilabel" else ids


def picture(mask: Tensor, others: float) -> Tensor:
    """Probability of the foreground at each pixel: `others` within the mask, 1 - others outside."""
    quality = checks.number("others", others, 0.01, 0.99)
    return torch.full(mask.shape, 1 - quality, dtype=torch.float64).masked_fill(mask, quality)


def pixel_curve(loss: Loss, task: Task, label: int, share: float = 0.1, others: float = 0.8) -> PixelCurve:
    """Cost and slope of one pixel by its probability.

    Args:
        loss: built for the task.
        task: any mode.
        label: 1 for a pixel of the foreground, 0 for one of the background.
        share: of foreground in the picture.
        others: probability that every other pixel gives its own class.
    """
    mask = foreground(checked_share(share))
    right = torch.sigmoid(torch.tensor([SURE if label else -SURE], dtype=torch.float64))
    values, slopes = at_pixel(loss, task, mask, picture(mask, others), label, torch.cat([right, PROBABILITIES]))
    return PixelCurve(PROBABILITIES, (values[1:] - values[0]) * PIXELS, slopes[1:] * PIXELS)


def place_of(label: int) -> int:
    """The pixel that is looked at, by its row and column: in the middle of the disc, or in a corner."""
    return SIDE // 2 if label else 0


def at_pixel(
    loss: Loss, task: Task, mask: Tensor, p: Tensor, label: int, probabilities: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of a picture, and its slope by the foreground's logit of the pixel looked at, at each of its probabilities.

    Args:
        loss: built for the task.
        task: any mode.
        mask: of the foreground, [SIDE, SIDE].
        p: probabilities of the foreground, [SIDE, SIDE].
        label: of the pixel looked at.
        probabilities: that it is given in turn, [n].

    Shape: returns [n] each.
    """
    p, target, place = p.clone(), target_of(mask, task), place_of(label)
    values, slopes = [], []
    for probability in probabilities:
        p[place, place] = probability
        value, gradient = run(loss, logits_of(p, task), target)
        demand(value.shape == () and value.isfinite(), "the value is not one finite number")
        values.append(value.double())
        slopes.append(_foreground_slope(gradient, task)[place, place])
    return torch.stack(values), torch.stack(slopes)


def share_curve(build: Callable[[float], Loss], task: Task, others: float = 0.8) -> ShareCurve:
    """Value and balance of the picture by its share of foreground.

    Args:
        build: builds the loss for a training set with this share of foreground.
        task: any mode.
        others: probability that every pixel gives its own class.
    """
    values, balances = [], []
    for share in SHARES.tolist():
        mask = foreground(share)
        value, gradient = run(build(share), logits_of(picture(mask, others), task), target_of(mask, task))
        strength = _foreground_slope(gradient, task).abs()
        values.append(value.double())
        balances.append(strength[mask].sum() / strength[~mask].sum())
    return ShareCurve(SHARES, torch.stack(values), torch.stack(balances))


def at(curve_x: Tensor, curve_y: Tensor, places: Sequence[float]) -> list[float]:
    """Values of a curve at places that are on its grid, or next to them."""
    return [float(curve_y[(curve_x - place).abs().argmin()]) for place in places]


def _foreground_slope(gradient: Tensor, task: Task) -> Tensor:
    """Gradient with respect to the foreground's logit, [H, W]; multilabel: to those of all classes at once."""
    return (gradient[0, 1] if task.exclusive else gradient[0].sum(0)).double()


def checked_share(share: float) -> float:
    """The share, if some pixels of the picture can be foreground and some not.

    Raises:
        UserError: it is no such number.
    """
    return checks.number("share", share, 1 / PIXELS, 1 - 1 / PIXELS)

"""Kinds of mixing that take all images from the batch. Each is a class with a `plan`, see plan.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from segtrain import checks
from segtrain.errors import UserError
from segtrain.mixing.plan import Canvas, Flags, Ints, Plan, partners
from segtrain.task import Task, valid_mask


@dataclass(frozen=True)
class MixUp:
    """lam x + (1 - lam) x' with lam of Beta(alpha, alpha), one for the batch (Zhang et al. 2018).

    Both masks go into the loss: lam L(z, y) + (1 - lam) L(z, y'). As in MixMatch (Berthelot et al. 2019) lam or 1 - lam
    is taken, whichever is larger: over a batch of which each image is mixed it is the same, but each keeps its own mask
    as the one that counts more, in pictures and counts, and none is doubled where others are not mixed.

    Args:
        alpha: > 0; .2: mostly one of the two images, 1: every lam is as likely, large: always half and half.
    """

    alpha: float = 0.2
    least: ClassVar[int] = 2
    blends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.number("mix.alpha", self.alpha, above=0)

    def plan(self, canvas: Canvas, mixed: Flags, random: np.random.Generator) -> Plan:
        """The same place of another image, blended in."""
        drawn = float(random.beta(self.alpha, self.alpha))
        other = canvas.put(partners(mixed, random))
        return Plan(canvas.at(other[..., None]), canvas.put(max(drawn, 1 - drawn)))


@dataclass(frozen=True)
class CutMix:
    """A box of another image, at its place (Yun et al. 2019).

    The box lies within the image, so it covers the share that was drawn; its shape is drawn as by French et al. 2020:
    height = area^u, width = area^(1 - u) of the image's, u uniform in [0, 1].

    Args:
        area: share of the image that the box covers, > 0 and <= 1; [low, high]: uniform between them.
    """

    area: float | Sequence[float] = (0.1, 0.5)
    least: ClassVar[int] = 2
    blends: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _ = self._range

    @property
    def _range(self) -> tuple[float, float]:
        given = self.area if isinstance(self.area, (list, tuple)) else [self.area, self.area]
        if len(given) != 2:
            raise UserError(f"mix.area must be a number or [low, high], got {self.area!r}")
        low = checks.number("mix.area", given[0], above=0, high=1)
        return low, checks.number("mix.area (its second number)", given[1], low, 1)

    def plan(self, canvas: Canvas, mixed: Flags, random: np.random.Generator) -> Plan:
        """The partner in a box, else the image itself."""
        number, height, width = canvas.shape
        area, shape = random.uniform(*self._range, number), random.random(number)
        sizes: Ints = (
            np.stack([height * area**shape, width * area ** (1 - shape)], 1).round().astype(np.int64).clip(min=1)
        )
        starts = random.integers(0, [height, width] - sizes + 1)
        edges = canvas.put(np.concatenate([starts, starts + sizes], 1))
        top, left, bottom, right = (edge.view(-1, 1, 1) for edge in edges.unbind(1))
        rows, columns = canvas.rows_and_columns()
        inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        other = canvas.put(partners(mixed, random))
        return Plan(torch.where(inside, canvas.at(other[..., None]), canvas.own()))


@dataclass(frozen=True)
class Mosaic:
    """Four images around a random centre, one in each quarter (Bochkovskiy et al. 2020).

    Each quarter shows its image at the same place. The original scales and shifts whole images into the quarters; here
    they are crops, so each is a random window of its image already, and a shift would only be a second one.

    Args:
        centre: how far the centre may lie from the middle, as a share of the side, in [0, .5].
    """

    centre: float = 0.25
    least: ClassVar[int] = 2
    blends: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.number("mix.centre", self.centre, 0, 0.5)

    def plan(self, canvas: Canvas, mixed: Flags, random: np.random.Generator) -> Plan:
        """The image itself in one quarter, three others, or two of two, in the rest."""
        number, height, width = canvas.shape
        shares = random.uniform(0.5 - self.centre, 0.5 + self.centre, (number, 2))
        centres = canvas.put((shares * [height, width]).round().astype(np.int64))
        four = np.concatenate([np.arange(number)[:, None], partners(mixed, random, 3)], 1)
        images = canvas.put(random.permuted(four, axis=1))
        rows, columns = canvas.rows_and_columns()
        below, right = (
            side >= centre.view(-1, 1, 1) for side, centre in zip((rows, columns), centres.unbind(1), strict=True)
        )
        return Plan(canvas.at(images.gather(1, (2 * below + right).flatten(1)).view(canvas.shape)))


@dataclass(frozen=True)
class ClassMix:
    """All pixels of some classes of another image, at their places (Olsson et al. 2021).

    Of the n classes in the image that is pasted, floor(share n) are drawn, each as likely; the background is one of
    them. In multilabel it counts too, but cannot be drawn. Pixels without a label are never pasted for themselves.

    Args:
        task: of the masks.
        share: of the classes in an image, > 0 and <= 1.
    """

    task: Task
    share: float = 0.5
    least: ClassVar[int] = 2
    blends: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.number("mix.share", self.share, above=0, high=1)

    def plan(self, canvas: Canvas, mixed: Flags, random: np.random.Generator) -> Plan:
        """The partner where it has one of the classes that are drawn for it, else the image itself."""
        other = canvas.put(partners(mixed, random))[:, 0]
        labels = class_labels(self.task)
        keys = canvas.put(random.random((len(mixed), labels)).astype(np.float32))
        pasted = self._pasted(canvas.mask.index_select(0, other), keys)
        return Plan(torch.where(pasted, canvas.at(other.view(-1, 1, 1)), canvas.own()))

    def _pasted(self, mask: Tensor, keys: Tensor) -> Tensor:
        """Where an image has a class that is drawn, bool [N, H, W]; the classes with the lowest keys are."""
        if self.task.mode == "multilabel":
            present = (mask == 1).flatten(2).any(2)
            return ((mask == 1) & self._chosen(present, keys, 1)[..., None, None]).any(1)
        # one column more, for pixels without a label
        ids = mask.long().masked_fill(~valid_mask(mask, self.task), keys.shape[1]).flatten(1)
        present = torch.zeros(len(mask), keys.shape[1] + 1, dtype=torch.bool, device=mask.device)
        present.scatter_(1, ids, True)
        chosen = self._chosen(present[:, :-1], keys, 0)
        return torch.cat([chosen, torch.zeros_like(chosen[:, :1])], 1).gather(1, ids).view(mask.shape)

    def _chosen(self, present: Tensor, keys: Tensor, more: int) -> Tensor:
        """Which of the classes that are present are drawn, bool [N, K]."""
        number = ((present.sum(1, keepdim=True) + more) * self.share + 1e-6).floor()
        ranks = keys.masked_fill(~present, 2.0).argsort(1).argsort(1)
        return present & (ranks < number)


def class_labels(task: Task) -> int:
    """How many values a labelled pixel can have: classes, and in binary the background."""
    return 2 if task.mode == "binary" else task.num_classes

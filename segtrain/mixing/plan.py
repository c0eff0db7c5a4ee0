"""A plan of mixing: which pixel each output pixel is taken from, and its one way of being carried out.

Decisions that need no pixels are drawn on the host, so that every device mixes alike; they reach the device as a few
small tensors, and all that is done to pixels is done there without making the host wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segtrain.mixing.bank import Bank
from segtrain.task import Batch, Second

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Canvas:
    """What a kind of mixing sees of a batch.

    Args:
        mask: [N, H, W], or [N, K, H, W] in multilabel.
        bank: crops to paste from; None: there are none.
    """

    mask: Tensor
    bank: Bank | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, H, W."""
        number, height, width = len(self.mask), *self.mask.shape[-2:]
        return number, height, width

    def put(self, values: npt.NDArray[np.generic] | float) -> Tensor:
        """Small values, brought to the device of the mask without waiting."""
        return torch.as_tensor(values).to(self.mask.device, non_blocking=True)

    def at(self, images: Tensor) -> Tensor:
        """Numbers of the pixels at the same place in other images of the batch.

        Args:
            images: index of the image that each pixel is taken from, int64, broadcastable to [N, H, W].

        Returns:
            (n H + y) W + x, int64 [N, H, W].
        """
        _, height, width = self.shape
        place = torch.arange(height * width, device=self.mask.device).view(1, height, width)
        return images * (height * width) + place

    def own(self) -> Tensor:
        """Number of each pixel itself, int64 [N, H, W]."""
        return self.at(torch.arange(len(self.mask), device=self.mask.device).view(-1, 1, 1))

    def rows_and_columns(self) -> tuple[Tensor, Tensor]:
        """Places of the pixels, int64 [1, H, 1] and [1, 1, W]."""
        _, height, width = self.shape
        rows, columns = (torch.arange(side, device=self.mask.device) for side in (height, width))
        return rows.view(1, -1, 1), columns.view(1, 1, -1)


@dataclass(frozen=True)
class Plan:
    """Which pixel each output pixel is taken from.

    Args:
        source: its number among the pixels of the batch, image by image and row by row, followed by those of the bank;
            int64 [N, H, W].
        lam: None: it takes the place of the image's own; else the own pixel keeps this share, a float32 scalar.
    """

    source: Tensor
    lam: Tensor | None = None


class Kind(Protocol):
    """A kind of mixing.

    Attributes:
        least: fewest images of a batch that can be mixed.
        blends: whether pixels become means of two, for which images have to be floats.
    """

    @property
    def least(self) -> int: ...

    @property
    def blends(self) -> bool: ...

    def plan(self, canvas: Canvas, mixed: Flags, random: np.random.Generator) -> Plan:
        """The plan for one batch.

        Args:
            canvas: the batch.
            mixed: [N], which images are mixed; the others stay as they are.
            random: for the decisions.
        """
        ...


def partners(mixed: Flags, random: np.random.Generator, number: int = 1) -> Ints:
    """Images to mix with, [N, number]: each is as likely as any other, an image that is not mixed has itself.

    The batch is rotated by `number` random steps, which differ from each other where it is large enough.
    """
    images = len(mixed)
    steps = random.choice(images - 1, number, replace=number > images - 1) + 1
    own = np.arange(images)[:, None]
    return np.where(mixed[:, None], (own + steps) % images, own)


def carry_out(batch: Batch, plan: Plan, bank: Bank | None = None) -> Batch:
    """The batch with its pixels taken from where the plan says; with a `second` mask where the plan blends."""
    image = take(batch["image"], plan.source, None if bank is None else bank.image)
    mask = take(batch["mask"], plan.source, None if bank is None else bank.mask)
    if plan.lam is None:
        return {**batch, "image": image, "mask": mask}
    # lerp leaves a pixel exactly as it is that is blended with itself
    return {**batch, "image": torch.lerp(image, batch["image"], plan.lam), "second": Second(mask, plan.lam)}


def take(values: Tensor, source: Tensor, bank: Tensor | None = None) -> Tensor:
    """Values [N, (C,) H, W] of the pixels that are named; dtype and memory format stay.

    Args:
        values: of the batch.
        source: see Plan.
        bank: values of the bank, [M, (C,) H, W].
    """
    rows, wanted = _by_pixel(values), source.flatten()
    if bank is None:
        taken = rows.index_select(0, wanted)
    else:
        others = _by_pixel(bank).index_select(0, (wanted - len(rows)).clamp(min=0))
        own = rows.index_select(0, wanted.clamp(max=len(rows) - 1))
        taken = torch.where((wanted >= len(rows))[:, None], others, own)
    if values.ndim == 3:
        return taken.view(source.shape)
    last = values.is_contiguous(memory_format=torch.channels_last)
    return (
        taken.view(*source.shape, -1)
        .movedim(-1, 1)
        .contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    )


def _by_pixel(values: Tensor) -> Tensor:
    """[N H W, C]; a view where channels come last in memory."""
    return (values[:, None] if values.ndim == 3 else values).movedim(1, -1).flatten(0, 2)

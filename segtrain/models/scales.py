"""Logits on grids coarser than the image's, and the ids that belong to them; in training alone.

    made = net.train()(image)
    for logits, factor in zip(*as_scales(made)):
        ids = at_scale(mask, factor)    # of the size of the logits

A net makes several grids where it is supervised, and a coarser finest one where it sees the image smaller.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Scales(NamedTuple):
    """What a net makes in training, if it is more than logits of the image's size.

    logits: fine to coarse, [N, K, ceil(H / f), ceil(W / f)].
    factors: f of each of them, pixels of the image to a pixel of the grid.
    """

    logits: tuple[Tensor, ...]
    factors: tuple[int, ...]


def as_scales(made: Tensor | Scales) -> Scales:
    """What any net makes in training; logits of the image's size are a single scale."""
    return made if isinstance(made, Scales) else Scales((made,), (1,))


def scale_weights(number: int) -> list[float]:
    """2^-i for the scale i, finest first, with a sum of 1."""
    raw = [2.0**-index for index in range(number)]
    return [each / sum(raw) for each in raw]


def at_scale(mask: Tensor, factor: int) -> Tensor:
    """Ids at the centres of a coarser grid's pixels; where a centre is beyond the edge, at the edge.

    Args:
        mask: [..., H, W].
        factor: pixels to a pixel of the grid; the centre of an even number is the pixel after the middle.

    Returns:
        [..., ceil(H / factor), ceil(W / factor)], ids that are in mask.
    """
    if factor == 1:
        return mask
    for axis in (-2, -1):
        side = mask.shape[axis]
        centres = torch.arange(factor // 2, side + factor // 2, factor, device=mask.device).clamp(max=side - 1)
        mask = mask.index_select(axis, centres)
    return mask


def enlarge(logits: Tensor, factor: int) -> Tensor:
    """Bilinear between the pixels of a coarser grid: [N, K, h, w] -> [N, K, h * factor, w * factor]."""
    if factor == 1:
        return logits
    return F.interpolate(logits, scale_factor=factor, mode="bilinear", align_corners=False)


def enlarged_at_scale(logits: Tensor, factor: int) -> Tensor:
    """at_scale(enlarge(logits, factor), factor) without making more than that: the pixels where ids are taken.

    An even factor has no pixel in the middle of its cell; the next one lies 1 / (2 factor) of the grid's step off.

    Args:
        logits: [N, K, h, w].
        factor: pixels to a pixel of the grid.

    Returns:
        [N, K, h, w].
    """
    if factor % 2:
        return logits
    step = 1 / (2 * factor)
    padded = F.pad(logits, (0, 1, 0, 1), mode="replicate")
    wide = torch.lerp(padded[..., :-1], padded[..., 1:], step)
    return torch.lerp(wide[..., :-1, :], wide[..., 1:, :], step)


def cropped(logits: Tensor, height: int, width: int, factor: int) -> Tensor:
    """The pixels of a grid that hold a pixel of an image which was padded at the bottom and right."""
    return logits[..., : math.ceil(height / factor), : math.ceil(width / factor)]

"""Deep supervision: coarser levels of a decoder make logits too, in training alone.

    supervise(net, "unet", task, levels=2)
    net.train()(image)      # Scales: logits of the image's size, of half and of a quarter of it
    net.eval()(image)       # logits of the image's size, as without

Lee et al. 2015, "Deeply-Supervised Nets"; weights and targets of the scales as in nnU-Net (Isensee et al. 2021).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segtrain import checks
from segtrain.errors import UserError
from segtrain.models.normalize import SegmentationNet
from segtrain.task import Task

SETTING = "deep_supervision"
# architecture -> the modules whose outputs are the levels of its decoder; the last number counts them, coarse to fine.
# Of U-Net++ those are the nodes of its outermost path, each of which sees all that is coarser.
LEVELS = {
    "plain_unet": r"join\.(\d+)",
    "unet": r"decoder\.blocks\.(\d+)",
    "unetplusplus": r"decoder\.blocks\.x_0_(\d+)",
    "linknet": r"decoder\.blocks\.(\d+)",
    "manet": r"decoder\.blocks\.(\d+)",
}


class Scales(NamedTuple):
    """What a supervised net makes in training.

    finest: logits [N, K, H, W], as the net makes them always.
    coarser: logits of the coarser levels, fine to coarse, [N, K, ceil(H / f), ceil(W / f)].
    factors: f of each of them, pixels of the image to a pixel of the level.
    """

    finest: Tensor
    coarser: tuple[Tensor, ...] = ()
    factors: tuple[int, ...] = ()


def as_scales(made: Tensor | Scales) -> Scales:
    """What any net makes in training; of one without supervision the finest scale alone."""
    return made if isinstance(made, Scales) else Scales(made)


class Supervision(nn.Module):
    """A 1x1 convolution for each of some levels of a net.

    Args:
        levels: names of the net's modules that make the features, fine to coarse.
        channels: of the features of each.
        factors: pixels of the image to a pixel of each.
        out_channels: channels of the logits.

    Shape: (net, [N, C, H, W], size of the image before it was padded at the bottom and right, what makes logits of the
        padded image's size) -> Scales. Of a level those pixels are kept that hold a pixel of the image.
    """

    def __init__(self, levels: Sequence[str], channels: Sequence[int], factors: Sequence[int], out_channels: int):
        super().__init__()
        self.levels, self.factors = tuple(levels), tuple(factors)
        self.heads = nn.ModuleList(nn.Conv2d(number, out_channels, 1) for number in channels)

    def forward(
        self, net: nn.Module, seen: Tensor, size: tuple[int, int], enlarge: Callable[[Tensor], Tensor]
    ) -> Scales:
        with outputs_of(net, self.levels) as features:
            logits = enlarge(net(seen))
        height, width = size
        coarser = (
            head(features[level])[..., : math.ceil(height / factor), : math.ceil(width / factor)]
            for head, level, factor in zip(self.heads, self.levels, self.factors, strict=True)
        )
        return Scales(logits[..., :height, :width], tuple(coarser), self.factors)


@contextmanager
def outputs_of(net: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What modules of a net make meanwhile, by their names.

    The hooks live as long: a copy of the net, such as the average of its weights, would share any that stay.
    """
    found: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name in names:

            def keep(module: nn.Module, given: object, made: Tensor, name: str = name) -> None:
                found[name] = made

            hooks.enter_context(net.get_submodule(name).register_forward_hook(keep))
        yield found


def check_supervision(arch: object, levels: object) -> int:
    """The number of levels, if nets of this architecture can have any.

    Raises:
        UserError: no whole number, or the architecture has no levels.
    """
    number = checks.whole(SETTING, levels, 0)
    if number and arch not in LEVELS:
        raise UserError(
            f"{SETTING}={number}: a decoder of several levels is needed, and model.arch={arch} has none; choose one of "
            f"{', '.join(LEVELS)}, or set {SETTING}=0"
        )
    return number


def supervise(net: nn.Module, arch: str, task: Task, levels: int) -> list[nn.Module]:
    """Give a net heads on the coarser levels of its decoder; the rest of it stays as it is.

    Args:
        net: a SegmentationNet; changed.
        arch: its architecture.
        task: gives the number of logits.
        levels: how many get a head, from the finest but one on; 0: none.

    Returns:
        The heads, fine to coarse.

    Raises:
        UserError: the architecture has no levels, or fewer.
    """
    number = check_supervision(arch, levels)
    if not number:
        return []
    if not isinstance(net, SegmentationNet):
        raise UserError(f"{SETTING}={number}: a net of segtrain's is needed, not a {type(net).__name__}; set it to 0")
    names = level_names(net.net, arch)[1:]  # the finest makes the logits
    if number > len(names):
        raise UserError(
            f"{SETTING}={number}: the decoder of this net has {len(names)} coarser levels; choose at most that"
        )
    names = names[:number]
    features = _dry_run(net, names)
    channels = [features[name].shape[1] for name in names]
    factors = [net.stride // features[name].shape[-1] for name in names]
    net.supervision = Supervision(names, channels, factors, task.num_classes)
    return list(net.supervision.heads)


def level_names(net: nn.Module, arch: str) -> list[str]:
    """Names of the modules that make the levels of a decoder, fine to coarse."""
    found = (re.fullmatch(LEVELS[arch], name) for name, _ in net.named_modules())
    return [match[0] for match in sorted(filter(None, found), key=lambda match: int(match[1]), reverse=True)]


def _dry_run(net: SegmentationNet, names: Sequence[str]) -> dict[str, Tensor]:
    """What the levels make of an image of the stride's size; statistics and random numbers stay as they are."""
    image, training = torch.zeros(1, net.mean.shape[1], net.stride, net.stride), net.training
    try:
        with torch.no_grad(), outputs_of(net.net, names) as features:
            net.eval()(image)
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{SETTING}: this net takes no images of {net.stride} x {net.stride} pixels, with which its levels are "
            f"measured ({reason}); choose another model.encoder, or set {SETTING}=0"
        ) from error
    finally:
        net.train(training)
    return features


def at_scale(mask: Tensor, factor: int) -> Tensor:
    """Ids at the centres of a coarser grid's pixels; where a centre is beyond the edge, at the edge.

    Args:
        mask: [..., H, W].
        factor: pixels to a pixel of the grid.

    Returns:
        [..., ceil(H / factor), ceil(W / factor)], ids that are in mask.
    """
    for axis in (-2, -1):
        side = mask.shape[axis]
        centres = torch.arange(factor // 2, side + factor // 2, factor, device=mask.device).clamp(max=side - 1)
        mask = mask.index_select(axis, centres)
    return mask


def scale_weights(number: int) -> list[float]:
    """2^-i for the scale i, finest first, with a sum of 1."""
    raw = [2.0**-index for index in range(number)]
    return [each / sum(raw) for each in raw]

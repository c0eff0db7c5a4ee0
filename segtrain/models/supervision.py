"""Deep supervision: coarser levels of a decoder make logits too, in training alone.

    supervise(net, "unet", task, levels=2)
    net.train()(image)      # Scales: logits of the image's size, of half and of a quarter of it
    net.eval()(image)       # logits of the image's size, as without

Lee et al. 2015, "Deeply-Supervised Nets"; weights and targets of the scales as in nnU-Net (Isensee et al. 2021).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

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


class Supervision(nn.Module):
    """A 1x1 convolution for each of some levels of a net.

    Args:
        levels: names of the net's modules that make the features, fine to coarse.
        channels: of the features of each.
        factors: pixels of the image to a pixel of each.
        out_channels: channels of the logits.

    Shape: (net, what it sees [N, C, H, W]) -> logits of the net, then those of the levels, fine to coarse.
    """

    def __init__(self, levels: Sequence[str], channels: Sequence[int], factors: Sequence[int], out_channels: int):
        super().__init__()
        self.levels, self.factors = tuple(levels), tuple(factors)
        self.heads = nn.ModuleList(nn.Conv2d(number, out_channels, 1) for number in channels)

    def forward(self, net: nn.Module, seen: Tensor) -> tuple[Tensor, ...]:
        with outputs_of(net, self.levels) as features:
            logits = net(seen)
        return logits, *(head(features[level]) for head, level in zip(self.heads, self.levels, strict=True))


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

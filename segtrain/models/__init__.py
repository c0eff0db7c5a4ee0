"""Nets by name, and the one place where they are built.

    net = build_model(Task(mode="binary"), in_channels=3, arch="plain_unet", width=16)
    logits = net(image)          # uint8 or [0, 1], any size

To add one of your own: a builder in a file of this folder, a line in MODELS, a yaml in conf/model/. Nets of
segmentation-models-pytorch need a yaml only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from segtrain import checks
from segtrain.errors import UserError
from segtrain.models.normalize import SegmentationNet
from segtrain.models.smp import ARCHITECTURES, architecture, smp_net
from segtrain.models.unet import UNet
from segtrain.task import Task

# name -> builder of the class; the library's nets are imported when one is built
MODELS: dict[str, Callable[[], type[nn.Module]]] = {
    "plain_unet": lambda: UNet,
    **{name: partial(architecture, name) for name in ARCHITECTURES},
}

__all__ = ["MODELS", "SegmentationNet", "build_model"]


def build_model(
    task: Task,
    in_channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    arch: str,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    downsample: int = 1,
    **params: Any,
) -> SegmentationNet:
    """Build a net with normalization, padding and cropping inside.

    Args:
        task: gives the number of logits.
        in_channels: channels of the image.
        mean: per channel of the training set, in [0, 1]; pretrained encoders bring their own.
        std: likewise.
        arch: a key of MODELS.
        encoder: encoder of the library's nets.
        encoder_weights: None, "imagenet" or a path.
        downsample: see SegmentationNet.
        **params: further parameters of the net, as in conf/model/.

    Raises:
        UserError: unknown architecture, encoder or parameter, or weights that cannot be had.
    """
    checks.choice("model.arch", arch, MODELS)
    for key, value in (("encoder", encoder), ("encoder_weights", encoder_weights)):
        if value is not None and not isinstance(value, str):
            raise UserError(f"model.{key} must be a text or null, got {value!r}")
    if arch == "plain_unet":
        _refuse_unknown(arch, params, inspect.signature(MODELS[arch]()).parameters)
        if encoder is not None or encoder_weights is not None:
            raise UserError("model.arch=plain_unet has no encoder; use model=unet_resnet34 model.encoder=...")
        unet = UNet(in_channels, task.num_classes, **params)
        return SegmentationNet(unet, mean, std, 2 ** (len(unet.down) - 1), downsample)
    if encoder is None:
        raise UserError(f"model.arch={arch} needs model.encoder; start from model=unet_resnet34 model.arch={arch}")
    _refuse_unknown(arch, params, inspect.signature(MODELS[arch]()).parameters)
    net, stride, own = smp_net(arch, encoder, encoder_weights, in_channels, task.num_classes, **params)
    if own is not None and len(own[0]) == in_channels:
        mean, std = own
    return SegmentationNet(net, mean, std, stride, downsample)


def _refuse_unknown(arch: str, params: dict[str, Any], known: Any) -> None:
    set_here = {"in_channels", "out_channels", "classes", "encoder_name", "kwargs"}
    for key in params:
        checks.choice(f"model.arch={arch}: each parameter", key, sorted(set(known) - set_here))

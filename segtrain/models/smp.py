"""Nets of segmentation-models-pytorch: any of its architectures on any of its encoders.

    python train.py model=unet_resnet34 model.arch=fpn model.encoder=tu-convnext_tiny

The lists are the library's own: `segmentation_models_pytorch.MODEL_ARCHITECTURES_MAPPING` and, for encoders,
its own names or `tu-<name>` for those of timm.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import huggingface_hub.constants
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.encoders import get_preprocessing_params
from torch import nn

from segtrain import checks
from segtrain.errors import UserError

ARCHITECTURES: dict[str, type[nn.Module]] = dict(smp.MODEL_ARCHITECTURES_MAPPING)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's and timm's mean and std
# What an architecture needs beyond its encoder's stride: PAN's pyramid halves the coarsest map three times more.
LEAST_STRIDE = {"pan": 128}
ALWAYS = {"dpt": {"dynamic_img_size": True}}  # transformers of timm take one fixed size unless told so
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")

Statistics = tuple[Sequence[float], Sequence[float]]


def smp_net(
    arch: str, encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int, **params: Any
) -> tuple[nn.Module, int, Statistics | None]:
    """Build one of the library's nets.

    Args:
        arch: a key of ARCHITECTURES.
        encoder: name of the encoder.
        encoder_weights: None (random), "imagenet" (needs a network once), or the path of a state dict.
        in_channels: channels of the image.
        out_channels: channels of the logits.
        **params: further arguments of the library's class, such as decoder_channels.

    Returns:
        The net, its stride in pixels, and the mean and std its encoder weights expect (None: random weights).

    Raises:
        UserError: unknown encoder or parameter, weights that cannot be had or do not fit.
    """
    name = encoder_weights if encoder_weights == "imagenet" else None
    if name is None:
        net = _construct(arch, encoder, None, in_channels, out_channels, params)
        statistics = IMAGENET if encoder_weights is not None else None
    else:
        net, statistics = _pretrained(
            encoder, lambda: _construct(arch, encoder, name, in_channels, out_channels, params)
        )
    if encoder_weights is not None and name is None:
        _load_encoder(net, Path(encoder_weights))
    return net, max(int(getattr(net.encoder, "output_stride", 32)), LEAST_STRIDE.get(arch, 32)), statistics


def _construct(
    arch: str, encoder: str, weights: str | None, in_channels: int, classes: int, params: dict[str, Any]
) -> nn.Module:
    params = ALWAYS.get(arch, {}) | params
    try:
        return ARCHITECTURES[arch](
            encoder_name=encoder, encoder_weights=weights, in_channels=in_channels, classes=classes, **params
        )
    except KeyError as error:
        known = sorted(smp.encoders.encoders)
        hint = checks.did_you_mean(encoder, known)
        raise UserError(f"model.encoder: no encoder {encoder!r}{hint}; `segtrain ls encoders` lists them") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"model.arch={arch} with model.encoder={encoder}: {_first_line(error)}") from error


def _pretrained(encoder: str, construct: Callable[[], nn.Module]) -> tuple[nn.Module, Statistics]:
    """Build with downloaded weights; without a network only a cached download can be used, at once."""
    offline, huggingface_hub.constants.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE, not _reachable()
    try:
        found = get_preprocessing_params(encoder, "imagenet")
        return construct(), (found["mean"], found["std"])
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"model.encoder_weights=imagenet: the weights of {encoder} could not be downloaded ({_first_line(error)}); "
            "connect once, or give a file with model.encoder_weights=PATH, or train from random weights with "
            "model.encoder_weights=null"
        ) from error
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = offline


def _reachable() -> bool:
    """Whether the host of the weights answers; the library itself would retry for 23 s before it gives up."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in PROXIES):
        return True
    host = urlparse(huggingface_hub.constants.ENDPOINT).hostname or ""
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return False
    return True


def _load_encoder(net: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise UserError(f"model.encoder_weights: no file {path}; give a state dict, imagenet or null")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        net.encoder.load_state_dict(state)
    except (RuntimeError, AttributeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"model.encoder_weights: {path} does not fit the encoder: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] if lines else type(error).__name__

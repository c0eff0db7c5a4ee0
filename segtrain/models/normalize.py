"""The net as everyone else sees it: any 8-bit or [0, 1] image of any size in, logits of that size out.

Normalization and padding live inside, so that training, prediction and export cannot disagree, and images
stay uint8 until they are on the device (a quarter of the transfer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segtrain import checks
from segtrain.errors import UserError
from segtrain.models.scales import Scales, cropped, enlarge, enlarged_at_scale

if TYPE_CHECKING:
    from segtrain.models.supervision import Supervision


class SegmentationNet(nn.Module):
    """Normalize, pad to the stride, run the net, crop back.

    Args:
        net: maps normalized [N, C, H, W] to logits [N, K, H, W], H and W multiples of stride.
        mean: per channel, in [0, 1].
        std: per channel, in (0, 1].
        stride: the net's total downsampling, in pixels of what it sees.
        downsample: the net sees the image this many times smaller, and its logits are enlarged again; in training they
            are made where the ids of so much coarser a grid are taken, which is a fraction of the pixels of the same.

    Attributes:
        stride: in pixels of the image.
        supervision: heads of coarser levels, which `supervise` gives it; None without.

    Shape: image uint8 in [0, 255] or float in [0, 1], [N, C, H, W]; returns logits [N, K, H, W], or in training with
        supervision or downsample the logits of all its grids (Scales).

    Raises:
        UserError: the image has another number of channels than mean and std, or downsample is out of range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, net: nn.Module, mean: Sequence[float], std: Sequence[float], stride: int, downsample: int = 1
    ) -> None:
        super().__init__()
        self.net = net
        self.downsample = checks.whole("model.downsample", downsample, 1, 16)
        self.stride = stride * downsample
        self.supervision: Supervision | None = None
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor | Scales:
        if image.shape[1] != self.mean.shape[1]:
            raise UserError(f"this net takes images of {self.mean.shape[1]} channels, got {image.shape[1]}")
        height, width = image.shape[-2:]
        # of the reduced image, which has fewer pixels; means of normalized pixels are the same
        seen = self.normalize(self.reduce(pad_to_stride(scaled(image), self.stride)))
        if self.training and (self.supervision is not None or self.downsample > 1):
            return self.scales(seen, height, width)
        logits: Tensor = self.net(seen)
        return enlarge(logits, self.downsample)[..., :height, :width]

    def scales(self, seen: Tensor, height: int, width: int) -> Scales:
        """Logits of all grids, of what the net sees of a padded image that was [height, width]."""
        supervision = self.supervision
        finest, *coarser = (self.net(seen),) if supervision is None else supervision(self.net, seen)
        factors = (self.downsample, *(() if supervision is None else supervision.factors))
        made = (enlarged_at_scale(finest, self.downsample), *coarser)
        pairs = zip(made, factors, strict=True)
        return Scales(tuple(cropped(logits, height, width, factor) for logits, factor in pairs), factors)

    def reduce(self, image: Tensor) -> Tensor:
        """The image as the net sees it: means of downsample x downsample pixels."""
        return F.avg_pool2d(image, self.downsample) if self.downsample > 1 else image

    def normalize(self, image: Tensor) -> Tensor:
        """(x - mean) / std in float32; uint8 is divided by 255 first."""
        return (scaled(image) - self.mean) / self.std


def scaled(image: Tensor) -> Tensor:
    """An image in [0, 1], as float32; uint8 is divided by 255."""
    return image.float() / 255 if image.dtype == torch.uint8 else image.float()


def require_encoder(net: nn.Module, wanted_by: str) -> nn.Module:
    """The encoder of a net.

    Args:
        net: a SegmentationNet.
        wanted_by: the setting that is for the encoder, for the message.

    Raises:
        UserError: it has none that could be told from the rest.
    """
    encoder = getattr(getattr(net, "net", net), "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise UserError(f"{wanted_by}: this net has no encoder of its own; choose one that has, as model=unet_resnet34")
    return encoder


def pad_to_stride(image: Tensor, stride: int) -> Tensor:
    """Pad at the bottom and right to multiples of the stride: by reflection, or by edge in tiny images."""
    height, width = image.shape[-2:]
    bottom, right = -height % stride, -width % stride
    # reflection needs more pixels than it adds
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(image, (0, right, 0, bottom), mode=mode) if bottom or right else image

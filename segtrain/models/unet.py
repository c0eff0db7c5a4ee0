"""The plain U-Net (Ronneberger et al. 2015), with batch norm and same-size convolutions.

    image -> [double conv, halve] x depth -> double conv -> [double, join skip, double conv] x depth -> logits

Readable from top to bottom; `model=unet` (width 64, 31 M parameters) and `model=unet_tiny` (width 16, 1.9 M,
for CPUs). For pretrained encoders see `model=unet_resnet34` and the other nets of
segmentation-models-pytorch.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segtrain import checks


class UNet(nn.Module):
    """Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        width: channels of the finest level; each coarser level has twice as many.
        depth: number of times the resolution is halved; the stride is 2 ** depth.

    Shape: [N, in_channels, H, W] with H, W multiples of 2 ** depth -> logits [N, out_channels, H, W].

    Raises:
        UserError: width or depth is not a whole number in range.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        checks.whole("model.width", width, 1)
        checks.whole("model.depth", depth, 1, 8)
        channels = [width * 2**level for level in range(depth + 1)]  # fine to coarse
        self.down = nn.ModuleList(double_conv(a, b) for a, b in pairwise([in_channels, *channels]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(list(pairwise(channels))))
        self.join = nn.ModuleList(double_conv(2 * c, c) for c in reversed(channels[:-1]))
        self.head = nn.Conv2d(width, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        x = skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([skips.pop(), up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Twice: 3x3 convolution, batch norm, ReLU. No bias, since batch norm subtracts it again."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)

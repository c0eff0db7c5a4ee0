"""What surrounds every net: any size in, logits of that size out; and what a net sees of an image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from segtrain.errors import UserError
from segtrain.models import build_model
from segtrain.models.normalize import SegmentationNet
from segtrain.task import Task

BINARY = Task("binary")


class Seen(nn.Module):
    """Keeps what it is given, and gives its first channel back."""

    def forward(self, image: Tensor) -> Tensor:
        self.image = image
        return image[:, :1]


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_net_sees_means_and_logits_are_enlarged(factor: int) -> None:
    """A slope is kept by both, away from the edges."""
    inner = Seen()
    net = SegmentationNet(inner, [0.0], [1.0], 2, factor).eval()
    slope = torch.linspace(0, 1, 16 * factor).expand(1, 1, 8 * factor, -1).clone()
    logits = net(slope)
    assert inner.image.shape == (1, 1, 8, 16)
    torch.testing.assert_close(inner.image[..., 3, 5], slope[..., 3 * factor, 5 * factor : 6 * factor].mean(-1))
    inside = slice(factor, -factor)
    torch.testing.assert_close(logits[..., inside], slope[..., inside])


@pytest.mark.parametrize("size", [(1, 1), (17, 30), (64, 33)])
def test_any_size_with_downsampling(size: tuple[int, int]) -> None:
    net = build_model(BINARY, 3, [0.5] * 3, [0.2] * 3, "plain_unet", width=2, depth=2, downsample=2).eval()
    assert net.stride == 8
    assert net(torch.rand(1, 3, *size)).shape == (1, 1, *size)


def test_downsampling_is_a_whole_number() -> None:
    with pytest.raises(UserError, match=r"model.downsample must be a whole number in \[1, 16\], got 0"):
        build_model(BINARY, 3, [0.5] * 3, [0.2] * 3, "plain_unet", width=2, depth=2, downsample=0)

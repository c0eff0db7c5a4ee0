"""Coarser grids: where their ids are taken, and logits at just those pixels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from segtrain.losses import build_loss
from segtrain.models import build_model
from segtrain.models.scales import Scales, at_scale, enlarge, enlarged_at_scale
from segtrain.models.supervision import supervise
from segtrain.module import SegmentationModule
from segtrain.optim import Optim
from segtrain.task import IGNORE, Batch, Task

TASK = Task("multiclass", 3)
SIZES = [(32, 48), (29, 41), (1, 7)]


def test_ids_are_taken_at_the_centres() -> None:
    mask = torch.arange(35).view(1, 5, 7)
    assert at_scale(mask, 2).tolist() == [[[8, 10, 12, 13], [22, 24, 26, 27], [29, 31, 33, 34]]]
    assert at_scale(mask, 4).tolist() == [[[16, 20], [30, 34]]]
    assert at_scale(mask, 16).tolist() == [[[34]]]
    exact = F.interpolate(torch.rand(2, 3, 16, 24), size=(4, 6), mode="nearest-exact")
    assert exact.shape == at_scale(torch.rand(2, 3, 16, 24), 4).shape
    given = torch.rand(2, 3, 16, 24)
    assert torch.equal(at_scale(given, 4), F.interpolate(given, size=(4, 6), mode="nearest-exact"))


def test_a_grid_of_the_image_takes_all_ids() -> None:
    mask = torch.arange(35).view(1, 5, 7)
    assert torch.equal(at_scale(mask, 1), mask)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 16])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 1)])
def test_logits_where_ids_are_taken_are_pixels_of_the_enlarged(factor: int, size: tuple[int, int]) -> None:
    logits = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = at_scale(F.interpolate(logits, scale_factor=factor, mode="bilinear", align_corners=False), factor)
    torch.testing.assert_close(enlarged_at_scale(logits, factor), expected, rtol=1e-12, atol=1e-12)
    assert enlarge(logits, factor).shape[-2:] == (size[0] * factor, size[1] * factor)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_net_that_sees_less_trains_on_some_pixels_of_what_it_evaluates(size: tuple[int, int], factor: int) -> None:
    """Not on pixels beside them: a net taught at the neighbours would predict half a pixel off."""
    torch.manual_seed(0)
    net = build_model(TASK, 3, [0.5] * 3, [0.25] * 3, "plain_unet", width=2, depth=2, downsample=factor)
    image = torch.rand(2, 3, *size)
    net.train().net.eval()  # batch norm by the statistics that evaluation takes
    made = net(image)
    assert isinstance(made, Scales)
    assert made.factors == (factor,)
    (logits,) = made.logits
    expected, (rows, columns) = at_scale(net.eval()(image), factor), (each // factor for each in size)
    assert logits.shape == expected.shape
    # the last row and column may have their centre beyond the edge
    torch.testing.assert_close(logits[..., :rows, :columns], expected[..., :rows, :columns])


@pytest.mark.parametrize("size", SIZES)
def test_the_loss_of_a_net_that_sees_less(size: tuple[int, int]) -> None:
    """By hand: of each cell of a grid the id at its centre; with supervision all grids are as much coarser."""
    torch.manual_seed(0)
    net = build_model(TASK, 3, [0.5] * 3, [0.25] * 3, "plain_unet", width=2, depth=3, downsample=2)
    supervise(net, "plain_unet", TASK, 1)
    image, mask = torch.rand(2, 3, *size), torch.randint(0, 3, (2, *size))
    mask[torch.rand(mask.shape) < 0.2] = IGNORE
    mask[:, 0, 0] = 0  # one is labelled
    scales = net.train()(image)
    assert scales.factors == (2, 4)
    batch = Batch(image=image, mask=mask, id=["a", "b"], forced=[False, False], tiles=[])
    module = SegmentationModule(net, build_loss("ce", task=TASK), TASK, Optim())
    loss, _ = module.loss_of_scales(scales, batch)
    means = []
    for logits, factor in zip(scales.logits, scales.factors, strict=True):
        found = []
        for n, i, j in torch.cartesian_prod(*(torch.arange(side) for side in (2, *logits.shape[-2:]))).tolist():
            y, x = (min(at * factor + factor // 2, side - 1) for at, side in zip((i, j), size, strict=True))
            if (wanted := int(mask[n, y, x])) != IGNORE:
                found.append(-logits[n, :, i, j].double().log_softmax(0)[wanted].item())
        means.append(sum(found) / max(len(found), 1))
    assert loss.item() == pytest.approx((2 * means[0] + means[1]) / 3, rel=1e-5)

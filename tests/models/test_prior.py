"""bias_prior=true: what a net predicts before it has learned anything."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segtrain.errors import UserError
from segtrain.models import MODELS, build_model
from segtrain.models.prior import LEAST, set_prior
from segtrain.task import Task

SHARES = [0.7, 0.25, 0.05]
SMALL = {"plain_unet": {"width": 2, "depth": 1}}


@pytest.mark.parametrize(
    ("task", "shares"),
    [
        (Task("binary"), [0.03]),
        (Task("multilabel", 3), [0.5, 0.01, 0.9]),
        (Task("multiclass", 3), SHARES),
    ],
)
def test_a_net_that_sees_nothing_predicts_the_shares(task: Task, shares: list[float]) -> None:
    head = nn.Conv2d(4, len(shares), 1)
    set_prior(nn.Sequential(nn.Conv2d(3, 4, 1), head), task, shares)
    logits = head(torch.zeros(1, 4, 1, 1))
    predicted = logits.softmax(1) if task.exclusive else logits.sigmoid()
    torch.testing.assert_close(predicted.flatten(), torch.tensor(shares))


def test_a_class_that_is_missing_is_not_impossible() -> None:
    head = nn.Conv2d(4, 3, 1)
    set_prior(head, Task("multiclass", 3), [1.0, 0.0, 0.0])
    assert head.bias is not None
    assert head.bias.isfinite().all()
    assert head.bias.softmax(0)[1].item() == pytest.approx(LEAST, rel=0.01)


@pytest.mark.parametrize(
    "arch",
    [
        pytest.param(name, marks=pytest.mark.slow) if name not in ("plain_unet", "fpn", "segformer") else name
        for name in MODELS
    ],
)
def test_the_head_of_every_architecture_is_found(arch: str) -> None:
    encoder = {} if arch in SMALL else {"encoder": "tu-vit_tiny_patch16_224" if arch == "dpt" else "resnet18"}
    task = Task("multiclass", 3)
    net = build_model(task, 3, [0.5] * 3, [0.25] * 3, arch, **encoder, **SMALL.get(arch, {})).eval()
    before = net(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    head = [each for each in net.modules() if isinstance(each, nn.Conv2d)][-1]
    assert head.bias is not None
    was = head.bias.detach().clone()
    set_prior(net, task, SHARES)
    after = net(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    # upsampling behind the head is linear, so all logits of a class move by what its bias did
    expected = (torch.tensor(SHARES).log() - was)[:, None, None].expand_as(after[0])
    torch.testing.assert_close((after - before)[0], expected, atol=1e-4, rtol=1e-4)


def test_a_net_without_such_a_head_is_refused() -> None:
    for net in (nn.Identity(), nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 2, 1)):
        with pytest.raises(UserError, match="does not end with a convolution that has a bias"):
            set_prior(net, Task("multiclass", 3), SHARES)

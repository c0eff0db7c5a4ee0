"""A last layer that begins with the class shares, so that the first steps are not spent on learning them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from segtrain.errors import UserError
from segtrain.task import Task

LEAST = 1e-4  # of a share: a class that the training set lacks is not made impossible


def set_prior(net: nn.Module, task: Task, shares: Sequence[float]) -> None:
    """Let a net that sees nothing predict the class shares: bias = log p (multiclass) or log p / (1 - p).

    Lin et al. 2017, "Focal Loss for Dense Object Detection", section 3.3, with the share that was measured.

    Args:
        net: whose last convolution makes the logits; changed.
        task: any mode.
        shares: of the labelled pixels, one for each logit, in [0, 1].

    Raises:
        UserError: the net does not end with a convolution that has a bias.
    """
    found = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    if not found or found[-1].bias is None or found[-1].out_channels != len(shares):
        raise UserError("bias_prior=true: this net does not end with a convolution that has a bias; set it to false")
    share = torch.tensor(list(shares)).clamp(LEAST, 1 - LEAST)
    with torch.no_grad():
        found[-1].bias.copy_(share.log() if task.exclusive else torch.logit(share))

"""One shape for all three modes, so that a loss is a few lines about its formula.

    logits [N, C, H, W] -> [N, C, P] in float32 (float64 stays, for gradcheck), 0 at ignored pixels
    target              -> multiclass [N, P], binary and multilabel [N, C, P], 0 at ignored pixels
    valid               -> bool, as target

Setting ignored logits to a constant *before* any formula makes value and gradient independent of what
stands there, even of inf and NaN; a mask after the formula would give 0 * NaN = NaN in the gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segtrain.task import Task, check_shapes, valid_mask


class Spread(NamedTuple):
    """Logits, target and validity over the P = H * W pixels of each image.

    logits: [N, C, P], float32 or float64.
    target: int64, [N, P] in multiclass, else [N, C, P] in {0, 1}.
    valid: bool, the shape of target.
    """

    logits: Tensor
    target: Tensor
    valid: Tensor


def spread(logits: Tensor, target: Tensor, task: Task) -> Spread:
    """Bring logits and target of any mode into the shape that the losses are written for.

    Args:
        logits: [N, C, H, W], any float dtype, raw.
        target: [N, H, W], or [N, C, H, W] in multilabel; ids of the task or its ignore index.
        task: mode, classes and ignore index.

    Raises:
        UserError: shapes or dtypes do not fit the task.
    """
    check_shapes(logits, target, task)
    logits = logits.flatten(2)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    target = target.flatten(1) if task.exclusive else target.reshape(logits.shape)
    valid = valid_mask(target, task)
    ignored = ~valid.unsqueeze(1) if task.exclusive else ~valid
    return Spread(logits.masked_fill(ignored, 0.0), target.long().masked_fill(~valid, 0), valid)


def log_likelihood(pixels: Spread, task: Task) -> Tensor:
    """log p_t, the log-probability of each pixel's own label; shape of the target.

    Softmax in multiclass; sigmoid in binary and multilabel, where p_t = p for a 1 and 1 - p for a 0.
    """
    if task.exclusive:
        log_p = F.log_softmax(pixels.logits, dim=1)
        return log_p.gather(1, pixels.target.unsqueeze(1)).squeeze(1)
    sign = (2 * pixels.target - 1).to(pixels.logits.dtype)
    return F.logsigmoid(sign * pixels.logits)


def probabilities(pixels: Spread, task: Task) -> Tensor:
    """Probability of each class, [N, C, P]: softmax in multiclass, else sigmoid."""
    return pixels.logits.softmax(dim=1) if task.exclusive else pixels.logits.sigmoid()


def mean_over(valid: Tensor, values: Tensor) -> Tensor:
    """Mean of the values where valid; 0, still connected to the graph, where nothing is valid."""
    return (values * valid).sum() / valid.sum().clamp(min=1)


def per_class(values: list[float], like: Tensor) -> Tensor:
    """One number per class as [C, 1] beside [N, C, P] logits, without waiting for the device."""
    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True).unsqueeze(1)

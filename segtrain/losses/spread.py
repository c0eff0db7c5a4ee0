"""One shape for all three modes, and what several losses need of a batch, computed once.

    logits [N, C, H, W] -> [N, C, P] in float32 (float64 stays, for gradcheck)
    target              -> multiclass [N, P], binary and multilabel [N, C, P]

A loss is a few lines about its formula:

    pixels = spread(logits, target, task, needs=("nll",))
    return pixels.mean(pixels.nll)

Everything made from the logits is 0 at ignored pixels, in value and gradient, even where they hold inf or NaN.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segtrain.losses.activations import Erase, Sigmoid, Softmax
from segtrain.losses.ranks import sum_counts, world_size
from segtrain.task import Task, check_shapes, valid_mask

CHUNK = 4096  # pixels added one by one before the sums are added pairwise
NEEDS = ("nll", "sums", "squares")  # what the losses ask for; see Pixels.nll and Pixels.sums


class Sums(NamedTuple):
    """Sums over the valid pixels of each image and class, each [N, C], or [1, C] after summing over the batch.

    overlap: I = sum(p y).  claimed: sum(p (1 - y)), false positives.  missed: sum((1 - p) y), false negatives.
    truth: Y = sum(y).  seen: V, number of valid pixels.
    """

    overlap: Tensor
    claimed: Tensor
    missed: Tensor
    truth: Tensor
    seen: Tensor


class Pixels:
    """Logits and target of a batch over its P = H * W pixels, and what losses make of them; see spread.

    Attributes:
        task: mode, classes, ignore index.
        logits: [N, C, P], float32 or float64, ignored pixels as they came.
        target: ids as they came, [N, P] in multiclass, else [N, C, P].
        size: (H, W).
        joint: whether means and synchronized sums run over all processes.
    """

    def __init__(self, logits: Tensor, target: Tensor, task: Task, needs: Collection[str], joint: bool) -> None:
        self.task, self.needs, self.joint = task, frozenset(needs), joint
        self.size = (logits.shape[2], logits.shape[3])
        logits = logits.flatten(2)
        self.logits = logits if logits.dtype == torch.float64 else logits.float()
        self.target = target.flatten(1) if task.exclusive else target.reshape(self.logits.shape)

    @cached_property
    def valid(self) -> Tensor:
        """Bool, the shape of target."""
        return valid_mask(self.target, self.task)

    @cached_property
    def labels(self) -> Tensor:
        """Multiclass: ids, int64, 0 where ignored. Else bool: whether the label is 1."""
        return self.target.long() * self.valid if self.task.exclusive else self.target == 1

    @cached_property
    def count(self) -> Tensor:
        """Number of valid pixels (binary and multilabel: of labels), over all processes if joint; at least 1."""
        if not self.needs:
            return self.everywhere(self.valid.sum()).clamp(min=1)
        seen = self._made["seen"][:, :1] if self.task.exclusive else self._made["seen"]
        return self.everywhere(seen.sum()).clamp(min=1)

    @cached_property
    def _made(self) -> dict[str, Tensor]:
        """One pass over the logits for all that is needed."""
        likelihood, sums, squares = (name in self.needs for name in NEEDS)
        ignore = self.task.ignore_index
        if self.task.exclusive:
            keys: tuple[str, ...] = ("nll", "claimed", "claimed2", "truth", "seen")
            made = Softmax.apply(self.logits, self.target, ignore, sums, squares)
        else:
            keys = ("nll", "overlap", "claimed", "missed", "claimed2", "missed2", "truth", "seen")
            made = Sigmoid.apply(self.logits, self.target, ignore, likelihood, sums or squares, squares)
        return dict(zip(keys, made, strict=True))

    @property
    def nll(self) -> Tensor:
        """-log p_t, negative log-likelihood of each pixel's own label, the shape of target; 0 where ignored.

        Softmax in multiclass; sigmoid in binary and multilabel, where p_t = p for a 1 and 1 - p for a 0. Needs "nll".
        """
        return self._made["nll"]

    def sums(self, squared: bool = False) -> Sums:
        """I, false positives and negatives of each image and class, without a one-hot tensor.

        Args:
            squared: errors as sum(p^2 (1 - y)) and sum((1 - p)^2 y), so that P + Y is V-Net's sum(p^2) + sum(y^2).
                Needs "squares", else "sums".
        """
        made = self._made
        claimed = made["claimed2" if squared else "claimed"]
        if not self.task.exclusive:
            missed = made["missed2" if squared else "missed"]
            return Sums(made["overlap"], claimed, missed, made["truth"], made["seen"])
        error = -torch.expm1(-self.nll)  # 1 - p_t, 0 where ignored
        missed = sums_by_class(error, self.labels, self.task.num_classes)
        overlap = made["truth"] - missed
        if squared:
            missed = sums_by_class(error.square(), self.labels, self.task.num_classes)
        return Sums(overlap, claimed, missed, made["truth"], made["seen"])

    @cached_property
    def erased(self) -> Tensor:
        """Logits [N, C, P] with 0 at ignored pixels."""
        valid = self.valid.unsqueeze(1) if self.task.exclusive else self.valid
        erased: Tensor = Erase.apply(self.logits, valid)
        return erased

    @cached_property
    def probabilities(self) -> Tensor:
        """Probability of each class [N, C, P], 0 at ignored pixels; for losses that look at neighbours or sort."""
        if self.task.exclusive:
            return self.erased.softmax(1) * self.valid.unsqueeze(1)
        return self.erased.sigmoid() * self.valid

    @cached_property
    def memberships(self) -> Tensor:
        """Whether a pixel belongs to each class, [N, C, P] in the logits' dtype, 0 at ignored pixels."""
        if not self.task.exclusive:
            return (self.labels & self.valid).to(self.logits.dtype)
        classes = torch.arange(self.task.num_classes, device=self.labels.device).view(1, -1, 1)
        return ((self.labels.unsqueeze(1) == classes) & self.valid.unsqueeze(1)).to(self.logits.dtype)

    def image(self, values: Tensor) -> Tensor:
        """[N, C, P] as [N, C, H, W]."""
        return values.view(*values.shape[:2], *self.size)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the valid pixels (of all processes if joint) of values that are 0 where ignored.

        0, still connected to the graph, where nothing is valid.
        """
        return values.sum() * self._share / self.count

    def ratio(self, total: Tensor, weight: Tensor) -> Tensor:
        """Total / weight with both summed over all processes if joint; 0 where there is no weight."""
        whole = self.everywhere(weight.to(total.dtype))
        return total * self._share * (whole > 0) / whole.where(whole > 0, 1.0)

    @property
    def _share(self) -> int:
        return world_size() if self.joint else 1

    def everywhere(self, count: Tensor) -> Tensor:
        """A count without gradient, summed over all processes if joint."""
        return sum_counts(count) if self.joint else count


def spread(logits: Tensor, target: Tensor, task: Task, needs: Collection[str] = (), joint: bool = False) -> Pixels:
    """Bring logits and target of any mode into the shape that the losses are written for.

    Args:
        logits: [N, C, H, W], any float dtype, raw.
        target: [N, H, W], or [N, C, H, W] in multilabel; ids of the task or its ignore index.
        task: mode, classes and ignore index.
        needs: what will be asked of it, of NEEDS; the rest is there anyhow.
        joint: divide means by the counts of all processes of a distributed run. For training, where all processes
            make the same steps; in validation they may not, and would wait for each other for ever. Without gradient
            it has no effect.

    Raises:
        UserError: shapes or dtypes do not fit the task.
    """
    check_shapes(logits, target, task)
    return Pixels(logits, target, task, needs, joint and torch.is_grad_enabled())


def sums_by_class(values: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Sum of the values [N, P] over the pixels of each class, [N, C].

    In chunks: a scatter adds one by one, which over millions of pixels loses the digits of a float32 sum.
    """
    short = -values.shape[1] % CHUNK
    if short:
        values, target = F.pad(values, (0, short)), F.pad(target, (0, short))
    chunks = values.new_zeros(len(values), values.shape[1] // CHUNK, num_classes)
    return chunks.scatter_add(2, target.view(*chunks.shape[:2], CHUNK), values.view(*chunks.shape[:2], CHUNK)).sum(1)

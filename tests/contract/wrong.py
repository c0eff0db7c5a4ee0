"""Losses with one mistake each, of the kind that public code has, and two without any.

They are whole losses, so that they are examined as a user's own is. `WRONG` says which promise each breaks;
LocalMean and LeavesTheOthersWaiting break that of two processes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segtrain.task import Task, check_shapes, valid_mask


class RightMean(nn.Module):
    """BCE, the mean over the valid pixels of all processes; the wrong means below change one of its steps."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        z, y, valid = self.inputs(logits, target)
        return self.mean(self.values(z, y), valid)

    def inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        check_shapes(logits, target, self.task)
        target = target.reshape(logits.shape)
        valid = valid_mask(target, self.task)
        z = logits if logits.dtype == torch.float64 else logits.float()
        return z.masked_fill(~valid, 0), target.masked_fill(~valid, 0).to(z.dtype), valid

    def values(self, z: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(z, y, reduction="none")

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        count, processes = valid.sum(), 1
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(count)
            processes = torch.distributed.get_world_size()
        return (values * valid).sum() * processes / count.clamp(min=1)


class RightDice(RightMean):
    """Dice with smoothing, within each process."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        z, y, valid = self.inputs(logits, target)
        p = z.sigmoid() * valid
        return self.one_minus((2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1), y, valid)

    def one_minus(self, dice: Tensor, y: Tensor, valid: Tensor) -> Tensor:
        return (1 - dice) * valid.any()


# ---- which pixels count --------------------------------------------------------------------------------------------


class MaskedAfter(RightMean):
    """The mask multiplies the result: 0 * NaN is NaN."""

    def inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, y, valid = super().inputs(logits, target)
        return logits if logits.dtype == torch.float64 else logits.float(), y, valid


class MeanOverAll(RightMean):
    """Divided by all pixels, ignored ones too (SMP, mmseg)."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return (values * valid).sum() / valid.numel()


class Sum(RightMean):
    """Not divided at all."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return (values * valid).sum()


class UnmaskedDenominator(RightDice):
    """The numerator is masked, the denominator is not (mmseg's Dice)."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        _, y, valid = self.inputs(logits, target)
        p = (logits if logits.dtype == torch.float64 else logits.float()).sigmoid()
        return self.one_minus((2 * (p * y * valid).sum() + 1) / (p.sum() + y.sum() + 1), y, valid)


class UnmaskedConstants(RightDice):
    """Ignored logits are made 0, and their probability of .5 is summed."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        z, y, valid = self.inputs(logits, target)
        p = z.sigmoid()
        return self.one_minus((2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1), y, valid)


class IndexWrittenDown(RightMean):
    """255, whatever the task says."""

    def inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        check_shapes(logits, target, self.task)
        target, valid = target.reshape(logits.shape), (target != 255).reshape(logits.shape)
        z = logits if logits.dtype == torch.float64 else logits.float()
        return z.masked_fill(~valid, 0), target.masked_fill(~valid, 0).to(z.dtype), valid


class NothingDividedByNothing(RightMean):
    """NaN where everything is ignored (torch's cross entropy)."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return (values * valid).sum() / valid.sum()


class Unconnected(RightMean):
    """A new 0 where everything is ignored: backward() raises."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        value = super().forward(logits, target)
        return value if valid_mask(target, self.task).any() else torch.zeros(())


class FirstCountsMore(RightMean):
    """The first image weighs double."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return super().mean(torch.cat([2 * values[:1], values[1:]]), valid)


# ---- what is cheap -------------------------------------------------------------------------------------------------


class Reversed(RightMean):
    """Foreground and background swapped."""

    def values(self, z: Tensor, y: Tensor) -> Tensor:
        return super().values(z, 1 - y)


class ActivatedTwice(RightDice):
    """The sigmoid of a sigmoid: the net's last layer has one too."""

    def inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, y, valid = super().inputs(logits, target)
        return z.sigmoid(), y, valid


class ActivatedTwiceMean(RightMean):
    """The same in BCE with logits."""

    def values(self, z: Tensor, y: Tensor) -> Tensor:
        return super().values(z.sigmoid(), y)


class EmptySkipped(RightDice):
    """0 where the mask is empty, whatever is predicted (SMP)."""

    def one_minus(self, dice: Tensor, y: Tensor, valid: Tensor) -> Tensor:
        return (1 - dice) * (y.sum() > 0)


class Unsmoothed(RightDice):
    """An empty mask costs 1, whatever is predicted."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        z, y, valid = self.inputs(logits, target)
        p = z.sigmoid() * valid
        return self.one_minus(2 * (p * y).sum() / (p.sum() + y.sum() + 1e-6), y, valid)


# ---- numbers -------------------------------------------------------------------------------------------------------


class LogOfSigmoid(RightMean):
    """Written as the formula in the paper: log 0."""

    def values(self, z: Tensor, y: Tensor) -> Tensor:
        p = z.sigmoid()
        return -(y * p.log() + (1 - y) * (1 - p).log())


class InHalf(RightMean):
    """Computed in the logits' own precision."""

    def inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, y, valid = super().inputs(logits, target)
        return z.to(logits.dtype), y.to(logits.dtype), valid

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        value = super().forward(logits, target)
        return value if value.dtype == torch.float64 else value.float()


class SumInHalf(RightDice):
    """Probabilities summed in half precision: more than 65504 is inf."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        z, y, valid = self.inputs(logits, target)
        p = z.sigmoid().to(logits.dtype) * valid
        overlap, total = (p * y).sum(), p.sum().to(z.dtype)
        return self.one_minus((2 * overlap + 1) / (total + y.sum() + 1), y, valid)


class Detached(RightMean):
    """The focusing factor has no gradient."""

    def values(self, z: Tensor, y: Tensor) -> Tensor:
        values = super().values(z, y)
        return (1 - (-values).exp()).detach() ** 2 * values


class Vector(RightMean):
    """One number per pixel."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return values * valid / valid.sum().clamp(min=1)


class InDouble(RightMean):
    """A float64 number: every later sum becomes float64."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return super().mean(values.double(), valid)


class MatrixProduct(RightMean):
    """A product that autocast turns into bfloat16."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return (values.flatten() @ valid.flatten().to(values.dtype)).to(values.dtype) / valid.sum().clamp(min=1)


# ---- manners -------------------------------------------------------------------------------------------------------


class NotForTargets(nn.Module):
    """Cannot be called with logits and target."""

    def __init__(self, task: Task) -> None:
        super().__init__()

    def forward(self, logits: Tensor) -> Tensor:
        return logits.mean()


class WritesIntoTarget(RightMean):
    """The ignored ids are overwritten in the caller's target (PaddleSeg)."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        value = super().forward(logits, target)
        target.masked_fill_(~valid_mask(target, self.task), 0)
        return value


class WritesIntoLogits(RightMean):
    """The logits are clamped in place."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits.data.clamp_(-1, 1)
        return super().forward(logits, target)


class UnsignedArithmetic(RightMean):
    """2 y - 1 in the target's own type: 255 for a uint8 0."""

    def inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, _, valid = super().inputs(logits, target)
        sign = (2 * target.reshape(logits.shape).masked_fill(~valid, 0) - 1).to(z.dtype)
        return z, (sign + 1) / 2, valid


class Viewed(RightMean):
    """view() of tensors that are not contiguous raises."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return super().forward(logits.view(-1).view(logits.shape), target.view(-1).view(target.shape))


class Unchecked(RightMean):
    """Whatever can be broadcast is accepted."""

    def inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        valid = target != self.task.ignore_index
        z = logits if logits.dtype == torch.float64 else logits.float()
        return z, (target * valid).to(z.dtype).unsqueeze(1), valid.unsqueeze(1)


class Item(RightMean):
    """A number that the host has to wait for."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return (values * valid).sum() / max(1, valid.sum().item())


class Branch(RightMean):
    """A decision that the host has to wait for."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return super().mean(values, valid) if valid.any() else 0 * values.sum()


class BooleanIndexing(RightMean):
    """Pixels taken by a mask: how many are there?"""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return values[valid].sum() / valid.sum().clamp(min=1)


class OnTheHost(RightMean):
    """A constant that stays on the host while the logits are on the device."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return super().mean(values * torch.tensor([1.0]), valid)


class KeptOnTheHost(RightMean):
    """A constant of the object that is no buffer, so it does not go to the device with the loss."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.constant = torch.tensor([1.0])

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return super().mean(values * self.constant, valid)


@torch.library.custom_op("segtrain_tests::squares", mutates_args=())
def squares(values: Tensor) -> Tensor:
    """An operation that says nothing about its result's shape, as those of extensions in C++ and Triton may."""
    return values.square()


squares.register_autograd(
    lambda ctx, slope: 2 * slope * ctx.saved_tensors[0],
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


class CustomOperation(RightMean):
    """Not wrong, but no device without data can run it."""

    def values(self, z: Tensor, y: Tensor) -> Tensor:
        return squares(z.sigmoid() - y)


class NotOnDevices(RightMean):
    """Not wrong on the host; elsewhere it says why it does not run."""

    def values(self, z: Tensor, y: Tensor) -> Tensor:
        if z.device.type != "cpu":
            raise NotImplementedError("written for the host")
        return super().values(z, y)


class NumberOnTheHost(RightMean):
    """Right: a single number may stay on the host."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.constant = torch.tensor(1.0)

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return super().mean(values * self.constant, valid)


class LocalMean(RightMean):
    """Each process divides by its own pixels."""

    def mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return (values * valid).sum() / valid.sum().clamp(min=1)


class LeavesTheOthersWaiting(RightMean):
    """A process without labels takes no part in the sum of all."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if not valid_mask(target, self.task).any():
            return 0 * logits.nan_to_num().sum()
        return super().forward(logits, target)


WRONG: dict[type[nn.Module], str] = {
    NotForTargets: "runs",
    Vector: "scalar",
    InDouble: "scalar",
    MaskedAfter: "ignored pixels",
    UnmaskedDenominator: "ignored pixels",
    UnmaskedConstants: "no dilution",
    MeanOverAll: "no dilution",
    Sum: "no dilution",
    IndexWrittenDown: "ignore index",
    NothingDividedByNothing: "all ignored",
    Unconnected: "all ignored",
    FirstCountsMore: "order of images",
    Reversed: "right is best",
    ActivatedTwice: "perfect is 0",
    ActivatedTwiceMean: "perfect is 0",
    EmptySkipped: "empty mask",
    Unsmoothed: "empty mask",
    LogOfSigmoid: "extreme logits",
    InHalf: "half precision",
    SumInHalf: "large half",
    Detached: "gradient",
    WritesIntoTarget: "inputs unchanged",
    WritesIntoLogits: "inputs unchanged",
    UnsignedArithmetic: "memory layout",
    Viewed: "memory layout",
    MatrixProduct: "autocast",
    Unchecked: "refusals",
    Item: "no waiting",
    Branch: "no waiting",
    BooleanIndexing: "no waiting",
    OnTheHost: "no waiting",
    KeptOnTheHost: "no waiting",
}

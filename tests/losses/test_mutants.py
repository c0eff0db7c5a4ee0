"""The checks can fail: each plausible mistake, put into the losses, is caught by the check that is there for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segtrain.losses import build_loss, focal, pointwise, region, spread
from segtrain.losses.region import Sums
from segtrain.losses.spread import Spread
from segtrain.task import Task, valid_mask
from tests.conftest import STATS, TASKS
from tests.losses import contract, oracle

Check = Callable[[Any, Task], None]
BINARY, MULTICLASS = TASKS["binary"], TASKS["multiclass"]
true_spread, true_sums, true_region = spread.spread, region.region_sums, region.RegionMean.loss


def value_of(reference: oracle.Oracle) -> Check:
    """The check that the value is the reference's."""
    return partial(contract.check_reference, reference=reference)


DICE = value_of(oracle.region(BINARY, oracle.dice(1)))
TVERSKY = value_of(oracle.region(BINARY, oracle.tversky(0.3, 0.7, 1)))


@dataclass(frozen=True)
class Mutant:
    """A wrong part (owner.name = wrong) of a loss, and the check that must notice it."""

    loss: str
    owner: Any
    name: str
    wrong: Any
    check: Check
    task: Task = BINARY
    params: dict[str, Any] = field(default_factory=dict)


def unmasked_sums(pixels: Spread, task: Task, squared: bool = False) -> Sums:
    """Ignored pixels left in P."""
    return true_sums(pixels, task, squared)._replace(predicted=pixels.logits.sigmoid().sum(2))


def masked_after(logits: Tensor, target: Tensor, task: Task) -> Spread:
    """Logits kept at ignored pixels: right in the value, but 0 x NaN in the gradient."""
    return true_spread(logits, target, task)._replace(logits=logits.flatten(2).float())


def in_its_own_precision(logits: Tensor, target: Tensor, task: Task) -> Spread:
    """Half-precision logits left in half precision."""
    pixels = true_spread(logits, target, task)
    return pixels._replace(logits=pixels.logits.to(logits.dtype))


def in_place(logits: Tensor, target: Tensor, task: Task) -> Spread:
    """The ignored ids overwritten in the caller's target."""
    pixels = true_spread(logits, target, task)
    target.masked_fill_(~valid_mask(target, task), 0)
    return pixels


def ignored_as_last(logits: Tensor, target: Tensor, task: Task) -> Spread:
    """255 clamped into the last class."""
    target = target.clamp(max=task.num_classes - 1)
    return true_spread(logits, target, task)


def in_half(pixels: Spread, task: Task, squared: bool = False) -> Sums:
    """Sums in half precision."""
    return Sums(*(s.float() for s in true_sums(pixels._replace(logits=pixels.logits.half()), task, squared)))


def without_empty(self: region.RegionMean, index: Tensor, sums: Sums) -> Tensor:
    """Classes absent from the target skipped."""
    return (true_region(self, index, sums) * (sums.truth > 0)).mean()


def without_background(self: region.RegionMean, index: Tensor, sums: Sums) -> Tensor:
    """Class 0 dropped, though asked for."""
    return (1 - index)[:, 1:].mean()


def all_images(self: region.RegionMean, index: Tensor, sums: Sums) -> Tensor:
    """Images without a valid pixel counted."""
    return (1 - index).mean()


def swapped(sums: Sums, fp_weight: float, fn_weight: float, smooth: float) -> Tensor:
    """FN and FP swapped."""
    return (sums.overlap + smooth) / (
        sums.overlap + fn_weight * (sums.predicted - sums.overlap) + fp_weight * (sums.truth - sums.overlap) + smooth
    )


def doubled(self: region.DiceLoss, logits: Tensor, target: Tensor) -> Tensor:
    """The smoothing term twice (SMP)."""
    sums = self.region.sums(logits, target)
    return self.region.loss((2 * sums.overlap + 2) / (sums.predicted + sums.truth + 2), sums)


def ce_by_count(self: pointwise.CELoss, logits: Tensor, target: Tensor) -> Tensor:
    """Weighted, but divided by the number of pixels."""
    total = F.cross_entropy(logits, target, self.weight.to(logits.dtype), ignore_index=255, reduction="sum")
    return total / (target != 255).sum()


def torchs_ce(self: pointwise.CELoss, logits: Tensor, target: Tensor) -> Tensor:
    """torch's own: NaN where everything is ignored."""
    return F.cross_entropy(logits.float(), target, ignore_index=255)


def one_vs_rest(pixels: Spread, task: Task) -> Tensor:
    """Sigmoids where classes exclude each other (SMP's multiclass focal)."""
    return F.logsigmoid(pixels.logits).gather(1, pixels.target.unsqueeze(1)).squeeze(1)


WEIGHTS = [1.0, 2.0, 0.5, 3.0]
MUTANTS = {
    "mean over all pixels": Mutant(
        "bce", pointwise, "mean_over", lambda valid, values: (values * valid).mean(), contract.check_deleting
    ),
    "not a number where all is ignored": Mutant(
        "focal", focal, "mean_over", lambda valid, values: (values * valid).sum() / valid.sum(),
        contract.check_all_ignored,
    ),
    "torch's ce": Mutant("ce", pointwise.CELoss, "forward", torchs_ce, contract.check_all_ignored, MULTICLASS),
    "denominator not masked": Mutant("dice", region, "region_sums", unmasked_sums, contract.check_deleting),
    "masked after the formula": Mutant("jaccard", region, "spread", masked_after, contract.check_ignored),
    "ignored counted as the last class": Mutant(
        "dice", region, "spread", ignored_as_last, contract.check_ignored, MULTICLASS
    ),
    "target changed in place": Mutant("bce", pointwise, "spread", in_place, contract.check_inputs_unchanged),
    "logits changed in place": Mutant(
        "bce", pointwise.BCELoss, "forward", lambda self, z, t: z.data.clamp_(-1, 1).mean() + z.sum(),
        contract.check_inputs_unchanged,
    ),
    "double activation": Mutant(
        "dice", region, "probabilities", lambda pixels, task: pixels.logits.sigmoid().sigmoid(), DICE
    ),
    "probabilities in half": Mutant("dice", region, "region_sums", in_half, contract.check_large_half),
    "computed in half": Mutant("bce", pointwise, "spread", in_its_own_precision, contract.check_half),
    "log of a probability": Mutant(
        "focal", focal, "log_likelihood", lambda pixels, task: pixels.logits.softmax(1).log().amin(1),
        contract.check_extremes, MULTICLASS,
    ),
    "infinite slope": Mutant(
        "focal", focal, "focus", lambda log_pt, gamma: (1 - log_pt.exp()) ** gamma, contract.check_extremes,
        params={"gamma": 0.5},
    ),
    "empty target skipped": Mutant("dice", region.RegionMean, "loss", without_empty, contract.check_empty),
    "hed beta per batch, not clamped": Mutant(
        "balanced_bce", pointwise, "balance", lambda share, form: 1 - share, contract.check_empty,
        params={"form": "hed", "beta": "batch"},
    ),
    "background dropped": Mutant(
        "dice", region.RegionMean, "loss", without_background,
        value_of(oracle.region(MULTICLASS, oracle.dice(1))), MULTICLASS,
    ),
    "images without labels counted": Mutant(
        "dice", region.RegionMean, "loss", all_images, value_of(oracle.region(BINARY, oracle.dice(1), "image")),
        params={"reduce": "image"},
    ),
    "smooth doubled": Mutant("dice", region.DiceLoss, "forward", doubled, DICE),
    "squares never taken": Mutant(
        "dice", region, "region_sums", lambda pixels, task, squared: true_sums(pixels, task),
        value_of(oracle.region(BINARY, oracle.dice(1), squared=True)), params={"squared": True},
    ),
    "prices swapped": Mutant("tversky", region, "tversky_index", swapped, TVERSKY),
    "alpha swapped": Mutant(
        "focal", focal.FocalLoss, "_weight",
        lambda self, pixels: torch.where(pixels.target == 1, 1 - self.alpha, self.alpha).double(),
        value_of(oracle.focal(BINARY, 2.0, [0.25])), params={"alpha": 0.25},
    ),
    "gamma ignored": Mutant(
        "focal", focal, "focus", lambda log_pt, gamma: torch.ones_like(log_pt), value_of(oracle.focal(BINARY, 2.0))
    ),
    "one against the rest": Mutant(
        "focal", focal, "log_likelihood", one_vs_rest, value_of(oracle.focal(MULTICLASS, 2.0)), MULTICLASS
    ),
    "weighted sum over the count": Mutant(
        "ce", pointwise.CELoss, "forward", ce_by_count, value_of(oracle.ce(MULTICLASS, WEIGHTS)), MULTICLASS,
        {"class_weights": WEIGHTS},
    ),
    "focus without gradient": Mutant(
        "focal", focal, "focus", lambda log_pt, gamma: ((1 - log_pt.exp()) ** gamma).detach(), contract.check_gradient
    ),
    "sum instead of mean": Mutant(
        "bce", pointwise, "mean_over", lambda valid, values: (values * valid).sum(), value_of(oracle.bce(BINARY))
    ),
    "sign": Mutant("bce", pointwise, "mean_over", lambda valid, values: -values.mean(), contract.check_perfect),
    "no check of shapes": Mutant(
        "bce", pointwise.BCELoss, "forward", lambda self, z, t: z.mean() + 0 * t.sum(), contract.check_refusals
    ),
    "depends on the order": Mutant(
        "bce", pointwise, "mean_over", lambda valid, values: values[0].mean(), contract.check_permutation
    ),
    "autocast reaches the sums": Mutant(
        "bce", pointwise, "mean_over", lambda valid, values: values.flatten() @ valid.flatten().to(values.dtype),
        contract.check_autocast,
    ),
    "float64 result": Mutant(
        "bce", pointwise, "mean_over", lambda valid, values: values.double().mean(), contract.check_scalar
    ),
    "uint8 arithmetic": Mutant(
        "bce", pointwise, "spread",
        lambda z, t, task: true_spread(z, (t + 1) - 1 if t.dtype != torch.uint8 else t * 255 // 255, task),
        contract.check_layout,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    loss = build_loss(mutant.loss, mutant.task, STATS[mutant.task.mode], **mutant.params)
    mutant.check(loss, mutant.task)  # the true one passes
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.wrong)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        mutant.check(loss, mutant.task)

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

from segtrain.losses import activations, build_loss, focal, pointwise, region
from segtrain.losses.spread import Pixels, Sums, spread
from segtrain.task import Task, valid_mask
from tests.conftest import STATS, TASKS
from tests.losses import contract, oracle

Check = Callable[[Any, Task], None]
BINARY, MULTICLASS = TASKS["binary"], TASKS["multiclass"]
true_sums, true_slopes, true_blocks = Pixels.sums, activations.class_slopes, activations.blocks


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


def unmasked_sums(self: Pixels, squared: bool = False) -> Sums:
    """Ignored pixels left in P."""
    sums = true_sums(self, squared)
    return sums._replace(claimed=self.logits.sigmoid().sum(2) - sums.overlap)


def erased_by_product(values: Tensor, bits: Tensor) -> Tensor:
    """Ignored pixels multiplied by 0: right but for inf and NaN."""
    return values.mul_(bits != 0)


def in_place(logits: Tensor, target: Tensor, task: Task, *rest: Any) -> Pixels:
    """The ignored ids overwritten in the caller's target."""
    pixels = spread(logits, target.clone(), task, *rest)
    target.masked_fill_(~valid_mask(target, task), 0)
    return pixels


def ignored_as_last(logits: Tensor, target: Tensor, task: Task, *rest: Any) -> Pixels:
    """255 clamped into the last class."""
    return spread(logits, target.clamp(max=task.num_classes - 1), task, *rest)


def sums_in_half(self: Pixels, squared: bool = False) -> Sums:
    """Sums in half precision."""
    p, y = self.probabilities.half(), self.memberships.half()
    overlap, predicted, truth, seen = (each.sum(2).float() for each in (p * y, p, y, self.valid))
    return Sums(overlap, predicted - overlap, truth - overlap, truth, seen)


def log_of_probability(self: Pixels) -> Tensor:
    """The logarithm of a softmax."""
    return -self.erased.softmax(1).gather(1, self.labels.unsqueeze(1)).squeeze(1).log() * self.valid


def without_empty(self: region.RegionMean, pixels: Pixels, values: Tensor, seen: Tensor) -> Tensor:
    """Classes absent from the target skipped."""
    return (values * (pixels.sums().truth.sum(0) > 0)).mean()


def without_background(self: region.RegionMean, pixels: Pixels, values: Tensor, seen: Tensor) -> Tensor:
    """Class 0 dropped, though asked for."""
    return values[:, 1:].mean()


def all_images(self: region.RegionMean, pixels: Pixels, values: Tensor, seen: Tensor) -> Tensor:
    """Images without a valid pixel counted."""
    return values.mean()


def swapped(sums: Sums, fp_weight: float, fn_weight: float, smooth: float) -> Tensor:
    """FN and FP swapped."""
    errors = fn_weight * sums.claimed + fp_weight * sums.missed
    return errors / (sums.overlap + errors + smooth)


def doubled(self: region.DiceLoss, pixels: Pixels) -> Tensor:
    """The smoothing term twice (SMP)."""
    sums = self.region.sums(pixels)
    index = (2 * sums.overlap + 2) / (2 * sums.overlap + sums.claimed + sums.missed + 2)
    return self.region.mean(pixels, 1 - index, sums.seen)


def first_blocks(logits: Tensor) -> Any:
    """The last block of each tensor left out."""
    return list(true_blocks(logits))[:-1]


def ce_by_count(self: pointwise.CELoss, logits: Tensor, target: Tensor) -> Tensor:
    """Weighted, but divided by the number of pixels."""
    total = F.cross_entropy(logits, target, self.weight.to(logits.dtype), ignore_index=255, reduction="sum")
    return total / (target != 255).sum()


def torchs_ce(self: pointwise.CELoss, logits: Tensor, target: Tensor) -> Tensor:
    """torch's own: NaN where everything is ignored."""
    return F.cross_entropy(logits.float(), target, ignore_index=255)


def one_vs_rest(self: Pixels) -> Tensor:
    """Sigmoids where classes exclude each other (SMP's multiclass focal)."""
    return -F.logsigmoid(self.erased).gather(1, self.labels.unsqueeze(1)).squeeze(1) * self.valid


WEIGHTS = [1.0, 2.0, 0.5, 3.0]
MUTANTS = {
    "mean over all pixels": Mutant(
        "bce", Pixels, "mean", lambda self, values: values.mean(), contract.check_deleting
    ),
    "not a number where all is ignored": Mutant(
        "focal", Pixels, "mean", lambda self, values: values.sum() / self.valid.sum(), contract.check_all_ignored
    ),
    "torch's ce": Mutant("ce", pointwise.CELoss, "forward", torchs_ce, contract.check_all_ignored, MULTICLASS),
    "denominator not masked": Mutant("dice", Pixels, "sums", unmasked_sums, contract.check_deleting),
    "ignored multiplied by 0": Mutant("jaccard", activations, "erase_", erased_by_product, contract.check_ignored),
    "ignored multiplied by 0 in softmax": Mutant(
        "ce", activations, "erase_", erased_by_product, contract.check_ignored, MULTICLASS
    ),
    "ignored counted as the last class": Mutant(
        "dice", region, "spread", ignored_as_last, contract.check_ignored, MULTICLASS
    ),
    "target changed in place": Mutant("bce", pointwise, "spread", in_place, contract.check_inputs_unchanged),
    "logits changed in place": Mutant(
        "bce", pointwise.BCELoss, "forward", lambda self, z, t: z.data.clamp_(-1, 1).mean() + z.sum(),
        contract.check_inputs_unchanged,
    ),
    "double activation": Mutant("dice", region, "spread", lambda z, *rest: spread(z.sigmoid(), *rest), DICE),
    "sums in half": Mutant("dice", Pixels, "sums", sums_in_half, contract.check_large_half),
    "mean in half": Mutant(
        "bce", Pixels, "mean",
        lambda self, values: (values if values.dtype == torch.float64 else values.half()).sum().float() / self.count,
        contract.check_half,
    ),
    "log of a probability": Mutant(
        "focal", Pixels, "nll", property(log_of_probability), contract.check_extremes, MULTICLASS
    ),
    "infinite slope": Mutant(
        "focal", focal, "focus", lambda nll, gamma: (1 - (-nll).exp()) ** gamma * nll, contract.check_extremes,
        params={"gamma": 0.5},
    ),
    "empty target skipped": Mutant("dice", region.RegionMean, "mean", without_empty, contract.check_empty),
    "hed beta per batch, not clamped": Mutant(
        "balanced_bce", pointwise, "balance", lambda share, form: 1 - share, contract.check_empty,
        params={"form": "hed", "beta": "batch"},
    ),
    "background dropped": Mutant(
        "dice", region.RegionMean, "mean", without_background,
        value_of(oracle.region(MULTICLASS, oracle.dice(1))), MULTICLASS,
    ),
    "images without labels counted": Mutant(
        "dice", region.RegionMean, "mean", all_images, value_of(oracle.region(BINARY, oracle.dice(1), "image")),
        params={"reduce": "image"},
    ),
    "smooth doubled": Mutant("dice", region.DiceLoss, "of", doubled, DICE),
    "squares never taken": Mutant(
        "dice", Pixels, "sums", lambda self, squared: true_sums(self),
        value_of(oracle.region(BINARY, oracle.dice(1), squared=True)), params={"squared": True},
    ),
    "prices swapped": Mutant("tversky", region, "tversky_loss", swapped, TVERSKY),
    "alpha swapped": Mutant(
        "focal", focal.FocalLoss, "_weight",
        lambda self, pixels: torch.where(pixels.labels, 1 - self.alpha, self.alpha).double(),
        value_of(oracle.focal(BINARY, 2.0, [0.25])), params={"alpha": 0.25},
    ),
    "gamma ignored": Mutant("focal", focal, "focus", lambda nll, gamma: nll, value_of(oracle.focal(BINARY, 2.0))),
    "one against the rest": Mutant(
        "focal", Pixels, "nll", property(one_vs_rest), value_of(oracle.focal(MULTICLASS, 2.0)), MULTICLASS
    ),
    "weighted sum over the count": Mutant(
        "ce", pointwise.CELoss, "forward", ce_by_count, value_of(oracle.ce(MULTICLASS, WEIGHTS)), MULTICLASS,
        {"class_weights": WEIGHTS},
    ),
    "focus without gradient": Mutant(
        "focal", focal, "focus", lambda nll, gamma: ((1 - (-nll).exp()) ** gamma).detach() * nll,
        contract.check_gradient,
    ),
    "slopes of the sums halved": Mutant(
        "dice", activations, "class_slopes", lambda *given: true_slopes(*given) / 2, contract.check_gradient, MULTICLASS
    ),
    "slopes of the squares without the 2": Mutant(
        "dice", activations, "class_slopes", lambda p, plain, square, n: p * square[n].unsqueeze(2),
        contract.check_gradient, MULTICLASS, {"squared": True},
    ),
    "last block left out": Mutant("dice", activations, "blocks", first_blocks, DICE),
    "sum instead of mean": Mutant(
        "bce", Pixels, "mean", lambda self, values: values.sum(), value_of(oracle.bce(BINARY))
    ),
    "sign": Mutant("bce", Pixels, "mean", lambda self, values: -values.mean(), contract.check_perfect),
    "no check of shapes": Mutant(
        "bce", pointwise.BCELoss, "forward", lambda self, z, t: z.mean() + 0 * t.sum(), contract.check_refusals
    ),
    "depends on the order": Mutant(
        "bce", Pixels, "mean", lambda self, values: values[0].mean(), contract.check_permutation
    ),
    "autocast reaches the sums": Mutant(
        "bce", Pixels, "mean", lambda self, values: values.flatten() @ self.valid.flatten().to(values.dtype),
        contract.check_autocast,
    ),
    "float64 result": Mutant(
        "bce", Pixels, "mean", lambda self, values: values.double().mean(), contract.check_scalar
    ),
    "uint8 arithmetic": Mutant(
        "bce", pointwise, "spread",
        lambda z, t, *rest: spread(z, (t + 1) - 1 if t.dtype != torch.uint8 else t * 255 // 255, *rest),
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

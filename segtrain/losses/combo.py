r"""Weighted sums of losses: `loss=dice_ce`, or any mixture written in yaml or on the command line.

    python train.py loss=dice_bce +loss@loss.terms.focal=focal +loss.weights.focal=.5
    python train.py loss=dice_ce +loss@loss.terms.boundary=boundary +loss.weights.boundary=0 \
        +loss.ramps.boundary='{to: 1, end: 10}'

A missing weight is 1; a weight or a ramp without a term is an error, since it would silently do nothing. The
logits are activated once for all terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from segtrain import checks
from segtrain.errors import UserError
from segtrain.losses.spread import Pixels, spread
from segtrain.task import Task

SHAPES = ("linear", "cosine")


@dataclass(frozen=True)
class Ramp:
    """How the weight of a term changes over the epochs.

    Args:
        start: weight until epoch `begin`.
        to: weight from epoch `end` on.
        begin: epochs done when the change begins.
        end: epochs done when it has ended; above begin.
        shape: "linear" or "cosine" (slow at both ends).
    """

    start: float
    to: float
    begin: float
    end: float
    shape: str

    def at(self, epoch: float) -> float:
        """The weight when so many epochs are done."""
        part = min(max((epoch - self.begin) / (self.end - self.begin), 0.0), 1.0)
        part = part if self.shape == "linear" else (1 - math.cos(math.pi * part)) / 2
        return self.start + (self.to - self.start) * part


@runtime_checkable
class TakesPixels(Protocol):
    """A loss that can be computed from a batch that is spread already, as all of ours can.

    Attributes:
        task: what is being segmented.
        needs: what it takes from the pixels, see Pixels.
    """

    task: Task
    needs: Sequence[str]

    def of(self, pixels: Pixels) -> Tensor:
        """The loss of these pixels."""


class Combo(nn.Module):
    """Sum over the terms of weight x term.

    Args:
        terms: losses by name; each logs as `train_parts/<name>`.
        weights: one number >= 0 per term; 1 where missing.
        ramps: per term {to, begin (0), end, shape (linear)}: the weight goes from that of `weights` to `to`
            between two epochs.

    Attributes:
        epoch: epochs done, which the ramps follow; None: ramps have ended.

    Shape: as its terms; returns a scalar, float32.

    Raises:
        UserError: no terms, an unknown weight or ramp, a weight below 0, or no weight above 0.
    """

    def __init__(
        self,
        terms: Mapping[str, nn.Module],
        weights: Mapping[str, float] | None = None,
        ramps: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        if not terms:
            raise UserError("loss.terms is empty: a combination needs at least one term")
        for name, term in terms.items():
            if not isinstance(term, nn.Module):
                raise UserError(f"loss.terms.{name} is no loss: {term!r}; add one as +loss@loss.terms.{name}=focal")
        weights, ramps = weights or {}, ramps or {}
        for key, given in (("weights", weights), ("ramps", ramps)):
            if not isinstance(given, Mapping):
                raise UserError(f"loss.{key} must hold a value for each of {', '.join(terms)}, got {given!r}")
            for name in given:
                checks.choice(f"loss.{key}: each key", name, terms)
        self.terms = nn.ModuleDict(terms)
        self.weights = {name: checks.number(f"loss.weights.{name}", weights.get(name, 1.0), 0) for name in terms}
        self.ramps = {name: build_ramp(name, self.weights[name], ramp) for name, ramp in ramps.items()}
        if not any([*self.weights.values(), *(ramp.to for ramp in self.ramps.values())]):
            raise UserError("loss.weights are all 0: nothing would be learned; give one term a weight above 0")
        self.epoch: float | None = None

    def weight(self, name: str) -> float:
        """Weight of a term at the present epoch."""
        ramp = self.ramps.get(name)
        if ramp is None:
            return self.weights[name]
        return ramp.to if self.epoch is None else ramp.at(self.epoch)

    def active(self) -> list[str]:
        """The terms that count at the present epoch; the others are not computed. All, where none would be left."""
        return [name for name in self.terms if self.weight(name) > 0] or list(self.terms)

    def parts(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The value of each active term, before its weight."""
        active = {name: self.terms[name] for name in self.active()}
        sharing = {name: term for name, term in active.items() if isinstance(term, TakesPixels)}
        pixels: dict[Task, Pixels] = {}
        for task in {term.task for term in sharing.values()}:
            needs = {need for term in sharing.values() if term.task == task for need in term.needs}
            pixels[task] = spread(logits, target, task, needs, self.training)
        return {
            name: sharing[name].of(pixels[sharing[name].task]) if name in sharing else term(logits, target)
            for name, term in active.items()
        }

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the terms' values."""
        return torch.stack([self.weight(name) * value for name, value in parts.items()]).sum()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.total(self.parts(logits, target))


def build_ramp(name: str, start: float, ramp: Mapping[str, Any]) -> Ramp:
    """A ramp from its settings.

    Raises:
        UserError: an unknown or missing setting, or one out of range.
    """
    key = f"loss.ramps.{name}"
    if not isinstance(ramp, Mapping):
        raise UserError(f"{key} must be settings as in {{to: 1, end: 10}}, got {ramp!r}")
    for each in ramp:
        checks.choice(f"{key}: each key", each, ("to", "begin", "end", "shape"))
    for each in ("to", "end"):
        if ramp.get(each) is None:
            raise UserError(f"{key}.{each} is missing: the weight goes from loss.weights.{name} to `to` by epoch `end`")
    begin = checks.number(f"{key}.begin", ramp.get("begin", 0), 0)
    end = checks.number(f"{key}.end", ramp["end"], above=begin)
    shape = checks.choice(f"{key}.shape", ramp.get("shape", "linear"), SHAPES)
    return Ramp(start, checks.number(f"{key}.to", ramp["to"], 0), begin, end, shape)

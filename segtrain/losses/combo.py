"""Weighted sums of losses: `loss=dice_ce`, or any mixture written in yaml or on the command line.

    python train.py loss=dice_bce +loss@loss.terms.focal=focal +loss.weights.focal=.5

A missing weight is 1; a weight without a term is an error, since it would silently do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from segtrain import checks
from segtrain.errors import UserError


class Combo(nn.Module):
    """Sum over the terms of weight x term.

    Args:
        terms: losses by name; each logs as `train_parts/<name>`.
        weights: one number >= 0 per term; 1 where missing.

    Shape: as its terms; returns a scalar, float32.

    Raises:
        UserError: no terms, an unknown weight, a weight below 0.
    """

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if not terms:
            raise UserError("loss.terms is empty: a combination needs at least one term")
        weights = dict(weights or {})
        for name in weights:
            checks.choice("loss.weights: each key", name, terms)
        self.terms = nn.ModuleDict(terms)
        self.weights = {name: checks.number(f"loss.weights.{name}", weights.get(name, 1.0), 0) for name in terms}

    def parts(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The value of each term, before its weight."""
        return {name: term(logits, target) for name, term in self.terms.items()}

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the terms' values."""
        return torch.stack([self.weights[name] * value for name, value in parts.items()]).sum()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.total(self.parts(logits, target))

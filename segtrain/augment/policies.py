"""Policies: for each image, some ops of a list instead of all of them with their own chances.

RandAugment (Cubuk et al. 2020): `number` ops at one strength. TrivialAugment (Mueller and Hutter 2021): one op at a
strength drawn for it. AutoAugment (Cubuk et al. 2019): one pair of ops, found by search, with the pair's own chances.
Strength is measured from where an op changes nothing to the ends of its range, so ranges are in real units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from segtrain import checks
from segtrain.augment.backends import Backend
from segtrain.augment.parameters import Drawn
from segtrain.augment.steps import LibraryStep, Step, build_step
from segtrain.errors import UserError

KEYS = ("number", "strength", "ops", "pairs")
Chosen = tuple[Step | LibraryStep, Drawn]


@dataclass(frozen=True)
class Policy:
    """Chooses groups of ops.

    Args:
        groups: of steps that are applied together, each with its own p.
        number: of groups for each image, drawn with replacement.
        strength: in [0, 1]; None: drawn anew for each op.
    """

    groups: Sequence[Sequence[Step | LibraryStep]]
    number: int
    strength: float | None

    @property
    def steps(self) -> list[Step | LibraryStep]:
        """All that may be chosen."""
        return [step for group in self.groups for step in group]

    def choose(self, random: Random) -> list[Chosen]:
        """Steps for one image, with what was drawn for them."""
        groups = [random.choice(self.groups) for _ in range(self.number)]
        steps = [step for group in groups for step in group if random.random() < step.p]
        return [(step, step.draw(random, self._strength(random))) for step in steps]

    def _strength(self, random: Random) -> float:
        return random.random() if self.strength is None else self.strength


def build_policy(config: Mapping[str, Any], backend: Backend, ignore_index: int) -> Policy:
    """Build a policy from its settings.

    Args:
        config: number, strength, and ops (each a group of its own) or pairs (lists of ops) by name.
        backend: carries ops out.
        ignore_index: of mask area that ops uncover.

    Raises:
        UserError: unknown settings, values out of range, no ops, or whatever build_step refuses.
    """
    if not isinstance(config, Mapping):
        raise UserError(f"aug.policy must be settings ({', '.join(KEYS)}), got {config!r}")
    for key in config:
        checks.choice("aug.policy: each key", key, KEYS)
    groups = [
        [build_step(f"aug.policy.ops.{name}", op, backend, ignore_index)]
        for name, op in (config.get("ops") or {}).items()
    ]
    for name, pair in (config.get("pairs") or {}).items():
        key = f"aug.policy.pairs.{name}"
        if not isinstance(pair, Sequence) or isinstance(pair, str):
            raise UserError(f"{key} must be a list of ops, got {pair!r}")
        groups.append([build_step(f"{key}.{place}", op, backend, ignore_index) for place, op in enumerate(pair)])
    if not groups:
        raise UserError("aug.policy has neither ops nor pairs, so there is nothing to choose from")
    strength = config.get("strength")
    return Policy(
        groups,
        checks.whole("aug.policy.number", config.get("number", 1), 1),
        None if strength is None else checks.number("aug.policy.strength", strength, 0, 1, word="null"),
    )

"""Mixing: batches whose images are made of several, on the device, image and mask together.

    mix = build_mixing("cutmix", task, stats, p=0.5, area=[0.1, 0.5])
    batch = mix(batch, seed)

Equal seeds give equal results. To add a kind: a class with a `plan` (see plan.py), a line in KINDS, a yaml in
conf/mix/.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from segtrain import checks
from segtrain.errors import UserError
from segtrain.mixing.bank import Bank
from segtrain.mixing.kinds import ClassMix, CutMix, MixUp, Mosaic
from segtrain.mixing.pasting import CopyPaste
from segtrain.mixing.plan import Canvas, Kind, carry_out
from segtrain.task import Batch, ClassStats, Task

NONE = "none"
KINDS: dict[str, Callable[..., Kind]] = {
    "mixup": MixUp,
    "cutmix": CutMix,
    "mosaic": Mosaic,
    "classmix": ClassMix,
    "copy_paste": CopyPaste,
}
GIVEN = ("task", "stats")


@dataclass(frozen=True)
class Mixing:
    """Mixes a share of the images of a batch.

    Args:
        kind: of mixing.
        p: chance of each image to be mixed, in [0, 1].
        off_epochs: so many of the last epochs are trained without.

    Raises:
        UserError: a value out of range.
    """

    kind: Kind
    p: float = 0.5
    off_epochs: int = 0

    def __post_init__(self) -> None:
        checks.number("mix.p", self.p, 0, 1)
        checks.whole("mix.off_epochs", self.off_epochs, 0)

    def __call__(self, batch: Batch, seed: int, bank: Bank | None = None, on: bool = True) -> Batch:
        """The mixed batch, on the same device; the host never waits for it.

        Args:
            batch: image uint8 or float32 in [0, 1]. Where the kind blends, uint8 becomes float32 in [0, 1], always.
            seed: equal seeds give equal results.
            bank: crops to paste from, on the device of the batch.
            on: False: nothing is mixed.

        Returns:
            The batch, with a `second` mask where the kind blends and an image is mixed.
        """
        if self.kind.blends and batch["image"].dtype == torch.uint8:
            batch = {**batch, "image": batch["image"].float() / 255}
        random, number = np.random.default_rng(seed), len(batch["image"])
        mixed = random.random(number) < self.p
        if not on or number < self.kind.least or not mixed.any():
            return batch
        return carry_out(batch, self.kind.plan(Canvas(batch["mask"], bank), mixed, random), bank)


def build_mixing(
    kind: str,
    task: Task | None = None,
    stats: ClassStats | None = None,
    p: float = 0.5,
    off_epochs: int = 0,
    **params: Any,
) -> Mixing | None:
    """Build a mixing by the name of its kind.

    Args:
        kind: a key of KINDS, or "none".
        task: what is being segmented.
        stats: of the training set.
        p: see Mixing.
        off_epochs: see Mixing.
        **params: of the kind, as in conf/mix/<kind>.yaml.

    Returns:
        None for "none".

    Raises:
        UserError: unknown kind or parameter, or a value out of range.
    """
    if checks.choice("mix.kind", kind, [NONE, *KINDS]) == NONE:
        return None
    maker = KINDS[kind]
    known = inspect.signature(maker).parameters
    for key in params:
        checks.choice(f"mix={kind}: each parameter", key, ["p", "off_epochs", *(k for k in known if k not in GIVEN)])
    for key, value, kind_of in (("task", task, Task), ("stats", stats, ClassStats)):
        needed = key in known and known[key].default is inspect.Parameter.empty
        if (value is not None or needed) and not isinstance(value, kind_of):
            raise UserError(f"mix.{key} must be ${{{key}}}, what the data say; got {value!r}")
    given = {key: value for key, value in zip(GIVEN, (task, stats), strict=True) if key in known}
    return Mixing(maker(**given, **params), p, off_epochs)

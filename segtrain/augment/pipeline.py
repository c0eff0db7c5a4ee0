"""Training transforms: named ops on crops of one size, decided by the sample's seed alone.

    aug.train.fog.p=0            switch one off
    ~aug.train.fog               remove it
    aug.train.rotate.degrees=[-30,30]

All shapes are one look-up (see geometry.py) in the image around the crop, as far as there is one: a turned or smaller
crop shows what lies beside it, not black corners. Then pixel ops follow, in the order they are written in, then holes.
What is done to a sample is decided before it is read, so only what is looked at is read; ops cost what a crop costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import numpy as np

from segtrain import checks
from segtrain.augment.backends import find_backend
from segtrain.augment.geometry import Map, map_of
from segtrain.augment.holes import cut_holes
from segtrain.augment.moves import moved_by
from segtrain.augment.ops import Stage
from segtrain.augment.parameters import Drawn
from segtrain.augment.policies import Chosen, build_policy
from segtrain.augment.steps import LibraryStep, OpConfig, Step, build_step
from segtrain.augment.style import STYLES, References
from segtrain.decode.reading import Reading, reading_of
from segtrain.errors import UserError
from segtrain.seeds import derive, scrambled
from segtrain.windows import Array, Window

WORD = 1 << 64  # of scrambled


class Traced(NamedTuple):
    """A changed sample, and what was done to it.

    Args:
        image: [H, W, C].
        mask: [(K,) H, W].
        ops: a few words on each op that was applied.
    """

    image: Array
    mask: Array
    ops: list[str]


@dataclass(frozen=True)
class Planned:
    """What is done to one sample: decided before it is read, so that no more is read than is looked at.

    Args:
        augmentation: whose ops they are.
        chosen: the ops, in order.
        where: the look-up of all shapes; None: there are none.
    """

    augmentation: Augmentation
    chosen: Sequence[Chosen]
    where: Map | None

    @property
    def reach(self) -> Window:
        """The window that is looked at, by the crop's own rows and columns; it may lie outside of crop and image."""
        return Window(0, 0, *self.augmentation.size) if self.where is None else self.where.reach

    @property
    def ops(self) -> list[str]:
        """A few words on each op."""
        return [step.text(drawn) for step, drawn in self.chosen]

    def __call__(self, image: Array, mask: Array, corner: tuple[int, int] = (0, 0)) -> tuple[Array, Array]:
        """Carry it out.

        Args:
            image: [h, w, C], uint8 or float32 in [0, 1]: the crop; or what there is of `reach`, if that is another
                window.
            mask: [(K,) h, w].
            corner: row and column of their first pixel, by the crop's own.

        Returns:
            [H, W, C] and [(K,) H, W] of the crop's size, contiguous.
        """
        return self.augmentation.carry_out(self, image, mask, corner)


class Augmentation:
    """Changes training samples. Call it with a crop, its mask and the sample's seed.

    Args:
        train: named ops.
        crop: height and width of the crops, in pixels.
        ignore_index: id of mask area that an op uncovers.
        backend: of BACKENDS.
        policy: see build_policy.
        references: folder of reference images, for ops of style that name none.

    Attributes:
        size: (height, width) of what it takes and returns, in pixels.

    Raises:
        UserError: an unknown op or parameter, or a value out of range.
    """

    def __init__(
        self,
        train: Mapping[str, OpConfig],
        crop: int | Sequence[int],
        ignore_index: int,
        backend: str = "albumentations",
        policy: Mapping[str, Any] | None = None,
        references: str | None = None,
    ) -> None:
        self.size = checks.size("crop", crop)
        self.ignore_index = checks.whole("aug.ignore_index", ignore_index, -1)
        self.backend = find_backend(backend)
        if not isinstance(train, Mapping):
            raise UserError(f"aug.train must be a mapping of named ops, got {train!r}")
        self.steps = [
            build_step(f"aug.train.{name}", config, self.backend, ignore_index) for name, config in train.items()
        ]
        self.policy = None if policy is None else build_policy(policy, self.backend, ignore_index)
        self._refuse_lacking()
        self.references = references
        if references is not None and not any(step.name in STYLES for step in self.every_step):
            raise UserError(f"aug.references={references}: no op takes a style; add one, as in aug=light+style")
        self._styles: dict[str, References] = {}
        self._salted = [(step, derive("op", step.key)) for step in self.steps]

    def __call__(self, image: Array, mask: Array, seed: int) -> tuple[Array, Array]:
        """Transform one sample.

        Args:
            image: [H, W, C], uint8 or float32 in [0, 1], of the crop's size.
            mask: [H, W], or [K, H, W] in multilabel.
            seed: equal seeds give equal results.

        Returns:
            The same, contiguous.
        """
        return self.plan(seed)(image, mask)

    def trace(self, image: Array, mask: Array, seed: int) -> Traced:
        """As a call, and says what was done."""
        planned = self.plan(seed)
        return Traced(*planned(image, mask), planned.ops)

    def plan(self, seed: int) -> Planned:
        """What is done to the sample with this seed."""
        chosen = self._choose(seed)
        moves = [(step.name, drawn) for step, drawn in chosen if _is_shape(step)]
        return Planned(self, chosen, map_of(moved_by(moves, self.size), self.size) if moves else None)

    def _choose(self, seed: int) -> list[Chosen]:
        """What is applied, in this order. An op's draws follow from its key: others beside it change nothing for it."""
        base, chosen = scrambled(seed), []
        for step, salt in self._salted:
            stream = scrambled(base ^ salt)
            if stream < step.p * WORD:
                chosen.append((step, step.draw(Random(scrambled(stream)))))
        if self.policy is not None:
            chosen += self.policy.choose(Random(base))
        # a library's shapes come after our own, which look beyond the crop
        return sorted(chosen, key=lambda pair: (pair[0].stage, isinstance(pair[0], LibraryStep)))

    def carry_out(self, planned: Planned, image: Array, mask: Array, corner: tuple[int, int]) -> tuple[Array, Array]:
        """See Planned."""
        kind = np.result_type(mask.dtype, np.min_scalar_type(self.ignore_index))  # -1 is no uint8
        mask = mask.astype(kind, copy=False)
        if planned.where is not None:
            where = planned.where if corner == (0, 0) else planned.where.within(*corner)
            image, mask = self.backend.warp(image, mask, where, self.ignore_index)
        for step, drawn in planned.chosen:
            if not _is_shape(step):
                image, mask = self._run(step, image, mask, drawn)
        return np.ascontiguousarray(image), np.ascontiguousarray(mask)

    def _run(self, step: Step | LibraryStep, image: Array, mask: Array, drawn: Drawn) -> tuple[Array, Array]:
        if isinstance(step, LibraryStep):
            return step.run(image, mask, drawn["seed"])
        if step.stage is Stage.HOLE:
            return cut_holes(image, mask, step.name, drawn, self.ignore_index)
        if step.name in STYLES:
            rest = {key: value for key, value in drawn.items() if key not in ("folder", "seed")}
            return STYLES[step.name](image, self._styles[step.key].pick(drawn["seed"]), **rest), mask
        return self.backend.pixels[step.name](image, **drawn), mask

    @property
    def every_step(self) -> list[Step | LibraryStep]:
        """All ops that may be applied."""
        return [*self.steps, *(self.policy.steps if self.policy is not None else [])]

    def check(self, channels: int, dtype: str = "uint8", reading: Reading | None = None) -> None:
        """Refuse ops that cannot work on the images, and read the references of style.

        Args:
            channels: of the images.
            dtype: of the images, uint8 or float32.
            reading: how references become arrays; None: as RGB, grey or native, by the channels.

        Raises:
            UserError: naming the ops and what to do instead.
        """
        own = [step for step in self.every_step if isinstance(step, Step)]
        for trouble, such in (
            ("three colours", [s for s in own if s.op.rgb and channels != 3]),
            ("8 bits", [s for s in own if s.op.uint8 and dtype != "uint8"]),
            ("a square crop", [s for s in own if s.op.square and self.size[0] != self.size[1]]),
        ):
            if such:
                raise UserError(self._refusal(such, trouble, f"{channels} channels of {dtype}"))
        for step in self.every_step:
            if isinstance(step, LibraryStep) and (wrong := step.check(self.size, channels, dtype, self.ignore_index)):
                raise UserError(f"{step.key} ({step.name}) {wrong}; remove it with ~{step.key}")
        reading = reading or reading_of({}, channels)
        for step in own:
            if step.name in STYLES:
                own_folder = step.given["folder"]
                key, folder = (f"{step.key}.folder", own_folder) if own_folder else ("aug.references", self.references)
                if folder is None:
                    raise UserError(f"{key} must be a folder of reference images, for {step.key}; give one")
                self._styles[step.key] = References(key, folder, self.size, reading, channels, dtype)

    def _refuse_lacking(self) -> None:
        """Name all ops that the backend has not."""
        has = {*self.backend.pixels, *STYLES}
        own = [step for step in self.every_step if isinstance(step, Step)]
        lacking = [step for step in own if step.stage is Stage.PIXEL and step.name not in has]
        if lacking:
            named = ", ".join(f"{step.key} ({step.name})" for step in lacking)
            how = f"{removal(lacking)}, or use another aug.backend"
            raise UserError(f"aug.backend={self.backend.name} does not have {named}; {how}")

    def _refusal(self, steps: Sequence[Step], needed: str, images: str) -> str:
        """One sentence on all ops that need the same."""
        in_policy = {step.name: None for step in steps if step.key.startswith("aug.policy")}
        keys = [f"{step.key} ({step.name})" for step in steps if step.name not in in_policy]
        named = ", ".join([*keys, *([f"aug.policy ({', '.join(in_policy)})"] if in_policy else [])])
        has = f"crop is {list(self.size)}" if "crop" in needed else f"the images have {images}"
        instead = {step.name: step.op.instead for step in steps if step.op.instead and not in_policy}
        other = "; ".join(f"instead of {name} use {word}" for name, word in instead.items())
        return f"{named}: {needed} needed, and {has}; {removal(steps)}" + (f", or {other}" if other else "")


def removal(steps: Sequence[Step]) -> str:
    """How to do without some ops."""
    if any(step.key.startswith("aug.policy") for step in steps):
        return "choose another aug, such as light, medium or grey"
    return "remove with " + " ".join(f"~{step.key}" for step in steps)


def _is_shape(step: Step | LibraryStep) -> bool:
    return isinstance(step, Step) and step.stage is Stage.SHAPE

"""A named op of a configuration: built once, drawn and carried out for each image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from segtrain import checks
from segtrain.augment.backends import Backend
from segtrain.augment.library import Run
from segtrain.augment.ops import OPS, Op, Stage
from segtrain.augment.parameters import Drawn, Real
from segtrain.errors import UserError

OpConfig = Mapping[str, Any]
TRIALS = 8  # of a class of a library at start: those that turn swap height and width in half of them


@dataclass(frozen=True)
class Step:
    """One of our own ops.

    Args:
        key: where it stands in the configuration, such as aug.train.fog.
        name: of the op.
        p: chance that it is applied.
        given: its parameters.
    """

    key: str
    name: str
    p: float
    given: Mapping[str, Any]

    @property
    def op(self) -> Op:
        """What is known of it."""
        return OPS[self.name]

    @property
    def stage(self) -> Stage:
        """When it has its turn."""
        return self.op.stage

    def draw(self, random: Random, strength: float | None = None) -> Drawn:
        """Values of its parameters; with a strength, see Real.draw."""
        drawn = {key: kind.draw(self.given[key], random, strength) for key, kind in self.op.parameters.items()}
        return drawn | {"seed": random.getrandbits(62)} if self.op.seeded else drawn

    def text(self, drawn: Drawn) -> str:
        """What was drawn, in a few words."""
        reals = {key: kind for key, kind in self.op.parameters.items() if isinstance(kind, Real)}
        if len(reals) == 1:
            return " ".join([self.name, *(kind.text(drawn[key]) for key, kind in reals.items())])
        values = [f"{key} {kind.text(drawn[key])}" for key, kind in reals.items() if drawn[key] != kind.neutral]
        return f"{self.name} {', '.join(values)}".strip()


@dataclass(frozen=True)
class LibraryStep:
    """A class of the backend's library.

    Args:
        key: see Step; as the next two.
        name: of the class.
        p: chance that it is applied.
        stage: when it has its turn.
        run: carries it out.
    """

    key: str
    name: str
    p: float
    stage: Stage
    run: Run

    def draw(self, random: Random, strength: float | None = None) -> Drawn:
        """A seed: the library draws the rest."""
        return {"seed": random.getrandbits(62)}

    def text(self, drawn: Drawn) -> str:
        """Its name."""
        return self.name

    def check(self, size: tuple[int, int], channels: int, dtype: str, ignore_index: int) -> str:
        """Try it on a blank crop; what is wrong, or nothing."""
        blank = np.zeros((*size, channels), dtype)
        # all of one label, of another, and both side by side: between them no third one may arise
        masks = np.zeros((3, *size), np.result_type(np.uint8, np.min_scalar_type(ignore_index)))
        masks[1], masks[2, :, ::2] = 1, 2
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what the library may do in the future
                tried = [(mask, *self.run(blank, mask, seed)) for mask in masks for seed in range(TRIALS)]
        except Exception as error:  # of any kind: it is the library's own word for what it cannot do
            return f"cannot work on images of {channels} channels, {dtype} ({' '.join(str(error).split())})"
        for given, image, mask in tried:
            if image.shape[:2] != size or mask.shape != size:
                return f"makes {image.shape[:2]} of a crop of {size} pixels, and crops must keep their size"
            if image.shape != blank.shape or image.dtype != dtype or mask.dtype != given.dtype:
                return f"makes {image.shape[2]} channels of {image.dtype} of images of {channels} channels, {dtype}"
            if others := set(np.unique(mask).tolist()) - {*np.unique(given).tolist(), ignore_index}:
                return f"writes {sorted(others)} into masks of {np.unique(given).tolist()}, and labels must stay"
        return ""


def build_step(key: str, config: Any, backend: Backend, ignore_index: int) -> Step | LibraryStep:
    """Build one named op.

    Args:
        key: where it stands in the configuration, for messages.
        config: "op", "p" and its parameters.
        backend: carries it out.
        ignore_index: of mask area that it uncovers.

    Raises:
        UserError: unknown op or parameter, a value out of range, or an op that the backend lacks.
    """
    if not isinstance(config, Mapping) or "op" not in config:
        raise UserError(f"{key} must be a mapping with the key op, such as {{op: hflip, p: 0.5}}; got {config!r}")
    name, p = str(config["op"]), checks.number(f"{key}.p", config.get("p", 1.0), 0, 1)
    parameters = {k: v for k, v in config.items() if k not in ("op", "p")}
    if name[:1].isupper():
        run, keeps_masks = backend.library_op(key, name, parameters, ignore_index)
        return LibraryStep(key, name, p, Stage.PIXEL if keeps_masks else Stage.SHAPE, run)
    if name not in OPS:
        near = checks.did_you_mean(name, OPS)
        raise UserError(f"{key}.op={name}: no such op{near}; `segtrain ls ops` lists them")
    op = OPS[name]
    for parameter in parameters:
        checks.choice(f"{key} ({name}): each parameter", parameter, ("p", *op.parameters))
    given = {k: kind.parse(f"{key}.{k}", parameters.get(k, kind.default)) for k, kind in op.parameters.items()}
    if op.clash and (clash := op.clash(given)):
        raise UserError(f"{key} ({name}): {clash}")
    return Step(key, name, p, given)

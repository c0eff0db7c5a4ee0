"""The ops: what each does, its parameters with their limits and units, and which images it can work on.

An op is an entry of OPS and one function under the same name: of shapes in `geometry.py`, of holes in `holes.py`, of
pixels in each backend that has it (`opencv.py`, `torchvision.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from segtrain.augment.parameters import Choice, Folder, Parameter, Real


class Stage(IntEnum):
    """When an op has its turn: shapes are changed first, all at once, then pixels, then holes are cut."""

    SHAPE = 0
    PIXEL = 1
    HOLE = 2


@dataclass(frozen=True)
class Op:
    """What is known of an op.

    Args:
        stage: when it has its turn.
        about: what it does, in a few words.
        parameters: by name.
        rgb: whether it needs images of three colours.
        uint8: whether it needs 8 bits.
        instead: ops for images that it cannot work on.
        square: whether it needs a square crop.
        seeded: whether it draws more than its parameters, such as a noise.
        clash: what is wrong with given parameters taken together, in words; empty where nothing is.
    """

    stage: Stage
    about: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    rgb: bool = False
    uint8: bool = False
    instead: str = ""
    square: bool = False
    seeded: bool = False
    clash: Callable[[Mapping[str, Any]], str] | None = None

    @property
    def needs(self) -> list[str]:
        """What it cannot do without, in words."""
        needs = {"RGB": self.rgb, "8 bits": self.uint8, "a square crop": self.square}
        return [word for word, needed in needs.items() if needed]

    @property
    def settings(self) -> str:
        """Its parameters with their defaults, in words."""
        return ", ".join(f"{key} {kind.usual}" for key, kind in self.parameters.items())


def folding(given: Mapping[str, Any]) -> str:
    """Where points of an image would change places, the sentence that says so."""
    (_, most), (closest, _) = given["pixels"], given["spacing"]
    if most <= closest / FOLDS:
        return ""
    return f"pixels up to {most:g} would fold the image at a spacing of {closest:g}; at most 1/{FOLDS} of it does not"


FOLDS = 5  # a deviate of more than this part of the spacing, and neighbours may change places
S, P, H = Stage.SHAPE, Stage.PIXEL, Stage.HOLE
INF = math.inf
PIXELS, DEGREES = " px", "°"

ANGLE = Real((-30, 30), -180, 180, unit=DEGREES)
SLANT = Real((-10, 10), -60, 60, unit=DEGREES)
NO_SLANT = Real((0, 0), -60, 60, unit=DEGREES)
SHIFT = Real((-16, 16), -4096, 4096, unit=PIXELS)
NO_SHIFT = Real((0, 0), -4096, 4096, unit=PIXELS)
ZOOM = Real((0.8, 1.25), 0.05, 20, neutral=1, log=True)
FACTOR = Real((0.8, 1.25), 0, 10, neutral=1)
SPACES = ("hls", "hsv", "lab", "luv", "xyz", "ycrcb", "yuv")
MOVED = Real((-0.05, 0.05), -1, 1)
COVER = {"fill": Choice("mean", ("black", "mean", "noise")), "label": Choice("keep", ("keep", "ignore"))}
REFERENCES = {"folder": Folder()}

OPS: Mapping[str, Op] = {
    # ---- shapes: they move image and mask together; area that they uncover is black, and ignored in the mask
    "hflip": Op(S, "mirrors left and right"),
    "vflip": Op(S, "mirrors top and bottom"),
    "turn": Op(S, "turns by 90, 180 or 270 degrees", square=True, seeded=True),
    "d4": Op(S, "one of the eight mirrorings and quarter turns", square=True, seeded=True),
    "rotate": Op(S, "turns around the middle", {"degrees": ANGLE}),
    "scale": Op(S, "zooms: above 1 things grow", {"factor": ZOOM}),
    "stretch": Op(S, "makes wider and flatter (above 1), or narrower and higher", {"factor": ZOOM}),
    "translate": Op(S, "shifts to the right and down", {"x": SHIFT, "y": SHIFT}),
    "shear": Op(S, "slants along x, along y", {"x": SLANT, "y": NO_SLANT}),
    "affine": Op(
        S,
        "turns, zooms, stretches, slants and shifts, under one p",
        {
            "degrees": ANGLE,
            "scale": ZOOM,
            "stretch": Real((1, 1), 0.05, 20, neutral=1, log=True),
            "shear": NO_SLANT,
            "x": NO_SHIFT,
            "y": NO_SHIFT,
        },
    ),
    "crop": Op(
        S,
        "zooms in to a part of so much area and width by height",
        {
            "share": Real((0.4, 1), 0.001, 1, neutral=1),
            "ratio": Real((0.75, 1.333), 0.1, 10, neutral=1, log=True),
        },
        seeded=True,
    ),
    "perspective": Op(
        S, "moves each corner by up to a share of the side", {"share": Real((0.02, 0.1), 0, 0.24)}, seeded=True
    ),
    "elastic": Op(
        S,
        "bends smoothly: points at a spacing move by a normal deviate",
        {"pixels": Real((1, 4), 0, INF, unit=PIXELS), "spacing": Real((24, 48), 4, INF, neutral=None, unit=PIXELS)},
        seeded=True,
        clash=folding,
    ),
    "grid": Op(
        S,
        "bends cells of a grid: its nodes move by up to a share of a cell",
        {"share": Real((0.05, 0.2), 0, 0.45), "cells": Real((5, 5), 1, 64, neutral=None, whole=True)},
        seeded=True,
    ),
    # ---- colour and grey: the mask stays as it is
    "brightness": Op(P, "multiplies all values", {"factor": FACTOR}),
    "contrast": Op(P, "multiplies the distance from the mean grey", {"factor": FACTOR}),
    "gamma": Op(P, "raises values to a power: above 1 darker", {"power": Real((0.7, 1.4), 0.05, 20, 1, log=True)}),
    "channel_gain": Op(
        P, "multiplies each channel by its own factor in 1 +- spread", {"spread": Real((0.05, 0.2), 0, 1)}, seeded=True
    ),
    "channel_drop": Op(P, "blackens one channel", seeded=True),
    "channel_shuffle": Op(P, "puts channels in another order", seeded=True),
    "saturation": Op(P, "multiplies the distance from grey", {"factor": FACTOR}, rgb=True, instead="channel_gain"),
    "hue": Op(
        P, "turns the circle of hues", {"degrees": Real((-10, 10), -180, 180, unit=DEGREES)}, rgb=True,
        instead="channel_gain or channel_shuffle",
    ),
    "color_shift": Op(
        P,
        "shifts the channels of another colour space by shares of their range",
        {"space": Choice("lab", SPACES), "first": MOVED, "second": MOVED, "third": MOVED},
        rgb=True,
        instead="channel_gain",
    ),
    "color_space": Op(
        P, "shows the channels of another colour space", {"space": Choice("hsv", SPACES)}, rgb=True,
        instead="channel_shuffle",
    ),
    "grey": Op(P, "takes the colours away", rgb=True, instead="channel_shuffle"),
    "invert": Op(P, "makes a negative"),
    "posterize": Op(
        P, "keeps the highest bits", {"bits": Real((4, 8), 1, 8, neutral=8, unit=" bits", whole=True)},
    ),
    "solarize": Op(P, "inverts what is brighter", {"threshold": Real((0.5, 1), 0, 1, neutral=1)}),
    "autocontrast": Op(P, "stretches each channel to the full range"),
    "equalize": Op(P, "makes all values of a channel alike often", uint8=True, instead="autocontrast or gamma"),
    "clahe": Op(
        P,
        "equalizes locally, at most so much",
        {"limit": Real((1, 3), 0, 100, unit=" x"), "cells": Real((8, 8), 1, 64, neutral=None, whole=True)},
        uint8=True,
        instead="autocontrast or gamma",
    ),
    # ---- noise and filters
    "noise": Op(P, "adds normal noise", {"sigma": Real((0.01, 0.05), 0, 1)}, seeded=True),
    "salt_pepper": Op(P, "blackens or whitens some pixels", {"share": Real((0.001, 0.02), 0, 1)}, seeded=True),
    "speckle": Op(P, "multiplies by 1 + normal noise", {"sigma": Real((0.05, 0.2), 0, 2)}, seeded=True),
    "blur": Op(P, "blurs by a Gaussian", {"sigma": Real((0.3, 1.5), 0, 64, unit=PIXELS)}),
    "motion_blur": Op(
        P,
        "blurs along a line",
        {
            "pixels": Real((3, 9), 1, 255, neutral=1, unit=PIXELS),
            "degrees": Real((0, 180), -360, 360, neutral=None, unit=DEGREES),
        },
    ),
    "sharpen": Op(P, "multiplies the distance from a smoothed image", {"factor": Real((1, 2), 0, 20, neutral=1)}),
    "fog": Op(
        P,
        "blends with uneven white: its mean share",
        {"density": Real((0.1, 0.4), 0, 1), "spacing": Real((0.2, 0.6), 0.01, 1, neutral=None, unit=" of the side")},
        seeded=True,
    ),
    "rain": Op(
        P,
        "draws bright streaks",
        {
            "drops": Real((20, 80), 0, 10000, unit=" per 100 x 100 px"),
            "pixels": Real((6, 14), 1, 255, neutral=1, unit=PIXELS),
            "degrees": Real((-15, 15), -90, 90, neutral=None, unit=DEGREES),
        },
        seeded=True,
    ),
    "jpeg": Op(
        P, "compresses", {"quality": Real((40, 90), 1, 100, neutral=100, whole=True)}, uint8=True,
        instead="low_resolution or blur",
    ),
    "low_resolution": Op(P, "makes smaller by a factor, and large again", {"factor": Real((0.4, 0.9), 0.02, 1, 1)}),
    "identity": Op(P, "changes nothing: a choice of policies"),
    # ---- style of reference images; blend 1: all of it
    "fourier": Op(
        P,
        "takes the low frequencies' amplitudes from a reference (FDA)",
        {**REFERENCES, "band": Real((0.01, 0.05), 0, 0.5)},
        seeded=True,
    ),
    "histogram": Op(
        P,
        "gives each channel the histogram of a reference",
        {**REFERENCES, "blend": Real((0.5, 1), 0, 1)},
        seeded=True,
    ),
    "distribution": Op(
        P,
        "gives the channels the mean and covariance, or the deviations, of a reference",
        {**REFERENCES, "kind": Choice("covariance", ("covariance", "deviation")), "blend": Real((0.5, 1), 0, 1)},
        seeded=True,
    ),
    # ---- holes: the mask below them is kept or ignored
    "erase": Op(
        H,
        "rectangles of so much area and width by height (random erasing)",
        {
            "share": Real((0.02, 0.1), 0, 1),
            "ratio": Real((0.3, 3.3), 0.05, 20, neutral=1, log=True),
            "number": Real((1, 1), 1, 1000, neutral=1, whole=True),
            **COVER,
        },
        seeded=True,
    ),
    "cutout": Op(
        H,
        "squares of one side, which may reach over the edge",
        {
            "pixels": Real((12, 32), 1, 4096, neutral=1, unit=PIXELS, whole=True),
            "number": Real((1, 3), 1, 1000, neutral=1, whole=True),
            **COVER,
        },
        seeded=True,
    ),
    "grid_drop": Op(
        H,
        "a square in each cell of a grid, of a share of the cell's side",
        {
            "pixels": Real((24, 48), 2, 4096, neutral=2, unit=PIXELS, whole=True),
            "share": Real((0.3, 0.5), 0, 1),
            **COVER,
        },
        seeded=True,
    ),
}  # fmt: skip

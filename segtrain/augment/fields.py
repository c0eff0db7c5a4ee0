"""What is drawn at random for an image, the same for each backend: noise, fog, rain, gains and orders."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from segtrain.windows import Size

Floats = npt.NDArray[np.float32]
LEVELS = 256  # of noise that is made from bytes
UNEVEN = 0.5  # of fog: more looks like smoke


def generator(seed: int) -> np.random.Generator:
    """The generator that is quickest with bytes."""
    return np.random.Generator(np.random.SFC64(seed))


def deviates(seed: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Random bytes, even over all LEVELS: each stands for one of as many normal deviates, see normal_table."""
    return np.frombuffer(generator(seed).bytes(math.prod(shape)), np.uint8).reshape(shape)


@cache
def normal_table() -> Floats:
    """The normal deviates that bytes stand for: the middles of LEVELS parts of equal chance, scaled to deviation 1.

    The largest is 2.9 deviations. A look-up takes a fifth of the time of normal numbers.
    """
    table = ndtri((np.arange(LEVELS) + 0.5) / LEVELS)
    return np.asarray(table / table.std(), np.float32)


def normal(seed: int, shape: tuple[int, ...], sigma: float) -> Floats:
    """Normal noise of a deviation, float32."""
    return np.asarray(cv2.LUT(deviates(seed, shape), normal_table() * np.float32(sigma)), np.float32).reshape(shape)


def fog(seed: int, size: Size, density: float, spacing: float) -> Floats:
    """Shares of white, float32 [H, W]: even in 1 +- UNEVEN of a mean density at points of a spacing, cubic between.

    Args:
        seed: equal seeds give equal fields.
        size: (height, width) in pixels.
        density: the mean.
        spacing: of the points, as a share of the longer side.
    """
    step = max(spacing * max(size), 1.0)
    # a ring of points outside, for the edge; from 4 points on, cubic interpolation has all that it needs
    rows, columns = (max(4, math.ceil(side / step) + 2) for side in size)
    nodes = generator(seed).random((rows, columns), np.float32) * 2 - 1
    clouds = cv2.resize(nodes * np.float32(density * UNEVEN), size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(clouds + np.float32(density), 0, 1), np.float32)


def streaks(seed: int, size: Size, drops: float, pixels: float, degrees: float) -> npt.NDArray[np.uint8]:
    """Slanted lines, 0 to 255, uint8 [H, W].

    Args:
        seed: equal seeds give equal streaks.
        size: (height, width) in pixels.
        drops: number on 100 x 100 pixels.
        pixels: length of a streak.
        degrees: from the vertical.
    """
    (height, width), random = size, generator(seed)
    number = round(drops * height * width / 1e4)
    end = pixels * math.sin(math.radians(degrees)), pixels * math.cos(math.radians(degrees))
    # in 1/16 of a pixel, and from outside: a streak may begin above the image
    starts = random.uniform((-abs(end[0]), -end[1]), (width + abs(end[0]), height), (number, 2))
    lines = np.stack([starts, starts + end], axis=1) * 16
    canvas = np.zeros(size, np.uint8)
    cv2.polylines(canvas, list(lines.astype(np.int32)), False, 255, 1, cv2.LINE_AA, 4)
    return canvas


def spots(seed: int, size: Size, share: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Two halves of a share of the pixels, as indices into H x W, to one 65536th."""
    drawn = generator(seed).integers(0, 1 << 16, math.prod(size), np.uint16)
    half = round(share / 2 * (1 << 16))
    return np.flatnonzero(drawn < half), np.flatnonzero(drawn >= (1 << 16) - half)


def gains(seed: int, channels: int, spread: float) -> Floats:
    """A factor for each channel, even in 1 - spread to 1 + spread, float32 [C]."""
    return np.asarray(np.random.default_rng(seed).uniform(1 - spread, 1 + spread, channels), np.float32)


def order(seed: int, channels: int) -> list[int]:
    """An order of channels other than the present one, each as likely; of one channel there is none."""
    random, present = generator(seed), list(range(channels))
    drawn = random.permutation(channels).tolist()
    while channels > 1 and drawn == present:
        drawn = random.permutation(channels).tolist()
    return list(drawn)

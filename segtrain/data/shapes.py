"""Drawing primitives of the synthetic data: canvas, camera, outlines of a wanted area, textures of equal strength.

A shape is a patch [h, w] of 0 and 1 without anti-aliasing, so a mask is exactly what was drawn; a texture
is a float32 patch with mean 0 and RMS about 1, so no class can be told from another by its grey value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Patch = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Label = tuple[int, int]  # plane of a mask, id written there

CORNERS = 20  # of a round outline: its sides stay below 5 pixels at the largest radius, so none is seen
STEP = 4.0  # pixels between the points of a curve: short enough to look bent, few enough to be cheap
POINTS = 64  # at most, of a curve: more than LONGEST needs
BEND = (0.08, 0.25)  # radians per STEP: 60 pixels of thread turn by 70 degrees at least
LONGEST = (60.0, 160.0)  # area of a thread: at 2 pixels width it crosses about half of a 128 image
BORDER = 0.45  # boundary pixels per unit of perimeter that lie outside the polygon's area, half of 0.9
HOLE = 0.55  # inner radius of an annulus: its band stays wider than one period of a texture
LIGHT = 0.2  # deviation of the light across an image, relative: a tenth of the range, above the objects' mean offset
TISSUE = (4, 12, 40)  # pixels, the scales of the background's clouds: below, at and above an object's
MURK = 0.03  # deviation of each of these clouds, [0, 1]: together as strong as a faint texture
TINT = 0.08  # deviation of the channels' gains: each image has a colour, which says nothing
NOISE = 0.06  # deviation of the sensor noise, [0, 1]; hides a single pixel of a texture, not a period
BLUR = 0.7  # pixels, deviation of the point spread: no staircase at edges, stripes survive


@dataclass(frozen=True)
class Canvas:
    """What objects are drawn on.

    Args:
        layer: brightness relative to the background, float32 [H, W].
        mask: uint8 [K, H, W]; with one plane an object hides what is below it, with more it is translucent.
    """

    layer: Grey
    mask: Patch

    def paint(self, patch: Patch, shade: Grey, center: tuple[int, int], label: Label, covered: Patch) -> None:
        """Draw the object patch [h, w] with brightness shade [h, w]; what juts out is cut off.

        Args:
            patch: 1 where the object is.
            shade: its brightness, of the same shape.
            center: (y, x) of the middle of the patch, in pixels.
            label: plane of the mask, and the id written there.
            covered: uint8 [H, W], set to 1 where the object is.
        """
        there, part = _window(self.layer.shape, patch.shape, center)
        inside = patch[part] > 0
        if len(self.mask) > 1:
            np.add(self.layer[there], shade[part], out=self.layer[there], where=inside)
        else:
            np.copyto(self.layer[there], shade[part], where=inside)
        np.copyto(self.mask[label[0]][there], np.uint8(label[1]), where=inside)
        covered[there] |= patch[part]


def draw_shape(name: str, area: float, rng: np.random.Generator) -> Patch:
    """A random outline, filled.

    Args:
        name: a key of SHAPES.
        area: wanted number of pixels; threads and scratches stop at LONGEST.
        rng: where all choices come from.

    Returns:
        uint8 [h, w], 1 inside.
    """
    return SHAPES[name](area, rng)


def draw_texture(name: str, height: int, width: int, rng: np.random.Generator) -> Grey:
    """A random texture with mean 0 and RMS about 1 (plain: all 0).

    Args:
        name: a key of TEXTURES.
        height: of the patch, in pixels.
        width: of the patch, in pixels.
        rng: where all choices come from.

    Returns:
        float32 [height, width].
    """
    return TEXTURES[name](height, width, rng)


def expose(layer: Grey, channels: int, rng: np.random.Generator) -> Patch:
    """Photograph the objects: tissue below them, uneven light, point spread, gains and noise.

    Args:
        layer: brightness of the objects relative to the background, [H, W].
        channels: of the image; each has its own gain and noise.
        rng: where all choices come from.

    Returns:
        uint8 [H, W, channels].
    """
    height, width = layer.shape
    light = _cloud(height, width, max(height, width), rng) * np.float32(LIGHT)
    tissue = sum(_cloud(height, width, cell, rng) for cell in TISSUE) * np.float32(MURK)
    grey = cv2.GaussianBlur(layer + tissue, (0, 0), BLUR) + np.float32(0.5)
    grey *= 1 + light
    gain = rng.normal(1.0, TINT, channels).astype(np.float32)
    image = rng.standard_normal((height, width, channels), np.float32) * np.float32(NOISE)
    image += grey[..., None] * gain
    image *= np.float32(255)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


# --- placing and background -------------------------------------------------------------------------


def _cloud(height: int, width: int, cell: int, rng: np.random.Generator) -> Grey:
    """Smooth noise that changes every `cell` pixels or so; about standard normal."""
    grid = rng.standard_normal((height // cell + 2, width // cell + 2), np.float32)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _window(
    plane: tuple[int, ...], patch: tuple[int, ...], center: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a patch centred there lies in the plane, and which part of the patch that is."""
    starts = [middle - extent // 2 for middle, extent in zip(center, patch, strict=True)]
    ends = [min(s + extent, limit) for s, extent, limit in zip(starts, patch, plane, strict=True)]
    y, x = (slice(max(s, 0), end) for s, end in zip(starts, ends, strict=True))
    return (y, x), (slice(y.start - starts[0], y.stop - starts[0]), slice(x.start - starts[1], x.stop - starts[1]))


# --- shapes -----------------------------------------------------------------------------------------


def _blob(area: float, rng: np.random.Generator) -> Patch:
    angle = _angles()
    phase = rng.uniform(0.0, math.tau, 3)
    radius = 1 + 0.28 * np.cos(2 * angle + phase[0]) + 0.14 * np.cos(3 * angle + phase[1])
    return _fill(_polar(radius + 0.06 * np.cos(5 * angle + phase[2]), angle), area)


def _disk(area: float, rng: np.random.Generator) -> Patch:
    return _fill(_polar(np.ones(CORNERS), _angles()), area)


def _box(area: float, rng: np.random.Generator) -> Patch:
    half = math.atan(rng.uniform(0.5, 1.0))  # half the angle between the diagonals: sides 1:2 to 1:1
    turn = rng.uniform(0.0, math.pi)
    return _fill(_polar(np.ones(4), turn + np.array([half, math.pi - half, math.pi + half, -half])), area)


def _wedge(area: float, rng: np.random.Generator) -> Patch:
    turn = rng.uniform(0.0, math.tau)
    return _fill(_polar(np.array([1.2, 0.8, 0.8]), turn + np.array([0.0, 2.2, -2.2])), area)


def _annulus(area: float, rng: np.random.Generator) -> Patch:
    patch = _disk(area / (1 - HOLE**2), rng)
    middle, inner = patch.shape[0] // 2, int(patch.shape[0] / 2 * HOLE)
    cv2.circle(patch, (middle, middle), inner, (0,), cv2.FILLED)
    return patch


def _thread(area: float, rng: np.random.Generator) -> Patch:
    """A curve whose heading walks at random and keeps to one side, so that none looks like a scratch."""
    turns = rng.normal(0.0, 0.2, POINTS) + rng.choice((-1.0, 1.0)) * rng.uniform(*BEND)
    return _stroke(area, rng.uniform(0.0, math.tau) + np.cumsum(turns), rng)


def _scratch(area: float, rng: np.random.Generator) -> Patch:
    return _stroke(area, np.full(POINTS, rng.uniform(0.0, math.tau)), rng)


def _stroke(area: float, heading: Points, rng: np.random.Generator) -> Patch:
    """A line along the headings, 1 to 3 pixels wide, as long as the area allows."""
    wide = int(rng.integers(1, 4)) if area > 40 else 1  # a thin one of few pixels is still a line
    length = max(2.0, min(area, rng.uniform(*LONGEST)) / wide)
    count = min(POINTS, max(1, round(length / STEP)))
    steps = np.stack([np.cos(heading[:count]), np.sin(heading[:count])], axis=1) * (length / count)
    points = np.rint(np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])).astype(np.int32)
    points -= points.min(axis=0) - wide  # a margin for the width of the line
    patch = np.zeros((points[:, 1].max() + 1 + wide, points[:, 0].max() + 1 + wide), np.uint8)
    cv2.polylines(patch, [points], False, (1,))
    # OpenCV's own lines of thickness 2 are 3 pixels wide and those of 3 are 5, hence the dilation.
    return np.asarray(cv2.dilate(patch, np.ones((wide, wide), np.uint8)), np.uint8)


def _fill(points: Points, area: float) -> Patch:
    """Scale an outline until it covers `area` pixels, and fill it.

    Drawing also sets the pixels under the outline, so by Pick's theorem a polygon of area A and
    perimeter P covers about A s^2 + BORDER P s + 1 pixels at scale s: solved for s here.
    """
    outline = points.astype(np.float32)
    a, b = cv2.contourArea(outline), BORDER * cv2.arcLength(outline, True)
    scale = (math.sqrt(b * b + 4 * a * max(area - 1, 0.0)) - b) / (2 * a)
    corners = np.rint(points * scale).astype(np.int32)
    corners -= corners.min(axis=0)
    patch = np.zeros((corners[:, 1].max() + 1, corners[:, 0].max() + 1), np.uint8)
    cv2.fillPoly(patch, [corners], (1,), cv2.LINE_8)
    return patch


def _angles() -> Points:
    return np.linspace(0.0, math.tau, CORNERS, endpoint=False)


def _polar(radius: Points, angle: Points) -> Points:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


# --- textures ---------------------------------------------------------------------------------------


def _plain(height: int, width: int, rng: np.random.Generator) -> Grey:
    return np.zeros((height, width), np.float32)


def _striped(height: int, width: int, rng: np.random.Generator) -> Grey:
    along, _ = _rotated(height, width, rng)
    return np.sin(along, dtype=np.float32) * np.float32(math.sqrt(2))


def _checked(height: int, width: int, rng: np.random.Generator) -> Grey:
    along, across = _rotated(height, width, rng)
    checks: Grey = np.sin(along) * np.sin(across)
    return checks * np.float32(2)  # the RMS of a product of sines is 1/2


def _dotted(height: int, width: int, rng: np.random.Generator) -> Grey:
    along, across = _rotated(height, width, rng)
    dots: Grey = np.square(np.sin(along * np.float32(0.6)) * np.sin(across * np.float32(0.6)))
    return (dots - np.float32(0.25)) * np.float32(1 / 0.28)  # mean and deviation of sin^2 sin^2


def _ringed(height: int, width: int, rng: np.random.Generator) -> Grey:
    y, x = _grid(height, width)
    frequency = np.float32(math.tau / rng.uniform(*PERIOD))
    return np.sin(np.sqrt(y * y + x * x) * frequency) * np.float32(math.sqrt(2))


def _grainy(height: int, width: int, rng: np.random.Generator) -> Grey:
    coarse = rng.standard_normal((height // 2 + 2, width // 2 + 2), np.float32)
    return np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)[:height, :width]


def _rotated(height: int, width: int, rng: np.random.Generator) -> tuple[Grey, Grey]:
    """Phase in radians along a random direction and across it, one random period for both."""
    y, x = _grid(height, width)
    turn, frequency = rng.uniform(0.0, math.pi), math.tau / rng.uniform(*PERIOD)
    c, s = np.float32(math.cos(turn) * frequency), np.float32(math.sin(turn) * frequency)
    phase = np.float32(rng.uniform(0.0, math.tau))
    return x * c + y * s + phase, y * c - x * s + phase


def _grid(height: int, width: int) -> tuple[Grey, Grey]:
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(height / 2)
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32(width / 2)
    return y, x


PERIOD = (3.5, 6.0)  # pixels: above twice the pixel pitch after the blur, below the smallest usual radius
SHAPES: Mapping[str, Callable[[float, np.random.Generator], Patch]] = {
    "blob": _blob,
    "disk": _disk,
    "box": _box,
    "annulus": _annulus,
    "wedge": _wedge,
    "thread": _thread,
    "scratch": _scratch,
}
TEXTURES: Mapping[str, Callable[[int, int, np.random.Generator], Grey]] = {
    "striped": _striped,
    "checked": _checked,
    "ringed": _ringed,
    "dotted": _dotted,
    "grainy": _grainy,
    "plain": _plain,
}

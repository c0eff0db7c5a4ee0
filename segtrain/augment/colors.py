"""Colour and grey by OpenCV: images [H, W, C], uint8 in [0, 255] or float32 in [0, 1], of any number of channels.

8 bits stay 8 bits: what depends on a value alone is a table of 256 entries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import stringzilla

from segtrain.augment import fields

Pixels = npt.NDArray[Any]  # an image [H, W, C], or a channel [H, W]; uint8 or float32
Curve = Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]  # of values in [0, 1]
LEVELS = np.arange(256) / 255
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601, as in Pillow and torchvision


class Codes(NamedTuple):
    """OpenCV's names of conversions from RGB and back, for floats and for bytes in the full range."""

    to: int
    back: int
    to_bytes: int
    from_bytes: int


def _codes(word: str, full: str = "") -> Codes:
    return Codes(
        *(
            getattr(cv2, f"COLOR_{name}")
            for name in (f"RGB2{word}", f"{word}2RGB", f"RGB2{word}{full}", f"{word}2RGB{full}")
        )
    )


CODES = {
    "hls": _codes("HLS", "_FULL"),
    "hsv": _codes("HSV", "_FULL"),
    "lab": _codes("Lab"),
    "luv": _codes("Luv"),
    "xyz": _codes("XYZ"),
    "ycrcb": _codes("YCrCb"),
    "yuv": _codes("YUV"),
}
# ranges of float32 channels where they are not [0, 1]: (offset, length)
RANGES = {
    "hsv": ((0, 360), (0, 1), (0, 1)),
    "hls": ((0, 360), (0, 1), (0, 1)),
    "lab": ((0, 100), (-127, 254), (-127, 254)),
    "luv": ((0, 100), (-134, 354), (-140, 262)),
}


def full(image: Pixels) -> float:
    """The value of white."""
    return 255.0 if image.dtype == np.uint8 else 1.0


def by_value(image: Pixels, curve: Curve) -> Pixels:
    """Each value changed by a function of [0, 1]; results are cut to [0, 1]."""
    if image.dtype == np.uint8:
        levels = np.clip(curve(LEVELS), 0, 1)
        return looked_up(image, np.rint(levels * 255).astype(np.uint8))
    return np.clip(curve(np.asarray(image, np.float32)), 0, 1).astype(np.float32)


def looked_up(image: Pixels, table: Pixels) -> Pixels:
    """Each byte of an image replaced by its entry in a table of 256, or [256, C]."""
    if table.ndim == 2:
        return np.asarray(cv2.LUT(image, table[None])).reshape(image.shape)
    # ten times as fast as OpenCV's LUT; what it gives may not be written to
    replaced = stringzilla.translate(np.ascontiguousarray(image).data, table.data)
    return np.frombuffer(replaced, np.uint8).reshape(image.shape)


def by_channel(image: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    """Each channel [H, W] changed for itself."""
    changed = np.empty_like(image)
    for channel in range(image.shape[2]):
        cv2.insertChannel(change(np.asarray(cv2.extractChannel(image, channel))), changed, channel)
    return changed


def added(image: Pixels, other: Pixels, weight: float) -> Pixels:
    """image + weight x (image - other), cut to the range."""
    blended = np.asarray(cv2.addWeighted(image, 1 + weight, other, -weight, 0)).reshape(image.shape)
    return blended if image.dtype == np.uint8 else np.clip(blended, 0, 1)


def cut(values: Pixels, like: Pixels) -> Pixels:
    """float32 values as the type of an image, rounded and cut to its range."""
    if like.dtype == np.uint8:
        return np.asarray(np.rint(np.clip(values, 0, 255)), np.uint8)
    return np.asarray(np.clip(values, 0, 1), np.float32)


def brightness(image: Pixels, factor: float) -> Pixels:
    """factor x."""
    return linear(image, factor, 0)


def linear(image: Pixels, factor: float, offset: float) -> Pixels:
    """factor x + offset, which is a share of white; cut to the range."""
    return by_value(image, lambda x: factor * x + offset)


def mean_grey(image: Pixels) -> float:
    """Mean of the image in [0, 1]; that of its luma where it has three colours."""
    weights = LUMA if image.shape[2] == 3 else (1 / image.shape[2],) * image.shape[2]
    return float(np.dot(means(image), weights)) / full(image)


def means(image: Pixels) -> npt.NDArray[np.float64]:
    """Mean of each channel."""
    channels = image.shape[2]
    return np.array(cv2.mean(image)[:channels]) if channels <= 4 else image.mean((0, 1), np.float64)


def contrast(image: Pixels, factor: float) -> Pixels:
    """mean + factor (x - mean)."""
    return linear(image, factor, (1 - factor) * mean_grey(image))


def gamma(image: Pixels, power: float) -> Pixels:
    """x ^ power."""
    return by_value(image, lambda x: np.power(np.maximum(x, 0), power))


def channel_gain(image: Pixels, spread: float, seed: int) -> Pixels:
    """Each channel times its own factor, even in 1 - spread to 1 + spread."""
    factors = fields.gains(seed, image.shape[2], spread)
    if image.dtype != np.uint8:
        return cut(image * factors, image)
    return looked_up(image, cut(np.arange(256)[:, None] * factors, image))


def channel_drop(image: Pixels, seed: int) -> Pixels:
    """One channel 0."""
    dropped = image.copy()
    dropped[..., seed % image.shape[2]] = 0
    return dropped


def channel_shuffle(image: Pixels, seed: int) -> Pixels:
    """Channels in another order."""
    shuffled = np.empty_like(image)
    pairs = np.stack([fields.order(seed, image.shape[2]), np.arange(image.shape[2])], axis=1)
    cv2.mixChannels([image], [shuffled], pairs.ravel().tolist())
    return shuffled


def luma(image: Pixels) -> Pixels:
    """Grey of an RGB image, [H, W]."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def saturation(image: Pixels, factor: float) -> Pixels:
    """luma + factor (x - luma)."""
    return added(image, grey(image), factor - 1)


def grey(image: Pixels) -> Pixels:
    """All three channels the luma."""
    return np.asarray(cv2.cvtColor(luma(image), cv2.COLOR_GRAY2RGB))


def hue(image: Pixels, degrees: float) -> Pixels:
    """The hue of HSV turned; 8 bits know it in steps of 360 / 256 degrees."""
    if image.dtype != np.uint8:
        turned = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        turned[..., 0] = (turned[..., 0] + degrees) % 360
        return np.clip(cv2.cvtColor(turned, cv2.COLOR_HSV2RGB), 0, 1)
    table = np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 3))
    table[:, 0] += np.uint8(round(degrees / 360 * 256) % 256)
    turned = looked_up(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)), table)
    return np.asarray(cv2.cvtColor(turned, cv2.COLOR_HSV2RGB_FULL))


def ranges(space: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(lowest value, length) of the range of each channel of a space, as floats."""
    low, length = np.array(RANGES.get(space, ((0, 1),) * 3), np.float32).T
    return low, length


def color_space(image: Pixels, space: str) -> Pixels:
    """The channels of another space, each in its full range."""
    if image.dtype == np.uint8:
        return np.asarray(cv2.cvtColor(image, CODES[space].to_bytes))
    low, length = ranges(space)
    channels = (np.asarray(cv2.cvtColor(image, CODES[space].to), np.float32) - low) / length
    return np.asarray(np.clip(channels, 0, 1), np.float32)


def color_shift(image: Pixels, space: str, first: float, second: float, third: float) -> Pixels:
    """Shares of the range added to the channels of another space; hues go round."""
    shifts, hue_of = np.array((first, second, third), np.float32), space in ("hsv", "hls")
    if image.dtype == np.uint8:
        table = np.arange(256)[:, None] + np.rint(shifts * 255).astype(int)
        table = np.where([hue_of, False, False], table % 256, np.clip(table, 0, 255)).astype(np.uint8)
        return np.asarray(cv2.cvtColor(looked_up(color_space(image, space), table), CODES[space].from_bytes))
    low, length = ranges(space)
    channels = color_space(image, space) + shifts
    channels = np.where([hue_of, False, False], channels % 1, np.clip(channels, 0, 1)).astype(np.float32)
    return cut(np.asarray(cv2.cvtColor(channels * length + low, CODES[space].back)), image)


def invert(image: Pixels) -> Pixels:
    """1 - x."""
    return by_value(image, lambda x: 1 - x)


def posterize(image: Pixels, bits: int) -> Pixels:
    """The highest bits, the others 0."""
    levels = 1 << bits
    if image.dtype == np.uint8:
        return looked_up(image, np.arange(256, dtype=np.uint8) & np.uint8(256 - 256 // levels))
    return by_value(image, lambda x: np.minimum(np.floor(x * levels), levels - 1) / levels)


def solarize(image: Pixels, threshold: float) -> Pixels:
    """1 - x where x is at least the threshold."""
    return by_value(image, lambda x: np.where(x >= threshold, 1 - x, x))


def autocontrast(image: Pixels) -> Pixels:
    """Least and largest value of each channel to 0 and 1; a flat channel stays."""

    def stretch(channel: Pixels) -> Pixels:
        low, high, *_ = cv2.minMaxLoc(channel)
        low, high = low / full(image), high / full(image)
        return channel if low == high else by_value(channel, lambda x: (x - low) / (high - low))

    return by_channel(image, stretch)


def equalize(image: Pixels) -> Pixels:
    """Histogram equalization of each channel."""
    return by_channel(image, cv2.equalizeHist)


def clahe(image: Pixels, limit: float, cells: int) -> Pixels:
    """Contrast-limited adaptive equalization (Zuiderveld 1994): of the lightness of RGB, else of each channel."""
    change = cv2.createCLAHE(limit, (cells, cells)).apply
    if image.shape[2] != 3:
        return by_channel(image, change)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lab[..., 0] = change(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB))


PIXELS: dict[str, Callable[..., Pixels]] = {
    change.__name__: change
    for change in (
        brightness,
        contrast,
        gamma,
        channel_gain,
        channel_drop,
        channel_shuffle,
        saturation,
        grey,
        hue,
        color_space,
        color_shift,
        invert,
        posterize,
        solarize,
        autocontrast,
        equalize,
        clahe,
    )
}

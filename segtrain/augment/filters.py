"""Noise and filters by OpenCV: images [H, W, C], uint8 in [0, 255] or float32 in [0, 1], of any number of channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from segtrain.augment import fields
from segtrain.augment.colors import Pixels, added, by_channel, full

SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # Pillow's SMOOTH


def noise(image: Pixels, sigma: float, seed: int) -> Pixels:
    """x + normal noise; sigma as a share of white."""
    drawn, table = fields.deviates(seed, image.shape), fields.normal_table() * sigma * full(image)
    if image.dtype != np.uint8:
        return np.clip(image + np.asarray(cv2.LUT(drawn, table.astype(np.float32))).reshape(image.shape), 0, 1)
    whole = cv2.LUT(drawn, np.rint(table).astype(np.int16))
    return np.asarray(cv2.add(image, whole.reshape(image.shape), dtype=cv2.CV_8U)).reshape(image.shape)


def speckle(image: Pixels, sigma: float, seed: int) -> Pixels:
    """x (1 + normal noise)."""
    factors = 1 + fields.normal(seed, image.shape, sigma)
    if image.dtype != np.uint8:
        return np.clip(image * factors, 0, 1)
    return np.asarray(cv2.multiply(image, factors, dtype=cv2.CV_8U)).reshape(image.shape)


def salt_pepper(image: Pixels, share: float, seed: int) -> Pixels:
    """White and black pixels, half of the share each."""
    white, black = fields.spots(seed, image.shape[:2], share)
    spotted = image.copy()
    pixels = spotted.reshape(-1, image.shape[2])
    pixels[white], pixels[black] = full(image), 0
    return spotted


def blur(image: Pixels, sigma: float) -> Pixels:
    """Gaussian of 3 sigma, the edge reflected."""
    side = 2 * math.ceil(3 * sigma) + 1
    blurred = cv2.GaussianBlur(image, (side, side), sigma or 1e-3, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred).reshape(image.shape)


def motion_blur(image: Pixels, pixels: float, degrees: float) -> Pixels:
    """The mean along a line of so many pixels."""
    half, angle = (pixels - 1) / 2, math.radians(degrees)
    reach = math.ceil(half)
    end = half * math.cos(angle), -half * math.sin(angle)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    begin, close = ([round((reach + sign * part) * 256) for part in end] for sign in (-1, 1))
    cv2.line(kernel, begin, close, 1.0, 1, cv2.LINE_AA, 8)
    kernel /= kernel.sum()
    return np.asarray(cv2.filter2D(image, -1, kernel)).reshape(image.shape)


def sharpen(image: Pixels, factor: float) -> Pixels:
    """smooth + factor (x - smooth), within the outermost pixels; smooth as Pillow's."""
    if min(image.shape[:2]) < 3:
        return image
    sharp = added(image, np.asarray(cv2.filter2D(image, -1, SMOOTH)).reshape(image.shape), factor - 1)
    result = image.copy()
    result[1:-1, 1:-1] = sharp[1:-1, 1:-1]
    return result


def veiled(image: Pixels, veil: Pixels) -> Pixels:
    """White over the image, by the shares [H, W] of a veil."""
    if image.dtype != np.uint8:
        return np.asarray(image + veil[..., None] * (1 - image), np.float32)
    shares = cv2.merge([np.rint(veil * 255).astype(np.uint8)] * image.shape[2])
    white = cv2.multiply(cv2.bitwise_not(image), shares.reshape(image.shape), scale=1 / 255)
    return np.asarray(cv2.add(image, white.reshape(image.shape))).reshape(image.shape)


def fog(image: Pixels, density: float, spacing: float, seed: int) -> Pixels:
    """White over the image, uneven: see fields.fog."""
    return veiled(image, fields.fog(seed, image.shape[:2], density, spacing))


def rain(image: Pixels, drops: float, pixels: float, degrees: float, seed: int) -> Pixels:
    """Streaks, half white and a little blurred."""
    drawn = cv2.GaussianBlur(fields.streaks(seed, image.shape[:2], drops, pixels, degrees), (3, 3), 0.6)
    return veiled(image, np.asarray(drawn, np.float32) / np.float32(510))


def jpeg(image: Pixels, quality: int) -> Pixels:
    """Compress and decompress; channels other than three each for itself."""

    def compress(pixels: Pixels) -> Pixels:
        _, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))

    if image.shape[2] != 3:
        return by_channel(image, compress)
    swapped = compress(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR)))
    return np.asarray(cv2.cvtColor(swapped, cv2.COLOR_BGR2RGB))


def low_resolution(image: Pixels, factor: float) -> Pixels:
    """Smaller by the factor, by areas, and large again, evenly between."""
    height, width, channels = image.shape
    if channels > 4:  # more than OpenCV reduces by areas at once
        return by_channel(image, lambda channel: low_resolution(channel[..., None], factor)[..., 0])
    smaller = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)).reshape(image.shape)


def identity(image: Pixels) -> Pixels:
    """The image."""
    return image


PIXELS: dict[str, Callable[..., Pixels]] = {
    change.__name__: change
    for change in (
        noise,
        speckle,
        salt_pepper,
        blur,
        motion_blur,
        sharpen,
        fog,
        rain,
        jpeg,
        low_resolution,
        identity,
    )
}

"""Pixel ops by torchvision's transforms v2, and the look-up of shapes by torch; what it lacks is not in PIXELS.

Images are arrays [H, W, C] as everywhere; tensors of them are views. Where torchvision wants one or three channels,
more go through it one by one if the op treats them alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as F

from segtrain.augment import colors, fields, filters
from segtrain.augment.colors import Pixels
from segtrain.augment.geometry import Map, Move


def tensor(image: Pixels) -> Tensor:
    """An array [H, W, C] as a tensor [C, H, W]."""
    return torch.from_numpy(image if image.flags.writeable else image.copy()).permute(2, 0, 1)


def array(image: Tensor) -> Pixels:
    """A tensor [C, H, W] as an array [H, W, C]."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def changed(image: Pixels, change: Callable[[Tensor], Tensor]) -> Pixels:
    """An image changed by a function of tensors [C, H, W]."""
    return array(change(tensor(image)))


def grey_or_rgb(image: Pixels, change: Callable[[Tensor], Tensor]) -> Pixels:
    """As changed; where there are other than one or three channels, each is a grey image."""
    if image.shape[2] in (1, 3):
        return changed(image, change)
    return changed(image, lambda pixels: torch.cat([change(channel[None]) for channel in pixels]))


def warp(image: Pixels, mask: Pixels, where: Map, ignore_index: int) -> tuple[Pixels, Pixels]:
    """As geometry.warp, by grid_sample, which torchvision's own affine, perspective and elastic end in."""
    (height, width), (rows, columns) = image.shape[:2], where.size
    if where.points is None:
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(np.float64)
        axes = Move(where.matrix).pull(grid).transpose(2, 0, 1)
    else:
        axes = np.stack(where.points)
    x, y = torch.from_numpy(axes.astype(np.float32))
    places = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)[None]
    moved = functional.grid_sample(tensor(image).float()[None], places, "bilinear", "zeros", align_corners=False)[0]
    inside = (x.round() >= 0) & (x.round() < width) & (y.round() >= 0) & (y.round() < height)
    near_y, near_x = y.round().long().clamp(0, height - 1), x.round().long().clamp(0, width - 1)
    ids = torch.from_numpy(np.array(mask))[..., near_y, near_x]
    ids = torch.where(inside, ids, torch.tensor(ignore_index, dtype=ids.dtype))
    moved = moved.round().to(torch.uint8) if image.dtype == np.uint8 else moved
    return array(moved), ids.numpy()


def contrast(image: Pixels, factor: float) -> Pixels:
    """See colors.contrast."""
    if image.shape[2] in (1, 3):
        return changed(image, lambda x: F.adjust_contrast(x, factor))
    mean = colors.mean_grey(image)
    return changed(image, lambda x: _cut(mean + factor * (_unit(x) - mean), x))


def _unit(image: Tensor) -> Tensor:
    """float32 in [0, 1]."""
    unit: Tensor = F.to_dtype(image, torch.float32, scale=True)
    return unit


def _cut(values: Tensor, like: Tensor) -> Tensor:
    """Values of [0, 1] as the type of an image."""
    white = 1.0 if like.is_floating_point() else 255.0  # to_dtype would cut off what is behind the point
    values = values.clamp(0, 1) * white
    return values if like.is_floating_point() else values.round().to(like.dtype)


def by_field(image: Pixels, change: Callable[[Tensor], Tensor]) -> Pixels:
    """An image changed by a function of float32 tensors in [0, 1]."""
    return changed(image, lambda x: _cut(change(_unit(x)), x))


def noise(image: Pixels, sigma: float, seed: int) -> Pixels:
    """See filters.noise."""
    drawn = tensor(fields.normal(seed, image.shape, sigma))
    return by_field(image, lambda x: x + drawn)


def speckle(image: Pixels, sigma: float, seed: int) -> Pixels:
    """See filters.speckle."""
    drawn = tensor(fields.normal(seed, image.shape, sigma))
    return by_field(image, lambda x: x * (1 + drawn))


def salt_pepper(image: Pixels, share: float, seed: int) -> Pixels:
    """See filters.salt_pepper."""
    white, black = (torch.from_numpy(places) for places in fields.spots(seed, image.shape[:2], share))

    def spot(pixels: Tensor) -> Tensor:
        flat = pixels.flatten(1).index_fill(1, white, 1).index_fill(1, black, 0)
        return flat.reshape(pixels.shape)

    return by_field(image, spot)


def fog(image: Pixels, density: float, spacing: float, seed: int) -> Pixels:
    """See filters.fog."""
    veil = torch.from_numpy(fields.fog(seed, image.shape[:2], density, spacing))
    return by_field(image, lambda x: x + veil * (1 - x))


def blur(image: Pixels, sigma: float) -> Pixels:
    """See filters.blur."""
    side = 2 * math.ceil(3 * sigma) + 1
    return image if sigma == 0 else changed(image, lambda x: F.gaussian_blur(x, [side, side], [sigma, sigma]))


def channel_gain(image: Pixels, spread: float, seed: int) -> Pixels:
    """See colors.channel_gain."""
    factors = fields.gains(seed, image.shape[2], spread)
    return by_field(image, lambda x: x * torch.from_numpy(factors)[:, None, None])


def channel_shuffle(image: Pixels, seed: int) -> Pixels:
    """See colors.channel_shuffle."""
    return changed(image, lambda x: F.permute_channels(x, fields.order(seed, image.shape[2])))


def low_resolution(image: Pixels, factor: float) -> Pixels:
    """See filters.low_resolution."""
    height, width = image.shape[:2]
    small = [max(1, round(height * factor)), max(1, round(width * factor))]
    return changed(image, lambda x: F.resize(F.resize(x, small, antialias=True), [height, width], antialias=False))


PIXELS: Mapping[str, Callable[..., Pixels]] = {
    "brightness": lambda image, factor: changed(image, lambda x: _cut(_unit(x) * factor, x)),
    "contrast": contrast,
    "gamma": lambda image, power: changed(image, lambda x: F.adjust_gamma(x, power)),
    "channel_gain": channel_gain,
    "channel_drop": colors.channel_drop,
    "channel_shuffle": channel_shuffle,
    "saturation": lambda image, factor: changed(image, lambda x: F.adjust_saturation(x, factor)),
    "hue": lambda image, degrees: changed(image, lambda x: F.adjust_hue(x, (degrees / 360 + 0.5) % 1 - 0.5)),
    "grey": lambda image: changed(image, lambda x: F.rgb_to_grayscale(x, num_output_channels=3)),
    "invert": lambda image: changed(image, F.invert),
    "posterize": lambda image, bits: changed(image, lambda x: F.posterize(x, bits)),
    "solarize": lambda image, threshold: changed(image, lambda x: F.solarize(x, threshold * colors.full(image))),
    "autocontrast": lambda image: grey_or_rgb(image, F.autocontrast),
    "equalize": lambda image: grey_or_rgb(image, F.equalize),
    "noise": noise,
    "salt_pepper": salt_pepper,
    "speckle": speckle,
    "blur": blur,
    "sharpen": lambda image, factor: grey_or_rgb(image, lambda x: F.adjust_sharpness(x, factor)),
    "fog": fog,
    "low_resolution": low_resolution,
    "identity": filters.identity,
}

"""The presets of conf/aug as one would write them by hand, with Albumentations and with torchvision's transforms v2.

Ops, chances and ranges are those of the presets, as near as each library comes; what torchvision lacks is left out.
Where a library does two of our ops in one, it gets the chance that either is applied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

IGNORE = 255
Call = Callable[[Any, Any], Any]  # image [H, W, C] and mask [H, W], both uint8


def _light() -> list[Any]:
    return [
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-10, 10), scale=(0.8, 1.25), fill_mask=IGNORE, p=0.5),
        A.RandomBrightnessContrast(0.15, 0.15, p=0.75),
    ]


def _medium() -> list[Any]:
    return [
        A.D4(p=1.0),
        A.Affine(rotate=(-30, 30), scale=(0.7, 1.4), shear=(-5, 5), fill_mask=IGNORE, p=0.5),
        A.RandomBrightnessContrast(0.2, 0.2, p=0.75),
        A.RandomGamma((70, 140), p=0.3),
        A.GaussianBlur(sigma_limit=(0.3, 1.2), p=0.15),
        A.GaussNoise(std_range=(0.01, 0.04), p=0.15),
    ]


def _heavy() -> list[Any]:
    return [
        A.D4(p=1.0),
        A.Affine(rotate=(-45, 45), scale=(0.6, 1.6), shear=(-10, 10), fill_mask=IGNORE, p=0.7),
        A.Perspective(scale=(0.02, 0.08), fill_mask=IGNORE, p=0.15),
        A.ElasticTransform(alpha=80, sigma=8, fill_mask=IGNORE, p=0.2),
        A.GridDistortion(num_steps=5, distort_limit=0.2, fill_mask=IGNORE, p=0.15),
        A.RandomBrightnessContrast(0.3, 0.3, p=0.84),
        A.RandomGamma((60, 160), p=0.3),
        A.HueSaturationValue(10, 40, 0, p=0.51),
        A.GaussianBlur(sigma_limit=(0.3, 1.8), p=0.2),
        A.Downscale((0.4, 0.9), p=0.1),
        A.GaussNoise(std_range=(0.01, 0.08), p=0.2),
        A.RandomFog(fog_coef_range=(0.05, 0.3), p=0.05),
        A.CoarseDropout((1, 4), (0.07, 0.14), (0.07, 0.14), p=0.2),
    ]


def _geometric() -> list[Any]:
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.Rotate((-30, 30), border_mode=cv2.BORDER_CONSTANT, fill_mask=IGNORE, p=0.3),
        A.Affine(scale=(0.75, 1.33), fill_mask=IGNORE, p=0.3),
        A.RandomResizedCrop((512, 512), (0.5, 1.0), (0.8, 1.25), p=0.2),
        A.Affine(translate_px=(-16, 16), fill_mask=IGNORE, p=0.2),
        A.Affine(shear=(-10, 10), fill_mask=IGNORE, p=0.2),
        A.Perspective(scale=(0.02, 0.1), fill_mask=IGNORE, p=0.2),
        A.ElasticTransform(alpha=80, sigma=8, fill_mask=IGNORE, p=0.2),
        A.GridDistortion(num_steps=5, distort_limit=0.2, fill_mask=IGNORE, p=0.2),
    ]


def _color() -> list[Any]:
    return [
        A.RandomBrightnessContrast(0.3, 0.3, p=0.75),
        A.HueSaturationValue(9, 50, 0, p=0.58),
        A.RGBShift(12, 12, 12, p=0.2),
        A.RandomGamma((70, 140), p=0.3),
        A.CLAHE((1, 3), (8, 8), p=0.1),
        A.Equalize(p=0.05),
        A.ToGray(p=0.05),
    ]


def _noise() -> list[Any]:
    return [
        A.GaussianBlur(sigma_limit=(0.3, 1.5), p=0.15),
        A.MotionBlur((3, 9), p=0.1),
        A.Sharpen(p=0.1),
        A.Downscale((0.4, 0.9), p=0.1),
        A.GaussNoise(std_range=(0.01, 0.06), p=0.2),
        A.MultiplicativeNoise((0.8, 1.2), per_channel=True, elementwise=True, p=0.1),
        A.SaltAndPepper((0.001, 0.02), p=0.1),
        A.ImageCompression(quality_range=(30, 90), p=0.15),
        A.RandomFog(fog_coef_range=(0.05, 0.4), p=0.05),
        A.RandomRain(p=0.05),
    ]


def _erase() -> list[Any]:
    return [
        A.CoarseDropout((1, 2), (0.1, 0.28), (0.1, 0.28), p=0.3),
        A.CoarseDropout((1, 3), (12, 24), (12, 24), p=0.2),
        A.GridDropout(0.4, unit_size_range=(24, 48), random_offset=True, p=0.1),
    ]


ALBUMENTATIONS: dict[str, Callable[[], list[Any]]] = {
    "light": _light,
    "medium": _medium,
    "heavy": _heavy,
    "geometric": _geometric,
    "color": _color,
    "noise": _noise,
    "erase": _erase,
    "light + noise": lambda: [*_light(), *_noise()],
}


def _sometimes(p: float, op: Any) -> Any:
    return v2.RandomApply([op], p)


def _v2_light(degrees: float = 10, scale: tuple[float, float] = (0.8, 1.25), light: float = 0.15) -> list[Any]:
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE}
    affine = v2.RandomAffine(degrees, scale=scale, interpolation=v2.InterpolationMode.BILINEAR, fill=fill)
    return [v2.RandomHorizontalFlip(), _sometimes(0.5, affine), _sometimes(0.75, v2.ColorJitter(light, light))]


def _v2_medium() -> list[Any]:
    blur = _sometimes(0.15, v2.GaussianBlur(9, (0.3, 1.2)))
    return [
        v2.RandomVerticalFlip(),
        *_v2_light(30, (0.7, 1.4), 0.2),
        blur,
        _sometimes(0.15, v2.GaussianNoise(0, 0.025)),
    ]


def _v2_heavy() -> list[Any]:
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE}
    return [
        v2.RandomVerticalFlip(),
        *_v2_light(45, (0.6, 1.6), 0.3),
        v2.RandomPerspective(0.15, p=0.15, fill=fill),
        _sometimes(0.2, v2.ElasticTransform(80.0, 8.0, fill=fill)),
        _sometimes(0.51, v2.ColorJitter(saturation=0.4, hue=0.055)),
        _sometimes(0.2, v2.GaussianBlur(13, (0.3, 1.8))),
        _sometimes(0.2, v2.GaussianNoise(0, 0.045)),
        v2.RandomErasing(0.2, (0.005, 0.02)),
    ]


TORCHVISION: dict[str, Callable[[], list[Any]]] = {"light": _v2_light, "medium": _v2_medium, "heavy": _v2_heavy}


def albumentations(name: str) -> Call:
    """A hand-written pipeline of Albumentations."""
    compose = A.Compose(ALBUMENTATIONS[name]())
    return lambda image, mask: compose(image=image, mask=mask)


def torchvision(name: str) -> Call:
    """A hand-written pipeline of torchvision."""
    compose = v2.Compose(TORCHVISION[name]())

    def call(image: Any, mask: Any) -> Any:
        pixels = tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1))
        changed, moved = compose(pixels, tv_tensors.Mask(torch.from_numpy(mask)))
        return np.ascontiguousarray(changed.permute(1, 2, 0).numpy()), moved.numpy()

    return call

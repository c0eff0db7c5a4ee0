"""Presets and samples that the tests of augmentation share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segtrain.augment import OPS, Augmentation, build_augmentation
from segtrain.augment.ops import Stage
from segtrain.windows import Array

FOLDER = Path(__file__).parents[2] / "conf" / "aug"
PRESETS: Mapping[str, Mapping[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))
}
STYLE = ("fourier", "histogram", "distribution")
SHAPES = [name for name, op in OPS.items() if op.stage is Stage.SHAPE]
PIXELS = [name for name, op in OPS.items() if op.stage is Stage.PIXEL and name not in STYLE]
HOLES = [name for name, op in OPS.items() if op.stage is Stage.HOLE]
IGNORE = 255
ODD = (37, 37)
CHANNELS = (1, 3, 4, 6, 13)
# in memory 16 bits are float32, as all that is not 8 bits
DTYPES = ("uint8", "float32")
PLANES: Mapping[str, tuple[int, ...]] = {"exclusive": (), "multilabel": (3,), "many labels": (6,)}


def preset(name: str, crop: Any = ODD, ignore_index: int = IGNORE, **changes: Any) -> Augmentation:
    settings = {k: v for k, v in PRESETS[name].items() if k in ("backend", "train", "policy", "references")}
    return build_augmentation(**{**settings, "crop": crop, "ignore_index": ignore_index, **changes})


def always(op: str | Mapping[str, Any], crop: Any = ODD, backend: str = "albumentations") -> Augmentation:
    config = {"op": op} if isinstance(op, str) else dict(op)
    return Augmentation({"x": {**config, "p": 1.0}}, crop, IGNORE, backend)


def works_on(op: str, channels: int, dtype: str) -> bool:
    return (channels == 3 or not OPS[op].rgb) and (dtype == "uint8" or not OPS[op].uint8)


def sample(
    size: tuple[int, int] = ODD, planes: tuple[int, ...] = (), channels: int = 3, dtype: str = "uint8", seed: int = 0
) -> tuple[Array, Array]:
    """A smooth image with some noise, and a mask of ids 0 to 2; neither may be written to."""
    rng = np.random.default_rng(seed)
    image = np.add.outer(np.linspace(40, 120, size[0]), np.linspace(0, 100, size[1]))[..., None]
    image = image * rng.uniform(0.6, 1.0, channels) + rng.normal(0, 8, (*size, channels))
    image = np.clip(image, 0, 255).astype(np.uint8) if dtype == "uint8" else (image / 255).clip(0, 1).astype(np.float32)
    mask = rng.integers(0, 3 if not planes else 2, (*planes, *size)).astype(np.uint8)
    image.flags.writeable = mask.flags.writeable = False
    return image, mask

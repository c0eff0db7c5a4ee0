"""Augmentation: named ops behind one interface, seeded per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segtrain.augment.ops import OPS
from segtrain.augment.pipeline import Augmentation, Traced
from segtrain.augment.steps import OpConfig

__all__ = ["OPS", "Augmentation", "Traced", "build_augmentation"]


def build_augmentation(
    train: Mapping[str, OpConfig] | None,
    crop: int | Sequence[int],
    ignore_index: int,
    backend: str = "albumentations",
    policy: Mapping[str, Any] | None = None,
    references: str | None = None,
) -> Augmentation:
    """Build the training transform; evaluation is never augmented.

    Args:
        train: named ops; None or empty changes nothing.
        crop: size of the crop, in pixels.
        ignore_index: of the task.
        backend: albumentations or torchvision.
        policy: chooses further ops for each image; None: no policy.
        references: folder of images whose style ops may take over; None: such ops name their own.

    Raises:
        UserError: see Augmentation.
    """
    return Augmentation(train or {}, crop, ignore_index, backend, policy, references)

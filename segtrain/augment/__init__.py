"""Augmentation: named ops behind one interface, seeded per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from segtrain.augment.pipeline import Augmentation, OpConfig, build_op

__all__ = ["Augmentation", "build_augmentation", "build_op"]


def build_augmentation(
    train: Mapping[str, OpConfig] | None, crop: int | Sequence[int], ignore_index: int
) -> Augmentation:
    """Build the training transform; evaluation is never augmented.

    Args:
        train: named ops; None or empty changes nothing.
        crop: size of the crop, in pixels.
        ignore_index: of the task.

    Raises:
        UserError: see Augmentation.
    """
    return Augmentation(train or {}, crop, ignore_index)

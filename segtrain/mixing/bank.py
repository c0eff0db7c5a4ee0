"""Crops that are kept to be pasted from, and where in them the classes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segtrain.task import Task

Boxes = npt.NDArray[np.int64]  # [n, 5]: crop, top, left, height, width


@dataclass(frozen=True)
class Bank:
    """Crops to paste from.

    Args:
        image: [M, C, H, W].
        mask: [M, H, W], or [M, K, H, W] in multilabel.
        boxes: of each class the crops that hold it, each with the box around its pixels; on the host.
    """

    image: Tensor
    mask: Tensor
    boxes: Mapping[int, Boxes]

    def to(self, device: torch.device) -> Bank:
        """The same, with its pixels on the device."""
        return replace(self, image=self.image.to(device), mask=self.mask.to(device))


def build_bank(image: Tensor, mask: Tensor, task: Task, classes: Sequence[int]) -> Bank:
    """Find the classes in crops.

    Args:
        image: [M, C, H, W], on the host.
        mask: their ids.
        task: of the ids.
        classes: that are looked for: ids, or planes in multilabel.
    """
    planes = {label: class_plane(mask, task, label).numpy() for label in classes}
    return Bank(image, mask, {label: _boxes(plane) for label, plane in planes.items() if plane.any()})


def class_plane(mask: Tensor, task: Task, label: int) -> Tensor:
    """Where a class is, bool [M, H, W]."""
    return mask[:, label] == 1 if task.mode == "multilabel" else mask == label


def _boxes(plane: npt.NDArray[np.bool_]) -> Boxes:
    """The box around the true pixels of each crop that has some."""
    found = []
    for crop in np.flatnonzero(plane.any((1, 2))):
        rows, columns = (np.flatnonzero(plane[crop].any(axis)) for axis in (1, 0))
        found.append([crop, rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1])
    return np.array(found, np.int64)

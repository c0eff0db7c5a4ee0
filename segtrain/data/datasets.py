"""A split as a torch data set: read, transform by the sample's own seed, collate channels-last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segtrain.data.source import Array, Examples
from segtrain.seeds import derive
from segtrain.task import Batch

# (image [H, W, C], mask [H, W] or [K, H, W], seed) -> the same, changed; equal seeds give equal results
Transform = Callable[[Array, Array, int], tuple[Array, Array]]
Sample = dict[str, Any]


class SegmentationDataset(Dataset[Sample]):
    """What sample `index` of epoch `epoch` looks like depends on (seed, epoch, index) and on nothing else.

    Args:
        examples: the labelled images of one split.
        transform: applied with the sample's seed; None leaves images as they are.
        seed: of the run.
    """

    def __init__(self, examples: Examples, transform: Transform | None = None, seed: int = 0) -> None:
        self.examples = examples
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.examples.ids)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        image, mask = self.examples.read(index)
        if self.transform is not None:
            image, mask = self.transform(image, mask, derive(self.seed, "aug", epoch, index))
        return {"image": image, "mask": mask, "id": self.examples.ids[index]}


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack HWC arrays and view them as [N, C, H, W], so that the batch arrives channels-last in memory."""
    return {
        "image": _stack([sample["image"] for sample in samples]).permute(0, 3, 1, 2),
        "mask": _stack([sample["mask"] for sample in samples]),
        "id": [sample["id"] for sample in samples],
    }


def _stack(arrays: Sequence[Array]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))

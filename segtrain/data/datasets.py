"""A split as a torch data set: crops that are changed by the sample's own seeds, or all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segtrain.data.crops import Crops
from segtrain.data.sampler import Key, Part
from segtrain.data.source import Examples
from segtrain.seeds import derive
from segtrain.task import Batch
from segtrain.windows import Array, Tile

# (image [H, W, C], mask [H, W] or [K, H, W], seed) -> the same, changed; equal seeds give equal results
Transform = Callable[[Array, Array, int], tuple[Array, Array]]
Sample = dict[str, Any]


class SegmentationDataset(Dataset[Sample]):
    """The samples of a training set.

    What a sample looks like depends on the seed and its key (epoch, image, occurrence), and on nothing else.

    Args:
        examples: the labelled images of one split.
        transform: applied to the crop with the sample's seed; None leaves it as it is.
        seed: of the run.
        crops: which part of an image a sample is; None: all of it.
    """

    def __init__(
        self, examples: Examples, transform: Transform | None = None, seed: int = 0, crops: Crops | None = None
    ) -> None:
        self.examples = examples
        self.transform = transform
        self.seed = seed
        self.crops = crops

    def __len__(self) -> int:
        return len(self.examples.ids)

    def __getitem__(self, key: Key) -> Sample:
        image, mask, forced = self.read(key)
        if self.transform is not None:
            image, mask = self.transform(image, mask, self.transform_seed(key))
        return {"image": image, "mask": mask, "id": self.examples.ids[key.image], "forced": forced}

    def transform_seed(self, key: Key) -> int:
        """What the transform of a sample depends on."""
        return derive(self.seed, "aug", *key)

    def read(self, key: Key) -> tuple[Array, Array, bool]:
        """A sample before the transform: image, mask, and whether the crop was placed around a pixel of a class."""
        if self.crops is None:
            return *self.examples.read(key.image), False
        crop = self.crops.choose(self.examples, key.image, derive(self.seed, "crop", *key))
        window = self.crops.window(crop, self.examples.sizes[key.image])
        return *self.crops.fill(*self.examples.read(key.image, window), crop), crop.forced


class EvaluationDataset(Dataset[Sample]):
    """The images of a split as they are, whole or in tiles; what a tile shows beside its core is ignored.

    Args:
        examples: the labelled images.
        ignore_index: id of pixels that do not count.
    """

    def __init__(self, examples: Examples, ignore_index: int) -> None:
        self.examples = examples
        self.ignore_index = ignore_index

    def __len__(self) -> int:
        return len(self.examples.ids)

    def __getitem__(self, part: Part) -> Sample:
        index, tile = part
        image, mask = self.examples.read(index, None if tile is None else tile.window)
        sample: Sample = {"image": image, "mask": mask, "id": self.examples.ids[index], "forced": False}
        return sample if tile is None else sample | {"mask": self._counted(mask, tile), "tile": tile}

    def _counted(self, mask: Array, tile: Tile) -> Array:
        """The mask with a label within the core alone."""
        kind = np.result_type(mask.dtype, np.min_scalar_type(self.ignore_index))  # -1 is no uint8
        counted, inner = np.full(mask.shape, self.ignore_index, kind), (..., *tile.inner.slices)
        counted[inner] = mask[inner]
        return counted


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack HWC arrays and view them as [N, C, H, W], so that the batch arrives channels-last in memory."""
    return {
        "image": _stack([sample["image"] for sample in samples]).permute(0, 3, 1, 2),
        "mask": _stack([sample["mask"] for sample in samples]),
        "id": [sample["id"] for sample in samples],
        "forced": [sample["forced"] for sample in samples],
        "tiles": [sample["tile"] for sample in samples if "tile" in sample],
    }


def _stack(arrays: Sequence[Array]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))

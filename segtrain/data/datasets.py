"""A split as a torch data set: crops that are changed by the sample's own seeds, or all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segtrain.data.crops import Crop, Crops
from segtrain.data.sampler import Key, Part
from segtrain.data.source import Examples
from segtrain.seeds import derive
from segtrain.task import Batch
from segtrain.windows import Array, Tile, Window

Sample = dict[str, Any]


class PlannedChange(Protocol):
    """What a transform does to one sample."""

    @property
    def reach(self) -> Window:
        """The window that is looked at, by the crop's own rows and columns; it may lie outside of crop and image."""
        ...

    @property
    def ops(self) -> Sequence[str]:
        """A few words on each thing that is done."""
        ...

    def __call__(self, image: Array, mask: Array, corner: tuple[int, int] = (0, 0)) -> tuple[Array, Array]:
        """Do it to the crop, or to what there is of `reach`, whose first pixel lies at this corner of the crop."""
        ...


@runtime_checkable
class Planning(Protocol):
    """A transform that decides what it does before the sample is read, and may look beyond the crop."""

    def plan(self, seed: int) -> PlannedChange:
        """What is done to the sample with this seed."""
        ...

    def __call__(self, image: Array, mask: Array, seed: int) -> tuple[Array, Array]:
        """Do it to a crop."""
        ...


# (image [H, W, C], mask [H, W] or [K, H, W], seed) -> the same, changed; equal seeds give equal results
Transform = Callable[[Array, Array, int], tuple[Array, Array]] | Planning


class Changed(NamedTuple):
    """A sample after the transform.

    Args:
        image: [H, W, C].
        mask: [(K,) H, W].
        forced: whether its crop was placed around a pixel of a class.
        planned: what was done, where the transform says so.
    """

    image: Array
    mask: Array
    forced: bool
    planned: PlannedChange | None = None

    @property
    def ops(self) -> Sequence[str]:
        """A few words on what was done; only pictures ask for them."""
        return () if self.planned is None else self.planned.ops


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
        changed = self.change(key)
        name = self.examples.ids[key.image]
        return {"image": changed.image, "mask": changed.mask, "id": name, "forced": changed.forced}

    def transform_seed(self, key: Key) -> int:
        """What the transform of a sample depends on."""
        return derive(self.seed, "aug", *key)

    def change(self, key: Key) -> Changed:
        """A sample after the transform."""
        seed = self.transform_seed(key)
        if isinstance(self.transform, Planning) and self.crops is not None:
            planned, crop, corner = self.transform.plan(seed), self._crop(key, self.crops), (0, 0)
            if planned.reach == Window(0, 0, *self.crops.size):
                image, mask = self._shown(key, crop, self.crops)
            else:
                window = self.crops.around(crop, planned.reach, self.examples.sizes[key.image])
                corner = window.top - crop.top, window.left - crop.left
                image, mask = self.examples.read(key.image, window)
            return Changed(*planned(image, mask, corner), crop.forced, planned)
        image, mask, forced = self.read(key)
        if self.transform is not None:
            image, mask = self.transform(image, mask, seed)
        return Changed(image, mask, forced)

    def read(self, key: Key) -> tuple[Array, Array, bool]:
        """A sample before the transform: image, mask, and whether the crop was placed around a pixel of a class."""
        if self.crops is None:
            return *self.examples.read(key.image), False
        crop = self._crop(key, self.crops)
        return *self._shown(key, crop, self.crops), crop.forced

    def _crop(self, key: Key, crops: Crops) -> Crop:
        return crops.choose(self.examples, key.image, derive(self.seed, "crop", *key))

    def _shown(self, key: Key, crop: Crop, crops: Crops) -> tuple[Array, Array]:
        """The crop, whole."""
        window = crops.window(crop, self.examples.sizes[key.image])
        return crops.fill(*self.examples.read(key.image, window), crop)


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

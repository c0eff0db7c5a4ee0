"""Training samples on their way to the net: the crop, what augmentation makes of it, what is left after mixing.

They are those of a training, bit for bit: the same data set with the same keys, and where there is one its own batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import Tensor

from segtrain.data import SegmentationDataset, collate
from segtrain.data.datasets import Planning, Sample
from segtrain.data.sampler import Key
from segtrain.draw import Ids
from segtrain.task import Batch
from segtrain.windows import Array

SAME = 0.01  # of the range of values: what rounding to few bits changes


@dataclass(frozen=True)
class Stages:
    """A sample from its crop to what the net gets.

    Args:
        name: of its image.
        original: the crop, [H, W, C].
        changed: the crop after augmentation.
        image: what the net gets: changed, unless images are mixed.
        masks: of the image, each [(K,) H, W] with its share of the loss; several where images are blended.
        ops: a few words on what was applied.
    """

    name: str
    original: Array
    changed: Array
    image: Array
    masks: Sequence[tuple[Ids, float]]
    ops: Sequence[str]


def is_traced(dataset: Any) -> bool:
    """Whether it can be told what was done to the samples of a data set."""
    return isinstance(dataset, SegmentationDataset) and isinstance(dataset.transform, Planning)


def trace_samples(dataset: SegmentationDataset, keys: Iterable[Key]) -> list[Sample]:
    """The samples with these keys, as the data set gives them, with their "original" image and the "ops" applied."""
    samples: list[Sample] = []
    for key in keys:
        changed, (original, _, _) = dataset.change(key), dataset.read(key)
        own: Sample = {"image": changed.image, "mask": changed.mask, "id": dataset.examples.ids[key.image]}
        samples.append(own | {"forced": changed.forced, "original": original, "ops": changed.ops})
    return samples


def stages(samples: Sequence[Sample], batch: Batch | None = None, mixed: str = "mixed") -> list[Stages]:
    """All that was done to samples.

    Args:
        samples: as trace_samples gives them.
        batch: what the net gets, which begins with these samples; None: the samples.
        mixed: what to say of a sample that has become another one in the batch.
    """
    batch = collate(samples) if batch is None else batch
    return [_stages(sample, batch, place, mixed) for place, sample in enumerate(samples)]


def _stages(sample: Sample, batch: Batch, place: int, mixed: str) -> Stages:
    image = _host_image(batch["image"][place], sample["image"].dtype)
    mask, second, ops = _host(batch["mask"][place]), cast(Any, batch).get("second"), list(sample["ops"])
    other = mask if second is None else _host(second.mask[place])
    masks = [(mask, 1.0)]
    if not np.array_equal(mask, other):
        share = float(second.lam)
        masks = [(mask, share), (other, 1 - share)]
        ops.append(f"{mixed} {share:.2f} + {1 - share:.2f}")
    elif not _equal(image, sample["image"]) or not np.array_equal(mask, sample["mask"]):
        ops.append(mixed)
    return Stages(sample["id"], sample["original"], sample["image"], image, masks, ops)


def _host(values: Tensor) -> Any:
    return values.cpu().numpy()


def _host_image(image: Tensor, dtype: Any) -> Array:
    """An image of a batch as [H, W, C] of this type: where images are blended, 8 bits have become floats in [0, 1]."""
    pixels = image.permute(1, 2, 0)
    if dtype == np.uint8 and pixels.is_floating_point():
        pixels = (pixels.float() * 255).round().byte()
    return cast(Array, _host(pixels.float() if pixels.is_floating_point() else pixels))


def _equal(one: Array, other: Array) -> bool:
    whole = 255.0 if one.dtype == np.uint8 else 1.0
    return bool(np.abs(one.astype(np.float32) - other.astype(np.float32)).max() <= SAME * whole)

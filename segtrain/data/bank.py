"""A bank of training crops, each around a pixel of a class, so that rare classes are at hand in every step.

Crop k is of class k modulo their number and depends on (seed, "bank", k) alone, so that all processes, and a training
that goes on, have the same bank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from segtrain.data.crops import Crops
from segtrain.data.datasets import Sample, SegmentationDataset, Transform, collate
from segtrain.data.sampler import Key
from segtrain.data.source import DataSource
from segtrain.errors import UserError
from segtrain.seeds import derive
from segtrain.task import Batch


def bank_crops(
    source: DataSource, transform: Transform, seed: int, size: tuple[int, int], classes: Sequence[int], number: int
) -> Batch:
    """Crops of training images, changed as those of a training are, which may lose some of a class.

    Args:
        source: the data, opened with its places known.
        transform: of training crops.
        seed: of the run.
        size: (height, width) of a crop.
        classes: ids, or planes in multilabel; each gets its share of the crops, those that no image holds none.
        number: of crops.

    Raises:
        UserError: no image holds any of the classes.
    """
    examples, ignored = source.splits["train"], source.task.ignore_index
    samples: list[Sample] = []
    for index in range(number):
        label, own = classes[index % len(classes)], derive(seed, "bank", index)
        image = _image_with(examples.places, len(examples.ids), label, own)
        if image is not None:
            crops = Crops(size, ignored, 1.0, (label,))
            samples.append(SegmentationDataset(examples, transform, own, crops)[Key(0, image)])
    if not samples:
        raise UserError(
            f"mix=copy_paste: {source.name} does not say where its classes are; choose another mix, or say data.bank=1"
        )
    return collate(samples)


def _image_with(places: Callable[[int], np.ndarray], images: int, label: int, seed: int) -> int | None:
    """A random one of the images that hold a class; None where none does."""
    order = np.random.default_rng(seed).permutation(images).tolist()
    return next((image for image in order if (places(image)[:, 0] == label).any()), None)

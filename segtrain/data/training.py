"""The samples of a training and their order: for the loaders, and for all that shows what they load."""

from __future__ import annotations

from collections.abc import Iterator

from segtrain.data.crops import training_crops
from segtrain.data.datasets import SegmentationDataset, Transform
from segtrain.data.plan import EpochPlan
from segtrain.data.sampler import Key, ResumableSampler
from segtrain.data.source import DataSource


def training_set(
    source: DataSource, transform: Transform | None, seed: int, crop: tuple[int, int]
) -> SegmentationDataset:
    """The training split in crops, changed by a transform.

    Args:
        source: the data.
        transform: of the crops; None leaves them as they are.
        seed: of the run.
        crop: (height, width) in pixels.
    """
    return SegmentationDataset(
        source.splits["train"], transform, seed, training_crops(crop, source.task, source.sampling)
    )


def training_order(plan: EpochPlan, seed: int, rank: int = 0, world_size: int = 1) -> ResumableSampler:
    """Which sample comes when.

    Args:
        plan: how often each image comes.
        seed: of the run.
        rank: see ResumableSampler.
        world_size: see ResumableSampler.
    """
    return ResumableSampler(plan.length, seed, rank, world_size, plan.proportions)


def drops_last(order: ResumableSampler, batch_size: int) -> bool:
    """Whether an incomplete last batch, whose images would weigh more, is left out: where it is not the only one."""
    return len(order) >= batch_size


def training_batches(order: ResumableSampler, batch_size: int) -> Iterator[list[Key]]:
    """The samples of each batch of an epoch, as a loader with this order makes them."""
    keys = list(order)
    end = len(keys) - (len(keys) % batch_size if drops_last(order, batch_size) else 0)
    return (keys[start : start + batch_size] for start in range(0, end, batch_size))

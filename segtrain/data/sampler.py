"""Which images come when: a training order that can be resumed anywhere, evaluation batches of one size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from segtrain.seeds import derive

Key = tuple[int, int]  # (epoch, index): what SegmentationDataset takes


class ResumableSampler(Sampler[Key]):
    """A new random order each epoch, a function of (seed, epoch); can start in the middle of one.

    Args:
        length: number of images.
        seed: of the run.
        rank: of this process; each takes every world_size-th image of the order.
        world_size: number of processes; the remainder of the division is left out of this epoch.
    """

    def __init__(self, length: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.seed, self.rank, self.world_size = length, seed, rank, world_size
        self.epoch, self.consumed = 0, 0

    def start_at(self, epoch: int, consumed: int) -> None:
        """Continue an interrupted epoch after `consumed` of this process's samples."""
        self.epoch, self.consumed = epoch, consumed

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; Lightning calls this at each, also at the one that is being continued."""
        if epoch != self.epoch:
            self.epoch, self.consumed = epoch, 0

    def __len__(self) -> int:
        """Of a whole epoch, also while one is being continued: progress is counted from its start."""
        return self.length // self.world_size

    def __iter__(self) -> Iterator[Key]:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.epoch))
        order = torch.randperm(self.length, generator=generator)[: len(self) * self.world_size]
        mine = order[self.rank :: self.world_size].tolist()
        return iter([(self.epoch, index) for index in mine[self.consumed :]])


class EvaluationBatches(Sampler[list[Key]]):
    """Batches of images of one size, each image exactly once over all processes.

    Images are never padded to each other (it would change their predictions), and no sample is repeated to
    even out the processes (it would bias the scores).

    Args:
        sizes: (height, width) of each image.
        pixels: most pixels in a batch; an image larger than that is a batch of its own.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], pixels: int, rank: int = 0, world_size: int = 1) -> None:
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index in range(rank, len(sizes), world_size):
            groups[sizes[index][0], sizes[index][1]].append(index)
        self.batches: list[list[int]] = []
        for (height, width), members in groups.items():
            step = max(1, pixels // (height * width))
            self.batches += [members[start : start + step] for start in range(0, len(members), step)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter([[(0, index) for index in batch] for batch in self.batches])

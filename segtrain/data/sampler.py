"""Which images come when: a training order that can be resumed anywhere, evaluation batches of one size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from segtrain.seeds import derive
from segtrain.windows import Size, Tile, Tiling

ONE = 1 << 32  # how often an image comes, in whole numbers: sums are exact, and equal shares are exactly equal

UNCUT = Tiling(None)


class Key(NamedTuple):
    """A sample: what SegmentationDataset takes.

    Args:
        epoch: in which it comes.
        image: its index.
        occurrence: which time it comes in the epoch, so that it looks different each time.
    """

    epoch: int
    image: int
    occurrence: int = 0


class ResumableSampler(Sampler[Key]):
    """A new random order each epoch, a function of (seed, epoch); can start in the middle of one.

    An image whose share of an epoch is 2.3 times comes two or three times, with chances that make it 2.3 on average
    (systematic sampling). So each epoch has the same length, and shares are met more closely than by independent
    draws, which would leave a third of the images out even where all shares are equal.

    Args:
        length: samples of an epoch.
        seed: of the run.
        rank: of this process; each takes every world_size-th image of the order.
        world_size: number of processes; the remainder of the division is left out of this epoch.
        proportions: how often each image comes, relative to the others, > 0; None: each of `length` images once.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        proportions: Sequence[float] | None = None,
    ) -> None:
        self.length, self.seed, self.rank, self.world_size = length, seed, rank, world_size
        self._shares = None if proportions is None else exact_shares(proportions, length)
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
        mine = order[self.rank :: self.world_size][self.consumed :]
        if self._shares is None:
            return (Key(self.epoch, index) for index in mine.tolist())
        times = draw_times(self._shares, derive(self.seed, "repeat", self.epoch))
        images = torch.arange(len(times)).repeat_interleave(times)
        occurrences = torch.arange(self.length) - (times.cumsum(0) - times).repeat_interleave(times)
        return (Key(self.epoch, *pair) for pair in zip(images[mine].tolist(), occurrences[mine].tolist(), strict=True))


def exact_shares(proportions: Sequence[float], length: int) -> Tensor:
    """How often each image comes on average, in units of 1 / ONE, int64; the sum is exactly `length`."""
    wanted = torch.tensor(proportions, dtype=torch.float64)
    shares = (wanted / wanted.sum() * (length * ONE)).round().long()
    shares[shares.argmax()] += length * ONE - shares.sum()
    return shares


def draw_times(shares: Tensor, seed: int) -> Tensor:
    """How often each image comes in one epoch, int64: its share rounded down or up, with the share as its mean.

    Shares are laid end to end, in random order, on a line with a mark at each whole number plus one random number:
    an image comes as often as there are marks on its piece.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(shares), generator=generator)
    first = torch.randint(ONE, (1,), generator=generator)
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), shares[order].cumsum(0)]).add(first) // ONE
    times = torch.empty_like(shares)
    times[order] = ends.diff()
    return times


class Part(NamedTuple):
    """What EvaluationDataset takes: an image, or a tile of one that does not go through the net as a whole."""

    image: int
    tile: Tile | None = None


class EvaluationBatches(Sampler[list[Part]]):
    """Batches of images of one size, or of tiles of one image; each pixel counts exactly once over all processes.

    Images are never padded to each other (it would change their predictions), and no sample is repeated to
    even out the processes (it would bias the scores). The tiles of an image come one after another, in order.

    Args:
        sizes: (height, width) of each image.
        pixels: most pixels in a batch; an image or a tile larger than that is a batch of its own.
        rank: of this process.
        world_size: number of processes.
        tiling: which images are cut.
    """

    def __init__(
        self,
        sizes: Sequence[Size],
        pixels: int,
        rank: int = 0,
        world_size: int = 1,
        tiling: Tiling = UNCUT,
    ) -> None:
        groups: dict[Size, list[Part]] = defaultdict(list)
        cut: list[tuple[Size, list[Part]]] = []
        for index in range(rank, len(sizes), world_size):
            size = (sizes[index][0], sizes[index][1])
            tiles = tiling.tiles(size)
            if len(tiles) == 1:
                groups[size].append(Part(index))
                continue
            for seen, members in groupby(tiles, lambda tile: (tile.window.height, tile.window.width)):
                cut.append((seen, [Part(index, tile) for tile in members]))
        self.batches: list[list[Part]] = []
        for (height, width), parts in [*groups.items(), *cut]:
            step = max(1, pixels // (height * width))
            self.batches += [parts[start : start + step] for start in range(0, len(parts), step)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Part]]:
        return iter(self.batches)

"""Loaders for the splits of a DataSource: resumable training order, exact evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from segtrain import checks
from segtrain.data import DataSource, EvaluationBatches, EvaluationDataset, ResumableSampler, collate
from segtrain.data.datasets import Transform
from segtrain.data.plan import EpochPlan, plan_training
from segtrain.data.training import drops_last, training_order, training_set
from segtrain.errors import UserError
from segtrain.loading import Loader, Watched, choose_workers, start_worker, usable_cores
from segtrain.mixed import make_bank, mix_step
from segtrain.mixing import Mixing
from segtrain.mixing.bank import Bank
from segtrain.seeds import derive
from segtrain.task import Batch
from segtrain.windows import Tiling

EVALUATION_BATCHES = 2  # evaluation keeps no gradients: so many times the pixels of a training batch fit


class SegmentationDataModule(LightningDataModule):
    """Args:
        source: the data.
        transform: of training crops.
        seed: of the run.
        batch_size: training images per step and process.
        crop: (height, width) of a training crop; evaluation batches hold at most 2 x batch_size times its pixels.
        num_workers: loading processes, or "auto": none on a CPU, on a GPU as many as are worth it (see tune).
        pin_memory: page-locked batches for asynchronous copies to a GPU.
        tiling: which images are evaluated in tiles.
        mixing: of training batches; None: none.
        timeout: seconds that a loading process may take for a sample.
        passes: over the training images in an epoch.

    Raises:
        UserError: a value out of range.
    """

    def __init__(
        self,
        source: DataSource,
        transform: Transform,
        seed: int,
        batch_size: int,
        crop: tuple[int, int],
        num_workers: int | str = "auto",
        pin_memory: bool = False,
        tiling: Tiling | None = None,
        mixing: Mixing | None = None,
        timeout: float = 600,
        passes: int = 1,
    ) -> None:
        super().__init__()
        self.source = source
        self.transform = transform
        self.seed = seed
        self.crop = crop
        self.set_batch_size(batch_size)
        self.auto = num_workers == "auto"
        # of auto until a training tunes it: two, as evaluation uses at most, where there is a GPU to feed
        few = min(2, usable_cores() - 1) if pin_memory else 0
        self.workers = few if self.auto else checks.whole("num_workers", num_workers, 0, word="auto")
        self.pin_memory = pin_memory
        self.tiling = tiling or Tiling()
        self.mixing = mixing
        self.passes = checks.whole("passes", passes, 1)
        self.timeout = checks.number("worker_timeout", timeout, above=0)
        self.why = ""  # there are so many loading processes, see tune
        self.bank: Bank | None = None
        self.test_split = "test"  # what trainer.test scores

    def set_batch_size(self, batch_size: int) -> None:
        """Take other batches from now on.

        Raises:
            UserError: not a whole number >= 1.
        """
        self.batch_size = checks.whole("batch_size", batch_size, 1)
        self.pixels = EVALUATION_BATCHES * batch_size * math.prod(self.crop)

    def setup(self, stage: str) -> None:
        """Make the bank that copy_paste takes from."""
        if stage == "fit" and self.mixing is not None:
            self.bank = make_bank(self.mixing, self.source, self.transform, self.seed, self.crop)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled by (seed, epoch); continues in the middle of an epoch where the trainer was restored to one."""
        dataset = training_set(self.source, self.transform, self.seed, self.crop)
        sampler = training_order(self.plan, self.seed, *self._ranks())
        sampler.start_at(*self._position())
        drop_last = drops_last(sampler, self.batch_size)
        loading = self._loading(self.workers)
        return Loader(self._watched(dataset), self.batch_size, sampler=sampler, drop_last=drop_last, **loading)

    def tune(self) -> None:
        """With num_workers=auto, choose the number of loading processes."""
        if not self.auto:
            self.why = f"{self.workers} loading process{'es' * (self.workers != 1)}, as asked for"
        elif not self.pin_memory:
            self.why = "no loading processes: on a CPU training uses all cores"
        else:
            self.workers, self.why = choose_workers(self._trial, usable_cores())

    def _trial(self, workers: int) -> Iterator[Any]:
        """Training batches of no epoch that is trained, so many processes loading."""
        dataset = training_set(self.source, self.transform, derive(self.seed, "trial"), self.crop)
        sampler = ResumableSampler(self.plan.length, derive(self.seed, "trial", workers))
        loading = {**self._loading(workers), "persistent_workers": False}
        while True:
            yield from Loader(dataset, self.batch_size, sampler=sampler, **loading)

    def train_batches(self) -> int:
        """Batches of an epoch, of each process; an incomplete one, whose images would weigh more, is left out."""
        _, world = self._ranks()
        return max(1, self.plan.length // world // self.batch_size)

    @cached_property
    def plan(self) -> EpochPlan:
        """How often each training image comes."""
        return plan_training(self.source, self.passes)

    def check_shares(self, processes: int, splits: Iterable[str]) -> None:
        """Refuse splits of which a process would get nothing: the others would wait for it without end.

        Raises:
            UserError: fewer images than processes.
        """
        for split in splits:
            images = len(self.source.splits[split].ids)
            if images < processes:
                raise UserError(
                    f"the {images} {split} images cannot be shared by {processes} processes; "
                    "lower trainer.devices or trainer.num_nodes"
                )

    def val_dataloader(self) -> DataLoader[Any]:
        """All images, each exactly once; large ones in tiles."""
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """All images, each exactly once; large ones in tiles."""
        return self._evaluation(self.test_split)

    def _evaluation(self, split: str) -> DataLoader[Any]:
        dataset = EvaluationDataset(self.source.splits[split], self.source.task.ignore_index)
        batches = EvaluationBatches(dataset.examples.sizes, self.pixels, *self._ranks(), self.tiling)
        return Loader(self._watched(dataset), batch_sampler=batches, **self._loading(min(self.workers, 2)))

    def _watched(self, dataset: Any) -> Any:
        return Watched(dataset, self.timeout) if self.workers else dataset

    def _loading(self, workers: int) -> dict[str, Any]:
        return {
            "num_workers": workers,
            "collate_fn": collate,
            "pin_memory": self.pin_memory,
            "persistent_workers": workers > 0,
            "worker_init_fn": start_worker,
        }

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _position(self) -> tuple[int, int]:
        """(epoch, samples of this process already consumed in it), from the restored progress of the trainer."""
        if self.trainer is None:
            return 0, 0
        loop: Any = self.trainer.fit_loop
        progress = loop.epoch_loop.batch_progress
        # `processed`: an interrupted save may not have counted its batch as completed yet
        batches = 0 if progress.is_last_batch else progress.current.processed
        return int(loop.epoch_progress.current.processed), int(batches) * self.batch_size

    def transfer_batch_to_device(self, batch: Batch, device: Any, dataloader_idx: int) -> Batch:
        """Image and mask; without waiting where the memory is pinned (elsewhere it may be reused too early)."""
        image, mask = (t.to(device, non_blocking=self.pin_memory) for t in (batch["image"], batch["mask"]))
        return {**batch, "image": image, "mask": mask}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mix a training batch, so that all that follows, pictures and counts too, has what the net gets."""
        trainer: Any = self.trainer
        if self.mixing is None or trainer is None or not trainer.training:
            return batch
        if self.bank is not None:
            self.bank = self.bank.to(batch["image"].device)
        place = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        step = (trainer.current_epoch, place, trainer.global_rank)
        return mix_step(self.mixing, batch, self.bank, self.seed, step, trainer.max_epochs)

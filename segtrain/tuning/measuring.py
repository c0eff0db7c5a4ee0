"""lr=auto and batch_size=auto: measured before a training, on copies of its net and loss.

The run is what it would be with the found numbers given: its net, its random numbers and its data are left as they are,
and it keeps the numbers in place of `auto`, so that it is continued and made again with them.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch.nn.modules.batchnorm import _BatchNorm

from segtrain import callbacks as cb
from segtrain.assemble import Parts, Request
from segtrain.build import build, plain
from segtrain.callbacks.freezing import ALWAYS
from segtrain.causes import failures_in_words
from segtrain.checkpoint import KEY, understood
from segtrain.determinism import random_batch
from segtrain.errors import UserError
from segtrain.losses import Combo
from segtrain.models.scales import as_scales
from segtrain.module import SegmentationModule
from segtrain.resume import Resume
from segtrain.secrets import masked
from segtrain.signals import Signals
from segtrain.task import Batch
from segtrain.trainer import build_trainer
from segtrain.tuning.auto import filled, known, open_settings
from segtrain.tuning.lr_range import HIGH, LOW, RangeTest, draw_range, suggest
from segtrain.tuning.throughput import (
    BACKWARD,
    SHARE,
    NoRoomError,
    batch_sizes,
    choose_batch,
    free_memory,
    kept_bytes,
    timed,
)

PICTURE = "plots/lr_range.png"
ENDLESS = 10**6  # epochs: it ends by its steps, and mixing does not end before


def tune(
    parts: Parts,
    request: Request,
    resume: Resume | None,
    trial: Trainer,
    folder: Path,
    signals: Signals,
    say: Callable[[str], None],
) -> Parts:
    """Put numbers in the place of `auto`: batch size, loading processes, learning rate, each known to those behind it.

    Args:
        parts: with numbers that stand in.
        request: as it was given.
        resume: the run that is continued, whose numbers are taken; None for a new run.
        trial: a trainer of this training; says where and in which precision it runs.
        folder: of the run.
        signals: end it at once.
        say: prints a line.

    Raises:
        UserError: no batch fits into memory, or the loss falls at no learning rate.
    """
    wanted = open_settings(request.config) if resume is None else []
    if resume is not None:
        parts = settled(parts, remembered(request, resume), request.allow)
    if "batch_size" in wanted:
        size, said = find_batch_size(parts, trial)
        _give_back()
        parts = settled(parts, {"batch_size": size}, request.allow)
        say(f"batch  {said}")
    parts.data.tune()
    if "lr" in wanted:
        rate, said = find_lr(parts, folder, signals)
        _give_back()
        parts = settled(parts, {"lr": rate}, request.allow)
        say(f"lr     {said}")
    return parts


def remembered(request: Request, resume: Resume) -> dict[str, Any]:
    """The numbers of the run that is continued."""
    with understood(resume.checkpoint):
        return known(request.config, resume.content[KEY]["config"])


def settled(parts: Parts, numbers: Mapping[str, Any], allow: tuple[str, ...]) -> Parts:
    """The same net, loss and data with these numbers, in what is stored too.

    Args:
        parts: whose module and data take them over.
        numbers: by key; none changes nothing.
        allow: packages whose code the configuration may name.
    """
    if not numbers:
        return parts
    config = filled(parts.config, numbers)
    parts.module.optim = build(config.optim, "optim", allow, "optimizer")
    parts.module.record["config"] = masked(plain(config))
    parts.data.set_batch_size(config.batch_size)
    return replace(parts, config=config)


@contextmanager
def _on_copies(parts: Parts) -> Iterator[SegmentationModule]:
    """A module to do anything with; random numbers go on behind it as if nothing had been."""
    with isolate_rng():
        yield copy.deepcopy(parts.module)


def _give_back() -> None:
    """Free the memory of copies that nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def find_lr(parts: Parts, folder: Path, signals: Signals) -> tuple[float, str]:
    """Make a range test with the training's own batches, augmentation, mixing, precision and clipping.

    Args:
        parts: of the training.
        folder: of the run, for the picture.
        signals: end it at once.

    Returns:
        The learning rate, and how it was found, in words.

    Raises:
        UserError: the loss fell at none.
    """
    config = parts.config
    with _on_copies(parts) as module:
        if isinstance(module.loss, Combo):
            module.loss.ramps = {}  # the weights of the first epoch, however many epochs of few images it takes
        optim = module.optim = copy.copy(module.optim)
        optim.lr, optim.schedule, optim.warmup, optim.scaling = LOW, "constant", 0.0, "none"
        test = RangeTest(signals)
        around: list[Callback] = [cb.StepSeeds(config.seed), test]
        around += [] if config.freeze_encoder == 0 else [cb.FreezeEncoder(ALWAYS)]
        trainer = build_trainer(plain(config.trainer), ENDLESS, around, [], config.deterministic)
        trainer.limit_val_batches = 0
        with failures_in_words(trainer, "train"):
            trainer.fit(module, datamodule=copy.copy(parts.data))
    found = suggest(test.rates, test.losses)
    draw_range(test.rates, test.losses, None if found is None else found[0], folder / PICTURE)
    if found is None:
        raise UserError(
            f"lr=auto: the loss falls at no learning rate from {LOW:g} to {HIGH:g} ({folder / PICTURE} shows it); "
            "give lr a number, such as lr=.002"
        )
    rate, why = found
    return rate, f"{f'{rate:g}'.removeprefix('0')}, {why} (range test of {len(test.losses)} steps; {PICTURE})"


def find_batch_size(parts: Parts, trial: Trainer) -> tuple[int, str]:
    """Time steps of rising batch size, on random images.

    Args:
        parts: of the training.
        trial: says where and in which precision it runs.

    Returns:
        The size, and what was measured, in words.

    Raises:
        UserError: there is no room for the smallest.
    """
    least = max(1 if parts.data.mixing is None else parts.data.mixing.kind.least, smallest_batch(parts.module.net))
    sizes = batch_sizes(least, len(parts.source.splits["train"].ids))
    with _on_copies(parts) as module:
        device, half = trial.strategy.root_device, str(trial.precision) == "bf16-mixed"
        size, speeds = choose_batch(sizes, _Trial(module.to(device).train(), parts, device, half).rate)
    tried = ", ".join(f"{speed:.3g} with {number}" for number, speed in speeds.items())
    return size, f"{size}, the smallest within 5 % of the fastest (images a second: {tried})"


def smallest_batch(net: torch.nn.Module) -> int:
    """2 with batch norm, which has no variance over one image of one pixel, as at the bottom of some nets."""
    return 2 if any(isinstance(layer, _BatchNorm) for layer in net.modules()) else 1


class _Trial:
    """Training steps of any batch size."""

    def __init__(self, module: SegmentationModule, parts: Parts, device: torch.device, half: bool) -> None:
        shape = (parts.source.channels, *parts.data.crop)
        self.image, _, self.target = random_batch(module.task, shape, parts.source.dtype, device)
        self.module, self.device, self.half = module, device, half
        self.optimizer = module.optim.optimizer(module.net)
        self.bytes_per_image = 0.0

    def rate(self, size: int) -> float:
        """Images a second.

        Raises:
            NoRoomError: there is too little memory, on a CPU, where the system would end the process.
        """
        if self.device.type == "cpu":
            self._check_room(size)
        repeats = -(-size // len(self.image))
        image, target = (t.repeat(repeats, *[1] * (t.ndim - 1))[:size] for t in (self.image, self.target))
        return size / timed(lambda: self._step(image, target), self.device)

    def _check_room(self, size: int) -> None:
        if not self.bytes_per_image:
            self.bytes_per_image = kept_bytes(lambda: self._loss(self.image, self.target)) / len(self.image)
        if BACKWARD * self.bytes_per_image * size > SHARE * free_memory():
            raise NoRoomError

    def _loss(self, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        batch = Batch(image=image, mask=target, id=[], forced=[], tiles=[])
        with torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext():
            return self.module.loss_of_scales(as_scales(self.module.net(image)), batch)[0]

    def _step(self, image: torch.Tensor, target: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        self._loss(image, target).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

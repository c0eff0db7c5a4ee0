"""What a training chooses for speed on this machine, and why: three lines, and a part of summary.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer

from segtrain import compilation, hardware
from segtrain.assemble import Parts
from segtrain.determinism import random_batch

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Chosen:
    """What was chosen.

    Args:
        checked: whether bfloat16 was chosen here, so that it is to be checked.
        compiled: whether torch.compile is used.
        values: what was chosen, for summary.json.
        why: by subject, in words.
    """

    checked: bool
    compiled: bool
    values: dict[str, Any]
    why: dict[str, str]

    def in_words(self) -> str:
        """A line for each subject."""
        return "\n".join(f"{subject:6} {said}" for subject, said in self.why.items())

    def as_dict(self) -> dict[str, Any]:
        """For summary.json."""
        return self.values | {"compile": self.compiled, "why": self.why}


def choose(parts: Parts, trial: Trainer) -> Chosen:
    """What is used.

    Args:
        parts: of the training, with its loading processes chosen.
        trial: a trainer as it will be.
    """
    config, device, precision = parts.config, trial.strategy.root_device, str(trial.precision)
    threads = torch.get_num_threads()
    given = config.trainer.precision != "auto"
    half = precision == hardware.BFLOAT16
    compiled, reason = False, "as asked for"
    if config.compile is not False:
        image = random_batch(parts.source.task, (parts.source.channels, *parts.data.crop), parts.source.dtype, CPU)[0]
        per_image = compilation.operations(parts.module.net, image[:1])
        images = _batches(parts, trial) * config.batch_size * config.epochs
        estimate = compilation.minutes(per_image, images, device, half, threads)
        compiled, reason = compilation.choose(config.compile, device, estimate)
    optim, images = parts.module.optim, parts.data.batch_size * trial.accumulate_grad_batches * trial.world_size
    values = {
        "device": device.type,
        "processes": trial.world_size,
        "images_per_step": images,
        "lr": optim.rate(images),
        "threads": threads,
        "workers": parts.data.workers,
        "memory_format": "channels_last",
    }
    together = f"{trial.world_size} processes, {images} images a step, each on " if trial.world_size > 1 else ""
    why = {
        "device": together + hardware.in_words(device, precision, threads, given),
        "load": parts.data.why,
        "compile": f"{'yes' if compiled else 'no'}: {reason}",
    }
    if optim.rate(images) != optim.lr:
        why["lr"] = f"{optim.rate(images):.3g}: {optim.lr:g} for {optim.base_batch} images, a step has {images}"
    return Chosen(half and not given, compiled, values, why)


def _batches(parts: Parts, trial: Trainer) -> int:
    """Training batches of an epoch, of each process."""
    batches, limit = parts.data.train_batches() // trial.world_size, trial.limit_train_batches
    return min(batches, limit) if isinstance(limit, int) else batches

"""Faults to plant in a child before its command begins, each by a function of this module."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from segtrain.data.datasets import SegmentationDataset
from segtrain.errors import UserError


def reading(act: Callable[[], Any]) -> None:
    """Do something where a certain training image of the second epoch is read."""
    read = SegmentationDataset.__getitem__

    def replaced(self: SegmentationDataset, key: Any) -> Any:
        if (key.epoch, key.image) == (1, 3):
            act()
        return read(self, key)

    SegmentationDataset.__getitem__ = replaced  # type: ignore[method-assign]


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(3600)


def raise_user_error() -> NoReturn:
    raise UserError("img_3.png: damaged; export it again")


def raise_key_error() -> NoReturn:
    raise KeyError("colour")


def raise_memory_error() -> NoReturn:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free.")


class AtStep(Callback):
    """Calls a function of this module before a training step.

    Args:
        step: optimizer steps made by then.
        act: its name.
    """

    def __init__(self, step: int, act: str) -> None:
        self.step, self.act = step, act

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            globals()[self.act]()


def at_step(step: int, act: str) -> list[str]:
    """Words that add it."""
    return [f"+callbacks.fault={{_target_:tests.faults.plant.AtStep,step:{step},act:{act}}}", "--allow", "tests"]


class Digests(Callback):
    """Writes down what the net gets: epoch, batch and a hash of each image.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        with self.path.open("a") as file:
            for name, image in zip(batch["id"], batch["image"], strict=True):
                digest = hashlib.sha256(image.numpy().tobytes()).hexdigest()
                print(trainer.current_epoch, batch_idx, name, digest, file=file)


def full_disk() -> None:
    """From now on no file grows beyond a few bytes, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))


class SeedTwo(Callback):
    """Fails in the run of seed 2."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.seed == 2:
            raise ZeroDivisionError("the second one")

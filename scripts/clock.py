"""When steps end: of loops that call `note`, and of trainings that have the callback `Clock`."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback

ends: list[float] = []


def note() -> None:
    """The end of a step, of a GPU too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    ends.append(time.perf_counter())


class Clock(Callback):
    """Notes when each training step ended."""

    def on_train_batch_end(self, *_: Any) -> None:
        """Behind all others."""
        note()

"""debug=profile: where the time of a training step goes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.profiler import ProfilerActivity, profile

from segtrain import checks

FOLDER, TABLE, TRACE = "profile", "table.txt", "trace.json"
ROWS = 30  # operations in the table
SILENT = "99"  # without it the profiler reports as an error that there is no GPU
PARTS = ("data", "net", "loss and counts", "backward", "optimizer", "rest")


class StepProfile(Callback):
    """Measures some steps: by parts and operations (profile/table.txt), and as a trace for Perfetto (trace.json).

    Where there is a GPU it is waited for at the end of each part, so these steps are slower than others.

    Args:
        skip: steps of the first epoch before, at most half of them.
        steps: that are measured, at most the others.

    Raises:
        UserError: no whole numbers.
    """

    def __init__(self, skip: int = 10, steps: int = 10) -> None:
        self.skip = checks.whole("callbacks.profile.skip", skip, 1)
        self.steps = checks.whole("callbacks.profile.steps", steps, 1)
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._first = self.skip
        self._profile: profile | None = None
        self._hooks: list[Any] = []
        self._last, self._gpu = 0.0, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See how many steps there are."""
        self._first = min(self.skip, int(trainer.num_training_batches) // 2)
        if self._first == 0:
            self._start(pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is there."""
        if self._profile is not None:
            self._part("data")

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        """The loss is there."""
        self._part("loss and counts")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The gradients are there."""
        self._part("backward")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Begin behind the steps that are skipped, end behind those that are measured."""
        self._part("optimizer")
        step = batch_idx + 1
        if trainer.current_epoch > 0:
            return
        if step == self._first:
            self._start(pl_module)
        elif self._profile is not None and (step == self._first + self.steps or trainer.is_last_batch):
            self._finish(trainer, step - self._first)

    def _start(self, module: LightningModule) -> None:
        self._gpu = module.device.type == "cuda"
        net = module.net
        assert isinstance(net, nn.Module)
        self._hooks = [
            net.register_forward_pre_hook(lambda *_: self._part("rest")),
            net.register_forward_hook(lambda *_: self._part("net")),
        ]
        os.environ.setdefault("KINETO_LOG_LEVEL", SILENT)
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._gpu else [])]
        self._profile = profile(activities=kinds, acc_events=True)  # or torch warns that it would keep but one cycle
        self._profile.start()
        self._last = time.perf_counter()

    def _part(self, name: str) -> None:
        """What has passed since the last part ended belongs to this one."""
        if self._profile is None:
            return
        if self._gpu:
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[name] += now - self._last
        self._last = now

    def _finish(self, trainer: Trainer, steps: int) -> None:
        assert self._profile is not None
        self._profile.stop()
        for hook in self._hooks:
            hook.remove()
        measured, self._profile = self._profile, None
        if not trainer.is_global_zero or trainer.logger is None or trainer.logger.log_dir is None:
            return
        folder = Path(trainer.logger.log_dir) / FOLDER
        folder.mkdir(exist_ok=True)
        order = "self_device_time_total" if self._gpu else "self_cpu_time_total"
        table = measured.key_averages().table(sort_by=order, row_limit=ROWS)
        parts = in_words(self.seconds, steps)
        (folder / TABLE).write_text(f"{parts}\n\n{table}\n", encoding="utf-8")
        logging.getLogger("segtrain").info("%s\nprofile in %s", parts, folder)
        measured.export_chrome_trace(str(folder / TRACE))


def in_words(seconds: Mapping[str, float], steps: int) -> str:
    """Milliseconds and share of each part of a step; a line each."""
    whole = max(sum(seconds.values()), 1e-9)
    lines = [f"{name:16} {1e3 * each / steps:9.2f} ms  {each / whole:4.0%}" for name, each in seconds.items()]
    return "\n".join([*lines, f"{'a step':16} {1e3 * whole / steps:9.2f} ms"])

"""What the guards cost: training steps of about 5 ms with and without them; writes the table of docs/benchmarks.md.

    python scripts/bench_guards.py --rounds 8

With: the watch for non-finite numbers (which logs the norm of the gradient), seeds of steps, signals, saves by time
(none falls due). Without: the same net, loss, optimizer and Trainer. Blocks of steps take turns. Of each block the
lower quartile of its steps counts, since one that something else on the machine has delayed says nothing; the ratio is
the median of those of neighbouring blocks.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from clock import Clock, steps
from lightning.pytorch import Callback, LightningModule, Trainer
from measure import markdown, setting, write_section
from torch import Tensor
from torch.utils.data import DataLoader

from segtrain import callbacks as cb
from segtrain.console import set_up_logging
from segtrain.losses import build_loss
from segtrain.models import build_model
from segtrain.signals import Signals
from segtrain.task import Task
from segtrain.trainer import Unprofiled, without_empty_hooks

STEPS, WARM_UP, LOG_EVERY = 170, 20, 50
TASK = Task("binary")
PACKAGES, COMMAND = ("torch", "lightning"), "python scripts/bench_guards.py"
# name -> width and depth of the net, batch, side of a crop
SIZES = {
    "width 4, depth 1, 1 x 32 x 32": (4, 1, 1, 32),
    "width 4, depth 2, 2 x 32 x 32": (4, 2, 2, 32),
    "width 8, depth 2, 2 x 48 x 48": (8, 2, 2, 48),
}
INTRODUCTION = """## Guards

A training step with and without all guards (non-finite numbers, norm of the gradient, seeds of steps, signals, saves by
time), the plain U-Net, BCE, AdamW; medians of {rounds} pairs of blocks of {steps} steps."""


class Plain(LightningModule):
    """A net that is trained, and nothing else."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.net = build_model(TASK, 3, [0.5] * 3, [0.25] * 3, "plain_unet", width=width, depth=depth)
        self.loss = build_loss("bce", TASK)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Loss of the batch."""
        return {"loss": self.loss(self.net(batch["image"]), batch["mask"])}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As a training has it."""
        return torch.optim.AdamW(self.parameters(), lr=1e-4, fused=True)


class SavesByTime(Callback):
    """What KeepLast does at each step, without its saves at the end of an epoch."""

    def __init__(self, last: cb.KeepLast) -> None:
        self.last = last

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the clock."""
        self.last.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


def guards(folder: Path) -> list[Callback]:
    """As a training has them."""
    last = cb.KeepLast(folder, every_minutes=15)
    return [cb.StepSeeds(1), cb.NonFiniteGuard("log", LOG_EVERY), cb.StopSignal(last, Signals()), SavesByTime(last)]


def seconds_per_step(around: list[Callback], net: Plain, batch: dict[str, Any]) -> float:
    """Of one block; on a CPU of this process alone."""
    clock = Clock(time.perf_counter if torch.cuda.is_available() else time.process_time)
    trainer = Trainer(
        max_epochs=1,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        profiler=Unprofiled(),
        callbacks=without_empty_hooks([*around, clock]),
    )
    taken = steps(lambda: trainer.fit(net, DataLoader([batch] * STEPS, batch_size=None)), WARM_UP)
    return statistics.quantiles(taken, n=4)[0]


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--print-only", action="store_true")
    given = parser.parse_args()
    set_up_logging()
    torch.set_num_threads(1)  # more cost more than they win on a net this small
    warnings.simplefilter("ignore")
    rows, device = [], "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, depth, number, side) in SIZES.items():
            image = torch.randint(0, 256, (number, 3, side, side), dtype=torch.uint8)
            batch = {"image": image, "mask": torch.randint(0, 2, (number, side, side)), "id": ["x"] * number}
            pairs = []
            for turn in range(given.rounds):
                sides = [("with", guards(Path(folder))), ("without", list[Callback]())]
                taken = {
                    key: seconds_per_step(around, Plain(width, depth), batch)
                    for key, around in sides[:: 1 - 2 * (turn % 2)]
                }
                pairs.append((taken["with"], taken["without"]))
            ratio = statistics.median(one / other for one, other in pairs)
            times = [statistics.median(each) * 1e3 for each in zip(*pairs, strict=True)]
            rows.append([name, f"{times[1]:.2f}", f"{times[0]:.2f}", f"{ratio:.3f}"])
            print(rows[-1], flush=True)
    table = markdown(["", "without, ms", "with, ms", "ratio"], rows)
    text = INTRODUCTION.format(rounds=given.rounds, steps=STEPS - WARM_UP)
    print(table)
    if not given.print_only:
        write_section("guards", f"{text}\n\n{setting(PACKAGES, COMMAND, device)}\n\n{table}")


if __name__ == "__main__":
    main()

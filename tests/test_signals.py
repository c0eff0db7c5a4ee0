"""SIGTERM ends a training with exit code 143, and with a state of the very step from which it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from segtrain.cli import main
from segtrain.runs import Run
from tests import tiny
from tests.test_lock import wait_for

EPOCH = 300  # steps
LONG = [f"data.train={EPOCH}", "batch_size=1", "epochs=1000", "optim.schedule=constant"]


@contextmanager
def second_epoch(output: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Run]]:
    """A training, in a process group of its own, a little into its second epoch."""
    command = [sys.executable, "-m", "segtrain", "train", *tiny.SYNTHETIC, *tiny.FAST, *LONG, f"output_dir={output}"]
    process = subprocess.Popen(
        [*command, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: any(output.glob("*/*/checkpoints/last.ckpt")))
        time.sleep(0.3)
        yield process, Run(tiny.find_latest(output))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def step(run: Run) -> int:
    return int(torch.load(run.last, weights_only=True)["global_step"])


def test_sigterm_saves_and_exits_with_143(tmp_path: Path) -> None:
    with second_epoch(tmp_path) as (process, run):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    assert EPOCH < step(run) < 2 * EPOCH
    assert run.status == "stopped"
    assert "stopped by SIGTERM" in (run.folder / "train.log").read_text()
    assert main(["train", "resume=latest", "epochs=2", f"output_dir={tmp_path}"]) == 0
    assert step(run) == 2 * EPOCH


@pytest.mark.parametrize("whom", ["the first process", pytest.param("all processes", marks=pytest.mark.slow)])
def test_sigterm_ends_all_processes_at_one_step(tmp_path: Path, whom: str) -> None:
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "num_workers=0"]
    with second_epoch(tmp_path, *ranks, f"data.train={2 * EPOCH}") as (process, run):
        if whom == "all processes":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    assert EPOCH < step(run) < 2 * EPOCH

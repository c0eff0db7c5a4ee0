"""Processes that Lightning starts itself end together at a signal, at one step and with one exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from segtrain.runs import Run
from tests import tiny
from tests.test_lock import wait_for

EPOCH = 300  # steps of each process
LONG = [f"data.train={2 * EPOCH}", "batch_size=1", "epochs=1000", "optim.schedule=constant"]
RANKS = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "num_workers=0"]


@pytest.mark.slow  # tests/faults/test_ranks.py has it with processes that the test starts
@pytest.mark.parametrize("whom", ["the first process", "all processes"])
def test_sigterm_ends_all_processes_at_one_step(tmp_path: Path, whom: str) -> None:
    words = [*tiny.SYNTHETIC, *tiny.FAST, *LONG, *RANKS, f"output_dir={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "segtrain", "train", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: any(tmp_path.glob("*/*/checkpoints/last.ckpt")))
        if whom == "all processes":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run = Run(tiny.find_latest(tmp_path))
    assert tiny.global_step(run) >= EPOCH
    assert run.status == "stopped"

"""A living run is not continued by a second process; a killed one is, whatever its status says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segtrain.cli import main
from segtrain.errors import UserError
from segtrain.lock import RunLock, is_alive
from segtrain.runs import Run
from tests import tiny

HOLD = """
import sys, time
from pathlib import Path
from segtrain.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""
LONG = ["epochs=5000", "optim.schedule=constant", "checkpoint.every_steps=1", "resume=auto"]
SECONDS = 60


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a run."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def training(output: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A training in another process that has saved its first checkpoint."""
    command = [sys.executable, "-m", "segtrain", "train", *tiny.SYNTHETIC, *tiny.FAST, *LONG, f"output_dir={output}"]
    process = subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: any(output.glob("*/*/checkpoints/last.ckpt")))
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)
    with holder(tmp_path) as process:
        assert is_alive(tmp_path)
        with pytest.raises(UserError, match="is being trained by another process"):
            RunLock(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_alive(tmp_path)
        RunLock(tmp_path).release()


def test_a_forked_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # as a loading process that outlives the training
        os.write(writer, b"x")
        time.sleep(SECONDS)
        os._exit(0)
    try:
        os.read(reader, 1)
        assert is_alive(tmp_path)
        lock.release()
        assert not is_alive(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_folder_without_a_log_is_not_alive_and_stays_as_it_is(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)
    assert not list(tmp_path.iterdir())


def test_where_there_are_no_locks_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtrain.lock.fcntl", None)
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    assert not is_alive(tmp_path)
    first.release()
    second.release()


@pytest.mark.slow
def test_a_living_run_is_refused_and_passed_over_and_a_killed_one_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with training(tmp_path) as process:
        folder = tiny.find_latest(tmp_path)
        before = Run(folder).last.stat().st_mtime_ns
        assert main(["train", "resume=latest", f"output_dir={tmp_path}", "epochs=1"]) == 1
        assert f"{folder} is being trained by another process" in capsys.readouterr().err
        wait_for(lambda: Run(folder).last.stat().st_mtime_ns > before)  # undisturbed
        process.kill()
        process.wait()
    assert Run(folder).status == "running"
    assert main(["train", "resume=latest", f"output_dir={tmp_path}", f"epochs={epochs(folder) + 2}"]) == 0
    assert Run(folder).status == "done"


def epochs(folder: Path) -> int:
    return len((folder / "metrics.csv").read_text().splitlines()) - 1


def test_auto_passes_over_a_living_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, "epochs=3", f"output_dir={tmp_path}", "resume=auto"]
    stop = tiny.stop_at(3)
    assert main([*command, *stop]) == 1
    stopped = tiny.find_latest(tmp_path)
    with holder(stopped):
        assert main([*command, *stop]) == 1
        assert "is passed over: another process is training it" in capsys.readouterr().out
        assert tiny.find_latest(tmp_path) != stopped
    newer = tiny.find_latest(tmp_path)
    (newer / "checkpoints" / "last.ckpt").unlink()
    (newer / "checkpoints" / "best.ckpt").unlink()
    main([*command, *stop])  # the newer one has nothing to continue from
    assert tiny.find_latest(tmp_path) == stopped

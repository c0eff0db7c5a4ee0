"""A sweep that is killed, that has a run which crashes, or that two commands work on: nothing is lost or made twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from segtrain.cli import main
from segtrain.lock import RunLock
from segtrain.runs import Run, read_run
from tests import tiny
from tests.faults.warm import Child

WORDS = ["train", "-m", *tiny.SYNTHETIC, *tiny.FAST, "seed=1,2,3", "epochs=4"]


def runs(output: Path) -> dict[str, Run]:
    """By the name of their folder."""
    return {path.parent.name: read_run(path.parent) for path in sorted(output.glob("sweeps/*/*/env.json"))}


KILLED, ENDED = (signal.SIGKILL, -9, "running"), (signal.SIGTERM, 143, "stopped")


@pytest.mark.parametrize(("number", "code", "status"), [KILLED, pytest.param(*ENDED, marks=pytest.mark.slow)])
@pytest.mark.fault("Sweeps", "killed or preempted in a run", "that run is not done; the same command finishes the rest")
def test_killed_in_a_run(tmp_path: Path, number: int, code: int, status: str) -> None:
    whole = tmp_path / "whole"
    assert main([*WORDS, f"output_dir={whole}"]) == 0
    child = Child([*WORDS, f"output_dir={tmp_path / 'out'}"], tmp_path)
    child.wait_for(lambda: (tmp_path / "out").exists() and len(runs(tmp_path / "out")) == 2)
    child.wait_for(lambda: list(runs(tmp_path / "out").values())[1].last.is_file())
    child.send(number)
    assert child.ended() == code
    assert ("the same command goes on with the runs that have not ended" in child.err) == (number == signal.SIGTERM)
    found = runs(tmp_path / "out")
    assert [run.status for run in found.values()][:1] == ["done"]
    assert [run.status for run in found.values()][1] in (status, "done")
    first = found["seed=1"].last.stat().st_mtime_ns
    assert main([*WORDS, f"output_dir={tmp_path / 'out'}"]) == 0
    again = runs(tmp_path / "out")
    assert [run.status for run in again.values()] == ["done"] * 3
    assert again["seed=1"].last.stat().st_mtime_ns == first
    for name, run in runs(whole).items():
        assert tiny.differing(tiny.weights(run), tiny.weights(again[name])) == []
        assert tiny.curves(run) == tiny.curves(again[name])


def test_several_processes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    assert main([*WORDS, f"output_dir={tmp_path}", *ranks]) == 1
    error = capsys.readouterr().err
    assert error.count("in this process, but trainer=ddp starts 2; start each run by itself") == 3
    assert runs(tmp_path) == {}


@pytest.mark.fault("Sweeps", "one run crashes", "the others are trained; exit 1, and the same command tries it again")
def test_one_run_crashes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stop = ["+callbacks.stop._target_=tests.faults.plant.SeedTwo", "+callbacks.stop.seed=${seed}", "--allow", "tests"]
    assert main([*WORDS, f"output_dir={tmp_path}", *stop]) == 1
    error = capsys.readouterr().err
    assert "error: ZeroDivisionError: the second one" in error
    assert "1 runs of the sweep failed: seed=2; the same command tries them again" in error
    assert {name: run.status for name, run in runs(tmp_path).items()} == {
        "seed=1": "done",
        "seed=2": "failed",
        "seed=3": "done",
    }


@pytest.mark.fault("Sweeps", "two commands on one sweep", "each takes what the other does not train; none twice")
def test_two_commands_on_one_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = [f"output_dir={tmp_path}", "name=both"]
    assert main(["train", "-m", *tiny.SYNTHETIC, *tiny.FAST, "seed=2", "epochs=1", *where]) == 0
    (folder,) = [run.folder for run in runs(tmp_path).values()]
    folder.rename(folder.with_name("seed=2"))
    other = RunLock(folder.with_name("seed=2"))
    (folder.with_name("seed=2") / "status").write_text("running\n")
    before = (folder.with_name("seed=2") / "train.log").read_bytes()
    try:
        assert main([*WORDS, *where]) == 0
    finally:
        other.release()
    said = capsys.readouterr().out
    assert "another process is training it" in said
    assert "1 runs are trained by other processes: seed=2" in said
    assert (folder.with_name("seed=2") / "train.log").read_bytes() == before
    assert {name: run.status for name, run in runs(tmp_path).items()} == {
        "seed=1": "done",
        "seed=2": "running",
        "seed=3": "done",
    }

"""A save that is cut short leaves the earlier file; a file that is no checkpoint of this run is said to be so."""

from __future__ import annotations

import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain.checkpoint import FORMAT, KEY, AtomicCheckpointIO, load_checkpoint, sweep_temporaries
from segtrain.cli import main
from segtrain.runs import Run
from tests import tiny
from tests.faults import plant
from tests.faults.warm import Child

WORDS = ["train", *tiny.SYNTHETIC, *tiny.FAST, "output_dir=out"]


def content(value: float) -> dict[str, Any]:
    return {KEY: {"format": FORMAT, "config": {}}, "state_dict": {"net.w": torch.full((2000,), value)}}


def killed_save(path: Path, plant_kill: Callable[[], Any]) -> int:
    """In a process of its own, save over the file and be killed; how it ended."""
    child = os.fork()
    if child == 0:
        try:
            plant_kill()
            AtomicCheckpointIO().save_checkpoint(content(2.0), path)
        finally:
            os._exit(1)  # not back into the tests
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Cut:
    """A file that kills its process behind so many bytes."""

    def __init__(self, path: Path, left: int) -> None:
        self.file, self.left = io.FileIO(path, "wb"), left

    def write(self, data: Any) -> int:
        self.left -= self.file.write(memoryview(data)[: max(0, self.left)])
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Cut:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.fault("Checkpoint", "kill -9 at any byte of a save", "the earlier file, whole; the rest is swept away")
def test_a_kill_at_any_byte_of_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(content(1.0), path)
    size = path.stat().st_size
    for left in (1, 2, 63, 64, 65, *range(100, size, size // 60), size):

        def kill(left: int = left) -> None:
            monkeypatch.setattr(Path, "open", lambda self, *_: Cut(self, left))

        assert killed_save(path, kill) == -signal.SIGKILL
        assert float(load_checkpoint(path)["state_dict"]["net.w"][0]) == 1.0
        assert len(list(tmp_path.iterdir())) == 2
        sweep_temporaries(tmp_path)
        assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize(("owner", "name", "value"), [(os, "fsync", 1.0), (Path, "replace", 1.0), (os, "open", 2.0)])
@pytest.mark.fault("Checkpoint", "kill -9 between fsync and replace, and behind it", "the earlier file or the new one")
def test_a_kill_around_the_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, value: float
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(content(1.0), path)

    def kill() -> None:
        monkeypatch.setattr(owner, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))

    assert killed_save(path, kill) == -signal.SIGKILL
    assert float(load_checkpoint(path)["state_dict"]["net.w"][0]) == value


@pytest.mark.fault("Checkpoint", "disk full", "one sentence, exit 1; the earlier checkpoint is intact, goes on from it")
def test_disk_full(tmp_path: Path) -> None:
    whole = tiny.train(tmp_path / "whole")
    child = Child([*WORDS, *plant.at_step(3, "full_disk")], tmp_path)
    assert child.ended() == 1
    assert child.err.count("\n") == 1
    assert "make room" in child.err
    assert "intact" in child.err
    run = Run(tiny.find_latest(tmp_path / "out"))
    assert (run.status, tiny.global_step(run)) == ("failed", 2)
    assert main(["train", f"resume={run.folder}", "~callbacks.fault"]) == 0
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []
    assert tiny.curves(whole) == tiny.curves(run)


def read_only(folder: Path) -> Callable[..., Any]:
    """A mkdir that refuses below a folder; a permission would not stop the superuser."""
    mkdir = os.mkdir

    def refused(path: Any, *rest: Any, **named: Any) -> None:
        if Path(path).is_relative_to(folder):
            raise OSError(errno.EROFS, "Read-only file system")
        mkdir(path, *rest, **named)

    return refused


@pytest.mark.parametrize("how", ["read-only", "a file"])
@pytest.mark.fault("Checkpoint", "output folder that cannot be written", "refused before training")
def test_read_only_folder(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    if how == "a file":
        output.touch()
    monkeypatch.setattr(os, "mkdir", read_only(output))
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, f"output_dir={output}"]) == 1
    said = capsys.readouterr()
    assert "choose another output_dir" in said.err
    assert "epoch" not in said.out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.train(tmp_path_factory.mktemp("trained"), "optim.schedule=constant")


def damaged(path: Path, kind: str) -> None:
    """Make a checkpoint something else."""
    if kind == "newer format":
        checkpoint = torch.load(path, weights_only=True)
        checkpoint[KEY]["format"] = FORMAT + 1
        torch.save(checkpoint, path)
        return
    whole = path.read_bytes()
    new = {"truncated": whole[: len(whole) // 2], "zero bytes": b"", "wrong type": b"GIF89a" + bytes(50)}
    path.write_bytes(new[kind])


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("train", "truncated"),
        ("train", "newer format"),
        ("evaluate", "zero bytes"),
        ("evaluate", "newer format"),
        ("predict", "truncated"),
        ("predict", "wrong type"),
    ],
)
@pytest.mark.fault("Checkpoint", "truncated, zero bytes, wrong type, newer format", "one sentence with file and remedy")
def test_no_checkpoint(
    tmp_path: Path, trained: Run, kind: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, images = tmp_path / "x.ckpt", tiny.make_folder(tmp_path / "data") / "images" / "val"
    path.write_bytes(trained.last.read_bytes())
    damaged(path, kind)
    words = {
        "train": [f"resume={path}", *tiny.SYNTHETIC, *tiny.FAST],
        "evaluate": [f"run={path}", *tiny.SYNTHETIC, *tiny.NET],
        "predict": [
            f"run={path}",
            f"input={images}",
            f"output={tmp_path / 'masks'}",
        ],
    }[command]
    assert main([command, *words, f"output_dir={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: ")
    assert error.count("\n") == 1
    assert "use another one" in error or "update it" in error
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("kind", tiny.every(2, ["truncated", "newer format"]))
@pytest.mark.fault("Checkpoint", "last.ckpt damaged", "best.ckpt is taken, with a warning; bit-identical")
def test_last_damaged(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["epochs=3", "monitor=val/loss", "monitor_mode=min"]
    whole = tiny.train(tmp_path / "whole", *words)
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *words, f"output_dir={tmp_path / 'out'}"]
    assert main([*command, *tiny.stop_at(5)]) == 1
    run = tiny.read_run(tiny.find_latest(tmp_path / "out"))
    damaged(run.last, kind)
    capsys.readouterr()
    assert main(["train", f"resume={run.folder}", "~callbacks.stop"]) == 0
    assert f"{run.last}: " in capsys.readouterr().out
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []


@pytest.mark.fault("Checkpoint", "other architecture", "a short error: both names, the first keys that differ")
def test_other_architecture(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", f"run={trained.folder}", "model.width=4"]) == 1
    error = capsys.readouterr().err
    assert "its net is plain_unet, which does not fit this one; first differences: net." in error
    assert len(error) < 400

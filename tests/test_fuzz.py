"""Damaged inputs: the fuzzer of scripts/, in small; and it finds what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))  # as where a script is run

import fuzz_commands  # noqa: E402
import fuzz_images  # noqa: E402
import fuzz_inputs  # noqa: E402
import fuzz_sources  # noqa: E402

from tests import tiny  # noqa: E402

Watch = fuzz_commands.Watch


def test_damaged_images_are_read_or_named(tmp_path: Path) -> None:
    assert fuzz_inputs.fuzz({"images": 300}, 0, tmp_path)["images"].wrong == {}


@pytest.mark.slow
def test_other_damaged_inputs_are_used_or_named(tmp_path: Path) -> None:
    """In a process of its own: torch does not train in a fork of what has trained."""
    command = [sys.executable, str(SCRIPTS / "fuzz_inputs.py"), "--files", "20", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in fuzz_inputs.SHARES:
        assert kind in done.stdout
    assert list(tmp_path.glob("fuzz_inputs_*")) == []  # nothing is left


def test_every_sound_image_is_sound(tmp_path: Path) -> None:
    for name, content in fuzz_images.sources().items():
        path = tmp_path / name
        path.write_bytes(content)
        assert fuzz_images.decodes(path), name
        assert fuzz_images.verdict(path) == [], name


@pytest.mark.parametrize("name", tiny.every(4, list(fuzz_sources.MANIFESTS)))
def test_every_sound_manifest_is_sound(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from segtrain.cli import main

    each, root = fuzz_sources.MANIFESTS[name], tmp_path / "data"
    fuzz_sources.make_data(root, each)
    assert [path for pattern in each.names for path in root.glob(pattern)]
    words = [word.replace("=data/", f"={root}/") for word in each.words]
    assert main(["check", f"data={each.option}", f"data.root={root}", f"output_dir={tmp_path}", "crop=16", *words]) == 0


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Any]:
    fuzz_inputs.prepare(tmp_path, {})
    made = fuzz_inputs.Worker(tmp_path)
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("crash", "crash: exit code 7"),
        ("hang", "hang: no answer"),
        ("raise", "KeyError"),
        ("succeed", "success, where"),
    ],
)
def test_it_finds_what_is_wrong_with_a_reader(
    worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, says: str
) -> None:
    def wrong(*_: Any, **__: Any) -> Any:
        if fault == "crash":
            os._exit(7)
        if fault == "hang":
            time.sleep(60)
        if fault == "raise":
            raise KeyError("x")
        return np.zeros((2, 2, 3), np.uint8)

    monkeypatch.setattr("segtrain.decode.readers.read_image", wrong)
    monkeypatch.setattr(fuzz_inputs, "SECONDS", 1.0)
    monkeypatch.setattr("fuzz_damage.damaged", lambda *_: b"no image")
    assert says in " ".join(worker.ask("images", 0, 0))
    monkeypatch.undo()
    worker.stop()
    assert worker.ask("images", 1, 0) == []  # a new child goes on


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("exit", "ends with 7"),
        ("raise", "error: KeyError"),
        ("several", "not one sentence"),
        ("nothing", "names nothing"),
        ("long", "characters"),
        ("show", "a traceback is shown"),
        ("write", "writes "),
        ("read", "reads "),
        ("make", "os.mkdir "),
        ("run", "os.system"),
    ],
)
def test_it_finds_what_is_wrong_with_a_command(
    worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, says: str
) -> None:
    from segtrain.errors import UserError

    outside = tmp_path / "outside"

    def wrong(_: Any) -> int:
        if fault == "raise":
            raise KeyError("x")
        if fault in SENTENCES:
            raise UserError(SENTENCES[fault])
        if fault == "show":
            print("Traceback (most recent call last):", file=sys.stderr)
        if fault == "write":
            (tmp_path / "new").write_text("x")
        if fault == "read":
            (outside / "image.png").read_bytes()
        if fault == "make":
            (tmp_path / "folder").mkdir()
        if fault == "run":
            os.system("true")
        return 7 if fault == "exit" else 0

    monkeypatch.setattr("segtrain.cli.data.check", wrong)
    monkeypatch.setitem(fuzz_inputs.COMMANDS, "manifests", lambda *_: ["check"])
    assert says in " ".join(worker.ask("manifests", 0, 0))
    monkeypatch.setattr("segtrain.cli.data.check", lambda _: 0)
    worker.stop()
    assert worker.ask("manifests", 1, 0) == []


SENTENCES = {"several": "data.root=x: no\nsuch folder", "nothing": "it fails", "long": "data.root=" + "x \n  " * 9000}


def test_a_child_has_its_limit_of_memory(worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: Any, **__: Any) -> Any:
        return np.ones(4 * fuzz_inputs.MEMORY, np.uint8)

    monkeypatch.setattr("segtrain.decode.readers.read_image", greedy)
    assert "MemoryError" in " ".join(worker.ask("images", 0, 0))

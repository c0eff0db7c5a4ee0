"""Damaged files: the fuzzer of scripts/, in small; and it finds what it is for."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "scripts" / "fuzz_inputs.py"


@pytest.fixture
def fuzzer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_inputs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["fuzz_inputs"] = module
    spec.loader.exec_module(module)
    return module


def test_damaged_files_are_read_or_named(fuzzer: ModuleType, tmp_path: Path) -> None:
    assert fuzzer.fuzz(300, 0, tmp_path) == {}


def test_every_sound_file_is_sound(fuzzer: ModuleType, tmp_path: Path) -> None:
    for name, content in fuzzer.sources().items():
        path = tmp_path / name
        path.write_bytes(content)
        assert fuzzer.decodes(path), name
        assert fuzzer.verdict(path) == [], name


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("crash", "crash: exit code 7"),
        ("hang", "hang: no answer"),
        ("raise", "KeyError"),
        ("succeed", "success, where"),
    ],
)
def test_it_finds_what_it_is_for(
    fuzzer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, says: str
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
    monkeypatch.setattr(fuzzer, "SECONDS", 1.0)
    path, worker = tmp_path / "x.png", fuzzer.Worker()
    path.write_bytes(b"no image")
    assert says in " ".join(worker.ask(path))
    monkeypatch.undo()
    worker.stop()
    Image.new("RGB", (3, 3)).save(path)
    assert worker.ask(path) == []  # a new child goes on
    worker.stop()

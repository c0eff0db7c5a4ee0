"""A machine that is not as usual: no home, another folder, another time zone or language, no network."""

from __future__ import annotations

import locale
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from segtrain.cli import main
from segtrain.runs import Run
from tests import tiny
from tests.faults import plant
from tests.faults.warm import Child

WORDS = ["train", *tiny.SYNTHETIC, *tiny.FAST, "output_dir=out"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.train(tmp_path_factory.mktemp("whole"))


def same(whole: Run, run: Run) -> None:
    assert run.status == "done"
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []
    assert tiny.curves(whole) == tiny.curves(run)


def without_home() -> None:
    """As in a container, where neither the variable nor the user's entry is there."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME"):
        os.environ.pop(name, None)
    os.environ["HOME"] = "/nonexistent"


def elsewhere(zone: str, language: str) -> None:
    """In another time zone, with another language's numbers."""
    os.environ.update(TZ=zone, LC_ALL=language, LANG=language)
    time.tzset()
    with suppress(locale.Error):  # not installed: then at least the variables are odd
        locale.setlocale(locale.LC_ALL, "")


@pytest.mark.parametrize(
    "before",
    [without_home, partial(elsewhere, "Asia/Kathmandu", "de_DE.UTF-8"), partial(elsewhere, "UTC+14", "C")],
    ids=["no home", "de_DE in Kathmandu", "C"],
)
@pytest.mark.fault("Environment", "HOME unset, TZ and locale", "the same bits")
def test_odd_environment(tmp_path: Path, whole: Run, before: Any) -> None:
    child = Child(WORDS, tmp_path, before)
    assert child.ended() == 0, child.err
    same(whole, Run(tiny.find_latest(tmp_path / "out")))


@pytest.mark.fault("Environment", "continued from another folder", "finds its data and its run; the same bits")
def test_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    tiny.make_folder(Path("data"))
    words = ["train", *tiny.folder(Path("data")), *tiny.FAST, "checkpoint.every_steps=1"]
    assert main([*words, "output_dir=whole"]) == 0
    assert main([*words, "output_dir=out", "batch_size=2", "epochs=2", *tiny.stop_at(4)]) == 1
    assert main([*words, "output_dir=other", "batch_size=2", "epochs=2"]) == 0
    run, other = Run(tiny.find_latest(Path("out"))), Run(tiny.find_latest(Path("other")))
    monkeypatch.chdir(tmp_path / "there")
    assert main(["train", f"resume={run.folder}", "~callbacks.stop"]) == 0
    same(other, run)
    assert not list(Path().iterdir())
    assert tiny.find_latest(run.folder.parents[1]) == run.folder


def test_the_folder_one_stands_in_as_output_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS[:-1], "output_dir=.", *tiny.stop_at(3)]) == 1
    run = Run(tiny.find_latest(Path()))
    assert main(["train", f"resume={run.folder}", "~callbacks.stop"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"latest", "synthetic"}


def offline() -> None:
    """Every connection fails, and is written down."""

    def refused(*_: Any, **__: Any) -> NoReturn:
        Path("tried_the_network").touch()
        raise OSError("no network")

    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, refused)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        setattr(socket, name, refused)


@pytest.mark.fault("Environment", "no network", "none is tried, in training or at import")
def test_no_network(tmp_path: Path, whole: Run) -> None:
    child = Child(WORDS, tmp_path, offline)
    assert child.ended() == 0, child.err
    same(whole, Run(tiny.find_latest(tmp_path / "out")))
    assert not (tmp_path / "tried_the_network").exists()


@pytest.mark.slow
def test_nothing_is_fetched_while_modules_are_loaded(tmp_path: Path) -> None:
    imports = (
        "from tests.faults.test_environment import offline; offline(); "
        "import segtrain.cli.training, segtrain.run, segmentation_models_pytorch, albumentations"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", imports], cwd=tmp_path, env=environment, check=True)
    assert not (tmp_path / "tried_the_network").exists()


@pytest.mark.parametrize("name", tiny.every(2, ["metrics.csv", "status", "env.json", "config.yaml", "summary.json"]))
@pytest.mark.fault("Environment", "a small file of the run lost", "the run goes on; the same bits")
def test_a_small_file_is_lost(tmp_path: Path, whole: Run, name: str) -> None:
    words = [*WORDS, "checkpoint.every_steps=1"]
    assert Child([*words, *plant.at_step(3, "raise_memory_error")], tmp_path).ended() == 1
    run = Run(tiny.find_latest(tmp_path / "out"))
    (run.folder / name).unlink(missing_ok=True)
    assert main(["train", f"resume={run.folder}", "~callbacks.fault"]) == 0
    assert run.status == "done"
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []

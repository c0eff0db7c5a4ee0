"""What is wrong in a command is said before any data are read: here there are none to be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from segtrain.cli import main
from tests import tiny

NOWHERE = ["data=folder", "data.root=there_are_no_data", *tiny.NET]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence of a command that ends with 1."""
    assert main(["train", *NOWHERE, *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "Error:" not in error
    assert not Path("outputs").exists()
    return error


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "parts"),
    tiny.every(
        3,
        [
            (["los=dice"], ["los=dice", "did you mean loss"]),
            (["loss=dise"], ["loss=dise", "did you mean dice"]),
            (["loss=focal", "loss.gama=2"], ["loss.gama", "did you mean loss.gamma"]),
            (["loss=focal", "loss.gamma=two"], ["focal: gamma must be a number"]),
            (["epochs=many"], ["epochs must be a whole number", "'many'"]),
            (["trainer.precision=fp8"], ["trainer.precision must be one of", "'fp8'"]),
            (["optim.schedule=cosinus"], ["optim.schedule must be one of", "did you mean cosine"]),
            (["aug.train.hflip.p=2"], ["aug.train.hflip.p", "2"]),
        ],
    ),
)
@pytest.mark.fault("Configuration", "misspelt group, key, value", "named, with the nearest one that exists")
def test_misspelt(words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, *words)
    assert all(part in error for part in parts), error


@pytest.mark.parametrize(
    ("words", "parts"),
    tiny.every(
        3,
        [
            (["task=multiclass", "loss=bce"], ["bce", "ce"]),
            (["task=multiclass", "loss=balanced_bce"], ["balanced_bce", "ce"]),
            (["trainer.precision=16-mixed"], ["for prediction alone"]),
            (["trainer=gpu"], ["trainer.accelerator=gpu", "trainer=cpu"]),
            (["mix=cutmix", "batch_size=1"], ["mix=cutmix needs batches of 2"]),
            (["mix=mosaic", "batch_size=1"], ["mix=mosaic needs batches of"]),
            (["batch_size=0"], ["batch_size must be auto or a whole number >= 1"]),
            (["crop=0"], ["crop"]),
            (["epochs=0"], ["epochs must be a whole number >= 1"]),
            (["num_workers=-1"], ["num_workers"]),
            (["worker_timeout=0"], ["worker_timeout"]),
            (["lr=-1"], ["lr"]),
            (["checkpoint.every_steps=0"], ["checkpoint.every_steps"]),
            (["checkpoint.every_minutes=0"], ["checkpoint.every_minutes"]),
            (["trainer.accumulate=0"], ["trainer.accumulate"]),
            (["trainer.clip=0"], ["trainer.clip"]),
            (["trainer.check=often"], ["trainer.check must be one of log, step"]),
            (["monitor_mode=best"], ["monitor_mode must be one of max, min"]),
            (["aug.train.hflip.op=hflop"], ["hflop", "did you mean hflip"]),
            (["init_from=no_such_run"], ["init_from=no_such_run", "no such run"]),
            (["resume=no_such_run"], ["no_such_run", "no such run"]),
            (["+callbacks.x._target_=os.system"], ["callbacks.x._target_=os.system is not allowed to run"]),
            (["seed=-1"], ["seed must be a whole number >= 0"]),
            (["deterministic=perhaps"], ["deterministic"]),
        ],
    ),
)
@pytest.mark.fault("Configuration", "impossible combinations and values", "refused before data is read")
def test_impossible(words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, *words)
    assert all(part in error for part in parts), error
    assert "there_are_no_data" not in error


@pytest.mark.fault("Configuration", "crop larger than the image", "trains: what lies beyond the image is ignored")
def test_crop_larger_than_the_image(tmp_path: Path) -> None:
    root = tiny.make_folder(tmp_path / "data", sizes=[(20, 24)])
    words = ["train", *tiny.folder(root), *tiny.FAST, "crop=64", "epochs=1", f"output_dir={tmp_path / 'out'}"]
    assert main(words) == 0
    run = tiny.read_run(tiny.find_latest(tmp_path / "out"))
    assert run.status == "done"


@pytest.mark.parametrize(
    "words",
    [
        ["seed=99999999999"],
        ["task.num_classes=3"],
        ["task=multiclass", "task.num_classes=400", "task.ignore_index=-1"],
        ["task=multiclass", "loss.terms.ce.class_weights=[1,2,3,4,5]"],
    ],
)
def test_what_the_data_could_make_possible_is_left_to_them(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there_are_no_data" in refused(capsys, *words)

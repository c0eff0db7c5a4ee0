"""`segtrain repro`: a run again from its own record; what differs is said, and nothing else is taken for the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain.cli import main
from segtrain.repro import changes, compare_runs, first_deviation, weights_digest
from segtrain.runs import Run, read_run, set_status
from tests import tiny


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.train(tmp_path_factory.mktemp("whole"))


def repro(capsys: pytest.CaptureFixture[str], output: Path, *words: str) -> tuple[int, str]:
    """Exit code and what is said."""
    capsys.readouterr()  # of what was trained before
    code = main(["repro", *words, f"output_dir={output}"])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def edit(run: Run, change: dict[str, Any]) -> None:
    path = run.folder / "env.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.mark.fault(
    "Resume",
    "a finished run made again (`segtrain repro`)",
    "the same weights, curves and test scores, bit for bit on a CPU; else the first value that differs is named",
)
def test_a_run_made_again_is_identical(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path)
    code, said = repro(capsys, tmp_path)
    assert code == 0
    assert said.endswith("\nidentical\n")
    assert "nothing that is recorded differs now" in said
    assert f"weights of last.ckpt  {weights_digest(run.last)[:12]}" in said
    (again,) = (tmp_path / "repro" / run.folder.name).iterdir()
    assert tiny.differing(tiny.weights(run), tiny.weights(read_run(again))) == []
    # what it left stays: it is the newest run
    assert tiny.find_latest(tmp_path) == run.folder
    assert tiny.find_latest(tmp_path / "repro") == again.resolve()


@pytest.mark.slow
def test_a_run_that_was_continued_is_identical_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["optim.schedule=constant", "checkpoint.every_steps=1", f"output_dir={tmp_path}"]
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, *words, *tiny.stop_at(1)]) == 1
    assert main(["train", "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop"]) == 0
    assert main(["train", "resume=latest", "epochs=3", f"output_dir={tmp_path}", "~callbacks.stop"]) == 0
    code, said = repro(capsys, tmp_path, "run=latest")
    assert code == 0, said
    assert "metrics.csv           3 epochs      3 epochs      yes" in said


@pytest.mark.slow
def test_weights_that_a_run_began_with_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tiny.train(tmp_path)
    second = tiny.train(tmp_path, "init_from=latest", "seed=2")
    third = tiny.train(tmp_path, "seed=3")
    assert third.folder == tiny.find_latest(tmp_path)  # which the words of the second no longer mean
    code, said = repro(capsys, tmp_path, str(second.folder))
    assert code == 0, said
    assert f"weights from {first.best}" in said
    shutil.copy(third.best, first.best)
    code, said = repro(capsys, tmp_path, str(second.folder))
    assert code == 1
    assert "init_from.sha256: " in said


@pytest.mark.slow
def test_a_run_of_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "-m", "loss=bce,focal", *tiny.SYNTHETIC, *tiny.FAST, "epochs=1", f"output_dir={tmp_path}"]
    assert main(words) == 0
    (folder,) = tmp_path.glob("sweeps/*/loss=focal")
    code, said = repro(capsys, tmp_path, str(folder))
    assert code == 0, said
    assert list((tmp_path / "repro" / "loss=focal").iterdir())


def test_what_differs_is_named(tmp_path: Path, whole: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = repro(capsys, tmp_path, str(whole.folder), "lr=1e-3", "data.train=11")
    assert code == 1
    assert "differs now:\n  data: " in said
    assert "weights of last.ckpt" in said
    assert "\nnot identical; epoch 1: " in said
    assert " differs by " in said.splitlines()[-1]


def test_versions_that_differ_are_said_before_it_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path, "epochs=1")
    packages = json.loads((run.folder / "env.json").read_text())["packages"]
    edit(run, {"packages": packages | {"torch": "1.0"}, "git": {"commit": "abc"}})
    code, said = repro(capsys, tmp_path)
    assert code == 0  # the bits are the same all the same
    assert f"  packages.torch: 1.0 then, {packages['torch']} now" in said
    assert "  git.commit: abc then, " in said
    assert said.index("packages.torch") < said.index("epoch 1/1")


def test_what_cannot_be_compared_is_refused(tmp_path: Path, whole: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        code, said = repro(capsys, tmp_path, *words)
        assert code == 1
        return said

    assert "no run yet" in refused()
    assert "run=nowhere: no such run folder" in refused("nowhere")
    assert "repro takes one run, got" in refused(str(whole.folder), "run=latest")
    copied = Run(shutil.copytree(whole.folder, tmp_path / "copied"))
    set_status(copied.folder, "failed")
    assert "has not ended (its status is failed); finish it with resume=" in refused(str(copied.folder))
    set_status(copied.folder, "done")
    (copied.folder / "metrics.csv").unlink()
    (copied.folder / "env.json").write_text("{")
    said = refused(str(copied.folder))
    assert "its record is incomplete (metrics.csv, words in env.json, config_hash in env.json, " in said
    assert not (tmp_path / "repro").exists()


def test_the_hash_of_weights_tells_each_bit(tmp_path: Path, whole: Run) -> None:
    checkpoint = torch.load(whole.last, weights_only=True)
    digest = weights_digest(whole.last)
    torch.save(checkpoint, tmp_path / "same.ckpt")
    assert weights_digest(tmp_path / "same.ckpt") == digest
    name = next(name for name, value in checkpoint["state_dict"].items() if value.is_floating_point())
    value = checkpoint["state_dict"][name].view(-1)
    value[0] = torch.nextafter(value[0], torch.tensor(9.0))
    torch.save(checkpoint, tmp_path / "other.ckpt")
    assert weights_digest(tmp_path / "other.ckpt") != digest


def test_the_first_value_that_differs() -> None:
    rows = [{"epoch": "1", "step": "2", "val/iou": "0.5", "perf/images_per_s": "3", "val_class/iou_x": "nan"}]
    rows.append({**rows[0], "epoch": "2", "val/iou": "0.6"})
    assert first_deviation(rows, [{**row, "perf/images_per_s": "4"} for row in rows]) is None
    found = first_deviation(rows, [rows[0], {**rows[1], "val/iou": "0.75"}])
    assert found is not None
    assert found.in_words() == "epoch 2: val/iou differs by 0.15 (0.6 then, 0.75 now)"
    shorter = first_deviation(rows, rows[:1])
    assert shorter is not None
    assert shorter.in_words() == "epoch 2: epoch differs (2 then, - now)"


def test_scores_of_the_test_split_are_compared(whole: Run) -> None:
    lines, deviation = compare_runs(whole, whole)
    assert deviation is None
    assert [line.same for line in lines] == [True] * 4
    other = {**whole.summary, "test": {**whole.summary["test"], "iou": 0.9}}
    lines, _ = compare_runs(whole, Run(whole.folder, other))
    assert [line.same for line in lines] == [True, True, True, False]
    assert lines[-1].what == "test iou"


def test_facts_that_differ_are_a_line_each() -> None:
    then = {"git": None, "machine": {"gpus": [], "cores": 2}, "command": "a", "python": "3.10"}
    now = {"git": {"commit": "abc"}, "machine": {"gpus": ["H100"], "cores": 2}, "command": "b", "python": "3.11"}
    assert changes(then, now) == [
        "machine.gpus: none then, H100 now",
        "python: 3.10 then, 3.11 now",
        "git.commit: none then, abc now",
    ]

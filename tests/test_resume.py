"""An interrupted training ends with the bits of an uninterrupted one: weights, optimizer, curves."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segtrain.cli import main
from segtrain.runs import Run, find_latest, read_run
from tests import tiny

# 10 images in batches of 4: an epoch has 2 steps, three epochs have 6
STEPS = ["epochs=3", "checkpoint.every_steps=1"]
VARIANTS = {
    "default": [],
    "plateau": ["optim.schedule=plateau", "optim.patience=0", "monitor=val/loss", "monitor_mode=min"],
    "onecycle": ["optim.schedule=onecycle"],
    "accumulated": ["trainer.accumulate=2", "batch_size=2"],
    "focal, heavy": ["loss=focal", "aug=heavy"],
}
TIMED = ("perf/", "_step")  # depend on the clock


def curves(run: Run) -> list[dict[str, str]]:
    with (run.folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.startswith(TIMED)} for row in csv.DictReader(file)]


def interrupted(output: Path, step: int, *words: str) -> Run:
    """Stopped by an error before the given step, then continued by resume=latest."""
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, *words, f"output_dir={output}"]
    assert main([*command, *tiny.stop_at(step)]) == 1
    assert read_run(find_latest(output)).status == "failed"
    assert main(["train", "resume=latest", f"output_dir={output}", "~callbacks.stop"]) == 0
    return read_run(find_latest(output))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.train(tmp_path_factory.mktemp("whole"), *STEPS)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_resume_at_every_step_is_bit_identical(tmp_path: Path, whole: Run, step: int) -> None:
    run = interrupted(tmp_path, step)
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []
    assert curves(whole) == curves(run)
    assert read_run(whole.folder).summary["test"] == run.summary["test"]


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "default"])
def test_resume_is_bit_identical_with(tmp_path: Path, variant: str) -> None:
    reference = tiny.train(tmp_path / "whole", *STEPS, *VARIANTS[variant])
    run = interrupted(tmp_path / "cut", 3, *VARIANTS[variant])
    assert tiny.differing(tiny.weights(reference), tiny.weights(run)) == []
    assert curves(reference) == curves(run)


def test_the_number_of_workers_changes_nothing(tmp_path: Path, whole: Run) -> None:
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, f"output_dir={tmp_path}", "num_workers=2"]
    assert main([*command, *tiny.stop_at(3)]) == 1
    assert main(["train", "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop", "num_workers=1"]) == 0
    assert tiny.differing(tiny.weights(whole), tiny.weights(read_run(find_latest(tmp_path)))) == []


def test_tensorboard_curves_have_no_step_twice_and_none_missing(tmp_path: Path) -> None:
    run = interrupted(tmp_path, 3)
    events = EventAccumulator(str(run.folder), size_guidance={"scalars": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("val/iou")] == [1, 3, 5]
    assert [event.step for event in events.Scalars("train/loss")] == [1, 3, 5]


def test_more_epochs_continue_a_finished_run(tmp_path: Path) -> None:
    first = tiny.train(tmp_path, "optim.schedule=constant", "epochs=1")
    assert main(["train", "resume=latest", "epochs=2", f"output_dir={tmp_path}"]) == 0
    assert read_run(first.folder).summary["epochs"] == 2
    assert len(curves(first)) == 2


def test_auto_continues_the_same_configuration_and_starts_another(tmp_path: Path) -> None:
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, f"output_dir={tmp_path}", "resume=auto"]
    assert main([*command, *tiny.stop_at(3)]) == 1
    stopped = find_latest(tmp_path)
    # the stop is part of the configuration, so the same command continues (and stops at no step any more)
    assert main([*command, *tiny.stop_at(3)]) in (0, 1)
    assert find_latest(tmp_path) == stopped
    assert main(command) == 0
    assert find_latest(tmp_path) != stopped


def test_a_damaged_last_checkpoint_is_passed_over_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path)
    run.last.write_bytes(run.last.read_bytes()[:1000])
    assert main(["train", "resume=latest", f"output_dir={tmp_path}"]) == 0
    assert "damaged or not a segtrain checkpoint (1000 bytes" in capsys.readouterr().out
    run.best.unlink()
    run.last.write_bytes(b"")
    assert main(["train", "resume=latest", f"output_dir={tmp_path}"]) == 1
    assert "none of its checkpoints can be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["loss=focal"], "settings differ (loss"),
        (["seed=9"], "seed: 1 then, 9 now"),
        (["data.foreground=.3"], "data.foreground"),
    ],
)
def test_another_setting_is_refused(
    tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.train(tmp_path, "epochs=1")
    assert main(["train", "resume=latest", f"output_dir={tmp_path}", *words]) == 1
    assert sentence in capsys.readouterr().err


def test_another_batch_size_is_refused_within_an_epoch_and_allowed_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, f"output_dir={tmp_path}"]
    assert main([*command, *tiny.stop_at(3)]) == 1
    again = ["train", "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop", "batch_size=5"]
    assert main(again) == 1
    assert "in the middle of an epoch" in capsys.readouterr().err
    assert main([*command, *tiny.stop_at(2)]) == 1
    assert main(again) == 0
    assert "batch_size changes from 4 to 5" in capsys.readouterr().out


def test_a_one_cycle_schedule_is_not_drawn_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.train(tmp_path, "epochs=1", "optim.schedule=onecycle")
    assert main(["train", "resume=latest", "epochs=2", f"output_dir={tmp_path}"]) == 1
    assert "epochs: 1 then, 2 now" in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["latest", "nowhere", "auto-matic"])
def test_nothing_to_resume_is_one_sentence(tmp_path: Path, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"resume={spec}", f"output_dir={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_moved_run_folder_is_continued_where_it_is(tmp_path: Path) -> None:
    run = tiny.train(tmp_path / "here", "epochs=1")
    moved = Path(shutil.move(run.folder, tmp_path / "moved"))
    assert (
        main(["train", f"resume={moved}", "epochs=2", "optim.schedule=cosine", f"output_dir={tmp_path / 'here'}"]) == 0
    )
    assert torch.load(Run(moved).last, weights_only=True)["epoch"] == 1

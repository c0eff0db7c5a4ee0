"""An interrupted training ends with the bits of an uninterrupted one: weights, optimizer, curves."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segtrain.callbacks import KeepLast
from segtrain.cli import main
from segtrain.cli.conf import options
from segtrain.errors import UserError
from segtrain.optim import SCHEDULES
from segtrain.resume import Resume, check_continuation, newest
from segtrain.runs import Run, find_latest, read_run, set_status
from tests import tiny
from tests.tiny import curves

# 10 images in batches of 4: an epoch has 2 steps, three epochs have 6
STEPS = ["epochs=3", "checkpoint.every_steps=1"]
SMALL = ["batch_size=2", "data.train=6"]  # 3 steps of an epoch, for what needs more of them
# one variant for each option of the groups that carry something from step to step, and the settings that do
VARIANTS = {
    **{f"mix={kind}": [f"mix={kind}", "aug=light"] for kind in options("mix") if kind != "none"},
    **{f"aug={name}": [f"aug={name}"] for name in ("heavy", "randaugment", "trivialaugment", "autoaugment")},
    **{f"optim={name}": [f"optim={name}"] for name in options("optim")},
    **{f"schedule={name}": [f"optim.schedule={name}"] for name in SCHEDULES if name != "plateau"},
    "schedule=plateau": ["optim.schedule=plateau", "optim.patience=0", "monitor=val/loss", "monitor_mode=min"],
    "accumulate": ["trainer.accumulate=2", "batch_size=2"],
    "accumulate, odd": ["trainer.accumulate=2", *SMALL],
    "bf16": ["trainer.precision=bf16-mixed"],
    "clip": ["trainer.clip=.1"],
    "early stop": ["callbacks=early_stop", "callbacks.early_stop.patience=2"],
    "ema": ["ema=.9"],
    "ema, accumulate": ["ema=.9", "trainer.accumulate=2", *SMALL],
    "loss with ramps": ["loss=dice_boundary"],
    "rare classes": ["task=multiclass", "data.oversample=.5", "data.repeat=1", "crop=16"],
    "workers": ["num_workers=2", "mix=copy_paste"],
}
# run by hand: what they carry from step to step, others carry too
ALIKE = (
    *("aug=randaugment", "aug=trivialaugment", "aug=autoaugment", "schedule=constant", "schedule=poly", "optim=adamw"),
    *("aug=heavy", "mix=cutmix", "mix=mosaic", "mix=classmix", "accumulate", "ema", "clip", "schedule=cosine"),
    *("schedule=onecycle", "optim=sgd", "mix=mixup", "early stop", "accumulate, odd", "rare classes"),
)
GOES_ON = ["~callbacks.stop", "--allow", "tests"]  # without what has stopped it
Change = Callable[[dict[str, Any]], None]


def interrupted(output: Path, step: int, *words: str) -> Run:
    """Stopped by an error before the given step, then continued by resume=latest."""
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, *words, f"output_dir={output}"]
    assert main([*command, *tiny.stop_at(step)]) == 1
    assert read_run(find_latest(output)).status == "failed"
    assert main(["train", "resume=latest", f"output_dir={output}", "~callbacks.stop"]) == 0
    return read_run(find_latest(output))


def same(one: Run, other: Run) -> None:
    """Equal weights, optimizer, curves and scores, bit for bit."""
    assert tiny.differing(tiny.weights(one), tiny.weights(other)) == []
    assert curves(one) == curves(other)
    assert read_run(one.folder).summary["test"] == read_run(other.folder).summary["test"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.train(tmp_path_factory.mktemp("whole"), *STEPS)


@pytest.mark.parametrize("step", tiny.every(3, [1, 2, 3, 4, 5]))
@pytest.mark.fault("Resume", "end of an epoch, and its middle at every step", "bit-identical")
def test_resume_at_every_step_is_bit_identical(tmp_path: Path, whole: Run, step: int) -> None:
    same(whole, interrupted(tmp_path, step))


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in VARIANTS]
)
@pytest.mark.fault("Resume", "every mixing, schedule and optimizer, accumulation, bf16, clip, workers", "bit-identical")
def test_resume_is_bit_identical_with(tmp_path: Path, variant: str) -> None:
    words = VARIANTS[variant]
    reference = tiny.train(tmp_path / "whole", *STEPS, *words)
    steps = int(curves(reference)[-1]["step"])
    same(reference, interrupted(tmp_path / "cut", steps // 2, *words))  # within the second epoch


@pytest.mark.parametrize(("workers", "step"), tiny.every(10, [(w, s) for w in (2, 0) for s in (2, 1, 3, 4, 5)]))
@pytest.mark.fault("Resume", "rare classes repeated, at every step, with workers", "bit-identical")
def test_resume_at_every_step_with_weights_repeats_and_forced_crops(tmp_path: Path, workers: int, step: int) -> None:
    root = tiny.make_folder(tmp_path / "data", ids=(0, 1, 2), counts=(6, 1, 1), sizes=[(40, 36), (20, 20)])
    layout = ["data.layout._target_=tests.tiny.Weighted", "--allow", "tests"]
    words = [*tiny.folder(root, "data.oversample=.5", "data.repeat=1"), *layout, "aug=light", "crop=24", "epochs=2"]
    words += [*tiny.NET, "batch_size=2", "~callbacks.pictures", "checkpoint.every_steps=1"]
    assert main(["train", *words, f"output_dir={tmp_path / 'whole'}"]) == 0
    reference = read_run(find_latest(tmp_path / "whole"))
    assert int(curves(reference)[-1]["step"]) == 6
    assert {float(row["train_sampling/forced"]) > 0 for row in curves(reference)} == {True}
    output = f"output_dir={tmp_path / 'cut'}"
    assert main(["train", *words, f"num_workers={workers}", output, *tiny.stop_at(step)]) == 1
    assert main(["train", "resume=latest", output, *GOES_ON]) == 0
    run = read_run(find_latest(tmp_path / "cut"))
    assert tiny.differing(tiny.weights(reference), tiny.weights(run)) == []
    assert curves(reference) == curves(run)


@pytest.mark.fault("Resume", "another number of workers", "bit-identical")
def test_the_number_of_workers_changes_nothing(tmp_path: Path, whole: Run) -> None:
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, f"output_dir={tmp_path}", "num_workers=2"]
    assert main([*command, *tiny.stop_at(3)]) == 1
    assert main(["train", "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop", "num_workers=1"]) == 0
    assert tiny.differing(tiny.weights(whole), tiny.weights(read_run(find_latest(tmp_path)))) == []


@pytest.mark.fault("Resume", "curves of TensorBoard", "no step twice, none missing")
def test_tensorboard_curves_have_no_step_twice_and_none_missing(tmp_path: Path) -> None:
    run = interrupted(tmp_path, 3)
    for tag in ("val/iou", "train/loss", "perf/images_per_s", "optim/lr"):
        assert [event.step for event in scalars(run, tag)] == [1, 3, 5]
    assert len(scalars(run, "test/iou")) == 1


def test_more_epochs_continue_a_finished_run(tmp_path: Path) -> None:
    first = tiny.train(tmp_path, "optim.schedule=constant", "epochs=1")
    assert main(["train", "resume=latest", "epochs=2", f"output_dir={tmp_path}"]) == 0
    assert read_run(first.folder).summary["epochs"] == 2
    assert len(curves(first)) == 2


def test_words_that_are_typed_again_count_once(tmp_path: Path) -> None:
    words = ["train", *tiny.SYNTHETIC, *tiny.FAST, "optim.schedule=constant", f"output_dir={tmp_path}"]
    words += ["+loss@loss.terms.focal=focal", "+loss.weights.focal=.5"]
    assert main([*words, "epochs=1"]) == 0
    assert main([*words, "epochs=2", "resume=latest"]) == 0
    assert read_run(find_latest(tmp_path)).summary["epochs"] == 2


@pytest.mark.fault("Resume", "resume=auto", "the newest unfinished run of the same configuration, else a new one")
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
    tiny.every(
        3,
        [
            (["loss=focal"], "settings differ (loss: ce + dice then, focal now); begin"),
            (["loss=jaccard"], "settings differ (loss: ce + dice then, jaccard now); begin"),
            (["loss.weights.ce=.5"], "settings differ (loss.weights.ce: 1.0 then, 0.5 now); begin"),
            (["seed=9"], "seed: 1 then, 9 now"),
            (["data.foreground=.3"], "data.foreground"),
        ],
    ),
)
@pytest.mark.fault("Resume", "changed loss, seed or data", "refused, with the difference")
def test_another_setting_is_refused(
    tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.train(tmp_path, "epochs=1")
    assert main(["train", "resume=latest", f"output_dir={tmp_path}", *words]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.fault("Resume", "changed batch size", "refused within an epoch; between two, a warning")
def test_another_batch_size_is_refused_within_an_epoch_and_allowed_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, f"output_dir={tmp_path}"]
    assert main([*command, *tiny.stop_at(3)]) == 1
    again = ["train", "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop", "batch_size=5"]
    assert main(again) == 1
    refused = capsys.readouterr().err
    assert "resume in the middle of an epoch" in refused
    assert "keep them until the epoch has ended, or begin a new run with init_from=" in refused
    assert main([*command, *tiny.stop_at(2)]) == 1
    assert main(again) == 0
    assert "batch_size changes from 4 to 5" in capsys.readouterr().out


def test_a_one_cycle_schedule_is_not_drawn_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.train(tmp_path, "epochs=1", "optim.schedule=onecycle")
    assert main(["train", "resume=latest", "epochs=2", f"output_dir={tmp_path}"]) == 1
    assert "epochs: 1 then, 2 now" in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["latest", "nowhere", "auto-matic", "x" * 5000])
@pytest.mark.fault("Resume", "no such run", "one sentence, exit 1")
def test_nothing_to_resume_is_one_sentence(tmp_path: Path, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"resume={spec}", f"output_dir={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.fault("Resume", "moved run folder", "continued where it is")
def test_a_moved_run_folder_is_continued_where_it_is(tmp_path: Path) -> None:
    run = tiny.train(tmp_path / "here", "epochs=1")
    moved = Path(shutil.move(run.folder, tmp_path / "moved"))
    assert (
        main(["train", f"resume={moved}", "epochs=2", "optim.schedule=cosine", f"output_dir={tmp_path / 'here'}"]) == 0
    )
    assert torch.load(Run(moved).last, weights_only=True)["epoch"] == 1


def scalars(run: Run, tag: str) -> list[Any]:
    """The points of a curve, as TensorBoard shows them."""
    events = EventAccumulator(str(run.folder), size_guidance={"scalars": 0})
    events.Reload()
    found: list[Any] = events.Scalars(tag)
    return found


@pytest.mark.parametrize("cut", tiny.every(3, [1, 7, 100]))
@pytest.mark.fault("Environment", "event file truncated", "the curve goes on, no step twice")
def test_a_truncated_event_file(tmp_path: Path, cut: int) -> None:
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, f"output_dir={tmp_path}"]
    assert main([*command, *tiny.stop_at(3)]) == 1
    (path,) = find_latest(tmp_path).glob("events.*")
    path.write_bytes(path.read_bytes()[:-cut])
    assert main(["train", "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop"]) == 0
    steps = [event.step for event in scalars(read_run(find_latest(tmp_path)), "val/iou")]
    assert steps in ([1, 3, 5], [3, 5])  # what was cut off is gone
    assert steps[-2:] == [3, 5]


def edit(run: Run, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite last.ckpt."""
    checkpoint = torch.load(run.last, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, run.last)


def progress_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds of the optimizer's steps."""
    loop = checkpoint["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"]
    progress: dict[str, Any] = loop["optimizer"]
    return progress


def state_of(checkpoint: dict[str, Any], callback: str) -> dict[str, Any]:
    """What a checkpoint holds of a callback."""
    (state,) = (value for key, value in checkpoint["callbacks"].items() if key.startswith(callback))
    assert isinstance(state, dict)
    return state


@pytest.mark.parametrize("name", ["here", "moved"])
def test_a_worse_epoch_does_not_replace_the_best_of_a_moved_run(tmp_path: Path, name: str) -> None:
    run = tiny.train(tmp_path, "epochs=1", "optim.schedule=constant")
    # no epoch can reach this score
    edit(run, lambda checkpoint: state_of(checkpoint, "KeepBest").update(best_model_score=torch.tensor(2.0)))
    folder = run.folder if name == "here" else Path(shutil.move(run.folder, tmp_path / name))
    best = Run(folder).best.read_bytes()
    assert main(["train", f"resume={folder}", "epochs=2", f"output_dir={tmp_path}"]) == 0
    assert Run(folder).best.read_bytes() == best


def test_a_moved_run_without_its_best_makes_a_new_one(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "epochs=1", "optim.schedule=constant")
    edit(run, lambda checkpoint: state_of(checkpoint, "KeepBest").update(best_model_score=torch.tensor(2.0)))
    run.best.unlink()
    assert main(["train", "resume=latest", "epochs=2", f"output_dir={tmp_path}"]) == 0
    assert run.best.is_file()


@pytest.mark.fault("Resume", "changed number of processes", "refused within an epoch; between two, a warning")
def test_another_number_of_processes_is_refused_within_an_epoch_and_allowed_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, f"output_dir={tmp_path}"]
    again = ["train", "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop"]
    for step in (3, 2):
        assert main([*command, *tiny.stop_at(step)]) == 1
        run = read_run(find_latest(tmp_path))
        edit(run, lambda checkpoint: checkpoint["segtrain"].update(processes=2))
        capsys.readouterr()
        assert main(again) == (1 if step == 3 else 0)
        said = capsys.readouterr()
        assert ("in the middle of an epoch" in said.err) == (step == 3)
        assert ("number of processes: 2 then, 1 now" in said.err) == (step == 3)
        assert ("number of processes changes from 2 to 1" in said.out) == (step == 2)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Resume]:
    """Two runs: one stopped within its second epoch, one behind its first."""
    found = {}
    for place, step in (("within", 3), ("behind", 2)):
        output = tmp_path_factory.mktemp(place)
        command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, "trainer=cpu", f"output_dir={output}"]
        assert main([*command, *tiny.stop_at(step)]) == 1
        found[place] = newest(find_latest(output), print)
    return found


@pytest.mark.parametrize(
    ("key", "value", "refused", "said"),
    [
        ("accumulate", 2, ["within"], ["behind"]),
        ("precision", "32-true", ["within"], ["behind"]),
        ("sync_batchnorm", True, ["within"], ["behind"]),
        ("clip", 0.5, ["within", "behind"], []),
        ("limit_train", 1, ["within", "behind"], []),
        ("limit_val", 1, ["within", "behind"], []),
        ("limit_test", 1, [], []),
        ("log_every", 1, [], []),
        ("check", "step", [], []),
        ("activation_checkpointing", True, [], []),
        ("accelerator", "gpu", [], []),
        ("devices", "auto", [], []),
        ("num_nodes", 2, [], []),
        ("strategy", "ddp", [], []),
    ],
)
def test_what_of_the_trainer_may_change(
    stopped: dict[str, Resume], key: str, value: object, refused: list[str], said: list[str]
) -> None:
    for place, resume in stopped.items():
        config = copy.deepcopy(resume.content["segtrain"]["config"])
        assert config["trainer"][key] != value
        config["trainer"][key] = value
        lines: list[str] = []
        if place in refused:
            with pytest.raises(UserError, match=f"trainer.{key}: "):
                check_continuation(resume, config, 1, lines.append)
        else:
            check_continuation(resume, config, 1, lines.append)
        assert any(f"trainer.{key} changes from" in line for line in lines) == (place in said)


EARLY = ["callbacks=early_stop", "callbacks.early_stop.patience=1", "lr=1e-12", "epochs=9", "optim.schedule=constant"]


def test_a_run_that_was_stopped_early_goes_on_only_with_more_patience_or_epochs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny.train(tmp_path, *EARLY)
    stopped = len(curves(run))
    assert stopped < 5
    again = ["train", "resume=latest", f"output_dir={tmp_path}"]
    assert main(again) == 0
    assert f"is done already, after {stopped} epochs" in capsys.readouterr().out
    (run.folder / "summary.json").unlink()
    set_status(run.folder, "failed")  # in its test
    assert main(again) == 0
    assert len(curves(run)) == stopped
    assert (run.folder / "summary.json").is_file()
    assert main([*again, "callbacks.early_stop.patience=3"]) == 0
    assert len(curves(run)) == stopped + 2
    assert main([*again, "callbacks.early_stop.patience=3", "epochs=10"]) == 0
    assert len(curves(run)) == stopped + 3


def test_the_checkpoint_with_the_most_steps_is_continued(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.last.parent.mkdir()
    loops = {
        "epoch_progress": {"current": {"ready": 1, "processed": 1}},
        "epoch_loop.batch_progress": {"is_last_batch": True},
    }
    content = {"state_dict": {}, "callbacks": {}, "loops": {"fit_loop": loops}, "segtrain": {"config": {"epochs": 2}}}

    def chosen(last: int, best: int) -> str:
        for path, step in ((run.last, last), (run.best, best)):
            torch.save(content | {"global_step": step}, path)
        os.utime(run.last, (1, 1) if last == best else None)
        os.utime(run.best, (1, 1) if last < best else None)
        return newest(tmp_path, print).checkpoint.name

    assert chosen(2, 4) == "best.ckpt"  # although last.ckpt is the newer file
    assert chosen(4, 2) == "last.ckpt"
    assert chosen(4, 4) == "last.ckpt"


def test_the_summary_counts_all_sessions(tmp_path: Path) -> None:
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *STEPS, f"output_dir={tmp_path}"]
    assert main([*command, *tiny.stop_at(3)]) == 1
    run = read_run(find_latest(tmp_path))
    counted = state_of(torch.load(run.last, weights_only=True), "Speed")
    assert counted["images"] == 3 * 4
    assert 0 < counted["seconds"] < counted["total"]
    edit(run, lambda checkpoint: state_of(checkpoint, "Speed").update(images=10**9, seconds=1000.0, total=3000.0))
    assert main(["train", "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop"]) == 0
    summary = read_run(run.folder).summary
    assert 3000 < summary["seconds"] < 3600
    assert 10**9 / 1600 < summary["images_per_s"] <= 10**9 / 1000


@pytest.mark.fault("Resume", "kill right after a save", "no epoch is lost from metrics.csv and TensorBoard")
def test_a_kill_right_after_the_save_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = KeepLast.save

    def killed(self: KeepLast, trainer: Any) -> None:
        save(self, trainer)
        raise RuntimeError("killed by the test")

    with monkeypatch.context() as patched:
        patched.setattr(KeepLast, "save", killed)
        assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, f"output_dir={tmp_path}"]) == 1
    assert main(["train", "resume=latest", f"output_dir={tmp_path}"]) == 0
    run = read_run(find_latest(tmp_path))
    assert [row["epoch"] for row in curves(run)] == ["1", "2"]
    assert [event.step for event in scalars(run, "val/iou")] == [1, 3]


@pytest.mark.parametrize(
    "change",
    tiny.every(
        3,
        [
            lambda c: c["state_dict"].pop("net.mean"),
            lambda c: c["state_dict"].update({"net.mean": torch.zeros(7)}),
            lambda c: c["state_dict"].update({"means.test_loss.mean_value": torch.tensor(3)}),
            lambda c: c["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(7)),
            lambda c: c["optimizer_states"][0]["state"][0].update(exp_avg_sq=torch.zeros(())),
            lambda c: c["optimizer_states"][0]["state"][0].update(step=torch.zeros(2)),
            lambda c: c["optimizer_states"][0]["state"].update({0: 3}),
            lambda c: c["lr_schedulers"][0].update(base_lrs="x"),
            lambda c: c["loops"]["fit_loop"]["epoch_progress"]["current"].update(ready="x"),
            lambda c: state_of(c, "Speed").update(total=torch.zeros(2)),
            lambda c: progress_of(c)["step"]["total"].update(completed=[1]),
            lambda c: c["loops"]["fit_loop"].update(epoch_progress=torch.zeros(2)),
            lambda c: c.pop("loops"),
            lambda c: c.pop("callbacks"),
            lambda c: c["segtrain"]["config"].update(epochs="2"),
            lambda c: c.update(global_step=[1]),
        ],
    ),
)
def test_a_state_that_no_training_can_go_on_from_is_one_sentence(
    tmp_path: Path, change: Change, stopped: dict[str, Resume], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(stopped["within"].folder, tmp_path / "run"))
    run = Run(folder)
    run.best.unlink(missing_ok=True)
    edit(run, change)
    assert main(["train", f"resume={run.last}", f"output_dir={tmp_path}", *GOES_ON]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {run.last}: ")
    assert error.count("\n") == 1
    assert "--traceback" not in error


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.csv", b"epoch,step\nx,1\n"),
        ("metrics.csv", b"step\n1\n"),
        ("metrics.csv", b"epoch,val/iou\n1,much\n"),
        ("metrics.csv", b"epoch\n\xff\n"),
        ("overrides.yaml", b"- \xff\n"),
        ("overrides.yaml", b"a: b\n"),
        ("overrides.yaml", b"- [1]\n"),
        ("overrides.yaml", b"- 'a\n"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(
    tmp_path: Path, name: str, content: bytes, stopped: dict[str, Resume], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(stopped["within"].folder, tmp_path / "run"))
    (folder / name).write_bytes(content)
    assert main(["train", f"resume={folder}", f"output_dir={tmp_path}", *GOES_ON]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder / name}: ")
    assert error.count("\n") == 1

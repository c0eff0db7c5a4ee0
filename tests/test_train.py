"""Real trainings through the command line, one per main feature, and what they leave behind."""

from __future__ import annotations

import csv
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import segtrain
from segtrain.assemble import Request
from segtrain.cli import main
from segtrain.cli.compose import compose
from segtrain.run import evaluate
from segtrain.runs import Run
from tests import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One finished run of the default configuration in small."""
    return tiny.train(tmp_path_factory.mktemp("outputs"), fast=tiny.BARE)


def tags(run: Run, kind: str) -> list[str]:
    events = EventAccumulator(str(run.folder), size_guidance={"scalars": 0})
    events.Reload()
    found: list[str] = events.Tags()[kind]
    return found


def test_the_run_folder_holds_what_is_promised(run: Run) -> None:
    names = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    promised = {"config.yaml", "overrides.yaml", "env.json", "train.log", "metrics.csv", "summary.json", "status"}
    promised |= {"checkpoints/best.ckpt", "checkpoints/last.ckpt", "plots/predictions.png", "plots/confusion.png"}
    promised |= {"plots/reliability.png"}
    assert promised <= names
    (events,) = names - promised
    assert events.startswith("events.out.tfevents.")
    assert run.status == "done"
    assert (run.folder.parents[1] / "latest").resolve() == run.folder.resolve()
    assert run.folder.name.startswith("dice_ce-light-s1_")
    assert len(run.folder.name) <= 40


def test_the_summary_has_the_names_that_scripts_rely_on(run: Run) -> None:
    summary = tiny.summary(run)
    for key in ("seconds", "images_per_s", "command", "git"):
        assert key in summary
    expected = {"status": "done", "loss": "dice_ce", "aug": "light", "model": "unet_tiny", "seed": 1}
    assert expected.items() <= summary.items()
    assert {"epoch", "iou", "dice"} <= summary["val_best"].keys()
    assert {"iou", "dice"} == summary["test"]["class"]["foreground"].keys()
    assert 0 <= summary["test"]["iou"] <= summary["test"]["dice"] <= 1
    assert {"probe_nll", "probe_brier", "probe_ece"} <= summary["test"].keys() & summary["val_best"].keys()
    assert run.score == summary["val_best"]["score"]


def test_tensorboard_has_the_tags_of_the_conventions(run: Run) -> None:
    scalars = tags(run, "scalars")
    for tag in ("train/loss", "val/loss", "val/iou", "val/dice", "val/precision", "val/recall", "val/accuracy"):
        assert tag in scalars
    for tag in ("val_image/iou", "val_micro/dice", "train_parts/dice", "train_parts/ce", "optim/lr", "optim/grad_norm"):
        assert tag in scalars
    assert {"perf/images_per_s", "perf/data_wait", "val_best/iou", "val_best/dice"} <= set(scalars)
    assert {"val_probe/nll", "val_probe/brier", "val_probe/ece"} <= set(scalars)
    assert {"train/batch", "val/predictions", "val/confusion", "val/reliability"} <= set(tags(run, "images"))
    assert "val_pr/foreground" in tags(run, "tensors")
    assert not {"hp_metric", "epoch"} & set(scalars)
    layouts = [tag for tag in tags(run, "tensors") if "custom_scalars" in tag]
    assert layouts
    events = EventAccumulator(str(run.folder))
    events.Reload()
    assert [event.step for event in events.Scalars("val/iou")] == [1, 3]  # two epochs of two steps; no false point at 0


def test_the_table_has_one_row_an_epoch(run: Run) -> None:
    with (run.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "2"), ("2", "4")]
    best = max(float(row["val/iou"]) for row in rows)
    assert tiny.summary(run)["val_best"]["iou"] == pytest.approx(best, abs=1e-6)


def test_the_checkpoint_is_plain_data(run: Run) -> None:
    checkpoint = torch.load(run.best, weights_only=True)
    assert checkpoint["segtrain"]["format"] == 1
    assert checkpoint["segtrain"]["config"]["loss"]["terms"].keys() == {"dice", "ce"}


@pytest.mark.parametrize(
    ("mode", "loss", "classes"), [("multiclass", "focal", 4), ("multilabel", "dice_bce", 3), ("binary", "tversky", 1)]
)
def test_every_mode_trains_on_synthetic_data(tmp_path: Path, mode: str, loss: str, classes: int) -> None:
    run = tiny.train(tmp_path, f"task={mode}", f"loss={loss}", "epochs=1")
    assert len(tiny.summary(run)["test"]["class"]) == classes


def test_a_folder_of_images_of_several_sizes_trains(tmp_path: Path) -> None:
    root = tiny.make_folder(tmp_path / "squares")
    run = tiny.train(tmp_path / "out", "loss=balanced_bce", "aug=heavy", data=tiny.folder(root))
    assert run.folder.parent.name == "squares"
    assert list(tiny.summary(run)["test"]["class"]) == ["foreground"]
    stats = json.loads(json.dumps(torch.load(run.best, weights_only=True)["segtrain"]["config"]["stats"]))
    masks = [np.asarray(Image.open(p)) for p in sorted((root / "masks" / "train").iterdir())]
    assert stats["positives"] == [sum(int((m == 255).sum()) for m in masks)]


def test_a_view_makes_one_class_binary_and_ignores_another(tmp_path: Path) -> None:
    root = tiny.make_folder(tmp_path / "squares", ids=(0, 1, 2, 11))
    data = tiny.folder(root, "data.classes={2: second}", "data.ignore_ids=[11]")
    run = tiny.train(tmp_path / "out", "epochs=1", data=data)
    stored = torch.load(run.best, weights_only=True)["segtrain"]
    assert (stored["task"]["mode"], stored["task"]["names"]) == ("binary", ["second"])
    ignored = sum(int((np.asarray(Image.open(p)) == 11).sum()) for p in (root / "masks" / "train").iterdir())
    pixels = sum(np.asarray(Image.open(p)).size for p in (root / "masks" / "train").iterdir())
    assert stored["config"]["stats"]["valid"] == [pixels - ignored]


@pytest.mark.parametrize(
    "option", tiny.every(4, ["optim=sgd", "optim.schedule=poly", "optim.schedule=onecycle", "optim.schedule=plateau"])
)
def test_each_optimizer_and_schedule_trains(tmp_path: Path, option: str) -> None:
    run = tiny.train(tmp_path, option)
    with (run.folder / "metrics.csv").open() as file:
        rates = [float(row["optim/lr"]) for row in csv.DictReader(file)]
    assert all(0 <= rate <= 2e-3 * 1.0001 for rate in rates), rates


@pytest.mark.slow
def test_any_net_of_the_library_trains(tmp_path: Path) -> None:
    net = ["model=unet_resnet34", "model.arch=fpn", "model.encoder=resnet18"]
    run = tiny.train(tmp_path, "epochs=1", "crop=40", fast=[*net, "batch_size=4", "callbacks.pictures.samples=1"])
    assert "-unet_resnet34-" in run.folder.name


def test_init_from_takes_the_weights_and_says_which_not(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.train(tmp_path, "task=multiclass", "epochs=1", f"init_from={run.folder}", "lr=1e-9")
    assert "new: net.head.bias, net.head.weight" in capsys.readouterr().out
    old, new = (
        torch.load(r.last, weights_only=True)["state_dict"] for r in (run, tiny.read_run(tiny.find_latest(tmp_path)))
    )
    best = torch.load(run.best, weights_only=True)["state_dict"]
    assert torch.allclose(new["net.net.up.0.weight"], best["net.net.up.0.weight"], atol=1e-6)
    assert old["net.net.head.weight"].shape != new["net.net.head.weight"].shape


def test_a_callback_stops_early(tmp_path: Path) -> None:
    words = ["callbacks=early_stop", "callbacks.early_stop.patience=1", "lr=1e-12", "epochs=9"]
    run = tiny.train(tmp_path, *words)
    with (run.folder / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) < 9


@pytest.mark.slow
def test_a_sweep_trains_each_combination_and_finds_finished_ones_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "-m", *tiny.SYNTHETIC, *tiny.FAST, "epochs=1", f"output_dir={tmp_path}", "name=grid"]
    assert main([*words, "loss=bce,dice"]) == 0
    folders = {path.name for path in (tmp_path / "sweeps" / "grid").iterdir() if path.is_dir()}
    assert folders == {"loss=bce", "loss=dice"}
    assert all((tmp_path / "sweeps" / "grid" / name / "summary.json").is_file() for name in folders)
    capsys.readouterr()
    assert main([*words, "loss=bce,dice"]) == 0
    assert capsys.readouterr().out.count("is done already") == 2


@pytest.mark.slow
def test_a_sweep_of_other_settings_is_not_taken_for_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "-m", *tiny.SYNTHETIC, *tiny.FAST, "epochs=1", f"output_dir={tmp_path}", "name=grid", "seed=1,2"]
    assert main(words) == 0
    assert main([*words, "loss=focal"]) == 1
    assert "holds a run of other settings" in capsys.readouterr().err


def test_evaluation_of_a_quick_look_is_of_the_whole_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = tiny.train(tmp_path, "epochs=1", "trainer.limit_test=0")
    assert main(["evaluate", f"run={cut.folder}", f"output_dir={tmp_path}"]) == 0
    assert "foreground" in capsys.readouterr().out


@pytest.mark.slow
def test_one_failing_run_of_a_sweep_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "-m", *tiny.SYNTHETIC, *tiny.FAST, "epochs=1", f"output_dir={tmp_path}", "name=grid"]
    assert main([*words, "loss=focal", "loss.gamma=-1,2"]) == 1
    assert "gamma must be a number >= 0, got -1" in capsys.readouterr().err
    assert (tmp_path / "sweeps" / "grid" / "loss.gamma=2" / "summary.json").is_file()


def test_evaluate_gives_the_scores_of_the_summary(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", f"run={run.folder}", f"output_dir={run.folder.parents[1]}"]) == 0
    assert f"{tiny.summary(run)['test']['iou']:.4f}" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_train_one_net_and_score_each_image_once(tmp_path: Path) -> None:
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "num_workers=0"]
    words = [*tiny.SYNTHETIC, *tiny.FAST, "epochs=1", f"output_dir={tmp_path}", *ranks]
    command = [sys.executable, "-m", "segtrain", "train", *words]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/1") == 1
    run = tiny.read_run(tiny.find_latest(tmp_path))
    assert len(list(run.folder.parent.iterdir())) == 1
    config, choices = compose("evaluate", [*words, "trainer=cpu", "trainer.devices=1", f"run={run.folder}"])
    alone = evaluate(Request(config, choices))
    together = tiny.summary(run)["test"]
    for name in ("iou", "dice", "precision", "recall", "accuracy"):
        assert together[name] == pytest.approx(alone[f"test/{name}"], abs=1e-6)  # as rounded in the summary


def test_the_python_interface_trains_and_predicts(tmp_path: Path) -> None:
    done = segtrain.train([*tiny.SYNTHETIC, *tiny.FAST, "epochs=1", f"output_dir={tmp_path}"])
    assert done.status == "done"
    predict = segtrain.load(done.folder)
    image = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    mask = predict(image)
    assert mask.shape == (37, 50)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1}
    assert np.array_equal(predict(image.astype(np.float64) / 255), mask)
    for bad in (image.astype(np.float32), np.full((4, 4, 3), np.nan), image.astype(np.uint16), image[..., :2]):
        with pytest.raises(ValueError, match=r"the image must be|a float image must be"):
            predict(bad)


def test_the_same_command_trains_the_same_net(tmp_path: Path, run: Run) -> None:
    again = tiny.train(tmp_path)
    assert tiny.differing(tiny.weights(run), tiny.weights(again)) == []
    other = tiny.train(tmp_path, "seed=2")
    assert tiny.differing(tiny.weights(run), tiny.weights(other))


def test_nothing_is_left_open_in_the_log(run: Run) -> None:
    assert not [h for h in logging.getLogger("segtrain").handlers if isinstance(h, logging.FileHandler)]
    assert "test split" in (run.folder / "train.log").read_text()

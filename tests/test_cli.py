"""The command line: help at once, one sentence for what is wrong, nothing heavy until it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from segtrain.cli import COMMANDS, main
from segtrain.console import listed
from segtrain.task import Task
from tests import tiny

HEAVY = ("torch", "lightning", "albumentations", "hydra", "cv2", "numpy")


def wrong(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence of a command that must fail with exit code 1."""
    assert main(list(words)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, segtrain, segtrain.cli, segtrain.cli.help; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"segtrain {command}: " in shown
    assert "examples:" in shown


def test_the_overview_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize(
    ("words", "parts"),
    tiny.every(
        3,
        [
            (["loss=fcal"], ["loss=fcal", "did you mean focal?", "balanced_bce, bce, boundary, ce"]),
            (["losss=focal"], ["losss=focal", "did you mean loss?"]),
            (["loss=focal", "loss.gama=3"], ["loss.gama=3", "did you mean loss.gamma"]),
            (["loss.gama=3", "loss=focal"], ["did you mean loss.gamma"]),
            (["gamma=3", "loss=focal"], ["gamma=3", "did you mean loss.gamma?"]),
            (["gamma=3"], ["gamma belongs to loss=focal"]),
            (["epoch=3"], ["epoch=3", "did you mean epochs?"]),
            (["encoder=resnet18"], ["encoder belongs to model=unet_lite0 and model=unet_resnet34"]),
            (["data.root=x"], ["the data that is chosen has no root; add data=folder (or another that has root: city"]),
            (["data.layout.masks=x", "data.root=y"], ["has no layout; add data=folder"]),
            (["data=folder", "data.root=x", "data.foreground=.1"], ["data.foreground=.1: ", "; add data=synthetic\n"]),
            (["root=x"], ["root belongs to data=folder\n"]),
            (["data=foldr"], ["did you mean folder?; data has: cityscapes, coco"]),
            (["loss.weights.focal=.5"], ["there is no term focal", "+loss@loss.terms.focal=focal"]),
            (["loss.weights.dic=.5"], ["there is no term dic - did you mean dice?"]),
            (["loss.terms.focal.gamma=3"], ["there is no term focal", "+loss@loss.terms.focal=focal"]),
            (
                ["loss.weights.focal=.5", "+loss@loss.terms.focal=focal"],
                ["loss.weights has no focal yet", "+loss.weights.focal=.5"],
            ),
            (["loss=dice", "loss.weights.ce=2"], ["no combination, so it has no weights", "loss=dice_ce"]),
            (["-m", "loss=bce,fcal"], ["loss=fcal", "did you mean focal?"]),
            (["-m", "loss=focal", "loss.gama=1,2"], ["loss.gama=1", "did you mean loss.gamma"]),
            (["focal"], ["cannot read 'focal'", "key=value"]),
            (["data=folder"], ["data.root has no value", "data.root=..."]),
            (["--multirnu"], ["no flag --multirnu", "did you mean --multirun?"]),
            (["loss.gama=2"], ["no such key here; gamma belongs to loss=focal"]),
            (["epochs = 3"], ["cannot read 'epochs = 3'; write epochs=3"]),
            (["loss..gamma=3"], ["a key is names joined by single dots"]),
            (["+loss=focal"], ["write loss=focal"]),
            (["--loss=focal"], ["no flag --loss; settings are written without dashes: loss=focal"]),
            (["-m", "loss=glob(*)"], ["-m takes values"]),
            (["=3"], ["cannot read '=3'", "key=value"]),
            (["name='my run"], ["as in \"name='my run'\""]),
            (["loss=bce,dice"], ["loss=bce,dice: several values need -m"]),
            (["loss=null"], ["loss=null: no such option; loss has: auto, balanced_bce"]),
            (["~loss"], ["~loss: nothing runs without loss"]),
            (["name=${nope}"], ["name: Interpolation key 'nope' not found"]),
            (["output_dir="], ["output_dir is empty; give a path"]),
            (["output_dir=null"], ["output_dir is empty; give a path"]),
            (["resume="], ["resume is empty; give a path, or leave resume= out"]),
            (["--cfg", "job", "loss=fcal"], ["loss=fcal: no such option - did you mean focal?"]),
            (["-m", "--cfg", "job", "seed=1,2"], ["-m and --cfg do not go together"]),
            (["--resolve"], ["--resolve goes with --cfg job"]),
            (["--allow"], ["--allow needs a value"]),
            (["--config-dir", "nowhere"], ["--config-dir nowhere: no such folder"]),
        ],
    ),
)
def test_misspelt_words_are_answered_with_the_right_one(
    words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    error = wrong(capsys, "train", *words)
    for part in parts:
        assert part in error


@pytest.mark.parametrize(
    ("words", "part"),
    tiny.every(
        3,
        [
            (["epochs=abc"], "epochs must be a whole number >= 1, got 'abc'"),
            (["epochs=0"], "epochs must be a whole number >= 1, got 0"),
            (["batch_size=0"], "batch_size must be auto or a whole number >= 1, got 0"),
            (["lr=-1"], "lr must be auto or a number > 0, got -1"),
            (["lr=high"], "lr must be auto or a number > 0, got 'high'"),
            (["lr=atuo"], "got 'atuo' - did you mean auto?"),
            (["seed=x"], "seed must be a whole number >= 0, got 'x'"),
            (["crop=big"], "crop must be a number of pixels"),
            (["monitor=val/iuo"], "did you mean val/iou?"),
            (["monitor_mode=up"], "monitor_mode must be one of max, min"),
            (["loss=focal", "loss.gamma=abc"], "focal: gamma must be a number >= 0, got 'abc'"),
            (["loss=dice_bce", "loss.weights.dicee=1"], "dicee"),
            (["loss=dice_bce", "loss.weights.dice=-1"], "loss.weights.dice must be a number >= 0"),
            (["loss=bce", "task=multiclass"], "use loss=ce"),
            (["model.width=0"], "model.width must be a whole number >= 1"),
            (["trainer=gpu"], "torch finds no such device here"),
            (["trainer.precision=16-mixed"], "is for prediction alone; use auto, bf16-mixed or 32-true"),
            (["trainer.precision=8"], "trainer.precision must be one of"),
            (["trainer.check=never"], "trainer.check must be one of log, step"),
            (["checkpoint.every_steps=0"], "checkpoint.every_steps must be a whole number >= 1"),
            (["optim.schedule=cosin"], "did you mean cosine?"),
            (["num_workers=-1"], "num_workers must be auto or a whole number >= 0, got -1"),
            (["metrics.empty_score=2"], "empty_score must be null, 0 or 1, got 2"),
            (["init_from=nowhere"], "init_from=nowhere: no such run folder"),
            (["+aug.train.spin={op:Rotat}"], "did you mean Rotate?"),
            (["aug.train.affine.degree=3"], "aug.train.affine.degrees"),
            (["+loss.terms.mine={_target_:os.system}"], "is not allowed to run"),
            (["data.foreground=2"], "data.foreground must be a number in [0.001, 0.5], got 2"),
        ],
    ),
)
def test_values_out_of_range_stop_before_anything_is_written(
    words: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    error = wrong(capsys, "train", *tiny.SYNTHETIC, *tiny.FAST, *words, f"output_dir={output}")
    assert part in error
    assert not output.exists()


@pytest.mark.parametrize(
    ("break_it", "parts"),
    [
        (lambda r: (r / "masks" / "train" / "train0.png").unlink(), ["train0.png: no mask"]),
        (lambda r: (r / "images" / "val" / "val0.png").write_bytes(b"<html>"), ["val0.png", "6 bytes", "replace"]),
        (lambda r: Image.new("L", (5, 5)).save(r / "masks" / "test" / "test0.png"), ["5 x 5 pixels", "one size"]),
        (lambda r: Image.new("L", (32, 32), 7).save(r / "masks" / "val" / "val0.png"), ["ids [7]", "data.ignore_ids"]),
        (lambda r: [p.unlink() for p in (r / "masks" / "val").iterdir()], ["no mask"]),
        (lambda r: (r / "masks").rename(r / "mine"), ["no images with masks", "images/, mine/", "data.layout.masks"]),
    ],
)
def test_faulty_data_stops_before_training(
    break_it: object, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny.make_folder(tmp_path / "data")
    assert callable(break_it)
    break_it(root)
    error = wrong(capsys, "train", *tiny.folder(root), *tiny.FAST, f"output_dir={tmp_path / 'out'}")
    for part in parts:
        assert part in error
    assert not list((tmp_path / "out").glob("*/*/status"))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such folder" in wrong(capsys, "train", *tiny.folder(tmp_path / "nowhere, (2)"), f"output_dir={tmp_path}")


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("data.classes=9", "data.classes must map ids to names"),
        ("data.ignore_ids=9x", "data.ignore_ids (or a list of them) must be a whole number"),
    ],
)
def test_settings_of_a_folder_of_another_kind_are_named(
    tmp_path: Path, word: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny.make_folder(tmp_path / "data")
    assert part in wrong(capsys, "train", *tiny.folder(root, word), f"output_dir={tmp_path / 'out'}")


def test_a_run_is_evaluated_and_continued_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.make_folder(tmp_path / "my data")
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "out"
    tiny.train(output, "epochs=1", data=["data=folder", "data.root=my data", "data.ignore_ids=7"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["evaluate", f"output_dir={output}"]) == 0
    assert main(["train", "resume=latest", "epochs=2", f"output_dir={output}"]) == 0


def test_data_without_validation_images_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*tiny.SYNTHETIC, "data.val=0", f"output_dir={tmp_path / 'out'}"]
    assert "val" in wrong(capsys, "train", *words)
    assert not (tmp_path / "out").exists()


def test_names_of_runs_and_classes_may_be_anything(tmp_path: Path) -> None:
    names = "task.names=[a/b,../c,2024]"
    run = tiny.train(tmp_path / "out", "epochs=1", "name=2024", "task=multilabel", names)
    assert run.folder.parent == (tmp_path / "out" / "2024").resolve()
    Image.new("RGB", (20, 30)).save(tmp_path / "image.png")
    assert predict(run, tmp_path / "image.png", tmp_path / "masks", "overlay=false") == 0
    assert len(list((tmp_path / "masks").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["evaluate", "-m", "split=val,test"], "-m is for train; evaluate takes one run at a time"),
        (["predict", "-m", "input=a,b", "output=c"], "-m is for train; predict takes one run at a time"),
        (["ls", "--config-dir", "x"], "--config-dir has no use with ls"),
        (["env", "--cfg", "job"], "--cfg has no use with env"),
        (["env", "all"], "env takes no words, got 'all'"),
        (["--verison"], "did you mean --version?"),
        (["predict", "input=", "output=x"], "input is empty"),
    ],
)
def test_flags_and_words_without_use_are_refused(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert part in wrong(capsys, *words)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text("a: [\n")
    for flags in ([], ["--cfg", "job"]):
        error = wrong(capsys, "train", *flags, "loss=mine", "--config-dir", str(tmp_path))
        assert "not readable as YAML" in error
        assert "mine.yaml" in error


def test_variables_of_the_environment_do_not_reach_the_files_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CANARY", "yellow")
    for value in ("${oc.env:CANARY}", "x${ oc.env:CANARY}", "${oc.decode:${oc.env:CANARY}}"):
        for sweep in ([], ["-m"]):
            words = [
                *sweep,
                *tiny.SYNTHETIC,
                *tiny.FAST,
                "epochs=1",
                f"output_dir={tmp_path / 'out'}",
                f"name='{value}'",
            ]
            assert "let the shell fill it in" in wrong(capsys, "train", *words)
    assert not (tmp_path / "out").exists()


def test_an_unknown_command_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean predict?" in wrong(capsys, "predikt")


def test_traceback_shows_where(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gamma"):
        main(["train", "loss=focal", "loss.gamma=-1", *tiny.SYNTHETIC, f"output_dir={tmp_path}", "--traceback"])


def test_ls_shows_groups_and_options_with_their_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    assert "dice_ce" in capsys.readouterr().out
    assert main(["ls", "loss"]) == 0
    assert "Focal loss: for many easy background pixels" in capsys.readouterr().out
    assert "did you mean loss?" in wrong(capsys, "ls", "los")


def test_a_copied_configuration_comes_before_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "my conf"
    assert main(["cp", "loss/focal", str(mine)]) == 0
    assert f"--config-dir '{mine}' loss=focal" in capsys.readouterr().out
    assert "there already" in wrong(capsys, "cp", "loss/focal", str(mine))
    assert "cannot be made" in wrong(capsys, "cp", "loss/focal", str(mine / "loss" / "focal.yaml"))
    copied = mine / "loss" / "focal.yaml"
    copied.write_text(copied.read_text().replace("gamma: 2.0", "gamma: 3.5"))
    words = ["train", *tiny.SYNTHETIC, *tiny.FAST, "epochs=1", "loss=focal", f"output_dir={tmp_path / 'out'}"]
    assert main([*words, "--config-dir", str(mine)]) == 0
    stored = tiny.read_run(tiny.find_latest(tmp_path / "out")).folder / "config.yaml"
    assert "gamma: 3.5" in stored.read_text()


def test_a_loss_of_the_users_own_needs_a_yaml_and_allow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    own = tmp_path / "conf" / "loss" / "mine.yaml"
    own.write_text("_target_: tests.own.SquaredError\ntask: ${task}\nscale: 2.0\n")
    words = ["train", *tiny.SYNTHETIC, *tiny.FAST, "epochs=1", "loss=mine", f"output_dir={tmp_path / 'out'}"]
    words += ["--config-dir", str(tmp_path / "conf")]
    assert "--allow tests" in wrong(capsys, *words)
    assert main([*words, "--allow", "tests"]) == 0


@pytest.mark.slow
def test_a_run_remembers_its_folder_of_configurations_but_not_what_may_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "conf" / "loss" / "mine.yaml").write_text(
        "_target_: tests.own.SquaredError\ntask: ${task}\nscale: 2.0\n"
    )
    monkeypatch.chdir(tmp_path)
    tiny.train(tmp_path / "out", "epochs=1", "loss=mine", "--config-dir", "conf", "--allow", "tests")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for words in (["evaluate"], ["train", "resume=latest", "epochs=2"]):
        assert "add --allow tests" in wrong(capsys, *words, f"output_dir={tmp_path / 'out'}")
        assert main([*words, f"output_dir={tmp_path / 'out'}", "--allow", "tests"]) == 0
    (tmp_path / "conf").rename(tmp_path / "moved")
    assert "conf, which is gone" in wrong(capsys, "evaluate", f"output_dir={tmp_path / 'out'}", "--allow", "tests")
    words = [f"output_dir={tmp_path / 'out'}", "--allow", "tests", "--config-dir", "../moved"]
    assert main(["evaluate", *words]) == 0


def test_env_names_versions_and_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env"]) == 0
    shown = capsys.readouterr().out
    assert "torch " in shown
    assert "device " in shown


def test_the_configuration_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--cfg", "job", "loss=focal"]) == 0
    assert "gamma: 2.0" in capsys.readouterr().out


def test_evaluate_and_predict_print_their_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--cfg", "job", f"output_dir={tmp_path}"]) == 0  # before any run: the defaults
    assert "seed: 1" in capsys.readouterr().out
    tiny.train(tmp_path, "epochs=1", "loss=focal", "seed=7")
    capsys.readouterr()
    assert main(["evaluate", "--cfg=job", f"output_dir={tmp_path}", "loss.gamma=4", "split=val"]) == 0
    shown = capsys.readouterr().out
    assert all(line in shown for line in ("seed: 7", "gamma: 4", "split: val"))
    assert main(["predict", "--cfg", "input=x"]) == 0
    assert "input: x" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_run_without_a_best_checkpoint_is_taken_as_it_is(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny.train(tmp_path / "out", "epochs=1")
    run.best.unlink()
    Image.new("RGB", (20, 30)).save(tmp_path / "image.png")
    more = [] if command == "evaluate" else [f"input={tmp_path / 'image.png'}", f"output={tmp_path / 'masks'}"]
    capsys.readouterr()
    assert main([command, f"run={run.folder}", *more]) == 0
    assert "has no best.ckpt, so its last.ckpt is used" in capsys.readouterr().out
    run.last.unlink()
    assert "has no checkpoint" in wrong(capsys, command, f"run={run.folder}", *more)


@pytest.mark.slow
def test_evaluation_needs_no_pretrained_weights(tmp_path: Path) -> None:
    from segmentation_models_pytorch.encoders import get_encoder

    weights = tmp_path / "encoder.pth"
    torch.save(get_encoder("resnet18", weights=None).state_dict(), weights)
    net = ["model=unet_resnet34", "model.encoder=resnet18", f"model.encoder_weights={weights}", "batch_size=4"]
    run = tiny.train(tmp_path / "out", "epochs=1", "crop=32", fast=net)
    weights.unlink()
    assert main(["evaluate", f"run={run.folder}"]) == 0


def test_words_of_evaluate_are_read_among_those_of_the_run(tmp_path: Path) -> None:
    root = tiny.make_folder(tmp_path / "data")
    run = tiny.train(tmp_path / "out", "epochs=1", data=tiny.folder(root))
    other = root.rename(tmp_path / "other")
    assert main(["evaluate", f"run={run.folder}", f"data.root={other}"]) == 0


def test_the_end_of_a_pipe_is_met_in_silence() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "segtrain", "ls"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_run_outlives_the_reader_of_its_lines() -> None:
    code = "from segtrain.console import log, set_up_logging; set_up_logging()\nfor _ in range(3): log.info('line')"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_thousand_classes_are_listed_in_short() -> None:
    names = [f"class {index}" for index in range(1000)]
    assert listed(names) == ", ".join(names[:8]) + ", ... (1000 in all)"
    assert listed(names[:8]) == ", ".join(names[:8])
    assert len(listed(["x" * 500])) < 50


def test_the_headline_is_short_with_many_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tiny.make_folder(tmp_path / "data", ids=range(12))
    tiny.train(tmp_path / "out", "epochs=1", data=tiny.folder(root))
    assert capsys.readouterr().out.splitlines()[0].endswith("class_7, ... (12 in all)")


def predict(run: tiny.Run, source: Path, output: Path, *words: str) -> int:
    return main(["predict", f"run={run.folder}", f"input={source}", f"output={output}", *words])


def test_predicted_masks_have_the_scores_of_evaluate(tmp_path: Path) -> None:
    root = tiny.make_folder(tmp_path / "data, (1)", sizes=((32, 32), (41, 37), (70, 33)))
    run = tiny.train(tmp_path / "out", "epochs=8", "lr=.01", "aug=none", data=tiny.folder(root))
    masks = tmp_path / "masks here"
    assert predict(run, root / "images" / "test", masks) == 0
    hits = sums = 0
    for truth_path in sorted((root / "masks" / "test").iterdir()):
        with Image.open(truth_path) as truth_file, Image.open(masks / truth_path.name) as found_file:
            truth, found = np.asarray(truth_file) == 255, np.asarray(found_file)
            assert found_file.getpalette()[3:6] == list(Task("binary").palette[0])
        assert found.shape == truth.shape
        hits += int((truth & (found == 1)).sum())
        sums += int(truth.sum() + (found == 1).sum())
    assert 2 * hits / sums == pytest.approx(tiny.summary(run)["test"]["dice"], abs=1e-6)
    assert hits > 0
    assert cv2.imread(str(masks / "test0_overlay.png")).shape == (32, 32, 3)


def test_prediction_names_what_it_cannot_read_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path / "out", "epochs=1", "task=multilabel")
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (20, 30)).save(images / "good.png")
    (images / "bad.jpg").write_bytes(b"nothing")
    capsys.readouterr()
    assert predict(run, images, tmp_path / "masks", "overlay=false") == 1
    assert "bad.jpg: not a readable image (7 bytes" in capsys.readouterr().err
    assert len(list((tmp_path / "masks").glob("good_*.png"))) == 3
    assert not list((tmp_path / "masks").glob(".*"))
    (images / "good.png").unlink()
    assert predict(run, images, tmp_path / "none") == 1
    captured = capsys.readouterr()
    assert "1 of 1 images could not be read" in captured.err
    assert "masks in" not in captured.out


@pytest.mark.parametrize(
    ("words", "part"),
    tiny.every(
        2,
        [
            (["input=nowhere"], "input=nowhere: no such file or folder"),
            (["run=nowhere"], "run=nowhere: no such run folder"),
            (["reader=cv"], "error: reader must be one of opencv"),
            (["overlay=maybe"], "overlay must be true or false"),
        ],
    ),
)
def test_wrong_words_of_predict(
    tmp_path: Path, words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny.train(tmp_path / "out", "epochs=1")
    Image.new("RGB", (20, 30)).save(tmp_path / "image.png")
    given = [f"run={run.folder}", f"input={tmp_path / 'image.png'}", f"output={tmp_path / 'masks'}"]
    assert part in wrong(capsys, "predict", *given, *words)


def test_predict_refuses_to_write_over_the_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path / "out", "epochs=1")
    Image.new("RGB", (20, 30)).save(tmp_path / "image.png")
    assert predict(run, tmp_path / "image.png", tmp_path) == 1
    assert "where the images are" in capsys.readouterr().err

"""`segtrain explain`: the words of train, several losses at once, a table and a picture."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from segtrain.cli import main
from segtrain.cli.explanation import combinations
from segtrain.explain import chart, curves
from segtrain.explain import report as explaining
from tests import tiny


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Coarse curves in an empty folder; the fine ones are in test_curves.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curves, "PROBABILITIES", curves.PROBABILITIES[[2, 7, 17, 27, 37, 47, 52]])


def cells(shown: str, *beginning: str) -> list[list[str]]:
    """The cells of the rows that begin so."""
    found = re.findall(r"^│ (.*)│$", shown, flags=re.MULTILINE)
    rows = [[cell.strip() for cell in line.split("│")] for line in found]
    return [row[len(beginning) :] for row in rows if row[: len(beginning)] == list(beginning)]


def test_the_table_holds_autograds_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "loss=focal", "loss.gamma=0", "loss.alpha=.2"]) == 0
    shown = capsys.readouterr().out
    foreground, background = cells(shown, "focal gamma=0 alpha=.2", "dL/dz")
    assert foreground == ["-0.198", "-0.18", "-0.14", "-0.1", "-0.06", "-0.02", "-0.002"]  # -(1 - p) / 5
    assert background == ["0.008", "0.08", "0.24", "0.4", "0.56", "0.72", "0.792"]  # 4 p / 5
    assert cells(shown, "focal gamma=0 alpha=.2", "pull fg/bg")[0][-1] == "0.25"
    assert shown.rstrip().endswith("picture: explain_focal.png")


def test_the_picture_shows_every_loss_in_its_own_colour(tmp_path: Path) -> None:
    assert main(["explain", "loss=focal,dice,bce", "share=.05", "output=sub/curves.png"]) == 0
    picture = cv2.imread(str(tmp_path / "sub" / "curves.png"))[..., ::-1]
    assert picture.shape[0] > 800
    for place in range(4):
        color = tuple(int(chart.COLORS[place][i : i + 2], 16) for i in (1, 3, 5))
        assert ((picture == color).all(-1).sum() > 100) == (place < 3), color


def test_a_loss_without_any_gradient_has_no_pull(tmp_path: Path) -> None:
    ((_, config),) = combinations(["loss=bce"])
    one = explaining.explain(config, "satisfied")
    nothing = replace(one.shares, balance=one.shares.balance * torch.nan)
    satisfied = replace(one, shares=nothing)
    assert cells(explaining.table([satisfied]), "satisfied", "pull fg/bg") == [["-"] * 6]
    chart.save_picture([satisfied], "", "", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").is_file()


def labels(*words: str) -> list[str]:
    return [label for label, _ in combinations(words)]


def test_settings_count_for_the_losses_that_have_them() -> None:
    assert labels("loss=focal,dice", "loss.gamma=1,2") == ["focal gamma=1", "focal gamma=2", "dice"]
    assert labels("loss=tversky", "loss.fn_weight=.8", "share=.2") == ["tversky fn_weight=.8"]
    assert labels("loss=dice_focal", "loss.terms.focal.gamma=3") == ["dice_focal terms.focal.gamma=3"]
    assert labels() == ["dice_ce"]


def test_auto_is_of_the_share(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "loss=balanced_bce", "share=.2"]) == 0
    shown = capsys.readouterr().out
    assert cells(shown, "balanced_bce", "dL/dz")[0][3] == "-2"  # beta = .8 / .2, half of it at p = .5
    assert cells(shown, "balanced_bce", "pull fg/bg") == [["1"] * 6]


@pytest.mark.parametrize(("task", "classes"), tiny.every(2, [("multiclass", 3), ("multilabel", 2)]))
def test_other_tasks_have_classes_by_default_or_as_given(task: str, classes: int) -> None:
    ((_, config),) = combinations([f"task={task}"])
    assert explaining.make_task(config).num_classes == classes
    ((_, config),) = combinations([f"task={task}", "task.num_classes=5"])
    assert explaining.make_task(config).num_classes == 5
    assert main(["explain", f"task={task}", "loss=ce"]) == 0


def test_a_loss_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "myconf" / "loss" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("_target_: tests.contract.wrong.RightMean\ntask: ${task}\n")
    assert main(["explain", "--config-dir", "myconf", "--allow", "tests", "loss=mine,bce"]) == 0
    assert (tmp_path / "explain_mine-bce.png").is_file()


@pytest.mark.parametrize(
    ("words", "parts"),
    tiny.every(
        3,
        [
            (["loss=focl"], ["loss=focl", "did you mean focal?"]),
            (["loss=focal", "loss.gama=3"], ["loss.gama=3", "did you mean loss.gamma"]),
            (["loss=focal,dice", "loss.gama=3"], ["loss.gama=3", "did you mean loss.gamma"]),
            (["share=2"], ["share must be a number in [0.0001, 0.9999], got 2"]),
            (["share=x"], ["share must be a number"]),
            (["others=1"], ["others must be a number in [0.01, 0.99]"]),
            (["shar=.2"], ["did you mean share?"]),
            (["output=a.jpx"], ["output", ".png, .svg, .pdf", ".jpx"]),
            (["loss=bce", "task=multiclass"], ["bce", "multiclass", "loss=ce"]),
            (["task=auto"], ["task.mode must be one of binary, multiclass, multilabel"]),
            (["loss=focal", "loss.gamma=1,2,3,4,5,6,7,8,9"], ["at most 8"]),
            (["focal"], ["focal", "as in loss=focal"]),
            (["loss=[bce,dice]"], ["without brackets, as in loss=bce,dice"]),
            (["loss=bce,"], ["loss=bce,", "commas separate values, and one is missing"]),
            (["loss=focal", "loss.gamma="], ["focal: gamma must be a number >= 0, got ''"]),
            (["loss=focal", "loss.gamma"], ["cannot read 'loss.gamma'", "key=value"]),
            (["loss=dice", "loss.weights.ce=2"], ["no combination, so it has no weights"]),
            (["share=0"], ["share must be a number in [0.0001, 0.9999], got 0"]),
            (["share=.1,.2"], ["share=.1,.2: only loss and its settings may have several values"]),
            (["share=null"], ["share must be a number in [0.0001, 0.9999], got None"]),
            (["epochs=x"], ["epochs must be a number > 0, got 'x'"]),
            (["stats=3"], ["stats=3", "made from share"]),
            (["modes=foo"], ["modes=foo: no such key here"]),
            (["task=multiclass", "task.num_classes=x"], ["task.num_classes must be a whole number, got 'x'"]),
            (["task.ignore_index=x"], ["task.ignore_index must be a whole number, got 'x'"]),
            (["task.names=ab"], ["task.names must be a list", "'ab'"]),
            (["task.palette=[red]"], ["task.palette holds [red, green, blue] for each class, got 'red'"]),
            (["output="], ["output is empty"]),
            (["output=taken/a.png"], ["output=taken/a.png cannot be written: File exists"]),
            (["output=folder.png"], ["output=folder.png cannot be written: Is a directory"]),
            (["--config-dir", ".", "loss=empty"], ["loss has no _target_"]),
            (
                ["--config-dir", ".", "--allow", "tests", "loss=vector"],
                ["loss vector: the value is not one finite number"],
            ),
            (
                ["--config-dir", ".", "--allow", "tests", "loss=none"],
                ["loss none: it raises TypeError", "segtrain test-loss"],
            ),
        ],
    ),
)
def test_one_sentence_for_what_is_wrong(
    words: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loss").mkdir()
    for name, target in (("empty", ""), ("vector", "Vector"), ("none", "NotForTargets")):
        text = f"_target_: tests.contract.wrong.{target}\ntask: ${{task}}\n" if target else "gamma: 3\n"
        (tmp_path / "loss" / f"{name}.yaml").write_text(text)
    assert main(["explain", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error

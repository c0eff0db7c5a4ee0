"""`segtrain test-loss`: what it prints and returns for losses of ours, right ones and wrong ones; what it refuses."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from segtrain.cli import Arguments, main
from segtrain.cli.promises import read
from segtrain.cli.verdicts import report
from segtrain.contract import processes
from segtrain.contract.counterexample import Counterexample
from segtrain.contract.examples import Example
from segtrain.contract.promise import Broken
from segtrain.contract.suite import PROMISES, Verdict
from segtrain.losses import build_loss
from tests.conftest import STATS, TASKS, make_logits, make_target

OWN = "tests.contract.wrong"


def row(shown: str, promise: str) -> list[str]:
    """The cells of a promise."""
    (line,) = re.findall(rf"│ {promise} +│(.*)│$", shown, flags=re.MULTILINE)
    return [cell.strip() for cell in line.split("│")]


def test_the_page_about_own_losses_names_every_promise() -> None:
    page = (Path(__file__).parents[2] / "docs" / "own-loss.md").read_text()
    sentences = {name: promise.sentence for name, promise in PROMISES.items()} | {processes.NAME: processes.SENTENCE}
    for name, sentence in sentences.items():
        assert f"| {name} | {sentence[0].lower()}{sentence[1:]} |" in page


@pytest.mark.slow
def test_a_mean_of_each_process_fails_with_a_counterexample(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-loss", f"{OWN}.LocalMean", "modes=binary,multilabel"]) == 1
    shown = capsys.readouterr().out
    assert row(shown, "two processes") == ["FAIL", "FAIL"]
    assert row(shown, "mean over pixels") == ["holds", "holds"]
    assert "FAIL two processes (binary, multilabel). Two processes that average" in shown
    assert "logits_0, target_0 = torch.tensor(" in shown
    assert re.search(r"# got: \[\[.*\n.*# expected: \[\[", shown)
    assert shown.rstrip().endswith("1 of 20 promises is broken: two processes")


@pytest.mark.slow
def test_a_right_loss_passes_and_its_properties_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-loss", f"{OWN}.RightDice", "modes=binary"]) == 0
    shown = capsys.readouterr().out
    assert row(shown, "empty mask") == ["pass"]
    assert row(shown, "two processes") == row(shown, "mean over pixels") == ["does not hold"]
    assert "two processes: does not hold, so" in shown
    assert shown.rstrip().endswith("all 19 promises are kept")


@pytest.mark.slow
def test_a_registered_loss_with_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-loss", "dice", "sync=true", "smooth=.5", "reduce=batch", "modes=[binary, multiclass]"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("dice sync=true smooth=.5")
    assert row(shown, "two processes") == ["holds", "holds"]


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the promise that needs two processes."""
    monkeypatch.setattr(processes, "examine_processes", lambda *_: [])


@pytest.mark.usefixtures("_alone")
def test_what_could_not_be_examined_is_said_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-loss", f"{OWN}.CustomOperation", "modes=binary,multilabel"]) == 0
    shown = capsys.readouterr().out
    assert row(shown, "no waiting") == ["not examined", "not examined"]
    assert "\nno waiting: could not be examined (binary, multilabel): on a GPU without data" in shown
    assert "no fake impl registered" in shown
    assert shown.rstrip().endswith("18 of 19 promises are kept; 1 could not be examined: no waiting")


def test_a_failure_and_what_could_not_be_examined_are_told_apart() -> None:
    found = Counterexample(Example(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1)), Broken("wrong"))
    verdicts = [
        Verdict("scalar", "binary", True, found),
        Verdict("gradient", "binary", True, None),
        Verdict("no waiting", "binary", True, None, unexamined="why"),
    ]
    shown = report("a loss", verdicts, {"binary": ""})
    assert (row(shown, "scalar"), row(shown, "gradient")) == (["FAIL"], ["pass"])
    assert shown.endswith("1 of 3 promises is broken: scalar; 1 could not be examined: no waiting")


def built(*words: str, mode: str = "binary", **flags: Any) -> Any:
    """The loss that test-loss tries."""
    return read(Arguments("test-loss", list(words), **flags)).build(TASKS[mode])


@pytest.mark.parametrize("mode", TASKS)
def test_a_combination_is_the_one_that_training_builds(mode: str) -> None:
    loss = built("dice_focal", "weights.dice=2", "terms.focal.gamma=3", mode=mode)
    task = TASKS[mode]
    logits, target = make_logits(task), make_target(task)
    terms = [build_loss("dice", task)(logits, target), build_loss("focal", task, gamma=3)(logits, target)]
    assert_close(loss(logits, target), 2 * terms[0] + terms[1])
    changed = built("dice_ce", "+loss@loss.terms.edge=boundary", "+weights.edge=.5", "~terms.ce", "~weights.ce")
    assert changed.weights == {"dice": 1, "edge": 0.5}
    assert built("dice_ce", "loss.weights.dice=3").weights["dice"] == 3


def test_weights_of_a_term_are_those_of_the_examples_classes() -> None:
    derived = built("dice_ce", "terms.ce.class_weights=inverse", mode="multiclass").terms["ce"].derived
    shares = torch.tensor(STATS["multiclass"].share())
    assert_close(torch.tensor(derived["class_weights"]) * shares, torch.full((4,), derived["class_weights"][0] * 0.6))


@pytest.mark.slow
def test_a_combination_and_what_its_terms_excuse(capsys: pytest.CaptureFixture[str]) -> None:
    """boundary alone has a weight, so that the excuse is needed; both processes build the combination too."""
    words = ["test-loss", "dice_boundary", "weights.dice=0", "weights.ce=0", "modes=binary"]
    assert main([*words, "terms.boundary.reduce=batch", "terms.boundary.sync=true"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("dice_boundary weights.dice=0")
    assert row(shown, "perfect is 0") == ["does not hold"]
    assert row(shown, "two processes") == ["holds"]
    assert "is 0: not promised, a mask and its complement have boundaries at the same place (term boundary)" in shown


@pytest.mark.usefixtures("_alone")
def test_a_loss_of_the_users_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "loss" / "mine.yaml"
    own.parent.mkdir()
    own.write_text(
        "defaults: [dice@terms.dice, _self_]\n_target_: segtrain.losses.combo.Combo\n"
        "terms: {mean: {_target_: tests.contract.wrong.RightMean, task: '${task}'}}\n"
    )
    words = ["test-loss", "mine", "modes=binary", "--config-dir", str(tmp_path)]
    assert main([*words, "--allow", "tests"]) == 0
    assert "all 19 promises are kept" in capsys.readouterr().out
    assert main(words) == 1
    assert "add --allow tests" in capsys.readouterr().err


@pytest.mark.usefixtures("_alone")
def test_what_a_loss_does_not_promise_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-loss", "ce", "label_smoothing=.1", "modes=binary"]) == 0
    shown = capsys.readouterr().out
    assert row(shown, "perfect is 0") == row(shown, "empty mask") == ["does not hold"]
    assert row(shown, "right is best") == ["pass"]
    assert "perfect is 0: not promised, with label smoothing" in shown


@pytest.mark.slow
def test_a_mode_in_which_a_loss_is_not_offered_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The class lies in the current folder alone, and the second process finds it there too."""
    (tmp_path / "some_losses.py").write_text(
        "from segtrain.errors import UserError\nfrom tests.contract.wrong import RightMean\n"
        "class Mine(RightMean):\n    def __init__(self, task, *, scale):\n        super().__init__(task)\n"
        "        if task.exclusive:\n            raise UserError('mine: no multiclass')\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["test-loss", "some_losses.Mine", "scale=1"]) == 0
    shown = capsys.readouterr().out
    assert row(shown, "two processes") == ["pass", "-", "pass"]
    assert "not offered in multiclass: mine: no multiclass" in shown


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["test-loss takes the loss first", "my_pkg.MyLoss"]),
        (["loss=focal"], ["test-loss takes the loss first"]),
        (["focl"], ["focl is no loss", "did you mean focal?", "my_pkg.MyLoss"]),
        (["*X\n\x01"], ["error: '*X\\n\\x01' is no loss; write its name alone"]),
        (["dice_ce", "weights.dic=2"], ["there is no term dic - did you mean dice?"]),
        (["dice_ce", "terms.focal.gamma=2"], ["there is no term focal", "+loss@loss.terms.focal=focal"]),
        (["dice_ce", "weights=3"], ["loss.weights must hold a value for each of dice, ce, got 3"]),
        (["dice_ce", "+terms.x=3"], ["loss.terms.x is no loss: 3"]),
        (["dice_ce", "loss=focal"], ["the loss is the first word"]),
        (["dice_c"], ["did you mean dice_ce?", "boundary", "my_pkg.MyLoss"]),
        ([""], ["test-loss takes the loss first"]),
        (["focal", "=3"], ["cannot read '=3'"]),
        (["focal", "gamma=[1"], ["cannot read 'gamma=[1'", "[a,b]"]),
        (["focal", "gamma="], ["focal: gamma must be a number >= 0, got None"]),
        (["focal", "task=binary"], ["modes=binary,multilabel"]),
        (["focal", "stats=3"], ["leave stats out"]),
        (["focal", "share=0"], ["each parameter must be one of alpha, gamma; got 'share'"]),
        (["focal", "modes="], ["modes: each must be one of binary, multiclass, multilabel; got ''"]),
        (["focal", "--config-dir", "nowhere"], ["--config-dir nowhere: no such folder"]),
        (["--config-dir", ".", "empty"], ["loss has no _target_", "conf/loss/focal.yaml"]),
        (["--config-dir", ".", "emty"], ["did you mean empty?"]),
        (["some_losses."], ["some_losses. is no loss", "my_pkg.MyLoss"]),
        (["some_losses.y"], ["some_losses has no class y; it has Mine, Taskless"]),
        (["some_losses.plain"], ["given logits and target itself", "some_losses.plain(task, **parameters)"]),
        (["dice_ce", "+weights.dic=2"], ["loss.weights: each key must be one of dice, ce; got 'dic'"]),
        (["dice_ce", "weights.dice=-2"], ["loss.weights.dice must be a number >= 0, got -2"]),
        (["dice_ce", "weights.dice=1,2"], ["weights.dice=1,2: test-loss tries one loss at a time"]),
        (["dice_focal", "terms.focal.gama=2"], ["did you mean loss.terms.focal.gamma"]),
        (["dice_ce", "weights.dice"], ["cannot read 'weights.dice'", "weights.dice=2"]),
        (["focal", "gama=3"], ["gama", "did you mean gamma?"]),
        (["focal", "gamma=-1"], ["focal: gamma must be a number >= 0, got -1"]),
        (["focal", "3"], ["cannot read '3'", "key=value"]),
        (["focal", "modes=binry"], ["binry", "did you mean binary?"]),
        (["bce", "modes=multiclass"], ["bce", "multiclass", "loss=ce"]),
        (["som_losses.Mine"], ["no module som_losses", "did you mean some_losses?"]),
        (["some_losses.Mein"], ["some_losses has no class Mein", "did you mean Mine?"]),
        (["some_losses.Mine"], ["needs a value for scale"]),
        (["some_losses.Mine", "scal=1"], ["scal", "did you mean scale?"]),
        (["some_losses.Mine", "scale=x"], ["building it for a binary task fails", "ValueError", "'x'"]),
        (["some_losses.Taskless"], ["takes no task"]),
        (["some_losses.needs"], ["some_losses.needs is no loss", "cannot be called"]),
        (["broken_losses.Mine"], ["importing broken_losses fails", "SyntaxError"]),
        (["lacking_losses.Mine"], ["needs no_such_library, which is not installed"]),
    ],
)
def test_one_sentence_for_what_is_wrong(
    words: list[str],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "some_losses.py").write_text(
        "class Mine:\n    def __init__(self, task, scale):\n        self.scale = float(scale)\n"
        "class Taskless:\n    pass\ndef needs(task):\n    return 1\n"
        "def plain(logits, target):\n    return logits.mean()\n"
    )
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "empty.yaml").write_text("gamma: 3\n")
    (tmp_path / "broken_losses.py").write_text("class Mine(:\n")
    (tmp_path / "lacking_losses.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "some_losses", raising=False)
    assert main(["test-loss", *words]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    for part in parts:
        assert part in captured.err

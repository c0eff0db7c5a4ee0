"""loss=auto: chosen from the training set, printed, stored, and the same when a run is continued or scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from segtrain.assemble import Request, assemble
from segtrain.audit.diagnose import RARE_LOSS, VERY_RARE_LOSS, choose_loss
from segtrain.cli import main
from segtrain.cli.compose import compose
from segtrain.data.synthetic import SyntheticData
from tests import tiny
from tests.data.files import REQUEST

RARE = [*tiny.SYNTHETIC[1:], "data.size=128", "data.foreground=.003"]


def test_the_choice_is_printed_and_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path, "loss=auto", "data.foreground=.004", "data.size=48", "data.empty=0")
    said = capsys.readouterr().out
    assert f"loss auto, here {VERY_RARE_LOSS}" in said
    assert "loss=auto: foreground has 0." in said
    stored = OmegaConf.load(run.folder / "config.yaml")
    given, _ = compose("train", [f"loss={VERY_RARE_LOSS}"])
    resolved = OmegaConf.to_container(stored.loss)
    plain = OmegaConf.to_container(given.loss, resolve=False)
    assert {**resolved, "task": 0, "stats": 0} == {**plain, "task": 0, "stats": 0}
    summary = tiny.summary(run)
    assert (summary["loss"], summary["loss_chosen"]) == ("auto", VERY_RARE_LOSS)
    assert summary["loss_reason"].startswith("foreground has")
    assert run.folder.name.startswith("auto-")


def test_it_trains_as_the_loss_that_it_chose(tmp_path: Path) -> None:
    auto = tiny.train(tmp_path / "auto", "loss=auto")
    given = tiny.train(tmp_path / "given", "loss=dice_ce")
    assert tiny.differing(tiny.weights(auto), tiny.weights(given)) == []


def test_a_run_goes_on_and_is_scored(tmp_path: Path) -> None:
    whole = tiny.train(tmp_path / "whole", "loss=auto")
    with pytest.raises(RuntimeError, match="stopped by the test"):
        main(["train", *tiny.SYNTHETIC, *tiny.FAST, f"output_dir={tmp_path / 'cut'}", "loss=auto", *tiny.stop_at(3),
              "--traceback"])  # fmt: skip
    cut = tiny.find_latest(tmp_path / "cut")
    assert main(["train", f"resume={cut}", "~callbacks.stop"]) == 0
    assert tiny.differing(tiny.weights(whole), tiny.weights(tiny.read_run(cut))) == []
    assert main(["evaluate", f"run={cut}", "split=val"]) == 0
    assert json.loads((cut / "evaluation" / "val" / "scores.json").read_text())["iou"] is not None


def test_unequal_classes_get_weights() -> None:
    words = ["task=multiclass", "loss=auto", "data.foreground=.05", *RARE[:-1], *tiny.NET]
    config, choices = compose("train", words)
    parts = assemble(Request(config, choices))
    assert parts.choice is not None
    assert parts.choice.settings == {"terms.ce.class_weights": "auto"}
    assert parts.config.loss.terms.ce.class_weights == "auto"
    assert "choices" in config.loss  # what was composed is as it was


def test_it_can_be_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "loss=auto", f"output={tmp_path / 'auto.png'}"]) == 0
    assert "auto" in capsys.readouterr().out


@pytest.mark.slow
def test_the_choice_beats_bce_where_foreground_is_rarest(tmp_path: Path) -> None:
    """As measured in docs/check.md: .3 % foreground, 12 epochs of a small net."""
    data = ["data.foreground=.003", "data.val=4", "data.test=48"]
    net = ["model.width=8", "model.depth=3", "epochs=12", "callbacks.pictures.samples=1"]
    iou = {}
    for loss in ("auto", "bce"):
        run = tiny.train(tmp_path / loss, f"loss={loss}", data=data, fast=net)
        iou[loss] = tiny.summary(run)["test"]["iou"]
    assert iou["auto"] > iou["bce"] + 0.02


def test_rare_foreground_on_generated_data() -> None:
    source = SyntheticData(foreground=0.035, train=32, val=1, test=0).open(REQUEST)
    assert choose_loss(source.task, source.stats).loss == RARE_LOSS

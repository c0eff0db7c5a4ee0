"""What a run calls its loss, in its folder's name, its summary and TensorBoard: never what it was not trained with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from segtrain.cli import main
from segtrain.cli.conf import CONF, options
from segtrain.cli.request import make_request
from segtrain.runs import LONGEST_NAME, Run, read_run
from tests import tiny

FOCAL = "+loss@loss.terms.focal=focal"
NO_BCE = ["~loss.terms.bce", "~loss.weights.bce"]


@pytest.mark.parametrize("option", tiny.every(4, options("loss")))
def test_an_option_keeps_its_name(option: str) -> None:
    assert make_request([f"loss={option}"], None, ()).choices["loss"] == option


@pytest.mark.parametrize(
    ("words", "name"),
    tiny.every(
        3,
        [
            (["loss=dice_bce", FOCAL], "dice_bce_focal"),
            ([FOCAL, "+loss.weights.focal=.5", "loss=dice_bce", "loss.terms.focal.gamma=3"], "dice_bce_focal"),
            ([FOCAL], "dice_ce_focal"),  # of the default
            (["loss=dice_bce", *NO_BCE], "dice"),
            (["loss=dice_bce", *NO_BCE, FOCAL], "dice_focal"),
            (
                ["loss=dice_boundary", "~loss.terms.boundary", "~loss.weights.boundary", "~loss.ramps.boundary"],
                "dice_ce",
            ),
            (["loss=dice_ce", "+loss@loss.terms.ce=bce"], "dice_bce"),  # in the place of another
            (["loss=dice_ce", "+loss@loss.terms.second=tversky"], "dice_ce_tversky"),
            (["loss=dice_ce", "+loss.terms.mine={_target_: torch.nn.BCELoss}"], "dice_ce_mine"),
            (["loss=dice_ce", "+loss.terms.mine._target_=torch.nn.BCELoss"], "dice_ce_mine"),
            # parameters
            (["loss=focal", "loss.gamma=3"], "focal"),
            (["loss=dice_bce", "loss.weights.bce=.5", "loss.terms.dice.smooth=2"], "dice_bce"),
            (["loss=dice_boundary", "loss.terms.boundary={}"], "dice_boundary"),
            (["loss=dice_ce", "+loss.ramps.dice={to: 0, end: 3}"], "dice_ce"),
        ],
    ),
)
def test_a_combination_whose_terms_were_changed_is_called_by_them(words: list[str], name: str) -> None:
    request = make_request(words, None, ())
    assert request.choices["loss"] == name
    assert request.choices["aug"] == "light"


def own_folder(root: Path) -> str:
    """A --config-dir with loss=mine, a combination that needs a weight from the command line."""
    (root / "loss").mkdir(parents=True)
    mine = yaml.safe_load((CONF / "loss" / "dice_bce.yaml").read_text())
    mine["defaults"].insert(0, "tversky@terms.tversky")
    mine["weights"]["dice"] = "???"
    (root / "loss" / "mine.yaml").write_text(yaml.safe_dump(mine))
    return str(root)


def test_a_loss_of_the_users_own_keeps_its_name(tmp_path: Path) -> None:
    folder, given = own_folder(tmp_path), ["loss=mine", "loss.weights.dice=1"]
    for words in ([], ["loss.terms.bce.pos_weight=2"]):
        assert make_request([*given, *words], folder, ()).choices["loss"] == "mine"
    assert make_request([*given, FOCAL], folder, ()).choices["loss"] == "tversky_dice_bce_focal"


def hparam(run: Run, name: str) -> str:
    """A setting in TensorBoard's table of hyper-parameters."""
    events = EventAccumulator(str(run.folder))
    events.Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    text: str = HParamsPluginData.FromString(content).session_start_info.hparams[name].string_value
    return text


def train(output: Path, *words: str) -> Run:
    return tiny.train(output, "epochs=1", *words)


def names(run: Run) -> Sequence[str]:
    return (tiny.summary(run)["loss"], hparam(run, "loss"))


def test_the_folder_the_summary_and_tensorboard_have_the_name_of_the_terms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, "loss=dice_bce", FOCAL, "+loss.weights.focal=.5")
    assert run.folder.name.startswith("dice_bce_focal-light-s1_")
    assert names(run) == ("dice_bce_focal",) * 2
    assert "loss dice_bce_focal = dice + bce + 0.5 focal" in capsys.readouterr().out
    # continued by its folder, whose words it takes, it keeps the name
    longer = tiny.train(tmp_path, "resume=latest", "epochs=2", data=(), fast=())
    assert longer.folder == run.folder
    assert tiny.summary(longer)["loss"] == "dice_bce_focal"


@pytest.mark.slow
def test_a_run_is_found_by_its_configuration_whatever_its_folder_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *tiny.SYNTHETIC, *tiny.FAST, "loss=dice_bce", FOCAL, f"output_dir={tmp_path}", *tiny.stop_at(3)]
    assert main(words) == 1
    (stopped,) = (path.parent for path in tmp_path.glob("*/*/status"))
    renamed = stopped.rename(stopped.with_name("dice_bce-light-s1_0101-0000"))
    assert main([*words, "resume=auto"]) == 1
    assert f"continues at step 2 in {renamed}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_keeps_its_folders_and_tells_the_terms_in_the_summary(tmp_path: Path) -> None:
    words = ["train", "-m", *tiny.SYNTHETIC, *tiny.FAST, "epochs=1", f"output_dir={tmp_path}"]
    assert main([*words, "loss=dice_bce,dice_ce", FOCAL, "name=grid"]) == 0
    own = ["loss=mine,dice_ce", "loss.weights.dice=1", "loss.terms.dice.smooth=2", "name=own"]
    assert main([*words, *own, "--config-dir", own_folder(tmp_path / "conf")]) == 0
    found = {path.relative_to(tmp_path / "sweeps").parent: path.parent for path in tmp_path.glob("sweeps/*/*/status")}
    assert {str(place): names(read_run(folder)) for place, folder in found.items()} == {
        "grid/loss=dice_bce": ("dice_bce_focal",) * 2,
        "grid/loss=dice_ce": ("dice_ce_focal",) * 2,
        "own/loss=mine": ("mine",) * 2,
        "own/loss=dice_ce": ("dice_ce",) * 2,
    }


def test_a_name_of_many_terms_leaves_room_for_the_rest(tmp_path: Path) -> None:
    more = ("tversky", "jaccard", "poly", "lovasz", "mcc", "generalized_dice", "focal_tversky", "ohem")
    run = train(tmp_path, *(f"+loss@loss.terms.{term}={term}" for term in more))
    assert run.folder.name.startswith("dice_ce_tversky_jaccard")
    assert "-light-s1_" in run.folder.name
    assert len(run.folder.name) <= LONGEST_NAME
    assert tiny.summary(run)["loss"] == "_".join(("dice_ce", *more))

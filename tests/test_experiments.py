"""experiment=...: each is a recipe that trains, and words of the command line override it."""

from __future__ import annotations

from pathlib import Path

import pytest

from segtrain.cli.compose import compose, options
from tests import tiny

RECIPES = [name for name in options("experiment") if name != "none"]
SMALL = ["crop=32", "batch_size=4", "epochs=2", "passes=1", "~callbacks.pictures"]
QUICK = ("cpu_quick", "imbalanced")  # the others are run by hand
NARROW = ["model.width=2"]  # as deep as it is: levels below the finest are supervised
NETS = {"strong_baseline": [], "nnunet_like": NARROW, "cpu_quick": NARROW}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in RECIPES]
)
def test_it_trains(name: str, tmp_path: Path) -> None:
    net = NETS.get(name, ["model.width=2", "model.depth=2"])
    run = tiny.train(tmp_path, f"experiment={name}", fast=[*SMALL, *net])
    summary = tiny.summary(run)
    assert summary["status"] == "done"
    assert summary["experiment"] == name
    assert f"-{name}-" in run.folder.name


def test_a_folder_names_the_model_where_it_is_not_the_recipes(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "experiment=imbalanced", "model=unet", fast=[*SMALL, *tiny.NET])
    assert run.folder.name.startswith("dice_focal-imbalanced-light-unet-s1")


@pytest.mark.parametrize("name", RECIPES)
def test_it_says_what_it_is_for_what_it_costs_and_what_it_reached(name: str) -> None:
    lines = (Path(__file__).parents[1] / "conf" / "experiment" / f"{name}.yaml").read_text().splitlines()
    comment = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    assert "Cost:" in comment
    assert "Measured" in comment


def test_words_override_it() -> None:
    words = ["experiment=cpu_quick", "loss=focal", "lr=.5", "optim.schedule=poly", "ema=null"]
    config, chosen = compose("train", words)
    assert (config.lr, config.optim.schedule, config.ema, config.passes) == (0.5, "poly", None, 4)
    assert (chosen["loss"], chosen["aug"], chosen["experiment"]) == ("focal", "medium", "cpu_quick")

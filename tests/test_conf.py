"""Every configuration file says what it is, composes, and builds; every registered name has its file."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from segtrain.assemble import Request, assemble
from segtrain.cli.compose import compose
from segtrain.cli.conf import CONF, groups, options, purpose
from segtrain.errors import UserError
from segtrain.losses import LOSSES
from segtrain.models import MODELS
from segtrain.task import Task
from tests import tiny
from tests.data.annotated import MAKERS
from tests.data.test_stack import make_stacks
from tests.data.trees import TREES

FILES = sorted(CONF.rglob("*.yaml"))
OPTIONS = [(group, option) for group in groups() for option in options(group)]
NOT_HERE = {("trainer", "gpu"), ("trainer", "ddp")}  # devices; built in test_trainer.py


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONF).as_posix())
def test_each_file_says_what_it_is(path: Path) -> None:
    assert purpose(path).endswith((".", ":", "?")), f"{path} must begin with a comment: what it is, when to use it"


@pytest.mark.parametrize(("group", "option"), tiny.every(2, OPTIONS))
def test_each_option_composes_and_builds(group: str, option: str, tmp_path: Path) -> None:
    words = [f"output_dir={tmp_path / 'out'}", f"{group}={option}"]
    if group == "data" and option in TREES:
        TREES[option](tmp_path / "data")
        words.append(f"data.root={tmp_path / 'data'}")
    elif group == "data" and option in MAKERS:
        words.append(f"data.root={MAKERS[option](tmp_path / 'data')}")
    elif (group, option) == ("data", "stack"):
        make_stacks(tmp_path / "data", {"train": 6, "val": 2})
        words.append(f"data.root={tmp_path / 'data'}")
    elif group != "data":
        words += tiny.SYNTHETIC
    if group not in ("model", "experiment"):  # recipes have their own net
        words += tiny.NET
    if (group, option) == ("aug", "style"):
        words.append(f"aug.references={tiny.make_folder(tmp_path / 'others') / 'images'}")
    if option == "multiclass":
        words.append("loss=dice_ce")
    config, choices = compose("train", [*words, "crop=32"])
    assert choices[group] == option
    if (group, option) in NOT_HERE:
        return
    parts = assemble(Request(config, choices))
    batch = next(iter(parts.data.train_dataloader()))
    logits = parts.module(batch["image"])
    assert torch.isfinite(parts.module.loss(logits, batch["mask"]))


def test_every_loss_has_a_file_with_all_of_its_parameters() -> None:
    assert set(LOSSES) <= set(options("loss"))
    for name, loss in LOSSES.items():
        file: Any = OmegaConf.to_container(OmegaConf.load(CONF / "loss" / f"{name}.yaml"), resolve=False)
        written = set(file) - {"_target_", "name", "task", "stats"}
        parameters = inspect.signature(loss).parameters
        assert written == set(parameters) - {"task", "stats"}, name
        for key in written:
            assert file[key] == parameters[key].default, f"{name}: {key}"


def test_every_net_is_named_where_users_look() -> None:
    text = (CONF / "model" / "unet_resnet34.yaml").read_text()
    assert all(name in text for name in MODELS if name != "plain_unet")


@pytest.mark.parametrize(
    ("words", "terms", "weights"),
    [
        (["loss=dice_ce"], {"dice", "ce"}, {"dice": 1.0, "ce": 1.0}),
        (["loss=dice_bce", "+loss@loss.terms.focal=focal"], {"dice", "bce", "focal"}, {"focal": 1.0}),
        (["loss=dice_focal", "loss.terms.focal.gamma=3", "loss.weights.focal=.5"], {"dice", "focal"}, {"focal": 0.5}),
        (["loss=dice_focal", "~loss.terms.focal", "~loss.weights.focal"], {"dice"}, {"dice": 1.0}),
    ],
)
def test_combinations_from_the_command_line(words: list[str], terms: set[str], weights: dict[str, float]) -> None:
    config, choices = compose("train", [*words, *tiny.SYNTHETIC, *tiny.NET])
    loss = assemble(Request(config, choices)).module.loss
    assert set(loss.terms) == terms
    assert weights.items() <= loss.weights.items()
    if "loss.terms.focal.gamma=3" in words:
        assert loss.terms["focal"].gamma == 3


@pytest.mark.parametrize("word", ["aug=light+noise", "aug=[light,noise]"])
def test_augmentations_add_up(word: str) -> None:
    config, choices = compose("train", [word])
    assert choices["aug"] == "light+noise"
    alone = [list(compose("train", [f"aug={name}"])[0].aug.train) for name in ("light", "noise")]
    assert list(config.aug.train) == [*alone[0], *alone[1]]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("aug=ligt+noise", "aug=ligt: no such option - did you mean light?"),
        ("aug=[]", "aug=[]: no option; aug has: "),
        ("aug=light+", "aug=light+: no such option - did you mean light?"),
        (
            "aug=randaugment+trivialaugment",
            "and trivialaugment are policies, and there can be one at a time",
        ),
        ("aug.train={}", "it would be merged with the ops that are there; remove one with ~aug.train.NAME"),
        ("aug.train=[HorizontalFlip]", "add one with +aug.train.NAME='{op: hflip, p: .5}', or choose aug=none"),
        ("~aug.train", "remove ops by their names, as in ~aug.train.fog, or choose aug=none"),
        ("aug.train.affine={op: affine}", "write one setting each, as in aug.train.affine.p=1"),
        ("~aug.train.fog", "aug.train has no fog; it has affine, brightness, contrast, hflip"),
        ("aug.train.hflp.p=1", "aug.train has no hflp - did you mean hflip?; it has affine"),
        ("aug.references=here", "what is chosen of aug has no references; add style to it, as in aug=light+style"),
        ("loss=[dice,focal]", "loss takes one option; several, with -m, are written loss=a,b"),
        ("aug=style", "aug.references has no value yet; add aug.references="),
    ],
)
def test_options_that_cannot_add_up(word: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        compose("train", [word])
    assert says in str(caught.value)


def test_all_values_that_are_missing_are_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        compose("train", ["+callbacks.x={one: '???', two: [1, '???']}"])
    assert str(caught.value) == (
        "callbacks.x.one and callbacks.x.two.1 have no value yet; add callbacks.x.one=... callbacks.x.two.1=... to the "
        "command"
    )


def test_balanced_bce_takes_beta_from_the_training_set() -> None:
    config, choices = compose("train", ["loss=balanced_bce", *tiny.SYNTHETIC, *tiny.NET])
    parts = assemble(Request(config, choices))
    (share,) = parts.source.stats.share()
    assert float(parts.module.loss.beta) == pytest.approx((1 - share) / share, rel=1e-5)


def test_the_default_net_has_the_size_it_says() -> None:
    config, choices = compose("train", tiny.SYNTHETIC)
    module = assemble(Request(config, choices)).module
    assert sum(p.numel() for p in module.net.parameters()) == 1_942_577
    assert parts_task(module.task) == ("binary", 1, 255)


def parts_task(task: Task) -> tuple[str, int, int]:
    return task.mode, task.num_classes, task.ignore_index


@pytest.mark.parametrize("text", [r"^images/(patient\d+)_", r"C:\a b\c", "it's", "x\\", r"a\'b", "(a|b),[c]", "a=b"])
def test_paths_and_patterns_mean_what_was_typed(text: str) -> None:
    config, _ = compose("train", ["data=folder", f"data.root={text}", f"data.group={text}"])
    assert (config.data.root, config.data.group) == (text, text)

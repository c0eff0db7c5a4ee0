"""Configuration files of the user's own: what is wrong with one is said in a sentence that names it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from segtrain.cli import main
from segtrain.cli.own import check_file
from segtrain.cli.shape import NO_KEY, shape
from segtrain.errors import UserError
from tests import tiny

ALIASES = ["a: &a [x, x, x, x, x, x, x, x, x]"]
ALIASES += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise("abcdefghi")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: \xff\n", "not a text in UTF-8"),
        (b"a: [1\nb: {", "not readable as YAML"),
        (b"a: 1\na: 2\n", "not readable as YAML: .*duplicate key a"),
        (b"a: !!python/object/apply:os.system [ls]\n", "not readable as YAML"),
        (b"- a\n- b\n", "holds a list, not settings"),
        (b"3\n", "not readable as YAML"),
        (b"3: 4\n", "3 is no name of a setting"),
        (b'"a\\0b": 4\n', r"'a\\x00b' is no name"),
        (b"defaults: {a: b}\n", "its defaults are a mapping, not a list"),
        (b"defaults: [3]\n", "defaults holds 3"),
        (b"defaults: [{a: 3}]\n", "defaults holds {'a': 3}"),
        (b"defaults: [{a: [b, 3]}]\n", "defaults holds"),
        (b"defaults: [{a: b, c: d}]\n", "defaults holds"),
        (b"defaults: ['']\n", "defaults holds ''"),
        (b"defaults: ['" + b"x" * 300 + b"']\n", "defaults holds 'xxx"),
        (b"a: " + b"[" * 50_000, "more than 30 levels deep"),
        ("\n".join(ALIASES).encode(), "its aliases .* make more than 100,000 values"),
    ],
)
def test_what_is_no_configuration_is_said(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"^{file}: .*{says}"):
        check_file(file)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# nothing\n",
        "a: [[[[1]]]]\n",
        "a: &a {b: 1}\nc: [*a, *a]\n",
        "defaults: [_self_, a, b@c: d, override /e: [f, g], optional h: null, i: null]\n",
        "a: ${b}\n",
    ],
)
def test_what_hydra_takes_is_taken(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.yaml").write_text(content)
    check_file(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("file", "content", "says"), tiny.every(4, [
        ("loss/mine.yaml", "defaults: [dice]\ntask: 3\n", r"task must be \$\{task\}"),
        ("loss/mine.yaml", "gamma: 2\n", "loss has no _target_"),
        ("loss/mine.yaml", "choices: {dice: 3}\n", "loss.choices has no dice_ce"),
        ("loss/mine.yaml", "defaults: [{/a@b: c}]\n_target_: x\n", "Could not find '.*a/c'|no such option"),
        ("optim/mine.yaml", "_target_: torch.nn.ReLU\n", "optim._target_=torch.nn.ReLU makes a ReLU, which is no"),
        ("aug/mine.yaml", "_target_: torch.nn.ReLU\n", "aug._target_=torch.nn.ReLU makes a ReLU"),
        ("aug/mine.yaml", "_target_: segtrain.augment.build_augmentation\ncrop: 32\nignore_index: x\ntrain: {}\n",
         "aug.ignore_index must be a whole number"),
        ("data/mine.yaml", "_target_: torch.nn.ReLU\n", "data._target_=torch.nn.ReLU makes a ReLU"),
        ("data/mine.yaml", "defaults: [_files]\nlayout: [1]\nroot: .\n", "data.layout must be a layout"),
        ("data/mine.yaml", "defaults: [_files]\nlayout: folder\nroot: .\n", "data.layout must be a layout"),
        ("data/mine.yaml", "defaults: [_files]\nlayout: null\nroot: [a]\n", r"data.root must be a text, got \['a'\]"),
        ("model/mine.yaml", "_target_: segtrain.models.build_model\n", "model: .*arch"),
        ("trainer/mine.yaml", "accelerator: cpu\n", "trainer.devices is missing"),
        ("trainer/mine.yaml", "defaults: [cpu]\ndevices: []\n", r"trainer: .*devices=\[\]"),
        ("callbacks/mine.yaml", "- 1\n", "mine.yaml: holds a list"),
        ("callbacks/mine.yaml", "pictures: 4\n", "callbacks.pictures holds no settings but 4"),
        ("callbacks/mine.yaml", "pictures: {number: 4}\n", "callbacks.pictures.samples is missing"),
        ("callbacks/mine.yaml", "defaults: [early_stop]\nearly_stop: {monitor: IoU}\n", "callbacks.early_stop.monitor"),
        ("train.yaml", "defaults: [{loss: dice}]\n", "is missing from the configuration"),
        ("train.yaml", "defaults: [{loss: no_such}]\n", "train.yaml and what it names do not compose"),
    ]))  # fmt: skip
def test_what_lacks_something_is_named(
    tmp_path: Path, file: str, content: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    group, option = path.parent.name, path.stem
    words = ["crop=32", "epochs=1", f"output_dir={tmp_path / 'out'}", *(tiny.SYNTHETIC if group != "data" else [])]
    words = [*words, f"{group}={option}"] if path.parent != tmp_path else []
    assert main(["train", "--config-dir", str(tmp_path), *words]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(says, error), error
    assert "--traceback" not in error
    assert not (tmp_path / "out").exists()


def test_the_shape_is_that_of_our_files() -> None:
    assert {"trainer", "loss", "epochs", "run", "metrics"} <= shape("evaluate").keys()
    assert shape("evaluate")["metrics"].keys() >= {"threshold", "include_background"}
    assert shape("predict")["trainer"]["precision"] == "auto"
    assert not set(NO_KEY) & set(shape("train"))

"""The command line trains on labels that are objects, in each layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from segtrain.cli import main
from tests import tiny
from tests.data.annotated import MAKERS, make_coco


@pytest.mark.parametrize(
    ("words", "mode", "scores"),
    [
        (["data=coco"], "multiclass", {"background", "cat", "dog"}),
        (["data=coco", "task=multilabel"], "multilabel", {"cat", "dog"}),
        pytest.param(
            ["data=coco", "data.layout.overlap=ignore", "data.classes={dog: hound}"],
            "binary",
            {"hound"},
            marks=pytest.mark.slow,
        ),
        pytest.param(["data=labelme", "data.layout.ignored=[cat]"], "binary", {"dog"}, marks=pytest.mark.slow),
        pytest.param(["data=objects", "data.layout.touching=ignore"], "binary", {"object"}, marks=pytest.mark.slow),
        (["data=yolo", "task=multilabel"], "multilabel", {"cat", "dog"}),
    ],
)
def test_trains(words: list[str], mode: str, scores: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = MAKERS[words[0].removeprefix("data=")](tmp_path / "my images")
    run = tiny.train(tmp_path / "out", "epochs=1", data=[*words, f"data.root={root}"])
    found = tiny.summary(run)
    assert found["status"] == "done"
    assert set(found["test"]["class"]) == scores
    assert f"mode: {mode}" in (run.folder / "config.yaml").read_text()
    assert main(["evaluate", f"run={run.folder}"]) == 0


def test_files_elsewhere(tmp_path: Path) -> None:
    """The quoting that the error message teaches."""
    root = make_coco(tmp_path / "data")
    (root / "annotations").rename(root / "labels")
    where = 'data.layout.annotations="labels/instances_{split}2017.json"'
    pictures = 'data.layout.images="{split}2017"'
    run = tiny.train(tmp_path / "out", "epochs=1", data=["data=coco", f"data.root={root}", where, pictures])
    assert tiny.summary(run)["status"] == "done"


def test_faults_end_with_1_and_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_coco(tmp_path / "data")
    (root / "val2017" / "v.png").unlink()
    assert main(["train", "data=coco", f"data.root={root}", *tiny.FAST, f"output_dir={tmp_path / 'out'}"]) == 1
    assert "instances_val2017.json: image 10: no v.png in" in capsys.readouterr().err

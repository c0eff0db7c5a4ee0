"""`segtrain evaluate`: its tables agree with the masks that predict writes; thresholds chosen are thresholds used."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from segtrain.cli import main
from segtrain.metrics.surface import surface
from segtrain.runs import Run
from tests import tiny

Table = list[dict[str, str]]
SIZES = ((32, 32), (41, 37), (70, 33), (32, 32))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_folder(tmp_path_factory.mktemp("squares"), counts=(6, 4, 4), sizes=SIZES)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has learned something."""
    output = tmp_path_factory.mktemp("outputs")
    return tiny.train(output, "epochs=40", "lr=.01", "aug=none", data=tiny.folder(data))


def evaluate(run: Run, output: Path, *words: str) -> Table:
    """per_image.csv of an evaluation."""
    assert main(["evaluate", f"run={run.folder}", f"output={output}", *words]) == 0
    return table(output / "per_image.csv")


def table(path: Path) -> Table:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def masks(run: Run, data: Path, output: Path, *words: str) -> list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """(truth, prediction) of the test images, by the files that predict writes."""
    images = data / "images" / "test"
    assert main(["predict", f"run={run.folder}", f"input={images}", f"output={output}", "overlay=false", *words]) == 0
    pairs = []
    for path in sorted((data / "masks" / "test").iterdir()):
        with Image.open(path) as truth, Image.open(output / path.name) as found:
            pairs.append((np.asarray(truth) == 255, np.asarray(found) == 1))
    return pairs


def iou(truth: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_]) -> float:
    return float((truth & found).sum() / (truth | found).sum())


def test_the_table_has_the_scores_of_the_predicted_masks(run: Run, data: Path, tmp_path: Path) -> None:
    rows = evaluate(run, tmp_path / "tables")
    pairs = masks(run, data, tmp_path / "masks")
    assert [row["id"] for row in rows] == [f"test{i}" for i in range(4)]  # of the split, not of batches of one size
    assert [(int(row["height"]), int(row["width"])) for row in rows] == list(SIZES)
    for row, (truth, found) in zip(rows, pairs, strict=True):
        expected = surface(truth, found)
        for column in ("iou", "iou_foreground"):
            assert float(row[column]) == pytest.approx(iou(truth, found), abs=1e-6)
        assert float(row["hd95"]) == float(row["hd95_foreground"]) == pytest.approx(expected.hd95)
        assert float(row["boundary_iou"]) == pytest.approx(expected.boundary_iou)
        assert float(row["asd"]) == pytest.approx(expected.asd)
    scores = json.loads((tmp_path / "tables" / "scores.json").read_text())
    for key, column in (("image_iou", "iou"), ("surface_hd95", "hd95"), ("surface_boundary_iou_foreground",) * 2):
        name = column.removeprefix("surface_")
        assert scores[key] == pytest.approx(np.mean([float(row[name]) for row in rows]), abs=2e-6)
    pixels = [int(row["height"]) * int(row["width"]) for row in rows]
    nll = np.average([float(row["nll"]) for row in rows], weights=pixels)
    assert scores["probe_nll"] == pytest.approx(nll, abs=2e-6)


def test_a_threshold_of_the_table_gives_the_score_that_stands_there(run: Run, data: Path, tmp_path: Path) -> None:
    evaluate(run, tmp_path)
    row = table(tmp_path / "thresholds.csv")[63]
    assert row["threshold"] == "0.25"
    evaluate(run, tmp_path / "again", "threshold=.25", "surface=false")
    scores = json.loads((tmp_path / "again" / "scores.json").read_text())
    assert scores["iou"] == pytest.approx(float(row["iou"]), abs=1e-6)
    assert scores["recall"] == pytest.approx(float(row["recall"]), abs=1e-6)
    assert scores["iou"] != json.loads((tmp_path / "scores.json").read_text())["iou"]
    truth, found = (np.concatenate([m.flatten() for m in side]) for side in zip(
        *masks(run, data, tmp_path / "masks", "threshold=.25"), strict=True
    ))  # fmt: skip
    assert iou(truth, found) == pytest.approx(float(row["iou"]), abs=1e-6)


def test_it_says_which_threshold_is_best_and_that_test_images_must_not_choose_it(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(run, tmp_path, "split=val")
    shown = capsys.readouterr().out
    rows = table(tmp_path / "thresholds.csv")
    assert f"IoU {max(float(row['iou']) for row in rows):.4f}   average precision" in shown
    assert "best IoU on the val split" in shown
    assert "to use it, add threshold=" in shown
    assert "warning" not in shown
    evaluate(run, tmp_path, "split=test")
    shown = capsys.readouterr().out
    assert "warning: chosen on the images it is scored on" in shown
    assert "to use it" not in shown


def test_tables_stand_in_the_runs_folder_by_split(run: Run) -> None:
    assert main(["evaluate", f"run={run.folder}", "split=val", "surface=false"]) == 0
    rows = table(run.folder / "evaluation" / "val" / "per_image.csv")
    assert len(rows) == 4
    assert not [name for name in rows[0] if name.startswith(("hd95", "asd", "boundary"))]


@pytest.mark.parametrize("mode", [pytest.param("multiclass", marks=pytest.mark.slow), "multilabel"])
def test_several_classes(mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path, "epochs=1", f"task={mode}")
    capsys.readouterr()
    rows = evaluate(run, tmp_path / "tables")
    names = list(tiny.summary(run)["test"]["class"])
    assert {f"{score}_{name}" for score in ("iou", "dice", "hd95") for name in names} <= rows[0].keys()
    shown = capsys.readouterr().out
    if mode == "multiclass":
        assert not (tmp_path / "tables" / "thresholds.csv").exists()
        assert main(["evaluate", f"run={run.folder}", "threshold=.4"]) == 1
        assert "only binary and multilabel have one" in capsys.readouterr().err
        return
    assert all(f"  {name} " in shown for name in names)
    sweep = table(tmp_path / "tables" / "thresholds.csv")
    assert [row["class"] for row in sweep[::255]] == names
    evaluate(run, tmp_path / "again", "threshold=[.25,.5,.75]")
    scores = json.loads((tmp_path / "again" / "scores.json").read_text())
    for index, (name, place) in enumerate(zip(names, (63, 127, 191), strict=True)):
        found = sweep[255 * index + place]["iou"]
        assert scores["class"][name]["iou"] == (pytest.approx(float(found), abs=1e-6) if found else None)


@pytest.mark.slow
def test_means_over_classes_leave_out_the_background_where_asked(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "epochs=1", "task=multiclass")
    rows = evaluate(run, tmp_path / "tables", "metrics.include_background=false")
    names = list(tiny.summary(run)["test"]["class"])[1:]
    for row in rows:
        for score in ("iou", "hd95"):
            values = [float(row[f"{score}_{name}"]) for name in names if row[f"{score}_{name}"]]
            assert float(row[score]) == pytest.approx(np.mean(values), abs=1e-6)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["threshold=2"], "threshold must be a number in [0, 1], got 2"),
        (["threshold=[.5,.5]"], "one number or 1 (one per class), got 2"),
        (["surface=maybe"], "surface must be true or false, got 'maybe'"),
        (["split=tset"], "split=tset: the data has only"),
        (["output={file}"], "cannot be made"),
    ],
)
def test_wrong_words(run: Run, tmp_path: Path, words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    words = [word.format(file=tmp_path / "file") for word in words]
    assert main(["evaluate", f"run={run.folder}", *words]) == 1
    assert part in capsys.readouterr().err


@pytest.mark.slow  # tests/test_train.py and tests/faults/test_ranks.py have two processes too
def test_two_processes_write_one_table(run: Run, tmp_path: Path) -> None:
    cut = ["tile=32", "tile_margin=0"]  # two images of four
    alone = evaluate(run, tmp_path / "alone", *cut)
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "num_workers=0"]
    command = ["evaluate", f"run={run.folder}", f"output={tmp_path / 'two'}", *cut, *ranks]
    done = subprocess.run(
        [sys.executable, "-m", "segtrain", *command], env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for one, two in zip(alone, table(tmp_path / "two" / "per_image.csv"), strict=True):
        assert one["id"] == two["id"]
        assert one["iou"] == two["iou"]
    assert (tmp_path / "two" / "thresholds.csv").read_text() == (tmp_path / "alone" / "thresholds.csv").read_text()
    scores = [json.loads((tmp_path / name / "scores.json").read_text()) for name in ("two", "alone")]
    for each in scores:
        del each["loss"]  # of batches, which are others
    assert scores[0] == scores[1]

"""Sweeps: every valid grid is taken, every invalid one refused before its first run, and no two runs share a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from segtrain.cli import main, sweeps
from segtrain.cli.sweeps import chosen, job_name, jobs
from segtrain.cli.words import quoted
from segtrain.errors import UserError
from tests import tiny

SMALL = [*tiny.FAST, "epochs=1"]
slow = partial(pytest.param, marks=pytest.mark.slow)


def names(output: Path) -> set[str]:
    """Folders of the runs that have ended."""
    return {path.parent.name for path in output.glob("sweeps/*/*/summary.json")}


@pytest.mark.parametrize(
    ("words", "found"),
    tiny.every(
        2,
        [
            (  # a parameter that the default loss does not have, swept and constant
                ["loss=bce,ce", "loss.label_smoothing=0,0.1"],
                {f"loss={loss},loss.label_smoothing={value}" for loss in ("bce", "ce") for value in (0, 0.1)},
            ),
            slow(["loss=bce,ce", "loss.label_smoothing=0.1"], {"loss=bce", "loss=ce"}),
            slow(
                ["loss=dice_bce,dice_focal", "~loss.terms.dice", "~loss.weights.dice"],
                {"loss=dice_bce", "loss=dice_focal"},
            ),
            slow(["seed=range(1,3)"], {"seed=1", "seed=2"}),
            (["loss=bce"], {"run"}),
        ],
    ),
)
def test_valid_grids_are_taken(words: list[str], found: set[str], tmp_path: Path) -> None:
    assert main(["train", "-m", *tiny.SYNTHETIC, *SMALL, f"output_dir={tmp_path}", *words]) == 0
    assert names(tmp_path) == found


@pytest.mark.slow
def test_folders_of_data_are_swept_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a b", "c (2)", "d, e"):
        tiny.make_folder(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    words = ["train", "-m", *SMALL, "data=folder", "output_dir=out"]
    assert main([*words, "data.root=a b,c (2)"]) == 0
    (sweep,) = Path("out/sweeps").iterdir()
    assert {name.rpartition("-")[0] for name in names(Path("out"))} == {"data.root=a-b", "data.root=c-2"}
    assert main([*words, "data.root=d, e", "name=one"]) == 0  # a folder that exists is one folder
    assert names(Path("out")) - {run.name for run in sweep.iterdir()} == {"run"}
    run = next(path for path in sweep.iterdir() if path.is_dir())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["evaluate", f"run={tmp_path / run}"]) == 0


@pytest.mark.parametrize(
    ("words", "parts"),
    tiny.every(
        3,
        [
            (
                ["loss=focal,bce", "loss.gamma=1,2"],
                ["loss.gamma=1: the loss that is chosen has no gamma", "(in the run loss=bce, loss.gamma=1)"],
            ),
            (["seed=1,2", "loss=bce,fcal"], ["loss=fcal", "did you mean focal?"]),
            (["lr=interval(0,1)"], ["-m takes values, as in lr=1,2"]),
            (["seed=range(1,100000)"], ["more than 10000 runs"]),
            (["seed=1,2", "resume=latest"], ["resume= has no use with -m"]),
        ],
    ),
)
def test_a_grid_with_an_impossible_run_is_refused_before_the_first(
    words: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-m", *tiny.SYNTHETIC, *SMALL, f"output_dir={tmp_path / 'out'}", *words]) == 1
    error = capsys.readouterr().err
    assert all(part in error for part in parts), error
    assert not (tmp_path / "out").exists()


def test_every_combination_keeps_the_other_words() -> None:
    words = ["hydra/launcher=basic", "~a.b", "seed=1,2", "c=3", "data.root='x y',z"]
    expected = [["~a.b", f"seed={s}", "c=3", f"data.root={root}"] for s in (1, 2) for root in ("'x y'", "z")]
    assert jobs(words) == expected


def test_of_a_large_grid_each_combination_of_options_and_each_value_is_checked() -> None:
    grid = jobs(["loss=bce,ce", "aug=none,light", "seed=range(0,200)"])
    kept = chosen(grid)
    assert len(kept) < 210
    assert {word for job in kept for word in job} == {word for job in grid for word in job}
    assert {tuple(job[:2]) for job in kept} == {tuple(job[:2]) for job in grid}
    assert chosen(grid[: sweeps.MOST_CHECKED]) == grid[: sweeps.MOST_CHECKED]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data.root=A,B", "data.root=A,B"),
        ("data.root=A a,B (2)", "data.root='A a','B (2)'"),
        ("data.root='A,B',C", "data.root='A,B',C"),
        ("data.root=choice(A,B)", "data.root=choice(A,B)"),
        ("output_dir=A,B", "output_dir='A,B'"),
    ],
)
def test_commas_separate_paths_in_a_sweep(word: str, expected: str) -> None:
    assert quoted(word, sweep=True) == expected
    assert quoted("data.root=A,B") == "data.root='A,B'"


def test_names_of_runs_differ_where_their_words_do() -> None:
    assert job_name(["loss=bce", "seed=1"]) == "loss=bce,seed=1"
    assert job_name([]) == "run"
    others = [["data.root=x/y"], ["data.root=x-y"], ["data.root=x:y"], ["crop=[1,2]"], ["crop=1,2"], ["a=" + "x" * 80]]
    found = {job_name(words) for words in others}
    assert len(found) == len(others)
    assert all(len(name) <= sweeps.LONGEST_NAME and "/" not in name for name in found)


def test_values_that_hydra_cannot_read_are_one_sentence() -> None:
    with pytest.raises(UserError, match="cannot read"):
        jobs(["seed=[1"])

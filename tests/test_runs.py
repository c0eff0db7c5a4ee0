"""Run folders: their names, how they are found again, what is never written outside them."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import pytest

from segtrain.cli.sweeps import job_name
from segtrain.errors import UserError
from segtrain.runs import (
    LONGEST_NAME,
    Run,
    clean_name,
    find_latest,
    find_run,
    new_folder,
    point_latest,
    read_run,
    set_status,
    unfinished,
    write_json,
)

NOW = datetime(2026, 1, 2, 3, 4)


def make_run(folder: Path, status: str = "done", config_hash: str = "a", checkpoint: bool = True) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    if checkpoint:
        (folder / "checkpoints" / "best.ckpt").touch()
    write_json(folder / "env.json", {"config_hash": config_hash})
    set_status(folder, status)
    return folder


def test_names_are_unique_and_tell_the_date(tmp_path: Path) -> None:
    names = [new_folder(tmp_path, "dice-light-s1", NOW).name for _ in range(3)]
    assert names == ["dice-light-s1_0102-0304", "dice-light-s1_0102-0304-2", "dice-light-s1_0102-0304-3"]
    long = [new_folder(tmp_path, "x" * 500, NOW).name for _ in range(3)]
    assert [name.lstrip("x") for name in long] == ["_0102-0304", "_0102-0304-2", "_0102-0304-3"]
    assert all(len(name) <= LONGEST_NAME for name in long)


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "a/b", "..", "\x00", "con:*?", "x" * 500, ".hidden", ""])
def test_names_stay_inside_their_folder(name: str, tmp_path: Path) -> None:
    cleaned = clean_name(name)
    assert cleaned
    assert len(cleaned) <= 60
    assert (tmp_path / cleaned).resolve().parent == tmp_path.resolve()
    assert not cleaned.startswith(".")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be made .*choose another output_dir"):
        new_folder(tmp_path / "file", "x")


def test_latest_points_to_the_last(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run yet"):
        find_latest(tmp_path)
    for name in ("one", "two"):
        point_latest(tmp_path, make_run(tmp_path / "data" / name))
        assert find_latest(tmp_path) == tmp_path / "data" / name


def test_latest_works_where_links_are_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise OSError("a privilege is not held")

    monkeypatch.setattr(Path, "symlink_to", refused)
    point_latest(tmp_path, make_run(tmp_path / "data" / "one"))
    assert find_latest(tmp_path) == tmp_path / "data" / "one"


def test_latest_may_point_to_another_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")  # as on Windows

    monkeypatch.setattr("os.path.relpath", refused)
    point_latest(tmp_path, make_run(tmp_path / "data" / "one"))
    assert find_latest(tmp_path) == tmp_path / "data" / "one"


def test_runs_are_found_by_folder_file_and_word(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "data" / "one")
    point_latest(tmp_path, folder)
    best = folder / "checkpoints" / "best.ckpt"
    for spec in ("latest", str(folder), str(best)):
        found, checkpoint = find_run(spec, tmp_path)
        assert (found, checkpoint.resolve()) == (folder, best)
    empty = make_run(tmp_path / "data" / "two", checkpoint=False)
    far = empty.with_name("another")  # the same folder does not make a name alike
    for spec, sentence in (
        (str(far), "a .ckpt file$"),
        (str(empty), "has no checkpoint"),
        ("nowhere", "no such run folder or checkpoint"),
        ("x" * 5000, "no such run folder or checkpoint"),
        (f"{'x' * 5000}/y", "no such run folder or checkpoint"),
        (f"{empty}s", f"did you mean {empty}\\?"),
    ):
        with pytest.raises(UserError, match=sentence):
            find_run(spec, tmp_path)


def test_the_unfinished_run_of_a_configuration(tmp_path: Path) -> None:
    make_run(tmp_path / "d" / "done", "done")
    make_run(tmp_path / "d" / "other", "failed", "b")
    assert unfinished(tmp_path, "a") == []
    stopped = make_run(tmp_path / "sweeps" / "grid" / "stopped", "running")
    (make_run(tmp_path / "d" / "broken", "running") / "env.json").write_text("{")
    assert unfinished(tmp_path, "a") == [stopped]
    newer = make_run(tmp_path / "d" / "newer", "failed")
    os.utime(stopped / "env.json", (1, 1))
    assert unfinished(tmp_path, "a") == [newer, stopped]


def test_a_run_without_a_summary_has_no_score(tmp_path: Path) -> None:
    assert read_run(make_run(tmp_path / "one")).score is None
    (tmp_path / "one" / "summary.json").write_text(json.dumps({"val_best": {"score": 0.5}}))
    assert read_run(tmp_path / "one").score == 0.5
    assert Run(tmp_path / "nowhere").status == ""


def test_long_names_of_a_sweep_are_cut_and_stay_different() -> None:
    one, other = (job_name(["loss=" + "x" * 80, f"seed={seed}"]) for seed in (1, 2))
    assert one != other
    assert len(one) <= 60
    assert job_name(["loss=bce", "seed=1"]) == "loss=bce,seed=1"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b"[" * 100_000])
def test_a_damaged_summary_is_named_and_a_damaged_record_is_no_run(content: bytes, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", status="failed")
    (folder / "summary.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"^{folder / 'summary.json'}: damaged"):
        read_run(folder)
    assert unfinished(tmp_path, "a") == [folder]
    (folder / "env.json").write_bytes(content)
    (folder / "status").write_bytes(b"\xff")
    assert unfinished(tmp_path, "a") == []
    assert Run(folder).status == "\ufffd"

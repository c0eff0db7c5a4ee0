"""What a run writes down about how it was made."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from datetime import datetime
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain.cli import main
from segtrain.provenance import environment, git_commit, packages, repository
from tests import tiny


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-b", "topic")
    (folder / "a.py").write_text("a = 1\n")
    (folder / ".gitignore").write_text("outputs\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return folder


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "env.json").read_text())
    return content


def test_the_state_of_the_code_is_told_by_commit_branch_and_changes(repo: Path) -> None:
    commit = git(repo, "rev-parse", "HEAD")
    assert repository(repo) == {"commit": commit, "branch": "topic", "dirty": False}
    assert git_commit(repo) == commit
    (repo / "outputs").mkdir()
    (repo / "outputs" / "ignored").write_text("x")
    assert repository(repo) == {"commit": commit, "branch": "topic", "dirty": False}

    for name in ("image.png", "run/config.yaml", "run/env.json"):  # data, and what runs leave behind
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_text("x")
    assert repository(repo) == {"commit": commit, "branch": "topic", "dirty": False}

    states = []
    for change in ("a = 2\n", "a = 3\n"):
        (repo / "a.py").write_text(change)
        states.append(repository(repo))
    (repo / "new.py").write_text("b = 1\n")
    states.append(repository(repo))
    (repo / "new.py").write_text("b = 2\n")
    states.append(repository(repo))
    digests = [state["changes"] for state in states if state is not None and state["dirty"]]
    assert len(set(digests)) == 4
    (repo / "below").mkdir()
    assert repository(repo / "below") == states[-1]
    assert git_commit(repo) == f"{commit}+changes"
    git(repo, "checkout", "--detach")
    detached = repository(repo)
    assert detached is not None
    assert detached["branch"] == ""


def test_outside_of_git_and_without_git_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repository(tmp_path) is None
    assert git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert repository(Path.cwd()) is None


def test_all_requirements_have_their_version() -> None:
    found = packages()
    for line in requires("segtrain") or []:
        name = re.split(r"[<>=;\s]", line)[0]
        if "extra" not in line:
            assert re.match(r"\d+\.", found[name] or ""), name
    assert "ruff" not in found
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert found["cuda"] == torch.version.cuda


def test_neither_user_nor_host_nor_home_is_written_down() -> None:
    text = json.dumps({key: value for key, value in environment().items() if key not in ("git", "segtrain")})
    for name in {platform.node(), os.environ.get("USER", ""), str(Path.home())} - {"", "/"}:
        assert not re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", text), name


def test_a_run_writes_down_what_it_was_made_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> None:
    monkeypatch.chdir(repo)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/segtrain", "train", "seed=5"])
    run = tiny.train(tmp_path, "seed=5", "epochs=1")
    found = record(run.folder)
    assert datetime.strptime(found["started"], "%Y-%m-%dT%H:%M:%S%z").tzinfo is not None
    assert found["command"] == "segtrain train seed=5"
    assert found["seed"] == 5
    assert "seed=5" in found["words"]
    assert found["git"] == {"commit": git(repo, "rev-parse", "HEAD"), "branch": "topic", "dirty": False}
    assert found["python"] == platform.python_version()
    assert found["threads"]["OMP_NUM_THREADS"] == "3"
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["gpus"] == [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    checkpoint = torch.load(run.last, weights_only=True)
    assert found["data"] == checkpoint["segtrain"]["fingerprint"]
    assert "sittings" not in found


@pytest.mark.slow
def test_each_further_sitting_is_added_and_the_first_is_kept(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "epochs=1", "optim.schedule=constant")
    first = record(run.folder)
    for epochs in (2, 3):
        assert main(["train", "resume=latest", f"epochs={epochs}", f"output_dir={tmp_path}"]) == 0
    found = record(run.folder)
    sittings = found.pop("sittings")
    assert found == first
    assert [sitting["step"] for sitting in sittings] == [2, 4]
    assert ["epochs=3" in sitting["words"] for sitting in sittings] == [False, True]
    assert all(sitting.keys() - {"step"} == first.keys() for sitting in sittings)


@pytest.mark.parametrize("content", ["{", "[" * 100_000])
def test_a_damaged_record_does_not_stop_a_run_that_goes_on(tmp_path: Path, content: str) -> None:
    run = tiny.train(tmp_path, "epochs=1", "optim.schedule=constant")
    (run.folder / "env.json").write_text(content)
    assert main(["train", "resume=latest", "epochs=2", f"output_dir={tmp_path}"]) == 0
    assert len(record(run.folder)["sittings"]) == 1

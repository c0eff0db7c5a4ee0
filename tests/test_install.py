"""The wheel, installed in an empty folder elsewhere, finds its configuration and trains."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import tiny

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "segtrain", "conf")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was unpacked, as an installer does."""
    base = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:  # a copy, so that building leaves nothing in the checkout
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, base / name)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        "dist",
        ".",
    ]
    subprocess.run(pip, cwd=base, check=True)
    (wheel,) = (base / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(base / "site")
    return base / "site"


def run(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in an empty folder, with the unpacked wheel alone on the path."""
    environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "segtrain", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_trains_and_finds_its_configuration(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "train", *tiny.SYNTHETIC, *tiny.FAST, "epochs=1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs" / "latest" / "summary.json").is_file()
    assert str(installed / "segtrain" / "conf") in run(installed, tmp_path, "env").stdout


def test_the_wheel_holds_every_configuration_file(installed: Path) -> None:
    inside = {path.relative_to(installed / "segtrain" / "conf") for path in (installed / "segtrain").rglob("*.yaml")}
    assert inside == {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    assert (installed / "segtrain" / "py.typed").is_file()


def test_the_user_folder_comes_first_from_a_wheel_too(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "cp", "loss/focal", "myconf").returncode == 0
    copied = tmp_path / "myconf" / "loss" / "focal.yaml"
    copied.write_text(copied.read_text().replace("gamma: 2.0", "gamma: 3.5"))
    done = run(installed, tmp_path, "train", "--config-dir", "myconf", "--cfg", "job", "loss=focal")
    assert "gamma: 3.5" in done.stdout, done.stderr

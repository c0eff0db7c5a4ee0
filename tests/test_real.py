"""The acceptance runs on real images: slow, and skipped where the data is not there.

SEGTRAIN_DATA=/path/to/data pytest -m slow tests/test_real.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SEGTRAIN_DATA", ROOT / "data"))
pytestmark = pytest.mark.slow


def needs(name: str) -> Path:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; set SEGTRAIN_DATA to the folder that holds {name}")
    return folder


def train(output: Path, *words: str) -> dict[str, Any]:
    """A training as a user starts it; its summary."""
    subprocess.run([sys.executable, "train.py", *words, f"output_dir={output}"], cwd=ROOT, check=True)
    summary: dict[str, Any] = json.loads((output / "latest" / "summary.json").read_text())
    return summary


def final_weights(output: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(output / "latest" / "checkpoints" / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    return state


def test_the_default_learns_and_survives_a_kill_bit_for_bit(tmp_path: Path) -> None:
    summary = train(tmp_path / "whole")
    assert summary["test"]["iou"] >= 0.6
    command = [sys.executable, "train.py", f"output_dir={tmp_path / 'cut'}", "checkpoint.every_steps=3"]
    process = subprocess.Popen(command, cwd=ROOT)
    table = tmp_path / "cut" / "latest" / "metrics.csv"
    while not (table.is_file() and len(table.read_text().splitlines()) > 5):
        time.sleep(0.2)
    time.sleep(1.7)  # into the next epoch
    process.send_signal(signal.SIGKILL)
    process.wait()
    train(tmp_path / "cut", "resume=latest")
    whole, cut = final_weights(tmp_path / "whole"), final_weights(tmp_path / "cut")
    assert [key for key in whole if not torch.equal(whole[key], cut[key])] == []


def test_nuclei_reach_dice_090_and_predicted_masks_score_the_same(tmp_path: Path) -> None:
    root = needs("nuclei")
    summary = train(tmp_path, "data=folder", f"data.root={root}", "loss=dice_bce", "aug=light")
    assert summary["test"]["class"]["nucleus"]["dice"] >= 0.90
    words = [f"run={tmp_path / 'latest'}", f"input={root / 'images' / 'test'}", f"output={tmp_path / 'masks'}"]
    subprocess.run([sys.executable, "-m", "segtrain", "predict", *words, "overlay=false"], cwd=ROOT, check=True)
    hits = sums = 0
    for path in sorted((root / "masks" / "test").iterdir()):
        truth, found = np.asarray(Image.open(path)) == 255, np.asarray(Image.open(tmp_path / "masks" / path.name)) == 1
        assert truth.shape == found.shape
        hits, sums = hits + int((truth & found).sum()), sums + int(truth.sum() + found.sum())
    assert 2 * hits / sums == pytest.approx(summary["test"]["dice"], abs=2e-6)


def test_camvid_ignores_id_11_and_names_its_classes(tmp_path: Path) -> None:
    root = needs("camvid_small")
    words = ["data=folder", f"data.root={root}", "loss=dice_ce", "model=unet_resnet34", "epochs=2"]
    summary = train(tmp_path, *words)
    names = [c["name"] for c in json.loads((root / "dataset.json").read_text())["classes"]]
    assert list(summary["test"]["class"]) == names
    stored = torch.load(tmp_path / "latest" / "checkpoints" / "best.ckpt", weights_only=True)["segtrain"]["config"]
    labelled = sum(int((np.asarray(Image.open(p)) != 11).sum()) for p in (root / "masks" / "train").iterdir())
    assert stored["stats"]["valid"] == [labelled] * 11


@pytest.mark.parametrize("words", [["loss=focal", "aug=heavy"], ["-m", "loss=bce,focal,dice", "seed=1,2", "epochs=2"]])
def test_the_commands_of_the_front_page(tmp_path: Path, words: list[str]) -> None:
    subprocess.run([sys.executable, "train.py", *words, f"output_dir={tmp_path}"], cwd=ROOT, check=True)
    assert len(list(tmp_path.rglob("summary.json"))) == (6 if "-m" in words else 1)

"""What a run writes down about itself: configuration, versions, git commit, summary."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segtrain.callbacks.report import read_rows

PACKAGES = ("segtrain", "torch", "lightning", "torchmetrics", "albumentations", "segmentation-models-pytorch", "numpy")
# what may differ between a run and the one that continues it
NOT_HASHED = ("resume", "output_dir", "num_workers", "worker_timeout", "stats", "task", "tile", "tile_margin")


def config_hash(config: Mapping[str, Any]) -> str:
    """Equal for configurations that train the same; taken before the data fills anything in."""
    kept = {key: value for key, value in config.items() if key not in NOT_HASHED}
    kept["task"] = {k: v for k, v in config["task"].items() if v is not None}
    return hashlib.blake2b(json.dumps(kept, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def environment() -> dict[str, Any]:
    """Versions and machine."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "git": git_commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_commit(folder: Path | None = None) -> str | None:
    """Commit of the folder one stands in, with "+changes" where it has any; None outside git."""
    try:
        commit = _git(["rev-parse", "HEAD"], folder)
        return commit + ("+changes" if _git(["status", "--porcelain"], folder) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(arguments: list[str], folder: Path | None) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def summarize(table: Path, monitor: str, mode: str, test: Mapping[str, float]) -> dict[str, Any]:
    """Git commit, date, best validation scores and test scores, as summary.json has them.

    Where the monitored score was never a number, no epoch is the best: its number and all of its scores are None.

    Args:
        table: metrics.csv of the run.
        monitor: score that decides which epoch is the best.
        mode: max or min.
        test: scores by tag; empty where there is no test split.
    """
    rows = [{k: float(v) for k, v in row.items() if v} for row in read_rows(table)]
    scored = [row for row in rows if not math.isnan(row.get(monitor, math.nan))]
    unknown = dict.fromkeys(rows[-1] if rows else (), math.nan)
    best = (max if mode == "max" else min)(scored, key=lambda row: row[monitor], default=unknown)
    val: dict[str, Any] = dict.fromkeys(("epoch", "score"))
    if scored:
        val = {"epoch": int(best["epoch"]), "score": round(best[monitor], 6)}
    return {
        "git": git_commit(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "val_best": val | split_scores(best, "val"),
        "test": split_scores(test, "test") if test else None,
    }


def split_scores(values: Mapping[str, float], stage: str) -> dict[str, Any]:
    """Scores of one stage as summary.json has them: {"iou", "dice", ..., "class": {name: {"iou", "dice"}}}.

    Args:
        values: by TensorBoard tag, such as test/iou or test_class/iou_car.
        stage: val or test.
    """
    scores: dict[str, Any] = {}
    by_class: dict[str, dict[str, float | None]] = {}
    for tag, value in values.items():
        group, _, name = tag.partition("/")
        number = None if math.isnan(value) else round(value, 6)
        if group == stage:
            scores[name] = number
        elif group == f"{stage}_class":
            score, _, label = name.partition("_")
            by_class.setdefault(label, {})[score] = number
        elif group.startswith(f"{stage}_"):
            scores[f"{group.removeprefix(f'{stage}_')}_{name}"] = number
    return scores | {"class": by_class}

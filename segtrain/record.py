"""What a run writes down about itself: its sittings with all they were made with, and its summary."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segtrain.callbacks.report import read_rows
from segtrain.provenance import environment, git_commit
from segtrain.runs import write_json
from segtrain.secrets import masked

# what may differ between a run and the one that continues it
NOT_HASHED = ("resume", "output_dir", "num_workers", "worker_timeout", "stats", "task", "tile", "tile_margin")


def config_hash(config: Mapping[str, Any]) -> str:
    """Equal for configurations that train the same; taken before the data fills anything in."""
    kept = masked({key: value for key, value in config.items() if key not in NOT_HASHED})  # a token may be renewed
    kept["task"] = {k: v for k, v in config["task"].items() if v is not None}
    return hashlib.blake2b(json.dumps(kept, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def note_sitting(folder: Path, step: int | None, facts: Mapping[str, Any]) -> None:
    """Write env.json for a new run; add to its `sittings` where it is continued, so that nothing is lost.

    Args:
        folder: of the run.
        step: at which it is continued; None for a new run.
        facts: of this sitting, such as its command; without secrets.
    """
    sitting = {"started": now(), **facts, **environment()}
    if step is None:
        write_json(folder / "env.json", sitting)
        return
    before = read_record(folder) or {}
    write_json(folder / "env.json", before | {"sittings": [*before.get("sittings", []), {"step": step, **sitting}]})


def read_record(folder: Path) -> dict[str, Any] | None:
    """What env.json of a run holds; None where it cannot be read."""
    try:
        found = json.loads((folder / "env.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def now() -> str:
    """Date and time, with the time zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


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
        "date": now(),
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

"""Whether a run that was made again is the same: weights by their hash, each epoch's values, the test scores."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from segtrain.callbacks.report import FIRST, Row, read_rows
from segtrain.checkpoint import load_checkpoint, net_weights
from segtrain.resume import flatten
from segtrain.runs import Run

TIMED = "perf/"  # columns that depend on the clock
SHOWN = 12  # digits of a hash
SEVERAL = ("sittings", "command", "words", "started", "config_hash")  # of a record: no facts about how it was made


class Line(NamedTuple):
    """One thing that was compared; its values as they are shown."""

    what: str
    then: str
    now: str
    same: bool


class Deviation(NamedTuple):
    """The first value of the curves that differs."""

    epoch: str
    column: str
    then: str
    now: str

    def in_words(self) -> str:
        """Where, by how much, and the two values."""
        try:
            size = f"by {abs(float(self.now) - float(self.then)):.3g} "
        except ValueError:  # a value that only one of them has
            size = ""
        return f"epoch {self.epoch}: {self.column} differs {size}({self.then or '-'} then, {self.now or '-'} now)"


def weights_digest(checkpoint: Path) -> str:
    """SHA-256 of the net's weights: names, types, shapes and bits, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net_weights(load_checkpoint(checkpoint)).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def compare_runs(then: Run, now: Run) -> tuple[list[Line], Deviation | None]:
    """What two finished runs have in common.

    Args:
        then: the one that was there.
        now: the one that was made again.

    Returns:
        A line for the weights of last.ckpt and best.ckpt, the curves and the test scores; where the curves part.
    """
    lines = [_weights(a, b) for a, b in ((then.last, now.last), (then.best, now.best))]
    rows = read_rows(then.folder / "metrics.csv"), read_rows(now.folder / "metrics.csv")
    deviation = first_deviation(*rows)
    counts = [f"{len(table)} epochs" for table in rows]
    lines.append(Line("metrics.csv", counts[0], counts[1], deviation is None))
    return [*lines, _test(then.summary, now.summary)], deviation


def _weights(then: Path, now: Path) -> Line:
    digests = [weights_digest(path) if path.is_file() else "" for path in (then, now)]
    shown = [digest[:SHOWN] or "-" for digest in digests]
    return Line(f"weights of {then.name}", shown[0], shown[1], digests[0] == digests[1])


def _test(then: Mapping[str, Any], now: Mapping[str, Any]) -> Line:
    scores = [flatten(summary.get("test") or {}) for summary in (then, now)]
    if scores[0].keys() == scores[1].keys():
        differing = [key for key, value in scores[0].items() if value != scores[1][key]]
    else:
        differing = sorted(scores[0].keys() ^ scores[1].keys())
    key = differing[0] if differing else "iou"
    shown = [str(found.get(key, "-")) for found in scores]
    return Line(f"test {key}", shown[0], shown[1], not differing)


def first_deviation(then: list[Row], now: list[Row]) -> Deviation | None:
    """The first value of two tables that differs, of those that do not depend on the clock; None where none does."""
    for number in range(max(len(then), len(now))):
        before = then[number] if number < len(then) else {}
        after = now[number] if number < len(now) else {}
        epoch = before.get("epoch") or after.get("epoch") or ""
        for column in _columns(before, after):
            if not _equal(before.get(column) or "", after.get(column) or ""):
                return Deviation(epoch, column, before.get(column) or "", after.get(column) or "")
    return None


def _columns(then: Row, now: Row) -> Iterator[str]:
    names = [*FIRST, *sorted((then.keys() | now.keys()) - set(FIRST))]
    return (name for name in names if not name.startswith(TIMED))


def _equal(then: str, now: str) -> bool:
    try:
        one, other = float(then), float(now)
    except ValueError:
        return then == now
    return one == other or (math.isnan(one) and math.isnan(other))


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a run was made with and what there is now, one line for each that differs.

    Args:
        then: of a sitting, as env.json has it.
        now: likewise.
    """
    before, after = flatten(then), flatten(now)
    keys = (key for key in {**before, **after} if key.partition(".")[0] not in SEVERAL)
    return [
        f"{key}: {_shown(before.get(key))} then, {_shown(after.get(key))} now"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)

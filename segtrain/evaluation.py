"""What `segtrain evaluate` leaves behind: a table per image, a table per threshold, all scores; and what it says."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from segtrain.callbacks.images import Row
from segtrain.errors import UserError
from segtrain.metrics import CalibrationProbe
from segtrain.metrics.counts import Threshold
from segtrain.metrics.curves import Sweep, average_precision, best_thresholds, sweep_thresholds
from segtrain.record import split_scores
from segtrain.runs import write_json, write_text

IMAGES, THRESHOLDS, SCORES = "per_image.csv", "thresholds.csv", "scores.json"


def output_folder(folder: Path | str | None, run: Path, split: str) -> Path:
    """Where to write: the folder asked for, or evaluation/<split> in the run's; it is made.

    Raises:
        UserError: it cannot be made.
    """
    output = run / "evaluation" / split if folder is None else Path(folder).expanduser()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: cannot be made ({error.strerror}); choose another folder with output=") from error
    return output


def write_tables(
    output: Path, rows: Sequence[Row], ids: Sequence[str], probe: CalibrationProbe, scores: Mapping[str, float]
) -> None:
    """Write per_image.csv in the order of the split, scores.json and, where classes have thresholds, thresholds.csv.

    Args:
        output: an existing folder.
        rows: of ImageTable.
        ids: of the split.
        probe: has seen the split.
        scores: by tag.
    """
    place = {name: index for index, name in enumerate(ids)}
    ordered = sorted(rows, key=lambda row: place[str(row["id"])])
    write_text(output / IMAGES, table_text(ordered))
    write_json(output / SCORES, split_scores(scores, "test"))
    if not probe.task.exclusive:
        write_text(output / THRESHOLDS, table_text(threshold_rows(probe)))


def threshold_rows(probe: CalibrationProbe) -> list[Row]:
    """Each class at each threshold of the 1/256 grid: iou, dice, precision, recall."""
    sweep = sweep_thresholds(probe.summed.counts)
    return [
        {"class": name} | {field: float(column[k, i]) for field, column in zip(fields(), sweep, strict=True)}
        for k, name in enumerate(probe.task.names)
        for i in range(sweep.iou.shape[1])
    ]


def fields() -> list[str]:
    """Columns of a sweep; each row has one threshold."""
    return ["threshold", *Sweep._fields[1:]]


def table_text(rows: Sequence[Row]) -> str:
    """Rows as csv; an empty cell is a score that does not exist, such as of a class that an image lacks."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: str | int | float) -> str | int:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.8g}"
    return value


def threshold_report(probe: CalibrationProbe, split: str, threshold: Threshold, scores: Mapping[str, float]) -> str:
    """The best threshold of each class beside the one in use, and whether choosing it on this split is fair.

    Args:
        probe: has seen the split.
        split: train, val or test.
        threshold: in use.
        scores: at that threshold, by tag.
    """
    counts, names = probe.summed.counts, probe.task.names
    sweep = sweep_thresholds(counts)
    best, areas = best_thresholds(sweep).tolist(), average_precision(counts)
    used = threshold if isinstance(threshold, list) else [threshold] * len(names)
    width = max(map(len, names))
    lines = [f"threshold of the best IoU on the {split} split:"]
    for index, name in enumerate(names):
        if math.isnan(areas[index]):
            lines.append(f"  {name:{width}}  none to be found on this split, so no threshold is better than another")
            continue
        now, then = scores[f"test_class/iou_{name}"], sweep.iou[index, round(best[index] * 256) - 1]
        lines.append(
            f"  {name:{width}}  at {used[index]:g}: IoU {now:.4f}   at {best[index]:.4g}: IoU {then:.4f}"
            f"   average precision {areas[index]:.4f}"
        )
    chosen = ",".join(f"{value:.4g}" for value in best)
    if all(math.isnan(area) for area in areas):
        return "\n".join(lines)
    if split == "val":
        words = f"threshold={chosen}" if len(names) == 1 else f"'threshold=[{chosen}]'"
        advice = f"to use it, add {words} to `segtrain evaluate split=test` or `segtrain predict`"
    else:
        advice = "warning: chosen on the images it is scored on, this IoU promises too much; choose with split=val"
    return "\n".join([*lines, f"  {advice}"])

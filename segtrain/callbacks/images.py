"""The scores of each image of the test split, for `segtrain evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed

from segtrain.metrics import SegmentationMetrics, image_counts, image_nll, image_scores, rates, score
from segtrain.metrics.surface import Surface, image_surfaces
from segtrain.module import SegmentationModule
from segtrain.task import Batch

Row = dict[str, str | int | float]


class ImageTable(Callback):
    """One row per image: size, IoU and Dice, NLL, and how well outlines agree; means over classes and each class.

    Args:
        surfaces: whether outlines are compared too; on the host, ten milliseconds or more per class and image.
    """

    def __init__(self, surfaces: bool = True) -> None:
        self.surfaces = surfaces
        self.rows: list[Row] = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the images of one batch."""
        metrics = cast(SegmentationModule, pl_module).counts("test")
        logits, predicted, target = outputs["logits"], outputs["predicted"], batch["mask"]
        rows = area_rows(logits, target, predicted, metrics)
        for index, row in enumerate(rows):
            row.update({"id": batch["id"][index], "height": target.shape[-2], "width": target.shape[-1]})
            if self.surfaces:
                truth, found = target[index].cpu().numpy(), predicted[index].cpu().numpy()
                row.update(surface_row(image_surfaces(truth, found, metrics.task), metrics))
        self.rows += rows

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the rows of all processes."""
        if trainer.world_size > 1:
            shares: list[list[Row]] = [[] for _ in range(trainer.world_size)]
            distributed.all_gather_object(shares, self.rows)
            self.rows = [row for share in shares for row in share]

    def means(self) -> dict[str, float]:
        """Means over images of the outlines' scores, by tag: test_surface/hd95, test_surface/hd95_<class>."""
        columns = [name for name in (self.rows or [{}])[0] if name.startswith(Surface._fields)]
        return {f"test_surface/{name}": nan_mean([float(row[name]) for row in self.rows]) for name in columns}


def area_rows(logits: Tensor, target: Tensor, predicted: Tensor, metrics: SegmentationMetrics) -> list[Row]:
    """IoU, Dice and NLL of each image; NaN where there is nothing to score."""
    task = metrics.task
    counts = image_counts(logits, target, task, predicted)
    by_class = rates(counts, task)
    rows: list[Row] = [{"id": "", "height": 0, "width": 0} for _ in logits]
    for name in ("iou", "dice"):
        means = image_scores(counts, task, name, metrics.include_background, metrics.empty_score).tolist()
        for row, mean, values in zip(rows, means, score(name, by_class).tolist(), strict=True):
            row[name] = mean
            row.update({f"{name}_{label}": value for label, value in zip(task.names, values, strict=True)})
    for row, nll in zip(rows, image_nll(logits, target, task).tolist(), strict=True):
        row["nll"] = nll
    return rows


def surface_row(surfaces: Sequence[Surface], metrics: SegmentationMetrics) -> Row:
    """Scores of outlines: the means over the classes in either mask, and each class."""
    first = 0 if metrics.include_background or not metrics.task.exclusive else 1
    row: Row = {}
    for name, values in zip(Surface._fields, zip(*surfaces, strict=True), strict=True):
        row[name] = nan_mean(values[first:])
        row.update({f"{name}_{label}": value for label, value in zip(metrics.task.names, values, strict=True)})
    return row


def nan_mean(values: Sequence[float]) -> float:
    """Mean of those that are numbers; NaN where none is."""
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else math.nan

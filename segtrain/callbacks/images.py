"""The scores of each image of the test split, for `segtrain evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed

from segtrain.metrics import SegmentationMetrics, image_counts, image_nll, image_scores, rates, score
from segtrain.metrics.surface import Ids, Surface, image_surfaces
from segtrain.module import SegmentationModule
from segtrain.task import Batch, Task
from segtrain.windows import Size, Tile

Row = dict[str, str | int | float]


class ScoredImage:
    """What is known of one image so far: its tiles come one by one, or all of it at once.

    Args:
        name: of the image.
        size: (height, width).

    Attributes:
        counts: confusion matrix.
        nll: mean over the labelled decisions; NaN where there is none.
        masks: truth and prediction, [(K,) H, W]; where no tile has come the truth is ignored.
    """

    def __init__(self, name: str, size: Size) -> None:
        self.name, self.size = name, size
        self.counts: Tensor | None = None
        self.nll = math.nan
        self.masks: tuple[Ids, Ids] | None = None

    def add(self, counts: Tensor, nll: float) -> None:
        """Take in the counts of a tile, on the host, and the mean NLL of its labelled decisions."""
        before = 0 if self.counts is None else int(self.counts.sum())
        here = int(counts.sum())
        self.counts = counts if self.counts is None else self.counts + counts
        if here:  # else its mean is none
            self.nll = nll if not before else (self.nll * before + nll * here) / (before + here)

    def paint(self, tile: Tile, truth: Ids, found: Ids, task: Task) -> None:
        """Take in the masks of a tile, on the host."""
        if self.masks is None:
            shape = (*truth.shape[:-2], *self.size)
            self.masks = np.full(shape, task.ignore_index, truth.dtype), np.zeros(shape, np.uint8)
        there, here = (..., *tile.core.slices), (..., *tile.inner.slices)
        for whole, part in zip(self.masks, (truth, found), strict=True):
            whole[there] = part[here]


class ImageTable(Callback):
    """One row per image: size, IoU and Dice, NLL, and how well outlines agree; means over classes and each class.

    Args:
        surfaces: whether outlines are compared too; on the host, ten milliseconds or more per class and image.
    """

    def __init__(self, surfaces: bool = True) -> None:
        self.surfaces = surfaces
        self.rows: list[Row] = []
        self._image: ScoredImage | None = None

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the images of one batch, or take in tiles of one."""
        metrics = cast(SegmentationModule, pl_module).counts("test")
        logits, predicted, target, task = outputs["logits"], outputs["predicted"], batch["mask"], metrics.task
        counts = image_counts(logits, target, task, predicted).cpu()
        nlls = image_nll(logits, target, task).tolist()
        tiles = batch["tiles"] or [Tile.whole((target.shape[-2], target.shape[-1]))] * len(target)
        for index, tile in enumerate(tiles):
            if self._image is None or tile.first:
                self._image = ScoredImage(batch["id"][index], tile.size)
            self._image.add(counts[index], nlls[index])
            if self.surfaces:
                self._image.paint(tile, target[index].cpu().numpy(), predicted[index].cpu().numpy(), task)
            if tile.last:
                self._finish(metrics)

    def _finish(self, metrics: SegmentationMetrics) -> None:
        if self._image is not None:
            self.rows.append(image_row(self._image, metrics))
        self._image = None

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the rows of all processes."""
        self._finish(cast(SegmentationModule, pl_module).counts("test"))  # one whose tiles a limit has cut short
        if trainer.world_size > 1:
            shares: list[list[Row]] = [[] for _ in range(trainer.world_size)]
            distributed.all_gather_object(shares, self.rows)
            self.rows = [row for share in shares for row in share]

    def means(self) -> dict[str, float]:
        """Means over images of the outlines' scores, by tag: test_surface/hd95, test_surface/hd95_<class>."""
        columns = [name for name in (self.rows or [{}])[0] if name.startswith(Surface._fields)]
        return {f"test_surface/{name}": nan_mean([float(row[name]) for row in self.rows]) for name in columns}


def image_row(image: ScoredImage, metrics: SegmentationMetrics) -> Row:
    """All scores of one image; NaN where there is nothing to score."""
    task, (height, width) = metrics.task, image.size
    row: Row = {"id": image.name, "height": height, "width": width}
    if image.counts is not None:
        counts = image.counts[None]
        for name in ("iou", "dice"):
            mean = image_scores(counts, task, name, metrics.include_background, metrics.empty_score)
            by_class = score(name, rates(counts, task))[0].tolist()
            row[name] = float(mean)
            row.update({f"{name}_{label}": value for label, value in zip(task.names, by_class, strict=True)})
    row["nll"] = image.nll
    if image.masks is not None:
        row.update(surface_row(image_surfaces(*image.masks, task), metrics))
    return row


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

"""Pictures of a run: the first training batch and how it was made, predictions on the same validation images in every
run, confusion.

They go to TensorBoard and, at the end, as PNG files into the run's folder `plots/`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from segtrain import checks
from segtrain.callbacks.reliability import add_curves, figure_picture, reliability_picture
from segtrain.callbacks.report import last_step
from segtrain.data import EvaluationBatches
from segtrain.data.sampler import Part
from segtrain.draw import PANEL_HEIGHT, Picture, colorize, overlay, panel, stack, to_rgb
from segtrain.loading import Watched
from segtrain.metrics import SegmentationMetrics, predict_ids
from segtrain.module import SegmentationModule
from segtrain.preview import is_traced, sample_cell, sample_sheet, stages, trace_samples
from segtrain.task import Batch, Task
from segtrain.windows import cut

TRAIN_SHOWN = 8
TRACED_COLUMNS = 2  # of the samples that are shown before and after augmentation: a screen is as wide


class Pictures(Callback):
    """Shows what goes into the net and what comes out.

    Args:
        samples: validation images shown after each epoch: image, truth, prediction, errors. They are spread evenly over
            the split, because neighbours are often pieces of one image, and are the same in every run of the same data.
            Of an image that is cut into tiles, one from its middle is shown. As many training samples are shown at the
            start, before and after augmentation.
        folder: for the PNG files.

    Raises:
        UserError: samples is not a whole number >= 0.
    """

    def __init__(self, samples: int = 4, folder: str | Path = "plots") -> None:
        self.samples = checks.whole("callbacks.pictures.samples", samples, 0)
        self.folder = Path(folder)
        self._batches: list[list[Part]] = []
        self._chosen: list[Part] = []
        self._rows: dict[int, Picture] = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Show the first batch, as the net gets it, and how it was made."""
        if trainer.global_step == 0 and batch_idx == 0 and trainer.is_global_zero:
            task = _module(pl_module).task
            self._show(trainer, "train/batch", batch_picture(batch, task))
            made = augmentation_picture(trainer.train_dataloader, batch, self.samples, task)
            if made is not None:
                self._show(trainer, "train/augmentation", made)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new picture."""
        self._rows = {}
        self._batches = validated(trainer)
        self._chosen = shown(itertools.chain(*self._batches), self.samples)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the chosen samples."""
        if not trainer.is_global_zero:
            return
        for place, part in enumerate(self._batches[batch_idx]):
            if part in self._chosen:
                self._rows[part.image] = prediction_row(batch, outputs["logits"], place, _module(pl_module).task)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the predictions."""
        if self._rows:
            self._show(trainer, "val/predictions", self._picture())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the last predictions as a file; show confusion and reliability of the last validation."""
        if trainer.is_global_zero and self._rows:
            save_png(self._picture(), self.folder / "predictions.png")
            self._show(trainer, "val/confusion", confusion_picture(_module(pl_module).counts("val")))
        if trainer.is_global_zero:
            probe = _module(pl_module).probe("val")
            self._show(trainer, "val/reliability", reliability_picture(probe))
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    add_curves(logger.experiment, "val", probe, last_step(trainer))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep confusion and reliability of the test split."""
        if trainer.is_global_zero:
            save_png(confusion_picture(_module(pl_module).counts("test")), self.folder / "confusion.png")
            save_png(reliability_picture(_module(pl_module).probe("test")), self.folder / "reliability.png")

    def _picture(self) -> Picture:
        return stack([self._rows[index] for index in sorted(self._rows)])

    def _show(self, trainer: Trainer, tag: str, picture: Picture) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(tag, picture, last_step(trainer), dataformats="HWC")


def _module(module: LightningModule) -> SegmentationModule:
    return cast(SegmentationModule, module)


def batch_picture(batch: Batch, task: Task) -> Picture:
    """The first images of a batch, each above its mask."""
    columns = []
    for image, mask in zip(batch["image"][:TRAIN_SHOWN], batch["mask"][:TRAIN_SHOWN], strict=True):
        rgb, ids = to_rgb(image.permute(1, 2, 0).cpu().numpy()), mask.cpu().numpy()
        columns.append(np.concatenate([rgb, overlay(rgb, ids, task), colorize(ids, task)], axis=0))
    return np.concatenate(columns, axis=1)


def augmentation_picture(loader: Any, batch: Batch, number: int, task: Task) -> Picture | None:
    """How the first samples of a batch were made: the crop, augmented, as the net gets it, and the ops applied.

    Reads those crops once more, from the cache where there is one.

    Args:
        loader: of training; nothing of it is used up.
        batch: its first.
        number: of samples, at most as many as the batch has.
        task: names and colours of the classes.

    Returns:
        None where no sample is wanted, or the data does not say what was done.
    """
    dataset = loader.dataset.dataset if isinstance(loader.dataset, Watched) else loader.dataset
    if number == 0 or not is_traced(dataset):
        return None
    samples = trace_samples(dataset, itertools.islice(loader.sampler, min(number, len(batch["id"]))))
    cells = [sample_cell(sample, task, PANEL_HEIGHT) for sample in stages(samples, batch)]
    return sample_sheet(cells, TRACED_COLUMNS, task, "", PANEL_HEIGHT)


def validated(trainer: Trainer) -> list[list[Part]]:
    """The validation images that this process sees, or tiles of them, batch by batch."""
    sampler: EvaluationBatches = cast(Any, trainer.val_dataloaders).batch_sampler
    return sampler.batches[: int(trainer.num_val_batches[0])]


def spread(indices: Sequence[int], number: int) -> list[int]:
    """So many of the indices (at most all), at even distances from each other and from both ends."""
    number = min(number, len(indices))
    return [indices[(2 * place + 1) * len(indices) // (2 * number)] for place in range(number)]


def shown(parts: Iterable[Part], number: int) -> list[Part]:
    """So many of the images, see spread, in the order of their indices; of one in tiles, that nearest to its middle."""
    images: dict[int, list[Part]] = {}
    for part in parts:
        images.setdefault(part.image, []).append(part)
    return [min(images[index], key=_off_centre) for index in spread(sorted(images), number)]


def _off_centre(part: Part) -> int:
    """Twice the distance of a tile's middle from the image's, along both axes together."""
    if part.tile is None:
        return 0
    (top, left, height, width), (rows, columns) = part.tile.core, part.tile.size
    return abs(2 * top + height - rows) + abs(2 * left + width - columns)


def prediction_row(batch: Batch, logits: Any, place: int, task: Task) -> Picture:
    """The panel for one image of a batch, or for what counts of a tile."""
    image, truth = batch["image"][place].permute(1, 2, 0).cpu().numpy(), batch["mask"][place].cpu().numpy()
    predicted = predict_ids(logits[place : place + 1], task)[0].cpu().numpy()
    if batch["tiles"]:
        inner = batch["tiles"][place].inner
        (image, truth), predicted = cut(image, truth, inner), predicted[(..., *inner.slices)]
    return panel(image, truth, predicted, task)


def confusion_picture(metrics: SegmentationMetrics) -> Picture:
    """Confusion matrix, rows normalized (share of each true class); one yes-or-no matrix per class in multilabel."""
    from matplotlib.figure import Figure

    task, counts = metrics.task, metrics.summed.double().numpy()
    names = list(task.names)
    matrices = (
        [("", counts, names)] if task.exclusive else [(n, c, ["no", "yes"]) for n, c in zip(names, counts, strict=True)]
    )
    side = 2.5 + 0.45 * len(matrices[0][2])
    figure = Figure(figsize=(side * len(matrices), side), dpi=100, layout="constrained")
    for axes, (title, matrix, labels) in zip(
        figure.subplots(1, len(matrices), squeeze=False)[0], matrices, strict=True
    ):
        share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
        axes.set(title=title, xlabel="predicted", ylabel="truth")
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        axes.set_yticks(range(len(labels)), labels)
        for (row, column), value in np.ndenumerate(share):
            color = "white" if value > 0.5 else "black"
            axes.text(column, row, f"{value:.2f}".lstrip("0"), ha="center", va="center", color=color, fontsize=7)
    return figure_picture(figure)


def save_png(picture: Picture, path: Path) -> None:
    """Write a picture, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)

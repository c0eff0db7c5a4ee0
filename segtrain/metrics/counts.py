"""The state that every score comes from: integer counts that stay on the device.

Torchmetrics' own segmentation metrics average per sample, keep lists or make the host wait; here a step
costs one pass over the pixels, the state has a fixed size, and sums of integers are exact, so results do
not depend on how the data set is cut into batches or spread over processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from segtrain import checks
from segtrain.errors import UserError
from segtrain.metrics.pieces import pieces, yes_and_valid
from segtrain.metrics.scores import dataset_scores, image_scores
from segtrain.task import Task, check_shapes, valid_mask
from segtrain.windows import Tile

IMAGE_SCORES = ("iou", "dice")
Threshold = float | list[float]
FIXED_POINT = 2**32  # per-image scores are summed as integers: exact, whatever the order


class SegmentationMetrics(Metric):
    """IoU, Dice, precision, recall and accuracy of a data set; per class, micro and per image.

    Args:
        task: mode, classes, names and ignore index.
        include_background: multiclass only: whether class 0 takes part in means.
        empty_score: what a class counts on an image where it is absent from truth and prediction: None
            (left out, the default), 0 or 1.
        threshold: binary and multilabel: the probability above which a pixel is a yes; one, or one per class.

    Attributes:
        summed: the counts over all processes, on the host, as of the last compute.

    Shape: update takes logits [N, C, H, W] and a target as the task says.

    Example:
        >>> metrics = SegmentationMetrics(Task(mode="binary"))
        >>> metrics.update(torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[1, 1]]]))
        >>> float(metrics.compute()["iou"])
        0.5
    """

    full_state_update = False
    counts: Tensor
    image_totals: Tensor
    image_numbers: Tensor
    so_far: Tensor

    cuts: Tensor

    def __init__(
        self,
        task: Task,
        include_background: bool = True,
        empty_score: float | None = None,
        threshold: Threshold = 0.5,
    ) -> None:
        super().__init__()
        if empty_score not in (None, 0, 1):
            raise UserError(f"metrics: empty_score must be null, 0 or 1, got {empty_score!r}")
        self.task = task
        self.include_background = include_background
        self.empty_score = math.nan if empty_score is None else float(empty_score)
        self.register_buffer("cuts", logit_cuts(threshold, task), persistent=False)
        shape = (task.num_classes, task.num_classes) if task.exclusive else (task.num_classes, 2, 2)
        for name in ("counts", "so_far"):  # of the data set, and of the image whose tiles are coming
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("image_totals", "image_numbers"):
            zeros = torch.zeros(len(IMAGE_SCORES), dtype=torch.int64)
            self.add_state(name, zeros, dist_reduce_fx="sum")
        self.summed = self.counts.clone()

    def update(
        self, logits: Tensor, target: Tensor, predicted: Tensor | None = None, tiles: Sequence[Tile] = ()
    ) -> None:
        """Count one batch; nothing here makes the host wait for the device.

        Args:
            logits: raw.
            target: ids.
            predicted: of `predict`, where the caller has them already.
            tiles: where the batch is tiles of one image: which; they come in order, and its scores are of all of them.
        """
        check_shapes(logits, target, self.task)
        predicted = self.predict(logits) if predicted is None else predicted
        counts = image_counts(logits.detach(), target, self.task, predicted)
        self.counts += counts.sum(0)
        if tiles:
            before = torch.zeros_like(self.so_far) if tiles[0].first else self.so_far
            self._add_scores(before[None], -1)  # what the image's earlier tiles have scored without these
            self.so_far = before + counts.sum(0)
            counts = self.so_far[None]
        self._add_scores(counts, 1)

    def _add_scores(self, counts: Tensor, times: int) -> None:
        for index, name in enumerate(IMAGE_SCORES):
            scores = image_scores(counts, self.task, name, self.include_background, self.empty_score)
            self.image_totals[index] += times * (scores.nan_to_num(nan=0.0) * FIXED_POINT).round().long().sum()
            self.image_numbers[index] += times * (~scores.isnan()).sum()

    def predict(self, logits: Tensor) -> Tensor:
        """Ids as this metric counts them, see predict_ids."""
        return predict_ids(logits.detach(), self.task, self.cuts)

    def names(self) -> list[str]:
        """Keys of what compute returns."""
        return [*dataset_scores(self.counts, self.task, self.include_background), *(f"image/{n}" for n in IMAGE_SCORES)]

    def compute(self) -> dict[str, Tensor]:
        """All scores as float64 scalars on the host; NaN where there was nothing to score."""
        self.summed = self.counts.cpu()
        result = dataset_scores(self.summed, self.task, self.include_background)
        means = self.image_totals.cpu().double() / FIXED_POINT / self.image_numbers.cpu()
        return result | {f"image/{name}": mean for name, mean in zip(IMAGE_SCORES, means, strict=True)}


def predict_ids(logits: Tensor, task: Task, cuts: Tensor | float = 0.0) -> Tensor:
    """Canonical ids: int64 [N, H, W] in multiclass; uint8, 0 or 1, [N, H, W] in binary, [N, K, H, W] in multilabel.

    A probability above one half is a yes. On CPUs `max` is three times as fast as `argmax`.

    Args:
        logits: raw.
        task: mode.
        cuts: binary and multilabel: the logit above which a pixel is a yes, see logit_cuts.
    """
    if task.exclusive:
        return logits.max(dim=1).indices
    yes = (logits > cuts).byte()
    return yes.squeeze(1) if task.mode == "binary" else yes


def logit_cuts(threshold: Threshold, task: Task) -> Tensor:
    """Probabilities above which a pixel is a yes, as logits [K, 1, 1].

    Args:
        threshold: one number for all classes or one per class, each in (0, 1).
        task: binary or multilabel; multiclass knows only 0.5, which says nothing there.

    Raises:
        UserError: out of range, of another length, or given in multiclass.
    """
    values = list(threshold) if isinstance(threshold, (list, tuple)) else [threshold] * task.num_classes
    if task.exclusive and threshold != 0.5:
        raise UserError("threshold: a multiclass pixel is the most probable class; only binary and multilabel have one")
    if len(values) != task.num_classes:
        raise UserError(f"threshold must be one number or {task.num_classes} (one per class), got {len(values)}")
    numbers = [checks.number("threshold", value, 0, 1) for value in values]
    if not all(0 < number < 1 for number in numbers):
        raise UserError(f"threshold must be above 0 and below 1, got {threshold}")
    return torch.tensor([math.log(p / (1 - p)) for p in numbers]).view(-1, 1, 1)


def image_counts(logits: Tensor, target: Tensor, task: Task, predicted: Tensor | None = None) -> Tensor:
    """Confusion matrix of each image, int64, [N, C, C] in multiclass, else [N, K, 2, 2].

    Ignored pixels are added to a cell that is dropped: unlike with bincount and boolean indexing the result has a
    size that the host knows, so it need not wait.

    Args:
        logits: raw.
        target: ids.
        task: mode.
        predicted: of predict_ids, where the caller has them already.
    """
    predicted = predict_ids(logits, task) if predicted is None else predicted
    if not task.exclusive:
        return _binary_counts(predicted.view_as(logits), target.view_as(logits), task)
    ignored = ~valid_mask(target, task)
    number, cells = len(target), task.num_classes**2
    # 32 bits: on CPUs 64-bit arithmetic takes several times as long
    cell = target.int() * task.num_classes + predicted.int()
    cell += cells * torch.arange(number, dtype=torch.int32, device=cell.device).view(-1, 1, 1)
    cell.masked_fill_(ignored, number * cells)
    counts = torch.zeros(number * cells + 1, dtype=torch.int64, device=cell.device)
    counts.index_add_(0, cell.flatten(), counts.new_ones(1).expand(cell.numel()))
    return counts[:-1].view(number, task.num_classes, task.num_classes)


def _binary_counts(predicted: Tensor, target: Tensor, task: Task) -> Tensor:
    counts = torch.zeros(*predicted.shape[:2], 4, dtype=torch.int64, device=predicted.device)
    for n, r in pieces(predicted):
        truth, valid = yes_and_valid(target[n, :, r], task)
        claimed = torch.eq(predicted[n, :, r], 1, out=torch.empty_like(valid)).bitwise_and_(valid)
        counts[n] += torch.stack([_count(mask) for mask in (valid, truth, claimed, truth & claimed)], dim=-1)
    seen, positive, positives, hit = counts.unbind(-1)
    flat = torch.stack([seen - positive - positives + hit, positives - hit, positive - hit, hit], dim=-1)
    return flat.view(*flat.shape[:-1], 2, 2)


def _count(mask: Tensor) -> Tensor:
    """True pixels of each image and class, int64 [N, K]: exact in float32 within a row, and three times as fast."""
    return mask.float().sum(-1).long().sum(-1)

"""The state that every score comes from: integer counts that stay on the device.

Torchmetrics' own segmentation metrics average per sample, keep lists or make the host wait; here a step
costs one pass over the pixels, the state has a fixed size, and sums of integers are exact, so results do
not depend on how the data set is cut into batches or spread over processes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from segtrain.errors import UserError
from segtrain.metrics.scores import dataset_scores, image_scores
from segtrain.task import Task, check_shapes, valid_mask

IMAGE_SCORES = ("iou", "dice")
FIXED_POINT = 2**32  # per-image scores are summed as integers: exact, whatever the order


class SegmentationMetrics(Metric):
    """IoU, Dice, precision, recall and accuracy of a data set; per class, micro and per image.

    Args:
        task: mode, classes, names and ignore index.
        include_background: multiclass only: whether class 0 takes part in means.
        empty_score: what a class counts on an image where it is absent from truth and prediction: None
            (left out, the default), 0 or 1.

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

    def __init__(self, task: Task, include_background: bool = True, empty_score: float | None = None) -> None:
        super().__init__()
        if empty_score not in (None, 0, 1):
            raise UserError(f"metrics: empty_score must be null, 0 or 1, got {empty_score!r}")
        self.task = task
        self.include_background = include_background
        self.empty_score = math.nan if empty_score is None else float(empty_score)
        shape = (task.num_classes, task.num_classes) if task.exclusive else (task.num_classes, 2, 2)
        self.add_state("counts", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("image_totals", "image_numbers"):
            zeros = torch.zeros(len(IMAGE_SCORES), dtype=torch.int64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count one batch; nothing here makes the host wait for the device."""
        check_shapes(logits, target, self.task)
        counts = image_counts(logits.detach(), target, self.task)
        self.counts += counts.sum(0)
        for index, name in enumerate(IMAGE_SCORES):
            scores = image_scores(counts, self.task, name, self.include_background, self.empty_score)
            self.image_totals[index] += (scores.nan_to_num(nan=0.0) * FIXED_POINT).round().long().sum()
            self.image_numbers[index] += (~scores.isnan()).sum()

    def names(self) -> list[str]:
        """Keys of what compute returns."""
        return [*dataset_scores(self.counts, self.task, self.include_background), *(f"image/{n}" for n in IMAGE_SCORES)]

    def compute(self) -> dict[str, Tensor]:
        """All scores as float64 scalars on the host; NaN where there was nothing to score."""
        result = dataset_scores(self.counts.cpu(), self.task, self.include_background)
        means = self.image_totals.cpu().double() / FIXED_POINT / self.image_numbers.cpu()
        return result | {f"image/{name}": mean for name, mean in zip(IMAGE_SCORES, means, strict=True)}


def predict_ids(logits: Tensor, task: Task) -> Tensor:
    """Canonical ids: [N, H, W] for binary (0 or 1) and multiclass, [N, K, H, W] of 0 or 1 for multilabel.

    A probability above one half is a yes. On CPUs `max` is three times as fast as `argmax`.
    """
    if task.exclusive:
        return logits.max(dim=1).indices
    yes = (logits > 0).long()
    return yes.squeeze(1) if task.mode == "binary" else yes


def image_counts(logits: Tensor, target: Tensor, task: Task) -> Tensor:
    """Confusion matrix of each image, int64, [N, C, C] in multiclass, else [N, K, 2, 2].

    A scatter into a tensor of fixed size with weight 0 at ignored pixels: unlike bincount and boolean
    indexing its result has a size that the host knows, so it need not wait.
    """
    if not task.exclusive:
        return _binary_counts(logits, target.view_as(logits), task)
    valid = valid_mask(target, task)
    predicted = predict_ids(logits, task)
    cells = task.num_classes**2
    cell = target.long().masked_fill(~valid, 0) * task.num_classes + predicted
    counts = torch.zeros(len(logits), cells, dtype=torch.int64, device=logits.device)
    counts.scatter_add_(1, cell.flatten(1), valid.flatten(1).long())
    return counts.view(-1, task.num_classes, task.num_classes)


def _binary_counts(logits: Tensor, target: Tensor, task: Task) -> Tensor:
    valid = valid_mask(target, task)
    truth, predicted = (target == 1), (logits > 0) & valid
    sums = (valid, truth, predicted, truth & predicted)
    seen, positive, claimed, hit = (mask.sum((2, 3)) for mask in sums)
    flat = torch.stack([seen - positive - claimed + hit, claimed - hit, positive - hit, hit], dim=-1)
    return flat.view(*flat.shape[:-1], 2, 2)

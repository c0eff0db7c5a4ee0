"""What training has seen: how often each class was in its pixels and in its crops."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from segtrain.task import Task, valid_mask


class SeenClasses(Metric):
    """Counts the masks of training batches, after cropping and augmentation; a step costs one pass over them.

    Its state is kept in checkpoints, so that an epoch that is continued is counted whole.

    Args:
        task: mode, classes, names and ignore index.

    Shape: update takes a target as the task says.

    Example:
        >>> seen = SeenClasses(Task(mode="binary"))
        >>> seen.update(torch.tensor([[[1, 0], [0, 255]]]), [False])
        >>> [float(value) for value in seen.compute().values()]
        [0.3333333333333333, 1.0]
    """

    full_state_update = False
    pixels: Tensor
    valid: Tensor
    crops: Tensor
    samples: Tensor
    forced: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        sizes = {"pixels": task.num_classes, "valid": task.num_classes, "crops": task.num_classes}
        for name, size in (sizes | {"samples": 1, "forced": 1}).items():
            zeros = torch.zeros(size, dtype=torch.int64)
            self.add_state(name, zeros, dist_reduce_fx="sum", persistent=True)

    def update(self, target: Tensor, forced: list[bool]) -> None:
        """Count one batch; nothing here makes the host wait for the device.

        Args:
            target: ids.
            forced: of each sample, whether its crop was placed around a pixel of a class.
        """
        counts, valid = class_pixels(target, self.task)
        self.pixels += counts.sum(0)
        self.valid += valid.sum(0)
        self.crops += (counts > 0).sum(0)
        self.samples += len(target)
        self.forced += sum(forced)

    def compute(self) -> dict[str, Tensor]:
        """Float64 scalars on the host; NaN where nothing was seen.

        seen/<class> is its share of the labelled pixels, seen/crops_<class> the share of the crops that hold it, and
        sampling/forced the share of the crops placed around a pixel of a class, where there were any.
        """
        pixels = self.pixels.cpu().double() / self.valid.cpu()
        crops = self.crops.cpu().double() / self.samples.cpu()
        forced = self.forced.cpu().double() / self.samples.cpu()
        shares = {f"seen/{name}": share for name, share in zip(self.task.names, pixels, strict=True)}
        shares |= {f"seen/crops_{name}": share for name, share in zip(self.task.names, crops, strict=True)}
        return shares | ({"sampling/forced": forced[0]} if forced[0] > 0 else {})


def class_pixels(target: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Pixels of each class in each mask, and its labelled pixels; int64 [N, K] both, the latter [N, 1] or [N, K].

    Args:
        target: ids.
        task: mode.
    """
    labelled = valid_mask(target, task)
    if not task.exclusive:
        shape = (len(target), task.num_classes, *target.shape[-2:])
        return _count((target == 1).view(shape)), _count(labelled.view(shape))
    # one counter per row, or the whole image would wait in line for a few; ignored pixels have their own
    counts = torch.zeros(*target.shape[:2], task.num_classes + 1, dtype=torch.int32, device=target.device)
    ids = target.long().masked_fill(~labelled, task.num_classes)
    counts.scatter_add_(2, ids, counts.new_ones(1).expand_as(ids))
    by_class = counts.sum(1)[:, : task.num_classes]
    return by_class, by_class.sum(1, keepdim=True)


def _count(mask: Tensor) -> Tensor:
    """True pixels, int64 [N, K]: exact in float32 within a row, and three times as fast."""
    return mask.float().sum(-1).long().sum(-1)

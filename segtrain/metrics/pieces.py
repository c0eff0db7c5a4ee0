"""How metrics go through a batch: some rows of pixels at a time, labels of yes or no as bytes.

Temporaries stay small, and on a CPU in the cache. Comparisons into bytes take a fraction of those into bool there,
and so does what is then made of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from segtrain.bits import ignore_in_bytes
from segtrain.task import Task

CACHED = 2**18  # elements of logits in a piece for each thread of a CPU: 1 MiB, which its second-level cache holds
LAUNCHED = 2**22  # elsewhere: enough for a kernel to be worth its launch


def pieces(values: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of images and of rows that cover values [N, C, H, W]; rows are never cut."""
    limit = CACHED * torch.get_num_threads() if values.device.type == "cpu" else LAUNCHED
    number, channels, height, width = values.shape
    images, rows = (max(1, limit // max(1, size)) for size in (channels * height * width, channels * width))
    for image in range(0, number, images):
        for row in range(0, height, rows):
            yield slice(image, image + images), slice(row, row + rows)


def yes_and_valid(target: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Where the label is yes, and where there is one: uint8, 0 or 1, of the target's shape; binary and multilabel."""
    target, ignore = ignore_in_bytes(target, task.ignore_index)
    yes, valid = (torch.empty(target.shape, dtype=torch.uint8, device=target.device) for _ in range(2))
    return torch.eq(target, 1, out=yes), torch.ne(target, ignore, out=valid)

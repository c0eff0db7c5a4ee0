"""deterministic=true: which operations of a training torch cannot make deterministic, found before it starts.

On a CPU all are; on a GPU some sum in whatever order their threads come (atomicAdd). torch would refuse the first one
in the middle of a step. Here a net, a loss and the metrics are each tried once on random data, and all are named.
"""

from __future__ import annotations

import copy
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from segtrain.errors import UserError
from segtrain.losses import Combo
from segtrain.metrics import CalibrationProbe, SeenClasses, SegmentationMetrics
from segtrain.models.scales import as_scales
from segtrain.process import WORKSPACE, restored
from segtrain.task import Task

FIXED = ":4096:8"
ALERT = re.compile(r"(\S+) does not have a deterministic implementation")
IMAGES = 2
IGNORED = 0.1

Found = Mapping[str, Sequence[str]]


def alerts(act: Callable[[], object]) -> list[str]:
    """Operations without a deterministic implementation, by torch's names for them, that something uses."""
    with restored(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        os.environ.setdefault(WORKSPACE, FIXED)
        torch.use_deterministic_algorithms(True, warn_only=True)
        act()
    said = [str(warning.message) for warning in caught]
    found = {match[1] for match in map(ALERT.match, said) if match}
    # torch reads the variable at its first product on a GPU, which may have been that of an earlier run
    late = any(WORKSPACE in text for text in said)
    return sorted(found | ({f"matmul (without {WORKSPACE}={FIXED} before the process starts)"} if late else set()))


def of_net(net: nn.Module, image: Tensor, half: bool = False) -> list[str]:
    """What a net uses, forward and backward.

    Args:
        net: of which a copy is tried.
        image: a batch, on the device.
        half: whether it computes in bfloat16 where that is safe.
    """
    net = copy.deepcopy(net).to(image.device).train()

    def act() -> None:
        with torch.autocast(image.device.type, torch.bfloat16) if half else nullcontext():
            made = net(image)
        torch.autograd.backward([logits.float().sum() for logits in as_scales(made).logits])

    return alerts(act)


def of_loss(loss: nn.Module, logits: Tensor, target: Tensor) -> list[str]:
    """What a loss uses, forward and backward; of a combination all terms that have a weight at any time."""
    loss = copy.deepcopy(loss).to(logits.device).train()

    def act() -> None:
        for epoch in (0, None):
            if isinstance(loss, Combo):
                loss.epoch = epoch
            loss(logits.detach().clone().requires_grad_(), target).backward()

    return alerts(act)


def of_metrics(task: Task, logits: Tensor, target: Tensor) -> list[str]:
    """What counting uses."""
    counts, probe, seen = SegmentationMetrics(task), CalibrationProbe(task), SeenClasses(task)
    for each in (counts, probe, seen):
        each.to(logits.device)

    def act() -> None:
        counts.update(logits, target)
        probe.update(logits, target)
        seen.update(target, [False] * len(target))
        for metric in (counts, probe, seen):
            metric.compute()

    return alerts(act)


def random_batch(task: Task, shape: Sequence[int], dtype: str, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Images, logits and ids, a share of them ignored.

    Args:
        task: of the ids.
        shape: channels, height and width of an image.
        dtype: of the images, uint8 or float32.
        device: on which they are.
    """
    random = torch.Generator().manual_seed(0)
    image = torch.rand((IMAGES, *shape), generator=random)
    image = (255 * image).to(torch.uint8) if dtype == "uint8" else image
    logits = torch.randn((IMAGES, task.num_classes, *shape[1:]), generator=random)
    size = logits.shape if task.mode == "multilabel" else (IMAGES, *shape[1:])
    ids = torch.randint(0, task.num_classes if task.exclusive else 2, size, generator=random)
    ids[torch.rand(size, generator=random) < IGNORED] = task.ignore_index
    return image.to(device), logits.to(device), ids.to(device)


def nondeterministic(
    net: nn.Module, loss: nn.Module, task: Task, batch: tuple[Tensor, Tensor, Tensor], half: bool = False
) -> Found:
    """Operations by where they come from: model, loss, metrics; only those that have any.

    Args:
        net: images to logits; not changed.
        loss: not changed.
        task: what is segmented.
        batch: of random_batch.
        half: see of_net.
    """
    image, logits, target = batch
    with torch.random.fork_rng(devices=[image.device] if image.is_cuda else []):
        found = {
            "model": of_net(net, image, half),
            "loss": of_loss(loss, logits, target),
            "metrics": of_metrics(task, logits, target),
        }
    return {where: operations for where, operations in found.items() if operations}


def refuse(found: Found, device: torch.device) -> None:
    """Say what cannot be deterministic.

    Raises:
        UserError: there is something.
    """
    if found:
        raise UserError(
            f"deterministic=true: on {device.type} there is no deterministic implementation of {in_words(found)}; "
            "choose another model or loss, or trainer=cpu, or deterministic=warn to train all the same"
        )


def in_words(found: Found) -> str:
    """All operations and where they come from."""
    return ", ".join(f"{name} (of the {where})" for where, names in found.items() for name in names)

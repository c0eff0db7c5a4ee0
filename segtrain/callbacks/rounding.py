"""trainer.precision=auto: whether a net stands bfloat16, seen at its first step; where it does not, float32 it is."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor

from segtrain.models.scales import as_scales
from segtrain.task import Batch

IMAGES = 4  # of the first batch, in two halves
LOSS_LIMIT = 0.01  # nets of the library differ by .003 at most, see docs/training.md
GRADIENT_LIMIT = 2.0  # theirs: 1.2


class Rounding(NamedTuple):
    """How far a net in bfloat16 is from itself in float32.

    Args:
        loss: largest difference of the losses of the halves, relative to float32's.
        gradient: length of the differences of their gradients, relative to how far the halves are from each other.
    """

    loss: float
    gradient: float

    @property
    def harmless(self) -> bool:
        """Whether training notices it no more than it notices which images a batch holds."""
        return self.loss <= LOSS_LIMIT and self.gradient <= GRADIENT_LIMIT  # not so where one is NaN


def rounding(module: Any, batch: Batch) -> Rounding:
    """Compare bfloat16 with float32 on some images of a batch; nothing is changed, random numbers included.

    Args:
        module: with a `net` and `loss_of_scales`.
        batch: on the device; of less than four images all are taken at once, and the gradients are not compared.
    """
    images = min(IMAGES, len(batch["image"]))
    size = images // 2 if images == IMAGES else images
    halves = [(batch["image"][at : at + size], batch["mask"][at : at + size]) for at in range(0, images, size)]
    net = copy.deepcopy(module.net).train()
    devices = [batch["image"].device] if batch["image"].is_cuda else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        state = torch.get_rng_state()
        found = []
        for image, mask in halves:
            for half in (False, True):
                torch.set_rng_state(state)  # the same units are dropped
                found.append(_slopes(module, net, image, mask, half))
    exact, rounded = found[::2], found[1::2]
    pairs = list(zip(exact, rounded, strict=True))
    loss = max(abs(float(b) - float(a)) / max(abs(float(a)), 1e-12) for (a, _), (b, _) in pairs)
    if len(halves) == 1:
        return Rounding(loss, 0.0)
    apart = _distance(exact[0][1], exact[1][1])
    wrong = math.hypot(*(_distance(a, b) for (_, a), (_, b) in pairs))
    return Rounding(loss, wrong / max(apart, 1e-12))


def _slopes(module: Any, net: torch.nn.Module, image: Tensor, mask: Tensor, half: bool) -> tuple[Tensor, list[Tensor]]:
    """Loss, and its gradient by each parameter."""
    with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
        scales = as_scales(net(image))
    loss, _ = module.loss_of_scales(scales, Batch(image=image, mask=mask, id=[], forced=[], tiles=[]))
    wanted = [each for each in net.parameters() if each.requires_grad]
    slopes = torch.autograd.grad(loss, wanted, allow_unused=True)
    return loss.detach(), [each.float() for each in slopes if each is not None]


def _distance(one: list[Tensor], other: list[Tensor]) -> float:
    return float(torch.stack([(a - b).norm() for a, b in zip(one, other, strict=True)]).norm())


class RoundingCheck(Callback):
    """Compares the first step in bfloat16 with float32, and trains in float32 where they differ too much.

    It is remembered in checkpoints: a run that is continued goes on in what it began with.

    Attributes:
        said: what was found, in words; empty before the first step.
    """

    def __init__(self) -> None:
        self.said, self.harmful = "", False

    def state_dict(self) -> dict[str, Any]:
        """What was found."""
        return {"said": self.said, "harmful": self.harmful}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as begun."""
        self.said, self.harmful = str(state_dict["said"]), bool(state_dict["harmful"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on as begun."""
        if self.harmful:
            trainer.strategy.precision_plugin = Precision()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """At the first step, compare."""
        if self.said or trainer.global_step > 0:
            return
        found = rounding(pl_module, batch)
        self.harmful = not trainer.strategy.reduce_boolean_decision(found.harmless, all=True)
        self.said = (
            f"losses differ by {found.loss:.2%}, gradients by {found.gradient:.2g} of what two half batches differ by"
        )
        if self.harmful:
            logging.getLogger("segtrain").warning(
                "bfloat16 is not safe for this net (%s): it is trained in float32", self.said
            )
            trainer.strategy.precision_plugin = Precision()

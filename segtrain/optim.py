"""Optimizers and learning-rate schedules.

Weight decay is for matrices and kernels: biases and the scales of norms (one-dimensional) get none. A schedule
is a warm-up (linear, from a hundredth of lr) followed by cosine, poly, onecycle, plateau or constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from segtrain import checks
from segtrain.models.normalize import require_encoder

Mode = Literal["max", "min"]

OPTIMIZERS = ("adamw", "sgd")
SCALINGS: dict[str, Callable[[float], float]] = {"none": lambda times: 1.0, "linear": float, "sqrt": math.sqrt}
SCHEDULES = ("cosine", "poly", "onecycle", "plateau", "constant")
WARMUP_START = 0.01  # share of lr at the first step
POLY_POWER = 0.9  # Chen et al. 2017 (DeepLab), section 4.1
PLATEAU_FACTOR = 0.5
STEP = "step"  # of a parameter's state in torch's optimizers: the one tensor that is no moment


class Optim:
    """What configures an optimizer and its schedule, once the net and the number of steps are known.

    Args:
        name: "adamw" or "sgd" (with Nesterov momentum).
        lr: peak learning rate, > 0.
        weight_decay: decoupled (adamw) or L2 (sgd), >= 0.
        momentum: of sgd, in [0, 1).
        schedule: one of SCHEDULES.
        warmup: share of all steps, in [0, 1), over which lr rises linearly.
        patience: plateau only: validations without improvement before lr is halved.
        encoder_factor: learning rate of the encoder, relative to lr, > 0; 1: no difference.
        scaling: how lr follows the images of a step, all processes and accumulated batches together: "none", "linear"
            (Goyal et al. 2017, for SGD) or "sqrt" (for Adam: Malladi et al. 2022).
        base_batch: images for which lr is given.

    Raises:
        UserError: a value out of range.
    """

    def __init__(
        self,
        name: str = "adamw",
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        momentum: float = 0.9,
        schedule: str = "cosine",
        warmup: float = 0.05,
        patience: int = 3,
        encoder_factor: float = 1.0,
        scaling: str = "none",
        base_batch: int = 8,
    ) -> None:
        self.name = checks.choice("optim.name", name, OPTIMIZERS)
        self.lr = checks.number("lr", lr, above=0, word="auto")
        self.weight_decay = checks.number("optim.weight_decay", weight_decay, 0)
        self.momentum = checks.number("optim.momentum", momentum, 0, 0.9999)
        self.schedule = checks.choice("optim.schedule", schedule, SCHEDULES)
        self.warmup = checks.number("optim.warmup", warmup, 0, 0.99)
        self.patience = checks.whole("optim.patience", patience, 0)
        self.encoder_factor = checks.number("optim.encoder_factor", encoder_factor, above=0)
        self.scaling = checks.choice("optim.scaling", scaling, SCALINGS)
        self.base_batch = checks.whole("optim.base_batch", base_batch, 1)

    def rate(self, images: int) -> float:
        """The peak learning rate for so many images a step."""
        return self.lr * SCALINGS[self.scaling](images / self.base_batch)

    def optimizer(self, net: nn.Module, images: int | None = None) -> Optimizer:
        """The optimizer over the net's parameters; fused, so that a step needs no host wait.

        Args:
            net: whose parameters are trained.
            images: of a step; None: as many as lr is given for.

        Raises:
            UserError: the encoder shall learn at a rate of its own, and the net has none.
        """
        lr = self.rate(self.base_batch if images is None else images)
        groups = parameter_groups(net, self.weight_decay)
        if self.encoder_factor != 1:
            encoder = require_encoder(net, f"optim.encoder_factor={self.encoder_factor:g}")
            groups = with_encoder_rate(groups, encoder, lr, lr * self.encoder_factor)
        made: Optimizer
        if self.name == "sgd":
            nesterov = self.momentum > 0
            made = torch.optim.SGD(groups, lr=lr, momentum=self.momentum, nesterov=nesterov, fused=True)
        else:
            made = torch.optim.AdamW(groups, lr=lr, fused=True)
        made.register_load_state_dict_post_hook(check_state)
        return made

    def scheduler(self, optimizer: Optimizer, steps: int, mode: Mode) -> tuple[LRScheduler | None, LRScheduler | None]:
        """(stepped after each optimizer step, stepped with the monitored score after each validation).

        Args:
            optimizer: whose learning rate it moves.
            steps: optimizer steps of the whole run.
            mode: "max" or "min", of the monitored score.
        """
        if self.schedule == "onecycle":
            share = max(self.warmup, 1 / steps)  # torch divides by zero where the rise takes less than a step
            return OneCycleLR(
                optimizer,
                [group["lr"] for group in optimizer.param_groups],
                total_steps=steps + 1,
                pct_start=share,
                div_factor=1 / WARMUP_START,
                cycle_momentum=False,
            ), None
        warmup = round(self.warmup * steps)
        if self.schedule == "plateau":
            return self._plateau(optimizer, warmup, mode)
        decay: dict[str, Callable[[float], float]] = {"cosine": _cosine, "poly": _poly, "constant": _flat}
        factor = partial(_factor, warmup=warmup, steps=steps, decay=decay[self.schedule])
        return LambdaLR(optimizer, factor), None

    def _plateau(self, optimizer: Optimizer, warmup: int, mode: Mode) -> tuple[LRScheduler | None, LRScheduler]:
        """LinearLR multiplies and then lets go, where LambdaLR would overwrite what the plateau has lowered."""
        rising = LinearLR(optimizer, WARMUP_START, total_iters=warmup) if warmup else None
        return rising, ReduceLROnPlateau(optimizer, mode=mode, factor=PLATEAU_FACTOR, patience=self.patience)


def check_state(optimizer: Optimizer) -> None:
    """Refuse moments of other shapes than their parameters, as a damaged checkpoint may hold them.

    Those of other strides are laid out anew. torch looks at neither: its fused optimizers go through the memory of
    parameter and moments number by number, and would mix them up, or read and write beyond the end.

    Raises:
        ValueError: of another shape.
    """
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if not isinstance(value, torch.Tensor):
                continue
            shape = torch.Size() if key == STEP else parameter.shape
            if value.shape != shape:
                raise ValueError(f"{key} has the shape {list(value.shape)}, its parameter {list(parameter.shape)}")
            if value.stride() != parameter.stride() and key != STEP:
                values[key] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: kernels and matrices with weight decay, one-dimensional parameters without."""
    trained = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def with_encoder_rate(
    groups: list[dict[str, Any]], encoder: nn.Module, rate: float, encoder_rate: float
) -> list[dict[str, Any]]:
    """Each group divided into what does not belong to the encoder and what does; the rates of the former come first.

    Args:
        groups: of parameters.
        encoder: whose parameters learn at encoder_rate.
        rate: of all others.
        encoder_rate: of the encoder.
    """
    own = {id(parameter) for parameter in encoder.parameters()}
    return [
        group | {"params": [p for p in group["params"] if (id(p) in own) == inside], "lr": lr}
        for inside, lr in ((False, rate), (True, encoder_rate))
        for group in groups
    ]


def _factor(step: int, warmup: int, steps: int, decay: Callable[[float], float]) -> float:
    if step < warmup:
        return WARMUP_START + (1 - WARMUP_START) * step / warmup
    return decay(min(1.0, (step - warmup) / max(1, steps - warmup)))


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _poly(progress: float) -> float:
    return float((1 - progress) ** POLY_POWER)


def _flat(progress: float) -> float:
    return 1.0

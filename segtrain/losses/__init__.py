"""Losses by name, and the one place where they are built.

    loss = build_loss("focal", Task(mode="binary"), gamma=2.0)
    value = loss(logits, target)

Every loss takes raw logits and canonical ids, computes in float32 over the valid pixels, is finite for
empty masks and extreme logits, and is 0 (connected to the graph) where everything is ignored. To add one:
a class in a file of this folder, a line in LOSSES, a yaml in conf/loss/; the contract tests find it.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from segtrain import checks
from segtrain.errors import UserError
from segtrain.losses.combo import Combo
from segtrain.losses.contingency import GeneralizedDiceLoss, MCCLoss
from segtrain.losses.focal import FocalLoss
from segtrain.losses.pointwise import BalancedBCELoss, BCELoss, CELoss, PolyLoss
from segtrain.losses.region import DiceLoss, FocalTverskyLoss, JaccardLoss, TverskyLoss
from segtrain.losses.shape import BoundaryLoss, CLDiceLoss
from segtrain.losses.sorting import LovaszLoss, OHEMLoss
from segtrain.losses.unified import UnifiedFocalLoss
from segtrain.task import ClassStats, Task

LOSSES: dict[str, type[nn.Module]] = {
    "bce": BCELoss,
    "ce": CELoss,
    "balanced_bce": BalancedBCELoss,
    "focal": FocalLoss,
    "dice": DiceLoss,
    "jaccard": JaccardLoss,
    "tversky": TverskyLoss,
    "focal_tversky": FocalTverskyLoss,
    "generalized_dice": GeneralizedDiceLoss,
    "mcc": MCCLoss,
    "lovasz": LovaszLoss,
    "unified_focal": UnifiedFocalLoss,
    "poly": PolyLoss,
    "ohem": OHEMLoss,
    "cldice": CLDiceLoss,
    "boundary": BoundaryLoss,
}

__all__ = ["LOSSES", "Combo", "build_loss"]


def build_loss(name: str, task: Task, stats: ClassStats | None = None, **params: Any) -> nn.Module:
    """Build a loss by its name.

    Args:
        name: a key of LOSSES.
        task: what is being segmented.
        stats: of the training set; handed to the losses that can use them.
        **params: of the loss, as in conf/loss/<name>.yaml.

    Raises:
        UserError: unknown name or parameter, or a value out of range.
    """
    loss = LOSSES[checks.choice("loss", name, LOSSES)]
    for key, value, kind in (("task", task, Task), ("stats", stats, (ClassStats, type(None)))):
        if not isinstance(value, kind):
            raise UserError(f"loss {name}: {key} must be ${{{key}}}, as in conf/loss/focal.yaml; got {value!r}")
    known = set(inspect.signature(loss).parameters) - {"task", "stats"}
    for key in params:
        if key in ("terms", "weights", "ramps") and key not in known:
            raise UserError(f"loss {name} is no combination, so it has no {key}; begin with one, as loss=dice_ce")
        checks.choice(f"loss {name}: each parameter", key, sorted(known) or ["(none)"])
    if "stats" in inspect.signature(loss).parameters:
        params["stats"] = stats
    try:
        return loss(task, **params)
    except TypeError as error:
        raise UserError(f"loss {name}: {error}") from error

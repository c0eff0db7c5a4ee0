"""The net of a configuration, as a training begins with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, open_dict
from torch import nn

from segtrain import checks
from segtrain.build import build
from segtrain.errors import UserError
from segtrain.models.prior import set_prior
from segtrain.models.recompute import SETTING, recompute_blocks
from segtrain.models.supervision import supervise
from segtrain.seeds import derive, seed_torch

if TYPE_CHECKING:
    from segtrain.data import DataSource


def build_net(config: DictConfig, source: DataSource, allow: tuple[str, ...]) -> nn.Module:
    """Build the net with the weights that follow from the seed, and what its training needs of it.

    The heads of deep supervision are made last, so that all other weights are those of a net without them.

    Args:
        config: with the task filled in.
        source: the data.
        allow: see build.

    Raises:
        UserError: whatever the net refuses, or a setting that it cannot follow.
    """
    seed_torch(derive(config.seed, "init"))
    try:
        net: nn.Module = _builder(config.model, "model", allow)(
            task=source.task, in_channels=source.channels, mean=source.mean, std=source.std
        )
    except TypeError as error:  # a parameter too few or too many
        raise UserError(f"model: {error}; conf/model/unet.yaml is an example") from error
    with_prior = checks.flag("bias_prior", config.bias_prior)
    if with_prior:
        set_prior(net, source.task, source.stats.share())
    for head in supervise(net, str(config.model.get("arch")), source.task, config.deep_supervision):
        if with_prior:
            set_prior(head, source.task, source.stats.share())
    if checks.flag(SETTING, config.trainer.activation_checkpointing):
        recompute_blocks(net)
    return net


def _builder(node: DictConfig, key: str, allow: tuple[str, ...]) -> Any:
    """What a node describes, still to be called with the objects that no yaml can hold."""
    node = node.copy()
    with open_dict(node):
        node["_partial_"] = True
    return build(node, key, allow)

"""lr=auto and batch_size=auto in a configuration: what is still to be measured, and numbers in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from segtrain.errors import UserError

AUTO, UNSCALED = "auto", "none"
STAND_IN: Mapping[str, Any] = {"batch_size": 8, "lr": 2e-3}  # what all else is built and checked with until then


def open_settings(config: DictConfig) -> list[str]:
    """Those of batch_size and lr that are `auto`."""
    return [key for key in STAND_IN if config.get(key) == AUTO]


def filled(config: DictConfig, numbers: Mapping[str, Any]) -> DictConfig:
    """A configuration with these numbers, also where others refer to them.

    Args:
        config: which is left as it is.
        numbers: by key.
    """
    config = config.copy()
    for key, number in numbers.items():
        config[key] = number
    return config


def stand_in(config: DictConfig) -> DictConfig:
    """A configuration in which no number is open.

    Raises:
        UserError: the learning rate is to be measured, and then to be changed.
    """
    scaling = config.optim.get("scaling", UNSCALED)
    if "lr" in open_settings(config) and scaling != UNSCALED:
        raise UserError(
            f"lr=auto measures with the batches that are trained, which optim.scaling={scaling} would scale once more; "
            f"set optim.scaling={UNSCALED}, or give lr a number"
        )
    return filled(config, {key: STAND_IN[key] for key in open_settings(config)})


def known(config: DictConfig, record: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers that a run found for what is open in a configuration.

    Args:
        config: of the command now.
        record: the resolved configuration of the run.
    """
    return {key: record[key] for key in open_settings(config)}

"""What a composed configuration must hold, whatever files of the user's own it is made of: what our own files hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf import OmegaConf

from segtrain.cli.conf import CONF
from segtrain.cli.words import ALL_TEXTS
from segtrain.errors import UserError

READ_AS_THEY_ARE = ("trainer",)  # groups of which no object is built, and an option with all of their keys
USUAL = "auto"
NO_KEY = ("debug", "experiment")  # groups whose options set keys of others
PICTURES = {"samples": None}


def check_shape(name: str, config: Any) -> None:
    """Refuse a configuration that lacks a key which the command reads, or has something else in place of a mapping.

    Args:
        name: of the primary file.
        config: composed.

    Raises:
        UserError: naming the key.
    """
    given: Any = OmegaConf.to_container(config, resolve=False)
    _compare(given, shape(name))
    for key, node in (given.get("callbacks") or {}).items() if name not in ("predict", "explain") else ():
        if not isinstance(node, dict):
            raise UserError(f"callbacks.{key} holds no settings but {node!r}; remove it with ~callbacks.{key}")
        if key == "pictures":
            _compare(node, PICTURES, "callbacks.pictures.")


def shape(name: str) -> dict[str, Any]:
    """The keys that a command's own file and its groups have; of a mapping, its keys in turn."""
    content = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    keys: dict[str, Any] = {}
    for entry in content.pop("defaults"):
        if isinstance(entry, str) and entry != "_self_":
            keys |= shape(entry)
        elif isinstance(entry, dict) and (group := next(iter(entry))) not in NO_KEY and " " not in group:
            usual = CONF / group / f"{USUAL}.yaml"
            keys[group] = yaml.safe_load(usual.read_text(encoding="utf-8")) if group in READ_AS_THEY_ARE else {}
    content.pop("hydra", None)
    merged = {key: keys.get(key, {}) | value if isinstance(value, dict) else value for key, value in content.items()}
    return keys | merged


def _compare(given: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> None:
    for key, value in wanted.items():
        if key not in given:
            raise UserError(
                f"{prefix}{key} is missing from the configuration; a file in place of one of ours must keep its keys"
            )
        if isinstance(value, dict):
            if not isinstance(given[key], dict):
                raise UserError(f"{prefix}{key} holds no settings but {given[key]!r}; `segtrain ls` shows the options")
            _compare(given[key], value, f"{prefix}{key}.")


def check_texts(config: Mapping[str, Any]) -> None:
    """Refuse numbers and the like where a text is wanted, as a folder named 2024.

    Args:
        config: composed, resolved.

    Raises:
        UserError: naming the key.
    """
    for key in ALL_TEXTS:
        found: Any = config
        for name in key.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None and not isinstance(found, str):
            raise UserError(f"{key} must be a text, got {found!r}; put quotes around it")

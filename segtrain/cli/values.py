"""Values that would go wrong, or where they should not, only later: missing, empty, or not stored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segtrain.cli.shape import check_texts
from segtrain.cli.words import NEEDED, PATH_KEYS
from segtrain.errors import UserError
from segtrain.secrets import MASK, remember

ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\b")  # also within another interpolation


def check_values(config: DictConfig, name: str) -> None:
    """Refuse them, and keep in mind what is secret.

    Args:
        config: composed, without Hydra's own part.
        name: of its primary file, such as "train".

    Raises:
        UserError: a value is missing, empty, a secret that was not stored, or what an environment variable holds.
    """
    leaves = list(_leaves(OmegaConf.to_container(config)))
    if missing := [key for key, value in leaves if value == MISSING]:
        raise UserError(f"{_and(missing)} {'has' if len(missing) == 1 else 'have'} no value yet; {_adding(missing)}")
    for key, value in leaves:
        _check(key, value, NEEDED if name == "predict" else NEEDED - {"output"})
    if secrets := [key for key, value in leaves if isinstance(value, str) and MASK in value and _used(key, name)]:
        was = "was not stored, since it is a secret" if len(secrets) == 1 else "were not stored, since they are secrets"
        raise UserError(f"{_and(secrets)} {was}; {_adding(secrets)}")
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).strip().partition(chr(10))[0]}") from error
    remember(plain)
    check_texts(plain)


def _check(key: str, value: Any, needed: set[str]) -> None:
    if key in PATH_KEYS and (value == "" or (value is None and key in needed)):
        raise UserError(f"{key} is empty; give a path" + ("" if key in needed else f", or leave {key}= out"))
    if isinstance(value, str) and ENVIRONMENT.search(value):
        raise UserError(
            f"{key}={value}: what an environment variable holds would be written into the run's files; where that "
            f"does no harm, let the shell fill it in, as in {key}=$NAME"
        )


def _used(key: str, name: str) -> bool:
    """Whether a command needs a value: only a training calls its callbacks."""
    return name == "train" or not key.startswith("callbacks.")


def _and(keys: Sequence[str]) -> str:
    return " and ".join([", ".join(keys[:-1]), keys[-1]] if len(keys) > 1 else keys)


def _adding(keys: Sequence[str]) -> str:
    return f"add {' '.join(f'{key}=...' for key in keys)} to the command"


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that is no mapping and no list."""
    if isinstance(node, (dict, list)):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _leaves(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, node

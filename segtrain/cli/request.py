"""From the words of a command to the Request that the composition root takes, with the loss called what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtrain.cli.compose import compose, composed, options_of
from segtrain.cli.stored import record

if TYPE_CHECKING:
    from segtrain.assemble import Request

TERMS = "loss.terms"  # words with this key may change which terms a combination has
Compose = Callable[[str, list[str]], Any]


def make_request(words: Sequence[str], config_dir: str | Path | None, allow: Sequence[str]) -> Request:
    """Compose a training.

    Raises:
        UserError: words that do not compose.
    """
    config, choices = compose("train", list(words), config_dir)
    from segtrain.assemble import Request

    choices |= {"loss": loss_name(words, config.loss, choices)}
    return Request(config, choices, record(words, config_dir), tuple(allow))


def loss_name(words: Sequence[str], loss: Any, choices: Mapping[str, str], composed: Compose = composed) -> str:
    """What a run calls its loss: the option, or the terms of a combination whose terms the words have changed.

    dice_bce with +loss@loss.terms.focal=focal is dice_bce_focal; other parameters change no name.

    Args:
        words: of the command, for a single run.
        loss: what they compose to.
        choices: option of each group, as compose gives them.
        composed: gives the configuration of other words, from the same files.
    """
    option = choices["loss"]
    if not any(TERMS in word.partition("=")[0] for word in words):
        return option
    plain = composed("train", [f"loss={option}"])
    terms = _terms(loss, choices)
    return option if terms == _terms(plain.loss, options_of(plain.hydra)) else "_".join(terms)


def _terms(loss: Any, choices: Mapping[str, str]) -> list[str]:
    """Each term by the option that was put in its place, else by its key."""
    terms = loss.get("terms")
    return [choices.get(f"loss@{TERMS}.{key}", str(key)) for key in (terms if isinstance(terms, Mapping) else ())]

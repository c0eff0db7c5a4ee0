"""The words of a command as Hydra reads them: quotes around paths, and sentences about what cannot be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from segtrain.checks import did_you_mean
from segtrain.errors import UserError

# Their values are paths, in which characters that mean something to Hydra need no quotes from the user.
LAYOUT_PATHS = ("data.layout.images", "data.layout.masks", "data.layout.lists", "data.layout.table")
PATH_KEYS = (
    *("run", "input", "output", "output_dir", "resume", "init_from", "model.encoder_weights"),
    *("data.root", "data.split_file", "data.exclude", "exclude", "write", "aug.references", *LAYOUT_PATHS),
)
# of predict; elsewhere output may be null
NEEDED = {"run", "input", "output", "output_dir", "data.root", "aug.references"}
SWEPT_TEXTS = ("data.root", "init_from", "model.encoder_weights", "name")  # whose commas separate values with -m
ADDING_UP = ("aug",)  # groups of which several options may be chosen, as in aug=light+noise or aug=[light,noise]
TEXTS = (*PATH_KEYS, "name", "data.group", "data.layout.suffix")
# settings that must be texts, wherever they are from
ALL_TEXTS = (
    *TEXTS,
    "data.name",
    "data.split_dir",
    "data.cache_dir",
    "data.scan_dir",
    "data.layout.annotations",
    "data.layout.names",
)
PLAIN = re.compile(r"[A-Za-z0-9_./-]*")  # paths that mean the same to Hydra ...
NUMBER = re.compile(r"[-+]?[\d._]+(e[-+]?\d+)?|[-+]?inf|nan|true|false", re.IGNORECASE)  # ... and these do not


def quoted(word: str, sweep: bool = False) -> str:
    """A word as Hydra takes it: quotes around what it would interpret in paths and names, light+noise as a list.

    Args:
        word: as typed.
        sweep: whether commas separate values, except in a path that exists as it stands.
    """
    key, sign, value = word.partition("=")
    if key in ADDING_UP and "[" not in value and all(option.strip() for option in re.split("[+,]", value)):
        several = ("[" + option.replace("+", ",") + "]" if "+" in option else option for option in value.split(","))
        return f"{key}{sign}{','.join(several)}"
    if not sign or key not in TEXTS or value[:1] in ("'", '"'):
        return word
    if PLAIN.fullmatch(value) and not NUMBER.fullmatch(value):
        return word
    if sweep and key in SWEPT_TEXTS and not Path(value).expanduser().exists():
        return word if _is_sweep(word) else f"{key}={','.join(_in_quotes(path) for path in value.split(','))}"
    return f"{key}={_in_quotes(value)}"


def joined(word: str) -> str:
    """A word with several options of a group as they are written: aug=[light,noise] as aug=light+noise."""
    key, sign, value = word.partition("=")
    listed = key in ADDING_UP and value.startswith("[")
    return f"{key}{sign}{value.strip('[]').replace(',', '+')}" if listed else word


def _in_quotes(path: str) -> str:
    # Hydra takes backslashes as they are, but for those before a quote
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), path.strip())
    return f"'{escaped}'"


def _is_sweep(word: str) -> bool:
    try:
        return bool(OverridesParser.create().parse_override(word).is_sweep_override())
    except HydraException:
        return False


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """Hydra's own reading of the words.

    Raises:
        UserError: a word that is not an override.
    """
    parsed = []
    for word in words:
        if word.startswith("="):
            raise UserError(f"cannot read {word!r}; settings are written key=value")
        try:
            parsed.append(OverridesParser.create().parse_override(word))
        except (HydraException, RecursionError) as error:
            hint = f"; settings are written key=value, in quotes where they hold spaces{_nearest_command(word)}"
            raise UserError(f"cannot read {word!r}{_example(word) if '=' in word else hint}") from error
    return parsed


def _example(word: str) -> str:
    if not word.isprintable():
        return ": it holds characters that cannot be printed; type it again"
    key, value = (part.strip(" ='\"") for part in word.split("=", 1))
    if value[:1] == "," or value[-1:] == "," or ",," in value:
        return ": commas separate values, and one is missing"
    if PLAIN.fullmatch(value):
        right = f"{key}={value}"
        return f"; write {right}" if right != word else "; a key is names joined by single dots, as in loss.gamma=3"
    return f": quote values with special characters, as in \"{key}='{value}'\""


def _nearest_command(word: str) -> str:
    from segtrain.cli import COMMANDS

    return did_you_mean(word, COMMANDS)

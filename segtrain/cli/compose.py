"""Composing the configuration, and saying what is wrong with an override in the user's own words.

Hydra's answer to a misspelt key is "to append to your config use +loss.gama=2", which trains with the default;
here the nearest key or option is suggested instead.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import hydra
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from segtrain.checks import did_you_mean
from segtrain.cli.conf import CONF, groups, has_key, options
from segtrain.errors import UserError

# Their values are paths, in which characters that mean something to Hydra need no quotes from the user.
PATH_KEYS = ("run", "input", "output", "output_dir", "resume", "init_from", "data.root", "model.encoder_weights")
SWEPT_PATHS = ("data.root", "init_from", "model.encoder_weights")  # whose commas separate values with -m
OPEN = ("loss.weights", "aug.train", "callbacks")  # mappings to which a user may add names
SPECIAL = set(",=(){}[]' \"")


def compose(name: str, overrides: list[str], config_dir: str | Path | None = None) -> tuple[DictConfig, dict[str, str]]:
    """Compose a configuration.

    Args:
        name: of the primary file, such as "train".
        overrides: key=value words.
        config_dir: of the user's own groups; its files come before ours.

    Returns:
        The configuration, and the option chosen in each group.

    Raises:
        UserError: a word that cannot be read, an unknown key or option, or a value that is missing.
    """
    words = [quoted(word) for word in overrides]
    use_folder(config_dir)
    try:
        config = _compose(name, words)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(name, words, error)) from error
    choices = {str(group): str(option) for group, option in config.hydra.runtime.choices.items() if option is not None}
    with open_dict(config):
        del config["hydra"]
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"{missing[0]} has no value yet; add {missing[0]}=... to the command")
    return config, choices


class OwnFolder(SearchPathPlugin):
    """Puts the user's --config-dir before our files (Hydra's own flag appends it: edited copies would lose)."""

    folder: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra whenever it makes its search path."""
        if OwnFolder.folder is not None:
            search_path.prepend("--config-dir", f"file://{OwnFolder.folder}")


def use_folder(config_dir: str | Path | None) -> None:
    """Look for configuration files in this folder first, from now on.

    Raises:
        UserError: no such folder.
    """
    folder = None if config_dir is None else Path(config_dir).expanduser().resolve()
    if folder is not None and not folder.is_dir():
        raise UserError(f"--config-dir {config_dir}: no such folder")
    OwnFolder.folder = folder
    if OwnFolder not in Plugins.instance().discover(SearchPathPlugin):
        Plugins.instance().register(OwnFolder)


def _compose(name: str, words: list[str]) -> DictConfig:
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return hydra_compose(name, words, return_hydra_config=True)


def quoted(word: str, sweep: bool = False) -> str:
    """A path-valued override with quotes around characters that Hydra would interpret.

    Args:
        word: as typed.
        sweep: whether commas separate values, except in a path that exists as it stands.
    """
    key, sign, value = word.partition("=")
    if not sign or key not in PATH_KEYS or value[:1] in ("'", '"') or not SPECIAL & set(value):
        return word
    if sweep and key in SWEPT_PATHS and not Path(value).expanduser().exists():
        return word if _is_sweep(word) else f"{key}={','.join(_in_quotes(path) for path in value.split(','))}"
    return f"{key}={_in_quotes(value)}"


def _in_quotes(path: str) -> str:
    escaped = path.strip().replace("\\", "\\\\").replace("'", "\\'")
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
        try:
            parsed.append(OverridesParser.create().parse_override(word))
        except HydraException as error:
            hint = "" if "=" in word else f"; settings are written key=value{_nearest_command(word)}"
            raise UserError(
                f"cannot read {word!r}{hint or ': quote values with special characters, as in ' + _example(word)}"
            ) from error
    return parsed


def _example(word: str) -> str:
    key, _, value = word.partition("=")
    return f"\"{key}='{value}'\""


def _nearest_command(word: str) -> str:
    from segtrain.cli import COMMANDS

    return did_you_mean(word, COMMANDS)


def _explain(name: str, words: list[str], error: Exception) -> str:
    """One sentence about the first word that does not compose."""
    parse_overrides(words)
    good: list[str] = []
    # Hydra chooses options before it sets values, whatever the order of the words
    for word in sorted(words, key=lambda w: w.partition("=")[0] not in groups()):
        try:
            _compose(name, [*good, word])
            good.append(word)
        except MissingConfigException as missing:
            return _unknown_option(word, missing)
        except (HydraException, OmegaConfBaseException) as failure:
            return _unknown_key(word, _compose(name, good), failure)
    return " ".join(str(error).split())


def _unknown_option(word: str, missing: MissingConfigException) -> str:
    group, _, option = word.lstrip("+").partition("=")
    known = sorted(missing.options or [])
    return f"{group}={option}: no such option{did_you_mean(option, known)}; {group} has: {', '.join(known)}"


def _unknown_key(word: str, config: DictConfig, failure: Exception) -> str:
    key = word.lstrip("+~").partition("=")[0].partition("@")[0]
    with open_dict(config):
        del config["hydra"]
    keys = list(_keys(OmegaConf.to_container(config)))
    last = key.rpartition(".")[2]
    same_name = [k for k in keys if k.rpartition(".")[2] == last]
    near = same_name or difflib.get_close_matches(key, keys, n=2, cutoff=0.7)
    near = near or [k for k in keys if difflib.SequenceMatcher(None, k.rpartition(".")[2], last).ratio() > 0.75]
    if key.rpartition(".")[0] in OPEN and not word.startswith(("+", "~")):
        return f"{word}: {key.rpartition('.')[0]} has no {last} yet; add it with +{word}"
    if key in keys:  # the key is known, its value is the trouble
        return f"{word}: {' '.join(str(failure).split())}"
    owners = [f"{group}={option}" for group in groups() for option in options(group) if has_key(group, option, last)]
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "`--cfg job` prints all keys"
    hint = f"{last} belongs to {' and '.join(owners[:4])}" if owners and not near else hint
    return f"{word}: no such key here; {hint}"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{prefix}{name}"
            yield from _keys(value, f"{prefix}{name}.")


def hand_over(command: str, words: Sequence[str], flags: Sequence[str], config_dir: str | Path | None, job: Any) -> int:
    """Hand over to Hydra's own main, which knows -m, --cfg, --info and shell completion.

    Args:
        command: names the primary file.
        words: overrides, quoted.
        flags: Hydra's own.
        config_dir: of the user's own groups.
        job: called with each configuration.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise, so that the error becomes one sentence here
    use_folder(config_dir)
    before, sys.argv = sys.argv, [sys.argv[0], *flags, *words]
    try:
        hydra.main(config_path=str(CONF), config_name=command, version_base="1.3")(job)()
    finally:
        sys.argv = before
    return 0

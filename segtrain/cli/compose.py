"""Composing the configuration, and saying what is wrong with an override in the user's own words.

Hydra's answer to a misspelt key is "to append to your config use +loss.gama=2", which trains with the default;
here the nearest key or option is suggested instead.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from segtrain.checks import did_you_mean
from segtrain.cli.conf import CONF, groups, options, top_keys
from segtrain.cli.own import use_folder
from segtrain.cli.shape import check_shape
from segtrain.cli.terms import unknown_term
from segtrain.cli.values import check_values
from segtrain.cli.words import ADDING_UP, parse_overrides, quoted
from segtrain.errors import UserError

OPTIONAL = ("debug", "experiment")  # groups that may be left out
OPS = "aug.train"  # where the ops of augmentation are
OPEN = ("loss.weights", "loss.ramps", "aug.train", "callbacks")  # mappings to which a user may add names
USUAL = {"data": "folder"}  # the option to begin with, of those that have a key


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
    check_words(words)
    try:
        config = composed(name, words)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(name, words, error)) from error
    except (YAMLError, RecursionError) as error:
        raise UserError(_unreadable(error)) from error
    check_shape(name, config)
    choices = options_of(config.hydra)
    with open_dict(config):
        del config["hydra"]
    check_values(config, name)
    return config, choices


def check_words(words: Sequence[str]) -> None:
    """Refuse what Hydra takes, or refuses in words that are no help.

    Raises:
        UserError: naming the word.
    """
    for word, override in zip(words, parse_overrides(words), strict=True):
        key, value = override.key_or_group, override.value()
        if override.is_sweep_override():
            raise UserError(f"{word}: several values need -m, which trains every combination; a list is written [a,b]")
        if key in groups() and key not in OPTIONAL and override.is_delete():
            raise UserError(f"{word}: nothing runs without {key}; choose another option with {key}=...")
        if key in groups() and not override.is_delete() and not isinstance(value, (str, list, QuotedString)):
            raise UserError(f"{word}: no such option; {key} has: {', '.join(options(key))}")
        if key in groups() and key not in ADDING_UP and isinstance(value, list):
            raise UserError(f"{word}: {key} takes one option; several, with -m, are written {key}=a,b")
        if key in ADDING_UP and isinstance(value, list) and len(policies := _with_policy(key, value)) > 1:
            raise UserError(f"{word}: {' and '.join(policies)} are policies, and there can be one at a time")
        if key == OPS or (key.startswith(f"{OPS}.") and isinstance(value, (dict, list)) and not override.is_add()):
            _refuse_whole(word, key, value, override.is_delete())
        if key in groups() and value == []:
            raise UserError(f"{word}: no option; {key} has: {', '.join(options(key))}")
        if key in groups() and override.is_add() and override.package is None:
            raise UserError(f"{word}: {key} is chosen without +; write {word.lstrip('+')}")


def _with_policy(group: str, chosen: Sequence[Any]) -> list[str]:
    """The options that hold a policy of augmentation."""
    known = options(group)
    return [str(option) for option in chosen if option in known and "policy" in top_keys(group, str(option))]


def _refuse_whole(word: str, key: str, value: Any, deletes: bool) -> None:
    """Words that would seem to replace a mapping of ops, or one of them, but are merged with it."""
    if deletes:
        raise UserError(f"{word}: remove ops by their names, as in ~{OPS}.fog, or choose aug=none")
    if isinstance(value, dict) and key != OPS and key.count(".") == OPS.count(".") + 1:
        raise UserError(f"{word}: it would be merged with what {key} is; write one setting each, as in {key}.p=1")
    if key == OPS:
        raise UserError(
            f"{word}: it would be merged with the ops that are there; remove one with ~{OPS}.NAME, add one with "
            f"+{OPS}.NAME='{{op: hflip, p: .5}}', or choose aug=none"
        )


def _unreadable(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the configuration is nested too deeply to read; no setting is more than a few levels deep"
    return f"not readable as YAML: {' '.join(str(error).split())}"


def options_of(hydra: Any) -> dict[str, str]:
    """The option chosen in each group, by Hydra's own part of a configuration; light+noise where several add up."""
    choices = {str(group): str(option) for group, option in hydra.runtime.choices.items() if option is not None}
    words: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    for override in parse_overrides(words):  # of lists Hydra keeps no record
        value = override.value()
        if override.key_or_group in ADDING_UP and isinstance(value, list):
            choices[override.key_or_group] = "+".join(str(option) for option in value)
    return dict.fromkeys(ADDING_UP, "several") | choices  # those that a file adds up


def composed(name: str, words: list[str]) -> DictConfig:
    """The configuration with Hydra's own part, unchecked.

    Raises:
        UserError: files that Hydra does not expect, so that it fails without a sentence.
    """
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            return hydra_compose(name, words, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, UserError, RecursionError):
        raise
    except (AssertionError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise UserError(f"{name}.yaml and what it names do not compose: {_said(error)}") from error


def _explain(name: str, words: list[str], error: Exception) -> str:
    """One sentence about the first word that does not compose."""
    parse_overrides(words)
    good: list[str] = []
    try:
        composed(name, good)
    except (HydraException, OmegaConfBaseException) as failure:  # whatever the words are
        return f"{name}.yaml and what it names do not compose: {_said(failure)}"
    # Hydra chooses options before it sets values, whatever the order of the words
    for word in sorted(words, key=lambda w: re.split("[=@]", w.lstrip("+"), maxsplit=1)[0] not in groups()):
        try:
            composed(name, [*good, word])
            good.append(word)
        except MissingConfigException as missing:
            return _unknown_option(word, missing)
        except (HydraException, OmegaConfBaseException) as failure:
            return _unknown_key(word, composed(name, good), failure)
    return _said(error)


def _said(error: BaseException) -> str:
    """What an error says, or else what caused it."""
    cause = error.__cause__ or error.__context__
    return " ".join(str(error).split()) or (type(error).__name__ if cause is None else _said(cause))


def _unknown_option(word: str, missing: MissingConfigException) -> str:
    group, _, option = word.lstrip("+").partition("=")
    known = sorted(name for name in missing.options or [] if not name.startswith("_"))  # the others are bases
    if option.startswith("["):  # Hydra names none of those it knows
        option, known = str(missing.missing_cfg_file).rpartition("/")[2], options(group)
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
    if about_terms := unknown_term(key, keys):
        return f"{word}: {about_terms}"
    if key.rpartition(".")[0] in OPEN and not word.startswith(("+", "~")):
        return f"{word}: {key.rpartition('.')[0]} has no {last} yet; add it with +{word}"
    if elsewhere := _of_another_option(key, keys):
        return f"{word}: {elsewhere}"
    if key.startswith(f"{OPS}.") and (names := {k.split(".")[2] for k in keys if k.startswith(f"{OPS}.")}):
        name = key.split(".")[2]
        if name not in names:
            return f"{word}: {OPS} has no {name}{did_you_mean(name, names)}; it has {', '.join(sorted(names))}"
    if key in keys:  # the key is known, its value is the trouble
        return f"{word}: {_said(failure)}"
    files = [(f"{group}={option}", top_keys(group, option)) for group in groups() for option in options(group)]
    (last,) = difflib.get_close_matches(last, {k for _, found in files for k in found}, n=1, cutoff=0.7) or (last,)
    owners = [file for file, found in files if last in found]
    owners = [file for file in owners if file in [f"{group}={option}" for group, option in USUAL.items()]] or owners
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "`--cfg job` prints all keys"
    hint = f"{last} belongs to {' and '.join(owners[:4])}" if owners and not near else hint
    return f"{word}: no such key here; {hint}"


def _of_another_option(key: str, keys: Sequence[str]) -> str:
    """What to add where the options of the key's group have it, but not the one that is chosen."""
    group, _, rest = key.partition(".")
    top = rest.partition(".")[0]
    if group not in groups() or not top or f"{group}.{top}" in keys:
        return ""
    owners = [option for option in options(group) if top in top_keys(group, option)]
    if not owners:
        return ""
    if group in ADDING_UP:
        return f"what is chosen of {group} has no {top}; add {owners[0]} to it, as in {group}=light+{owners[0]}"
    first = USUAL[group] if USUAL.get(group) in owners else owners[0]
    others = [option for option in owners if option != first]
    more = f" (or another that has {top}: {', '.join(others)})" if others else ""
    return f"the {group} that is chosen has no {top}; add {group}={first}{more}"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{prefix}{name}"
            yield from _keys(value, f"{prefix}{name}.")


def show(name: str, words: Sequence[str], flags: Sequence[str], config_dir: str | Path | None = None) -> int:
    """Let Hydra's own main do what its flags --cfg, --info and --shell-completion ask for.

    Args:
        name: of the primary file.
        words: overrides, as typed.
        flags: Hydra's own.
        config_dir: of the user's own groups.

    Raises:
        UserError: words that do not compose.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise, so that the error becomes one sentence here
    use_folder(config_dir)
    words = [quoted(word) for word in words]
    check_words(words)
    before, sys.argv = sys.argv, [sys.argv[0], *flags, *words]
    try:
        hydra.main(config_path=str(CONF), config_name=name, version_base="1.3")(lambda config: None)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(name, words, error)) from error
    except (YAMLError, RecursionError) as error:
        raise UserError(_unreadable(error)) from error
    finally:
        sys.argv = before
    return 0

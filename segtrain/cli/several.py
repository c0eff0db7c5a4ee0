"""Commands that take several values of a setting at once, and show what each does: explain, preview --compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from segtrain.cli.compose import check_words, compose, composed
from segtrain.cli.own import use_folder
from segtrain.cli.words import joined, parse_overrides, quoted
from segtrain.errors import UserError


class Combination(NamedTuple):
    """One value of each setting.

    Args:
        words: that take part.
        config: composed of them.
        choices: option chosen in each group.
    """

    words: Sequence[str]
    config: Any
    choices: dict[str, str]


def read_values(words: Sequence[str], groups: Sequence[str]) -> list[list[str]]:
    """Each word, or one word for each of its comma-separated values.

    Args:
        words: as typed.
        groups: of which settings may have several.

    Raises:
        UserError: several values of another setting.
    """
    values = []
    for word, override in zip(words, parse_overrides([quoted(word) for word in words]), strict=True):
        if override.is_sweep_override() and str(override.key_or_group).partition(".")[0] not in groups:
            named = f"{' and '.join(groups)} and {'its' if len(groups) == 1 else 'their'} settings"
            raise UserError(f"{word}: only {named} may have several values")
        several = override.sweep_string_iterator() if override.is_sweep_override() else ()
        values.append([joined(f"{override.get_key_element()}={value}") for value in several] or [word])
    return values


def combinations(
    name: str, values: Sequence[Sequence[str]], groups: Sequence[str], config_dir: str | None = None
) -> Iterator[Combination]:
    """Each combination of values that differs from those before.

    A setting of a group counts for those of its options that have it.

    Args:
        name: of the primary file.
        values: as read_values gives them.
        groups: whose settings may be left out.
        config_dir: of the user's own groups.

    Raises:
        UserError: a word that fits none of them.
    """
    used: set[str] = set()
    found: set[tuple[str, ...]] = set()
    for combination in product(*values):
        words = _fitting(name, list(combination), groups, config_dir)
        used.update(words)
        if tuple(words) not in found:
            found.add(tuple(words))
            yield Combination(words, *compose(name, words, config_dir))
    for several in values:
        for word in several:
            if word not in used:  # let the sentence say what is wrong with it
                compose(name, [*(v[0] for v in values if not is_setting(v[0], groups)), word], config_dir)


def is_setting(word: str, groups: Sequence[str]) -> bool:
    """Whether a word sets something within one of the groups."""
    return word.lstrip("+~").startswith(tuple(f"{group}." for group in groups))


def _fitting(name: str, words: list[str], groups: Sequence[str], config_dir: str | None) -> list[str]:
    """The words without those settings that the options chosen do not have."""
    use_folder(config_dir)
    check_words([quoted(word) for word in words])
    if _composes(name, words):
        return words
    kept = [word for word in words if not is_setting(word, groups)]
    compose(name, kept, config_dir)  # or let the sentence say what is wrong with them
    for word in words:
        if is_setting(word, groups) and _composes(name, [*kept, word]):
            kept.append(word)
    return [word for word in words if word in kept]


def _composes(name: str, words: Sequence[str]) -> bool:
    """Whether Hydra takes the words, without looking for what is wrong with them."""
    try:
        composed(name, [quoted(word) for word in words])
    except (HydraException, OmegaConfBaseException, YAMLError):
        return False
    return True

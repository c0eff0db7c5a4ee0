"""What `segtrain check` offers against errors: a setting that mends them, or to go on without the faulty files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

if TYPE_CHECKING:
    from segtrain.audit.check import Report
    from segtrain.audit.trouble import Trouble

FOLLOWS = "empty split"  # kind of an error that mostly follows from others
LEAST = 0.25  # share of the images that must be left for it to make sense to go on without the others


def can_go_on(report: Report) -> bool:
    """Whether nothing is wrong but files that can be left out."""
    return all(trouble.file is not None for trouble in report.errors) and not what_is_lost(report)


def what_is_lost(report: Report) -> str:
    """What the data would be without the faulty files, where that is no longer the same data set; else ""."""
    whole, left = sum(report.counts.values()) + report.aside, sum(report.remaining.values())
    splits = [] if "" in report.remaining else [split for split in ("train", "val") if not report.remaining.get(split)]
    if left < LEAST * whole:
        return f"{left or 'none'} of {whole} images would be left"
    return f"{' and '.join(splits)} would be empty" if splits else ""


def next_steps(report: Report, config: DictConfig, words: Sequence[str]) -> list[str]:
    """What to type next, a line for each way.

    Args:
        report: with errors.
        config: composed.
        words: as typed, without those of check alone.
    """
    errors = [trouble for trouble in report.errors if trouble.kind != FOLLOWS] or list(report.errors)
    of_one_kind = len({trouble.kind for trouble in errors}) == 1
    commands = [_check(words, setting) for setting in settings_of(errors)] if of_one_kind else []
    first = f"to mend {'them all' if len(errors) > 1 else 'it'}: "
    lines = [f"{first if place == 0 else 'or: '}{command}" for place, command in enumerate(commands)]
    if report.faulty:
        lines.append(_without_faulty(report, config, words, errors))
    return lines or ["these errors are not those of single files: mend them and check again"]


def _without_faulty(report: Report, config: DictConfig, words: Sequence[str], errors: Sequence[Trouble]) -> str:
    """How to go on without the faulty files, with the settings that mend the errors of no file; or why not."""
    lost = what_is_lost(report)
    if config.exclude is not None:
        file = Path(str(config.exclude)).expanduser()
        without = f" {lost}" if lost else f": {_check(words, f'data.exclude={shlex.quote(str(file))}')}"
        return f"{file} lists the faulty files; without them{without}"
    if lost:
        return f"without the faulty files {lost}: mend them and check again"
    others = [settings_of([one for one in errors if one.kind == kind]) for kind in _of_no_file(errors)]
    return f"to go on without these files: {_check(words, *(found[0] for found in others if found), 'exclude=bad.txt')}"


def _check(words: Sequence[str], *settings: str) -> str:
    return shlex.join(["segtrain", "check", *replaced(words, *settings)])


def _of_no_file(errors: Sequence[Trouble]) -> list[str]:
    """Kinds of errors that no file can be left out for."""
    return list(dict.fromkeys(trouble.kind for trouble in errors if trouble.file is None))


def settings_of(errors: Sequence[Trouble]) -> list[str]:
    """The settings each of which mends all of some errors, by what they say themselves."""
    first, *others = errors
    return [words for words in first.settings if all(words in trouble.settings for trouble in others)]


def replaced(words: Sequence[str], *settings: str) -> list[str]:
    """Words as typed, with settings (`key=value key=value`) in the place of what was said of the same keys."""
    new = {word.partition("=")[0]: word for setting in settings for word in shlex.split(setting)}
    return list(dict.fromkeys([*(new.get(word.partition("=")[0], word) for word in words), *new.values()]))

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
    kinds = {trouble.kind for trouble in errors}
    again = ["segtrain", "check"]
    common = settings_of(errors) if len(kinds) == 1 else []
    lines = [
        f"to mend {'them all' if len(errors) > 1 else 'it'}: {shlex.join([*again, *replaced(words, each)])}"
        for each in common
    ]
    lost = what_is_lost(report)
    if report.faulty and lost and config.exclude is None:
        lines.append(f"without the faulty files {lost}: mend them and check again")
    elif report.faulty and config.exclude is None:
        others = [settings_of([one for one in errors if one.kind == kind]) for kind in _of_no_file(errors)]
        rest = [word for found in others for word in found[:1]]
        command = [*again, *replaced(words, *rest), "exclude=bad.txt"]
        lines.append(f"to go on without these files: {shlex.join(command)}")
    elif config.exclude is not None and report.faulty:
        file = Path(str(config.exclude)).expanduser()
        without = (
            f"without them {lost}"
            if lost
            else f"without them: {shlex.join([*again, *replaced(words, f'data.exclude={file}')])}"
        )
        lines.append(f"{file} lists the faulty files; {without}")
    elif not lines:
        lines.append("these errors are not those of single files: mend them and check again")
    return lines


def _of_no_file(errors: Sequence[Trouble]) -> list[str]:
    """Kinds of errors that no file can be left out for."""
    return list(dict.fromkeys(trouble.kind for trouble in errors if trouble.file is None))


def settings_of(errors: Sequence[Trouble]) -> list[str]:
    """The settings each of which mends all of some errors, by what they say themselves."""
    first, *others = errors
    return [words for words in first.settings if all(words in trouble.settings for trouble in others)]


def replaced(words: Sequence[str], *settings: str) -> list[str]:
    """Words as typed, with settings (`key=value key=value`) in the place of what was said of the same keys."""
    new = [word for setting in settings for word in shlex.split(setting)]
    keys = {word.partition("=")[0] for word in new}
    return [*(word for word in words if word.partition("=")[0] not in keys), *new]

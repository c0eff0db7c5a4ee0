"""`segtrain explain`: what losses do, as a picture and a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from segtrain import checks
from segtrain.cli import Arguments
from segtrain.cli.compose import compose, show
from segtrain.cli.conf import options
from segtrain.cli.words import parse_overrides, quoted
from segtrain.errors import UserError
from segtrain.runs import clean_name

MOST_CURVES = 8


def explain(arguments: Arguments) -> int:
    """Print a table and write a picture of what losses do, one curve for each combination of comma-separated values."""
    if arguments.hydra:
        return show("explain", arguments.overrides, arguments.hydra, arguments.config_dir)
    chosen = combinations(arguments.overrides, arguments.config_dir)
    config = chosen[0][1]
    labels = [label for label, _ in chosen]
    names = "-".join(dict.fromkeys(label.partition(" ")[0] for label in labels))
    output = Path(str(config.output or f"explain_{clean_name(names)}.png")).expanduser()
    checks.choice("output: the ending", output.suffix, (".png", ".svg", ".pdf"))
    from segtrain.explain import chart
    from segtrain.explain import report as explaining

    losses = [explaining.explain(config, label, arguments.allow) for label, config in chosen]
    print(explaining.table(losses))
    task = explaining.make_task(config)
    classes = "" if task.mode == "binary" else f" of {task.num_classes} classes"
    try:
        chart.save_picture(losses, f"{task.mode}{classes}", chart.note_of(config), output)
    except OSError as error:
        raise UserError(f"output={output} cannot be written: {error.strerror}; give another path") from error
    print(f"picture: {output}")
    return 0


def combinations(words: Sequence[str], config_dir: str | None = None) -> list[tuple[str, Any]]:
    """Each combination of comma-separated values, as (label, configuration).

    A setting of a loss counts for those of the losses that have it.

    Raises:
        UserError: a word that fits none of them, or more combinations than colours.
    """
    values = _values(list(words))
    found: dict[str, Any] = {}
    used: set[str] = set()
    for combination in product(*values):
        fitting = _fitting(list(combination), config_dir)
        used.update(fitting)
        config, choices = compose("explain", fitting, config_dir)
        settings = [w.lstrip("+").removeprefix("loss.") for w in fitting if "loss." in w.partition("=")[0]]
        found.setdefault(" ".join([choices["loss"], *settings]), config)
        if len(found) > MOST_CURVES:
            raise UserError(f"explain draws at most {MOST_CURVES} losses; these are more")
    for several in values:
        for word in several:
            if word not in used:  # let the sentence say what is wrong with it
                compose("explain", [*(v[0] for v in values if not v[0].startswith("loss.")), word], config_dir)
    return list(found.items())


def _values(words: Sequence[str]) -> list[list[str]]:
    """Each word, or one word for each of its comma-separated values."""
    for word in words:
        if word in options("loss"):
            raise UserError(f"{word}: losses are written with their key, as in loss={word}")
    values = []
    for word, override in zip(words, parse_overrides([quoted(word) for word in words]), strict=True):
        key = str(override.key_or_group)
        if key == "loss" and isinstance(override.value(), list):
            raise UserError(f"{word}: several losses are written without brackets, as in loss=bce,dice")
        if override.is_sweep_override() and not f"{key}.".startswith("loss."):
            raise UserError(f"{word}: only the loss and its settings may have several values")
        several = override.sweep_string_iterator() if override.is_sweep_override() else ()
        values.append([f"{override.get_key_element()}={value}" for value in several] or [word])
    return values


def _fitting(words: list[str], config_dir: str | None) -> list[str]:
    """The words without those settings of the loss that this loss does not have."""
    try:
        compose("explain", words, config_dir)
        return words
    except UserError:
        plain = [word for word in words if not word.startswith("loss.")]
        compose("explain", plain, config_dir)
    kept = []
    for word in words:
        try:
            compose("explain", [*plain, word] if word not in plain else plain, config_dir)
            kept.append(word)
        except UserError:
            continue
    return kept

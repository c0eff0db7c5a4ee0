"""`segtrain explain`: what losses do, as a picture and a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segtrain import checks
from segtrain.cli import Arguments, several
from segtrain.cli.compose import show
from segtrain.cli.conf import options
from segtrain.cli.several import read_values
from segtrain.cli.words import parse_overrides, quoted
from segtrain.errors import UserError
from segtrain.runs import clean_name

MOST_CURVES = 8
GROUPS = ("loss",)


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
    for word in words:
        if word in options("loss"):
            raise UserError(f"{word}: losses are written with their key, as in loss={word}")
    for word, override in zip(words, parse_overrides([quoted(word) for word in words]), strict=True):
        if str(override.key_or_group) == "loss" and isinstance(override.value(), list):
            raise UserError(f"{word}: several losses are written without brackets, as in loss=bce,dice")
    found: dict[str, Any] = {}
    for fitting, config, choices in several.combinations("explain", read_values(words, GROUPS), GROUPS, config_dir):
        settings = [w.lstrip("+").removeprefix("loss.") for w in fitting if "loss." in w.partition("=")[0]]
        found.setdefault(" ".join([choices["loss"], *settings]), config)
        if len(found) > MOST_CURVES:
            raise UserError(f"explain draws at most {MOST_CURVES} losses; these are more")
    return list(found.items())

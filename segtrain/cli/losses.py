"""`segtrain test-loss`: which promises a loss keeps. `segtrain explain`: what it does, as a picture and a table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtrain import checks
from segtrain.cli import Arguments
from segtrain.cli.compose import compose, show
from segtrain.cli.conf import options, top_keys
from segtrain.cli.words import parse_overrides, quoted
from segtrain.errors import UserError
from segtrain.runs import clean_name

if TYPE_CHECKING:
    from segtrain.contract.suite import Verdict

MOST_CURVES = 8


def test_loss(arguments: Arguments) -> int:
    """Try a loss on everything that losses must do; 1 where it breaks a promise.

    The first word is a registered name or the dotted path of the user's own class, the others are parameters of
    its constructor. Who types the path of their own code wants it to run, so no --allow is asked for.
    """
    name, params, modes = _read(arguments.overrides)
    from segtrain.contract.named import loss_builder, offered
    from segtrain.contract.processes import examine_processes
    from segtrain.contract.suite import examine

    build = loss_builder(name, params)
    refusals = offered(name, build, modes)
    built = [mode for mode in modes if not refusals[mode]]
    verdicts = list(examine(build, built, params))
    verdicts += examine_processes(name, params, verdicts)
    print(report(" ".join([name, *arguments.overrides[1:]]), verdicts, refusals))
    return int(any(verdict.must and verdict.breach for verdict in verdicts))


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
    from segtrain.explain import report as explaining

    losses = [explaining.explain(config, label, arguments.allow) for label, config in chosen]
    print(explaining.table(losses))
    task = explaining.make_task(config)
    classes = "" if task.mode == "binary" else f" of {task.num_classes} classes"
    explaining.save_picture(losses, f"{task.mode}{classes}", explaining.note_of(config), output)
    print(f"picture: {output}")
    return 0


def combinations(words: Sequence[str], config_dir: str | None = None) -> list[tuple[str, Any]]:
    """Each combination of comma-separated values, as (label, configuration).

    A setting of a loss counts for those of the losses that have it.

    Raises:
        UserError: a word that fits none of them, or more combinations than colours.
    """
    words = list(words)
    values = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [word]
        for word, override in zip(words, parse_overrides([quoted(word) for word in words]), strict=True)
    ]
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


def _read(words: Sequence[str]) -> tuple[str, dict[str, Any], list[str]]:
    """Name, parameters and modes."""
    from omegaconf import OmegaConf

    from segtrain.task import MODES

    usage = "segtrain test-loss my_pkg.MyLoss gamma=3"
    if not words or "=" in words[0]:
        raise UserError(f"test-loss takes the loss first, without a key, then its parameters, as in {usage}")
    if words[0] in options("loss") and "name" not in top_keys("loss", words[0]):
        raise UserError(f"{words[0]} is a combination; test its terms, as in segtrain test-loss dice")
    for word in words[1:]:
        if "=" not in word:
            raise UserError(f"cannot read {word!r}; parameters are written key=value, as in {usage}")
    params: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(words[1:])))
    modes = str(params.pop("modes", ",".join(MODES))).strip("[]").replace(" ", "").replace("'", "").split(",")
    for mode in modes:
        checks.choice("modes: each", mode, MODES)
    return words[0], params, modes


def report(title: str, verdicts: Sequence[Verdict], refusals: Mapping[str, str]) -> str:
    """A table of promises by mode, then each broken promise with its counterexample.

    Args:
        title: printed above.
        verdicts: of each promise in each mode.
        refusals: why the loss is not offered in a mode, "" where it is.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table("a loss must", *refusals)
    promises = list(dict.fromkeys(verdict.promise for verdict in verdicts))
    musts = [name for name in promises if any(v.must or v.reason for v in verdicts if v.promise == name)]
    for kind in (musts, [name for name in promises if name not in musts]):
        for name in kind:
            cells = {v.mode: _cell(v) for v in verdicts if v.promise == name}
            table.add_row(name, *(cells.get(mode, "-") for mode in refusals))
        if kind is musts:
            table.add_section()
            table.add_row("and may", *("" for _ in refusals))
    text = io.StringIO()
    Console(file=text, width=100, color_system=None).print(table)
    lines = [title, text.getvalue()]
    lines += [f"not offered in {mode}: {why}" for mode, why in refusals.items() if why]
    lines += [failure for name in promises if (failure := _failure([v for v in verdicts if v.promise == name]))]
    return "\n".join([*lines, _summary(verdicts)])


def _cell(verdict: Verdict) -> str:
    if verdict.must:
        return "FAIL" if verdict.breach else "pass"
    return "does not hold" if verdict.breach else "holds"


def _failure(verdicts: Sequence[Verdict]) -> str:
    """What is wrong with one promise, shown in the first mode in which it is broken; nothing for most properties."""
    from segtrain.contract import processes
    from segtrain.contract.suite import PROMISES

    broken = [verdict for verdict in verdicts if verdict.breach]
    name = verdicts[0].promise
    excused = {v.reason for v in broken if v.reason}
    broken = [verdict for verdict in broken if verdict.must]
    two = name == processes.NAME
    sentence, advice = (
        (processes.SENTENCE, processes.ADVICE) if two else (PROMISES[name].sentence, PROMISES[name].advice)
    )
    if not broken:
        lines = [f"{name}: not promised, {why}" for why in sorted(excused)]
        if two and any(verdict.breach for verdict in verdicts):
            lines.append(
                f"{name}: does not hold, so several processes train on another loss than one; to have it, {advice}"
            )
        return "\n".join(lines)
    first = broken[0].breach
    assert first is not None
    lines = [
        f"FAIL {name} ({', '.join(v.mode for v in broken)}). {sentence}.",
        f"  {broken[0].mode}: {first.broken.kind}",
        *(f"    {line}" for line in first.text().splitlines()),
        *([f"  usually: {advice}"] if advice else []),
    ]
    return "\n".join(lines) + "\n"


def _summary(verdicts: Sequence[Verdict]) -> str:
    names = dict.fromkeys(verdict.promise for verdict in verdicts if verdict.must)
    failed = {verdict.promise for verdict in verdicts if verdict.must and verdict.breach}
    broken = [name for name in names if name in failed]
    if not broken:
        return f"all {len(names)} promises are kept"
    are = "is" if len(broken) == 1 else "are"
    return f"{len(broken)} of {len(names)} promises {are} broken: {', '.join(broken)}"

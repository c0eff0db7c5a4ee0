"""Sweeps, `segtrain train -m`: every combination of comma-separated values, all checked before the first one runs."""

from __future__ import annotations

import hashlib
import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Glob, Override
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from segtrain.cli import Arguments
from segtrain.cli.compose import compose, options_of
from segtrain.cli.conf import CONF, groups
from segtrain.cli.request import loss_name
from segtrain.cli.stored import record
from segtrain.cli.words import TEXTS, joined, parse_overrides, quoted
from segtrain.errors import UserError
from segtrain.lock import is_alive
from segtrain.runs import clean_name
from segtrain.secrets import hidden, masked_word, masked_words
from segtrain.signals import Stopped

LONGEST_NAME = 60  # characters of a run's folder
MOST_RUNS = 10_000  # of one command
MOST_CHECKED = 300  # configurations composed before the first run; each takes about 0.1 s
HYDRA = ("hydra.sweep.subdir=.", "hydra.sweep.dir=${output_dir}/sweeps")


def sweep(arguments: Arguments) -> int:
    """Train every combination; each in a folder named by what differs, so that it is found again.

    Raises:
        UserError: a combination that does not compose (nothing has run then), or runs that failed.
    """
    words = [quoted(word, sweep=True) for word in arguments.overrides]
    parsed = parse_overrides(words)
    swept = [o.get_key_element() for o in parsed if o.is_sweep_override()]
    _refuse_secrets(o.input_line or "" for o in parsed if o.is_sweep_override())
    runs = _checked(words, swept, arguments.config_dir)
    constant = sorted(masked_words(o.input_line or "" for o in parsed if not o.is_sweep_override()))
    failed: list[str] = []
    elsewhere: list[str] = []

    def job(config: Any) -> float | None:
        from hydra.core.hydra_config import HydraConfig

        from segtrain.assemble import Request
        from segtrain.run import train as run_training

        hydra = HydraConfig.get()
        own = list(hydra.overrides.task)
        choices = options_of(hydra)
        choices["loss"] = loss_name(own, config.loss, choices, _composed_in_job)
        differing = [word for word in own if word.partition("=")[0] in swept]
        own = record(own, arguments.config_dir)
        folder = sweep_folder(config, choices, constant, swept) / job_name(differing)
        print(f"\n== {', '.join(differing) or folder}", flush=True)
        try:
            return run_training(Request(config, choices, own, tuple(arguments.allow), folder)).score
        except Exception as error:  # the other runs go on
            if is_alive(folder):
                print("another process is training it", flush=True)
                elsewhere.append(job_name(differing))
                return None
            what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            print(f"error: {hidden(' '.join(what.split()))}", file=sys.stderr)
            failed.append(job_name(differing))
            return None

    try:
        _launch(words, runs, job)
    except (Stopped, KeyboardInterrupt, SystemExit):  # the last is what Lightning makes of an interrupt
        print("the same command goes on with the runs that have not ended", file=sys.stderr)
        raise
    if failed:
        raise UserError(
            f"{len(failed)} runs of the sweep failed: {'; '.join(failed)}; the same command tries them again"
        )
    if elsewhere:
        print(f"\n{len(elsewhere)} runs are trained by other processes: {'; '.join(elsewhere)}")
    return 0


def _refuse_secrets(words: Iterable[str]) -> None:
    """Values that differ between runs name their folders."""
    for word in words:
        if (without := masked_word(word)) != word:
            raise UserError(f"{without}: a secret cannot have several values, since they would name folders; give one")


def _composed_in_job(name: str, words: list[str]) -> Any:
    """As `composed`, where Hydra stands on its files already."""
    return hydra_compose(name, words, return_hydra_config=True)


def jobs(words: Sequence[str]) -> list[list[str]]:
    """The words of each run: every combination of the swept values.

    Raises:
        UserError: too many of them, or a kind of sweep that is no list of values.
    """
    values: dict[str, list[str]] = {}
    for override in parse_overrides(words):
        key = override.get_key_element()
        if not _is_hydras(key):
            values[key] = list(itertools.islice(_values(override), MOST_RUNS + 1))
    number = math.prod(map(len, values.values()))
    if number > MOST_RUNS:
        raise UserError(f"-m makes more than {MOST_RUNS} runs of this command; sweep fewer values at a time")
    return [list(job) for job in itertools.product(*values.values())]


def _values(override: Override) -> Iterator[str]:
    key = override.get_key_element()
    if not override.is_sweep_override():
        yield str(override.input_line)
    elif isinstance(override.value(), Glob) or not (override.is_choice_sweep() or override.is_range_sweep()):
        raise UserError(f"{override.input_line}: -m takes values, as in {key}=1,2 or {key}=range(1,4)")
    else:
        for value in override.sweep_string_iterator():
            word = f"{key}={value}"
            # Hydra escapes a space of a path by a backslash; quotes are what the record of a run understands
            yield quoted(f"{key}={parse_overrides([word])[0].value()}") if key in TEXTS else word


def _checked(words: Sequence[str], swept: Sequence[str], config_dir: str | None) -> list[list[str]]:
    """The words of each run, after all of them (of a large grid: enough of them) have been composed."""
    if any(o.get_key_element() == "resume" and o.value() is not None for o in parse_overrides(words)):
        raise UserError("resume= has no use with -m: the same command continues the runs of its sweep")
    runs = jobs(words)
    for own in chosen(runs):
        try:
            compose("train", own, config_dir)
        except UserError as error:
            differing = [word for word in own if word.partition("=")[0] in swept]
            where = f" (in the run {', '.join(differing)})" if len(differing) > 1 else ""
            raise UserError(f"{error}{where}") from error
    return runs


def _launch(words: Sequence[str], runs: Sequence[list[str]], job: Any) -> None:
    """Give the runs to Hydra's launcher, the local one or a plugin's such as hydra/launcher=joblib.

    Not through Hydra's sweeper: it composes the constant words alone first, which fails where they need an option
    that is swept, and it would check everything once more.
    """
    own = [word for word in words if _is_hydras(word)]
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("train", [*runs[0], *own, *HYDRA], RunMode.MULTIRUN)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=loader, callbacks=Callbacks()), task_function=job, config=config
        )
        for done in launcher.launch(runs, initial_job_idx=0):
            _ = done.return_value  # raises what the run has raised


def _is_hydras(word: str) -> bool:
    return word.lstrip("+~").startswith(("hydra.", "hydra/"))


def chosen(every: Sequence[list[str]]) -> list[list[str]]:
    """The runs to check: all, or of many those that show a new combination of options or a new value."""
    if len(every) <= MOST_CHECKED:
        return list(every)
    kept, known = [], set(groups())
    seen: set[tuple[str, ...]] = set()
    for words in every:
        options = tuple(word for word in words if word.partition("=")[0] in known)
        shown = {options, *((word,) for word in words)}
        if not shown <= seen:
            seen |= shown
            kept.append(words)
    return kept


def sweep_folder(config: Any, choices: dict[str, str], constant: list[str], swept: Sequence[str] = ()) -> Path:
    """outputs/sweeps/<name>: equal for equal constant settings, so that a grid can grow."""
    root = None if "data.root" in swept else config.data.get("root")
    data = "grid" if "data" in swept else choices["data"]
    name = config.name or (Path(root).resolve().name if root and "data" not in swept else data)
    if constant and config.name is None:
        name += "-" + _digest("\n".join(constant))
    return Path(config.output_dir) / "sweeps" / clean_name(str(name))


def job_name(differing: Sequence[str]) -> str:
    """A folder's name from the settings that differ, with a hash of them where they do not fit into a name."""
    name = ",".join(map(joined, differing)) or "run"
    cleaned = clean_name(name.replace("'", ""))
    return cleaned if cleaned == name else f"{cleaned[: LONGEST_NAME - 7]}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=3).hexdigest()

"""`segtrain repro`: a finished run again from its own record, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtrain.cli import Arguments
from segtrain.cli.request import make_request
from segtrain.cli.stored import FOLDER, existing_folder, without
from segtrain.errors import UserError
from segtrain.runs import LATEST, Run, find_run, read_run

if TYPE_CHECKING:
    from segtrain.assemble import Request
    from segtrain.repro import Deviation, Line

RUN, OUTPUT = "run", "output_dir"
PLACES = ("resume", "init_from", "name", OUTPUT)  # words of a run that say where it begins and where it goes
NEEDED = ("words", "config_hash", "packages", "machine", "data")  # of its record


def repro(arguments: Arguments) -> int:
    """Train a finished run again in a folder of its own; 0 where it is the same, 1 where it is not.

    Raises:
        UserError: no such run, one that has not ended, an incomplete record, or settings that do not compose.
    """
    spec, given, output = _which(arguments.overrides)
    folder, _ = find_run(spec, output)
    from segtrain.record import read_record

    then, first = read_run(folder), read_record(folder) or {}
    _check(then, first)
    last = first | (first.get("sittings") or [{}])[-1]
    words = [*_words(first, last, given), *given, f"{OUTPUT}={output / 'repro'}", f"name={folder.name}"]
    kept = next((word.removeprefix(FOLDER) for word in last["words"] if word.startswith(FOLDER)), None)
    where = arguments.config_dir or existing_folder(folder, kept)
    request = make_request(words, where, arguments.allow)
    if measured := _measured(then, request):
        request = make_request([*words, *measured], where, arguments.allow)
    for line in _before(request, last):
        print(line, flush=True)
    from lightning.pytorch.utilities import rank_zero_only

    from segtrain.repro import compare_runs
    from segtrain.run import train

    now = train(request)
    if getattr(rank_zero_only, "rank", 0) != 0:  # another process compares
        return 0
    lines, deviation = compare_runs(then, now)
    print("\n".join(_table(lines)))
    unsure = bool(last["machine"]["gpus"]) and not request.config.deterministic
    same = all(line.same for line in lines)
    hint = "; on a GPU the same bits need deterministic=true" if unsure and not same else ""
    print(_verdict(lines, deviation) + hint)
    return 0 if same else 1


def _which(words: Sequence[str]) -> tuple[str, list[str], Path]:
    """The run, the other words, and where runs live; a folder of a sweep, which holds a =, is known by being there."""
    plain = [word for word in words if "=" not in word or Path(word).expanduser().exists()]
    others = [word for word in words if word not in plain]
    named = [word.partition("=")[2].strip("'\"") for word in others if word.partition("=")[0] == RUN]
    if len(plain) + len(named) > 1:
        raise UserError(f"repro takes one run, got {' and '.join([*plain, *named])}")
    places = [word.partition("=")[2].strip("'\"") for word in others if word.partition("=")[0] == OUTPUT]
    given = [word for word in others if word.partition("=")[0] not in (RUN, OUTPUT)]
    return (plain or named or [LATEST])[0], given, Path((places or ["outputs"])[-1]).expanduser()


def _check(run: Run, record: Mapping[str, Any]) -> None:
    """Refuse what cannot be compared."""
    if run.status != "done":
        raise UserError(
            f"{run.folder} has not ended (its status is {run.status or 'missing'}); finish it with resume={run.folder}"
        )
    missing = [name for name in ("summary.json", "metrics.csv") if not (run.folder / name).is_file()]
    missing += [] if run.last.is_file() else ["checkpoints/last.ckpt"]
    missing += [f"{key} in env.json" for key in NEEDED if key not in record]
    if missing:
        raise UserError(f"{run.folder}: its record is incomplete ({', '.join(missing)}); train it anew to compare with")


def _words(first: Mapping[str, Any], last: Mapping[str, Any], given: Sequence[str]) -> list[str]:
    """What was typed for the run in its last sitting, and the weights that it began with."""
    words = [word for word in last["words"] if not word.startswith(FOLDER) and word.partition("=")[0] not in PLACES]
    initial = first.get("init_from")
    begun = [] if initial is None else [f"init_from={initial['checkpoint']}"]
    return without([*begun, *words], given)


def _measured(then: Run, request: Request) -> list[str]:
    """Words that put the numbers of the run in the place of `auto`: measured again, they could be others."""
    from segtrain.checkpoint import KEY, load_checkpoint, understood
    from segtrain.tuning.auto import known

    with understood(then.last):
        numbers = known(request.config, load_checkpoint(then.last)[KEY]["config"])
    return [f"{key}={number}" for key, number in numbers.items()]


def _before(request: Request, then: Mapping[str, Any]) -> list[str]:
    """What differs already before it is trained: versions, code, machine, data; a line each."""
    from segtrain.build import open_source, plain
    from segtrain.console import set_up_logging
    from segtrain.provenance import environment
    from segtrain.record import file_digest
    from segtrain.repro import changes

    set_up_logging()
    config = plain(request.config)
    now = {**environment(), "seed": config["seed"], "data": open_source(request.config, request.allow).fingerprint}
    if config["init_from"] is not None:
        _, checkpoint = find_run(str(config["init_from"]), Path(config[OUTPUT]))
        now["init_from"] = {"checkpoint": str(checkpoint.absolute()), "sha256": file_digest(checkpoint)}
    found = changes({key: value for key, value in then.items() if key != "step"}, now)
    return ["differs now:", *(f"  {line}" for line in found)] if found else ["nothing that is recorded differs now"]


def _table(lines: Sequence[Line]) -> list[str]:
    rows = [("", "then", "now", "same"), *((*line[:3], "yes" if line.same else "no") for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "",
        *("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows),
    ]


def _verdict(lines: Sequence[Line], deviation: Deviation | None) -> str:
    if all(line.same for line in lines):
        return "identical"
    first = next(line.what for line in lines if not line.same)
    return f"not identical; {deviation.in_words() if deviation else f'{first} differ, the curves do not'}"

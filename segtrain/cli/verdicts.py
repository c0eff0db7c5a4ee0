"""What `segtrain test-loss` prints: a table of promises by mode, then what is wrong with each that is broken."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segtrain.contract.suite import Verdict


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
    for name in promises:
        those = [verdict for verdict in verdicts if verdict.promise == name]
        lines += [*_unexamined(those), *([failure] if (failure := _failure(those)) else [])]
    return "\n".join([*lines, _summary(verdicts)])


def _cell(verdict: Verdict) -> str:
    if verdict.unexamined:
        return "not examined"
    if verdict.must:
        return "FAIL" if verdict.breach else "pass"
    return "does not hold" if verdict.breach else "holds"


def _unexamined(verdicts: Sequence[Verdict]) -> list[str]:
    """Why one promise could not be tried."""
    lines = []
    for why in dict.fromkeys(verdict.unexamined for verdict in verdicts if verdict.unexamined):
        modes = ", ".join(verdict.mode for verdict in verdicts if verdict.unexamined == why)
        lines.append(f"{verdicts[0].promise}: could not be examined ({modes}): {why}")
    return lines


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
    """How many promises are kept, which are broken, and which are neither for all that is known."""
    musts = [verdict for verdict in verdicts if verdict.must]
    names = list(dict.fromkeys(verdict.promise for verdict in musts))
    broken = [name for name in names if any(v.breach for v in musts if v.promise == name)]
    unknown = [name for name in names if any(v.unexamined for v in musts if v.promise == name) and name not in broken]
    rest = f"; {len(unknown)} could not be examined: {', '.join(unknown)}" if unknown else ""
    if broken:
        are = "is" if len(broken) == 1 else "are"
        return f"{len(broken)} of {len(names)} promises {are} broken: {', '.join(broken)}{rest}"
    if unknown:
        return f"{len(names) - len(unknown)} of {len(names)} promises are kept{rest}"
    return f"all {len(names)} promises are kept"

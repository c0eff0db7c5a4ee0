"""Runs the fault table and writes it into docs/reliability.md: fault, behaviour, test, result.

    python scripts/reliability.py            # some minutes on two cores

The rows are the tests of tests/faults, each of which carries its own: @pytest.mark.fault(group, fault, behaviour).
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TESTS, PAGE = ROOT / "tests" / "faults", ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- the fault table: written by scripts/reliability.py -->", "<!-- end of the fault table -->"
GROUPS = ("Checkpoint", "Resume", "Signals", "Numbers", "Workers", "Ranks", "Sweeps", "Data", "Environment")
GROUPS += ("Configuration", "Security")


class Row(NamedTuple):
    """A fault."""

    group: str
    fault: str
    behaviour: str
    test: str


def rows() -> list[Row]:
    """Of all tests, in the order of the groups and files, read without running anything.

    Raises:
        ValueError: a test without a row.
    """
    found = [row for path in sorted(TESTS.glob("test_*.py")) for row in _rows_of(path)]
    return sorted(found, key=lambda row: GROUPS.index(row.group))


def _rows_of(path: Path) -> Iterator[Row]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        marks = [mark for mark in node.decorator_list if ast.unparse(mark).startswith("pytest.mark.fault(")]
        for mark in marks:
            assert isinstance(mark, ast.Call)
            yield Row(*(ast.literal_eval(argument) for argument in mark.args), f"{path.stem}::{node.name}")


def results(report: Path | None) -> dict[str, str]:
    """Of each test: passed with the number of cases, or what else it was.

    Args:
        report: of pytest --junitxml; None: they are run.
    """
    with tempfile.TemporaryDirectory() as folder:
        if report is None:
            report = Path(folder) / "report.xml"
            subprocess.run([sys.executable, "-m", "pytest", str(TESTS), f"--junitxml={report}"], cwd=ROOT, check=False)
        cases = ElementTree.parse(report).iter("testcase")
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        for case in cases:
            kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
            module = str(case.get("classname")).rpartition(".")[2]
            counted[f"{module}::{str(case.get('name')).partition('[')[0]}"][next(iter(kinds), "passed")] += 1
    return {test: ", ".join(f"{kind} {number}" for kind, number in sorted(c.items())) for test, c in counted.items()}


def table(found: list[Row], outcome: dict[str, str]) -> str:
    """A table for each group."""
    parts = []
    for group in dict.fromkeys(row.group for row in found):
        lines = [f"### {group}", "", "| fault | what happens | test | result |", "|---|---|---|---|"]
        lines += [
            f"| {row.fault} | {row.behaviour} | `{row.test}` | {outcome.get(row.test, 'not run')} |"
            for row in found
            if row.group == group
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def main() -> int:
    """Returns 1 where a test of the table did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, help="results of an earlier run, of pytest --junitxml=FILE")
    found, outcome = rows(), results(parser.parse_args().report)
    if missing := [row.test for row in found if row.test not in outcome]:
        raise SystemExit(f"not run, so nothing is written: {', '.join(missing)}")
    head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    tail = rest.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n{table(found, outcome)}\n{END}{tail}", encoding="utf-8")
    failed = [test for test, what in outcome.items() if "failure" in what or "error" in what]
    print(f"{len(found)} rows, {len(failed)} failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

"""The fault table in docs/reliability.md is that of the tests: each has a row, and no row is without its test."""

from __future__ import annotations

import re
from pathlib import Path

from tests.scripts import load

ROOT = Path(__file__).parents[1]


def test_every_row_is_in_the_document_and_passed() -> None:
    rows = load("reliability").rows()
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    written = re.findall(r"^\| (.+) \| (.+) \| `(test_\w+::test_\w+)` \| (.+) \|$", page, re.M)
    assert [line[:3] for line in written] == [(row.fault, row.behaviour, row.test) for row in rows]
    assert {result for *_, result in written if not re.fullmatch(r"passed \d+", result)} == set()


def test_every_group_of_faults_has_rows() -> None:
    script = load("reliability")
    assert {row.group for row in script.rows()} == set(script.GROUPS)

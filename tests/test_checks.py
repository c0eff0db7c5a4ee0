"""Values checked where they are used: accepted as they are, or refused with key, range and value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segtrain import checks
from segtrain.errors import UserError, shown

NAMES = ["focal", "dice", "bce"]


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (lambda v: checks.number("k", v), -1.5),
        (lambda v: checks.number("k", v, 0, 1), 0),
        (lambda v: checks.number("k", v, 0, 1), 1.0),
        (lambda v: checks.number("k", v, above=0), 1e-300),
        (lambda v: checks.whole("k", v, 1), 1),
        (lambda v: checks.whole("k", v, 0, 3), 3),
        (lambda v: checks.choice("k", v, NAMES), "dice"),
        (lambda v: checks.choice("k", v, dict.fromkeys(NAMES)), "bce"),
        (lambda v: checks.flag("k", v), True),
        (lambda v: checks.flag("k", v), False),
    ],
)
def test_accepted(check: Callable[[Any], Any], value: Any) -> None:
    assert check(value) == value


def test_numbers_become_floats() -> None:
    assert isinstance(checks.number("k", 1), float)
    assert isinstance(checks.whole("k", 1, 0), int)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", None, True, [1], 1 + 0j])
def test_what_is_no_number(value: Any) -> None:
    for check in (lambda v: checks.number("lr", v), lambda v: checks.whole("lr", v, -(10**9))):
        with pytest.raises(UserError) as caught:
            check(value)
        assert str(caught.value).startswith("lr must be a ")
        assert str(caught.value).endswith(f"got {value!r}")


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (lambda v: checks.number("k", v, 0), -1, "k must be a number >= 0, got -1"),
        (lambda v: checks.number("k", v, 0, 1), 1.5, "k must be a number in [0, 1], got 1.5"),
        (lambda v: checks.number("k", v, high=2), 3, "k must be a number <= 2, got 3"),
        (lambda v: checks.number("k", v, above=0), 0, "k must be a number > 0, got 0"),
        (lambda v: checks.number("k", v, above=0, high=1), 2, "k must be a number > 0 and <= 1, got 2"),
        (lambda v: checks.number("k", v), "x", "k must be a number, got 'x'"),
        (lambda v: checks.whole("k", v, 1), 0, "k must be a whole number >= 1, got 0"),
        (lambda v: checks.whole("k", v, 1), 1.0, "k must be a whole number >= 1, got 1.0"),
        (lambda v: checks.whole("k", v, 1), np.float64(2), "k must be a whole number >= 1, got np.float64(2.0)"),
        (lambda v: checks.whole("k", v, 0, 4), 5, "k must be a whole number in [0, 4], got 5"),
        (lambda v: checks.flag("k", v), "maybe", "k must be true or false, got 'maybe'"),
        (lambda v: checks.flag("k", v), 1, "k must be true or false, got 1"),
        (
            lambda v: checks.choice("loss", v, NAMES),
            "fcal",
            "loss must be one of focal, dice, bce; got 'fcal' - did you mean focal?",
        ),
        (lambda v: checks.choice("k", v, NAMES), "xyz", "k must be one of focal, dice, bce; got 'xyz'"),
        (
            lambda v: checks.choice("k", v, NAMES),
            ["dice"],
            "k must be one of focal, dice, bce; got ['dice'] - did you mean dice?",
        ),
        (lambda v: checks.choice("k", v, iter(NAMES)), None, "k must be one of focal, dice, bce; got None"),
    ],
)
def test_refused(check: Callable[[Any], Any], value: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check(value)
    assert str(caught.value) == message


def test_long_lists_are_counted() -> None:
    options = [f"net_{i}" for i in range(41)]
    with pytest.raises(UserError, match=r"^k must be one of 41 names; got 'net_5x' - did you mean net_\d+\?$"):
        checks.choice("k", "net_5x", options)
    with pytest.raises(UserError, match=r"net_0, net_1, .*net_39; got"):
        checks.choice("k", "x", options[:40])


def test_errors_are_value_errors() -> None:
    assert issubclass(UserError, ValueError)
    assert checks.did_you_mean("light", ["heavy", "ligth"]) == " - did you mean ligth?"
    assert checks.did_you_mean("abc", ["xyz"]) == ""


def test_no_count_is_beyond_what_an_index_can_be() -> None:
    with pytest.raises(UserError, match=r"^k must be a whole number in \[1, 2.14748e\+09\], got 9223372036854775808$"):
        checks.whole("k", 2**63, 1)
    with pytest.raises(UserError, match=r"^k must be a whole number >= 1, got 0$"):
        checks.whole("k", 0, 1)
    assert checks.whole("k", 2**63, 1, math.inf) == 2**63


def test_what_is_shown_does_nothing_to_a_terminal() -> None:
    assert shown("a\nb \x1b[31m \u202e \x7f\r é 日") == "a\nb \\x1b[31m \\u202e \\x7f\\r é 日"
    long = shown(f"run.csv: {'x' * 100_000}; do this\nnext")
    first, second = long.split("\n")
    assert len(first) < 2100
    assert first.startswith("run.csv: xxx")
    assert first.endswith("x; do this")
    assert second == "next"

"""Checks of values where they are used; each error names the key, the value and what would do."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any

from segtrain.errors import UserError


def number(
    key: str, value: Any, low: float = -math.inf, high: float = math.inf, *, above: float = -math.inf, word: str = ""
) -> float:
    """The value as a float, if it is a finite number with low <= value <= high and value > above.

    Args:
        key: of the setting.
        value: as given.
        low: the least.
        high: the most.
        above: what it must exceed.
        word: that the caller takes in place of a number, for the sentence.

    Raises:
        UserError: it is not; the sentence names the key, the range and the value.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not low <= value <= high or value <= above:
        raise UserError(
            f"{key} must be {_or(word)}a number{_range(low, high, above)}, got {value!r}{_hint(value, word)}"
        )
    return float(value)


MOST = 2**31 - 1  # of what is counted: images, pixels of a side, channels, steps


def whole(key: str, value: Any, low: int, high: float = MOST, *, word: str = "") -> int:
    """The value as an int, if it is a whole number with low <= value <= high.

    A limit of MOST is not mentioned to who is far below it. `word`: see number.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        most = math.inf if high == MOST and not (isinstance(value, int) and value > MOST) else high
        limits = _range(low, most, -math.inf)
        raise UserError(f"{key} must be {_or(word)}a whole number{limits}, got {value!r}{_hint(value, word)}")
    return value


def size(key: str, value: Any) -> tuple[int, int]:
    """(height, width) in pixels, given as one number or as two.

    Raises:
        UserError: neither.
    """
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, Sequence) or isinstance(sides, str) or len(sides) != 2:
        raise UserError(f"{key} must be a number of pixels or [height, width], got {value!r}")
    return whole(key, sides[0], 1), whole(key, sides[1], 1)


def choice(key: str, value: Any, options: Iterable[str]) -> str:
    """The value, if it is one of the options.

    Raises:
        UserError: it is not; the nearest option is suggested and all (of at most 40) are listed.
    """
    known = list(options)
    if value not in known:
        listed = ", ".join(known) if len(known) <= 40 else f"{len(known)} names"
        raise UserError(f"{key} must be one of {listed}; got {value!r}{did_you_mean(str(value), known)}")
    return str(value)


def flag(key: str, value: Any, *, word: str = "") -> bool:
    """The value, if it is true or false (a word such as 'maybe' is not); `word`: see number.

    Raises:
        UserError: it is neither.
    """
    if not isinstance(value, bool):
        raise UserError(f"{key} must be {word and f'{word}, '}true or false, got {value!r}{_hint(value, word)}")
    return value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' - did you mean focal?' for the nearest known word, or nothing where none is near."""
    near = nearest(word, known)
    return "" if near is None else f" - did you mean {near}?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, if any is."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def _or(word: str) -> str:
    return f"{word} or " if word else ""


def _hint(value: Any, word: str) -> str:
    return did_you_mean(value, [word]) if isinstance(value, str) else ""


def _range(low: float, high: float, above: float) -> str:
    if math.isfinite(above):
        return f" > {above:g}" + (f" and <= {high:g}" if math.isfinite(high) else "")
    if math.isfinite(low) and math.isfinite(high):
        return f" in [{low:g}, {high:g}]"
    if math.isfinite(low):
        return f" >= {low:g}"
    return f" <= {high:g}" if math.isfinite(high) else ""

"""Parameters of ops: the range that a value is drawn from, in real units, or a choice that is fixed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from segtrain import checks
from segtrain.errors import UserError

Drawn = dict[str, Any]


@dataclass(frozen=True)
class Real:
    """A number that is drawn anew for each image, evenly within a range given as [low, high], or as one number.

    Args:
        default: range where nothing is given.
        low: least that is possible.
        high: most that is possible.
        neutral: value at which the op changes nothing, from which policies measure strength; None: there is none, since
            it says how and not how much, and it is drawn evenly whatever the strength.
        unit: as it is written behind a value.
        log: whether it is drawn evenly by its logarithm, so that 1/2 is as likely as 2.
        whole: whether it is a whole number.
    """

    default: tuple[float, float]
    low: float
    high: float
    neutral: float | None = 0.0
    unit: str = ""
    log: bool = False
    whole: bool = False

    def parse(self, key: str, value: Any) -> tuple[float, float]:
        """The range that was given.

        Raises:
            UserError: it is no number and no [low, high], a bound is impossible, or low is above high.
        """
        ends = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value, value]
        if len(ends) != 2:
            raise UserError(f"{key} must be a number or a range [low, high], got {value!r}")
        for end in ends:
            if self.whole:
                checks.whole(key, end, int(self.low), self.high)
            else:
                checks.number(key, end, self.low, self.high)
        if ends[0] > ends[1]:
            raise UserError(f"{key}: the range {ends} ends before it begins; write [{ends[1]}, {ends[0]}]")
        return ends[0], ends[1]

    def draw(self, given: tuple[float, float], random: Random, strength: float | None = None) -> float:
        """A value.

        Args:
            given: the range.
            random: where from.
            strength: None, or how far the value lies from the neutral one to an end of the range, in [0, 1].
        """
        if strength is not None and self.neutral is not None:
            end = random.choice([end for end in given if end != self.neutral] or [self.neutral])
            neutral, end = (math.log(self.neutral), math.log(end)) if self.log else (self.neutral, end)
            value = neutral + strength * (end - neutral)
        elif self.whole:
            return random.randint(int(given[0]), int(given[1]))
        else:
            low, high = (math.log(end) for end in given) if self.log else given
            value = random.uniform(low, high)
        value = math.exp(value) if self.log else value
        return round(value) if self.whole else value

    def text(self, value: float) -> str:
        """A drawn value with its unit, such as 12.3°."""
        return f"{value:.3g}{self.unit}"

    @property
    def usual(self) -> str:
        """The default, in words."""
        low, high = (f"{end:g}" for end in self.default)
        return f"{low if low == high else f'[{low}, {high}]'}{self.unit}"


@dataclass(frozen=True)
class Choice:
    """One of some words, the same for each image.

    Args:
        default: where nothing is given.
        options: all of them.
    """

    default: str
    options: tuple[str, ...]

    @property
    def usual(self) -> str:
        """The default and the other options, in words."""
        others = [option for option in self.options if option != self.default]
        return f"{self.default} ({', '.join(others)})"

    def parse(self, key: str, value: Any) -> str:
        """The word that was given.

        Raises:
            UserError: it is none of the options.
        """
        return checks.choice(key, value, self.options)

    def draw(self, given: str, random: Random, strength: float | None = None) -> str:
        """The word."""
        return given


@dataclass(frozen=True)
class Folder:
    """A folder of reference images; None: that of aug.references."""

    default: None = None
    usual: str = "null (that of aug.references)"

    def parse(self, key: str, value: Any) -> str | None:
        """The folder that was given.

        Raises:
            UserError: it is no path.
        """
        if value is not None and (not isinstance(value, str) or not value):
            raise UserError(f"{key} must be a folder of reference images, got {value!r}")
        return value

    def draw(self, given: str | None, random: Random, strength: float | None = None) -> str | None:
        """The folder."""
        return given


Parameter = Real | Choice | Folder

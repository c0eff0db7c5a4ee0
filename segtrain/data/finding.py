"""What was found in one image and its label, and how it is kept for the next run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segtrain.data.listing import Item


@dataclass(frozen=True)
class Finding:
    """What was found in one item.

    Args:
        size: (height, width) in pixels; (0, 0) where the image is faulty.
        total: per channel, sum over the pixels of value / 255.
        squared: per channel, sum of its square.
        low: per channel, smallest value, in [0, 1].
        high: per channel, largest value.
        ids: pixels of each id in the mask; of objects that overlap, the one on top counts.
        shared: ids and number of the pixels of each combination, where objects of several ids overlap or could.
        places: (row, column) of up to PLACES pixels of each id, drawn at random: where to crop to meet it.
        digest: of the decoded image: equal for equal pixels.
        gist: 64 bits that change little where the image changes little (difference hash), as 16 hex digits.
        fault: a sentence, or "" where all is well.
        depth: of the image: uint8, or float32 of all others.
        transparent: whether transparency was dropped that was not opaque.
    """

    size: tuple[int, int] = (0, 0)
    total: Sequence[float] = ()
    squared: Sequence[float] = ()
    ids: dict[int, int] = field(default_factory=dict)
    places: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    digest: str = ""
    gist: str = ""
    fault: str = ""
    depth: str = "uint8"
    transparent: bool = False
    shared: Sequence[tuple[Sequence[int], int]] = ()
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    @property
    def combinations(self) -> list[tuple[Sequence[int], int]]:
        """All ids that a pixel has, with the number of such pixels."""
        return list(self.shared) or [([index], pixels) for index, pixels in self.ids.items()]


Found = tuple[Item, Finding]


def load_findings(kept: Path | None) -> dict[str, Finding]:
    """Findings by key, as `save_findings` wrote them; none where there is no such file or it is damaged."""
    if kept is None or not kept.is_file():
        return {}
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
        return {key: _finding(fields) for key, fields in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {}  # a damaged file costs a new scan, nothing else


def _finding(fields: dict[str, Any]) -> Finding:
    height, width = fields["size"]
    ids = {int(i): int(n) for i, n in fields["ids"].items()}
    places = {int(i): [(y, x) for y, x in found] for i, found in fields["places"].items()}
    sums = (fields["total"], fields["squared"])
    rest = {key: fields[key] for key in ("digest", "gist", "fault", "depth", "transparent", "low", "high")}
    shared = [(list(map(int, held)), int(pixels)) for held, pixels in fields["shared"]]
    return Finding((height, width), *sums, ids, places, **rest, shared=shared)


def save_findings(kept: Path, findings: dict[str, Finding]) -> None:
    """Write findings by key: beside, and then renamed, so that a killed run never leaves half a file."""
    temporary = kept.with_name(f"{kept.name}.{os.getpid()}.tmp")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({k: asdict(f) for k, f in findings.items()}), encoding="utf-8")
        temporary.replace(kept)
    except OSError:  # a read-only place costs speed only
        with suppress(OSError):
            temporary.unlink(missing_ok=True)

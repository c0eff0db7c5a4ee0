"""One look at every file before training: is it readable, what size is it, which ids does it hold?

Each image and mask is decoded once, in threads; the findings give the classes, the class statistics, mean and
standard deviation, and the list of all faults. They are kept in a file keyed by each file's size and time of
change, so the next run on the same data starts at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from segtrain.data.readers import check_header, decode, open_image, read_mask
from segtrain.errors import UserError
from segtrain.seeds import derive

FORMAT = 2  # of the kept findings; raise it when a field changes its meaning
SHOWN = 20  # faults listed in one message


@dataclass(frozen=True)
class Pair:
    """One labelled image: its name in the split, its image file and its mask file."""

    id: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Finding:
    """What was found in one pair.

    Args:
        size: (height, width) in pixels; (0, 0) where the image is faulty.
        total: per channel, sum over the pixels of value / 255.
        squared: per channel, sum of its square.
        ids: pixels of each id in the mask.
        fault: a sentence, or "" where all is well.
    """

    size: tuple[int, int] = (0, 0)
    total: Sequence[float] = ()
    squared: Sequence[float] = ()
    ids: dict[int, int] = field(default_factory=dict)
    fault: str = ""


def scan(pairs: Sequence[Pair], kept: Path | None = None) -> list[Finding]:
    """Look through all pairs, in order.

    Args:
        pairs: images with their masks.
        kept: file with the findings of an earlier scan, used for files that have not changed and rewritten.
    """
    known = _load(kept)
    keys = [_key(pair) for pair in pairs]
    missing = [(key, pair) for key, pair in zip(keys, pairs, strict=True) if key not in known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release the interpreter's lock
        fresh = pool.map(lambda item: look(item[1]), missing)
        known |= {key: finding for (key, _), finding in zip(missing, fresh, strict=True)}
    if kept is not None and missing:
        _save(kept, {key: known[key] for key in keys if not known[key].fault})  # a fault may be mended by chmod alone
    return [known[key] for key in keys]


def look(pair: Pair) -> Finding:
    """Decode one image and its mask in full; a fault is recorded, not raised."""
    try:
        with open_image(pair.image) as header:
            check_header(pair.image, header)
            image = decode(pair.image, header)
        mask = read_mask(pair.mask)
        if mask.shape != image.shape[:2]:
            raise UserError(
                f"{pair.mask}: {mask.shape[1]} x {mask.shape[0]} pixels, but its image has "
                f"{image.shape[1]} x {image.shape[0]}; they must have one size"
            )
    except UserError as error:
        return Finding(fault=str(error))
    values = image.reshape(-1, image.shape[2])
    levels = np.stack([np.bincount(channel, minlength=256) for channel in values.T])  # exact, and less memory
    scale = np.arange(256) / 255
    ids, counts = np.unique(mask, return_counts=True)
    return Finding(
        size=(int(mask.shape[0]), int(mask.shape[1])),
        total=(levels @ scale).tolist(),
        squared=(levels @ scale**2).tolist(),
        ids=dict(zip(ids.tolist(), counts.tolist(), strict=True)),
    )


def refuse(what: str, faults: Sequence[str]) -> None:
    """Raise one error that lists all faults (the first 20); do nothing where there are none.

    Raises:
        UserError: there are faults.
    """
    if not faults:
        return
    if len(faults) == 1:
        raise UserError(faults[0])
    more = f"\n  ... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    listed = "".join(f"\n  {fault}" for fault in faults[:SHOWN])
    raise UserError(f"{what}: {len(faults)} faults:{listed}{more}")


def mean_and_std(findings: Sequence[Finding]) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation over all pixels, in [0, 1]; std at least 1 / 255."""
    pixels = sum(f.size[0] * f.size[1] for f in findings)
    mean = np.sum([f.total for f in findings], axis=0) / pixels
    variance = np.sum([f.squared for f in findings], axis=0) / pixels - mean**2
    return mean.tolist(), np.sqrt(np.maximum(variance, 1 / 255**2)).tolist()


def _key(pair: Pair) -> str:
    """Changes whenever one of the two files does."""
    return f"{derive(FORMAT, str(pair.image), str(pair.mask), _state(pair.image), _state(pair.mask)):x}"


def _state(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:  # a link that leads nowhere; `look` will name it
        return "gone"
    return f"{found.st_size}/{found.st_mtime_ns}"


def _load(kept: Path | None) -> dict[str, Finding]:
    if kept is None or not kept.is_file():
        return {}
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
        return {key: _finding(fields) for key, fields in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # a damaged file costs a new scan, nothing else


def _finding(fields: dict[str, object]) -> Finding:
    height, width = fields["size"]  # type: ignore[misc]
    ids = {int(i): int(n) for i, n in fields["ids"].items()}  # type: ignore[attr-defined]
    return Finding((height, width), fields["total"], fields["squared"], ids, str(fields["fault"]))  # type: ignore[arg-type, has-type]


def _save(kept: Path, findings: dict[str, Finding]) -> None:
    """Write beside and rename, so that a killed run never leaves half a file."""
    temporary = kept.with_name(f"{kept.name}.{os.getpid()}.tmp")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({k: asdict(f) for k, f in findings.items()}), encoding="utf-8")
        temporary.replace(kept)
    except OSError:  # a read-only place costs speed only
        with suppress(OSError):
            temporary.unlink(missing_ok=True)

"""One look at every file before training: is it readable, what size is it, which ids does it hold?

Each image and mask is decoded once, in threads; the findings give the classes, the class statistics, mean and
standard deviation, and the list of all faults. They are kept in a file keyed by each file's size and time of
change, so the next run on the same data starts at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segtrain.data.listing import Item
from segtrain.data.masks import IdArray, MaskRules
from segtrain.data.readers import check_header, decode, open_image
from segtrain.data.source import Array
from segtrain.errors import UserError
from segtrain.seeds import derive

FORMAT = 4  # of the kept findings; raise it when a field changes its meaning
PLACES = 8  # kept of each id: enough that crops differ, and 100,000 findings still fit into memory
SHOWN = 20  # faults listed in one message
EXACT = 1 << 24  # pixels up to which OpenCV's histogram, of float32, counts exactly
MANY = 32  # ids of a mask above which one sort is quicker than a look for each
BITS = (8, 9)  # of a gist: means in 8 rows of 9, each compared to its right neighbour

Progress = Callable[[int, int], None]  # (files done, files in all)


@dataclass(frozen=True)
class Finding:
    """What was found in one item.

    Args:
        size: (height, width) in pixels; (0, 0) where the image is faulty.
        total: per channel, sum over the pixels of value / 255.
        squared: per channel, sum of its square.
        ids: pixels of each id in the mask.
        places: (row, column) of up to PLACES pixels of each id, drawn at random: where to crop to meet it.
        digest: of the decoded image: equal for equal pixels.
        gist: 64 bits that change little where the image changes little (difference hash), as 16 hex digits.
        fault: a sentence, or "" where all is well.
    """

    size: tuple[int, int] = (0, 0)
    total: Sequence[float] = ()
    squared: Sequence[float] = ()
    ids: dict[int, int] = field(default_factory=dict)
    places: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    digest: str = ""
    gist: str = ""
    fault: str = ""


def scan(
    items: Sequence[Item],
    rules: MaskRules,
    kept: Path | None = None,
    progress: Progress | None = None,
    anew: bool = False,
) -> list[Finding]:
    """Look through all items, in order.

    Args:
        items: images with their labels.
        rules: how mask files become ids.
        kept: file with the findings of an earlier scan, used for files that have not changed and rewritten.
        progress: told after each item that is looked at.
        anew: look at all items, unchanged ones too: a file can rot without a new date.
    """
    known = {} if anew else _load(kept)
    keys = [_key(item, rules) for item in items]
    missing = [(key, item) for key, item in zip(keys, items, strict=True) if key not in known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release the interpreter's lock
        fresh = pool.map(lambda entry: look(entry[1], rules), missing)
        for done, ((key, _), finding) in enumerate(zip(missing, fresh, strict=True), 1):
            known[key] = finding
            if progress is not None:
                progress(done, len(missing))
    if kept is not None and missing:
        _save(kept, {key: known[key] for key in keys if not known[key].fault})  # a fault may be mended by chmod alone
    return [known[key] for key in keys]


def look(item: Item, rules: MaskRules) -> Finding:
    """Decode one image and its label in full; a fault is recorded, not raised."""
    try:
        with open_image(item.image) as header:
            check_header(item.image, header)
            image = decode(item.image, header)
        mask = item.label.read((image.shape[0], image.shape[1]), rules)
        if mask.shape != image.shape[:2]:
            raise UserError(
                f"{item.label.files[0]}: {mask.shape[1]} x {mask.shape[0]} pixels, but its image has "
                f"{image.shape[1]} x {image.shape[0]}; they must have one size"
            )
    except UserError as error:
        return Finding(fault=str(error))
    levels = np.stack([histogram(image, channel) for channel in range(image.shape[2])])
    scale = np.arange(256) / 255
    ids = count_ids(mask)
    return Finding(
        size=(int(mask.shape[0]), int(mask.shape[1])),
        total=(levels @ scale).tolist(),
        squared=(levels @ scale**2).tolist(),
        ids=ids,
        places=places_of(mask, ids, derive(item.id)),
        digest=hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).hexdigest(),
        gist=gist_of(image),
    )


def histogram(image: Array, channel: int = 0) -> npt.NDArray[np.int64]:
    """Pixels of each value of a channel of an 8-bit image [H, W, C]: OpenCV counts without the interpreter's lock."""
    rows = max(1, EXACT // image.shape[1])
    strips = (np.asarray(image[top : top + rows], np.uint8) for top in range(0, image.shape[0], rows))
    pixels = np.zeros(256, np.int64)
    for strip in strips:
        pixels += cv2.calcHist([strip], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
    return pixels


def count_ids(mask: IdArray) -> dict[int, int]:
    """Pixels of each id of a mask [H, W]."""
    if mask.dtype != np.uint8:
        ids, counts = np.unique(mask, return_counts=True)
        return dict(zip(ids.tolist(), counts.tolist(), strict=True))
    pixels = histogram(np.ascontiguousarray(mask)[..., None])
    return {int(index): int(pixels[index]) for index in np.flatnonzero(pixels)}


def places_of(mask: IdArray, ids: dict[int, int], seed: int) -> dict[int, list[tuple[int, int]]]:
    """(row, column) of up to PLACES random pixels of each id of a mask [H, W].

    Args:
        mask: of ids.
        ids: pixels of each id in it.
        seed: equal seeds give equal places.
    """
    flat, random, found = mask.ravel(), np.random.default_rng(seed), {}
    order = np.argsort(flat, kind="stable") if len(ids) > MANY else None
    start = 0
    for index, count in sorted(ids.items()):
        which = random.choice(count, min(PLACES, count), replace=False)
        places = np.flatnonzero(flat == index)[which] if order is None else order[start + which]
        found[index] = [divmod(place, mask.shape[1]) for place in np.sort(places).tolist()]
        start += count
    return found


def gist_of(image: Array) -> str:
    """Difference hash: whether each of 8 x 9 mean greys is brighter than its right neighbour."""
    rows, columns = BITS
    small = cv2.resize(np.asarray(image, np.uint8), (columns, rows), interpolation=cv2.INTER_AREA).reshape(
        rows, columns, -1
    )
    grey = small.sum(2, dtype=np.float64)
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes().hex()


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


def _key(item: Item, rules: MaskRules) -> str:
    """Changes whenever one of its files or what its label depends on do."""
    files = [item.image, *item.label.files]
    return f"{derive(FORMAT, str(rules), item.label.settings, *map(str, files), *map(_state, files)):x}"


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


def _finding(fields: dict[str, Any]) -> Finding:
    height, width = fields["size"]
    ids = {int(i): int(n) for i, n in fields["ids"].items()}
    places = {int(i): [(y, x) for y, x in found] for i, found in fields["places"].items()}
    sums = (fields["total"], fields["squared"])
    return Finding((height, width), *sums, ids, places, fields["digest"], fields["gist"], fields["fault"])


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

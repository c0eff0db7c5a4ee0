"""One look at every file before training: is it readable, what size is it, which ids does it hold?

Each image and mask is decoded once, in threads; the findings give the classes, the class statistics, mean and
standard deviation, and the list of all faults. They are kept in a file keyed by each file's size and time of
change, so the next run on the same data starts at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segtrain.data.listing import Item, Layered
from segtrain.data.masks import IdArray, MaskRules
from segtrain.data.raster import GROUND, Layers
from segtrain.data.readers import check_header, decode, open_image
from segtrain.data.source import Array
from segtrain.errors import UserError
from segtrain.seeds import derive

FORMAT = 4  # of the kept findings; raise it when a field changes its meaning
PLACES = 8  # kept of each id: enough that crops differ, and 100,000 findings still fit into memory
NO_LAYERS = Layers((), np.zeros((0, 1, 1), dtype=bool))
SHOWN = 20  # faults listed in one message


@dataclass(frozen=True)
class Finding:
    """What was found in one item.

    Args:
        size: (height, width) in pixels; (0, 0) where the image is faulty.
        total: per channel, sum over the pixels of value / 255.
        squared: per channel, sum of its square.
        ids: pixels of each id in the mask; of objects that overlap, the one on top counts.
        shared: ids and number of the pixels of each combination, where objects of several ids overlap or could.
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
    shared: Sequence[tuple[Sequence[int], int]] = ()

    @property
    def combinations(self) -> list[tuple[Sequence[int], int]]:
        """All ids that a pixel has, with the number of such pixels."""
        return list(self.shared) or [([index], pixels) for index, pixels in self.ids.items()]


def scan(items: Sequence[Item], rules: MaskRules, kept: Path | None = None) -> list[Finding]:
    """Look through all items, in order.

    Args:
        items: images with their labels.
        rules: how mask files become ids.
        kept: file with the findings of an earlier scan, used for files that have not changed and rewritten.
    """
    known = _load(kept)
    keys = [_key(item, rules) for item in items]
    missing = [(key, item) for key, item in zip(keys, items, strict=True) if key not in known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release the interpreter's lock
        fresh = pool.map(lambda entry: look(entry[1], rules), missing)
        known |= {key: finding for (key, _), finding in zip(missing, fresh, strict=True)}
    if kept is not None and missing:
        _save(kept, {key: known[key] for key in keys if not known[key].fault})  # a fault may be mended by chmod alone
    return [known[key] for key in keys]


def look(item: Item, rules: MaskRules) -> Finding:
    """Decode one image and its label in full; a fault is recorded, not raised."""
    try:
        with open_image(item.image) as header:
            check_header(item.image, header)
            image = decode(item.image, header)
        size = (image.shape[0], image.shape[1])
        mask = item.label.read(size, rules)
        layers = item.label.layers(size, rules) if isinstance(item.label, Layered) else NO_LAYERS
        if mask.shape != image.shape[:2]:
            raise UserError(
                f"{item.label.files[0]}: {mask.shape[1]} x {mask.shape[0]} pixels, but its image has "
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
        places=hidden_places(layers, derive(item.id)) | places_of(mask, derive(item.id)),
        digest=hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).hexdigest(),
        gist=gist_of(image),
        shared=combinations_of(layers),
    )


def hidden_places(layers: Layers, seed: int) -> dict[int, list[tuple[int, int]]]:
    """As places_of, of objects that may lie below others."""
    found = zip(layers.ids, layers.planes, strict=True)
    return {index: places_of(plane.astype(np.uint8), seed).get(1, []) for index, plane in found if plane.any()}


def combinations_of(layers: Layers) -> list[tuple[list[int], int]]:
    """Ids and number of the pixels of each combination; nothing where there are no two ids that could overlap."""
    if len(layers.ids) < 2:
        return []
    planes = layers.planes.reshape(len(layers.ids), -1)
    several = planes.sum(0, dtype=np.int32) > 1  # a few pixels: only they are worth sorting
    found = [([GROUND], int((~planes.any(0)).sum()))]
    found += [([index], int((plane & ~several).sum())) for index, plane in zip(layers.ids, planes, strict=True)]
    if several.any():
        packed, counts = np.unique(np.packbits(planes[:, several], axis=0), axis=1, return_counts=True)
        columns = np.unpackbits(packed, axis=0, count=len(planes))
        names = ([layers.ids[row] for row in np.flatnonzero(column).tolist()] for column in columns.T)
        found += list(zip(names, counts.tolist(), strict=True))
    return [(ids, pixels) for ids, pixels in found if pixels]


def places_of(mask: IdArray, seed: int) -> dict[int, list[tuple[int, int]]]:
    """(row, column) of up to PLACES random pixels of each id of a mask [H, W]."""
    flat = mask.ravel()
    order = np.argsort(flat, kind="stable")
    ids, starts, counts = np.unique(flat[order], return_index=True, return_counts=True)
    random = np.random.default_rng(seed)
    found = {}
    for index, start, count in zip(ids.tolist(), starts.tolist(), counts.tolist(), strict=True):
        chosen = order[start + random.choice(count, min(PLACES, count), replace=False)]
        found[index] = [divmod(place, mask.shape[1]) for place in np.sort(chosen).tolist()]
    return found


def gist_of(image: Array) -> str:
    """Difference hash: whether each of 8 x 9 mean greys is brighter than its right neighbour."""
    grey = image.mean(2, dtype=np.float32)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


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
    shared = [(list(map(int, held)), int(pixels)) for held, pixels in fields["shared"]]
    return Finding((height, width), *sums, ids, places, fields["digest"], fields["gist"], fields["fault"], shared)


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

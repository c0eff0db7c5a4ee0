"""From the ids in mask files to canonical ids 0 .. C-1 and the ignore index, once, at reading.

What the ids mean comes from `dataset.json` or `classes.txt` in the data's folder (declarations.py), else from the union
of the ids of all training masks. It is decided for the data set, never per file: in a set with ids {0, 1, 255} a
file that holds {0, 255} has ignored pixels, not a foreground.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segtrain import checks
from segtrain.data.raster import GROUND, Layers
from segtrain.decode.masks import IdArray
from segtrain.errors import UserError
from segtrain.task import IGNORE, Color, Task

UNKNOWN = -1
NOTHING = -2  # in multilabel: none of the classes
LARGEST_ID = 65535


@dataclass(frozen=True)
class FileClass:
    """One class as the files have it: its id, its name and its colour, where known."""

    id: int
    name: str
    color: Color | None = None


@dataclass(frozen=True)
class Declared:
    """What a data set says of itself.

    Args:
        classes: the real ones, by ascending id.
        ignored: ids without a label.
        mode: of the task, where stated.
        origin: where this stands, for messages.
        ground: id of the pixels where no object is, for labels that are objects; multilabel has no class for it.
        inferred: whether it is concluded from the ids of the masks alone.
    """

    classes: Sequence[FileClass]
    ignored: Collection[int] = frozenset()
    mode: str | None = None
    origin: str = "the ids of the training masks"
    ground: int | None = None
    inferred: bool = False

    @property
    def colors(self) -> dict[Color, int]:
        """Id of each colour that one class alone has."""
        number = Counter(c.color for c in self.classes)
        return {c.color: c.id for c in self.classes if c.color is not None and number[c.color] == 1}


@dataclass(frozen=True)
class ClassMap:
    """Task and lookup table from file ids to canonical ids (uint8).

    Args:
        task: as found or asked for.
        table: canonical id of each id of the files, UNKNOWN or NOTHING.
        origin: where the classes are from, for messages.
        inferred: whether the classes are concluded from the ids of the masks alone.
        guessed: ids that are taken as ignored though nobody said so.
    """

    task: Task
    table: npt.NDArray[np.int16]
    origin: str
    inferred: bool = False
    guessed: Collection[int] = frozenset()

    def unknown(self, ids: Collection[int]) -> list[int]:
        """Those of the ids that are neither a class nor ignored."""
        return [i for i in sorted(ids) if not 0 <= i <= LARGEST_ID or self.table[i] == UNKNOWN]

    def apply(self, ids: IdArray) -> npt.NDArray[np.uint8]:
        """Canonical ids of a mask, [H, W], or [K, H, W] of {0, 1, ignore} in multilabel."""
        if ids.dtype == np.uint8:  # ten times as fast as indexing
            canonical: IdArray = np.asarray(cv2.LUT(ids, self.table[:256].astype(np.uint8)))
        else:
            canonical = self.table[ids]
        if self.task.mode != "multilabel":
            return canonical.astype(np.uint8)
        classes = np.arange(self.task.num_classes, dtype=np.int16)[:, None, None]
        ignored = canonical == self.task.ignore_index
        return np.where(ignored, np.uint8(self.task.ignore_index), (canonical == classes).astype(np.uint8))

    def meaning(self, ids: Iterable[int]) -> set[int]:
        """Canonical ids of a pixel that has several ids of the files."""
        return {int(self.table[i]) for i in ids}

    def apply_layers(self, layers: Layers) -> npt.NDArray[np.uint8]:
        """Canonical ids in multilabel, [K, H, W]: a class is 1 where one of its ids is.

        Elsewhere it is ignored where an ignored id is, else 0.
        """
        empty = ~layers.planes.any(0)
        mask = np.zeros((self.task.num_classes, *empty.shape), dtype=np.uint8)
        ignored = np.zeros_like(empty)
        for index, plane in (*zip(layers.ids, layers.planes, strict=True), (GROUND, empty)):
            canonical = int(self.table[index])
            if canonical == self.task.ignore_index:
                ignored |= plane
            elif canonical >= 0:
                mask[canonical][plane] = 1
        mask[ignored & (mask == 0)] = self.task.ignore_index
        return mask


def ids_in(ids: IdArray) -> list[int]:
    """The ids that a mask holds, ascending; of bytes by a histogram, since sorting them takes ten times as long."""
    if ids.dtype == np.uint8:
        return np.flatnonzero(cv2.calcHist([ids], [0], None, [256], [0, 256])).tolist()
    return np.unique(ids).tolist()  # type: ignore[no-any-return]


def build_class_map(
    declared: Declared,
    request: Mapping[str, Any],
    ignore_ids: Collection[int] = (),
    view: Mapping[int | str, str] | None = None,
) -> ClassMap:
    """Decide the task and the meaning of each id.

    Args:
        declared: what the data set says.
        request: the `task` group: mode ("auto" or a mode), num_classes, ignore_index, names, palette.
        ignore_ids: further ids of the files that are ignored.
        view: renames, merges and selects: {id or name in the files: new name}. Ids with one name are
            merged; classes that are not listed become "background".

    Raises:
        UserError: an unknown id, or a request that contradicts the data.
    """
    ignored = {checks.whole("data.ignore_ids", i, 0, LARGEST_ID) for i in ignore_ids}
    ignored |= {i for i in declared.ignored if 0 <= i <= LARGEST_ID}  # -1 is a way to say that there is none
    real = [c for c in declared.classes if c.id not in ignored]
    groups = _groups(real, view) if view else [(c.name, [c]) for c in real]
    mode = _mode(request, declared, len(groups), viewed=bool(view))
    if mode == "multilabel":
        groups = [group for group in groups if declared.ground not in [c.id for c in group[1]]]
    shown = groups[1:] if mode == "binary" else groups
    task = _task(request, mode, shown)
    table = np.full(LARGEST_ID + 1, UNKNOWN, dtype=np.int16)
    table[[c.id for c in real]] = NOTHING
    table[sorted(ignored)] = task.ignore_index
    for index, (_, members) in enumerate(groups):
        table[[c.id for c in members]] = index
    guessed = frozenset(declared.ignored) - {int(i) for i in ignore_ids} if declared.inferred else frozenset()
    return ClassMap(task, table, declared.origin, declared.inferred, guessed)


Groups = list[tuple[str, list[FileClass]]]


def _groups(real: list[FileClass], view: Mapping[int | str, str]) -> Groups:
    """Classes of the files by their new names, the unlisted ones first, as background."""
    known: dict[int | str, FileClass] = {c.id: c for c in real} | {c.name: c for c in real}
    named: dict[str, list[FileClass]] = {}
    for key, name in view.items():
        if key not in known:
            options = ", ".join(f"{c.id} {c.name}" for c in real)
            raise UserError(f"data.classes: {key!r} is not a class of this data; it has: {options}")
        named.setdefault(str(name), []).append(known[key])
    listed = [c.id for members in named.values() for c in members]
    if len(set(listed)) < len(listed):
        raise UserError(f"data.classes lists a class twice, by id and by name: {dict(view)}")
    rest = [c for c in real if c.id not in listed]
    if rest or "background" in named:
        named = {"background": rest + named.pop("background", [])} | named
    return list(named.items())


def _mode(request: Mapping[str, Any], declared: Declared, groups: int, viewed: bool) -> str:
    if groups < 2:
        raise UserError(
            f"at least two classes are needed to learn from, {declared.origin} and data.classes leave {groups}"
        )
    mode = str(request["mode"])
    if mode == "auto":
        mode = (None if viewed else declared.mode) or ("binary" if groups == 2 else "multiclass")
    if mode == "binary" and groups != 2:
        raise UserError(
            f"task=binary needs two classes, {declared.origin} has {groups}; choose one with "
            "data.classes='{ID: NAME}' or use task=multiclass"
        )
    return mode


def _task(request: Mapping[str, Any], mode: str, shown: Groups) -> Task:
    wanted = request.get("num_classes")
    if wanted is not None and wanted != len(shown):
        raise UserError(
            f"task.num_classes={wanted}, but the data has {len(shown)} in mode {mode}: {[n for n, _ in shown]}"
        )
    ignore_index = int(request.get("ignore_index", IGNORE))
    if not 0 <= ignore_index <= 255:
        raise UserError(f"task.ignore_index must be in [0, 255], since masks are 8-bit in memory; got {ignore_index}")
    colors = [members[0].color for _, members in shown if members[0].color is not None]
    palette = request.get("palette") or (colors if len(colors) == len(shown) else [])
    names = request.get("names") or [name for name, _ in shown]
    return Task(mode, len(shown), ignore_index, names, palette)

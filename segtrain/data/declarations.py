"""Classes as files in a data set's folder list them.

dataset.json   ours, or nnU-Net's
classes.txt    id<tab>name<tab>r,g,b or ignore; or `id name`, `id,name`; or the names alone, with the ids 0, 1, 2, ...
labelmap.txt   CVAT's, name:r,g,b:parts:actions, with the ids 0, 1, 2, ...
_classes.csv   Roboflow's, id and name, in the folder of each split
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segtrain.data.classes import LARGEST_ID, Declared, FileClass
from segtrain.errors import UserError
from segtrain.task import Color

EXPECTED = (
    "a line is id<tab>name, where wanted with <tab>r,g,b or <tab>ignore after it; or id and name with a blank or a "
    "comma between; or, in all lines alike, the name alone"
)
NUMBERED = re.compile(r"(\d+)\s*[\s,]\s*([^,]+)")
LIKE_COLORS = re.compile(r"\s(\d+\s+\d+\s+\d+|ignore)")  # which only tabs set apart from a name
BY_LINE = "numbered by line from 0"
ROBOFLOW = ["pixel value", "class"]  # the header of its table; others of that name list images

# what files of any content make of reading them; an id of 1e999 is too large to be whole
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, OSError, RecursionError, csv.Error)

Reader = Callable[[Path], Declared | None]


def read_declared(root: Path) -> Declared | None:
    """Classes from the first of the files above that is there; None where there is none.

    Raises:
        UserError: the file cannot be understood.
    """
    tables = sorted(root.glob("*/_classes.csv"), key=lambda path: (path.parent.name.lower() != "train", path))
    readers: Mapping[Path, Reader] = {
        root / "dataset.json": _from_json,
        root / "classes.txt": _from_text,
        root / "labelmap.txt": _from_cvat,
        **dict.fromkeys(tables[:1], _from_roboflow),
    }
    for path, read in readers.items():
        try:
            if path.is_file() and (declared := read(path)):
                return declared
        except UNREADABLE as error:
            raise UserError(f"{path}: cannot be read as a list of classes ({error}); see docs/data.md") from error
    return None


def _from_json(path: Path) -> Declared:
    content = json.loads(path.read_text(encoding="utf-8"))
    if "classes" not in content and "labels" in content:
        return _from_nnunet(path, content["labels"])
    classes = [FileClass(_whole(c["id"]), str(c["name"]), _rgb(c.get("palette"))) for c in content["classes"]]
    ignored = content.get("ignore_index")
    return Declared(
        _ordered(classes), frozenset() if ignored is None else {_whole(ignored)}, content.get("task"), path.name
    )


def _whole(value: Any) -> int:
    """An id; int() alone would make 1 of 1.5."""
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"the id {value} is no whole number")
    return int(value)


def _from_nnunet(path: Path, labels: Mapping[str, Any]) -> Declared:
    """nnU-Net's dataset.json: {name: id} (version 1: {id: name}); the name ignore stands for pixels without label."""
    pairs = [(key, name) if str(key).isdigit() else (name, key) for key, name in labels.items()]
    if regions := [name for index, name in pairs if isinstance(index, list)]:
        raise ValueError(f"{regions[0]} is a region of several ids; list single ids and merge them with data.classes")
    classes = [FileClass(int(index), str(name)) for index, name in pairs if name != "ignore"]
    return Declared(_ordered(classes), {int(i) for i, name in pairs if name == "ignore"}, origin=path.name)


def _from_text(path: Path) -> Declared:
    lines = dict(enumerate(path.read_text(encoding="utf-8-sig").rstrip().splitlines(), 1))
    if not any("\t" in line or re.match(r"\d+(\W|$)", line.strip()) for line in lines.values()):
        return _from_names(path, lines)
    entries = [_entry(number, line.rstrip()) for number, line in lines.items() if line.strip()]
    ignored = {known.id for known, has_label in entries if not has_label}
    return Declared(_ordered([known for known, _ in entries]), ignored, origin=path.name)


def _from_names(path: Path, lines: Mapping[int, str]) -> Declared:
    """The id of a name is the number of its line, so there must be none between that are empty."""
    for number, line in lines.items():
        if not line.strip() or "," in line:
            raise _unlike(number, line)
    classes = [FileClass(index, line.strip()) for index, line in enumerate(lines.values())]
    return Declared(_ordered(classes), origin=f"{path.name}, {BY_LINE}")


def _entry(number: int, line: str) -> tuple[FileClass, bool]:
    """A class, and whether its pixels carry a label."""
    try:
        if "\t" not in line:
            found = NUMBERED.fullmatch(line.strip())
            if found is None or LIKE_COLORS.search(line):
                raise ValueError(line)
            return FileClass(int(found[1]), found[2].strip()), True
        index, name, *rest = line.split("\t")
        colors = [_rgb(word.split(",")) for word in rest if word != "ignore"]
        return FileClass(int(index), name, colors[0] if colors else None), "ignore" not in rest
    except (ValueError, LookupError):
        raise _unlike(number, line) from None


def _unlike(number: int, line: str) -> ValueError:
    return ValueError(f"line {number}, {line!r}, does not fit: {EXPECTED}")


def _from_cvat(path: Path) -> Declared:
    """The labels in the order of CVAT's file, which is that of the ids in masks with a palette."""
    lines = filter(str.strip, path.read_text(encoding="utf-8-sig").splitlines())
    fields = [line.rsplit(":", 3) for line in lines if not line.startswith("#")]
    if wrong := [":".join(found) for found in fields if len(found) != 4]:
        raise ValueError(f"{wrong[0]!r} is not name:r,g,b:parts:actions")
    classes = [FileClass(i, name, _rgb(rgb.split(",") if rgb else None)) for i, (name, rgb, *_) in enumerate(fields)]
    return Declared(_ordered(classes), origin=f"{path.name}, {BY_LINE}")


def _from_roboflow(path: Path) -> Declared | None:
    """Roboflow's table for masks; those of all splits must say the same."""
    rows = _rows(path)
    if not rows or [cell.lower() for cell in rows[0]] != ROBOFLOW:
        return None
    for other in sorted(path.parent.parent.glob("*/_classes.csv")):
        if _rows(other) != rows:
            raise ValueError(f"{other} says otherwise; make them alike")
    return Declared(_ordered([FileClass(int(index), name) for index, name in rows[1:]]), origin=path.name)


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file) if row]


def _ordered(classes: list[FileClass]) -> list[FileClass]:
    for what, values in (("id", [c.id for c in classes]), ("name", [c.name for c in classes])):
        if twice := [value for value, n in Counter(values).items() if n > 1]:
            raise ValueError(f"the {what} {twice[0]} stands there twice")
    if wrong := [c.id for c in classes if not 0 <= c.id <= LARGEST_ID]:
        raise ValueError(f"the id {wrong[0]} is not in 0 .. {LARGEST_ID}")
    return sorted(classes, key=lambda c: c.id)


def _rgb(values: Sequence[Any] | None) -> Color | None:
    return None if values is None else (int(values[0]), int(values[1]), int(values[2]))

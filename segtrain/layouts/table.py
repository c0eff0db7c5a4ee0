"""`data=csv`: a table that names each image and its mask, with split, group and weight where known.

image,mask,split,group,weight
scans/a.jpg,labels/a.png,train,patient 7,2
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO

from segtrain import checks
from segtrain.checks import did_you_mean
from segtrain.data.listing import SPLITS, Item, Listing, MaskFile, in_order
from segtrain.errors import UserError
from segtrain.layouts.patterns import listed, split_of
from segtrain.layouts.spelling import existing, is_file

NEEDED = ("image", "mask")
COLUMNS = (*NEEDED, "split", "group", "weight")
DELIMITERS = (",", ";", "\t")
SUFFIXES = (".csv", ".tsv")

Row = Mapping[str, str]


@dataclass(frozen=True)
class TableLayout:
    """A table with a row for each image; paths are relative to the root. Implements Layout.

    Args:
        table: the file, below the root; None: the only one there with the columns image and mask.
        allow_outside: whether paths may be absolute or lead out of the root by "..".
    """

    table: str | None = None
    allow_outside: bool = False

    def find(self, root: Path) -> Listing:
        """Read the table; every row that cannot be used is a fault with the number of its line.

        Raises:
            UserError: no table, several, or one without the columns image and mask.
        """
        checks.flag("data.layout.allow_outside", self.allow_outside)
        path = self._path(root)
        header, rows = read_table(path)
        items: dict[tuple[str, str], tuple[int, Item]] = {}
        faults = []
        for line, cells in rows:
            try:
                item = self._item(root, header, cells)
                if (before := items.setdefault((item.split, item.id), (line, item)))[0] != line:
                    raise UserError(f"the id {item.id} stands already in line {before[0]}; keep one of them")
            except UserError as error:
                faults.append(f"{path} line {line}: {error}")
        if not rows:
            faults.append(f"{path}: no rows below the header; write one for each image")
        notes = [f"pairs from {path.name}", *_unused(header)]
        return Listing(in_order(item for _, item in items.values()), faults, notes=notes)

    def _path(self, root: Path) -> Path:
        if self.table is not None:
            return root / Path(self.table).expanduser()
        tables = [path for path in listed(root) if path.suffix.lower() in SUFFIXES and path.is_file()]
        found = [path for path in tables if not _missing(_header(path)[0])] or tables
        if len(found) == 1:
            return found[0]
        which = f"several tables ({', '.join(path.name for path in found)})" if found else "no table (.csv, .tsv)"
        raise UserError(f"{root}: {which} there; name one with data.layout.table=FILE")

    def _item(self, root: Path, header: Sequence[str], cells: Sequence[str]) -> Item:
        if len(cells) != len(header):
            raise UserError(f"{len(cells)} fields, but the header has {len(header)}; put quotes around delimiters")
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        image, mask = (self._file(root, name, row[name]) for name in NEEDED)
        identity = Path(row["image"].replace("\\", "/")).with_suffix("").as_posix()
        return Item(identity, image, MaskFile(mask), _split(row), row.get("group", ""), _weight(row))

    def _file(self, root: Path, column: str, name: str) -> Path:
        if not name:
            raise UserError(f"{column} is empty; give a file, or remove the row")
        windows = PureWindowsPath(name)
        if not self.allow_outside and (Path(name).is_absolute() or windows.anchor or ".." in windows.parts):
            raise UserError(f"{column} {name} leads out of data.root; allow it with data.layout.allow_outside=true")
        path = existing(root / name)
        if not is_file(path) and "\\" in name:  # as Windows writes paths
            path = existing(root / name.replace("\\", "/"))
        if not is_file(path):
            raise UserError(f"{column} {name}: no such file in {root}; correct the path or remove the row")
        return path


def is_table(path: Path) -> bool:
    """Whether a file is a table with the columns image and mask."""
    try:
        return path.suffix.lower() in SUFFIXES and path.is_file() and not _missing(_header(path)[0])
    except UserError:
        return False


def read_table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The columns' names, and each row with the number of its line; blank lines are left out.

    Raises:
        UserError: not readable as a table with the columns image and mask.
    """
    header, delimiter = _header(path)
    if missing := _missing(header):
        raise UserError(f"{path} line 1: no column {' and '.join(missing)}{_found(missing, header)}")
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise UserError(f"{path} line 1: the column {twice[0]} stands there twice; remove one")
    with _reading(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        return header, [(reader.line_num, cells) for cells in reader if any(cells)][1:]


def _header(path: Path) -> tuple[list[str], str]:
    """The columns' names and what stands between them."""
    with _reading(path) as file:
        first = file.readline()
        delimiter = max(DELIMITERS, key=first.count)
        return [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])], delimiter


@contextmanager
def _reading(path: Path) -> Iterator[IO[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; data.layout.table names a table below data.root") from error
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); save it as CSV in UTF-8") from error


def _missing(header: Sequence[str]) -> list[str]:
    return [name for name in NEEDED if name not in header]


def _found(missing: Sequence[str], header: Sequence[str]) -> str:
    if not any(header):
        return "; the file is empty"
    near = did_you_mean(missing[0], header)
    return f"; it has {', '.join(header)}{near}{' Call' if near else '; call'} them {' and '.join(missing)}"


def _unused(header: Sequence[str]) -> list[str]:
    absent = [name for name in COLUMNS if name not in header]
    return [f"column {name} is not used{did_you_mean(name, absent)}" for name in header if name not in COLUMNS]


def _split(row: Row) -> str:
    """Raises UserError for a split of another name."""
    name = row.get("split", "")
    split = split_of(name) if name else ""
    if split is None:
        raise UserError(f"split must be one of {', '.join(SPLITS)} or empty, got {name!r}{did_you_mean(name, SPLITS)}")
    return split


def _weight(row: Row) -> float:
    """Raises UserError for a weight that is no number above 0."""
    text = row.get("weight") or "1"
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    return checks.number("weight", weight if math.isfinite(weight) else text, above=0)

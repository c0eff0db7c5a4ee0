"""Splits in text files: splits/train.txt, splits/val.txt, ... with the name of one image a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from segtrain.data.listing import Item, MaskFile, in_order
from segtrain.errors import UserError
from segtrain.layouts.patterns import Entry, expand_files, is_image
from segtrain.layouts.spelling import composed, existing, is_file

PLACES = tuple(
    f"{folder}{{split}}.txt" for folder in ("splits/", "split/", "ImageSets/Segmentation/", "ImageSets/", "")
)


@dataclass(frozen=True)
class Line:
    """A name in a list.

    Args:
        split: of the list.
        name: as it stands there.
        where: file and line, for messages.
    """

    split: str
    name: str
    where: str


def find_lists(root: Path, pattern: str | None) -> dict[str, Path]:
    """The list of each split; none where there are none and none were asked for.

    Args:
        root: the folder.
        pattern: where they lie, with {split}; None: look in the usual places.

    Raises:
        UserError: none at the place asked for, or lists in several places.
    """
    if pattern is not None and (found := expand_files(root, pattern)):
        return found
    if pattern is not None:
        raise UserError(f"data.layout.lists={pattern}: no such files in {root}; an example is splits/{{split}}.txt")
    places = {place: found for place in PLACES if (found := expand_files(root, place))}
    if len(places) > 1:
        first = next(iter(places))
        raise UserError(f"{root}: lists of splits in {' and '.join(places)}; choose with data.layout.lists={first}")
    return next(iter(places.values()), {})


def read_list(path: Path, split: str) -> list[Line]:
    """The names of one list.

    Raises:
        UserError: it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); save it as UTF-8, one name a line") from error
    numbered = enumerate(text.splitlines(), start=1)
    return [Line(split, line.strip(), f"{path} line {number}") for number, line in numbered if line.strip()]


def pair_lines(lines: Sequence[Line], files_of: Callable[[str], tuple[Path, Path]]) -> tuple[list[Item], list[str]]:
    """The images that lists name, and a sentence for each name that stands there twice or has no files.

    Args:
        lines: of all lists.
        files_of: image and mask of a name.
    """
    first: dict[str, Line] = {}
    items, faults = [], []
    for line in lines:
        image, mask = map(existing, files_of(line.name))
        missing = [path for path in (image, mask) if not is_file(path)]
        if line.name.startswith("/") or ".." in PureWindowsPath(line.name).parts:  # which knows both separators
            faults.append(f"{line.where}: {line.name!r} leads out of the folder of the images; write names alone")
        elif (before := first.setdefault(line.name, line)) is not line:
            faults.append(f"{line.where}: {line.name!r} stands already in {before.where}; keep one of them")
        elif missing:
            faults.append(f"{line.where}: no file {missing[0]}; restore it or remove the line")
        else:
            items.append(Item(line.name, image, MaskFile(mask), line.split))
    return in_order(items), faults


def assign(lines: Iterable[Line], root: Path, images: Sequence[Entry]) -> tuple[dict[str, str], list[str]]:
    """The split of each image that is listed, by its key, and a sentence for each line that cannot be used.

    Args:
        lines: of all lists.
        root: the folder; names may be paths below it.
        images: their keys without endings.
    """
    keys_of = _names(root, images)
    seen: dict[str, Line] = {}
    faults = []
    for line in lines:
        name = composed(line.name)
        keys = keys_of.get(name) or keys_of.get(_without_suffix(name), [])
        if len(keys) != 1:
            faults.append(f"{line.where}: {len(keys) or 'no'} images are called {line.name!r}{_hint(line.name)}")
        elif keys[0] in seen:
            faults.append(f"{line.where}: {line.name!r} stands already in {seen[keys[0]].where}; keep one of them")
        else:
            seen[keys[0]] = line
    return {key: line.split for key, line in seen.items()}, faults


def _hint(name: str) -> str:
    return "; pairs of files are read by data=csv" if len(name.split()) == 2 and "/" in name else ""


def _without_suffix(name: str) -> str:
    return name[: -len(Path(name).suffix)] if is_image(Path(name)) else name


def _names(root: Path, images: Sequence[Entry]) -> Mapping[str, list[str]]:
    """The keys of the images that a name means: its key, its file name, its path below the folder."""
    found: dict[str, list[str]] = {}
    for entry in images:
        path = entry.path.relative_to(root).as_posix() if entry.path.is_relative_to(root) else str(entry.path)
        for name in {*map(composed, (entry.key, entry.path.name, entry.path.stem, path, _without_suffix(path)))}:
            found.setdefault(name, []).append(entry.key)
    return found

"""Where files lie: a folder, or a pattern with * for the parts that names differ in; {split} stands for a split.

images/{split}                       every image below images/train, images/val, ..., in folders of it too
leftImg8bit/{split}/*/*_leftImg8bit.png     the files that fit; the texts of the * are their key
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segtrain.decode.masks import MASK_SUFFIXES
from segtrain.decode.readers import IMAGE_SUFFIXES
from segtrain.errors import UserError
from segtrain.layouts.spelling import composed

SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
SPLIT = "{split}"
SUFFIXES = {*IMAGE_SUFFIXES, *MASK_SUFFIXES}


@dataclass(frozen=True)
class Entry:
    """A file with what tells it from the others of its place: images and masks of one key belong together."""

    key: str
    path: Path


def split_of(name: str) -> str | None:
    """The split that a name means, such as val for Validation; None for any other name."""
    return SPLIT_NAMES.get(name.strip().lower())


def expand(root: Path, pattern: str) -> dict[str, str]:
    """The pattern of each split for which something is there, {split} filled in; {"": pattern} without {split}.

    Raises:
        UserError: one split under two names, such as val and valid.
    """
    if SPLIT not in pattern:
        return {"": pattern} if is_there(root, pattern) else {}
    found: dict[str, str] = {}
    for split, filled in _filled(pattern):
        if is_there(root, filled):
            _check_same(root, fixed(root, filled), fixed(root, found.setdefault(split, filled)))
    return found


def expand_files(root: Path, pattern: str) -> dict[str, Path]:
    """The file of each split for which there is one.

    Raises:
        UserError: one split under two names.
    """
    found: dict[str, Path] = {}
    for split, filled in _filled(pattern):
        path = root / Path(filled).expanduser()
        if path.is_file():
            _check_same(root, path, found.setdefault(split, path))
    return found


def _filled(pattern: str) -> Iterator[tuple[str, str]]:
    """(split, the pattern with one of its names)."""
    for word, split in SPLIT_NAMES.items():
        for name in (word, word.title(), word.upper()):
            yield split, pattern.replace(SPLIT, name)


def _check_same(root: Path, path: Path, other: Path) -> None:
    if path != other and not path.samefile(other):  # `Val` is `val` where case does not matter
        raise UserError(f"{root}: {other.name} and {path.name} are both there for one split; rename one of them")


def is_there(root: Path, pattern: str) -> bool:
    """Whether the folder exists, or a file fits the pattern."""
    if "*" not in pattern:
        return fixed(root, pattern).is_dir()
    return any(True for _ in _matches(root, pattern))


def fixed(root: Path, pattern: str) -> Path:
    """The folder in which all files of a pattern lie: all before the first part that has a *."""
    return root.joinpath(*_divided(pattern)[0])


def _divided(pattern: str) -> tuple[Sequence[str], Sequence[str]]:
    """The parts of a pattern before the first one that has a *, and the rest."""
    parts = Path(pattern).expanduser().parts
    first = next((index for index, part in enumerate(parts) if "*" in part), len(parts))
    return parts[:first], parts[first:]


def entries(root: Path, pattern: str) -> list[Entry]:
    """Image files of a folder or pattern, by key; hidden files and files that are no images are left out.

    Raises:
        UserError: a folder cannot be listed.
    """
    if "*" in pattern:
        return sorted(_matches(root, pattern), key=lambda entry: entry.key)
    folder = fixed(root, pattern)
    found = (Entry(composed(path.relative_to(folder).with_suffix("").as_posix()), path) for path in walk(folder))
    return sorted(found, key=lambda entry: entry.key)


def _matches(root: Path, pattern: str) -> Iterator[Entry]:
    folder = fixed(root, pattern)
    parts = (re.escape(composed(part)).replace(r"\*", "([^/]*)") for part in _divided(pattern)[1])
    expression = re.compile("/".join(parts))
    for path in walk(folder) if folder.is_dir() else ():
        if found := expression.fullmatch(composed(path.relative_to(folder).as_posix())):
            yield Entry("/".join(found.groups()), path)


def walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Image files of a folder and of those below it, by name.

    Args:
        folder: where to look.
        above: folders passed on the way; a link to one of them, or above them, is a circle and not followed.

    Raises:
        UserError: a folder cannot be listed.
    """
    inside = above | {(here := folder.resolve()), *here.parents}
    for path in listed(folder):
        if is_image(path):  # a folder called x.png too: whoever reads it says so
            yield path
        elif path.is_dir() and path.resolve() not in inside:
            yield from walk(path, inside)


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without hidden files.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != ".")
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); make it a folder that you may read") from error


def is_image(path: Path) -> bool:
    """Whether a file is called like an image, or like a mask."""
    return path.suffix.lower() in SUFFIXES


def has_images(folder: Path) -> bool:
    """Whether image files lie in a folder or below it."""
    return next(walk(folder), None) is not None

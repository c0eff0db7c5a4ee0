"""The file that a division stands in: one line per image, its path below the data's folder, a tab, its part."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from segtrain.data.listing import Item
from segtrain.errors import UserError

NAMES_SHOWN = 5


def keys_of(items: Sequence[Item], root: Path) -> list[str]:
    """What an item is called in the file: its image's path below the root, and its own name if it is one of many."""
    paths = [relative(item.image, root) for item in items]
    often = Counter(paths)
    return [path if often[path] == 1 else f"{path}#{item.id}" for path, item in zip(paths, items, strict=True)]


def unique_names(items: Sequence[Item], keys: Sequence[str]) -> list[str]:
    """Names of items; those of the same name (in different splits, before) are told apart by their paths."""
    often = Counter(item.id for item in items)
    return [
        item.id if often[item.id] == 1 else str(Path(key).with_suffix("")).replace(os.sep, "_")
        for item, key in zip(items, keys, strict=True)
    ]


def write_division(path: Path, text: str, part_of: Mapping[str, str]) -> None:
    """Write a division whole: a comment, then image and part, tab-separated.

    Raises:
        UserError: there is no place for it.
    """
    lines = [f"# {text}", *(f"{key}\t{part}" for key, part in part_of.items())]
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: the splits cannot be kept there ({error.strerror}); name another data.split_file"
        ) from error


def read_division(path: Path, keys: Sequence[str], parts: Collection[str]) -> dict[str, str]:
    """The part of each image from a file; images that are gone are passed over.

    Raises:
        UserError: lines that cannot be read, unknown parts, or images that the file does not have.
    """
    known: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise UserError(f"{path}: cannot be read ({reason}); restore it, or move it away to divide anew") from error
    for number, line in enumerate(lines, 1):
        key, tab, part = line.rpartition("\t")
        if not line.strip() or line.startswith("#"):
            continue
        if not tab or part not in parts:
            raise UserError(f"{path}, line {number}: {line!r} should be an image, a tab and one of {', '.join(parts)}")
        if key in known:
            raise UserError(f"{path}, line {number}: {key} stands there twice")
        known[key] = part
    new = [key for key in keys if key not in known]
    if new:
        raise UserError(
            f"{path} has no split for {some(new)}; add lines for them, exclude them, or move the file away to "
            "divide all images anew (scores will not compare with those of earlier runs)"
        )
    return {key: known[key] for key in keys}


def relative(path: Path, root: Path) -> str:
    """A path below the root, with slashes."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def some(names: Sequence[str]) -> str:
    """So many images, and the first few of them by name."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{len(names)} images ({', '.join(names[:NAMES_SHOWN])}{more})"

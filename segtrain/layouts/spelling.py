"""Names that look the same and differ in how Unicode composes them: macOS writes U and two dots, others one letter."""

from __future__ import annotations

import unicodedata
from pathlib import Path


def composed(name: str) -> str:
    """The name in its composed form (NFC), in which equal names are equal."""
    return unicodedata.normalize("NFC", name)


def existing(path: Path) -> Path:
    """The path, or the only file beside it whose name looks the same, where it is not there itself."""
    if path.name.isascii() or is_file(path) or not path.parent.is_dir():
        return path
    alike = [other for other in path.parent.iterdir() if composed(other.name) == composed(path.name)]
    return alike[0] if len(alike) == 1 else path


def is_file(path: Path) -> bool:
    """Whether a path that a list names is a file; one that no system takes, being too long, is none."""
    try:
        return path.is_file()
    except OSError:
        return False

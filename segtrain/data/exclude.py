"""Files that are left out: `data.exclude=FILE`, a text file with one path a line, relative to data.root.

A folder stands for all that lies below it; a line that begins with # is a comment, and so is what follows a tab and #
behind a path. `segtrain check` writes such a file, with the reasons as comments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segtrain.data.listing import Item, Listing
from segtrain.errors import UserError

COMMENT = "\t# "
SHOWN = 5  # lines that match nothing, in one sentence


def read_excluded(file: Path) -> list[str]:
    """The paths that a file lists.

    Raises:
        UserError: no such file, or not a text.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise UserError(f"data.exclude={file}: cannot be read ({reason}); give a text file with one path a line") from (
            error
        )
    paths = [line.partition(COMMENT)[0].strip() for line in lines if not line.startswith("#")]
    return [path for path in paths if path]


def write_excluded(file: Path, root: Path, paths: Mapping[Path, str]) -> int:
    """Write such a list; returns the number of its lines.

    Args:
        file: to write.
        root: the folder of the data.
        paths: what to leave out, each with the reason, "" for none.

    Raises:
        UserError: it cannot be written.
    """
    reasons = {Path(os.path.relpath(path, root)).as_posix(): reason for path, reason in paths.items()}
    lines = [f"{path}{COMMENT}{reason}" if reason else path for path, reason in sorted(reasons.items())]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise UserError(f"exclude={file}: cannot be written ({error.strerror}); choose another file") from error
    return len(lines)


def leave_out(listing: Listing, root: Path, names: Sequence[str]) -> Listing:
    """The listing without the items and faults of the named files.

    Args:
        listing: what the layout found.
        root: the folder of the data.
        names: paths relative to it; one that matches nothing gives a warning.
    """
    wanted = {os.path.normpath(root / name): name for name in names}
    used: set[str] = set()

    def is_out(path: str | Path) -> bool:
        hits = [place for place in _with_parents(Path(path)) if place in wanted]
        used.update(hits)
        return bool(hits)

    def is_item_out(item: Item) -> bool:
        hits = [is_out(path) for path in (item.image, *item.label.files)]  # all, so that each counts as used
        return any(hits)

    items = [item for item in listing.items if not is_item_out(item)]
    faults = [fault for fault in listing.faults if not is_out(fault.partition(": ")[0])]
    idle = [name for place, name in wanted.items() if place not in used]
    warnings = (
        [] if not idle else [f"data.exclude: {_listed(idle)} {'is' if len(idle) == 1 else 'are'} not in the data"]
    )
    notes = [*listing.notes, f"{len(listing.items) - len(items)} images left out by data.exclude"]
    return replace(listing, items=items, faults=faults, notes=notes, warnings=[*listing.warnings, *warnings])


def _with_parents(path: Path) -> list[str]:
    whole = Path(os.path.normpath(path))
    return [str(place) for place in (whole, *whole.parents)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

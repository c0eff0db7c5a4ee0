"""Categories of annotation files to classes: one meaning for each id in all files, 0 is the background."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segtrain.data.classes import LARGEST_ID, Declared, FileClass
from segtrain.data.raster import GROUND
from segtrain.task import IGNORE

BACKGROUND = "background"
ZERO_NOTE = "class ids of the files begin at 0 and are raised by 1: 0 is the background here"


def free_id(taken: Collection[int], wanted: Collection[int] = ()) -> int:
    """An id for pixels without a label: the lowest of those wanted, else 255, else the highest one that is free."""
    known: list[int] = [*sorted(wanted), IGNORE, *range(LARGEST_ID, GROUND, -1)]
    return next(index for index in known if index > GROUND and index not in taken)


@dataclass
class Categories:
    """The categories of all files; ids stay as they are, or are all raised by 1 where an object's class has id 0."""

    names: dict[int, str] = field(default_factory=dict)
    origins: list[str] = field(default_factory=list)
    used: set[Any] = field(default_factory=set)
    headings: set[str] = field(default_factory=set)

    def add(self, path: Path, entries: Sequence[Mapping[str, Any]], objects: Sequence[Mapping[str, Any]]) -> list[str]:
        """Take in the categories of one file.

        Args:
            path: of the file.
            entries: its categories.
            objects: its annotations, which tell the categories in use.

        Returns:
            A sentence for each that cannot be used.
        """
        faults = [] if entries else [f"{path}: has no categories; export it again"]
        self.origins.append(path.name)
        for entry in entries:
            try:
                self._take(entry.get("id"), str(entry.get("name")))
            except ValueError as error:
                faults.append(f"{path}: {error}")
            self.headings.add(str(entry.get("supercategory")))
        self.used |= {str(entry.get("category_id")) for entry in objects}
        return faults

    def _take(self, index: Any, name: str) -> None:
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < LARGEST_ID:
            raise ValueError(f"category {name!r} has the id {index!r}, not one in 0 .. {LARGEST_ID - 1}")
        if self.names.setdefault(index, name) != name:
            raise ValueError(f"category {index} is {name!r} here and {self.names[index]!r} in another place")
        if other := [i for i, known in self.names.items() if known == name and i != index]:
            raise ValueError(f"category {name!r} has the id {index} here and {other[0]} in another place")

    @property
    def raised(self) -> int:
        """1 where id 0 is a class; 0 where it is the background, or only the heading of the others (Roboflow's)."""
        name = self.names.get(0)
        heading = "0" not in self.used and name in self.headings and len(self.names) > 1
        return int(name is not None and name.lower() != BACKGROUND and not heading)

    @property
    def ignored(self) -> int:
        """An id that no category has, for pixels without a label."""
        return free_id({index + self.raised for index in self.names})

    def id_of(self, category: Any) -> int:
        """Our id of a category.

        Raises:
            ValueError: it is none of them.
        """
        if not isinstance(category, int) or category not in self.names:
            raise ValueError(
                f"category_id {category!r} is none of the categories; add it there, or remove the annotation"
            )
        return GROUND if self.names[category].lower() == BACKGROUND else int(category) + self.raised

    def declared(self) -> Declared:
        """The classes, with the background first."""
        ids = {index + self.raised: name for index, name in sorted(self.names.items()) if name.lower() != BACKGROUND}
        classes = [
            FileClass(index, name) for index, name in ({GROUND: BACKGROUND} | ids | {GROUND: BACKGROUND}).items()
        ]
        names = list(dict.fromkeys(self.origins))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        origin = f"the categories of {names[0] if names else 'no file'}{more}"
        return Declared(classes, frozenset({self.ignored}), origin=origin, ground=GROUND)

    def notes(self) -> list[str]:
        """What was done about an id 0."""
        return [ZERO_NOTE] if self.raised else []

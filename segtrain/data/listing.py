"""What a layout finds in a folder: images, where their labels come from, and what it could not use.

A layout is a class with `find(root) -> Listing`; everything after that (decoding, splits, classes, caches) is the
same for all layouts and stands in `files.py`. To add one: a class in a file of this folder, its name in
`build.py:BUILDERS`, a yaml in conf/data/.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from segtrain.data.classes import Declared
from segtrain.data.raster import Layers
from segtrain.decode.masks import IdArray, MaskRules, read_mask
from segtrain.windows import Window

SPLITS = ("train", "val", "test")


class Label(Protocol):
    """Where the ids of one image come from: a mask file, polygons, a folder of objects, ..."""

    @property
    def files(self) -> Sequence[Path]:
        """What it is read from; where it changes, findings and caches are made anew."""
        ...

    @property
    def settings(self) -> str:
        """All else that its ids depend on, as text; "" where there is nothing."""
        ...

    def read(self, size: tuple[int, int], rules: MaskRules) -> IdArray:
        """The ids as the files have them, [H, W].

        Args:
            size: (height, width) of the image, for labels that have no size of their own.
            rules: how pixel values of mask files become ids.

        Raises:
            UserError: missing, damaged or not usable; the sentence names the file.
        """
        ...


@runtime_checkable
class Layered(Protocol):
    """What a Label has in addition where its objects may overlap; multilabel tasks read this instead."""

    def layers(self, size: tuple[int, int], rules: MaskRules) -> Layers:
        """Where each id is, whether or not another is there too; arguments and errors as Label.read."""
        ...


@dataclass(frozen=True)
class MaskFile:
    """A mask that is an image of ids, or one page of a TIFF. Implements Label."""

    path: Path
    page: int | None = None

    @property
    def files(self) -> Sequence[Path]:
        """The file."""
        return (self.path,)

    @property
    def settings(self) -> str:
        """The page."""
        return "" if self.page is None else f"page {self.page}"

    def read(self, size: tuple[int, int], rules: MaskRules) -> IdArray:
        """The ids that it holds, whatever its size; see read_mask."""
        return read_mask(self.path, rules, self.page)

    def read_window(self, rules: MaskRules, window: Window) -> IdArray:
        """A part of it; of a large TIFF no more is decoded than that."""
        return read_mask(self.path, rules, self.page, window)


@dataclass(frozen=True)
class Item:
    """One labelled image.

    Args:
        id: its name, unique in its split.
        image: its file.
        label: where its ids come from.
        split: train, val or test; "" where the layout does not say.
        group: items of one group never come into different splits (a patient, a scene); "" for a group of its own.
        weight: how often it is drawn in training, relative to the others, > 0.
        page: of the image's file, where each page is an image.
    """

    id: str
    image: Path
    label: Label
    split: str = ""
    group: str = ""
    weight: float = 1.0
    page: int | None = None


@dataclass(frozen=True)
class Listing:
    """What a layout found.

    Args:
        items: in a fixed order, each split by name.
        faults: a sentence for each thing that should be there and is not, or cannot be used.
        declared: classes that the layout itself knows (COCO's categories); None where files or masks say it.
        notes: what the user should know of how the folder was read.
        warnings: a sentence for each thing that looks wrong but does not stop a training.
    """

    items: Sequence[Item]
    faults: Sequence[str] = ()
    declared: Declared | None = None
    notes: Sequence[str] = field(default=())
    warnings: Sequence[str] = field(default=())


def in_order(items: Iterable[Item]) -> list[Item]:
    """Items by split, train first and those of none last, and by name."""
    return sorted(items, key=lambda item: ((*SPLITS, "").index(item.split), item.id))


class Layout(Protocol):
    """How images and labels lie in a folder."""

    def find(self, root: Path) -> Listing:
        """Look for images and labels; nothing is decoded.

        Raises:
            UserError: nothing of this layout is there.
        """
        ...


def is_layout(value: Any) -> bool:
    """Whether a value can find images; texts have a `find` of their own."""
    return hasattr(value, "find") and not isinstance(value, str)

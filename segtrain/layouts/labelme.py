"""`data=labelme`: a JSON file beside each image.

root/train/a.jpg  root/train/a.json     (val and test likewise; or all in one folder, without splits)
root/classes.txt                        (optional; else the labels in alphabetical order are the classes 1, 2, ...)
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from segtrain import checks
from segtrain.data.classes import Declared, FileClass
from segtrain.data.declarations import read_declared
from segtrain.data.listing import Item, Listing
from segtrain.data.raster import GROUND
from segtrain.decode.headers import MAX_PIXELS
from segtrain.decode.readers import IMAGE_SUFFIXES
from segtrain.errors import UserError
from segtrain.layouts.annotations import (
    corners,
    id_of,
    in_image,
    inside,
    numbers_of,
    outside,
    read_json,
    split_folders,
    twice,
)
from segtrain.layouts.categories import free_id
from segtrain.layouts.drawn import OVERLAPS, Disc, Drawing, Pixels, Rings, Shape
from segtrain.layouts.spelling import existing, is_file

BACKGROUND = ("background", "_background_")  # the second is labelme's own word for it
UNLABELLED = "__ignore__"  # labelme's own word for pixels without a label
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class LabelmeLayout:
    """Images with labelme's JSON beside them. Implements Layout.

    Args:
        ignored: labels of regions without a label, beside labelme's own `__ignore__`.
        overlap: what a pixel is that several objects claim, one of OVERLAPS; see Drawing.

    Raises:
        UserError: an unknown word.
    """

    ignored: Sequence[str] = ()
    overlap: str = "small_on_top"

    def __post_init__(self) -> None:
        checks.choice("data.layout.overlap", self.overlap, OVERLAPS)
        if isinstance(self.ignored, str):
            object.__setattr__(self, "ignored", (self.ignored,))

    def find(self, root: Path) -> Listing:
        """Read all JSON files; what is wrong with a shape is a fault with its number.

        Raises:
            UserError: there is none.
        """
        faults: list[str] = []
        pages = [page for split, folder in split_folders(root).items() for page in _pages(root, split, folder, faults)]
        if not pages and not faults:
            raise UserError(f"{root}: no JSON files beside images; data=labelme needs folders train and val with them")
        declared = self._declared(root, sorted({label for page in pages for label in page.labels}))
        ids = {c.name: c.id for c in declared.classes} | dict.fromkeys(BACKGROUND, GROUND)
        (ignored,) = declared.ignored
        ids |= dict.fromkeys([*self.ignored, UNLABELLED], ignored)
        items = [page.item(ids, self.overlap, ignored, faults) for page in pages]
        notes = [*_notes(root, pages), *outside(items)]
        return Listing(items, [*faults, *twice(items)], declared, notes, _alike([c.name for c in declared.classes]))

    def _declared(self, root: Path, labels: Sequence[str]) -> Declared:
        """Classes from the root's own file, else the labels in use; always with a background and one ignored id.

        Raises:
            UserError: the file gives a class the id of the background.
        """
        listed = read_declared(root)
        names = [label for label in labels if label not in (*BACKGROUND, *self.ignored, UNLABELLED)]
        found = listed or Declared([FileClass(i, name) for i, name in enumerate(names, 1)], origin="the labels in use")
        ground = FileClass(GROUND, BACKGROUND[0])
        for known in found.classes:
            if known.id == GROUND and known.name not in BACKGROUND:
                raise UserError(
                    f"{root}: {found.origin} calls the id 0 {known.name!r}, but 0 is the background, the pixels "
                    "without an object; number the classes from 1"
                )
            ground = known if known.id == GROUND else ground
        classes = [ground, *(c for c in found.classes if c.id != GROUND)]
        ignored = free_id({c.id for c in classes}, found.ignored)
        return replace(found, classes=classes, ignored=frozenset({ignored}), ground=GROUND)


@dataclass(frozen=True)
class Page:
    """One JSON file with the image that it belongs to; `moved` where the image is not at the path that it says."""

    id: str
    split: str
    path: Path
    image: Path
    size: tuple[int, int] | None
    shapes: Sequence[Entry]
    moved: bool = False
    labels: Sequence[str] = field(default=())

    def item(self, ids: Mapping[str, int], overlap: str, ignored: int, faults: list[str]) -> Item:
        """The image with its objects.

        Args:
            ids: of each label.
            overlap: the rule.
            ignored: id of pixels without a label.
            faults: is added to: a sentence for each shape that cannot be used.
        """
        objects = []
        for number, entry in enumerate(self.shapes):
            label = _label(entry)
            try:
                if label not in ids:
                    raise ValueError("a label that is none of the classes" + checks.did_you_mean(label, ids))
                objects.append((ids[label], in_image(shape_of(entry), self.size)))
            except (ValueError, TypeError) as error:
                faults.append(f"{self.path}: shape {number} ({label}): {error}")
        drawing = Drawing(self.path, self.image.name, objects, overlap, ignored, self.size)
        return Item(self.id, self.image, drawing, self.split)


def _pages(root: Path, split: str, folder: Path, faults: list[str]) -> Iterator[Page]:
    for path in sorted(folder.rglob("*.json")):
        if path == root / "dataset.json":
            continue
        try:
            yield _page(root, split, folder, path)
        except ValueError as error:
            faults.append(f"{path}: {error}")
        except UserError as error:
            faults.append(str(error))


def _page(root: Path, split: str, folder: Path, path: Path) -> Page:
    content = read_json(path)
    shapes = content.get("shapes")
    if not isinstance(shapes, list) or not all(isinstance(entry, dict) for entry in shapes):
        raise ValueError("has no list 'shapes' of objects, which labelme's files have; export it again")
    image, moved = _image(root, path, content.get("imagePath"))
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    labels = [_label(entry) for entry in shapes]
    return Page(id_of(path, folder), split, path, image, size, shapes, moved, labels)


def _label(entry: Entry) -> str:
    return str(entry.get("label")).strip()


def _alike(names: Sequence[str]) -> list[str]:
    """A sentence for classes whose names differ in capitals alone."""
    spelt: dict[str, list[str]] = {}
    for name in names:
        spelt.setdefault(name.lower(), []).append(name)
    return [
        f"the labels {' and '.join(alike)} differ in capitals alone, and are classes of their own; if they are one, "
        "rename one of them, or merge them with data.classes"
        for alike in spelt.values()
        if len(alike) > 1
    ]


def _image(root: Path, path: Path, name: Any) -> tuple[Path, bool]:
    """The image at the path that the file says, else the one of that name beside the file."""
    beside = existing(path.parent / PureWindowsPath(str(name)).name)  # Windows' paths have both kinds of separators
    try:
        image = existing(inside(path.parent, name, root))
    except ValueError:
        if is_file(beside):
            return beside, True
        raise
    if is_file(image):
        return image, False
    if is_file(beside):
        return beside, True
    raise ValueError(f"its image {name!r} (imagePath) is not there; put it beside, or correct the path")


def _notes(root: Path, pages: Sequence[Page]) -> list[str]:
    moved = [page.path.name for page in pages if page.moved]
    used = {page.image for page in pages}
    images = (p for f in split_folders(root).values() for p in f.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    bare = sorted(path.name for path in images if path not in used)
    notes = []
    if moved:
        notes.append(f"{len(moved)} files name a path that is not there; the image beside is used (first: {moved[0]})")
    if bare:
        notes.append(f"{len(bare)} images have no JSON file and are left out (first: {bare[0]})")
    return notes


def shape_of(entry: Entry) -> Shape:
    """A shape of labelme's as one that can be drawn.

    Raises:
        ValueError: a kind without an area, or values that cannot be used; the sentence says which.
    """
    kind = str(entry.get("shape_type", "polygon"))
    if kind not in SHAPES:
        raise ValueError(f"a {kind} has no area to fill; draw a {', '.join(SHAPES)}")
    return SHAPES[kind](entry)


def _polygon(entry: Entry) -> Shape:
    return Rings([corners(entry.get("points"))])


def _rectangle(entry: Entry) -> Shape:
    (left, top), (right, bottom) = _two_points(entry)
    return Rings([np.array([[left, top], [right, top], [right, bottom], [left, bottom]])])


def _circle(entry: Entry) -> Shape:
    centre, rim = _two_points(entry)
    return Disc(centre, float(np.hypot(*(rim - centre))))


def _mask(entry: Entry) -> Shape:
    """Its pixels are a PNG; the first point is its top left pixel."""
    left, top = np.floor(_two_points(entry)[0]).astype(int).tolist()
    try:
        encoded = base64.b64decode(str(entry.get("mask")), validate=True)
        with Image.open(io.BytesIO(encoded), formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels")
            return Pixels(top, left, np.asarray(image.convert("L")) > 0)
    except MemoryError:
        raise
    except Exception as error:  # a damaged PNG makes Pillow raise anything
        raise ValueError(f"a mask that is not a PNG in base64 ({error})") from error


def _two_points(entry: Entry) -> Any:
    points = numbers_of(entry.get("points"))
    if points.shape != (2, 2):
        raise ValueError(f"a {entry.get('shape_type')} of {len(points)} points, which has two")
    return points


SHAPES: dict[str, Callable[[Entry], Shape]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
    "mask": _mask,
}

"""`data=yolo`: polygons in a text file for each image, as Ultralytics reads them.

root/images/train/a.jpg  root/labels/train/a.txt      or  root/train/images/a.jpg  root/train/labels/a.txt
root/data.yaml           names: [cat, dog]            (or {0: cat, 1: dog})

A line is `class x1 y1 x2 y2 ...`, as shares of width and height. 0 is the background here, so ids are raised by 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from segtrain import checks
from segtrain.data.classes import LARGEST_ID, Declared, FileClass
from segtrain.data.listing import SPLITS, Item, Listing
from segtrain.data.raster import GROUND
from segtrain.decode.readers import IMAGE_SUFFIXES
from segtrain.errors import UserError
from segtrain.layouts.annotations import SPLIT_NAMES, corners, id_of, in_image, outside, twice
from segtrain.layouts.categories import BACKGROUND, ZERO_NOTE, free_id
from segtrain.layouts.drawn import OVERLAPS, Drawing, Rings, Shape
from segtrain.layouts.spelling import existing

BOX = 4  # numbers of a line that is a box: centre, width and height
FARTHEST = 2  # a share of an image's side that is larger than that is no share


@dataclass(frozen=True)
class YoloLayout:
    """Ultralytics' segmentation labels. Implements Layout.

    Args:
        names: the yaml with the classes, relative to the root.
        overlap: what a pixel is that several objects claim, one of OVERLAPS; see Drawing.

    Raises:
        UserError: an unknown word.
    """

    names: str = "data.yaml"
    overlap: str = "small_on_top"

    def __post_init__(self) -> None:
        checks.choice("data.layout.overlap", self.overlap, OVERLAPS)

    def find(self, root: Path) -> Listing:
        """Read all text files; what is wrong with a line is a fault with its number.

        Raises:
            UserError: no images, or no names of the classes.
        """
        names = read_names(root / self.names)
        ignored = free_id([index + 1 for index in names])
        faults: list[str] = []
        items: list[Item] = []
        for split, images, labels in _folders(root):
            found = sorted(path for path in images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
            paths = {image: existing(labels / image.relative_to(images).with_suffix(".txt")) for image in found}
            alone = sorted({*labels.rglob("*.txt")} - {*paths.values()})
            faults += [f"{path}: no image {images / path.relative_to(labels).with_suffix('')}.*" for path in alone]
            for image, path in paths.items():
                label = Drawing(path, image.name, _objects(path, names, faults), self.overlap, ignored)
                items.append(Item(id_of(image, images), image, label, split))
        if not items:
            raise UserError(f"{root}: no images in images/<split> or <split>/images, as data=yolo needs")
        classes = [FileClass(GROUND, BACKGROUND), *(FileClass(i + 1, name) for i, name in sorted(names.items()))]
        declared = Declared(classes, frozenset({ignored}), origin=self.names, ground=GROUND)
        return Listing(items, [*faults, *twice(items)], declared, [ZERO_NOTE, *outside(items)])


def _folders(root: Path) -> list[tuple[str, Path, Path]]:
    """Split, folder of images and folder of labels, of the splits that are there."""
    pairs = [(s, (root / "images" / n, root / "labels" / n)) for s in SPLITS for n in SPLIT_NAMES[s]]
    pairs += [(s, (root / n / "images", root / n / "labels")) for s in SPLITS for n in SPLIT_NAMES[s]]
    return [(split, images, labels) for split, (images, labels) in pairs if images.is_dir()]


def read_names(path: Path) -> dict[int, str]:
    """Names of the classes by their ids, from `names` in a yaml: a list, or a mapping from ids.

    Raises:
        UserError: no such file, or no such names in it.
    """
    try:
        content = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"{path}: cannot be read as yaml ({text}); data.layout.names says where the names are"
        ) from error
    listed = content.get("names") if isinstance(content, dict) else None
    names = dict(enumerate(listed)) if isinstance(listed, list) else listed
    if not isinstance(names, dict) or not names or not all(_is_id(index) for index in names):
        kind = type(names).__name__  # not the values: aliases of yaml can make billions of a few lines
        raise UserError(f"{path}: has no names of classes, such as 'names: [cat, dog]', but a {kind}")
    if wrong := [index for index, name in names.items() if isinstance(name, (list, dict))]:
        raise UserError(f"{path}: the name of class {wrong[0]} is a {type(names[wrong[0]]).__name__}, not a text")
    return {index: str(name) for index, name in names.items()}


def _is_id(index: object) -> bool:
    return isinstance(index, int) and not isinstance(index, bool) and 0 <= index < LARGEST_ID - 1


def _objects(path: Path, names: Mapping[int, str], faults: list[str]) -> list[tuple[int, Shape]]:
    """The objects of a text file; none where there is no file, as Ultralytics has it."""
    objects = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path}: cannot be read as text ({error}); export it again")
        return []
    for number, line in enumerate(lines, 1):
        words = line.split()
        try:
            if words:
                objects.append((_index(words[0], names) + 1, _ring(words[1:])))
        except ValueError as error:
            faults.append(f"{path}: line {number}: {error}")
    return objects


def _index(word: str, names: Mapping[int, str]) -> int:
    try:
        index = int(word)
    except ValueError:
        raise ValueError(f"begins with {word[:20]!r}, not with the number of a class") from None
    if index not in names:
        raise ValueError(f"class {index} is none of the {len(names)} names")
    return index


def _ring(words: list[str]) -> Shape:
    if len(words) == BOX:
        raise ValueError("a box (4 numbers) does not say which pixels; data=yolo needs polygons")
    ring = corners(words)
    if abs(ring).max() > FARTHEST:
        raise ValueError(
            f"a coordinate of {ring.flat[abs(ring).argmax()]:g}: coordinates are pixels, not shares of the image; "
            "divide x by its width and y by its height"
        )
    return in_image(Rings([ring], relative=True), None)

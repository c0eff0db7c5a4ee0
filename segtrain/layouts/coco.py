"""`data=coco`: annotation files that hold the objects of many images.

root/annotations/instances_train2017.json   root/train2017/a.jpg, root/images/train2017/a.jpg or root/images/a.jpg
root/train/_annotations.coco.json           root/train/a.jpg       (as Roboflow writes it; valid and test likewise)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from segtrain import checks
from segtrain.data.listing import SPLITS, Item, Listing
from segtrain.errors import UserError
from segtrain.layouts.annotations import (
    corners,
    id_of,
    in_image,
    inside,
    outside,
    read_json,
    split_folders,
    twice,
)
from segtrain.layouts.categories import Categories
from segtrain.layouts.drawn import OVERLAPS, Drawing, Rings, Runs, Shape
from segtrain.layouts.rle import counts_of
from segtrain.layouts.spelling import existing, is_file

CROWDS = ("ignore", "class", "none")
ROBOFLOW = "_annotations.coco.json"
LISTS = ("images", "annotations", "categories")
Entry = Mapping[str, Any]
Size = tuple[int, int]


@dataclass(frozen=True)
class CocoLayout:
    """Annotation files of COCO's kind. Implements Layout.

    Args:
        annotations: the files, relative to the root, with {split} in it; None looks in the usual places.
        images: folder of the images, relative to the root, {split} may be in it; None looks in the usual places.
        overlap: what a pixel is that several objects claim, one of OVERLAPS; see Drawing.
        crowd: what the pixels of `iscrowd` regions are: ignored, of their class, or nothing.

    Raises:
        UserError: an unknown word.
    """

    annotations: str | None = None
    images: str | None = None
    overlap: str = "small_on_top"
    crowd: str = "ignore"

    def __post_init__(self) -> None:
        checks.choice("data.layout.overlap", self.overlap, OVERLAPS)
        checks.choice("data.layout.crowd", self.crowd, CROWDS)

    def find(self, root: Path) -> Listing:
        """Read all annotation files; what is wrong with an object is a fault with its number.

        Raises:
            UserError: no annotation file.
        """
        files, faults = [], []
        for split, path in annotation_files(root, self.annotations):
            try:
                files.append(read_file(root, split, path))
            except UserError as error:
                faults.append(str(error))
        categories = Categories()
        for file in files:
            faults += categories.add(file.path, file.lists["categories"], file.lists["annotations"])
        items = [item for file in files for item in self._items(file, categories, faults)]
        items.sort(key=lambda item: item.id)
        items.sort(key=lambda item: (*SPLITS, "").index(item.split))
        return Listing(items, [*faults, *twice(items)], categories.declared(), [*categories.notes(), *outside(items)])

    def _items(self, file: File, categories: Categories, faults: list[str]) -> list[Item]:
        """The images of one file with their objects; an image without objects is all background."""
        pictures = file.pictures(self.images, faults)
        known = {str(entry.get("id")) for entry in file.lists["images"]}
        for number, entry in enumerate(file.lists["annotations"]):
            owner = str(entry.get("image_id"))
            picture = pictures.get(owner)
            try:
                if owner not in known:
                    raise ValueError(f"image_id {owner} is none of the images")
                if picture is not None:  # else its image is a fault already
                    picture.objects += self._object(entry, categories, picture.size)
            except (ValueError, TypeError, AttributeError, OverflowError) as error:
                name = f" ({picture.path.name})" if picture else ""
                faults.append(f"{file.path}: annotation {entry.get('id', f'number {number}')}{name}: {error}")
        rule = (self.overlap, categories.ignored)
        drawn = {p: Drawing(file.path, p.path.name, p.objects, *rule, p.size) for p in pictures.values()}
        return [Item(p.id, p.path, label, file.split) for p, label in drawn.items()]

    def _object(self, entry: Entry, categories: Categories, size: Size) -> list[tuple[int, Shape]]:
        index = categories.id_of(entry.get("category_id"))
        shape = in_image(shape_of(entry.get("segmentation"), size), size)
        if entry.get("iscrowd") and self.crowd != "class":
            return [(categories.ignored, shape)] if self.crowd == "ignore" else []
        return [(index, shape)]


def shape_of(segmentation: Any, size: Size) -> Shape:
    """The shape of an annotation: polygons, or an RLE.

    Raises:
        ValueError: neither, or not usable; the sentence says why.
    """
    if isinstance(segmentation, dict):
        return Runs(counts_of(segmentation, size), size)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(
            f"its segmentation is {segmentation!r}: a box alone does not say which pixels; "
            "draw it as a polygon, or remove it"
        )
    return Rings([corners(ring) for ring in segmentation])


@dataclass(eq=False)
class Picture:
    """An image of an annotation file, and the objects that were found for it."""

    id: str
    path: Path
    size: Size
    objects: list[tuple[int, Shape]]


@dataclass(frozen=True)
class File:
    """One annotation file: `lists` has the entries of each of LISTS."""

    root: Path
    split: str
    path: Path
    lists: Mapping[str, Sequence[Entry]]

    def pictures(self, images: str | None, faults: list[str]) -> dict[str, Picture]:
        """Its images by their number; those that cannot be used become faults.

        Args:
            images: folder as the user says; None looks in the usual places.
            faults: is added to.
        """
        folders, found = self._folders(images), dict[str, Picture]()
        for entry in self.lists["images"]:
            number = str(entry.get("id"))
            try:
                if number in found:
                    raise ValueError("two images have this number")
                found[number] = self._picture(entry, folders)
            except ValueError as error:
                faults.append(f"{self.path}: image {number}: {error}")
        return found

    def _folders(self, images: str | None) -> list[Path]:
        if images is not None:
            return [self.root / images.replace("{split}", self.split)]
        if self.path.name == ROBOFLOW:
            return [self.path.parent]
        own = self.path.stem.removeprefix("instances_")
        names = [f"images/{own}", own, f"images/{self.split}", self.split, "images", "."]
        folders = [self.root / name for name in dict.fromkeys(names)]
        return [folder for folder in folders if folder.is_dir()]

    def _picture(self, entry: Entry, folders: Sequence[Path]) -> Picture:
        height, width = entry.get("height"), entry.get("width")
        if not isinstance(height, int) or not isinstance(width, int):
            raise ValueError(f"its height and width are {height!r} and {width!r}, not whole numbers")
        for folder in folders:
            path = existing(inside(folder, entry.get("file_name"), self.root))
            if is_file(path):
                return Picture(id_of(path, folder), path, (height, width), [])
        looked = ", ".join(str(folder) for folder in folders)
        raise ValueError(f"no {entry.get('file_name')} in {looked}; name the folder with data.layout.images")


def read_file(root: Path, split: str, path: Path) -> File:
    """Read an annotation file of a split.

    Raises:
        UserError: it is not JSON, or lacks a list.
    """
    content = read_json(path)
    for key in LISTS:
        listed = content.get(key)
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise UserError(f"{path}: has no list {key!r} of objects, which COCO files have; export it again")
    return File(root, split, path, {key: content[key] for key in LISTS})


def annotation_files(root: Path, pattern: str | None) -> list[tuple[str, Path]]:
    """The annotation files with their splits, by name.

    Args:
        root: the folder.
        pattern: as CocoLayout.annotations.

    Raises:
        UserError: there is none.
    """
    if pattern is None:
        patterns = [(split, f"annotations/instances_{split}*.json") for split in SPLITS]
        patterns += [(split, f"{f.relative_to(root)}/{ROBOFLOW}") for split, f in split_folders(root).items()]
    else:
        if PurePosixPath(pattern).is_absolute() or not pattern:
            raise UserError(f"data.layout.annotations={pattern} must be a path below data.root={root}")
        splits = SPLITS if "{split}" in pattern else ("",)
        patterns = [(split, pattern.replace("{split}", split)) for split in splits]
    found = [(split, path) for split, wanted in patterns for path in sorted(root.glob(wanted))]
    if not found:
        looked = pattern or f"annotations/instances_<split>*.json, <split>/{ROBOFLOW}"
        raise UserError(
            f"{root}: no annotation files ({looked}); say where they are with "
            "'data.layout.annotations=\"labels/{split}.json\"'"
        )
    return found

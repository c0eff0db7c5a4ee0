"""Where images and masks lie in a folder, found by the names that people give to such folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segtrain.errors import UserError
from segtrain.layouts.patterns import SPLIT, expand, fixed, has_images, is_image, listed, split_of

IMAGE_NAMES = ("images", "image", "imgs", "img", "img_dir", "jpegimages", "leftimg8bit")
MASK_NAMES = (
    *("masks", "mask", "masks_png", "labels", "label", "gt", "gtfine", "groundtruth", "ground_truth"),
    *("annotations", "annotation", "annots", "annot", "ann_dir", "segmentationclass", "segmentations", "seg"),
)
IMAGE_SIBLINGS = ("", "_images", "_image", "_imgs", "_img")  # train_images beside train_masks
MASK_SIBLINGS = (
    *("annot", "annots", "_annot", "_annots", "_annotations", "_gt", "_seg"),
    *("masks", "_masks", "_mask", "labels", "_labels", "_label", "_labels_png"),
)
NNUNET = ("imagesTr", "labelsTr", "imagesTs", "labelsTs")


@dataclass(frozen=True)
class Place:
    """Where the images of one split and their masks lie, as patterns without {split}; equal where they lie together."""

    split: str
    images: str
    masks: str


@dataclass(frozen=True)
class Plan:
    """How a folder is read.

    Args:
        images: what data.layout.images would be.
        masks: what data.layout.masks would be; the same as images where they lie together.
        places: one for each split; one with split "" where the folders do not say it.
        notes: what was left out.
    """

    images: str
    masks: str
    places: Sequence[Place]
    notes: Sequence[str] = ()

    @property
    def together(self) -> bool:
        """Whether masks lie among the images."""
        return self.images == self.masks


def make_plan(root: Path, images: str, masks: str) -> Plan:
    """Fill in the splits of two patterns.

    Args:
        root: the folder.
        images: folder or pattern of the images.
        masks: folder or pattern of the masks; one without {split} serves all splits.

    Raises:
        UserError: a part is missing.
    """
    if SPLIT in masks and SPLIT not in images:
        raise UserError(f"data.layout.masks={masks} has {SPLIT}, data.layout.images={images} has not; give it to both")
    of_images, of_masks = expand(root, images), expand(root, masks)
    if SPLIT in images and SPLIT not in masks:
        of_masks = dict.fromkeys(of_images, masks) if of_masks else {}
    for pattern, found in ((images, of_images), (masks, of_masks)):
        if not found:
            raise UserError(f"{fixed(root, pattern)}: nothing of {pattern} is there; see data.layout.images and .masks")
    places, notes = [], []
    for split in sorted(of_images.keys() | of_masks.keys(), key=("train", "val", "test", "").index):
        absent = [p for p, found in ((images, of_images), (masks, of_masks)) if split not in found]
        if not absent:
            places.append(Place(split, of_images[split], of_masks[split]))
        elif split == "test":  # the labels of many test sets are not public
            notes.append(f"no test split: {absent[0].replace(SPLIT, split)} is missing")
        else:
            missing = root / absent[0].replace(SPLIT, split)
            raise UserError(f"{missing}: no such folder; every split needs {images} and {masks}")
    return Plan(images, masks, places, [*notes, *_renamed(places, images)])


def _renamed(places: Iterable[Place], images: str) -> list[str]:
    return [f"{p.split} from {p.images}" for p in places if p.split and p.images != images.replace(SPLIT, p.split)]


def propose(root: Path) -> list[tuple[str, str]]:
    """(images, masks) of every arrangement that is there with masks in folders of their own."""
    named = [(i, m) for i in image_folders(root) for m in mask_folders(root) if SPLIT in i or SPLIT not in m]
    found = [*named, *_siblings(root)]
    return [(images, masks) for images, masks in found if images != masks]


def image_folders(root: Path) -> list[str]:
    """Patterns of folders that are called like images and hold some."""
    return _folders(root, IMAGE_NAMES)


def mask_folders(root: Path) -> list[str]:
    """Patterns of folders that are called like masks and hold image files."""
    return _folders(root, MASK_NAMES)


def _folders(root: Path, names: Sequence[str]) -> list[str]:
    """images/{split}, images, {split}/images and images_{split}, whichever are there."""
    found: dict[str, None] = {}
    for folder in filter(Path.is_dir, listed(root)):
        if folder.name.lower() in names and has_images(folder):
            split = f"{folder.name}/{SPLIT}"
            found[split if expand(root, split) else folder.name] = None
        elif split_of(folder.name):
            inside = [p.name for p in listed(folder) if p.is_dir() and p.name.lower() in names and has_images(p)]
            found |= {f"{SPLIT}/{name}": None for name in inside}
        else:
            stem, _, end = folder.name.rpartition("_")
            if stem.lower() in names and split_of(end) and has_images(folder):
                found[f"{stem}_{SPLIT}"] = None
    return list(found)


def _siblings(root: Path) -> list[tuple[str, str]]:
    """train beside trainannot, train_images beside train_masks, ..."""
    names = [path.name.lower() for path in listed(root) if path.is_dir()]
    images = [SPLIT + ending for ending in IMAGE_SIBLINGS if _has_split(names, ending)]
    masks = [SPLIT + ending for ending in MASK_SIBLINGS if _has_split(names, ending)]
    return [(i, m) for i in images for m in masks]


def _has_split(names: Sequence[str], ending: str) -> bool:
    return any(name.endswith(ending) and split_of(name.removesuffix(ending)) for name in names)


def nnunet(root: Path) -> Plan | None:
    """nnU-Net's raw data: imagesTr/NAME_0000.png, labelsTr/NAME.png; its training set has no splits yet.

    Raises:
        UserError: images of several channels in files of their own, or files that are no images.
    """
    images, masks, test_images, test_masks = NNUNET
    if not (root / images).is_dir() or not (root / masks).is_dir():
        return None
    names = [path.name for path in listed(root / images)]
    if names and not any(is_image(Path(name)) for name in names):
        raise UserError(f"{root / images}: {names[0]} is no image that is read here; save slices as PNG or TIFF")
    more = [name for name in names if Path(name).stem.endswith("_0001")]
    if more:
        raise UserError(
            f"{root / images / more[0]}: a second channel in a file of its own is not read; "
            "write the channels of each image into one file"
        )
    places = [Place("", images, masks)]
    if (root / test_images).is_dir() and (root / test_masks).is_dir():
        places.append(Place("test", test_images, test_masks))
    return Plan(images, masks, places, ["nnU-Net's layout"])


def together(root: Path) -> list[str]:
    """Patterns of folders where masks may lie among the images."""
    split = [SPLIT] if any(p.is_dir() and split_of(p.name) and has_images(p) for p in listed(root)) else []
    flat = ["."] if any(is_image(path) for path in listed(root)) else []
    return [*image_folders(root), *split, *flat]

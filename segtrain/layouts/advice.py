"""Why `data=folder` finds nothing, by cheap signs: another layout, another place, files that are not read."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from segtrain.decode.readers import IMAGE_SUFFIXES
from segtrain.errors import UserError
from segtrain.layouts.annotations import split_folders
from segtrain.layouts.detect import IMAGE_NAMES, MASK_NAMES, propose
from segtrain.layouts.patterns import has_images, is_image, listed, split_of
from segtrain.layouts.table import is_table

LOOKED = 1000  # files, or folders, that are looked at in one place
UNLESS = "say where they are with data.layout.images and data.layout.masks, see docs/data.md"


def why_nothing(root: Path) -> str:
    """The likely cause, and what to type or to do about it.

    Args:
        root: folder in which no images with masks were found.
    """
    for cause in (_another_layout, _below, _above, _unread, _one_kind):
        with suppress(UserError, OSError):  # a folder that may not be listed
            if found := cause(root):
                return found
    return UNLESS


def _typed(folder: Path) -> str:
    return f"data.root={shlex.quote(str(folder))}"


def _another_layout(root: Path) -> str:
    option = looks_like(root)
    return f"this looks like {SIGNS[option][0]}: data={option} {_typed(root)}" if option else ""


def looks_like(root: Path) -> str:
    """The option of `data` whose signs are in a folder; "" where there are none."""
    return next((option for option, (_, sign) in SIGNS.items() if sign(root)), "")


def _there(*patterns: str) -> Callable[[Path], bool]:
    return lambda root: any(True for pattern in patterns for _ in root.glob(pattern))


def _has_pages(root: Path) -> bool:
    """Whether a JSON lies beside the image of its name."""
    pages = [page for folder in split_folders(root).values() for page in islice(folder.glob("*.json"), 5)]
    return any(page.with_suffix(suffix).is_file() for page in pages for suffix in IMAGE_SUFFIXES)


def _has_objects(root: Path) -> bool:
    """Whether there are folders with one image and a folder of masks beside it."""
    places = islice((masks.parent for pattern in ("*/masks", "*/*/masks") for masks in root.glob(pattern)), 2)
    counts = [sum(map(is_image, listed(p / "images"))) if (p / "images").is_dir() else 0 for p in places]
    return counts in ([1], [1, 1])


def _has_table(root: Path) -> bool:
    return any(is_table(path) for path in listed(root))


SIGNS: dict[str, tuple[str, Callable[[Path], bool]]] = {
    "coco": ("COCO", _there("annotations/instances_*.json", "_annotations.coco.json", "*/_annotations.coco.json")),
    "yolo": ("YOLO", _there("labels/*/*.txt", "*/labels/*.txt")),
    "labelme": ("labelme", _has_pages),
    "objects": ("a mask for each object", _has_objects),
    "voc": ("Pascal VOC", _there("VOC20*/SegmentationClass", "VOCdevkit/VOC20*/SegmentationClass")),
    "cityscapes": ("Cityscapes", _there("gtFine/*/*/*_gtFine_*.png")),
    "pet": ("Oxford-IIIT Pet", _there("annotations/trimaps", "oxford-iiit-pet/annotations/trimaps")),
    "csv": ("a table of images and masks", _has_table),
}


def _below(root: Path) -> str:
    for folder in islice(filter(Path.is_dir, listed(root)), LOOKED):
        if not split_of(folder.name) and propose(folder):
            return f"{folder} has some: {_typed(folder)}"
        if not split_of(folder.name) and (option := looks_like(folder)):
            return f"{folder} looks like {SIGNS[option][0]}: data={option} {_typed(folder)}"
    return ""


def _above(root: Path) -> str:
    """Whether the folder is a part of what should have been given: images, or images/train."""
    here = root.absolute()
    for inner, folder in ((here, here.parent), (here.parent, here.parent.parent)):
        if (_named(inner) or split_of(inner.name)) and propose(folder):
            return f"{folder} has images and masks: {_typed(folder)}"
    return ""


def _named(folder: Path) -> bool:
    return folder.name.lower() in (*IMAGE_NAMES, *MASK_NAMES)


def _places(root: Path) -> Iterator[Path]:
    """Folders that are called like images or masks, in the root or in the folders of splits."""
    for folder in filter(Path.is_dir, listed(root)):
        if _named(folder):
            yield folder
        elif split_of(folder.name):
            yield from (inner for inner in listed(folder) if inner.is_dir() and _named(inner))


def _unread(root: Path) -> str:
    """Folders of the right names that are empty, or hold nothing that is read."""
    for folder in _places(root):
        files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
        kinds = Counter(path.suffix.lower() or "no ending" for path in islice(files, LOOKED))
        if not kinds:
            return f"{folder} is empty: put the files there, or give another data.root"
        if not has_images(folder):
            kind, _ = kinds.most_common(1)[0]
            return (
                f"{folder} holds files of a format that is not read ({kind}): save them as PNG (masks with class ids)"
            )
    return ""


def _one_kind(root: Path) -> str:
    """Images without masks, or the other way round, judged by the names of folders."""
    places = {path.name.lower() in MASK_NAMES: path for path in _places(root)}
    if len(places) != 1:
        return ""
    ((are_masks, folder),) = places.items()
    has, lacks = ("masks", "images") if are_masks else ("images", "masks")
    return f"{folder} holds {has}, but no folder of {lacks} is beside it: name one with data.layout.{lacks}"

"""Which mask belongs to which image: by equal names, with or without an ending such as _mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from segtrain.decode.masks import MASK_SUFFIXES
from segtrain.errors import UserError
from segtrain.layouts.patterns import Entry

IMAGE_ENDINGS = ("", "_leftImg8bit", "_image", "_img", "_sat", "_rgb", "_0000")
MASK_ENDINGS = (
    "",
    *("_mask", "_masks", "-mask", ".mask"),
    *("_label", "_labels", "_labelIds", "_labelTrainIds", "_gtFine_labelIds", "_gtFine_labelTrainIds", "_lab", "_L"),
    *("_gt", "_GT", "_seg", "_segmentation", "_annot", "_annotation", "_groundtruth"),
)
LOSSY = (".jpg", ".jpeg", ".webp")  # what an image may be and a mask never is


@dataclass(frozen=True)
class Endings:
    """What the names of images and of masks end in, after the part that they share."""

    image: str = ""
    mask: str = ""


def cut(keys: Iterable[str], ending: str) -> set[str]:
    """The keys with that ending, without it."""
    return {key.removesuffix(ending) for key in keys if key.endswith(ending) and key != ending}


def find_endings(where: str, images: Sequence[Entry], masks: Sequence[Entry], suffix: str | None) -> Endings:
    """The one pair of endings under which images and masks have names in common.

    Endings under which every image and every mask has its partner are taken whatever else fits.

    Args:
        where: the place, for the message.
        images: files in the place of the images.
        masks: files in the place of the masks.
        suffix: the ending of masks, where the user says it.

    Raises:
        UserError: several fit.
    """
    image_keys, mask_keys = {entry.key for entry in images}, {entry.key for entry in masks}
    fitting: dict[Endings, int] = {}
    for endings in _pairs(suffix):
        fitting[endings] = len(cut(image_keys, endings.image) & cut(mask_keys, endings.mask))
    complete = [e for e, n in fitting.items() if n == len(image_keys) == len(mask_keys)]
    found = [e for e, n in fitting.items() if n]
    if len(found) < 2 or complete or suffix is not None:
        return (complete or found or [Endings("", suffix or "")])[0]
    raise several(where, {e: fitting[e] for e in found}, len(image_keys))


def several(where: str, fitting: Mapping[Endings, int], images: int) -> UserError:
    """That masks of several endings are there."""
    listed = ", ".join(f"{e.mask or 'no ending'} ({n})" for e, n in fitting.items())
    best = max(fitting, key=lambda endings: fitting[endings])
    return UserError(
        f"{where}: masks of several endings fit the {images} images: {listed}; "
        f"choose with data.layout.suffix={best.mask}"
    )


def _pairs(suffix: str | None) -> list[Endings]:
    masks = MASK_ENDINGS if suffix is None else (suffix,)
    return [Endings(image, mask) for mask in masks for image in IMAGE_ENDINGS]


def divide(where: str, files: Sequence[Entry], suffix: str | None) -> tuple[list[Entry], list[Entry], Endings]:
    """Images, masks and their endings, of files that lie in one place.

    Args:
        where: the place, for the message.
        files: all of them.
        suffix: the ending of masks, where the user says it.

    Raises:
        UserError: it cannot be told which files are the masks.
    """
    keys = {entry.key for entry in files}
    fitting = {e: len(cut(keys, e.image) & cut(keys, e.mask)) for e in _pairs(suffix) if e.mask}
    found = {endings: number for endings, number in fitting.items() if number}
    if len(found) > 1:
        raise several(where, found, len(keys))
    if not found:
        return *divide_by_format(where, files), Endings()
    (endings,) = found
    labels = _labels(keys, endings)
    masks = [e for e in files if e.key.endswith(endings.mask) and e.key in labels]
    return [e for e in files if e.key not in labels], masks, endings


def _labels(keys: set[str], endings: Endings) -> set[str]:
    """Keys that are those of an image with a known ending: labels of some kind, never images."""
    kinds, images = {*MASK_ENDINGS[1:], endings.mask}, cut(keys, endings.image)
    return {name + kind for kind in kinds for name in images if name + kind in keys}


def divide_by_format(where: str, files: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Of a.jpg and a.png the first is the image, the second the mask.

    Raises:
        UserError: both formats can hold masks.
    """
    by_key: dict[str, list[Entry]] = {}
    for entry in files:
        by_key.setdefault(entry.key, []).append(entry)
    images, masks = [], []
    for entries in by_key.values():
        lossy = [entry for entry in entries if entry.path.suffix.lower() in LOSSY]
        exact = [entry for entry in entries if entry.path.suffix.lower() in MASK_SUFFIXES]
        if len(exact) > 1:
            kinds = sorted({f"'*{entry.path.suffix}'" for entry in exact})
            raise UserError(
                f"{where}: {' and '.join(entry.path.name for entry in exact)} could each be the mask; say it with "
                f"data.layout.images={kinds[-1]} data.layout.masks={kinds[0]}"
            )
        images += lossy or exact
        masks += exact if lossy else []
    return images, masks

"""The files of each place of a plan, and images and masks among them that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segtrain.data.listing import Item, MaskFile
from segtrain.decode.readers import IMAGE_SUFFIXES
from segtrain.layouts.detect import Place, Plan
from segtrain.layouts.lists import assign, read_list
from segtrain.layouts.naming import Endings, divide, find_endings
from segtrain.layouts.patterns import Entry, entries, fixed
from segtrain.layouts.spelling import composed

NONE = Endings()
Paired = tuple[list[Item], list[str]]


@dataclass(frozen=True)
class Pile:
    """The files of one place, with the keys that images and masks share.

    Args:
        place: where they lie.
        images: of the place.
        masks: of the place.
        endings: that were cut off the keys.
    """

    place: Place
    images: Sequence[Entry]
    masks: Sequence[Entry]
    endings: Endings = NONE


def read_piles(root: Path, plan: Plan, suffix: str | None) -> list[Pile]:
    """List the files of a plan and find what their names end in, the same in all places.

    Raises:
        UserError: masks of several endings are there.
    """
    if plan.together:
        piles, endings = _divided(root, plan, suffix)
    else:
        piles = [_apart(root, place) for place in plan.places]
        endings = _endings(f"{root} ({plan.images} and {plan.masks})", plan, piles, suffix)
    return [_stripped(pile, endings, suffix) for pile in piles]


def _apart(root: Path, place: Place) -> Pile:
    masks = entries(root, place.masks)
    labels = {entry.path for entry in masks}  # *.png takes what *_mask.png takes too
    return Pile(place, [entry for entry in entries(root, place.images) if entry.path not in labels], masks)


def _endings(where: str, plan: Plan, piles: Sequence[Pile], suffix: str | None) -> Endings:
    if "*" in plan.images and "*" in plan.masks:
        return NONE  # the patterns say them
    images, masks = [e for pile in piles for e in pile.images], [e for pile in piles for e in pile.masks]
    return find_endings(where, images, masks, suffix)


def _divided(root: Path, plan: Plan, suffix: str | None) -> tuple[list[Pile], Endings]:
    files = {place: entries(root, place.images) for place in plan.places}
    everything = [Entry(composed(str(e.path.with_suffix(""))), e.path) for found in files.values() for e in found]
    *parts, endings = divide(f"{root} ({plan.images})", everything, suffix)
    images, masks = ({entry.path for entry in part} for part in parts)
    piles = [
        Pile(place, [e for e in found if e.path in images], [e for e in found if e.path in masks])
        for place, found in files.items()
    ]
    return piles, endings


def _stripped(pile: Pile, endings: Endings, suffix: str | None) -> Pile:
    """Keys without their endings; masks of another ending than the one asked for are left out."""
    masks = [entry for entry in pile.masks if suffix is None or entry.key.endswith(suffix)]
    return Pile(pile.place, _without(pile.images, endings.image), _without(masks, endings.mask), endings)


def _without(files: Iterable[Entry], ending: str) -> list[Entry]:
    return [Entry(entry.key.removesuffix(ending), entry.path) for entry in files]


def pair_all(root: Path, piles: Sequence[Pile]) -> Paired:
    """Every image with its mask, and a sentence for each file without its partner."""
    items, faults = [], []
    used: dict[str, dict[str, Path]] = {}  # images by place of their masks, which splits may share
    for pile in piles:
        (image_of, twice), (mask_of, more) = _by_key(pile.images), _by_key(pile.masks)
        faults += [*twice, *more]
        others = used.setdefault(pile.place.masks, {})
        both = image_of.keys() & mask_of.keys()
        faults += [f"{image_of[key]}: {mask_of[key]} is the mask of {others[key]}" for key in both & others.keys()]
        others.update(image_of)
        if not image_of:
            faults.append(f"{fixed(root, pile.place.images)}: no images ({', '.join(IMAGE_SUFFIXES)})")
        faults += [_no_mask(root, pile, image_of[key], key) for key in image_of.keys() - mask_of.keys()]
        items += [Item(key, image_of[key], MaskFile(mask_of[key]), pile.place.split) for key in both]
    for pile in {pile.place.masks: pile for pile in piles}.values():
        faults += [_no_image(root, pile, mask) for mask in pile.masks if mask.key not in used[pile.place.masks]]
    return items, sorted(faults)


def pair_listed(root: Path, pile: Pile, files: Mapping[str, Path]) -> tuple[list[Item], list[str], str]:
    """Images that stand in lists, with their masks; a sentence for each fault, and a note on the other images.

    Args:
        root: the folder.
        pile: of all images.
        files: the list of each split.
    """
    lines = [line for split, path in files.items() for line in read_list(path, split)]
    split_of, faults = assign(lines, root, pile.images)
    (image_of, twice), (mask_of, more) = _by_key(pile.images), _by_key(pile.masks)
    faults += [*twice, *more]
    faults += [_no_mask(root, pile, image_of[key], key) for key in split_of if key not in mask_of]
    items = [Item(key, image_of[key], MaskFile(mask_of[key]), s) for key, s in split_of.items() if key in mask_of]
    names = ", ".join(path.relative_to(root).as_posix() for path in files.values())
    return items, faults, f"splits from {names}" + _left(len(image_of) - len(split_of))


def _left(number: int) -> str:
    return f", which leave out {number} images" if number > 0 else ""


def _by_key(files: Sequence[Entry]) -> tuple[dict[str, Path], list[str]]:
    by_key = {entry.key: entry.path for entry in files}
    others = [entry for entry in files if by_key[entry.key] != entry.path]
    return by_key, [_twice(entry.path, by_key[entry.key]) for entry in others]


def _twice(path: Path, other: Path) -> str:
    alike = (
        ", a name that differs only in how Unicode composes it" if composed(path.name) == composed(other.name) else ""
    )
    return f"{path}: stands there twice, as {other.name} too{alike}; remove one"


def _no_mask(root: Path, pile: Pile, image: Path, key: str) -> str:
    if "*" in pile.place.masks:
        return f"{image}: no mask of the same * that fits {pile.place.masks}"
    return f"{image}: no mask {fixed(root, pile.place.masks) / (key + pile.endings.mask)}.png"


def _no_image(root: Path, pile: Pile, mask: Entry) -> str:
    if "*" in pile.place.images:
        return f"{mask.path}: no image of the same * that fits {pile.place.images}"
    ending = pile.endings.mask
    only = f"; data.layout.suffix={ending} leaves out what is called otherwise" if ending else ""
    return f"{mask.path}: no image {fixed(root, pile.place.images) / (mask.key + pile.endings.image)}.*{only}"

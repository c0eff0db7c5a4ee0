"""Errors of a data set: all that a training refuses, and images that are in two splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from segtrain.audit.trouble import Trouble, kind_of
from segtrain.data.classes import ClassMap
from segtrain.data.examples import where
from segtrain.data.facts import mixed, unknown_in
from segtrain.data.finding import Found
from segtrain.data.listing import Item
from segtrain.data.survey import Survey
from segtrain.data.twins import leaks
from segtrain.decode.readers import IMAGE_SUFFIXES
from segtrain.task import IGNORE

BLURRED = 20  # unknown ids of one mask above which they come from smoothing
ORDER = {split: place for place, split in enumerate(("train", "val", "test"))}


class ItemTrouble(NamedTuple):
    """An error of one image, which is set aside."""

    item: Item
    trouble: Trouble


def of_files(survey: Survey) -> Iterator[Trouble]:
    """What the layout could not use."""
    for sentence in survey.listing.faults:
        path = Path(sentence.partition(": ")[0])
        yield Trouble(kind_of(sentence, survey.root), sentence, path if path.is_file() or path.is_symlink() else None)


def of_images(survey: Survey) -> Iterator[ItemTrouble]:
    """What the readers refuse, and images of another kind than the most."""
    for item, finding in survey.found:
        if finding.fault:
            yield ItemTrouble(item, Trouble(kind_of(finding.fault, survey.root), finding.fault, item.image))
    for item, sentence in mixed(survey.sound):
        yield ItemTrouble(item, Trouble(kind_of(sentence, survey.root), sentence, item.image))


def of_copies(sound: Sequence[Found]) -> Iterator[Trouble]:
    """Images that are in several splits; they can be used all the same."""
    for group in leaks(sound):
        (first, _), *others = sorted(group, key=lambda found: (-ORDER.get(found[0].split, -1), found[0].id))
        for item, _ in others:
            sentence = f"{item.image}: the same image as {first.image}; leave it out of {item.split}"
            yield Trouble("one image in two splits", sentence, item.image)


def of_ids(sound: Sequence[Found], class_map: ClassMap, ignored: Sequence[int]) -> Iterator[ItemTrouble]:
    """Masks with ids that are no class, with the number of pixels and what they may mean.

    Args:
        sound: all that could be read.
        class_map: of the data set.
        ignored: ids that the settings name already, so that a new setting keeps them.
    """
    known = [int(i) for i in range(len(class_map.table)) if not class_map.unknown([i])]
    foreground = known[1] if len(known) > 1 else 1
    outside: list[tuple[Item, str, list[int]]] = []
    for item, finding in sound:
        unknown = unknown_in(finding, class_map)
        if not unknown:
            continue
        pixels = sum(finding.ids.get(i, 0) for i in unknown)
        listed = f"{unknown[:8]}{' and more' if len(unknown) > 8 else ''}"
        said = f"{where(item)}: ids {listed} ({pixels} pixels) are none of the classes ({class_map.origin})"
        if len(unknown) > BLURRED:
            remedy = "they look like the result of resizing or of JPEG; export the mask without smoothing"
            yield ItemTrouble(item, Trouble("mask that was smoothed", f"{said}; {remedy}", item.image))
        elif unknown == [IGNORE] and set(finding.ids) <= {0, IGNORE}:
            remedy = f"if 255 is foreground here, save it as {foreground}, if unlabelled add data.ignore_ids=255"
            yield ItemTrouble(item, Trouble("0 / 255 mask among ids", f"{said}; {remedy}", item.image))
        else:
            outside.append((item, said, unknown))
    all_of_them = sorted({i for _, _, unknown in outside for i in unknown} | set(ignored))
    remedy = f"declare them there, or ignore them with data.ignore_ids='{str(all_of_them).replace(' ', '')}'"
    for item, said, _ in outside:
        yield ItemTrouble(item, Trouble("ids outside the classes", f"{said}; {remedy}", item.image))


def of_single_images(errors: Sequence[Trouble], survey: Survey) -> list[Trouble]:
    """The errors without the files that several images need, or would need if they could be read, as their like are.

    To leave such a file out would lose all of these images.
    """
    number = Counter(path for item, _ in survey.found for path in {item.image, *item.label.files})
    shared = {path.suffix for path, images in number.items() if images > 1}
    return [
        trouble._replace(file=None)
        if (file := trouble.file) and (number[file] > 1 or _is_like(file, shared))
        else trouble
        for trouble in errors
    ]


def _is_like(file: Path, shared: Collection[str]) -> bool:
    """Whether a file is no image, and of a kind that several images have in common."""
    return file.suffix in shared and file.suffix.lower() not in IMAGE_SUFFIXES

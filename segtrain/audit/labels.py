"""What looks wrong with masks and classes without stopping a training: each function gives warnings of one kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from segtrain.audit.components import Facts
from segtrain.audit.faults import BLURRED
from segtrain.audit.trouble import Trouble
from segtrain.data.classes import ClassMap
from segtrain.data.conventions import numbered, numbers_said
from segtrain.data.examples import where
from segtrain.data.facts import by_split, unknown_in
from segtrain.data.finding import Finding, Found
from segtrain.data.survey import Survey
from segtrain.task import IGNORE

MOSTLY = 0.9  # share of ignored pixels from which a mask says next to nothing
HALF = 0.5  # share of ignored pixels of a training set from which it is worth a word
GUESSED = 0.1  # share of pixels with an id that nobody declared as ignored from which it is worth a word
NEARLY_ALL = 0.9  # share of the masks in which such an id is
PIECES = 2  # of an object in an image, on average, from which an id is rather a class
RARE_PIXELS = 100  # of a class in all training masks: fewer are as likely a slip of the pen


def label_suspicions(
    survey: Survey, usable: Sequence[Found], class_map: ClassMap, facts: Facts | None
) -> Iterator[Trouble]:
    """All warnings about labels, kind after kind.

    Args:
        survey: of all files.
        usable: the images without errors.
        class_map: of the data set.
        facts: of the training split, where it has images.
    """
    yield from one_value(usable, class_map)
    yield from ignored(usable, class_map)
    yield from two_values(usable, class_map)
    yield from ignored_by_rule(usable, class_map)
    if facts is not None:
        yield from numbers_of_objects(usable, class_map, facts)
    yield from missing_classes(survey, class_map)


def one_value(sound: Sequence[Found], class_map: ClassMap) -> Iterator[Trouble]:
    """Masks that hold one class and nothing else; where that is the background, they are empty, which is usual."""
    for item, finding in sound:
        (first, *more) = finding.ids
        if not more and int(class_map.table[first]) not in (0, class_map.task.ignore_index):
            yield Trouble("mask of one value", f"{where(item)}: all pixels are {first}", item.image)


def ignored(sound: Sequence[Found], class_map: ClassMap) -> Iterator[Trouble]:
    """Masks and training sets without labels for the most part."""
    shares = {}
    for item, finding in sound:
        pixels = finding.size[0] * finding.size[1]
        out = sum(n for i, n in finding.ids.items() if class_map.table[i] == class_map.task.ignore_index)
        shares[item.split, item.id] = (out, pixels)
        if out >= MOSTLY * pixels:
            yield Trouble("mask without labels", f"{where(item)}: {out / pixels:.0%} of it is ignored", item.image)
    training = [counts for (split, _), counts in shares.items() if split == "train"]
    out, pixels = (sum(column) for column in zip(*training, strict=True)) if training else (0, 1)
    if out > HALF * pixels:
        yield Trouble("few labels", f"{out / pixels:.0%} of the training pixels are ignored; is that meant?")


def two_values(sound: Sequence[Found], class_map: ClassMap) -> Iterator[Trouble]:
    """Masks of 0 and 255 in a data set where 255 is ignored: there it may have been meant as foreground."""
    if class_map.table[IGNORE] != class_map.task.ignore_index:
        return
    for item, finding in sound:
        if set(finding.ids) == {0, IGNORE}:
            share = finding.ids[IGNORE] / (finding.size[0] * finding.size[1])
            sentence = (
                f"{where(item)}: holds 0 and 255 alone, and 255 ({share:.0%} of it) is ignored here; if it is "
                "foreground in this file, save it as the id of its class"
            )
            yield Trouble("0 / 255 mask among ids", sentence, item.image)


def ignored_by_rule(sound: Sequence[Found], class_map: ClassMap) -> Iterator[Trouble]:
    """255 that is ignored beside other ids, though nobody said so, in nearly every mask and in much of it."""
    share = {item.image: finding.ids.get(IGNORE, 0) / sum(finding.ids.values()) for item, finding in sound}
    held, mean = sum(part > 0 for part in share.values()), sum(share.values()) / max(len(share), 1)
    if IGNORE not in class_map.guessed or mean < GUESSED or held < NEARLY_ALL * len(share):
        return
    ids = sorted({i for _, finding in sound for i in finding.ids} - {IGNORE})
    if class_map.task.mode == "binary":
        taken = f"{ids[-1]} as foreground"
        remedy = (
            f"; if 255 is foreground and {ids[-1]} unlabelled, set data.ignore_ids={ids[-1]}, if both are foreground, "
            "data.mask_threshold=0"
        )
    else:
        taken, remedy = f"{ids[-1]} as a class", "; if 255 is a class, list the classes in classes.txt"
    yield Trouble(
        "255 taken as ignored",
        f"255 ({mean:.0%} of the pixels, in {held} of {len(share)} masks) is taken as ignored, {taken}{remedy}, if it "
        "is unlabelled, say so with data.ignore_ids=255",
    )


def numbers_of_objects(sound: Sequence[Found], class_map: ClassMap, facts: Facts) -> Iterator[Trouble]:
    """Ids that nobody declared and that count the objects of each image, one connected component each."""
    objects, images = sum(c.objects for c in facts.classes[1:]), sum(c.images for c in facts.classes[1:])
    single = facts.task.mode == "multiclass" and objects <= PIECES * images
    if class_map.inferred and single and (fullest := numbered(sound)):
        ids = {i for _, finding in sound for i in finding.ids}
        yield Trouble("numbers of objects as classes", f"the masks hold {len(ids)} ids: {numbers_said(fullest)}")


def missing_classes(survey: Survey, class_map: ClassMap) -> Iterator[Trouble]:
    """Classes that a split has no pixel of, or the training set next to none, whatever else is wrong with the masks.

    Nothing is said of splits of which most masks could not be read.
    """
    every = by_split(survey.found)
    read = {split: [one for one in found if _says_ids(one[1], class_map)] for split, found in every.items()}
    counts = {
        split: _by_class(found, class_map) for split, found in read.items() if 2 * len(found) >= len(every[split])
    }
    if "train" not in counts:
        return
    first = 1 if class_map.task.mode == "binary" else 0
    for index, name in enumerate(class_map.task.names, first):
        kind, sentence = _of_class(name, index, counts, class_map)
        if kind:
            yield Trouble(kind, sentence)
        for split in counts:
            if index in counts["train"] and split != "train" and index not in counts[split]:
                yield Trouble("class not in every split", f"{name} occurs in train but not in {split}")


def _says_ids(finding: Finding, class_map: ClassMap) -> bool:
    """Whether a mask could be read and holds ids, some of no class perhaps, and no grey levels."""
    return not finding.fault and len(unknown_in(finding, class_map)) <= BLURRED


def _of_class(
    name: str, index: int, counts: Mapping[str, Mapping[int, tuple[int, int]]], class_map: ClassMap
) -> tuple[str, str]:
    """Kind and sentence of what is wrong with a class in the training set, or empty."""
    images, pixels = counts["train"].get(index, (0, 0))
    elsewhere = [split for split, found in counts.items() if split != "train" and index in found]
    if not images and elsewhere:
        return "class not in train", f"{name} occurs in {' and '.join(elsewhere)} but not in train"
    if not images:
        return "class that never occurs", f"{name} has no pixel in any mask ({class_map.origin})"
    if images == 1 or pixels < RARE_PIXELS:
        return "class with few labels", f"{name} has {pixels} pixels in {images} image{'s' * (images > 1)} of train"
    return "", ""


def _by_class(found: Sequence[Found], class_map: ClassMap) -> dict[int, tuple[int, int]]:
    """(images, pixels) of each class, by canonical id."""
    counts: dict[int, tuple[int, int]] = {}
    for _, finding in found:
        for file_id, pixels in finding.ids.items():
            index = int(class_map.table[file_id])
            images, before = counts.get(index, (0, 0))
            counts[index] = (images + 1, before + pixels)
    return counts

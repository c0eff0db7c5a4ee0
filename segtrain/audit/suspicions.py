"""What looks wrong in a data set without stopping a training: each function below gives warnings of one kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from segtrain.data.classes import ClassMap
from segtrain.data.examples import where
from segtrain.data.facts import by_split
from segtrain.data.scan import Found
from segtrain.data.survey import Survey
from segtrain.data.twins import identical, is_flat, near_twins
from segtrain.decode.headers import open_image
from segtrain.decode.readers import IMAGE_SUFFIXES
from segtrain.errors import UserError
from segtrain.task import IGNORE

SMALL_SIDE = 32  # pixels: what a net of depth 5 has as its stride; less is mostly padding
LONG = 8  # length / height of an image above which a square crop sees a strip
OUTLIER = 16  # times the usual area
MOSTLY = 0.9  # share of ignored pixels from which a mask says next to nothing
HALF = 0.5  # share of ignored pixels of a training set from which it is worth a word
RARE_PIXELS = 100  # of a class in all training masks: fewer are as likely a slip of the pen
UNSEEN = ("Thumbs.db", "desktop.ini")  # what systems leave in folders, beside names that begin with a dot


class Trouble(NamedTuple):
    """Something wrong or suspicious.

    kind: a few words, the same for all of its kind.
    text: a sentence with file and value.
    file: the one to leave out so that the rest can be used; None where that is no remedy.
    """

    kind: str
    text: str
    file: Path | None = None


def suspicions(survey: Survey, class_map: ClassMap | None) -> Iterator[Trouble]:
    """All warnings about a data set, kind after kind."""
    sound = survey.sound
    for warning in survey.listing.warnings:
        yield Trouble("left out", warning)
    yield from odd_sizes(sound)
    yield from flat_images(sound)
    yield from modes(sound)
    yield from repeated(sound)
    yield from nearly_the_same(sound)
    yield from shared_groups(sound)
    yield from passed_over(survey)
    if class_map is not None:
        usable = [(item, finding) for item, finding in sound if not class_map.unknown(finding.ids)]
        yield from one_value(usable, class_map)
        yield from ignored(usable, class_map)
        yield from two_conventions(usable, class_map)
        yield from missing_classes(usable, class_map)


def odd_sizes(sound: Sequence[Found]) -> Iterator[Trouble]:
    """Images so small, long or large that they do not seem to belong here."""
    if not sound:
        return
    usual = median(finding.size[0] * finding.size[1] for _, finding in sound)
    for item, finding in sound:
        height, width = finding.size
        ratio = height * width / usual
        reason = (
            f"a side of less than {SMALL_SIDE}"
            if min(height, width) < SMALL_SIDE
            else f"{LONG} times as long as wide, or more"
            if max(height, width) >= LONG * min(height, width)
            else f"{max(ratio, 1 / ratio):.0f} times {'larger' if ratio > 1 else 'smaller'} than usual"
            if not 1 / OUTLIER < ratio < OUTLIER
            else ""
        )
        if reason:
            yield Trouble("odd size", f"{item.image}: {width} x {height} pixels, {reason}", item.image)


def flat_images(sound: Sequence[Found]) -> Iterator[Trouble]:
    """Images of one colour."""
    for item, finding in sound:
        if is_flat(finding):
            pixels = finding.size[0] * finding.size[1]
            color = [round(255 * total / pixels) for total in finding.total]
            yield Trouble("image of one colour", f"{item.image}: all pixels are {color}", item.image)


def modes(sound: Sequence[Found]) -> Iterator[Trouble]:
    """Images and masks stored in another way than the most: grey among colour, 16 bits among 8, a palette."""
    for what, paths in (
        ("image", {item.image for item, _ in sound}),
        ("mask", {path for item, _ in sound for path in item.label.files if path.suffix.lower() in IMAGE_SUFFIXES}),
    ):
        mode_of = {path: mode for path in sorted(paths) if (mode := _mode(path))}
        usual = Counter(mode_of.values()).most_common(1)
        for path, mode in mode_of.items():
            if mode != usual[0][0]:
                note = "; its palette indices are the ids" if (what, mode) == ("mask", "P") else ""
                sentence = f"{path}: mode {mode}, where most {what}s have {usual[0][0]}{note}"
                yield Trouble(f"{what}s stored in different ways", sentence)


def _mode(path: Path) -> str:
    """How Pillow names the pixels of a file: 1, L, P, RGB, RGBA, CMYK, I;16, F ...; "" where it cannot say."""
    try:
        with open_image(path) as header:
            return header.mode
    except UserError:
        return ""


def repeated(sound: Sequence[Found]) -> Iterator[Trouble]:
    """Identical images within a split; with different masks where so."""
    for group in identical(sound):
        if len({item.split for item, _ in group}) > 1:
            continue  # an error, see check.py
        (first, seen), *others = group
        for item, finding in others:
            if finding.ids == seen.ids:
                yield Trouble("image that is there twice", f"{item.image}: the same as {first.image}", item.image)
            else:
                sentence = f"{item.image}: the same image as {first.image}, but another mask"
                yield Trouble("one image with two masks", sentence, item.image)


def nearly_the_same(sound: Sequence[Found]) -> Iterator[Trouble]:
    """Copies (smaller, recompressed, brighter) and standing frames of a film in different splits."""
    for (one, _), (other, _), correlation, bits in near_twins(sound):
        kept, left = (other, one) if one.split == "train" else (one, other)
        sentence = (
            f"{left.image}: nearly the same as {kept.image} (correlation {correlation:.4f}, {bits} of 64 bits differ)"
        )
        yield Trouble("nearly the same image in two splits", sentence, left.image)


def shared_groups(sound: Sequence[Found]) -> Iterator[Trouble]:
    """Groups (a patient, a scene) with images in several splits."""
    splits: dict[str, set[str]] = defaultdict(set)
    for item, _ in sound:
        splits[item.group or f"\0{item.id}"].add(item.split)
    for group, found in splits.items():
        if len(found) > 1 and not group.startswith("\0"):
            yield Trouble("group in several splits", f"group {group} is in {' and '.join(sorted(found))}")


def passed_over(survey: Survey) -> Iterator[Trouble]:
    """Files beside images and masks that are neither."""
    used = {path for item, _ in survey.found for path in (item.image, *item.label.files)}
    for folder in sorted({path.parent for path in used if path.parent.is_dir()}):
        for path in sorted(folder.iterdir()):
            hidden = path.name.startswith(".") or path.name in UNSEEN
            if not hidden and path not in used and path.suffix.lower() not in IMAGE_SUFFIXES and path.is_file():
                yield Trouble("file that is passed over", f"{path}: {path.suffix or 'no ending'} is not read")


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


def two_conventions(sound: Sequence[Found], class_map: ClassMap) -> Iterator[Trouble]:
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


def missing_classes(sound: Sequence[Found], class_map: ClassMap) -> Iterator[Trouble]:
    """Classes that a split has no pixel of, or the training set next to none."""
    counts = {split: _by_class(found, class_map) for split, found in by_split(sound).items()}
    training = counts.get("train", {})
    first = 1 if class_map.task.mode == "binary" else 0
    for index, name in enumerate(class_map.task.names, first):
        images, pixels = training.get(index, (0, 0))
        elsewhere = [split for split, found in counts.items() if split != "train" and index in found]
        if not images and elsewhere:
            yield Trouble("class not in train", f"{name} occurs in {' and '.join(elsewhere)} but not in train")
        elif not images:
            yield Trouble("class that never occurs", f"{name} has no pixel in any mask ({class_map.origin})")
        elif images == 1 or pixels < RARE_PIXELS:
            sentence = f"{name} has {pixels} pixels in {images} image{'s' * (images > 1)} of train"
            yield Trouble("class with few labels", sentence)
        for split in counts:
            if images and split != "train" and index not in counts[split]:
                yield Trouble("class not in every split", f"{name} occurs in train but not in {split}")


def _by_class(found: Sequence[Found], class_map: ClassMap) -> dict[int, tuple[int, int]]:
    """(images, pixels) of each class, by canonical id."""
    counts: dict[int, tuple[int, int]] = {}
    for _, finding in found:
        for file_id, pixels in finding.ids.items():
            index = int(class_map.table[file_id])
            images, before = counts.get(index, (0, 0))
            counts[index] = (images + 1, before + pixels)
    return counts

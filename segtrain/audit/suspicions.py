"""What looks wrong with images and folders without stopping a training: each function gives warnings of one kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from segtrain.audit.trouble import Trouble, kind_of
from segtrain.data.finding import Found
from segtrain.data.survey import Survey
from segtrain.data.twins import identical, is_flat, near_twins
from segtrain.decode.headers import open_image
from segtrain.decode.readers import IMAGE_SUFFIXES
from segtrain.errors import UserError

SMALL_SIDE = 32  # pixels: what a net of depth 5 has as its stride; less is mostly padding
LONG = 8  # length / height of an image above which a square crop sees a strip
OUTLIER = 16  # times the usual area
DEEPEST = 65535  # the value that becomes 1 in images of 16 bits
RANGES = (255, 1023, 4095, 16383)  # largest values of 8, 10, 12 and 14 bits
TOLERANCE = 0.01  # of a value that was a whole number before it was divided, in float32
UNSEEN = ("Thumbs.db", "desktop.ini")  # what systems leave in folders, beside names that begin with a dot


def suspicions(survey: Survey, usable: Sequence[Found]) -> Iterator[Trouble]:
    """All warnings about images and folders, kind after kind.

    Args:
        survey: of all files.
        usable: the images without errors.
    """
    for warning in survey.listing.warnings:
        yield Trouble(kind_of(warning, survey.root), warning)
    yield from odd_sizes(usable)
    yield from flat_images(usable)
    yield from unused_depth(usable)
    yield from modes(usable)
    yield from repeated(usable)
    yield from nearly_the_same(usable)
    yield from passed_over(survey)


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


def unused_depth(sound: Sequence[Found]) -> Iterator[Trouble]:
    """16-bit images that use the range of 8, 10, 12 or 14 bits alone: to a net they are nearly black."""
    highest = [max(finding.high) * DEEPEST for _, finding in sound if finding.depth != "uint8"]
    whole = all(abs(value - round(value)) < TOLERANCE for value in highest)
    if not highest or len(highest) < len(sound) or not whole:  # not integers: floats, or in a declared range
        return
    most = round(max(highest))
    fitting = next((limit for limit in RANGES if most <= limit), None)
    if most and fitting is not None:
        sentence = f"the largest value of all images is {most} of {DEEPEST}; set data.value_range={fitting}"
        yield Trouble("values in a small part of their range", sentence)


def modes(sound: Sequence[Found]) -> Iterator[Trouble]:
    """Images and masks stored in another way than the most: grey among colour, 16 bits among 8, a palette."""
    for what, paths in (
        ("image", {item.image for item, _ in sound}),
        ("mask", {path for item, _ in sound for path in item.label.files if path.suffix.lower() in IMAGE_SUFFIXES}),
    ):
        mode_of = {path: mode for path in sorted(paths) if (mode := _mode(path))}
        counts = Counter(mode_of.values()).most_common()
        kind = f"{what}s stored in different ways"
        if counts and 2 * counts[0][1] <= len(mode_of):  # none is usual
            listed = ", ".join(f"{mode} ({number})" for mode, number in counts)
            yield Trouble(kind, f"the modes of the {what}s are {listed}")
            continue
        for path, mode in mode_of.items():
            if mode != counts[0][0]:
                note = "; its palette indices are the ids" if (what, mode) == ("mask", "P") else ""
                yield Trouble(kind, f"{path}: mode {mode}, where most {what}s have {counts[0][0]}{note}")


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
            continue  # an error, see faults.py
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
    used |= {Path(fault.partition(": ")[0]) for fault in survey.listing.faults}
    for folder in sorted({path.parent for path in used if path.parent.is_dir()}):
        for path in sorted(folder.iterdir()):
            hidden = path.name.startswith(".") or path.name in UNSEEN
            if not hidden and path not in used and path.suffix.lower() not in IMAGE_SUFFIXES and path.is_file():
                yield Trouble("file that is passed over", f"{path}: {path.suffix or 'no ending'} is not read")

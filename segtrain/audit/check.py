"""`segtrain check`: what is in a data set, and everything that is wrong with it.

    survey (every file decoded)  ->  errors, which stop a training, and warnings  ->  facts of the training masks

Errors are what training refuses, listed in full, and images that are in two splits (faults.py). All else is said of
the images that can be used; what only follows from an error is not said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from segtrain.audit.components import Facts, Size, measure
from segtrain.audit.faults import of_copies, of_files, of_ids, of_images, of_single_images
from segtrain.audit.labels import label_suspicions
from segtrain.audit.palettes import contradictions, odd_palettes
from segtrain.audit.suspicions import shared_groups, suspicions
from segtrain.audit.trouble import Trouble
from segtrain.data.classes import ClassMap
from segtrain.data.conventions import two_conventions
from segtrain.data.facts import by_split, meaning
from segtrain.data.files import FileData
from segtrain.data.finding import Found
from segtrain.data.scan import Progress
from segtrain.data.source import DataSource
from segtrain.data.splits import divide
from segtrain.data.survey import Survey
from segtrain.errors import UserError

NEEDED = ("train", "val")
Bar = Callable[[str], Progress]  # what is done -> told how far it is


@dataclass(frozen=True)
class Report:
    """What was found.

    Args:
        name: of the data set.
        counts: usable images of each split.
        errors: what must be mended, or left out, before training.
        warnings: what should be looked at.
        notes: how the data was read.
        facts: of the training split; None where it cannot be used.
        meaning: what each id of the files is: (ids, class), ignored ones as "ignored".
        aside: images that cannot be used, of which the rest does not speak.
        remaining: images of each split that are left without the faulty files, "" for no split.
    """

    name: str
    counts: Mapping[str, int]
    errors: Sequence[Trouble]
    warnings: Sequence[Trouble]
    notes: Sequence[str]
    facts: Facts | None
    meaning: Mapping[str, Sequence[int]]
    aside: int = 0
    remaining: Mapping[str, int] = field(default_factory=dict)

    @property
    def faulty(self) -> dict[Path, str]:
        """Files that can be left out so that the others can be used, each with the reason."""
        found = {trouble.file: trouble.kind for trouble in self.errors if trouble.file is not None}
        return dict(sorted(found.items()))


def check_source(source: DataSource, crop: Size, bar: Bar) -> Report:
    """A report on data that has no files, such as the synthetic one."""
    facts = None
    if train := source.splits.get("train"):
        sizes, progress = train.sizes, bar("masks of train")
        facts = measure(lambda index: train.read(index)[1], sizes, source.channels, source.task, crop, progress)
    counts = {split: len(examples.ids) for split, examples in source.splits.items()}
    return Report(source.name, counts, [], [], source.notes, facts, {})


def check_files(data: FileData, request: Mapping[str, Any], crop: Size, bar: Bar) -> Report:
    """A report on data in files: each is decoded, whether or not it was seen before.

    Args:
        data: the data set.
        request: the task group, as of DataSource.
        crop: (height, width) in pixels of a training crop.
        bar: shows how far it is.

    Raises:
        UserError: no such folder, or nothing of the layout in it.
    """
    survey, errors, notes = _divided(data, data.survey(bar("files"), anew=True))
    undivided = bool(errors)
    looked = _looked(data, survey, request, undivided)
    errors = of_single_images([*errors, *looked.errors], survey)
    splits, class_map, facts = by_split(looked.usable), looked.class_map, None
    if class_map is not None and looked.settled and "train" in splits:
        train, channels = data.uncached(splits["train"], class_map), len(splits["train"][0][1].total)
        facts = measure(train.mask, train.sizes, channels, class_map.task, crop, bar("masks of train"))
    warnings = list(suspicions(survey, looked.usable))
    warnings += [] if undivided else shared_groups(looked.usable)
    if class_map is not None and looked.settled:
        warnings += label_suspicions(survey, looked.usable, class_map, facts)
        warnings += odd_palettes(looked.usable, class_map) if data.colors is None and not data.rules.colors else []
    return Report(
        name=data.called,
        counts={split: len(found) for split, found in splits.items()} or {"undivided": len(looked.usable)},
        errors=errors,
        warnings=warnings,
        notes=[*survey.listing.notes, *notes, *([f"classes from {class_map.origin}"] if class_map else [])],
        facts=facts,
        meaning=meaning(class_map, {i for _, finding in survey.sound for i in finding.ids}) if class_map else {},
        aside=len(survey.found) - len(looked.usable),
        remaining=_remaining(survey, {trouble.file for trouble in errors}),
    )


class Looked(NamedTuple):
    """What files and ids say: images without errors, the errors, the classes, and whether ids mean what is taken."""

    usable: Sequence[Found]
    errors: Sequence[Trouble]
    class_map: ClassMap | None
    settled: bool


def _looked(data: FileData, survey: Survey, request: Mapping[str, Any], undivided: bool) -> Looked:
    """Errors of files and ids; without splits nothing that follows from their absence."""
    found = list(of_images(survey))
    errors, class_map = list(of_files(survey)), None
    if not undivided:
        try:
            class_map = data.class_map(survey, by_split(survey.sound), request)
            found += of_ids(survey.sound, class_map, data.ignored)
            found += contradictions(survey.sound, data.rules.colors)
        except UserError as error:
            if "train" in by_split(survey.sound):  # else it follows from that
                errors.append(Trouble("classes", str(error)))
    aside = {(item.split, item.id) for item, _ in found}
    usable = [one for one in survey.sound if (one[0].split, one[0].id) not in aside]
    errors += [*(trouble for _, trouble in found), *of_copies(survey.sound)]
    odd = [] if class_map is None else two_conventions(usable, class_map)
    errors += [Trouble("masks of two conventions", sentence) for sentence in odd]
    if not undivided:
        empty = [split for split in NEEDED if split not in by_split(usable)]
        errors += [Trouble("empty split", f"{split} has no image that can be used") for split in empty]
    return Looked(usable, errors, class_map, not odd)


def _divided(data: FileData, survey: Survey) -> tuple[Survey, list[Trouble], list[str]]:
    """The survey with the splits as a training makes them, an error where it cannot, and notes."""
    try:
        found, notes = divide(survey.sound, survey.root, data.splitting())
    except UserError as error:
        return survey, [Trouble("splits", str(error))], []
    faulty = [(item, finding) for item, finding in survey.found if finding.fault]
    return replace(survey, found=[*found, *faulty]), [], notes


def _remaining(survey: Survey, out: Collection[Path | None]) -> dict[str, int]:
    """Images of each split that need none of the files; "" stands for no split."""
    kept = [item.split for item, _ in survey.found if not any(file in out for file in (item.image, *item.label.files))]
    return dict(Counter(kept))

"""`segtrain check`: what is in a data set, and everything that is wrong with it.

    survey (every file decoded)  ->  errors, which stop a training, and warnings  ->  facts of the training masks

Errors are what training refuses, listed in full, and images that are in two splits. Sentences about files are grouped
by what is left of them without names and numbers, so that a reader or layout need not say of which kind its own are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segtrain.audit.components import Facts, Size, measure
from segtrain.audit.suspicions import Trouble, suspicions
from segtrain.data.classes import ClassMap
from segtrain.data.examples import where
from segtrain.data.facts import by_split
from segtrain.data.files import FileData
from segtrain.data.scan import Found, Progress
from segtrain.data.source import DataSource
from segtrain.data.splits import divide
from segtrain.data.survey import Survey
from segtrain.data.twins import leaks
from segtrain.errors import UserError
from segtrain.task import IGNORE

BLURRED = 20  # unknown ids of one mask above which they come from smoothing
NEEDED = ("train", "val")
ORDER = {split: place for place, split in enumerate(("train", "val", "test"))}
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
    """

    name: str
    counts: Mapping[str, int]
    errors: Sequence[Trouble]
    warnings: Sequence[Trouble]
    notes: Sequence[str]
    facts: Facts | None
    meaning: Mapping[str, Sequence[int]]

    @property
    def faulty(self) -> list[Path]:
        """Files that can be left out so that the others can be used."""
        return sorted({trouble.file for trouble in self.errors if trouble.file is not None})


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
    survey = data.survey(bar("files"), anew=True)
    errors: list[Trouble] = []
    notes: list[str] = []
    class_map: ClassMap | None = None
    try:
        found, notes = divide(survey.sound, survey.root, data.splitting())
        survey = replace(survey, found=[*found, *((item, finding) for item, finding in survey.found if finding.fault)])
    except UserError as error:
        errors.append(Trouble("splits", str(error)))
    errors += file_errors(survey)
    try:
        class_map = data.class_map(survey, by_split(survey.sound), request)
    except UserError as error:
        errors.append(Trouble("classes", str(error)))
    usable = survey.sound
    if class_map is not None:
        errors += unknown_ids(usable, class_map)
        usable = [found for found in usable if not class_map.unknown(found[1].ids)]
    splits = by_split(usable)
    errors += [
        Trouble("empty split", f"{split} has no image that can be used") for split in NEEDED if split not in splits
    ]
    facts = None
    if class_map is not None and "train" in splits:
        train, channels = data.uncached(splits["train"], class_map), len(splits["train"][0][1].total)
        facts = measure(train.mask, train.sizes, channels, class_map.task, crop, bar("masks of train"))
    return Report(
        name=data.name or data.folder.resolve().name,
        counts={split: len(found) for split, found in splits.items()},
        errors=errors,
        warnings=list(suspicions(survey, class_map)),
        notes=[*survey.listing.notes, *notes, *([f"classes from {class_map.origin}"] if class_map else [])],
        facts=facts,
        meaning=_meaning(survey, class_map) if class_map else {},
    )


def file_errors(survey: Survey) -> Iterator[Trouble]:
    """What layout and readers refuse, and images that are in several splits."""
    for sentence in survey.listing.faults:
        path = Path(sentence.partition(": ")[0])
        yield Trouble(kind_of(sentence, survey.root), sentence, path if path.is_file() or path.is_symlink() else None)
    for item, finding in survey.found:
        if finding.fault:
            yield Trouble(kind_of(finding.fault, survey.root), finding.fault, item.image)
    for group in leaks(survey.sound):
        (first, _), *others = sorted(group, key=lambda found: (-ORDER.get(found[0].split, -1), found[0].id))
        for item, _ in others:
            sentence = f"{item.image}: the same image as {first.image}; leave it out of {item.split}"
            yield Trouble("one image in two splits", sentence, item.image)


def kind_of(sentence: str, root: Path) -> str:
    """What a sentence about a file says without files, numbers and remedy: "N x N pixels, but its image has N x N"."""
    text = sentence.partition(";")[0]
    text = re.sub(rf"^{re.escape(str(root))}.*?: ", "", text)
    text = re.sub(rf"{re.escape(str(root))}.*", "", text)
    text = re.sub(r": \(\d.*", "", text)  # colours
    text = re.sub(r"\s*(\(.*\)|\[.*?\])", "", text)
    return re.sub(r"\d+", "N", text).strip(" ,:")


def unknown_ids(sound: Sequence[Found], class_map: ClassMap) -> Iterator[Trouble]:
    """Masks with ids that are no class, with the number of pixels and what they may mean."""
    known = [int(i) for i in range(len(class_map.table)) if not class_map.unknown([i])]
    for item, finding in sound:
        unknown = class_map.unknown(finding.ids)
        if not unknown:
            continue
        pixels = sum(finding.ids[i] for i in unknown)
        kind, remedy = "ids outside the classes", "declare them there, or ignore them with data.ignore_ids"
        if len(unknown) > BLURRED:
            kind = "mask that was smoothed"
            remedy = "they look like the result of resizing or of JPEG; export the mask without smoothing"
        elif unknown == [IGNORE] and set(finding.ids) <= {0, IGNORE}:
            kind = "0 / 255 mask among ids"
            remedy = (
                f"if 255 is foreground here, save it as {known[1] if len(known) > 1 else 1}, if unlabelled add "
                + ("data.ignore_ids=255")
            )
        listed = f"{unknown[:8]}{' and more' if len(unknown) > 8 else ''}"
        sentence = (
            f"{where(item)}: ids {listed} ({pixels} pixels) are none of the classes ({class_map.origin}); {remedy}"
        )
        yield Trouble(kind, sentence, item.image)


def _meaning(survey: Survey, class_map: ClassMap) -> dict[str, list[int]]:
    """Ids of the files by class, those that occur or are declared; the ignored ones last."""
    task = class_map.task
    names = ["background", *task.names] if task.mode == "binary" else list(task.names)
    seen = {i for _, finding in survey.sound for i in finding.ids}
    meaning: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        meaning[name] = [int(i) for i in (class_map.table == index).nonzero()[0]]
    ignored = [int(i) for i in (class_map.table == task.ignore_index).nonzero()[0] if int(i) in seen]
    return dict(meaning) | ({"ignored": ignored} if ignored else {})

"""Data in files, whatever their layout: look through them, settle splits and classes, make them a data source.

    layout.find(root)  ->  scan  ->  splits  ->  classes  ->  DataSource

Settings that all layouts share stand here; conf/data/_files.yaml has their defaults.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segtrain import checks
from segtrain.data.cache import RamCache
from segtrain.data.classes import ClassMap, Declared, build_class_map, declared_from_ids, read_declared
from segtrain.data.headers import MAX_PIXELS
from segtrain.data.listing import SPLITS, Item, Layout, Listing
from segtrain.data.masks import MaskRules, color_ids
from segtrain.data.reading import Reading
from segtrain.data.scan import Finding, Found, dropped_alpha, mean_and_std, mixed, read_pair, refuse, scan
from segtrain.data.source import Array, DataSource, Examples, Window
from segtrain.errors import UserError
from segtrain.seeds import derive
from segtrain.task import ClassStats


@dataclass(frozen=True)
class Survey:
    """What the files are: each item with what was found in it, and all that is wrong.

    Args:
        root: the folder.
        listing: of the layout.
        found: each item with its finding, in the listing's order, faulty ones included.
    """

    root: Path
    listing: Listing
    found: Sequence[Found]

    @property
    def faults(self) -> list[str]:
        """A sentence for each thing that is wrong with the files."""
        faulty = [finding.fault for _, finding in self.found if finding.fault]
        return [*self.listing.faults, *faulty, *mixed(self.sound)]

    @property
    def sound(self) -> list[Found]:
        """The items that can be used."""
        return [(item, finding) for item, finding in self.found if not finding.fault]


@dataclass(frozen=True)
class FileData:
    """A data set in files.

    Args:
        root: the folder.
        layout: how files lie in it.
        name: of the data set, for run folders; the folder's own name where None.
        reader: of images; this and the next five: see Reading.
        channels: rgb, grey or native.
        value_range: the stored value that becomes 1, or [low, high].
        pages: of a TIFF with several: error, channels or a number.
        orientation: of EXIF: auto, apply or ignore.
        max_pixels: most of an image that is decoded as a whole.
        colors: of masks that hold colours, {id: [r, g, b]}; None: those of classes.txt or dataset.json; "ids": none.
        mask_threshold: see MaskRules.
        ignore_ids: id or ids of the mask files that carry no label, beside those the data set declares.
        classes: view on the classes, {id or name in the files: new name}; see build_class_map.
        cache: "ram" keeps decoded images in memory, "none" reads them anew each time.
        cache_gb: most memory for it, in GiB, per split and loading process.
        scan_dir: where the findings of the scan are kept for the next run; None keeps nothing.

    Raises:
        UserError: a setting is out of range.
    """

    root: str
    layout: Layout
    name: str | None = None
    reader: str = "opencv"
    channels: str = "rgb"
    value_range: float | Sequence[float] | None = None
    pages: str | int = "error"
    orientation: str = "auto"
    max_pixels: int = MAX_PIXELS
    colors: Mapping[int, Sequence[int]] | str | None = None
    mask_threshold: float | None = None
    ignore_ids: int | str | Sequence[int] = ()
    classes: Mapping[int | str, str] | None = None
    cache: str = "ram"
    cache_gb: float = 2.0
    scan_dir: str | None = None

    def __post_init__(self) -> None:
        _ = self.reading, color_ids(self.colors, {}), MaskRules(threshold=self.mask_threshold)
        checks.choice("data.cache", self.cache, ("ram", "none"))
        checks.number("data.cache_gb", self.cache_gb, 0)
        if self.classes is not None and not isinstance(self.classes, Mapping):
            raise UserError(f"data.classes must map ids to names, such as '{{9: pedestrian}}'; got {self.classes!r}")

    @property
    def folder(self) -> Path:
        """The folder of the data."""
        return Path(self.root).expanduser()

    @property
    def ignored(self) -> Sequence[int]:
        """Ids of the files that carry no label."""
        if isinstance(self.ignore_ids, (int, str)):
            return [checks.whole("data.ignore_ids (or a list of them)", self.ignore_ids, 0)]
        return self.ignore_ids

    @property
    def reading(self) -> Reading:
        """How image files become arrays."""
        limits = (self.orientation, self.max_pixels)
        return Reading(self.reader, self.channels, self.value_range, self.pages, *limits)

    @functools.cached_property
    def rules(self) -> MaskRules:
        """How pixel values of mask files become ids."""
        declared = read_declared(self.folder)
        colors = color_ids(self.colors, declared.colors if declared else {})
        return MaskRules(colors, self.mask_threshold, self.orientation, self.max_pixels)

    def survey(self) -> Survey:
        """Find all items and decode each once; what is wrong is recorded, not raised.

        Raises:
            UserError: no such folder, or nothing of the layout in it.
        """
        if not self.folder.is_dir():
            raise UserError(f"data.root={self.folder}: no such folder; give the one that holds images and masks")
        listing = self.layout.find(self.folder)
        kept = Path(self.scan_dir) / f"{derive(str(self.folder.resolve())):x}.json" if self.scan_dir else None
        findings = scan(listing.items, self.rules, kept, self.reading)
        return Survey(self.folder, listing, list(zip(listing.items, findings, strict=True)))

    def open(self, task: Mapping[str, Any]) -> DataSource:
        """Look through the files and make them a data source.

        Args:
            task: the request: mode ("auto" or a mode), num_classes, ignore_index, names, palette.

        Raises:
            UserError: nothing there, or faulty files (all listed at once).
        """
        survey = self.survey()
        splits = by_split(survey.sound)
        try:
            class_map = self.class_map(survey, task)
        except UserError:
            refuse(f"{self.folder}", survey.faults)  # what is wrong with the files comes before what follows from it
            raise
        refuse(f"{self.folder}", survey.faults + unknown_ids(survey.sound, class_map))
        training = [finding for _, finding in splits.get("train", ())]
        mean, std = mean_and_std(training)
        return DataSource(
            name=self.name or self.folder.resolve().name,
            task=class_map.task,
            channels=len(mean),
            splits={split: self.examples(found, class_map) for split, found in splits.items()},
            stats=class_stats(training, class_map),
            mean=mean,
            std=std,
            fingerprint=fingerprint(splits, class_map, self.reading),
            notes=[*survey.listing.notes, *dropped_alpha(survey.sound), f"classes from {class_map.origin}"],
            dtype=training[0].depth,
        )

    def class_map(self, survey: Survey, task: Mapping[str, Any]) -> ClassMap:
        """What each id means: from dataset.json, classes.txt or the layout, else from the ids of the training masks.

        Raises:
            UserError: nothing to learn, or a request that contradicts the data.
        """
        declared = read_declared(self.folder) or survey.listing.declared or self._undeclared(survey, task)
        return build_class_map(declared, task, self.ignored, self.classes)

    def _undeclared(self, survey: Survey, task: Mapping[str, Any]) -> Declared:
        training = by_split(survey.sound).get("train", [])
        ids = {i for _, finding in training for i in finding.ids} - set(self.ignored)
        return declared_from_ids(ids, task.get("num_classes"))

    def examples(self, found: Sequence[Found], class_map: ClassMap) -> Examples:
        """The items of one split, with the cache that was asked for."""
        items, sizes = [item for item, _ in found], [finding.size for _, finding in found]
        files = FileExamples(items, sizes, self.reading, self.rules, class_map)
        return RamCache(files, int(self.cache_gb * 2**30)) if self.cache == "ram" else files


class FileExamples:
    """The files of one split; masks come with canonical ids. Implements Examples."""

    def __init__(
        self,
        items: Sequence[Item],
        sizes: Sequence[tuple[int, int]],
        reading: Reading,
        rules: MaskRules,
        class_map: ClassMap,
    ) -> None:
        self.ids = [item.id for item in items]
        self.sizes = sizes
        self._items = items
        self._reading = reading
        self._rules = rules
        self._class_map = class_map

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        """Image [H, W, C] and canonical mask; raises UserError where a file has changed or gone.

        Of a window of a TIFF in tiles or strips, no more is decoded than it touches.
        """
        item, (height, width) = self._items[index], self.sizes[index]
        image, ids = read_pair(item, (height, width), window, self._rules, self._reading)
        unknown = self._class_map.unknown(np.unique(ids).tolist())
        wanted = (height, width) if window is None else (window.height, window.width)
        if unknown or not image.shape[:2] == ids.shape == wanted:
            found = f"{ids.shape[1]} x {ids.shape[0]} pixels, unknown ids {unknown}"
            raise UserError(f"{where(item)}: image or mask has changed since the start ({found}); start again")
        return image, self._class_map.apply(ids)


def where(item: Item) -> str:
    """The file that holds an item's label, for messages."""
    return str(item.label.files[0] if item.label.files else item.image)


def by_split(found: Iterable[Found]) -> dict[str, list[Found]]:
    """The items of each split that has any."""
    splits: dict[str, list[Found]] = {split: [] for split in SPLITS}
    for item, finding in found:
        splits[item.split].append((item, finding))
    return {split: members for split, members in splits.items() if members}


def unknown_ids(found: Iterable[Found], class_map: ClassMap) -> list[str]:
    """A sentence for each label with ids that are none of the classes."""
    return [
        f"{where(item)}: ids {unknown} are none of the classes ({class_map.origin}); "
        "declare them there, or ignore them with data.ignore_ids"
        for item, finding in found
        if (unknown := class_map.unknown(finding.ids))
    ]


def class_stats(findings: Sequence[Finding], class_map: ClassMap) -> ClassStats:
    """Class statistics of the scanned masks, by canonical class."""
    task = class_map.task
    classes = [1] if task.mode == "binary" else list(range(task.num_classes))
    positives, present, valid = [0] * len(classes), [0] * len(classes), 0
    for finding in findings:
        by_class: Counter[int] = Counter()
        for file_id, pixels in finding.ids.items():
            by_class[int(class_map.table[file_id])] += pixels
        labelled = finding.size[0] * finding.size[1] - by_class[task.ignore_index]
        valid += labelled
        for place, index in enumerate(classes):
            positives[place] += by_class[index]
            present[place] += labelled if by_class[index] else 0
    return ClassStats(positives, [valid] * len(classes), present, len(findings))


def fingerprint(splits: Mapping[str, Sequence[Found]], class_map: ClassMap, reading: Reading) -> str:
    """Changes with the files' names, sizes and contents (through their sums), the classes and the reader."""
    files = [(split, i.id, f.size, f.total, f.ids) for split, found in splits.items() for i, f in found]
    settings = (reading.reader, reading.content, str(class_map.task), str(class_map.table.tolist()))
    return f"{derive(*settings, str(files)):016x}"

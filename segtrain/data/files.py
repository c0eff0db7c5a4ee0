"""Data in files, whatever their layout: look through them, settle splits and classes, make them a data source.

    layout.find(root)  ->  scan  ->  splits  ->  classes  ->  DataSource

Settings that all layouts share stand here; conf/data/_files.yaml has their defaults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segtrain import checks
from segtrain.data.cache import RamCache
from segtrain.data.classes import ClassMap, Declared, build_class_map, declared_from_ids, read_declared
from segtrain.data.exclude import leave_out, read_excluded
from segtrain.data.listing import SPLITS, Item, Layout, Listing
from segtrain.data.masks import MaskRules
from segtrain.data.readers import READERS, read_image
from segtrain.data.scan import Finding, Progress, mean_and_std, refuse, scan
from segtrain.data.source import Array, DataSource, Examples, Window, cut
from segtrain.data.twins import leak_warning
from segtrain.errors import UserError
from segtrain.seeds import derive
from segtrain.task import ClassStats

CHANNELS = 3  # every reader gives RGB
Found = tuple[Item, Finding]


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
        return [*self.listing.faults, *(finding.fault for _, finding in self.found if finding.fault)]

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
        reader: of images, a key of READERS.
        ignore_ids: id or ids of the mask files that carry no label, beside those the data set declares.
        classes: view on the classes, {id or name in the files: new name}; see build_class_map.
        cache: "ram" keeps decoded images in memory, "none" reads them anew each time.
        cache_gb: most memory for it, in GiB, per split and loading process.
        exclude: text file of paths below root to leave out, see exclude.py; None leaves nothing out.
        scan_dir: where the findings of the scan are kept for the next run; None keeps nothing.

    Raises:
        UserError: a setting is out of range.
    """

    root: str
    layout: Layout
    name: str | None = None
    reader: str = "opencv"
    ignore_ids: int | str | Sequence[int] = ()
    classes: Mapping[int | str, str] | None = None
    cache: str = "ram"
    cache_gb: float = 2.0
    exclude: str | None = None
    scan_dir: str | None = None

    def __post_init__(self) -> None:
        checks.choice("data.reader", self.reader, READERS)
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
    def rules(self) -> MaskRules:
        """How pixel values of mask files become ids."""
        return MaskRules()

    def survey(self, progress: Progress | None = None, anew: bool = False) -> Survey:
        """Find all items and decode each once; what is wrong is recorded, not raised.

        Args:
            progress: told after each file.
            anew: look at files again that have not changed since the last time.

        Raises:
            UserError: no such folder, or nothing of the layout in it.
        """
        if not self.folder.is_dir():
            raise UserError(f"data.root={self.folder}: no such folder; give the one that holds images and masks")
        listing = self.layout.find(self.folder)
        if self.exclude is not None:
            listing = leave_out(listing, self.folder, read_excluded(Path(self.exclude).expanduser()))
        kept = Path(self.scan_dir) / f"{derive(str(self.folder.resolve())):x}.json" if self.scan_dir else None
        findings = scan(listing.items, self.rules, kept, progress, anew)
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
            channels=CHANNELS,
            splits={split: self.examples(found, class_map) for split, found in splits.items()},
            stats=class_stats(training, class_map),
            mean=mean,
            std=std,
            fingerprint=fingerprint(splits, class_map, self.reader),
            notes=[*survey.listing.notes, f"classes from {class_map.origin}"],
            warnings=[*survey.listing.warnings, *leak_warning(survey.sound)],
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
        files = FileExamples(items, sizes, self.reader, self.rules, class_map)
        return RamCache(files, int(self.cache_gb * 2**30)) if self.cache == "ram" else files


class FileExamples:
    """The files of one split; masks come with canonical ids. Implements Examples."""

    def __init__(
        self,
        items: Sequence[Item],
        sizes: Sequence[tuple[int, int]],
        reader: str,
        rules: MaskRules,
        class_map: ClassMap,
    ) -> None:
        self.ids = [item.id for item in items]
        self.sizes = sizes
        self._items = items
        self._reader = reader
        self._rules = rules
        self._class_map = class_map

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        """Image [H, W, 3] uint8 and canonical mask; raises UserError where a file has changed or gone."""
        item = self._items[index]
        image = read_image(item.image, self._reader)
        ids = item.label.read((image.shape[0], image.shape[1]), self._rules)
        unknown = self._class_map.unknown(np.unique(ids).tolist())
        if unknown or not image.shape[:2] == ids.shape == tuple(self.sizes[index]):
            found = f"{ids.shape[1]} x {ids.shape[0]} pixels, unknown ids {unknown}"
            raise UserError(f"{where(item)}: image or mask has changed since the start ({found}); start again")
        return cut(image, self._class_map.apply(ids), window)


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


def fingerprint(splits: Mapping[str, Sequence[Found]], class_map: ClassMap, reader: str) -> str:
    """Changes with the files' names, sizes and contents (through their sums), the classes and the reader."""
    files = [(split, i.id, f.size, f.total, f.ids) for split, found in splits.items() for i, f in found]
    return f"{derive(reader, str(class_map.task), str(class_map.table.tolist()), str(files)):016x}"

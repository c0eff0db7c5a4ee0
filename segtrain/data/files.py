"""Data in files, whatever their layout: look through them, settle splits and classes, make them a data source.

    layout.find(root)  ->  scan  ->  splits  ->  classes  ->  DataSource

Settings that all layouts share stand here; conf/data/_files.yaml has their defaults.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtrain import checks
from segtrain.data.cache import in_memory, on_disk
from segtrain.data.classes import ClassMap, Declared, build_class_map
from segtrain.data.conventions import declared_from_ids, two_conventions
from segtrain.data.declarations import read_declared
from segtrain.data.examples import FileExamples
from segtrain.data.exclude import leave_out, read_excluded
from segtrain.data.facts import (
    Splits,
    by_split,
    class_stats,
    dropped_alpha,
    fingerprint,
    ids_noted,
    ids_taken,
    places_in,
    unknown_ids,
)
from segtrain.data.finding import Found
from segtrain.data.listing import Layout, is_layout
from segtrain.data.overlaps import overlap_note
from segtrain.data.sampling import NOWHERE, Places, Sampling
from segtrain.data.scan import Progress, mean_and_std, refuse, scan, state
from segtrain.data.source import DataSource, Examples
from segtrain.data.splits import Splitting, divide
from segtrain.data.survey import Survey
from segtrain.data.twins import leak_warning
from segtrain.decode.headers import MAX_PIXELS
from segtrain.decode.masks import MaskRules, color_ids
from segtrain.decode.reading import Reading
from segtrain.errors import UserError
from segtrain.seeds import derive

ADVICE = (
    "`segtrain check` with the same data. settings lists all by kind and says what mends them; with exclude=bad.txt it "
    "writes a list of faulty files, which a training leaves out with data.exclude=bad.txt"
)


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
        exclude: text file of paths below root to leave out, see exclude.py; None leaves nothing out.
        split: "given" by the layout, "random" or "kfold"; for it and the following see Splitting.
        val_share: of the divided images.
        test_share: where the layout has no test images.
        folds: number of folds.
        fold: which of them is val.
        stratify: whether each part gets its share of the pixels of each class.
        group: regular expression; images with the same match stay together.
        split_seed: of the division.
        split_file: where the division stands.
        split_dir: where it stands if no file is named; None keeps none.
        oversample: see Sampling.
        oversample_background: see Sampling (background).
        repeat: see Sampling.
        bank: see Sampling.
        by_area: see Sampling.
        cache: decoded images are kept in memory, as cache_gb allows ("ram"), in a file for later runs ("disk"), or not.
        cache_gb: most memory, in GiB, for all splits and loading processes together.
        cache_dir: folder of the file.
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
    split: str = "given"
    val_share: float = 0.2
    test_share: float | None = None
    folds: int = 5
    fold: int = 0
    stratify: bool = True
    group: str | None = None
    split_seed: int = 0
    split_file: str | None = None
    split_dir: str | None = None
    cache: str = "ram"
    cache_gb: float = 2.0
    cache_dir: str | None = None
    oversample: float = 0.0
    oversample_background: bool = False
    repeat: float | None = None
    bank: int = 0
    by_area: bool = False
    exclude: str | None = None
    scan_dir: str | None = None

    def __post_init__(self) -> None:
        if not is_layout(self.layout):
            raise UserError(f"data.layout must be a layout, as in conf/data/csv.yaml; got {self.layout!r}")
        _ = self.reading, color_ids(self.colors, {}), MaskRules(threshold=self.mask_threshold)
        checks.choice("data.cache", self.cache, ("ram", "disk", "none"))
        checks.number("data.cache_gb", self.cache_gb, 0)
        if self.cache == "disk" and not self.cache_dir:
            raise UserError("data.cache=disk needs data.cache_dir, the folder for its files")
        _ = self.splitting(), self.sampling  # refused before files are looked at
        if self.classes is not None and not isinstance(self.classes, Mapping):
            raise UserError(f"data.classes must map ids to names, such as '{{9: pedestrian}}'; got {self.classes!r}")

    @property
    def folder(self) -> Path:
        """The folder of the data."""
        return Path(self.root).expanduser()

    @property
    def called(self) -> str:
        """Its name: as given, else that of the folder as it is typed, wherever a link leads."""
        return self.name or Path(os.path.normpath(self.folder.absolute())).name

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

    @property
    def sampling(self) -> Sampling:
        """Which training images and crops are wanted."""
        return Sampling(self.oversample, self.oversample_background, self.repeat, self.bank, self.by_area)

    @functools.cached_property
    def rules(self) -> MaskRules:
        """How pixel values of mask files become ids."""
        declared = read_declared(self.folder)
        colors = color_ids(self.colors, declared.colors if declared else {})
        return MaskRules(colors, self.mask_threshold, self.orientation, self.max_pixels)

    def splitting(self) -> Splitting:
        """How images come into splits.

        Raises:
            UserError: a setting of it is out of range.
        """
        shares, folds = (self.val_share, self.test_share), (self.folds, self.fold)
        kept = (self.split_file, self.split_dir)
        return Splitting(self.split, *shares, *folds, self.stratify, self.group, self.split_seed, *kept)

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
        findings = scan(listing.items, self.rules, kept, self.reading, progress, anew)
        return Survey(self.folder, listing, list(zip(listing.items, findings, strict=True)))

    def open(self, task: Mapping[str, Any]) -> DataSource:
        """Look through the files and make them a data source.

        Args:
            task: the request: mode ("auto" or a mode), num_classes, ignore_index, names, palette.

        Raises:
            UserError: nothing there, or faulty files (all listed at once).
        """
        survey = self.survey()
        try:
            found, notes = divide(survey.sound, self.folder, self.splitting())
            splits = by_split(found)
            if "train" not in splits:
                raise UserError(f"{self.folder}: no train images; data.split=random makes splits of what is there")
            class_map = self.class_map(survey, splits, task)
        except UserError:
            # what is wrong with the files comes before what follows from it
            refuse(f"{self.folder}", survey.faults, ADVICE)
            raise
        odd = [*unknown_ids(survey.sound, class_map), *two_conventions(survey.sound, class_map)]
        refuse(f"{self.folder}", survey.faults + odd, ADVICE)
        training = [finding for _, finding in splits["train"]]
        mean, std = mean_and_std(training)
        stats = class_stats(training, class_map)
        mark = fingerprint(splits, class_map, self.reading)
        return DataSource(
            name=self.called,
            task=class_map.task,
            channels=len(mean),
            splits=self.examples(splits, class_map, mark),
            stats=stats,
            mean=mean,
            std=std,
            fingerprint=mark,
            notes=[
                *survey.listing.notes,
                *notes,
                *dropped_alpha(survey.sound),
                *overlap_note(training, class_map),
                f"classes from {class_map.origin}{ids_taken(training, class_map)}",
                *ids_noted(training, stats),
            ],
            dtype=training[0].depth,
            sampling=self.sampling,
            weights=[item.weight for item, _ in splits["train"]],
            warnings=[*survey.listing.warnings, *leak_warning(found)],
        )

    def class_map(self, survey: Survey, splits: Splits, task: Mapping[str, Any]) -> ClassMap:
        """What each id means: from dataset.json, classes.txt or the layout, else from the ids of the training masks.

        Raises:
            UserError: nothing to learn, or a request that contradicts the data.
        """
        own = survey.listing.declared
        objects = own is not None and own.ground is not None  # such a layout has settled ids and names by itself
        declared = (own if objects else read_declared(self.folder) or own) or self._undeclared(splits, task)
        return build_class_map(declared, task, self.ignored, self.classes)

    def _undeclared(self, splits: Splits, task: Mapping[str, Any]) -> Declared:
        ids = {i for _, finding in splits.get("train", ()) for i in finding.ids} - set(self.ignored)
        return declared_from_ids(ids, task.get("num_classes"), splits.get("train", ()))

    def examples(self, splits: Splits, class_map: ClassMap, mark: str) -> dict[str, Examples]:
        """The items of each split, with the cache that was asked for.

        Raises:
            UserError: no room for a cache on disk.
        """
        examples: dict[str, Examples] = {}
        room = int(self.cache_gb * 2**30)
        for split, found in splits.items():
            files = self.uncached(found, class_map)
            task, first = class_map.task, found[0][1]
            shape = (len(first.total), task.num_classes if task.mode == "multilabel" else 0)
            if self.cache == "ram":
                examples[split], room = in_memory(files, shape, first.depth, room, self.max_pixels)
            elif self.cache == "disk":
                states = [state(path) for item, _ in found for path in (item.image, *item.label.files)]
                name = f"{derive(mark, split, self.max_pixels, *states):016x}.bin"
                path = Path(str(self.cache_dir)).expanduser() / name
                examples[split] = on_disk(files, shape, first.depth, path, self.max_pixels)
            else:
                examples[split] = files
        return examples

    def uncached(self, found: Sequence[Found], class_map: ClassMap) -> FileExamples:
        """The items of one split, read anew each time."""
        items, sizes = [item for item, _ in found], [finding.size for _, finding in found]
        known = [places_in(*each, class_map) if self.sampling.looks else NOWHERE for each in found]
        return FileExamples(items, sizes, self.reading, self.rules, class_map, Places(known))

"""`data=folder`: images in images/<split>/, masks of the same stem in masks/<split>/.

root/images/train/a.jpg    root/masks/train/a.png    (val and test likewise; test may be missing)
root/dataset.json or root/classes.txt                (optional: class ids, names, colours, ignored ids)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segtrain import checks
from segtrain.data.cache import RamCache
from segtrain.data.classes import ClassMap, build_class_map, declared_from_ids, read_declared
from segtrain.data.readers import IMAGE_SUFFIXES, MASK_SUFFIXES, READERS, read_image, read_mask
from segtrain.data.scan import SHOWN, Finding, Pair, mean_and_std, refuse, scan
from segtrain.data.source import Array, DataSource, Examples
from segtrain.errors import UserError
from segtrain.seeds import derive
from segtrain.task import ClassStats

SPLITS = ("train", "val", "test")
CHANNELS = 3  # every reader gives RGB
Scanned = dict[str, list[tuple[Pair, Finding]]]


def open_folder(
    task: Mapping[str, Any],
    root: str,
    *,
    name: str | None = None,
    reader: str = "opencv",
    ignore_ids: int | str | Sequence[int] = (),
    classes: Mapping[int | str, str] | None = None,
    cache: str = "ram",
    cache_gb: float = 2.0,
    scan_dir: str | None = None,
) -> DataSource:
    """Look through a folder of images and masks and make it a data source.

    Args:
        task: the request: mode ("auto" or a mode), num_classes, ignore_index, names, palette.
        root: the folder.
        name: of the data set, for run folders; the folder's own name where None.
        reader: of images, a key of READERS.
        ignore_ids: id or ids of the mask files that carry no label, beside those the data set declares.
        classes: view on the classes, {id or name in the files: new name}; see build_class_map.
        cache: "ram" keeps decoded images in memory, "none" reads them anew each time.
        cache_gb: most memory for it, in GiB, per split and loading process.
        scan_dir: where the findings of the scan are kept for the next run; None keeps nothing.

    Raises:
        UserError: no such folder, nothing in it, or faulty files (all listed at once).
    """
    checks.choice("data.reader", reader, READERS)
    checks.choice("data.cache", cache, ("ram", "none"))
    limit = int(checks.number("data.cache_gb", cache_gb, 0) * 2**30)
    if classes is not None and not isinstance(classes, Mapping):
        raise UserError(f"data.classes must map ids to names, such as '{{9: pedestrian}}'; got {classes!r}")
    if isinstance(ignore_ids, (int, str)):
        ignore_ids = [checks.whole("data.ignore_ids (or a list of them)", ignore_ids, 0)]
    folder = Path(root).expanduser()
    pairs, faults = find_pairs(folder)
    scanned, unsound = _scan(folder, pairs, scan_dir)
    faults += unsound
    try:
        ids = {i for _, finding in scanned["train"] for i in finding.ids} - set(ignore_ids)
        declared = read_declared(folder) or declared_from_ids(ids, task.get("num_classes"))
        class_map = build_class_map(declared, task, ignore_ids, classes)
    except UserError:
        refuse(f"{folder}", faults)  # what is wrong with the files comes before what follows from it
        raise
    refuse(f"{folder}", faults + _unknown_ids(scanned, class_map))
    splits: dict[str, Examples] = {}
    for split, found in scanned.items():
        files = FolderExamples([pair for pair, _ in found], [finding.size for _, finding in found], reader, class_map)
        splits[split] = RamCache(files, limit) if cache == "ram" else files
    training = [finding for _, finding in scanned["train"]]
    stats = class_stats(training, class_map)
    mean, std = mean_and_std(training)
    return DataSource(
        name=name or folder.resolve().name,
        task=class_map.task,
        channels=CHANNELS,
        splits=splits,
        stats=stats,
        mean=mean,
        std=std,
        fingerprint=_fingerprint(scanned, class_map, reader),
        notes=[f"classes from {class_map.origin}", *([_ids_in(training)] if 0 in stats.positives else [])],
    )


class FolderExamples:
    """The files of one split; masks come with canonical ids. Implements Examples."""

    def __init__(
        self, pairs: Sequence[Pair], sizes: Sequence[tuple[int, int]], reader: str, class_map: ClassMap
    ) -> None:
        self.ids = [pair.id for pair in pairs]
        self.sizes = sizes
        self._pairs = pairs
        self._reader = reader
        self._class_map = class_map

    def read(self, index: int) -> tuple[Array, Array]:
        """Image [H, W, 3] uint8 and canonical mask; raises UserError where a file has changed or gone."""
        pair = self._pairs[index]
        image, ids = read_image(pair.image, self._reader), read_mask(pair.mask)
        unknown = self._class_map.unknown(np.unique(ids).tolist())
        if unknown or not image.shape[:2] == ids.shape == tuple(self.sizes[index]):
            found = f"{ids.shape[1]} x {ids.shape[0]} pixels, unknown ids {unknown}"
            raise UserError(f"{pair.mask}: image or mask has changed since the start ({found}); start again")
        return image, self._class_map.apply(ids)


def find_pairs(root: Path) -> tuple[dict[str, list[Pair]], list[str]]:
    """Match images and masks by stem in each split.

    Returns:
        The pairs of each split, and a sentence for each file without its partner and each empty split.

    Raises:
        UserError: a missing folder.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder; give the one that holds images/ and masks/")
    pairs: dict[str, list[Pair]] = {}
    faults: list[str] = []
    for split in SPLITS:
        images, masks = root / "images" / split, root / "masks" / split
        if split == "test" and not images.is_dir():
            continue
        for folder in (images, masks):
            if not folder.is_dir():
                raise UserError(f"{folder}: no such folder; data=folder needs images/{split} and masks/{split}")
        pairs[split], found = _match(images, masks)
        faults += found
    return pairs, faults


def _match(images: Path, masks: Path) -> tuple[list[Pair], list[str]]:
    by_stem = [_by_stem(folder, suffixes) for folder, suffixes in ((images, IMAGE_SUFFIXES), (masks, MASK_SUFFIXES))]
    faults = [fault for _, found in by_stem for fault in found]
    image_of, mask_of = (files for files, _ in by_stem)
    if not image_of:
        faults.append(f"{images}: no images ({', '.join(IMAGE_SUFFIXES)})")
    faults += [f"{image_of[s]}: no mask {masks / s}.png" for s in sorted(image_of.keys() - mask_of.keys())]
    faults += [f"{mask_of[s]}: no image {images / s}.*" for s in sorted(mask_of.keys() - image_of.keys())]
    both = sorted(image_of.keys() & mask_of.keys())
    return [Pair(stem, image_of[stem], mask_of[stem]) for stem in both], faults


def _by_stem(folder: Path, suffixes: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (*suffixes, *IMAGE_SUFFIXES) and p.name[0] != ".")
    counted = Counter(path.stem for path in files)
    twice = [f"{folder}: {stem} stands there {n} times, in different formats" for stem, n in counted.items() if n > 1]
    return {path.stem: path for path in files}, twice


def _scan(root: Path, pairs: dict[str, list[Pair]], scan_dir: str | None) -> tuple[Scanned, list[str]]:
    """Findings about the sound pairs of each split, and the faults of the others."""
    kept = Path(scan_dir) / f"{derive(str(root.resolve())):x}.json" if scan_dir else None
    findings = iter(scan([pair for split in pairs.values() for pair in split], kept))
    scanned = {split: [(pair, next(findings)) for pair in files] for split, files in pairs.items()}
    faults = [finding.fault for found in scanned.values() for _, finding in found if finding.fault]
    sound = {split: [(p, f) for p, f in found if not f.fault] for split, found in scanned.items()}
    return sound, faults


def _unknown_ids(scanned: Scanned, class_map: ClassMap) -> list[str]:
    return [
        f"{pair.mask}: ids {unknown} are none of the classes ({class_map.origin}); "
        "declare them there, or ignore them with data.ignore_ids"
        for found in scanned.values()
        for pair, finding in found
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


def _ids_in(training: Sequence[Finding]) -> str:
    """What is there instead, where a class never occurs: an id that is ignored or was not expected, perhaps."""
    ids = sorted({i for finding in training for i in finding.ids})
    return f"masks/train holds the ids {', '.join(map(str, ids[:SHOWN]))}{', ...' if len(ids) > SHOWN else ''}"


def _fingerprint(scanned: Scanned, class_map: ClassMap, reader: str) -> str:
    """Changes with the files' names, sizes and contents (through their sums), the classes and the reader."""
    files = [(split, p.id, f.size, f.total, f.ids) for split, found in scanned.items() for p, f in found]
    return f"{derive(reader, str(class_map.task), str(class_map.table.tolist()), str(files)):016x}"

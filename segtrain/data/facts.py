"""What the findings about all files say of the data set: its splits, statistics, and what does not go together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from segtrain.data.classes import ClassMap
from segtrain.data.examples import where
from segtrain.data.finding import Finding, Found
from segtrain.data.listing import SPLITS, Item
from segtrain.data.overlaps import pixels_of
from segtrain.data.sampling import Pixels, merge_places
from segtrain.data.scan import SHOWN
from segtrain.decode.reading import Reading
from segtrain.seeds import derive
from segtrain.task import ClassStats

SOME = 8  # classes whose ids are named in one line

Splits = Mapping[str, Sequence[Found]]


def by_split(found: Iterable[Found]) -> dict[str, list[Found]]:
    """The items of each split that has any; those that are in none are left out."""
    splits: dict[str, list[Found]] = {split: [] for split in SPLITS}
    for item, finding in found:
        if item.split:
            splits[item.split].append((item, finding))
    return {split: members for split, members in splits.items() if members}


def mixed(found: Sequence[Found]) -> list[tuple[Item, str]]:
    """Each image whose channels or depth are not those of most, with a sentence."""
    kinds = Counter((len(finding.total), finding.depth) for _, finding in found)
    if len(kinds) < 2:
        return []
    usual = kinds.most_common(1)[0][0]
    return [
        (
            item,
            f"{item.image}: {len(finding.total)} channels of {finding.depth}, but most images have {usual[0]} of "
            f"{usual[1]}; "
            + (
                "set data.channels=rgb, or save all with equally many"
                if finding.depth == usual[1]
                else f"save it with {'8 bits' if usual[1] == 'uint8' else 'as many bits as the others'}"
            ),
        )
        for item, finding in found
        if (len(finding.total), finding.depth) != usual
    ]


def dropped_alpha(found: Sequence[Found]) -> list[str]:
    """A note where transparency was dropped that was not opaque."""
    images = [item.image for item, finding in found if finding.transparent]
    more = f" and {len(images) - 1} more" if len(images) > 1 else ""
    return [f"the transparency of {images[0].name}{more} is dropped"] if images else []


def places_in(item: Item, finding: Finding, class_map: ClassMap) -> Pixels:
    """Pixels of each class of an item."""
    return merge_places(finding.places, finding.ids, class_map.table, derive("places", item.id))


def unknown_ids(found: Iterable[Found], class_map: ClassMap) -> list[str]:
    """A sentence for each label with ids that are none of the classes."""
    return [
        f"{where(item)}: ids {unknown} are none of the classes ({class_map.origin}); "
        "declare them there, or ignore them with data.ignore_ids"
        for item, finding in found
        if (unknown := unknown_in(finding, class_map))
    ]


def unknown_in(finding: Finding, class_map: ClassMap) -> list[int]:
    """The ids of a label, those below others included, that are none of the classes."""
    return class_map.unknown({*finding.ids, *(i for ids, _ in finding.shared for i in ids)})


def class_stats(findings: Sequence[Finding], class_map: ClassMap) -> ClassStats:
    """Class statistics of the scanned masks, by canonical class."""
    task = class_map.task
    classes = [1] if task.mode == "binary" else list(range(task.num_classes))
    positives, present, valid = ([0] * len(classes) for _ in range(3))
    for finding in findings:
        counted = pixels_of(finding, class_map)
        ignored = sum(pixels for ids, pixels in counted if task.ignore_index in ids)
        for place, index in enumerate(classes):
            of_class = [(ids, pixels) for ids, pixels in counted if index in ids]
            hidden = sum(pixels for ids, pixels in of_class if task.ignore_index in ids)  # a yes is a label there
            labelled = finding.size[0] * finding.size[1] - ignored + hidden
            valid[place] += labelled
            positives[place] += sum(pixels for _, pixels in of_class)
            present[place] += labelled if of_class else 0
    return ClassStats(positives, valid, present, len(findings))


def ids_noted(training: Sequence[Finding], stats: ClassStats) -> list[str]:
    """The ids that the training masks hold, where a class does not occur in them: it may be called otherwise there."""
    if 0 not in stats.positives:
        return []
    ids = sorted({i for finding in training for i in finding.ids})
    return [f"the training masks hold the ids {', '.join(map(str, ids[:SHOWN]))}{', ...' if len(ids) > SHOWN else ''}"]


def meaning(class_map: ClassMap, seen: Collection[int]) -> dict[str, list[int]]:
    """Ids of the files by class, declared ones too; last those that are ignored and were seen, as "ignored"."""
    task = class_map.task
    names = ["background", *task.names] if task.mode == "binary" else list(task.names)
    ids = {name: [int(i) for i in (class_map.table == index).nonzero()[0]] for index, name in enumerate(names)}
    ignored = sorted(i for i in seen if class_map.table[i] == task.ignore_index)
    return ids | ({"ignored": ignored} if ignored else {})


def ids_taken(training: Sequence[Finding], class_map: ClassMap) -> str:
    """Which ids are taken for what, where nobody declared it: ": 0 = background, 255 = ignored"; not more than SOME."""
    if not class_map.inferred:
        return ""
    found = meaning(class_map, {i for finding in training for i in finding.ids})
    said = [f"{','.join(map(str, ids[:SOME])) or '-'} = {name}" for name, ids in found.items()]
    return ": " + ", ".join(said if len(said) <= SOME + 1 else [*said[:SOME], "...", said[-1]])


def fingerprint(splits: Splits, class_map: ClassMap, reading: Reading) -> str:
    """Changes with the files' names, weights, sizes and contents (through their sums), the classes and the reader."""
    files = [
        (split, i.id, i.weight, f.size, f.total, f.ids, f.shared) for split, found in splits.items() for i, f in found
    ]
    settings = (reading.reader, reading.content, str(class_map.task), str(class_map.table.tolist()))
    return f"{derive(*settings, str(files)):016x}"

"""What the ids of masks mean where nobody declared it, and signs that they mean something else."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from segtrain.data.classes import ClassMap, Declared, FileClass
from segtrain.data.examples import where
from segtrain.data.finding import Found
from segtrain.errors import UserError
from segtrain.task import IGNORE

MOST_UNDECLARED = 64  # more ids than that come from smoothing, not from a person
MANY = 0.1  # share of the masks above which a second convention is no slip of the pen
MOST = 0.9  # share of the masks that must be numbered without gaps before ids are called numbers of objects
FEW = 5  # numbers of objects in the fullest mask; fewer may well be classes
DIFFERENT = 3  # numbers of objects that occur; masks of classes without gaps mostly hold the same ones


def declared_from_ids(ids: Collection[int], num_classes: int | None, found: Sequence[Found] = ()) -> Declared:
    """Classes from the union of the ids of all training masks (or from the number asked for).

    {0, 255} alone is background and foreground; beside other ids 255 means ignored.

    Args:
        ids: of all training masks.
        num_classes: as asked for.
        found: the training masks, which tell numbers of objects from grey levels.

    Raises:
        UserError: a single id, which leaves nothing to learn.
    """
    held = sorted(ids)
    if num_classes not in (None, 1) and held != [0, IGNORE]:  # 1 is what a binary task has: two ids
        return Declared([FileClass(i, f"class_{i}") for i in range(num_classes or 0)], {IGNORE}, inferred=True)
    ignored = {IGNORE} if IGNORE in held and held != [0, IGNORE] else set()
    real = [i for i in held if i not in ignored]
    if len(real) < 2:
        raise UserError(f"the training masks hold only the ids {held}: at least two classes are needed to learn from")
    if len(real) > MOST_UNDECLARED and (fullest := numbered(found)):
        raise UserError(f"the training masks hold {len(real)} different ids: {numbers_said(fullest)}")
    if len(real) > MOST_UNDECLARED:
        raise UserError(
            f"the training masks hold {len(real)} different ids: they look like resized or grey-level pictures; "
            "save class ids without smoothing, set data.mask_threshold=128 where there are two classes, or list the "
            "classes in classes.txt"
        )
    names = ["background", "foreground"] if len(real) == 2 else [f"class_{i}" for i in real]
    return Declared([FileClass(i, name) for i, name in zip(real, names, strict=True)], ignored, inferred=True)


def numbers_said(fullest: Found) -> str:
    """What numbers of objects in the place of classes are, and what to do."""
    return (
        "they look like numbers of objects, not of classes, since each mask has 1 to n without gaps "
        f"({where(fullest[0])} has {max(fullest[1].ids)}); save ids of classes, or take all above 0 for one class with "
        "data.mask_threshold=0"
    )


def two_conventions(found: Sequence[Found], class_map: ClassMap) -> list[str]:
    """A sentence where some masks hold 0 and 255, and others 0 and other ids, but none both.

    255 beside other ids is ignored; here it seems to be foreground, saved in another way in some files.
    """
    if IGNORE not in class_map.guessed:
        return []
    two = [item for item, finding in found if set(finding.ids) == {0, IGNORE}]
    others = [(item, set(finding.ids)) for item, finding in found if set(finding.ids) - {0, IGNORE}]
    both = any(IGNORE in ids for _, ids in others)
    if both or not others or len(two) < MANY * len(found):
        return []
    ids = sorted(set().union(*(ids for _, ids in others)) - {0})
    threshold = "take all above 0 for one class with data.mask_threshold=0, " if len(ids) == 1 else ""
    return [
        f"{len(two)} of {len(found)} masks ({len(two) / len(found):.0%}) hold 0 and 255 alone ({where(two[0])}), "
        f"others 0 and {_some(ids)} ({where(others[0][0])}), so 255 seems to be foreground in the former; "
        f"{threshold}save all alike, or, if 255 is unlabelled, say so with data.ignore_ids=255"
    ]


def numbered(found: Sequence[Found]) -> Found | None:
    """The fullest mask where the ids of (nearly) each are 1 to n without gaps, n its own: they number objects."""
    numbers = [sorted(set(finding.ids) - {0}) for _, finding in found]
    filled = [(ids, one) for ids, one in zip(numbers, found, strict=True) if ids]
    whole = [(ids[-1], one) for ids, one in filled if ids == list(range(1, len(ids) + 1))]
    if len(whole) < MOST * len(filled) or len({last for last, _ in whole}) < DIFFERENT:
        return None
    most, fullest = max(whole, key=lambda pair: pair[0])
    return fullest if most >= FEW else None


def _some(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")

"""Splits made from the data itself: by chance or in folds, balanced by pixels, groups kept together, kept in a file.

    data.split=random data.val_share=.2 data.test_share=.1
    data.split=kfold data.folds=5 data.fold=0
    data.group='^(patient\\d+)_'

A split, once made, stands in a file and is read from it ever after: the same images are tested tomorrow, and images
that were added meanwhile are an error instead of a silent change.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segtrain import checks
from segtrain.data.finding import Found
from segtrain.data.listing import SPLITS
from segtrain.data.scan import refuse
from segtrain.data.splitfile import keys_of, read_division, relative, some, unique_names, write_division
from segtrain.data.stratify import assign, groups_of, named_groups
from segtrain.errors import UserError
from segtrain.seeds import derive

HELD_OUT = 0.1  # share of the test images where the data has none of its own and none is asked for


@dataclass(frozen=True)
class Splitting:
    """How images come into train, val and test.

    Args:
        mode: "given" (as the layout says), "random" or "kfold". The latter two divide all images but those that
            the layout calls test.
        val_share: of the images that are divided, mode random.
        test_share: of all images, where the layout has no test images; None is .1 in mode random, 0 in kfold.
        folds: number of folds, at least 2.
        fold: which of them is val, from 0.
        stratify: whether each part gets its share of the pixels of each class, and not only of the images.
        group: regular expression searched in an image's path below the root; images with the same match (its
            first bracket, where it has one) stay together. None: the groups that the layout knows.
        seed: of the division.
        file: where the division stands; None: in a file below `folder`.
        folder: for files that are not named.

    Raises:
        UserError: a setting is out of range.
    """

    mode: str = "given"
    val_share: float = 0.2
    test_share: float | None = None
    folds: int = 5
    fold: int = 0
    stratify: bool = True
    group: str | None = None
    seed: int = 0
    file: str | None = None
    folder: str | None = None

    def __post_init__(self) -> None:
        checks.choice("data.split", self.mode, ("given", "random", "kfold"))
        checks.number("data.val_share", self.val_share, 0, 0.9, above=0)
        if self.test_share is not None:
            checks.number("data.test_share", self.test_share, 0, 0.9)
        checks.whole("data.folds", self.folds, 2)
        checks.whole("data.fold", self.fold, 0, self.folds - 1)
        checks.flag("data.stratify", self.stratify)
        checks.whole("data.split_seed", self.seed, 0, math.inf)
        if self.mode == "random" and self.val_share + self.held_out >= 1:
            shares = f"data.val_share={self.val_share} and data.test_share={self.held_out}"
            raise UserError(f"{shares} leave no images to train on; lower one of them")
        if self.group is not None:
            try:
                re.compile(self.group)
            except re.error as error:
                raise UserError(f"data.group={self.group!r} is no regular expression: {error}") from error

    @property
    def held_out(self) -> float:
        """Share of the test images where the layout has none."""
        return self.test_share if self.test_share is not None else HELD_OUT * (self.mode == "random")

    def parts(self, tested: bool) -> dict[str, float]:
        """Share of the images of each part: of the splits, or of "0", "1", ... and "test" in folds.

        Args:
            tested: whether the layout has test images, which are not divided.
        """
        test = 0.0 if tested else self.held_out
        if self.mode == "kfold":
            parts = {str(fold): (1 - test) / self.folds for fold in range(self.folds)}
        else:
            parts = {"train": 1 - self.val_share - test, "val": self.val_share}
        return parts | ({"test": test} if test else {})

    def split_of(self, part: str) -> str:
        """The split that a part is used as."""
        if part in SPLITS:
            return part
        return "val" if part == str(self.fold) else "train"

    def path(self, root: Path, tested: bool) -> Path | None:
        """The file that the division stands in; None where none is kept."""
        if self.file is not None:
            return Path(self.file).expanduser()
        if self.folder is None:
            return None
        mark = derive(str(root.resolve()), self.text(tested)) & 0xFFFFFF
        return Path(self.folder) / f"{root.resolve().name}_{self.mode}_{mark:06x}.tsv"

    def text(self, tested: bool) -> str:
        """What the division depends on besides the images, in words."""
        parts = ", ".join(f"{name} {share:.3g}" for name, share in self.parts(tested).items())
        how = "balanced by pixels" if self.stratify else "by images"
        return f"{self.mode}: {parts}; {how}; group {self.group or 'of the data'}; seed {self.seed}"


def divide(found: Sequence[Found], root: Path, splitting: Splitting) -> tuple[list[Found], list[str]]:
    """Give each item its split.

    Args:
        found: sound items with their findings.
        root: of the data.
        splitting: how.

    Returns:
        The items with their splits, and notes for the user.

    Raises:
        UserError: groups that lie in several splits, too few of them, or a file that does not fit the images.
    """
    named = named_groups(found, root, splitting.group)
    if splitting.mode != "given":
        return _divided(found, named, root, splitting)
    _refuse_undivided(found)
    _refuse_leaks(found, named, root)
    return list(found), []


def _divided(
    found: Sequence[Found], named: Sequence[str], root: Path, splitting: Splitting
) -> tuple[list[Found], list[str]]:
    """All but the layout's test images dealt out anew, or as the file of an earlier division says."""
    tested = any(item.split == "test" for item, _ in found)
    keys = keys_of([item for item, _ in found], root)
    free = [i for i, (item, _) in enumerate(found) if item.split != "test"]
    of_free, parts = [keys[i] for i in free], splitting.parts(tested)
    path = splitting.path(root, tested)
    kept = path is not None and path.is_file()
    if path is not None and kept:
        part_of = read_division(path, of_free, {"test", *parts})
    else:
        groups, findings = groups_of(found, named), [found[i][1] for i in free]
        dealt = assign(findings, [groups[i] for i in free], parts, splitting.stratify, splitting.seed)
        part_of = dict(zip(of_free, dealt, strict=True))
    names = unique_names([item for item, _ in found], keys)
    divided = [
        (replace(item, id=name, split=splitting.split_of(part_of.get(key, "test"))), finding)
        for (item, finding), key, name in zip(found, keys, names, strict=True)
    ]
    _refuse_leaks(divided, named, root)
    if path is not None and not kept:
        write_division(path, splitting.text(tested), part_of)
    return divided, [] if path is None else [f"splits from {path}" if kept else f"splits made, and kept in {path}"]


def _refuse_undivided(found: Sequence[Found]) -> None:
    free = [item.image.name for item, _ in found if not item.split]
    if free:
        raise UserError(
            f"no split is given for {some(free)}; make one with data.split=random, or data.split=kfold data.fold=0"
        )


def _refuse_leaks(found: Sequence[Found], named: Sequence[str], root: Path) -> None:
    """Named groups must not lie in several splits, test images that the layout keeps included.

    (Identical images there are for `check` to tell.)
    """
    splits: dict[str, dict[str, str]] = defaultdict(dict)
    for (item, _), group in zip(found, named, strict=True):
        if group:
            splits[group].setdefault(item.split, relative(item.image, root))
    leaking = {group: places for group, places in splits.items() if len(places) > 1}
    refuse(f"{root}", [_leak(group, places) for group, places in leaking.items()])


def _leak(group: str, places: Mapping[str, str]) -> str:
    """The sentence about one; the layout's test images are not divided anew."""
    remedy = "leave some out with data.exclude" if "test" in places else "make new ones with data.split=random"
    return (
        f"group {group} lies in {' and '.join(places)} ({', '.join(places.values())}); "
        f"images of a group must be in one split: move them there, or {remedy}"
    )

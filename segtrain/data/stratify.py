"""Dealing images out to splits: groups stay together, and each split gets its share of images and of pixels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segtrain.data.finding import Finding, Found
from segtrain.data.splitfile import relative, some
from segtrain.errors import UserError
from segtrain.seeds import derive


def named_groups(found: Sequence[Found], root: Path, pattern: str | None) -> list[str]:
    """What the group of each item is called, by the pattern or else by the layout; "" for a group of its own.

    Raises:
        UserError: images that the pattern does not match.
    """
    return [item.group for item, _ in found] if pattern is None else _matches(found, root, pattern)


def groups_of(found: Sequence[Found], named: Sequence[str]) -> list[int]:
    """The group of each item as a number; identical images are of one group, whatever else is said.

    Args:
        found: items with their findings.
        named: what the group of each is called, "" where it has none.
    """
    parent = list(range(len(found)))  # a forest: items whose root is the same are of one group

    def top(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, (name, (_, finding)) in enumerate(zip(named, found, strict=True)):
        for key in (("group", name), ("digest", finding.digest)):
            if key[1]:
                parent[top(index)] = top(first.setdefault(key, index))
    return [top(index) for index in range(len(found))]


def _matches(found: Sequence[Found], root: Path, pattern: str) -> list[str]:
    texts = [relative(item.image, root) for item, _ in found]
    matches = [re.search(pattern, text) for text in texts]
    missed = [text for text, match in zip(texts, matches, strict=True) if match is None]
    if missed:
        raise UserError(f"data.group='{pattern}' matches nothing in {some(missed)}; it must match every image's path")
    return [next((g for g in match.groups() if g is not None), match[0]) for match in matches if match]


def assign(
    findings: Sequence[Finding], groups: Sequence[int], shares: Mapping[str, float], stratify: bool, seed: int
) -> list[str]:
    """The part of each item: groups are dealt out, the largest first, each to the part that lacks most of what it has.

    What a group has: its share of all images and, if stratified, of the pixels of each class of the files.

    Args:
        findings: of the items.
        groups: number of each item's group.
        shares: of each part in the whole.
        stratify: whether pixels count, and not only images.
        seed: of the order in which equal groups are dealt.

    Raises:
        UserError: fewer groups than parts.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    if len(members) < len(shares):
        raise UserError(
            f"data.split makes {len(shares)} parts ({', '.join(shares)}) of {len(findings)} images in {len(members)} "
            "groups: each part needs a group at least, and what must stay together (a stack, a patient, copies of an "
            "image) is one group; make fewer parts, or add data"
        )
    features = features_of(findings, stratify)
    content = np.stack([features[rows].sum(0) for rows in members.values()])
    order = np.random.default_rng(derive(seed, "split")).permutation(len(content))
    order = order[np.argsort(-content[order].max(1), kind="stable")]
    dealt = deal(content[order], np.array(list(shares.values())))
    names, rows_of = list(shares), list(members.values())
    parts = [""] * len(findings)
    for place, part in zip(order.tolist(), dealt, strict=True):
        for row in rows_of[place]:
            parts[row] = names[part]
    return parts


def features_of(findings: Sequence[Finding], stratify: bool) -> npt.NDArray[np.float64]:
    """[images, 1 + ids]: the share of each image in all images and in all pixels of each id of the files."""
    ids = sorted({i for finding in findings for i in finding.ids}) if stratify else []
    columns = [[1.0] * len(findings), *([finding.ids.get(i, 0) for finding in findings] for i in ids)]
    table = np.array(columns, dtype=np.float64).T
    return np.asarray(table / table.sum(0))


def deal(content: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]) -> list[int]:
    """The part of each group [groups, features], in this order, for parts of these shares of the whole.

    Each goes where the squared distance of what all parts have from what they should have (in units of the latter)
    grows least; no part is left empty.
    """
    wanted = shares[:, None] * content.sum(0)
    have = np.zeros_like(wanted)
    dealt: list[int] = []
    for place, group in enumerate(content):
        growth = (group * (group + 2 * (have - wanted))).sum(1) / shares
        empty = ~np.isin(np.arange(len(shares)), dealt)
        if empty.sum() == len(content) - place:  # as many groups are left as parts have none
            growth[~empty] = np.inf
        best = int(growth.argmin())
        have[best] += group
        dealt.append(best)
    return dealt

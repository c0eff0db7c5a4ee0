"""Pixels that several ids claim: how they count, and when the user should hear of them."""

from __future__ import annotations

from collections.abc import Sequence

from segtrain.data.classes import ClassMap
from segtrain.data.finding import Finding
from segtrain.data.raster import GROUND


def pixels_of(finding: Finding, class_map: ClassMap) -> list[tuple[set[int], int]]:
    """Canonical ids that a pixel has (one, except in multilabel), and the number of such pixels."""
    if class_map.task.mode == "multilabel":
        return [(class_map.meaning(ids), pixels) for ids, pixels in finding.combinations]
    return [(class_map.meaning([index]), pixels) for index, pixels in finding.ids.items()]


def overlap_note(findings: Sequence[Finding], class_map: ClassMap) -> list[str]:
    """How much of the objects' pixels objects of several classes claim, where a task of exclusive classes hides it."""
    if class_map.task.mode != "multiclass":
        return []
    nothing = {*class_map.meaning([GROUND]), class_map.task.ignore_index}
    counted = [(class_map.meaning(i) - nothing, n) for f in findings for i, n in f.combinations]
    objects = sum(pixels for ids, pixels in counted if ids)
    several = sum(pixels for ids, pixels in counted if len(ids) > 1)
    if not several:
        return []
    return [f"{several / objects:.2%} of the objects' pixels belong to several classes; task=multilabel keeps them all"]

"""The two sheets of a preview: a grid of samples, and the same samples through several pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from segtrain.draw import IGNORED, Ids, Picture, color_table, overlay, to_rgb
from segtrain.preview.samples import Stages
from segtrain.preview.sheet import Cell, Sheet, Swatch, draw_sheet
from segtrain.task import Task
from segtrain.windows import Size

WIDTH = 2260  # pixels that the pictures of a row share, within the limits
LEAST, MOST = 128, 480  # pixels of one picture's width
TALL = 1.5  # a picture is at most so many times as high as the room for its width
STRENGTH = 0.4  # of the mask's colours
STRIPES, LIGHT = 12, (200, 200, 200)  # across ignored pixels: distance in pixels, colour
EDGE = 90  # grey of the edge of a colour in the legend
HEADS, WITH_MASK = ("original", "augmented", "input"), ", with mask"
UNCHANGED = "unchanged"
SHOWN_CLASSES = 40


def side_of(pictures: int) -> int:
    """Width in pixels of each of so many pictures beside each other."""
    return max(LEAST, min(MOST, WIDTH // pictures))


def sample_cell(sample: Stages, task: Task, side: int, mask: bool = True) -> Cell:
    """Crop, augmented, and what the net gets, where wanted with its mask in colours."""
    original, changed, shown, seen = _pictures(sample, task, side, mask)
    return Cell([original, changed, shown], sample.name, sample.ops or [UNCHANGED], seen)


def image_cell(sample: Stages, task: Task, side: int) -> Cell:
    """The crop alone."""
    return Cell([_pictures(sample, task, side)[0]], sample.name)


def overlay_cell(sample: Stages, task: Task, side: int, mask: bool = True) -> Cell:
    """What the net gets, where wanted with its mask in colours."""
    _, _, shown, seen = _pictures(sample, task, side, mask)
    return Cell([shown], "", sample.ops or [UNCHANGED], seen)


def sample_sheet(cells: Sequence[Cell], columns: int, task: Task, title: str, side: int) -> Picture:
    """A grid.

    Args:
        cells: of sample_cell.
        columns: cells beside each other.
        task: names and colours of the classes.
        title: above all; may be empty.
        side: for which the cells were made.
    """
    columns = min(columns, len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    last = HEADS[2] + WITH_MASK * any(cell.classes for cell in cells)
    return draw_sheet(Sheet(title, (*HEADS[:2], last) * columns, rows, legend(cells, task)), side)


def compare_sheet(
    originals: Sequence[Cell], pipelines: Mapping[str, Sequence[Cell]], task: Task, title: str, side: int
) -> Picture:
    """Samples as rows, pipelines as columns.

    Args:
        originals: of image_cell.
        pipelines: name -> cells of overlay_cell, of the same samples.
        task: names and colours of the classes.
        title: above all; may be empty.
        side: for which the cells were made.
    """
    rows = list(zip(originals, *pipelines.values(), strict=True))
    cells = [cell for row in rows for cell in row]
    return draw_sheet(Sheet(title, [HEADS[0], *pipelines], rows, legend(cells, task)), side)


def legend(cells: Sequence[Cell], task: Task) -> list[Swatch]:
    """The classes that are seen, in their colours, and what ignored pixels look like."""
    seen = {label for cell in cells for label in cell.classes}
    table, first = color_table(task), 1 if task.mode == "binary" else 0
    classes = [(table[first + index], name) for index, name in enumerate(task.names) if first + index in seen]
    entries = [Swatch(_swatch(color), name) for color, name in classes[:SHOWN_CLASSES]]
    if len(classes) > SHOWN_CLASSES:
        entries.append(Swatch(_swatch(np.full(3, 255)), f"and {len(classes) - SHOWN_CLASSES} more"))
    if task.ignore_index in seen:
        swatch = _swatch(np.array(IGNORED))
        entries.append(Swatch(hatched(swatch, np.ones(swatch.shape[:2], bool)), "ignored"))
    return entries


def _swatch(color: npt.NDArray[np.generic]) -> Picture:
    """A rectangle with an edge, so that white is seen too."""
    inner = np.broadcast_to(np.asarray(color, np.uint8), (16, 28, 3))
    return np.pad(inner, ((1, 1), (1, 1), (0, 0)), constant_values=EDGE)


def _pictures(
    sample: Stages, task: Task, side: int, with_mask: bool = True
) -> tuple[Picture, Picture, Picture, frozenset[int]]:
    """Crop, augmented, what the net gets, with its mask or without; and the classes that are seen in it."""
    # one scale for all three: floats are stretched, and each by itself would hide what was done to the light
    channels = sample.original[..., : 3 if sample.original.shape[2] >= 3 else 1]
    brightest = float(np.max(channels, initial=0)) if channels.dtype != np.uint8 else None
    original, changed, image = (
        resized(to_rgb(one, brightest), fitting(one.shape[:2], side))
        for one in (sample.original, sample.changed, sample.image)
    )
    if not with_mask:
        return original, changed, image, frozenset()
    masks = [(nearest(mask, image.shape[:2]), share) for mask, share in sample.masks]
    seen = frozenset(label for mask, _ in masks for label in classes_in(mask, task))
    overlays = np.stack([overlay(image, mask, task, STRENGTH) for mask, _ in masks])
    shown = np.rint(np.tensordot([share for _, share in masks], overlays, 1)).astype(np.uint8)
    # of blended images: what counts in neither
    ignored = np.logical_and.reduce([is_ignored(mask, task) for mask, share in masks if share > 0])
    return original, changed, hatched(shown, ignored), seen


def fitting(size: Size, side: int) -> Size:
    """(height, width) of a picture of an image of this size, its sides in the same ratio."""
    scale = min(side / size[1], TALL * side / size[0])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resized(picture: Picture, size: Size) -> Picture:
    """A picture of (height, width)."""
    way = cv2.INTER_AREA if size[0] < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=way), np.uint8)


def nearest(ids: Ids, size: Size) -> Ids:
    """Ids [(K,) H, W] as (height, width): those at the middle of each new pixel."""
    rows, columns = ((np.arange(new) * 2 + 1) * old // (2 * new) for new, old in zip(size, ids.shape[-2:], strict=True))
    return ids[..., rows[:, None], columns]


def is_ignored(ids: Ids, task: Task) -> npt.NDArray[np.bool_]:
    """Where no class has a label, [H, W]."""
    planes = ids if ids.ndim == 3 else ids[None]
    return np.asarray((planes == task.ignore_index).all(0))


def classes_in(ids: Ids, task: Task) -> frozenset[int]:
    """The ids of a mask; in multilabel the planes that are not empty, and the ignore index."""
    if ids.ndim == 2:
        return frozenset(np.unique(ids).tolist())
    planes = np.flatnonzero((ids == 1).any((1, 2))).tolist()
    return frozenset([*planes, *([task.ignore_index] if is_ignored(ids, task).any() else [])])


def hatched(picture: Picture, where: npt.NDArray[np.bool_]) -> Picture:
    """A picture with stripes across some of its pixels."""
    rows, columns = np.indices(where.shape)
    return np.where((where & ((rows + columns) % STRIPES < 2))[..., None], np.array(LIGHT, np.uint8), picture)

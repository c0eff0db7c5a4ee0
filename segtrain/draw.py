"""Masks as pictures: colours, overlays and panels, as uint8 RGB arrays."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from segtrain.task import Task

Picture = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.integer]

IGNORED = (96, 96, 96)
WRONG, MISSED, RIGHT = (230, 60, 60), (60, 120, 230), (40, 160, 80)
BAND = 2**20  # pixels that are blended at once: as floats they take eight times as much room
PANEL_HEIGHT = 192  # pixels; four columns of it fit a page


def color_table(task: Task) -> Picture:
    """Colour of each id in a class-id mask, [256, 3]: binary 0 is black, the ignore index is grey."""
    table = np.zeros((256, 3), np.uint8)
    first = 1 if task.mode == "binary" else 0
    table[first : first + task.num_classes] = np.array(task.palette, np.uint8)
    if 0 <= task.ignore_index < 256:
        table[task.ignore_index] = IGNORED
    return table


def colorize(ids: Ids, task: Task) -> Picture:
    """Ids [H, W] (or [K, H, W] in multilabel) as colours, [H, W, 3]; overlapping classes show their mean."""
    table = color_table(task)
    if ids.ndim == 2:
        return np.asarray(table[ids], dtype=np.uint8)
    on = (ids == 1)[..., None]
    total = (on * table[: task.num_classes, None, None]).sum(0)
    picture: Picture = (total // np.maximum(on.sum(0), 1)).astype(np.uint8)
    picture[(ids == task.ignore_index).all(0)] = IGNORED
    return picture


def overlay(image: Picture, ids: Ids, task: Task, strength: float = 0.5) -> Picture:
    """Class colours blended over an RGB image, [H, W, 3]; a class that is black, such as the background, leaves it."""
    picture = np.empty_like(image)
    rows = max(1, BAND // image.shape[1])
    for top in range(0, len(image), rows):
        below = image[top : top + rows]
        colors = colorize(ids[..., top : top + rows, :], task)
        blended = (below * (1 - strength) + colors * strength).astype(np.uint8)
        plain = ~colors.any(-1, keepdims=True)  # a black class would look like a darker image
        picture[top : top + rows] = np.where(plain, below, blended)
    return picture


def errors(truth: Ids, predicted: Ids, task: Task) -> Picture:
    """Where the prediction errs: wrong class or false positive red, missed foreground blue, ignored grey."""
    layers = truth.ndim == 3
    ignored, wrong = truth == task.ignore_index, truth != predicted
    missed = wrong & (predicted == 0) & (truth > 0) if task.mode != "multiclass" else np.zeros_like(wrong)
    hit = ~wrong & ((truth > 0) if task.mode != "multiclass" else True)
    picture = np.zeros((*truth.shape[-2:], 3), np.uint8)
    for where, color in ((hit, RIGHT), (wrong & ~missed, WRONG), (missed, MISSED)):
        where = where & ~ignored
        picture[where.any(0) if layers else where] = color
    picture[ignored.all(0) if layers else ignored] = IGNORED
    return picture


def to_rgb(image: npt.NDArray[np.generic], brightest: float | None = None) -> Picture:
    """An image [H, W, C] of any channel count as RGB uint8: its first three channels, or the first as grey.

    8 bits are shown as they are. Floats are stretched: 12 bits in a file of 16, or reflectances, would be black.

    Args:
        image: uint8 or float.
        brightest: the float that is shown as white; None: the largest that is shown.
    """
    shown = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    if image.dtype != np.uint8:
        white = (float(np.max(shown, initial=0)) if brightest is None else brightest) or 1.0
        shown = np.clip(np.asarray(shown, np.float32) * (255 / white), 0, 255)
    return np.ascontiguousarray(shown, dtype=np.uint8)


def panel(image: npt.NDArray[np.generic], truth: Ids, predicted: Ids, task: Task) -> Picture:
    """One row: image, truth, prediction and errors, each PANEL_HEIGHT pixels high."""
    columns = [to_rgb(image), colorize(truth, task), colorize(predicted, task), errors(truth, predicted, task)]
    return np.concatenate([_resize(column) for column in columns], axis=1)


def stack(rows: Sequence[Picture]) -> Picture:
    """Rows of any widths under each other, on white."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded, axis=0)


def _resize(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    size = (max(1, round(width * PANEL_HEIGHT / height)), PANEL_HEIGHT)
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
    return np.pad(resized, ((0, 0), (0, 4), (0, 0)), constant_values=255)

"""What the classes look like: pixels, images, objects and their sizes, counted in every mask of a split.

An object is a connected component (8 neighbours) of a class. Its thickness comes from the distance d of its pixels
to the nearest pixel outside: across a band of width w the mean of d is about w / 4 (OpenCV measures d to the centre of
that pixel, half a pixel more). Length / thickness of an object of area A is then A / thickness^2, about 2 for a disc.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from segtrain.data.scan import Progress
from segtrain.data.tally import count_ids
from segtrain.task import ClassStats, Task
from segtrain.windows import Array

STRIDE = 4  # pixels between the crops that are tried to see how many hold a class
Size = tuple[int, int]


@dataclass(frozen=True)
class ClassFacts:
    """One class in the masks of a split.

    Args:
        name: of the class.
        pixels: of it.
        images: that contain it.
        objects: number of connected components.
        areas: pixels of an object: 10 % quantile, median, 90 % quantile; zeros where there is none.
        extent: 90 % quantile of the longer side of an object's bounding box, in pixels.
        thickness: mean width of its objects, in pixels.
        length: of an object, in thicknesses; about 2 for a disc.
        hit: share of all random crops that hold at least one pixel of it.
    """

    name: str
    pixels: int
    images: int
    objects: int
    areas: tuple[int, int, int]
    extent: int
    thickness: float
    length: float
    hit: float


@dataclass(frozen=True)
class Facts:
    """What a split holds.

    Args:
        task: what is segmented.
        channels: of the images.
        sizes: (height, width) of each image.
        labelled: share of the pixels that are not ignored.
        empty: images without any foreground: of no class, or (multiclass) of class 0 alone.
        classes: each class of the task.
        stats: as a training would count them.
        crop: (height, width) that `hit` speaks of.
    """

    task: Task
    channels: int
    sizes: Sequence[Size]
    labelled: float
    empty: int
    classes: Sequence[ClassFacts]
    stats: ClassStats
    crop: Size


def has_background(task: Task) -> bool:
    """Whether a task has pixels that are of no class, or of one that is called so."""
    return task.mode != "multiclass" or task.names[0] == "background"


class Look(NamedTuple):
    """One class in one mask: areas [n], extents [n], mean distance to the outside (pixels), share of crops."""

    areas: npt.NDArray[np.int32]
    extents: npt.NDArray[np.int32]
    distance: float
    hit: float


class MaskLook(NamedTuple):
    """One mask: labelled pixels of each class, and each class that it has."""

    valid: Sequence[int]
    classes: dict[int, Look]


def measure(
    masks: Callable[[int], Array],
    sizes: Sequence[Size],
    channels: int,
    task: Task,
    crop: Size,
    progress: Progress | None = None,
) -> Facts:
    """Look at every mask of a split.

    Args:
        masks: the canonical mask of each image, by its index.
        sizes: (height, width) of each image, at least one.
        channels: of the images.
        task: of the masks.
        crop: (height, width) in pixels of a training crop.
        progress: told after each image.
    """
    looks = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for look in pool.map(lambda index: look_at(masks(index), task, crop), range(len(sizes))):
            looks.append(look)
            if progress is not None:
                progress(len(looks), len(sizes))
    classes = [_summarize(name, index, looks) for index, name in enumerate(task.names)]
    valid = [sum(look.valid[index] for look in looks) for index in range(task.num_classes)]
    present = [sum(look.valid[i] for look in looks if i in look.classes) for i in range(task.num_classes)]
    pixels = sum(height * width for height, width in sizes)
    background = {0} if task.mode == "multiclass" else set()
    return Facts(
        task=task,
        channels=channels,
        sizes=list(sizes),
        labelled=max(valid) / pixels,
        empty=sum(not set(look.classes) - background for look in looks),
        classes=classes,
        stats=ClassStats([found.pixels for found in classes], valid, present, len(looks)),
        crop=crop,
    )


def look_at(mask: Array, task: Task, crop: Size) -> MaskLook:
    """Look at the canonical mask of one image, [H, W], or [K, H, W] in multilabel."""
    if task.mode == "multilabel":
        counts = [count_ids(np.asarray(plane, np.uint8)) for plane in mask]
        found = {k: plane == 1 for k, plane in enumerate(mask) if counts[k].get(1)}
    else:
        first = 1 if task.mode == "binary" else 0
        counts = [count_ids(np.asarray(mask, np.uint8))] * task.num_classes
        found = {i - first: mask == i for i in counts[0] if first <= i < first + task.num_classes}
    valid = [mask.shape[-2] * mask.shape[-1] - count.get(task.ignore_index, 0) for count in counts]
    return MaskLook(valid, {index: look_at_class(plane, crop) for index, plane in found.items()})


def look_at_class(plane: npt.NDArray[np.bool_], crop: Size) -> Look:
    """The objects of one class, [H, W], true where it is."""
    binary = plane.astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    boxes = boxes[1:]  # the first one is what is not of the class
    distance = cv2.distanceTransform(binary, cv2.DIST_L2, 3)
    extents = boxes[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(1)
    mean = float(cv2.mean(distance, binary)[0])
    return Look(
        np.asarray(boxes[:, cv2.CC_STAT_AREA], np.int32),
        np.asarray(extents, np.int32),
        mean,
        share_of_crops(binary, crop),
    )


def share_of_crops(binary: npt.NDArray[np.uint8], crop: Size) -> float:
    """Share of the random crops of an image that hold a pixel of a class; 1 where a crop takes in the whole image."""
    height, width = (min(wanted, side) for wanted, side in zip(crop, binary.shape, strict=True))
    sums = cv2.integral(binary)
    rows = np.arange(0, binary.shape[0] - height + 1, STRIDE)[:, None]
    columns = np.arange(0, binary.shape[1] - width + 1, STRIDE)[None]
    inside = sums[rows + height, columns + width] - sums[rows, columns + width]
    inside += sums[rows, columns] - sums[rows + height, columns]
    return float((inside > 0).mean())


def _summarize(name: str, index: int, looks: Sequence[MaskLook]) -> ClassFacts:
    found = [look.classes[index] for look in looks if index in look.classes]
    if not found:
        return ClassFacts(name, 0, 0, 0, (0, 0, 0), 0, 0.0, 0.0, 0.0)
    areas = np.concatenate([look.areas for look in found])
    low, middle, high = np.quantile(areas, [0.1, 0.5, 0.9], method="nearest").tolist()
    pixels = int(areas.sum(dtype=np.int64))
    distance = sum(look.distance * float(look.areas.sum(dtype=np.int64)) for look in found) / pixels
    thickness = max(4 * (distance - 0.5), 1.0)
    return ClassFacts(
        name=name,
        pixels=pixels,
        images=len(found),
        objects=len(areas),
        areas=(int(low), int(middle), int(high)),
        extent=int(np.quantile(np.concatenate([look.extents for look in found]), 0.9, method="nearest")),
        thickness=thickness,
        length=pixels / len(areas) / thickness**2,
        hit=sum(look.hit for look in found) / len(looks),
    )

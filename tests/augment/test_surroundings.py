"""What lies around a crop is shown where shapes reach for it: as if the whole image had been moved, and then cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segtrain.augment import build_augmentation
from segtrain.augment.geometry import Move, coordinates
from segtrain.augment.moves import moved_by
from segtrain.data import SegmentationDataset
from segtrain.data.crops import Crops
from segtrain.data.sampler import Key
from segtrain.windows import Window, cut
from tests.augment.samples import IGNORE, PRESETS, sample
from tests.augment.test_geometry import oracle, points

CROP = (40, 48)
SIZES = [(100, 120), (40, 48), (60, 44), (30, 35), (39, 200)]


class One:
    """A split of one image."""

    def __init__(self, size: tuple[int, int], planes: tuple[int, ...] = ()) -> None:
        self.ids, self.sizes = ["one"], [size]
        self.image, self.mask = sample(size, planes)
        self.windows: list[Window] = []

    def read(self, index: int, window: Window | None = None) -> Any:
        assert window is not None
        assert window.top >= 0
        assert window.left >= 0
        assert window.top + window.height <= self.sizes[0][0]
        assert window.left + window.width <= self.sizes[0][1]
        assert min(window.height, window.width) > 0
        self.windows.append(window)
        return cut(self.image, self.mask, window)

    def places(self, index: int) -> Any:
        return np.zeros((0, 3), np.int32)


def shapes(p: float = 1.0) -> dict[str, Any]:
    """The shapes of a preset that fit crops of any sides."""
    return {name: {**op, "p": p} for name, op in PRESETS["geometric"]["train"].items()}


def moved_whole(one: One, augment: Any, crop: Any, seed: int) -> tuple[Any, Any]:
    """The crop after its shapes, looked up pixel by pixel in the whole image."""
    chosen = [(step.name, drawn) for step, drawn in augment.plan(seed).chosen]
    move = moved_by(chosen, CROP) if chosen else Move(np.eye(3))
    exactly = move.pull(points(CROP)) if move.bend is None else np.stack(coordinates(move, CROP), axis=-1)
    return oracle(one.image, one.mask, move, exactly + np.array([crop.left, crop.top]))


@pytest.mark.parametrize("backend", ["albumentations", "torchvision"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("p", [0.15, 1.0])
def test_as_if_the_whole_image_had_been_moved(size: tuple[int, int], p: float, backend: str) -> None:
    one = One(size)
    augment, crops = build_augmentation(shapes(p), CROP, IGNORE, backend), Crops(CROP, IGNORE)
    dataset = SegmentationDataset(one, augment, 3, crops)
    differing = []
    for epoch in range(12):
        key = Key(epoch, 0)
        changed = dataset.change(key)
        crop = dataset._crop(key, crops)
        image, ids = moved_whole(one, augment, crop, dataset.transform_seed(key))
        assert changed.image.shape == (*CROP, 3)
        # at the border of what was read, as at that of the image, there is nothing to be even with
        differing.append(np.abs(changed.image - image).mean())
        assert np.abs(changed.image - image).max() <= 8
        np.testing.assert_array_equal(changed.mask[ids >= 0], ids[ids >= 0])
    assert np.mean(differing) < 0.6


def test_no_corner_is_empty_where_there_is_an_image() -> None:
    one = One((200, 200))
    augment = build_augmentation({"r": {"op": "rotate", "degrees": [20, 45]}}, CROP, IGNORE)
    inner = Crops(CROP, IGNORE)
    dataset = SegmentationDataset(one, augment, 1, inner)
    empty = {True: 0, False: 0}
    for epoch in range(60):
        crop = dataset._crop(Key(epoch, 0), inner)
        inside = 30 < crop.top < 130 and 30 < crop.left < 120
        empty[inside] += int((dataset.change(Key(epoch, 0)).mask == IGNORE).sum())
    assert empty[True] == 0
    assert empty[False] > 0


def test_no_more_is_read_than_is_looked_at() -> None:
    one, crops = One((300, 300)), Crops(CROP, IGNORE)
    for ops, most in (
        ({}, 1.0),
        ({"f": {"op": "hflip"}}, 1.0),
        ({"z": {"op": "scale", "factor": 2.0}}, 0.3),
        ({"z": {"op": "scale", "factor": 0.5}}, 4.1),
        ({"n": {"op": "noise"}}, 1.0),
    ):
        one.windows.clear()
        dataset = SegmentationDataset(one, build_augmentation(ops, CROP, IGNORE), 0, crops)
        for epoch in range(10):
            dataset.change(Key(epoch, 0))
        areas = [window.height * window.width / (CROP[0] * CROP[1]) for window in one.windows]
        assert max(areas) <= most
        assert max(areas) > 0.7 * most


def test_planes_and_a_shift_out_of_the_image() -> None:
    one = One((100, 100), (3,))
    augment = build_augmentation({"t": {"op": "translate", "x": 4000.0, "y": 0.0}}, CROP, IGNORE)
    changed = SegmentationDataset(one, augment, 0, Crops(CROP, IGNORE)).change(Key(0, 0))
    assert (changed.mask == IGNORE).all()
    assert changed.mask.shape == (3, *CROP)
    assert not changed.image.any()

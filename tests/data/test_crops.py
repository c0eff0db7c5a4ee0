"""Crops: where they lie, what is read for them, and how many are placed around a pixel of a class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.data import SegmentationDataset, crops
from segtrain.data.crops import Crops, wanted_classes
from segtrain.data.sampler import Key
from segtrain.data.sampling import Places, Sampling, mask_places, merge_places
from segtrain.errors import UserError
from segtrain.seeds import derive
from segtrain.task import Task
from segtrain.windows import Array, Window, cut
from tests.data.files import noise

IGNORE = 255
SIGMAS = 4.5  # one in 150,000 right tests would fail; seeds are fixed, so none does by chance


class Memory:
    """Given masks with noise as images; notes what is read. Implements Examples."""

    def __init__(self, *masks: Array) -> None:
        self.masks = masks
        self.ids = [f"image_{i}" for i in range(len(masks))]
        self.sizes = [(mask.shape[-2], mask.shape[-1]) for mask in masks]
        self.images = [noise(i, *size) for i, size in enumerate(self.sizes)]
        self.windows: list[Window | None] = []

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        self.windows.append(window)
        return cut(self.images[index], self.masks[index], window)

    def places(self, index: int) -> Array:
        return mask_places(self.masks[index], index)


def blank(height: int, width: int, pixels: Mapping[tuple[int, int], int] | None = None) -> Array:
    mask = np.zeros((height, width), np.uint8)
    for place, value in (pixels or {}).items():
        mask[place] = value
    return mask


def check_share(hits: int, trials: int, share: float) -> None:
    """A count of independent events of that chance."""
    assert abs(hits - trials * share) <= SIGMAS * math.sqrt(trials * share * (1 - share)), (hits / trials, share)


# ---- anywhere ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignore_index", [255, 200])
@pytest.mark.parametrize("planes", [(), (3,)], ids=["exclusive", "multilabel"])
def test_padding_is_ignored_and_crops_keep_the_pixels(ignore_index: int, planes: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (*planes, 20, 40)).astype(np.uint8)  # padded and cropped
    examples = Memory(mask)
    data = SegmentationDataset(examples, None, 0, Crops((32, 32), ignore_index))
    tops, lefts = set(), set()
    for epoch in range(150):
        sample = data[Key(epoch, 0)]
        inside = sample["mask"].reshape(-1, 32, 32)[0] != ignore_index
        assert (sample["mask"] != ignore_index).sum() == 20 * 32 * math.prod(planes)
        assert not sample["image"][~inside].any()
        top = int(inside.any(1).argmax())
        columns = [
            left
            for left in range(9)
            if (sample["image"][top : top + 20] == examples.images[0][:, left : left + 32]).all()
        ]
        np.testing.assert_array_equal(sample["mask"][..., top : top + 20, :], mask[..., columns[0] : columns[0] + 32])
        tops.add(top)
        lefts.add(columns[0])
    assert (tops, lefts) == (set(range(13)), set(range(9)))


sides = st.integers(1, 40)


@given(size=st.tuples(sides, sides), crop=st.tuples(sides, sides), seed=st.integers(0, 2**62), data=st.data())
def test_only_the_window_is_read_and_a_forced_crop_holds_the_pixel(
    size: tuple[int, int], crop: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    place = data.draw(st.tuples(st.integers(0, size[0] - 1), st.integers(0, size[1] - 1)))
    for oversample in (0.0, 1.0):
        examples = Memory(blank(*size, {place: 3}))
        sample = SegmentationDataset(examples, None, seed, Crops(crop, IGNORE, oversample, (1, 3)))[Key(0, 0)]
        (window,) = examples.windows
        assert window is not None
        assert (window.height, window.width) == (min(size[0], crop[0]), min(size[1], crop[1]))
        assert 0 <= window.top <= size[0] - window.height
        assert 0 <= window.left <= size[1] - window.width
        assert sample["image"].shape == (*crop, 3)
        assert sample["mask"].shape == crop
        assert sample["forced"] is (oversample == 1)
        assert (sample["mask"] != IGNORE).sum() == window.height * window.width
        if sample["forced"]:
            assert (sample["mask"] == 3).sum() == 1


def test_every_place_is_as_likely() -> None:
    starts = Counter(Crops((16, 30), IGNORE).choose(Memory(blank(20, 24)), 0, seed)[:2] for seed in range(7000))
    assert set(starts) == {(top, left) for top in range(5) for left in range(-6, 1)}
    for times in starts.values():
        check_share(times, 7000, 1 / 35)


def test_the_pixel_may_be_anywhere_in_a_forced_crop() -> None:
    """Seen from the crop: uniform where the image leaves room on all sides, and no further out than it reaches."""
    middle, corner = Memory(blank(40, 40, {(20, 20): 1})), Memory(blank(40, 40, {(1, 38): 1}))
    forced = Crops((8, 8), IGNORE, 1.0, (1,))
    found = Counter(20 - forced.choose(middle, 0, seed).top for seed in range(4000))
    assert set(found) == set(range(8))
    for times in found.values():
        check_share(times, 4000, 1 / 8)
    near = {forced.choose(corner, 0, seed)[:2] for seed in range(400)}
    assert near == {(top, left) for top in range(2) for left in range(31, 33)}


# ---- forced --------------------------------------------------------------------------------------------------------


def check_forced_share(draw: Callable[[int, int], crops.Crop]) -> None:
    """.33 of the samples, in each epoch and of each image."""
    forced = np.array([[draw(epoch, index).forced for index in range(60)] for epoch in range(60)])
    check_share(int(forced.sum()), forced.size, 0.33)
    for line in (*forced, *forced.T):
        check_share(int(line.sum()), 60, 0.33)
    assert len({line.tobytes() for line in (*forced, *forced.T)}) == 120  # not the same ones each time


def drawn_by_key(epoch: int, index: int) -> crops.Crop:
    examples = Memory(*[blank(30, 30, {(3, 4): 1})] * 60)
    return Crops((8, 8), IGNORE, 0.33, (1,)).choose(examples, index, derive(5, "crop", epoch, index, 0))


@pytest.mark.slow
def test_the_share_of_forced_crops_is_the_one_asked_for() -> None:
    check_forced_share(drawn_by_key)


def test_images_without_a_wanted_class_are_cropped_anywhere() -> None:
    examples = Memory(blank(20, 20), blank(20, 20, {(2, 2): IGNORE}), blank(20, 20, {(2, 2): 2}))
    chosen = [Crops((8, 8), IGNORE, 1.0, (1, 2)).choose(examples, i, s) for i in range(3) for s in range(50)]
    assert [crop.forced for crop in chosen] == [False] * 100 + [True] * 50
    assert len({crop[:2] for crop in chosen[:100]}) > 30


@pytest.mark.parametrize(("background", "classes"), [(False, (1, 4)), (True, (0, 1, 4))])
def test_classes_are_drawn_alike_however_large_they_are(background: bool, classes: tuple[int, ...]) -> None:
    mask = blank(30, 30, {(25, 25): 4})
    mask[:15] = 1
    wanted = wanted_classes(Task("multiclass", 5), Sampling(0.33, background))
    forced, examples = Crops((1, 1), IGNORE, 1.0, wanted), Memory(mask)
    met = Counter(int(mask[forced.choose(examples, 0, seed)[:2]]) for seed in range(3000))
    assert set(met) == set(classes)
    for times in met.values():
        check_share(times, 3000, 1 / len(classes))


@pytest.mark.parametrize(
    ("task", "background", "classes"),
    [
        (Task("binary"), False, (1,)),
        (Task("binary"), True, (0, 1)),
        (Task("multiclass", 4), False, (1, 2, 3)),
        (Task("multilabel", 3), False, (0, 1, 2)),
    ],
)
def test_wanted_classes(task: Task, background: bool, classes: tuple[int, ...]) -> None:
    assert wanted_classes(task, Sampling(0.5, background)) == classes


def test_planes_are_classes() -> None:
    planes = np.stack([blank(30, 30), blank(30, 30, {(3, 4): 1}), blank(30, 30, {(20, 9): 1, (0, 0): IGNORE})])
    assert mask_places(planes, 0).tolist() == [[1, 3, 4], [2, 20, 9]]


# ---- pixels of the classes -----------------------------------------------------------------------------------------


def test_pixels_of_merged_ids_are_as_if_drawn_from_all() -> None:
    """Ids 1 (9 pixels in 10) and 7 are one class; of 8 pixels .8 should be of id 7."""
    places = {0: [(9, 9)], 1: [(0, i) for i in range(8)], 7: [(7, i) for i in range(8)]}
    table = np.full(256, -1, np.int16)
    table[[0, 1, 7]] = 0, 2, 2
    merged = [merge_places(places, {0: 1, 1: 9 * 10**9, 7: 10**9}, table, seed) for seed in range(1000)]
    assert all((pixels[:, 0] == [0, *[2] * 8]).all() for pixels in merged)
    assert {tuple(pixels[0]) for pixels in merged} == {(0, 9, 9)}
    check_share(sum(int((pixels[:, 1] == 7).sum()) for pixels in merged), 8000, 0.1)
    assert {int(column) for pixels in merged for column in pixels[pixels[:, 1] == 7][:, 2]} == set(range(8))
    few = merge_places({1: [(0, 0)], 7: [(7, 7), (7, 8)]}, {1: 1, 7: 2}, table, 0)
    assert sorted(few.tolist()) == [[2, 0, 0], [2, 7, 7], [2, 7, 8]]


def test_places_are_kept_by_image() -> None:
    images = [mask_places(mask, 0) for mask in (blank(5, 5, {(1, 2): 3}), blank(2, 2), blank(1, 1, {(0, 0): 1}))]
    places = Places([images[0], np.zeros((0, 3), np.int32), *images[1:]])
    for index, expected in enumerate((images[0], np.zeros((0, 3)), *images[1:])):
        np.testing.assert_array_equal(places[index], expected)


def test_places_are_random_pixels_of_their_class() -> None:
    mask = np.random.default_rng(0).integers(0, 3, (9, 11))
    met: Counter[tuple[int, ...]] = Counter()
    for seed in range(1000):
        pixels = mask_places(mask, seed)
        assert Counter(pixels[:, 0].tolist()) == {0: 8, 1: 8, 2: 8}
        assert (mask[pixels[:, 1], pixels[:, 2]] == pixels[:, 0]).all()
        met.update(map(tuple, pixels.tolist()))
    for (label, *_), times in met.items():
        check_share(times, 1000, 8 / int((mask == label).sum()))
    assert len(met) == mask.size


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"oversample": 1.2}, r"data.oversample must be a number in \[0, 1\], got 1.2"),
        ({"background": "some"}, r"data.oversample_background must be true or false"),
        ({"repeat": 0}, r"data.repeat must be null or a number > 0 and <= 1, got 0"),
        ({"repeat": 30}, r"data.repeat"),
    ],
)
def test_bad_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Sampling(**settings)


# ---- the checks can fail -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pixel_at_the_edge_would_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start one too early leaves the pixel out."""
    monkeypatch.setattr(crops, "_around", lambda random, pixel, image, crop: max(0, pixel - crop))
    with pytest.raises(AssertionError):
        test_only_the_window_is_read_and_a_forced_crop_holds_the_pixel()
    with pytest.raises(AssertionError):
        test_the_pixel_may_be_anywhere_in_a_forced_crop()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda epoch, index: crops.Crop(0, 0, index % 3 == 0),  # the same images in each epoch
        pytest.param(lambda epoch, index: drawn_by_key(0, index), marks=pytest.mark.slow),  # the epoch is forgotten
        pytest.param(
            lambda epoch, index: crops.Crop(0, 0, drawn_by_key(epoch, index).forced or index % 12 == epoch % 12),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["by index", "without epoch", "some more"],
)
def test_a_wrong_share_would_be_noticed(wrong: Callable[[int, int], crops.Crop]) -> None:
    with pytest.raises(AssertionError):
        check_forced_share(wrong)

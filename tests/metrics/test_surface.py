"""Contour scores against slow definitions, OpenCV (the paper's own recipe) and scikit-image."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.metrics import hausdorff_distance
from skimage.segmentation import find_boundaries

from segtrain.metrics import surface as module
from segtrain.metrics.surface import Mask, Surface, image_surfaces, percentile_distance, surface, surface_distances
from segtrain.task import Task
from tests.conftest import TASKS

MASKS = st.builds(
    lambda seed, height, width, smooth, level: blobs(seed, (height, width), smooth, level),
    st.integers(0, 2**31), st.integers(1, 24), st.integers(1, 24), st.sampled_from([0.0, 1.0, 3.0]),
    st.floats(0.2, 0.8),
)  # fmt: skip


def blobs(seed: int, size: tuple[int, int], smooth: float, level: float) -> tuple[Mask, Mask]:
    """Two random masks that have much in common, neither empty."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(2, *size)), (0, smooth, smooth))
    one, other = noise[0], noise[0] + 0.5 * noise[1]
    return tuple(field >= min(np.quantile(field, level), field.max()) for field in (one, other))  # type: ignore[return-value]


def contour(mask: Mask) -> list[tuple[int, int]]:
    """Pixels of the mask with a side on something else."""
    outside = np.pad(mask, 1)
    return [
        (y, x)
        for y, x in np.argwhere(mask)
        if not all(outside[y + 1 + dy, x + 1 + dx] for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    ]


def directed(one: Mask, other: Mask) -> list[float]:
    return sorted(min(math.dist(a, b) for b in contour(other)) for a in contour(one))


def percentile(values: list[float], share: float) -> float:
    """With linear interpolation, by hand."""
    place = share * (len(values) - 1)
    low = math.floor(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def eroded_by_opencv(mask: Mask, width: int) -> Mask:
    """As in the code of the paper: a margin of zeros, then 3 x 3 erosions."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1] == 1)


@settings(report_multiple_bugs=False)
@given(masks=MASKS)
def test_distances_are_those_of_all_pairs(masks: tuple[Mask, Mask]) -> None:
    found = surface(*masks)
    there, back = directed(*masks), directed(*masks[::-1])
    assert found.hd95 == pytest.approx(max(percentile(there, 0.95), percentile(back, 0.95)))
    assert found.asd == pytest.approx(sum(there + back) / len(there + back))


@given(masks=MASKS)
def test_boundary_iou_is_the_papers(masks: tuple[Mask, Mask]) -> None:
    truth, predicted = (np.kron(mask, np.ones((5, 5), bool)) for mask in masks)
    width = max(1, int(np.round(0.02 * np.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))))
    one, other = (mask & ~eroded_by_opencv(mask, width) for mask in (truth, predicted))
    assert surface(truth, predicted).boundary_iou == pytest.approx((one & other).sum() / (one | other).sum())


@given(masks=MASKS)
def test_the_largest_distance_is_scikit_images(masks: tuple[Mask, Mask]) -> None:
    truth, predicted = (np.pad(mask, 1) for mask in masks)
    edges = (find_boundaries(mask, connectivity=1, mode="inner") for mask in (truth, predicted))
    assert percentile_distance(*surface_distances(truth, predicted), 100) == pytest.approx(hausdorff_distance(*edges))


@given(masks=MASKS)
def test_a_mask_agrees_with_itself_and_order_does_not_matter(masks: tuple[Mask, Mask]) -> None:
    assert surface(masks[0], masks[0]) == Surface(1.0, 0.0, 0.0)
    assert surface(*masks) == pytest.approx(surface(*masks[::-1]))


@given(masks=MASKS, margin=st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_where_objects_stand_does_not_matter(masks: tuple[Mask, Mask], margin: tuple[int, int]) -> None:
    size = (60, 60)
    moved = []
    for mask in masks:
        large = np.zeros(size, bool)
        large[margin[0] : margin[0] + mask.shape[0], margin[1] : margin[1] + mask.shape[1]] = mask
        moved.append(large)
    found, alone = surface(*moved), surface(*masks)
    assert (found.hd95, found.asd) == pytest.approx((alone.hd95, alone.asd))


def test_a_shift_by_three_pixels() -> None:
    truth, predicted = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    truth[10:20, 10:20] = predicted[10:20, 13:23] = True
    assert surface(truth, predicted).hd95 == 3.0
    assert surface(truth, predicted).boundary_iou == 14 / 58  # rings of 36 pixels; seven of rows 10 and 19 each


def test_what_is_in_one_mask_only_counts_the_diagonal_and_nothing_in_both_is_not_a_number() -> None:
    empty, some = np.zeros((31, 41), bool), np.zeros((31, 41), bool)
    some[3, 4] = True
    assert surface(some, empty) == surface(empty, some) == Surface(0.0, 50.0, 50.0)
    assert all(math.isnan(value) for value in surface(empty, empty))


@pytest.mark.parametrize("mode", list(TASKS))
def test_each_class_of_an_image(mode: str) -> None:
    """Ignored pixels belong to neither mask, whatever is predicted there."""
    task, random = TASKS[mode], np.random.default_rng(0)
    shape = (task.num_classes, 20, 30) if mode == "multilabel" else (20, 30)
    top = task.num_classes if task.exclusive else 2
    target, predicted = random.integers(0, top, (2, *shape))
    ignored = random.random(shape) < 0.3
    target[ignored] = task.ignore_index
    found = image_surfaces(target, predicted, task)
    assert len(found) == task.num_classes
    for c, scores in enumerate(found):
        ids = [target[c], predicted[c]] if mode == "multilabel" else [target, predicted]
        drop = ignored[c] if mode == "multilabel" else ignored
        wanted = c if task.exclusive else 1
        assert scores == surface(*((i == wanted) & ~drop for i in ids))
    predicted[ignored] = 0
    assert image_surfaces(target, predicted, task) == found


def test_ids_beyond_the_classes_are_no_class() -> None:
    target = np.array([[0, 1], [255, 255]], np.uint8)
    assert image_surfaces(target, target, Task("multiclass", 2)) == [Surface(1.0, 0.0, 0.0)] * 2


MUTANTS = {
    "diagonal neighbours": ("binary_erosion", lambda m: ndimage.binary_erosion(m, np.ones((3, 3))), "all_pairs"),
    "city blocks": (
        "distance_transform_edt", lambda m: ndimage.distance_transform_cdt(m, "taxicab").astype(float), "all_pairs",
    ),
    "round brush": ("distance_transform_cdt", lambda m, _: ndimage.distance_transform_edt(m), "papers"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, wrong, test = MUTANTS[name]

    class Wrong:
        binary_erosion = staticmethod(ndimage.binary_erosion)
        distance_transform_edt = staticmethod(ndimage.distance_transform_edt)
        distance_transform_cdt = staticmethod(ndimage.distance_transform_cdt)

    setattr(Wrong, attribute, staticmethod(wrong))
    monkeypatch.setattr(module, "ndimage", Wrong)
    check = {"all_pairs": test_distances_are_those_of_all_pairs, "papers": test_boundary_iou_is_the_papers}[test]
    with pytest.raises(AssertionError):
        check()

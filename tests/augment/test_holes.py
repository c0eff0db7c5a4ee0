"""Holes: their size, number and place; what fills them."""

from __future__ import annotations

import numpy as np
import pytest

from segtrain.augment.holes import cover, cutout, erase, grid_drop
from segtrain.windows import Window
from tests.augment.samples import DTYPES, sample


def test_rectangles_have_the_share_and_the_ratio_and_lie_inside() -> None:
    for seed in range(40):
        holes = erase((60, 80), share=0.05, ratio=2.0, number=3, seed=seed)
        assert len(holes) == 3
        for top, left, height, width in holes:
            assert min(top, left) >= 0
            assert top + height <= 60
            assert left + width <= 80
            assert height * width == pytest.approx(0.05 * 60 * 80, rel=0.08)
            assert width / height == pytest.approx(2.0, rel=0.15)
    assert erase((60, 80), share=0.0, ratio=1.0, number=3, seed=0) == []
    ((top, left, height, width),) = erase((60, 80), share=1.0, ratio=1.0, number=1, seed=0)
    assert (top, left, height, width) == (0, 0, 60, 80)  # as wide as the ratio allows, and no wider than the image


def test_squares_may_reach_over_the_edge_and_reach_every_pixel_alike() -> None:
    covered, cut_off = np.zeros((30, 40)), 0
    for seed in range(3000):
        (hole,) = cutout((30, 40), pixels=8, number=1, seed=seed)
        assert max(hole.height, hole.width) <= 8
        covered[hole.slices] += 1
        cut_off += hole.height < 8 or hole.width < 8
    assert cut_off > 500
    inner = covered[8:-8, 8:-8]
    assert inner.mean() / 3000 == pytest.approx(64 / (30 * 40), rel=0.06)
    assert covered[0].mean() > 0.3 * inner.mean()


def test_a_grid_of_squares() -> None:
    for seed in range(20):
        covered = np.zeros((100, 120))
        for hole in grid_drop((100, 120), pixels=20, share=0.5, seed=seed):
            covered[hole.slices] += 1
        assert covered.max() == 1
        assert covered.mean() == pytest.approx(0.25, abs=0.05)
        np.testing.assert_array_equal(covered[20:], covered[:-20])  # a period in both directions
        np.testing.assert_array_equal(covered[:, 20:], covered[:, :-20])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_fills_them(dtype: str) -> None:
    image, mask = sample((40, 40), channels=4, dtype=dtype)
    holes = [Window(2, 3, 10, 12), Window(20, 20, 15, 15), Window(2, 20, 10, 12)]
    outside = np.ones((40, 40), bool)
    for hole in holes:
        outside[hole.slices] = False
    for fill in ("black", "mean", "noise"):
        filled, same = cover(image, mask, holes, fill, None, 7)
        np.testing.assert_array_equal(filled[outside], image[outside])
        np.testing.assert_array_equal(same, mask)
        inside = filled[~outside]
        if fill == "black":
            assert not inside.any()
        elif fill == "mean":
            assert np.abs(inside - image.mean((0, 1))).max() <= (1 if dtype == "uint8" else 1e-6)
        else:
            white = 255 if dtype == "uint8" else 1
            assert inside.mean() / white == pytest.approx(0.5, abs=0.03)
            assert inside.std() / white == pytest.approx(1 / np.sqrt(12), rel=0.1)
            assert (filled[holes[0].slices] != filled[holes[2].slices]).any()
    _, ignored = cover(image, mask, holes, "black", 255, 7)
    np.testing.assert_array_equal(ignored == 255, ~outside)

"""Shapes to pixels: against the rule itself, applied pixel by pixel, and against areas that are known."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrain.data.raster import Patch, disc, polygon, union

Bits = npt.NDArray[np.bool_]
SIZE = (13, 17)
# places on and between centres and borders of pixels, and outside of the image
places = st.tuples(
    st.one_of(st.integers(-8, 46).map(lambda n: n / 2), st.floats(-4, 22)),
    st.one_of(st.integers(-8, 36).map(lambda n: n / 2), st.floats(-4, 18)),
)
rings = st.lists(places, min_size=3, max_size=9).map(lambda points: np.array(points, dtype=np.float64))


def whole(patch: Patch, size: tuple[int, int] = SIZE) -> Bits:
    plane = np.zeros(size, dtype=bool)
    patch.of(plane)[...] = patch.bits
    return plane


def crossings(points: npt.NDArray[np.float64], x: float, y: float) -> tuple[int, float]:
    """Edges that a ray from (x, y) to the left crosses, and the distance of the nearest crossing, on either side."""
    number, nearest = 0, math.inf
    for (x0, y0), (x1, y1) in zip(points.tolist(), np.roll(points, -1, axis=0).tolist(), strict=True):
        if (y0 <= y) == (y1 <= y):
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        crossing = x0 + (y - y0) * ((x1 - x0) / (y1 - y0))
        number += crossing <= x
        nearest = min(nearest, abs(crossing - x))
    return number, nearest


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(rings)
def test_a_pixel_belongs_where_its_centre_does(points: npt.NDArray[np.float64]) -> None:
    found = whole(polygon(points, SIZE))
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            number, nearest = crossings(points, column + 0.5, row + 0.5)
            assert found[row, column] == number % 2 or nearest < 1e-9  # rounding decides there


@settings(deadline=None, max_examples=200)
@given(rings, st.integers(0, 8), st.booleans())
def test_where_it_begins_and_which_way_it_runs_does_not_matter(
    points: npt.NDArray[np.float64], shift: int, turned: bool
) -> None:
    other = np.roll(points, shift, axis=0)[:: -1 if turned else 1]
    np.testing.assert_array_equal(whole(polygon(points, SIZE)), whole(polygon(other, SIZE)))


@settings(deadline=None, max_examples=200)
@given(st.lists(places, min_size=1, max_size=6))
def test_neighbours_share_no_pixel_and_leave_none_out(cut: list[tuple[float, float]]) -> None:
    """The image is cut in two along any line; each half takes in the line."""
    line = np.array([(-30.0, -25.0), *cut, (40.0, 35.0)])
    left, right = np.array([(-30.0, 35.0)]), np.array([(40.0, -25.0)])
    one, other = (whole(polygon(np.concatenate([line, corner]), SIZE)) for corner in (left, right))
    np.testing.assert_array_equal(one, ~other)


def test_whole_pixels() -> None:
    box = np.array([(2.0, 3.0), (7.0, 3.0), (7.0, 9.0), (2.0, 9.0)])
    expected = np.zeros(SIZE, dtype=bool)
    expected[3:9, 2:7] = True
    np.testing.assert_array_equal(whole(polygon(box, SIZE)), expected)
    np.testing.assert_array_equal(whole(polygon(box - 0.5, SIZE)), np.roll(expected, (-1, -1), (0, 1)))  # left and top


def test_a_ring_that_runs_back_along_itself_cuts_a_hole() -> None:
    outer, inner = [(1, 1), (11, 1), (11, 11), (1, 11)], [(4, 4), (4, 8), (8, 8), (8, 4)]
    keyhole = np.array([*outer, outer[0], *inner, inner[0]], dtype=np.float64)
    expected = np.zeros(SIZE, dtype=bool)
    expected[1:11, 1:11] = True
    expected[4:8, 4:8] = False
    np.testing.assert_array_equal(whole(polygon(keyhole, SIZE)), expected)


def test_small_objects_have_their_area() -> None:
    """OpenCV's and Pillow's polygons are 16 to 37 % too large here."""
    random = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        angle = np.linspace(0, 2 * np.pi, 17)[:-1]
        radius = random.uniform(3, 5) * random.uniform(0.85, 1.15, 16)
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) + random.uniform(8, 9, 2)
        x, y = points.T
        area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
        shares.append(polygon(points, (20, 20)).bits.sum() / area)
    assert np.mean(shares) == pytest.approx(1, abs=0.01)


def test_a_disc_by_its_centres() -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    for centre, radius in (((6.2, 5.9), 4.3), ((0.0, 12.0), 6.0), ((40.0, 5.0), 3.0), ((5.5, 5.5), 2.0)):
        expected = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
        np.testing.assert_array_equal(whole(disc(np.array(centre), radius, SIZE)), expected)


@pytest.mark.parametrize("shift", [(-50.0, 0.0), (50.0, 0.0), (0.0, -50.0), (0.0, 50.0)])
def test_outside_is_nothing(shift: tuple[float, float]) -> None:
    box = np.array([(2.0, 3.0), (7.0, 3.0), (7.0, 9.0), (2.0, 9.0)]) + shift
    assert not whole(polygon(box, SIZE)).any()


def test_far_corners_are_cut_off() -> None:
    box = np.array([(-1e8, -1e8), (1e8, -1e8), (1e8, 1e8), (-1e8, 1e8)])
    assert whole(polygon(box, SIZE)).all()


def test_a_union() -> None:
    one, other = (np.array([(c, c), (c + 4, c), (c + 4, c + 4), (c, c + 4)], dtype=np.float64) for c in (1, 3))
    joined = whole(union([polygon(one, SIZE), polygon(other, SIZE)], SIZE))
    np.testing.assert_array_equal(joined, whole(polygon(one, SIZE)) | whole(polygon(other, SIZE)))
    assert joined.sum() == 16 + 16 - 4

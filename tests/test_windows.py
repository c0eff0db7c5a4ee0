"""Tiles: their cores are the image, once each pixel, and each pixel counts where it lies farthest from an edge."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain import windows
from segtrain.errors import UserError
from segtrain.windows import Span, Tile, Tiling, Window, cut

SIZES = st.tuples(st.integers(1, 500), st.integers(1, 500))


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    stride = draw(st.sampled_from([1, 16, 32, 64]))
    step = math.lcm(32, stride)
    side = step * draw(st.integers(1, 4))
    margin = draw(st.integers(0, (side - step) // 2))
    return Tiling(side + draw(st.integers(0, step - 1)), margin, stride)


@given(size=SIZES, tiling=tilings())
def test_cores_are_the_image_and_windows_have_their_margin(size: tuple[int, int], tiling: Tiling) -> None:
    tiles = tiling.tiles(size)
    assert len(tiles) == 1 or size[0] * size[1] > (tiling.side or 0) ** 2
    times = np.zeros(size, int)
    for tile in tiles:
        window, core, inner = tile.window, tile.core, tile.inner
        times[core.slices] += 1
        assert tile.size == size
        assert (inner.top + window.top, inner.left + window.left) == (core.top, core.left)
        for axis in (0, 1):
            start, end, length = window[axis], window[axis] + window[axis + 2], size[axis]
            first, behind = core[axis], core[axis] + core[axis + 2]
            assert 0 <= start <= first < behind <= end <= length
            assert start % tiling.step == 0
            assert first == start == 0 or first - start >= tiling.margin
            assert behind == end == length or end - behind >= tiling.margin
            assert len(tiles) == 1 or end == length or end - start == tiles[0].window[axis + 2]
            assert len(tiles) == 1 or end - start <= (tiling.side or 0)
    assert (times == 1).all()
    assert [tile.first for tile in tiles] == [True, *[False] * (len(tiles) - 1)]
    assert [tile.last for tile in tiles] == [*[False] * (len(tiles) - 1), True]
    assert [tile.core[:2] for tile in tiles] == sorted(tile.core[:2] for tile in tiles)


def check_spans(length: int, tiling: Tiling) -> None:
    """Each pixel lies in the core of the span in which it is farthest from an edge within the image."""
    side = (tiling.side or 0) // tiling.step * tiling.step
    spans = list(windows._spans(length, side, tiling.margin, tiling.step))
    place = np.arange(length)

    def depth(span: Span) -> Any:
        end = span.start + span.length
        before = place - span.start if span.start > 0 else place * 0 + length
        behind = end - 1 - place if end < length else place * 0 + length
        return np.where((place >= span.start) & (place < end), np.minimum(before, behind), -1)

    depths = np.array([depth(span) for span in spans])
    for span, own in zip(spans, depths, strict=True):
        core = slice(span.core, span.end)
        assert (own[core] == depths[:, core].max(0)).all()
    advance = (side - 2 * tiling.margin) // tiling.step * tiling.step
    assert len(spans) == 1 or (len(spans) - 2) * advance + side < length  # fewer would not do
    shorter = spans[0].length - tiling.step
    shared = math.ceil(2 * tiling.margin / tiling.step) * tiling.step
    assert len(spans) == 1 or (len(spans) - 1) * (shorter - shared) + shorter < length  # nor would shorter ones


@given(length=st.integers(1, 900), tiling=tilings())
def test_a_pixel_counts_where_it_lies_farthest_from_an_edge(length: int, tiling: Tiling) -> None:
    check_spans(length, tiling)


def test_small_images_and_those_of_no_tile_stay_whole() -> None:
    whole = Window(0, 0, 32, 128)
    assert Tiling(64, 16).tiles((32, 128)) == [Tile(whole, whole, (32, 128))]  # of 64 x 64 pixels
    assert len(Tiling(64, 16).tiles((32, 129))) > 1
    assert len(Tiling(None).tiles((10**6, 10**6))) == 1


def test_a_plan_by_hand() -> None:
    tiles = Tiling(128, 32).tiles((100, 200))
    assert [tile.window for tile in tiles] == [Window(0, 0, 100, 128), Window(0, 32, 100, 128), Window(0, 96, 100, 104)]
    assert [tile.core for tile in tiles] == [Window(0, 0, 100, 80), Window(0, 80, 100, 48), Window(0, 128, 100, 72)]
    assert [tile.window[1::2] for tile in Tiling(2048, 128).tiles((2048, 6000))] == [
        (0, 1696),
        (1440, 1696),
        (2880, 1696),
        (4320, 1680),
    ]  # 6,736 pixels a row instead of 4 x 2048


def test_a_cut_of_planes() -> None:
    image, mask = np.arange(60).reshape(4, 5, 3), np.arange(40).reshape(2, 4, 5)
    part, planes = cut(image, mask, Window(1, 2, 3, 2))
    np.testing.assert_array_equal(part, image[1:4, 2:4])
    np.testing.assert_array_equal(planes, mask[:, 1:4, 2:4])


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Tiling(2.5), "tile must be null or a whole number >= 32, got 2.5"),  # type: ignore[arg-type]
        (lambda: Tiling(0), "tile must be null or a whole number >= 32, got 0"),
        (lambda: Tiling(64, 17), "tile_margin, with tile=64, must be a whole number in [0, 16], got 17"),
        (lambda: Tiling(64, -1), "tile_margin, with tile=64, must be a whole number in [0, 16], got -1"),
        (lambda: Tiling(100, 33), "tile_margin, with tile=100, must be a whole number in [0, 32], got 33"),
    ],
)
def test_wrong_settings(build: Callable[[], Tiling], says: str) -> None:
    with pytest.raises(UserError) as caught:
        build()
    assert str(caught.value) == says

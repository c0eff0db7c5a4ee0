"""Shapes against a slow look-up in float64, and facts that each op must meet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from segtrain.augment import geometry, torchvision
from segtrain.augment.geometry import Move, combine, coordinates, map_of, warp
from segtrain.augment.moves import MOVES
from segtrain.windows import Array
from tests.augment.samples import SHAPES, always, sample

SIZE = (45, 61)
DRAWN: Mapping[str, Mapping[str, Any]] = {
    "hflip": {},
    "vflip": {},
    "rotate": {"degrees": 25.0},
    "scale": {"factor": 1.3},
    "stretch": {"factor": 1.2},
    "translate": {"x": 5.7, "y": -3.25},
    "shear": {"x": 8.0, "y": -5.0},
    "affine": {"degrees": 12.0, "scale": 0.8, "stretch": 1.1, "shear": 4.0, "x": 2.0, "y": 1.0},
    "crop": {"share": 0.5, "ratio": 1.2, "seed": 3},
    "perspective": {"share": 0.1, "seed": 3},
    "elastic": {"pixels": 3.0, "spacing": 20.0, "seed": 3},
    "grid": {"share": 0.2, "cells": 4, "seed": 3},
}


def points(size: tuple[int, int]) -> Any:
    return np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1).astype(np.float64)


def oracle(image: Array, mask: Array, move: Move, exactly: Any) -> tuple[Any, Any]:
    """Bilinear and nearest, by SciPy; where the nearest pixel is undecided the mask is -1."""
    x, y = exactly[..., 0], exactly[..., 1]
    planes = [
        map_coordinates(np.pad(plane.astype(float), 1), [y + 1, x + 1], order=1, mode="constant")
        for plane in np.moveaxis(image, 2, 0)
    ]
    rows, columns = np.rint(y).astype(int), np.rint(x).astype(int)
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    ids = np.where(inside, mask[rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1)], 255).astype(int)
    between = np.minimum(np.abs(x % 1 - 0.5), np.abs(y % 1 - 0.5)) < 0.05
    return np.stack(planes, axis=-1), np.where(between, -1, ids)


@pytest.mark.parametrize("look_up", [geometry.warp, torchvision.warp], ids=["opencv", "torch"])
@pytest.mark.parametrize("name", DRAWN)
def test_each_op_is_looked_up_as_a_slow_one_would(name: str, look_up: Any) -> None:
    image, mask = sample(SIZE)
    move = MOVES[name](SIZE, **DRAWN[name])
    exactly = move.pull(points(SIZE)) if move.bend is None else np.stack(coordinates(move, SIZE), axis=-1)
    moved, ids = look_up(image, mask, map_of(move, SIZE), 255)
    wanted, wanted_ids = oracle(image, mask, move, exactly)
    # OpenCV rounds places to 1/32 of a pixel where it has no better code
    assert np.abs(moved - wanted).max() <= 6
    assert np.abs(moved - wanted).mean() <= 0.6
    np.testing.assert_array_equal(ids[wanted_ids >= 0], wanted_ids[wanted_ids >= 0])
    assert (wanted_ids >= 0).mean() > 0.7


@pytest.mark.parametrize("name", ["elastic", "grid"])
def test_the_map_of_a_bend_is_what_the_bend_says(name: str) -> None:
    """Made on a lattice, and evenly between: a tenth of a pixel off, more at the kinks of a grid."""
    move = MOVES[name](SIZE, **DRAWN[name])
    x, y = coordinates(move, SIZE)
    apart = np.abs(np.stack([x, y], axis=-1) - move.pull(points(SIZE)))
    assert apart.mean() < 0.1
    assert apart.max() < (0.5 if name == "elastic" else 0.8)


def test_several_ops_are_one_look_up_of_all() -> None:
    """As by chaining the maps point by point; not blurred several times over."""
    moves = [MOVES[name](SIZE, **DRAWN[name]) for name in ("rotate", "elastic", "perspective", "translate", "hflip")]
    chained = points(SIZE)
    for move in reversed(moves):
        chained = move.pull(chained)
    found = np.stack(coordinates(combine(moves), SIZE), axis=-1)
    assert np.abs(found - chained).max() < 0.5
    matrices = [move for move in moves if move.bend is None]
    chained = points(SIZE)
    for move in reversed(matrices):
        chained = move.pull(chained)
    np.testing.assert_allclose(combine(matrices).pull(points(SIZE)), chained, atol=1e-9)


def test_order_is_that_of_the_ops() -> None:
    """First a turn, then a shift: the middle ends where the shift puts it."""
    image = np.zeros((41, 41, 1), np.uint8)
    image[20, 20] = 255
    turned = [MOVES["rotate"]((41, 41), degrees=90.0), MOVES["translate"]((41, 41), x=6.0, y=0.0)]
    for moves, place in ((turned, (20, 26)), (turned[::-1], (14, 20))):
        moved, _ = warp(image, image[..., 0], map_of(combine(moves), (41, 41)), 255)
        assert tuple(np.argwhere(moved[..., 0] > 200)[0]) == place


@pytest.mark.parametrize("size", [(40, 40), (41, 41)])
def test_mirrors_and_quarter_turns_are_exact(size: tuple[int, int]) -> None:
    image, mask = sample(size)
    eight = {np.rot90(flipped, k).tobytes() for flipped in (mask, mask[:, ::-1]) for k in range(4)}
    seen = set()
    for seed in range(64):
        moved, ids = always("d4", size)(image, mask, seed)
        assert ids.tobytes() in eight
        turned = [np.rot90(flipped, k) for flipped in (image, image[:, ::-1]) for k in range(4)]
        assert any((moved == other).all() for other in turned)
        seen.add(ids.tobytes())
    assert seen == eight
    quarters = {always("turn", size)(image, mask, seed)[1].tobytes() for seed in range(40)}
    assert quarters == {np.rot90(mask, k).tobytes() for k in (1, 2, 3)}
    np.testing.assert_array_equal(always("hflip", size)(image, mask, 0)[0], image[:, ::-1])
    np.testing.assert_array_equal(always("vflip", size)(image, mask, 0)[1], mask[::-1])
    half_turn = always({"op": "rotate", "degrees": 180.0}, size)(image, mask, 0)
    np.testing.assert_array_equal(half_turn[0], image[::-1, ::-1])


def test_what_looks_like_a_mirror_but_is_shifted_is_no_mirror() -> None:
    image, mask = sample((40, 40))
    moves = [MOVES["hflip"]((40, 40)), MOVES["translate"]((40, 40), x=3.0, y=0.0)]
    moved, ids = warp(image, mask, map_of(combine(moves), (40, 40)), 255)
    np.testing.assert_array_equal(moved[:, 3:], image[:, ::-1][:, :-3])
    assert (ids[:, :3] == 255).all()


@pytest.mark.parametrize("name", SHAPES)
def test_moves_go_the_way_they_are_named(name: str) -> None:
    """Where a dot right of and above the middle goes; the middle stays, but where an op says otherwise."""
    drawn = {**DRAWN, "turn": {"seed": 0}, "d4": {"seed": 1}}[name]
    move = MOVES[name]((101, 101), **drawn)
    matrix = move.matrix
    ways: Mapping[str, tuple[float, float]] = {
        "hflip": (-20, -10),
        "vflip": (20, 10),
        "turn": (-10, -20),
        "d4": (-10, -20),
        "rotate": _turned(20, -10, 25),
        "scale": (26, -13),
        "stretch": (20 * math.sqrt(1.2), -10 / math.sqrt(1.2)),
        "translate": (25.7, -13.25),
        "shear": _sheared(20, -10, 8, -5),
        "affine": _affine(20, -10),
    }
    if name in ways:
        assert matrix is not None
        goes = np.linalg.inv(matrix) @ (50 + 20, 50 - 10, 1)
        np.testing.assert_allclose(goes[:2] / goes[2] - 50, ways[name], atol=1e-6)
    else:  # the others are held to the slow look-up, and to what is below
        assert name in ("crop", "perspective", "elastic", "grid")


def _turned(x: float, y: float, degrees: float) -> tuple[float, float]:
    turned = complex(x, -y) * complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    return turned.real, -turned.imag


def _affine(x: float, y: float) -> tuple[float, float]:
    """Slanted, stretched, zoomed, turned, shifted, by hand."""
    x, y = _sheared(x, y, 4, 0)
    x, y = _turned(0.8 * x * math.sqrt(1.1), 0.8 * y / math.sqrt(1.1), 12)
    return x + 2, y + 1


def _sheared(x: float, y: float, along_x: float, along_y: float) -> tuple[float, float]:
    x += math.tan(math.radians(along_x)) * y
    return x, y + math.tan(math.radians(along_y)) * x


def test_a_crop_has_the_share_and_the_ratio_and_lies_inside() -> None:
    for seed in range(50):
        move = MOVES["crop"]((60, 80), share=0.3, ratio=1.25, seed=seed)
        corners = move.pull(np.array([[-0.5, -0.5], [79.5, 59.5]]))
        (left, top), (right, bottom) = corners + 0.5
        assert min(left, top) >= -1e-9
        assert right <= 80 + 1e-9
        assert bottom <= 60 + 1e-9
        assert (right - left) * (bottom - top) == pytest.approx(0.3 * 60 * 80)
        assert (right - left) / (bottom - top) == pytest.approx(1.25)


def test_corners_move_as_far_as_perspective_may() -> None:
    far = 0.0
    for seed in range(100):
        move = MOVES["perspective"]((50, 100), share=0.1, seed=seed)
        assert move.matrix is not None
        forward = Move(np.linalg.inv(move.matrix))
        corners = np.array([[-0.5, -0.5], [99.5, -0.5], [99.5, 49.5], [-0.5, 49.5]])
        moved = np.abs(forward.pull(corners) - corners) / (100, 50)
        assert moved.max() <= 0.1 + 1e-5
        far = max(far, moved.max())
    assert far > 0.095


def test_bends_are_as_strong_as_they_say() -> None:
    """Deviation of the points of elastic; largest displacement of the nodes of a grid."""
    nodes = np.stack(np.meshgrid(np.arange(4, 100, 12.0), np.arange(4, 100, 12.0)), axis=-1)
    at_nodes = np.stack(np.meshgrid(np.arange(0, 100, 12.0), np.arange(0, 100, 12.0)), axis=-1)
    bends = [MOVES["elastic"]((100, 100), pixels=3.0, spacing=12.0, seed=seed) for seed in range(20)]
    shifts, exact = ([bend.pull(places) - places for bend in bends] for places in (nodes, at_nodes))
    assert np.std(exact) == pytest.approx(3.0, rel=0.05)
    assert np.std(shifts) < 3.0
    corners = np.stack(np.meshgrid(np.arange(0, 101, 20.0), np.arange(0, 101, 20.0)), axis=-1)
    moved = [np.abs(MOVES["grid"]((100, 100), share=0.2, cells=5, seed=s).pull(corners) - corners) for s in range(20)]
    assert 3.8 < np.max(moved) <= 4.0 + 1e-4

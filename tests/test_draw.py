"""Masks as pictures: colours, overlays and errors, in three modes."""

from __future__ import annotations

import numpy as np
import pytest

from segtrain import draw
from segtrain.task import Task

BINARY = Task("binary", palette=[(250, 0, 0)])
MULTICLASS = Task("multiclass", 3, palette=[(1, 2, 3), (10, 0, 0), (0, 20, 0)])
MULTILABEL = Task("multilabel", 2, palette=[(200, 0, 0), (0, 100, 0)])


def test_colours_of_ids() -> None:
    ids = np.array([[0, 1, 255]], np.uint8)
    assert draw.colorize(ids, BINARY).tolist() == [[[0, 0, 0], [250, 0, 0], list(draw.IGNORED)]]
    ids = np.array([[0, 2, 255]], np.uint8)
    assert draw.colorize(ids, MULTICLASS).tolist() == [[[1, 2, 3], [0, 20, 0], list(draw.IGNORED)]]
    layers = np.array([[[1, 1, 0, 255]], [[0, 1, 0, 255]]], np.uint8)
    expected = [[[200, 0, 0], [100, 50, 0], [0, 0, 0], list(draw.IGNORED)]]
    assert draw.colorize(layers, MULTILABEL).tolist() == expected


def test_an_overlay_leaves_the_background_as_it_is() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    blended = draw.overlay(image, np.array([[0, 1]], np.uint8), BINARY)
    assert blended.tolist() == [[[100, 100, 100], [175, 50, 50]]]


@pytest.mark.parametrize(
    ("task", "truth", "found", "expected"),
    [
        (BINARY, [1, 0, 1, 0, 255], [1, 1, 0, 0, 1], [draw.RIGHT, draw.WRONG, draw.MISSED, (0, 0, 0), draw.IGNORED]),
        (MULTICLASS, [2, 1, 0, 255], [2, 2, 0, 1], [draw.RIGHT, draw.WRONG, draw.RIGHT, draw.IGNORED]),
    ],
)
def test_errors_have_their_colours(task: Task, truth: list[int], found: list[int], expected: list[object]) -> None:
    picture = draw.errors(np.array([truth], np.uint8), np.array([found], np.uint8), task)
    assert [tuple(color) for color in picture[0].tolist()] == expected


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_image_becomes_rgb(channels: int) -> None:
    image = np.full((4, 5, channels), 0.25, np.float32)
    image[1, 1] = 0.5
    assert draw.to_rgb(image).shape == (4, 5, 3)
    assert draw.to_rgb(image)[:2, 1].tolist() == [[127] * 3, [255] * 3]
    assert draw.to_rgb((image * 255).astype(np.uint8)).dtype == np.uint8


def test_rows_of_any_widths_are_stacked() -> None:
    image = np.zeros((30, 20, 3), np.uint8)
    ids = np.zeros((30, 20), np.uint8)
    rows = [draw.panel(image, ids, ids, BINARY), draw.panel(image[:10], ids[:10], ids[:10], BINARY)]
    assert draw.stack(rows).shape == (2 * (draw.PANEL_HEIGHT + 4), max(row.shape[1] for row in rows), 3)

"""COCO's run lengths: strings that pycocotools 2.0.11 wrote, and an encoder written from the format's definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrain.layouts.drawn import Runs
from segtrain.layouts.rle import counts_of, decompress

DISC = (
    "U`j0c0b8>D:H6I8I6K4K6K4L4L4L4M2M4L4M2M4M2N2M4M2N2N2N2N2N2N2N2N2N2N2N2N2N2N2O0O2N2N2O0O2N2O0O2O0O2N2O0O2O0O2O0O"
    "2O0O2O000O2O0O2O000O2O00000O2O000O2O0000000O2O00000000000O2O000000000000000000000000000000000001N1000000000001"
    "N100000001N10001N1000001N10001N101N10001N101N101N101N101N2N101N101N2N101N2N2N101N2N2N2N2N2N2N2N2N2N2N2N2N2N2N3"
    "L3N2N3L3N3L4L3N3L4L4L4L5J5L5J7H7J8F<BVeU1"
)
GRID = np.mgrid[:300, :400] - np.array([150, 180])[:, None, None]
WRITTEN = {
    "01500000L": np.eye(5, 4) > 0,
    "06": np.ones((3, 2), dtype=bool),
    "6": np.zeros((2, 3), dtype=bool),
    DISC: np.hypot(*GRID) < 90.5,
}


def drawn(encoded: dict[str, Any]) -> npt.NDArray[np.bool_]:
    size = (encoded["size"][0], encoded["size"][1])
    return Runs(counts_of(encoded, size), size).draw(size).bits


def lengths(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Of the runs, column by column, beginning with zeros; one pixel at a time."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def compressed(runs: list[int]) -> str:
    """Five bits at a time, lowest first, until what is left is the sign."""
    text = ""
    for place, length in enumerate(runs):
        left = length - runs[place - 2] if place > 2 else length
        while True:
            group, left = left & 31, left >> 5
            more = left != (-1 if group & 16 else 0)
            text += chr(48 + group + 32 * more)
            if not more:
                break
    return text


@pytest.mark.parametrize("text", WRITTEN)
def test_what_pycocotools_wrote(text: str) -> None:
    mask = WRITTEN[text]
    assert compressed(lengths(mask)) == text  # the encoder below is right
    np.testing.assert_array_equal(drawn({"counts": text, "size": list(mask.shape)}), mask)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 50]))
def test_any_mask(height: int, width: int, seed: int, grain: int) -> None:
    random = np.random.default_rng(seed)
    mask = np.kron(random.random((height, width)) < random.random(), np.ones((grain, 1))) > 0
    for counts in (lengths(mask), compressed(lengths(mask))):
        np.testing.assert_array_equal(drawn({"counts": counts, "size": list(mask.shape)}), mask)


def test_differences_below_zero() -> None:
    assert decompress(compressed([5, 1000, 3, 2, 90000, 1])).tolist() == [5, 1000, 3, 2, 90000, 1]


@pytest.mark.parametrize(
    ("encoded", "says"),
    [
        ({"counts": [3, 4], "size": [2, 3]}, "RLE of 7 pixels, but its size is 2 x 3"),
        ({"counts": [3, -1, 4], "size": [2, 3]}, "its size is 2 x 3"),
        ({"counts": [3, 3], "size": [3, 2]}, r"size \[3, 2\], but the image has \[2, 3\]"),
        ({"counts": [3, 3]}, "RLE of size None"),
        ({"counts": [1.5, 4.5], "size": [2, 3]}, "neither text nor whole numbers"),
        ({"size": [2, 3]}, "neither text nor whole numbers"),
        ({"counts": "", "size": [2, 3]}, "cannot be decoded"),
        ({"counts": "3 3", "size": [2, 3]}, "cannot be decoded: '3 3'"),
        ({"counts": "3ü", "size": [2, 3]}, "cannot be decoded"),
        ({"counts": "3P", "size": [2, 3]}, "cannot be decoded"),  # the last number has no end
        ({"counts": "P" * 30 + "0", "size": [2, 3]}, "cannot be decoded"),
    ],
)
def test_bad_runs_are_named(encoded: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        counts_of(encoded, (2, 3))

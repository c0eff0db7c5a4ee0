"""COCO's run-length encoding: lengths of runs of zeros and ones in turn, column by column.

Compressed, each length is written as the difference to the length two before it (from the fourth on), in groups of
five bits, lowest first; a character holds 48 + group, + 32 where the number goes on; the sign is the group's bit 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
FIRST, MORE, SIGN = 48, 32, 16
MOST_GROUPS = 8  # of a number: 40 bits


def counts_of(encoded: Any, size: tuple[int, int]) -> Counts:
    """The lengths of an RLE of an image of a size (height, width).

    Args:
        encoded: {"counts": text or list, "size": [height, width]}.

    Raises:
        ValueError: not such a thing, or of another size; the sentence names the values.
    """
    counts = encoded.get("counts")
    if list(encoded.get("size", ())) != list(size):
        raise ValueError(f"an RLE of size {encoded.get('size')}, but the image has [{size[0]}, {size[1]}]")
    lengths = decompress(counts) if isinstance(counts, str) else _listed(counts)
    if (lengths < 0).any() or (lengths > size[0] * size[1]).any() or lengths.sum() != size[0] * size[1]:
        raise ValueError(f"an RLE of {lengths.sum()} pixels, but its size is {size[0]} x {size[1]}")
    return lengths


def decompress(text: str) -> Counts:
    """The lengths in a compressed RLE.

    Raises:
        ValueError: a character that cannot occur, or a number without an end.
    """
    codes = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) - FIRST
    if len(codes) == 0 or (codes < 0).any() or (codes >= 2 * MORE).any() or codes[-1] & MORE:
        raise ValueError(f"an RLE that cannot be decoded: {text[:20]!r}")
    last = np.flatnonzero((codes & MORE) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first >= MOST_GROUPS).any():
        raise ValueError(f"an RLE that cannot be decoded: {text[:20]!r}")
    place = 5 * (np.arange(len(codes)) - np.repeat(first, last - first + 1))
    numbers = np.add.reduceat((codes & (MORE - 1)) << place, first)
    numbers -= np.where(codes[last] & SIGN, np.int64(1) << (place[last] + 5), 0)
    for turn in (1, 2):
        numbers[turn::2] = np.cumsum(numbers[turn::2])
    return numbers


def _listed(counts: Any) -> Counts:
    lengths = np.asarray(counts)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise ValueError(f"an RLE whose counts are neither text nor whole numbers: {str(counts)[:40]}")
    return lengths.astype(np.int64)

"""Images that are there twice: identical pixels, or nearly the same picture.

Identical images have one digest. Nearly the same are those whose 64-bit gists differ in at most NEAR bits and whose
thumbnails correlate by at least SAME. Both thresholds were measured. Copies (JPEG of quality 40, 60 % of the size,
brighter, noisy) of 664 micrographs and 701 street scenes correlate by at least .987; their gists differ in at most 12
bits, 16 to 19 only in dark, noisy pictures. Different images of different splits reach .946: two frames of a film one
second apart, from a moving car. Frames of a car that stands reach .9999: these are the same picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from segtrain.data.finding import Finding
from segtrain.data.listing import Item
from segtrain.decode.readers import read_image
from segtrain.errors import UserError

NEAR = 12  # bits of the gist
SAME = 0.98  # correlation of thumbnails
SIDE = 32  # pixels of a thumbnail
BLOCK = 256  # gists compared at once, each against all: 100 MB where there are 100,000 images
MOST = 20_000  # pairs whose thumbnails are compared; data with more is one film, or all alike
FLAT = 1.0  # grey levels: an image with less deviation has no content to compare

Found = tuple[Item, Finding]


class Twins(NamedTuple):
    """Two images that look the same, and how much: correlation of the thumbnails, differing bits of the gist."""

    one: Found
    other: Found
    correlation: float
    bits: int


def identical(found: Sequence[Found]) -> list[list[Found]]:
    """Groups of items with the same pixels; images of one value are left out, whatever contrast the others have."""
    groups: dict[tuple[str, tuple[int, int]], list[Found]] = defaultdict(list)
    for item, finding in found:
        if finding.digest and finding.low != finding.high:
            groups[finding.digest, finding.size].append((item, finding))
    return [group for group in groups.values() if len(group) > 1]


def leaks(found: Sequence[Found]) -> list[list[Found]]:
    """Groups of identical images that are in more than one split."""
    return [group for group in identical(found) if len({item.split for item, _ in group}) > 1]


def leak_warning(found: Sequence[Found]) -> list[str]:
    """A sentence where images of the training set are scored too; else nothing."""
    groups = leaks(found)
    if not groups:
        return []
    pair = " and ".join(str(item.image) for item, _ in groups[0][:2])
    number = "1 image is" if len(groups) == 1 else f"{len(groups)} images are"
    return [f"{number} in more than one split ({pair}), which flatters the scores; `segtrain check` lists them"]


def is_flat(finding: Finding) -> bool:
    """Whether an image has one colour; nearly one, of 8 bits: how much of a greater depth is used nobody says."""
    if finding.depth != "uint8":
        return finding.low == finding.high
    pixels = finding.size[0] * finding.size[1]
    mean, squared = np.asarray(finding.total) / pixels, np.asarray(finding.squared) / pixels
    return bool(np.all(squared - mean**2 < (FLAT / 255) ** 2))


def near_twins(found: Sequence[Found]) -> list[Twins]:
    """Pairs from different splits that look the same but differ in pixels, the most alike first."""
    usable = [(item, finding) for item, finding in found if finding.gist and not is_flat(finding)]
    thumbs: dict[Path, npt.NDArray[np.float32]] = {}
    twins = []
    for first, second, bits in _candidates(usable):
        one, other = usable[first], usable[second]
        correlation = float(_thumb(one[0].image, thumbs) @ _thumb(other[0].image, thumbs))
        if correlation >= SAME:
            twins.append(Twins(one, other, correlation, bits))
    return sorted(twins, key=lambda pair: -pair.correlation)


def _candidates(usable: Sequence[Found]) -> Iterator[tuple[int, int, int]]:
    """(index, index, bits) of pairs of different splits whose gists are near; at most MOST."""
    if not usable:
        return
    signs = np.stack([_signs(finding.gist) for _, finding in usable])
    splits = np.unique([item.split for item, _ in usable], return_inverse=True)[1]
    given = 0
    for top in range(0, len(usable), BLOCK):
        bits = (signs.shape[1] - signs[top : top + BLOCK] @ signs.T) / 2
        near = (bits <= NEAR) & (splits[top : top + BLOCK, None] != splits[None])
        near &= np.arange(top, top + len(near))[:, None] < np.arange(len(usable))[None]  # each pair once
        for row, column in np.argwhere(near):
            if usable[top + row][1].digest != usable[column][1].digest:
                yield int(top + row), int(column), int(bits[row, column])
                given += 1
            if given == MOST:
                return


def _signs(gist: str) -> npt.NDArray[np.float32]:
    """+1 or -1 for each bit, so that a product of two counts the equal ones."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(gist), np.uint8))
    return bits.astype(np.float32) * 2 - 1


def _thumb(path: Path, known: dict[Path, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Grey thumbnail of zero mean and length 1, [P]; zeros where the file has become unreadable."""
    if path not in known:
        try:
            known[path] = thumbnail(read_image(path))
        except UserError:
            known[path] = np.zeros(SIDE * SIDE, np.float32)
    return known[path]


def thumbnail(image: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Grey thumbnail of an image [H, W, C], of zero mean and length 1, [SIDE * SIDE]."""
    small = cv2.resize(np.asarray(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(SIDE * SIDE, -1)
    grey = small.mean(1, dtype=np.float32)
    grey -= grey.mean()
    return np.asarray(grey / max(float(np.linalg.norm(grey)), 1e-6), np.float32)

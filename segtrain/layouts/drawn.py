"""Labels that are objects: shapes with a class, drawn when they are read, by a stated rule where they overlap."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from segtrain.data.raster import GROUND, Bits, Layers, Patch, Points, disc, polygon, union
from segtrain.decode.masks import IdArray, MaskRules
from segtrain.errors import UserError

OVERLAPS = ("small_on_top", "file_order", "ignore")
NOBODY = -1  # in a mask that is being drawn: claimed by no object so far
Size = tuple[int, int]


class Shape(Protocol):
    """One object's outline, in pixels (x, y)."""

    def draw(self, size: Size) -> Patch:
        """Its pixels in an image of a size (height, width); what reaches outside is cut off."""
        ...

    def bounds(self, size: Size) -> tuple[float, float, float, float]:
        """Left, top, right and bottom, also outside of the image."""
        ...

    def content(self) -> bytes:
        """All that its pixels depend on."""
        ...


@dataclass(frozen=True, eq=False)
class Rings:
    """Polygons, each filled by itself (even-odd); together they are one object. Implements Shape.

    Args:
        rings: corners (x, y) of each, [P, 2].
        relative: whether they are shares of the image's width and height, as in YOLO files.
    """

    rings: Sequence[Points]
    relative: bool = False

    def draw(self, size: Size) -> Patch:
        """The pixels whose centre is inside one of the rings."""
        return union([polygon(ring, size) for ring in self._in_pixels(size)], size)

    def bounds(self, size: Size) -> tuple[float, float, float, float]:
        """Of all rings."""
        rings = self._in_pixels(size)
        corners = rings[0] if len(rings) == 1 else np.concatenate(rings)
        (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
        return left, top, right, bottom

    def content(self) -> bytes:
        """The corners."""
        return b"/".join([str(self.relative).encode(), *(ring.tobytes() for ring in self.rings)])

    def _in_pixels(self, size: Size) -> Sequence[Points]:
        return [ring * np.array(size[::-1]) for ring in self.rings] if self.relative else self.rings


@dataclass(frozen=True, eq=False)
class Disc:
    """A circle. Implements Shape."""

    centre: Points
    radius: float

    def draw(self, size: Size) -> Patch:
        """The pixels whose centre is inside."""
        return disc(self.centre, self.radius, size)

    def bounds(self, size: Size) -> tuple[float, float, float, float]:
        """Of the circle."""
        x, y = self.centre.tolist()
        return x - self.radius, y - self.radius, x + self.radius, y + self.radius

    def content(self) -> bytes:
        """Centre and radius."""
        return self.centre.tobytes() + repr(self.radius).encode()


@dataclass(frozen=True, eq=False)
class Runs:
    """Run lengths, column by column, beginning with zeros (COCO's RLE). Implements Shape.

    Args:
        counts: lengths; they add up to height * width.
        size: (height, width).
    """

    counts: npt.NDArray[np.int64]
    size: Size

    def draw(self, size: Size) -> Patch:
        """The pixels of the runs of ones; the image has the size of the runs."""
        values = np.arange(len(self.counts)) % 2 == 1
        return Patch(0, 0, np.repeat(values, self.counts).reshape(self.size[::-1]).T)

    def bounds(self, size: Size) -> tuple[float, float, float, float]:
        """Of the image: runs cannot leave it."""
        return 0, 0, size[1], size[0]

    def content(self) -> bytes:
        """The lengths."""
        return self.counts.tobytes() + repr(self.size).encode()


@dataclass(frozen=True, eq=False)
class Pixels:
    """A little mask at a place (row, column) of the image. Implements Shape."""

    top: int
    left: int
    bits: Bits

    def draw(self, size: Size) -> Patch:
        """The part of it that is in the image."""
        rows = slice(max(0, -self.top), max(0, size[0] - self.top))
        columns = slice(max(0, -self.left), max(0, size[1] - self.left))
        return Patch(max(0, self.top), max(0, self.left), self.bits[rows, columns])

    def bounds(self, size: Size) -> tuple[float, float, float, float]:
        """Of the mask."""
        height, width = self.bits.shape
        return self.left, self.top, self.left + width, self.top + height

    def content(self) -> bytes:
        """Place and pixels."""
        return repr((self.top, self.left, self.bits.shape)).encode() + np.packbits(self.bits).tobytes()


@dataclass(frozen=True, eq=False)
class Drawing:
    """The objects of one image. Implements Label and Layered.

    Args:
        path: the annotation file.
        image: name of the image, for messages.
        objects: (id, shape) of each, in the order of the file.
        overlap: what a pixel is that several objects claim, one of OVERLAPS: the smallest of them, the last in the
            file, or, where their classes differ, without a label.
        ignored: id of pixels without a label.
        size: (height, width) that the file says the image has; None where it does not say.
    """

    path: Path
    image: str
    objects: Sequence[tuple[int, Shape]]
    overlap: str
    ignored: int
    size: Size | None = None

    @property
    def files(self) -> Sequence[Path]:
        """The annotation file."""
        return (self.path,)

    @property
    def settings(self) -> str:
        """The rule, and a digest of the objects: other images' objects may stand in the same file."""
        digest = hashlib.blake2b(digest_size=8)
        for index, shape in self.objects:
            digest.update(f"{index} {type(shape).__name__} ".encode() + shape.content())
        return f"{self.overlap} {self.ignored} {self.size} {digest.hexdigest()}"

    def read(self, size: Size, rules: MaskRules) -> IdArray:
        """One id for each pixel, by the rule; see Label.read."""
        patches = self._patches(size)
        if self.overlap == "small_on_top":
            patches.sort(key=lambda drawn: -int(drawn[1].bits.sum()))  # stable: of equals, the later lies on top
        ids = np.full(size, NOBODY, dtype=np.int32)
        clash = np.zeros(size, dtype=bool)
        for index, patch in patches:
            below = patch.of(ids)
            patch.of(clash)[...] |= patch.bits & (below != NOBODY) & (below != index)
            below[patch.bits] = index
        ids[ids == NOBODY] = GROUND
        if self.overlap == "ignore":
            ids[clash] = self.ignored
        return ids.astype(np.uint16)

    def layers(self, size: Size, rules: MaskRules) -> Layers:
        """Where objects of each id are, whatever lies on them; see Layered.layers."""
        patches = self._patches(size)
        ids = sorted({index for index, _ in patches})
        planes = np.zeros((len(ids), *size), dtype=bool)
        for index, patch in patches:
            patch.of(planes[ids.index(index)])[patch.bits] = True
        return Layers(ids, planes)

    def _patches(self, size: Size) -> list[tuple[int, Patch]]:
        if self.size is not None and self.size != size:
            raise UserError(
                f"{self.path}: says that {self.image} has {self.size[1]} x {self.size[0]} pixels, but it has "
                f"{size[1]} x {size[0]}; the labels belong to another version of it"
            )
        return [(index, shape.draw(size)) for index, shape in self.objects]

"""Decode once: decoded images in memory or on disk, shared by all loading processes.

Where each image lies is known before any is read: the sizes are. An image that was read is copied to its place and
then marked with a checksum, so that a killed process leaves no half image behind that could pass for a whole one,
and processes need no lock: two that read the same image write the same bytes.
"""

from __future__ import annotations

import mmap
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from segtrain.data.sampling import Pixels
from segtrain.data.source import Examples
from segtrain.decode.headers import MAX_PIXELS
from segtrain.errors import UserError
from segtrain.windows import Array, Window, cut

ABSENT = 0  # mark of what is not there; a checksum that happens to be 0 costs a new reading each time
ALIGNED = 64  # bytes: arrays begin at multiples


class Place(Protocol):
    """Bytes that all processes see.

    Attributes:
        size: bytes.
    """

    size: int

    def view(self) -> npt.NDArray[np.uint8]:
        """All of them, read-only."""
        ...

    def write(self, start: int, content: bytes | memoryview) -> bool:
        """Put content there; False where there is no room any more."""
        ...


class Memory:
    """Bytes shared with the processes that are forked from this one; used up as they are written. Implements Place."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._map = mmap.mmap(-1, max(1, size))

    def view(self) -> npt.NDArray[np.uint8]:
        """All of them, read-only."""
        content = np.frombuffer(self._map, np.uint8)
        content.flags.writeable = False
        return content

    def write(self, start: int, content: bytes | memoryview) -> bool:
        """Put content there."""
        self._map[start : start + len(content)] = content
        return True

    def __getstate__(self) -> int:
        return self.size  # a process that was not forked begins with an empty one

    def __setstate__(self, size: int) -> None:
        self.__init__(size)  # type: ignore[misc]


class File:
    """Bytes of a file; it grows on the disk as it is written. Implements Place.

    Args:
        path: of the file, made where it is not there.
        size: bytes.

    Raises:
        OSError: it cannot be made or opened.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if os.fstat(self._file).st_size != max(1, size):
            os.ftruncate(self._file, max(1, size))

    def view(self) -> npt.NDArray[np.uint8]:
        """All of them, read-only."""
        return np.frombuffer(mmap.mmap(self._file, max(1, self.size), access=mmap.ACCESS_READ), np.uint8)

    def write(self, start: int, content: bytes | memoryview) -> bool:
        """Put content there (not through the map: a full disk would end the process)."""
        try:
            while content:
                done = os.pwrite(self._file, content, start)
                start, content = start + done, content[done:]
        except OSError:
            return False
        return True

    def __getstate__(self) -> tuple[Path, int]:
        return self.path, self.size

    def __setstate__(self, state: tuple[Path, int]) -> None:
        self.__init__(*state)  # type: ignore[misc]


class Cached:
    """Examples that are read once and then come from a place that all loading processes share. Implements Examples.

    Args:
        examples: what to read from.
        shape: (channels of the image, planes of the mask; 0 for a mask [H, W]).
        dtype: of the images.
        content: place of the arrays; what does not fit into it is read anew each time.
        marks: place of a checksum of 4 bytes for each image.
        max_pixels: images with more are read in parts, and not kept.
    """

    def __init__(
        self,
        examples: Examples,
        shape: tuple[int, int],
        dtype: npt.DTypeLike,
        content: Place,
        marks: Place,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.ids, self.sizes = examples.ids, examples.sizes
        self._examples, self._shape, self._dtype = examples, shape, np.dtype(dtype)
        self._content, self._marks = content, marks
        self._starts = starts(self.sizes, shape, self._dtype.itemsize, max_pixels)
        self._open: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]] | None = None
        self._trusted: set[int] = set()  # whose checksum this process has seen to be right

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        """As Examples.read; the arrays are read-only views of the cache."""
        if not self._starts[index] < self._starts[index + 1] <= self._content.size:
            return self._examples.read(index, window)
        content, marks = self._maps()
        stored = content[self._starts[index] : self._starts[index + 1]]
        if index in self._trusted or (marks[index] != ABSENT and zlib.crc32(stored.data) == marks[index]):
            self._trusted.add(index)
            return cut(*self._arrays(index, stored), window)
        image, mask = self._examples.read(index)
        self._keep(index, image, mask)
        return cut(image, mask, window)

    def places(self, index: int) -> Pixels:
        """As Examples.places."""
        return self._examples.places(index)

    def _keep(self, index: int, image: Array, mask: Array) -> None:
        both = bytearray(int(self._starts[index + 1] - self._starts[index]))
        for kept, array in zip(self._arrays(index, np.frombuffer(both, np.uint8)), (image, mask), strict=True):
            kept[...] = array
        if self._content.write(int(self._starts[index]), memoryview(both)):
            self._marks.write(4 * index, np.uint32(zlib.crc32(both)).tobytes())

    def _arrays(self, index: int, stored: npt.NDArray[np.uint8]) -> tuple[Array, Array]:
        """Image and mask as views of an image's bytes."""
        (height, width), (channels, planes) = self.sizes[index], self._shape
        end = height * width * channels * self._dtype.itemsize
        image = stored[:end].view(self._dtype).reshape(height, width, channels)
        mask = stored[end : end + height * width * max(1, planes)]
        return image, mask.reshape((planes, height, width) if planes else (height, width))

    def _maps(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
        if self._open is None:
            self._open = self._content.view(), self._marks.view()[: 4 * len(self.ids)].view(np.uint32)
        return self._open

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None, "_trusted": set()}


def starts(
    sizes: Sequence[tuple[int, int]], shape: tuple[int, int], itemsize: int, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.int64]:
    """Where each image's bytes begin, and where the last one's end; images too large to decode whole have none."""
    channels, planes = shape
    pixels = np.array([height * width for height, width in sizes], np.int64)
    lengths = pixels * (channels * itemsize + max(1, planes)) * (pixels <= max_pixels)
    return np.concatenate([[0], np.cumsum(-(-lengths // ALIGNED) * ALIGNED)])


def in_memory(
    examples: Examples, shape: tuple[int, int], dtype: npt.DTypeLike, limit: int, max_pixels: int = MAX_PIXELS
) -> tuple[Cached, int]:
    """Keep images in memory, the first ones that fit.

    Args:
        examples: what to read from.
        shape: see Cached.
        dtype: of the images.
        limit: bytes.
        max_pixels: see Cached.

    Returns:
        The examples, and the bytes that are left of the limit.
    """
    ends = starts(examples.sizes, shape, np.dtype(dtype).itemsize, max_pixels)
    size = int(ends[np.searchsorted(ends, limit, side="right") - 1])
    kept = Cached(examples, shape, dtype, Memory(size), Memory(4 * len(examples.ids)), max_pixels)
    return kept, limit - size


def on_disk(
    examples: Examples, shape: tuple[int, int], dtype: npt.DTypeLike, path: Path, max_pixels: int = MAX_PIXELS
) -> Cached:
    """Keep images in a file, for this run and later ones.

    Args:
        examples: what to read from.
        shape: see Cached.
        dtype: of the images.
        path: of the file; its name must change with anything that the arrays depend on.
        max_pixels: see Cached; the name must change with it too.

    Raises:
        UserError: there is no place or no room for it.
    """
    size = int(starts(examples.sizes, shape, np.dtype(dtype).itemsize, max_pixels)[-1])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        used = path.stat().st_blocks * 512 if path.exists() else 0
        free = shutil.disk_usage(path.parent).free + used
        if free < size:
            raise UserError(
                f"data.cache=disk needs {size / 2**30:.1f} GiB in {path.parent}, only {free / 2**30:.1f} GiB are free; "
                "name another data.cache_dir, or use data.cache=ram (as much as fits) or none"
            )
        content, marks = File(path, size), File(path.with_suffix(".marks"), 4 * len(examples.ids))
    except OSError as error:
        raise UserError(
            f"{path}: no place for data.cache=disk ({error.strerror}); name another data.cache_dir"
        ) from error
    return Cached(examples, shape, dtype, content, marks, max_pixels)

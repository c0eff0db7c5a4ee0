"""Caches give what the files give, to every process, and never half of it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtrain.data import cache
from segtrain.data.cache import Cached, in_memory, on_disk
from segtrain.errors import UserError
from segtrain.windows import Array, Window, cut

SIZES = [(5, 7), (16, 9), (1, 1), (33, 20), (8, 8)]


@dataclass
class Counting:
    """Examples that know how often each was read."""

    channels: int = 3
    planes: int = 0
    dtype: Any = np.uint8
    sizes: Sequence[tuple[int, int]] = field(default_factory=lambda: SIZES)
    count: list[int] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [str(i) for i in range(len(self.sizes))]

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        self.count.append(index)
        random = np.random.default_rng(index)
        image = random.integers(0, 256, (*self.sizes[index], self.channels)).astype(self.dtype)
        shape = (self.planes, *self.sizes[index]) if self.planes else self.sizes[index]
        return cut(image, random.integers(0, 3, shape).astype(np.uint8), window)


def kept(examples: Counting, where: str, folder: Path, max_pixels: int = 10**8) -> Cached:
    shape = (examples.channels, examples.planes)
    if where == "ram":
        return in_memory(examples, shape, examples.dtype, 2**20, max_pixels)[0]
    return on_disk(examples, shape, examples.dtype, folder / "kept" / "train.bin", max_pixels)


def same(given: tuple[Array, Array], wanted: tuple[Array, Array]) -> None:
    for one, other in zip(given, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("where", ["ram", "disk"])
@pytest.mark.parametrize(("channels", "planes", "dtype"), [(3, 0, np.uint8), (1, 2, np.float32), (5, 0, np.float32)])
def test_gives_what_was_read_and_reads_once(tmp_path: Path, where: str, channels: int, planes: int, dtype: Any) -> None:
    examples = Counting(channels, planes, dtype)
    stored, window = kept(examples, where, tmp_path), Window(0, 0, 1, 1)
    for _ in range(3):
        for index in (3, 0, 4, 1, 2):
            same(stored.read(index), Counting(channels, planes, dtype).read(index))
            same(stored.read(index, window), Counting(channels, planes, dtype).read(index, window))
    assert sorted(examples.count) == [0, 1, 2, 3, 4]
    image, mask = stored.read(0)
    assert not image.flags.writeable
    assert not mask.flags.writeable


def test_memory_holds_what_fits(tmp_path: Path) -> None:
    examples = Counting()
    room = int(cache.starts(SIZES, (3, 0), 1)[2])  # the first two
    stored, left = in_memory(examples, (3, 0), np.uint8, room + 10)
    assert left == 10
    for _ in range(2):
        for index in range(5):
            same(stored.read(index), Counting().read(index))
    assert sorted(examples.count) == [0, 1, 2, 2, 3, 3, 4, 4]
    assert in_memory(examples, (3, 0), np.uint8, 0)[1] == 0


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_processes_share_it(tmp_path: Path, where: str) -> None:
    examples = Counting()
    stored = kept(examples, where, tmp_path)
    child = multiprocessing.get_context("fork").Process(target=lambda: [stored.read(i) for i in range(5)])
    child.start()
    child.join()
    assert child.exitcode == 0
    for index in range(5):
        same(stored.read(index), Counting().read(index))
    assert examples.count == []


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_processes_that_are_not_forked(tmp_path: Path, where: str) -> None:
    stored = kept(Counting(), where, tmp_path)
    stored.read(1)
    copy = pickle.loads(pickle.dumps(stored))
    for index in range(5):
        same(copy.read(index), Counting().read(index))


def test_later_runs_find_it(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    for index in range(5):
        kept(first, "disk", tmp_path).read(index)
    for index in range(5):
        same(kept(second, "disk", tmp_path).read(index), Counting().read(index))
    assert second.count == []


def test_damage_costs_a_new_reading(tmp_path: Path) -> None:
    for index in range(5):
        kept(Counting(), "disk", tmp_path).read(index)
    content = tmp_path / "kept" / "train.bin"
    damaged = bytearray(content.read_bytes())
    damaged[3] ^= 1  # in the first image
    content.write_bytes(damaged)
    examples = Counting()
    for index in range(5):
        same(kept(examples, "disk", tmp_path).read(index), Counting().read(index))
    assert examples.count == [0]
    content.write_bytes(b"")  # cut off altogether
    for index in range(5):
        same(kept(Counting(), "disk", tmp_path).read(index), Counting().read(index))


def test_a_killed_writer_leaves_nothing_that_passes_for_an_image(tmp_path: Path) -> None:
    sizes = [(300, 300)] * 40
    for wait in (0.0, 0.002, 0.005, 0.01, 0.02):
        folder = tmp_path / str(wait)

        def write(folder: Path = folder) -> None:
            stored = kept(Counting(sizes=sizes), "disk", folder)
            (folder / "begun").touch()
            for index in range(40):
                stored.read(index)

        child = multiprocessing.get_context("fork").Process(target=write)
        child.start()
        while not (folder / "begun").exists():
            time.sleep(0.001)
        time.sleep(wait)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        for index in range(40):
            same(kept(Counting(sizes=sizes), "disk", folder).read(index), Counting(sizes=sizes).read(index))


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_what_is_too_large_to_be_decoded_whole_is_not_kept(tmp_path: Path, where: str) -> None:
    examples, window = Counting(), Window(1, 1, 3, 4)
    stored = kept(examples, where, tmp_path, max_pixels=143)  # one less than the second has
    for _ in range(2):
        for index in (0, 1, 3):
            same(stored.read(index, window), Counting().read(index, window))
    assert examples.count == [0, 1, 3, 1, 3]


def test_a_full_disk_costs_speed_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    examples = Counting()
    stored = kept(examples, "disk", tmp_path)
    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(2):
        for index in range(5):
            same(stored.read(index), Counting().read(index))
    assert len(examples.count) == 10


def test_no_room_and_no_place_are_said_before(tmp_path: Path) -> None:
    huge = Counting(sizes=[(10**4, 10**4)] * 10**4)  # 4 * 10^12
    with pytest.raises(UserError, match=r"data.cache=disk needs 3725\.3 GiB in .* are free; name another"):
        on_disk(huge, (3, 0), np.uint8, tmp_path / "a.bin")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"no place for data.cache=disk"):
        on_disk(Counting(), (3, 0), np.uint8, tmp_path / "file" / "a.bin")

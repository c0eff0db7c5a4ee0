"""Loading processes: as many as are worth it on a GPU, none on a CPU, whatever was asked for otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from segtrain import loading
from segtrain.augment import build_augmentation
from segtrain.data.synthetic import SyntheticData
from segtrain.datamodule import SegmentationDataModule
from segtrain.errors import UserError
from segtrain.loading import batches_per_second, candidates, choose_workers

REQUEST = {"mode": "auto", "num_classes": None, "ignore_index": 255, "names": None, "palette": None}


def data(num_workers: Any, pinned: bool) -> SegmentationDataModule:
    source = SyntheticData(size=32, train=8, val=2, test=0).open(REQUEST)
    return SegmentationDataModule(source, build_augmentation(None, 16, 255), 1, 2, (16, 16), num_workers, pinned)


@pytest.mark.parametrize(
    ("cores", "speeds", "expected"),
    [
        (1, {0: 5.0}, 0),  # nothing to try
        (16, {0: 10.0, 1: 9.0, 2: 99.0}, 0),  # the first one is no gain: stop
        (16, {0: 10.0, 1: 20.0, 2: 40.0, 4: 41.0, 8: 99.0}, 2),
        (16, {0: 10.0, 1: 20.0, 2: 40.0, 4: 60.0, 8: 70.0}, 8),
        (4, {0: 10.0, 1: 20.0, 2: 40.0, 4: 99.0}, 2),  # one core is left to the main process
    ],
)
def test_more_processes_as_long_as_they_are_worth_it(cores: int, speeds: dict[int, float], expected: int) -> None:
    tried: list[int] = []

    def load(number: int) -> Iterator[int]:
        tried.append(number)
        return iter([number])

    number, said = choose_workers(load, cores, rate=lambda batches: speeds[next(batches)])
    assert number == expected
    assert said.startswith(f"{expected} loading processes (batches a second: ")
    assert tried == candidates(cores)[: len(tried)]
    assert set(tried) <= set(speeds)


def test_the_first_batch_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes with the start of the processes."""
    now = [0.0]
    monkeypatch.setattr(loading.time, "perf_counter", lambda: now[0])

    def batches() -> Iterator[int]:
        for number in range(100):
            now[0] += 50.0 if number == 0 else 0.1
            yield number

    assert batches_per_second(batches(), 1.05) == pytest.approx(10.0)
    assert batches_per_second(iter([1]), 1.0) == float("inf")


def test_a_cpu_loads_in_its_own_process() -> None:
    module = data("auto", pinned=False)
    module.tune()
    assert module.why == "no loading processes: on a CPU training uses all cores"
    assert module.workers == 0


def test_a_number_is_taken_as_it_is() -> None:
    module = data(3, pinned=True)
    module.tune()
    assert module.why.endswith(" loading processes, as asked for")
    assert module.workers == 3
    with pytest.raises(UserError, match=r"num_workers must be auto or a whole number >= 0, got 'many'"):
        data("many", pinned=False)


def test_trials_load_real_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtrain.datamodule.usable_cores", lambda: 3)
    monkeypatch.setattr(loading, "SECONDS", 0.05)
    module = data("auto", pinned=True)
    module.pin_memory = False  # which needs a GPU
    number, said = choose_workers(module._trial, 3)
    assert number in (0, 1, 2)
    assert "batches a second: " in said
    batch = next(module._trial(0))
    assert batch["image"].shape == (2, 3, 16, 16)

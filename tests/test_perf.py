"""What a training says about its speed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from segtrain.callbacks.perf import Speed, bottleneck, free_share, less_often, peak_memory
from tests import tiny


@pytest.mark.parametrize(
    ("waited", "workers", "cache", "free", "said"),
    [
        (0.03, 0, "none", None, "3% of the time went into waiting for data: the net takes the rest"),
        (
            0.03,
            4,
            "none",
            0.8,
            "3% of the time went into waiting for data: the net takes the rest, and 80% of its memory is free for a "
            "larger batch_size",
        ),
        (0.14, 4, "none", 0.4, "14% of the time went into waiting for data: the net takes the rest"),
        (
            0.5,
            0,
            "none",
            None,
            "50% of the time went into waiting for data: try data.cache=ram or an aug with fewer ops",
        ),
        (0.5, 0, None, None, "50% of the time went into waiting for data: try an aug with fewer ops"),
        (0.5, 0, "ram", None, "50% of the time went into waiting for data: try an aug with fewer ops"),
        (0.5, 2, "ram", 0.8, "50% of the time went into waiting for data: try num_workers=4 or an aug with fewer ops"),
        (0.5, 4, "disk", 0.8, "50% of the time went into waiting for data: try an aug with fewer ops"),
    ],
)
def test_what_limits(
    waited: float, workers: int, cache: str | None, free: float | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segtrain.callbacks.perf.usable_cores", lambda: 8)
    assert bottleneck(waited, 10, workers, cache, free) == said
    assert "too few steps" in bottleneck(waited, 9, workers, cache, free)


def test_validation_that_takes_much_is_said() -> None:
    assert less_often(3, 7) == ""
    assert less_often(0, 0) == ""
    said = "; validation takes 40% of an epoch: with passes=4 and a quarter of the epochs it comes less often"
    assert less_often(4, 6) == said


@pytest.mark.parametrize(("cache", "behind"), [("none", 1), ("ram", 2)])
def test_it_is_said_once_behind_the_first_epoch_that_is_as_the_others(
    tmp_path: Path, cache: str, behind: int, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny.make_folder(tmp_path / "data")
    run = tiny.train(tmp_path, "epochs=3", data=tiny.folder(root, f"data.cache={cache}"))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("speed", "epoch "))]
    assert [line.partition(" ")[0] for line in lines].index("speed") == behind - 1  # before the epoch's own line
    assert sum("of the time went into waiting for data" in line for line in lines) == 1
    rows = tiny.table(run)
    assert all(0 < float(row["perf/memory_gib"]) < 64 for row in rows)
    assert all(0 <= float(row["perf/data_wait"]) <= 1 for row in rows)


def test_the_step_that_compiles_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("segtrain.callbacks.perf.time.perf_counter", lambda: now[0])
    module = SimpleNamespace(training_net=(None,))
    speed = Speed(0.0, print)
    for step, seconds in enumerate((100, 2, 2)):
        trainer = SimpleNamespace(is_last_batch=step == 2, world_size=1)
        speed.on_train_batch_start(trainer, module, {}, step)
        now[0] += seconds
        speed.on_train_batch_end(trainer, module, None, {"id": ["a"] * 4}, step)
    assert (speed.images, speed.seconds, speed._rate) == (8, 4, 2)


def test_memory_of_a_cpu_is_that_of_the_process() -> None:
    before = peak_memory(torch.device("cpu"))
    assert before is not None
    held = torch.ones(2**27)  # 512 MiB
    after = peak_memory(torch.device("cpu"))
    assert after is not None
    assert after >= before
    assert after > held.numel() * 4 / 2**30
    assert free_share(torch.device("cpu"), after) is None
    assert peak_memory(torch.device("meta")) is None

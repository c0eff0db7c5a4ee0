"""Several processes: shares that do not come out even, one that fails, one that is told to end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from segtrain.cli import main
from segtrain.runs import Run
from tests import tiny
from tests.faults import plant
from tests.faults.warm import Child

TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "num_workers=0"]
SMALL = [*tiny.SYNTHETIC, *tiny.FAST]


def together(folder: Path, *words: str, of: Sequence[Sequence[str]] = ((), ())) -> list[Child]:
    """Two processes as torchrun starts them, each with some words of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "tests", "GROUP_RANK": "0"}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [
        Child(
            ["train", *TWO, f"output_dir={folder / 'out'}", *words, *own],
            folder / str(rank),
            environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank, own in enumerate(of)
    ]


def run_of(folder: Path) -> Run:
    return tiny.read_run(tiny.find_latest(folder / "out"))


@pytest.mark.parametrize("val", tiny.every(2, [5, 7]))
@pytest.mark.fault("Ranks", "uneven N and uneven batches", "each image counts once: scores as of one process")
def test_uneven_shares(tmp_path: Path, val: int) -> None:
    words = [*SMALL, f"data.val={val}", "data.test=3", "batch_size=1", "epochs=1"]
    first, second = together(tmp_path, *words)
    assert (first.ended(), second.ended()) == (0, 0), first.err + second.err
    run = run_of(tmp_path)
    assert main(["evaluate", f"run={run.last}", "split=val", *TWO[1:2], "trainer.devices=1", "surface=false"]) == 0
    alone = tiny.scores(run, "val")
    (row,) = tiny.curves(run)
    for tag in ("iou", "dice", "accuracy"):
        assert float(row[f"val/{tag}"]) == pytest.approx(alone[tag], abs=2e-6)


@pytest.mark.fault("Ranks", "N smaller than the number of processes", "refused before training, in all of them")
def test_too_few_images(tmp_path: Path) -> None:
    for child in together(tmp_path, *SMALL, "data.val=1"):
        assert child.ended() == 1
        assert "the 1 val images cannot be shared by 2 processes" in child.err


@pytest.mark.parametrize("rank", tiny.every(2, [0, 1]))
@pytest.mark.fault("Ranks", "one rank raises", "all end, none with 0, none waits; the checkpoint is intact")
def test_one_raises(tmp_path: Path, rank: int) -> None:
    fault = plant.at_step(2, "raise_memory_error")
    harmless = plant.at_step(10**6, "raise_memory_error")
    children = together(tmp_path, *SMALL, "epochs=3", of=[fault if rank == each else harmless for each in (0, 1)])
    assert children[rank].ended() == 1
    assert "memory ran out in step 2" in children[rank].err
    assert children[1 - rank].ended() != 0
    assert "Traceback" not in children[1 - rank].err
    assert tiny.global_step(run_of(tmp_path)) == 2


@pytest.mark.parametrize(
    ("place", "at", "rank"),
    [
        ("step", 45, 1),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("step", 45, 0), ("validation", 30, 0), ("validation", 30, 1))
        ),
        *(pytest.param("validation start", 1, rank, marks=pytest.mark.slow) for rank in (0, 1)),
    ],
)
@pytest.mark.fault("Ranks", "SIGTERM to one of them", "all save at one step, exit 143; goes on with the same bits")
def test_term_to_one(tmp_path: Path, place: str, at: int, rank: int) -> None:
    words = [*SMALL, "data.train=80", "data.val=160", "batch_size=1", "epochs=2"]
    whole = together(tmp_path / "whole", *words)
    assert [child.ended() for child in whole] == [0, 0]
    strike = f"_target_:tests.faults.test_signals.Raise,at:{at},numbers:[{int(signal.SIGTERM)}]"
    own = [
        [f"+callbacks.strike={{{strike},place:{place if each == rank else 'nowhere'}}}", "--allow", "tests"]
        for each in (0, 1)
    ]
    children = together(tmp_path, *words, of=own)
    assert [child.ended() for child in children] == [143, 143], children[0].err + children[1].err
    run = run_of(tmp_path)
    assert run.status == "stopped"
    assert tiny.global_step(run) == (60 if place == "step" else 80)
    again = together(tmp_path, f"resume={run.folder}", "~callbacks.strike")
    assert [child.ended() for child in again] == [0, 0], again[0].err + again[1].err
    assert tiny.differing(tiny.weights(run_of(tmp_path / "whole")), tiny.weights(run)) == []
    for before, after in zip(tiny.curves(run_of(tmp_path / "whole")), tiny.curves(run), strict=True):
        assert before.keys() == after.keys()
        for key, value in before.items():  # a mean of the epoch is summed over the processes earlier: in another order
            assert float(after[key]) == pytest.approx(float(value), rel=1e-6, nan_ok=True), key

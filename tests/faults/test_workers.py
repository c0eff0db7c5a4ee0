"""Loading processes that are killed, raise or hang; and what they load, which does not depend on them."""

from __future__ import annotations

import multiprocessing
import time
from functools import partial
from pathlib import Path

import pytest

from segtrain.cli import main
from segtrain.runs import Run
from tests import tiny
from tests.faults import plant
from tests.faults.warm import Child

WORDS = [
    "train",
    *tiny.SYNTHETIC,
    *tiny.FAST,
    "epochs=3",
    "checkpoint.every_steps=1",
    "num_workers=2",
    "output_dir=out",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What none has disturbed."""
    return tiny.train(tmp_path_factory.mktemp("whole"), "epochs=3")


def failed(folder: Path, says: str, act: object, *words: str) -> Run:
    """A run in which a loading process did something in the second epoch."""
    child = Child([*WORDS, *words], folder, partial(plant.reading, act))
    assert child.ended() == 1
    assert child.err.startswith("error: ")
    assert child.err.count("\n") == 1, child.err
    assert says in child.err
    run = Run(tiny.find_latest(folder / "out"))
    assert run.status == "failed"
    return run


def goes_on_as(whole: Run, run: Run) -> None:
    assert main(["train", f"resume={run.folder}", "num_workers=0"]) == 0
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []
    assert tiny.curves(whole) == tiny.curves(run)


@pytest.mark.fault("Workers", "killed", "one sentence with the cause, exit 1; goes on bit-identically")
def test_killed(tmp_path: Path, whole: Run) -> None:
    goes_on_as(whole, failed(tmp_path, "was killed by Killed", plant.kill_myself))


@pytest.mark.parametrize(
    ("act", "says"),
    tiny.every(
        2,
        [
            (plant.raise_user_error, "error: img_3.png: damaged; export it again\n"),
            (
                plant.raise_key_error,
                "error: a loading process failed with KeyError: 'colour' (--traceback shows where)\n",
            ),
        ],
    ),
)
@pytest.mark.fault("Workers", "raising", "its own sentence alone, exit 1; goes on bit-identically")
def test_raising(tmp_path: Path, whole: Run, act: object, says: str) -> None:
    goes_on_as(whole, failed(tmp_path, says, act))


@pytest.mark.fault("Workers", "hanging", "ends after worker_timeout, exit 1; goes on bit-identically")
def test_hanging(tmp_path: Path, whole: Run) -> None:
    goes_on_as(whole, failed(tmp_path, "took longer than worker_timeout", plant.hang, "worker_timeout=1"))


@pytest.mark.fault("Workers", "augmentation", "differs in each sample and epoch; the same for any number of workers")
def test_augmentation_differs_across_workers_and_epochs_and_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def seen(workers: int, seed: int = 1) -> list[str]:
        path = tmp_path / f"{workers}_{seed}.txt"
        node = f"{{_target_:tests.faults.plant.Digests,path:{path}}}"
        words = [f"num_workers={workers}", f"seed={seed}", f"+callbacks.digests={node}", "--allow", "tests"]
        child = Child([*WORDS, "aug=heavy", *words], tmp_path / path.stem)
        assert child.ended() == 0, child.err
        return path.read_text().splitlines()

    alone = seen(0)
    assert alone == seen(1) == seen(2)
    assert len({line.split()[-1] for line in alone}) == len(alone) == 3 * 8
    assert set(alone).isdisjoint(seen(2, seed=2))


def test_processes_of_whoever_trains_are_left_alone(tmp_path: Path) -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        words = ["train", *tiny.SYNTHETIC, *tiny.FAST, f"output_dir={tmp_path}"]
        assert main([*words, *plant.at_step(1, "raise_memory_error")]) == 1
        assert other.is_alive()
    finally:
        other.kill()
        other.join()

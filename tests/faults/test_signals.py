"""A signal at any moment: the run saves, ends with a code that says so, and goes on with the bits it would have had."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from segtrain.cli import main
from segtrain.runs import Run
from tests import tiny
from tests.faults.warm import Child
from tests.tiny import curves

MORE = ["epochs=3", "batch_size=2", "data.val=24"]
WORDS = [*tiny.SYNTHETIC, *tiny.FAST, *MORE]


class Raise(Callback):
    """Sends this process (or its whole group) signals at a place of the training.

    Args:
        place: "step", "validation", "validation start" or "test".
        at: which batch of the place.
        numbers: of the signals.
        group: also to the processes that it has started.
    """

    def __init__(self, place: str, at: int, numbers: Sequence[int], group: bool = False) -> None:
        self.place, self.at, self.numbers, self.group = place, at, numbers, group

    def _strike(self, place: str, at: int) -> None:
        if (place, at) == (self.place, self.at):
            for number in self.numbers:
                (os.killpg if self.group else os.kill)(os.getpid(), number)

    def on_train_batch_start(self, trainer: object, pl_module: object, batch: object, batch_idx: int) -> None:
        self._strike("step", trainer.global_step)  # type: ignore[attr-defined]

    def on_validation_start(self, trainer: object, pl_module: object) -> None:
        self._strike("validation start", trainer.current_epoch)  # type: ignore[attr-defined]

    def on_validation_batch_start(self, trainer: object, pl_module: object, batch: object, batch_idx: int) -> None:
        if trainer.current_epoch == 1:  # type: ignore[attr-defined]
            self._strike("validation", batch_idx)

    def on_test_batch_start(self, trainer: object, pl_module: object, batch: object, batch_idx: int) -> None:
        self._strike("test", batch_idx)


def strike(place: str, at: int, *numbers: int, group: bool = False) -> list[str]:
    """Words that add it."""
    settings = f"place:{place},at:{at},numbers:{[int(number) for number in numbers]},group:{group}"
    return [f"+callbacks.strike={{_target_:tests.faults.test_signals.Raise,{settings}}}", "--allow", "tests"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What none has disturbed."""
    return tiny.train(tmp_path_factory.mktemp("whole"), *MORE)


def stopped(folder: Path, code: int, *words: str) -> Run:
    """A run that a signal has ended, and that has said so."""
    child = Child(["train", *WORDS, "output_dir=out", *words], folder)
    assert child.ended() == code, child.err
    assert "Traceback" not in child.err
    run = Run(tiny.find_latest(folder / "out"))
    assert run.status == "stopped"
    assert "goes on" in (run.folder / "train.log").read_text()
    return run


def goes_on_as(whole: Run, run: Run) -> None:
    """It ends with the weights and curves of the undisturbed one."""
    assert main(["train", f"resume={run.folder}", "~callbacks.strike"]) == 0
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []
    assert curves(whole) == curves(run)


@pytest.mark.parametrize("step", tiny.every(3, [0, 1, 7]))
@pytest.mark.fault("Signals", "SIGTERM in training", "saves behind the step, exit 143, goes on bit-identically")
def test_term_in_training(tmp_path: Path, whole: Run, step: int) -> None:
    run = stopped(tmp_path, 143, *strike("step", step, signal.SIGTERM))
    assert tiny.global_step(run) == step + 1
    assert (tmp_path / "stderr").read_text().count("SIGTERM: ends after this step\n") == 1
    goes_on_as(whole, run)


@pytest.mark.parametrize(
    ("place", "at"), tiny.every(3, [("step", 9), ("validation start", 1), ("validation", 1), ("validation", 5)])
)
@pytest.mark.fault("Signals", "SIGTERM in validation", "saves at once, exit 143, the validation is made anew")
def test_term_in_validation(tmp_path: Path, whole: Run, place: str, at: int) -> None:
    run = stopped(tmp_path, 143, *strike(place, at, signal.SIGTERM))
    assert tiny.global_step(run) == 10
    assert [row["epoch"] for row in curves(run)] == ["1"]
    goes_on_as(whole, run)


@pytest.mark.fault(
    "Signals", "SIGTERM in validation, with ema", "the average and the weights behind it go on as they were"
)
def test_term_in_validation_with_ema(tmp_path: Path) -> None:
    whole = tiny.train(tmp_path / "whole", *MORE, "ema=.9")
    run = stopped(tmp_path, 143, "ema=.9", *strike("validation", 1, signal.SIGTERM))
    goes_on_as(whole, run)


@pytest.mark.parametrize(("place", "at"), tiny.every(2, [("step", 7), ("validation", 3)]))
@pytest.mark.fault("Signals", "SIGTERM to the group, with workers", "the workers go on until the run has saved")
def test_term_to_the_group_with_workers(tmp_path: Path, whole: Run, place: str, at: int) -> None:
    words = strike(place, at, signal.SIGTERM, group=True)
    run = stopped(tmp_path, 143, "num_workers=2", *words)
    assert tiny.global_step(run) == (8 if place == "step" else 10)
    goes_on_as(whole, run)


def signal_workers_that_start() -> None:
    """Each gets a SIGTERM where torch has made it end at one, before it could be told to ignore it."""
    from torch.utils.data._utils import signal_handling

    begin = signal_handling._set_worker_signal_handlers

    def beginning() -> None:
        begin()
        os.kill(os.getpid(), signal.SIGTERM)

    signal_handling._set_worker_signal_handlers = beginning


@pytest.mark.fault(
    "Signals", "SIGTERM to the group, while workers start", "the workers start; trains on until it has saved"
)
def test_term_to_workers_that_start(tmp_path: Path, whole: Run) -> None:
    child = Child(["train", *WORDS, "output_dir=out", "num_workers=2"], tmp_path, signal_workers_that_start)
    assert child.ended() == 0, child.err
    run = Run(tiny.find_latest(tmp_path / "out"))
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []


def stumble_over_a_signal() -> None:
    """What is interrupted raises an error of its own when it cleans up, as OmegaConf does."""
    import segtrain.run

    def stumbling(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise KeyError("flags")

    segtrain.run._describe = stumbling  # type: ignore[assignment]


@pytest.mark.fault("Signals", "SIGTERM in code that stumbles over it", "status stopped, exit 143, as without")
def test_term_in_code_that_stumbles(tmp_path: Path) -> None:
    child = Child(["train", *WORDS, "output_dir=out"], tmp_path, stumble_over_a_signal)
    assert child.ended() == 143, child.err
    assert Run(tiny.find_latest(tmp_path / "out")).status == "stopped"
    assert "error" not in child.err
    assert "stopped by SIGTERM; nothing was saved yet" in child.out


@pytest.mark.parametrize(
    ("number", "code"), tiny.every(3, [(signal.SIGUSR1, 138), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
)
@pytest.mark.fault("Signals", "SIGUSR1, SIGHUP, first SIGINT", "as SIGTERM; exit 138, 129, 130")
def test_usr1_hup_and_int(tmp_path: Path, whole: Run, number: signal.Signals, code: int) -> None:
    run = stopped(tmp_path, code, *strike("step", 7, number))
    assert tiny.global_step(run) == 8
    assert f"{number.name}: ends after this step" in (tmp_path / "stderr").read_text()
    goes_on_as(whole, run)


@pytest.mark.fault("Signals", "second SIGINT", "ends at once, exit 130; the last checkpoint is whole")
def test_second_int(tmp_path: Path, whole: Run) -> None:
    run = stopped(tmp_path, 130, *strike("step", 7, signal.SIGINT, signal.SIGINT))
    assert tiny.global_step(run) == 5
    goes_on_as(whole, run)


@pytest.mark.fault("Signals", "SIGTERM in the test", "ends at once, exit 143; only the test is left")
def test_term_in_the_test(tmp_path: Path, whole: Run) -> None:
    run = stopped(tmp_path, 143, *strike("test", 0, signal.SIGTERM))
    assert tiny.global_step(run) == 15
    goes_on_as(whole, run)
    assert tiny.read_run(run.folder).summary["test"] == whole.summary["test"]


def test_term_in_the_test_of_a_run_that_has_only_its_test_left(tmp_path: Path) -> None:
    words = strike("test", 0, signal.SIGTERM)
    run = stopped(tmp_path, 143, *words)
    again = Child(["train", f"resume={run.folder}", "--allow", "tests"], tmp_path / "again")
    assert again.ended() == 143, again.err
    assert run.status == "stopped"


def ignore(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)


@pytest.mark.fault("Signals", "SIGHUP under nohup", "trains on")
def test_hup_under_nohup(tmp_path: Path) -> None:
    words = ["train", *WORDS, "epochs=1", "output_dir=out", *strike("step", 2, signal.SIGHUP)]
    assert Child(words, tmp_path, partial(ignore, signal.SIGHUP)).ended() == 0

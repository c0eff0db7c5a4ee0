"""Trainings that are killed at random moments and continued, until they end as if nothing had happened.

    python scripts/crash_test.py --runs 100

Each run has random settings (mixing, augmentation, loading processes, accumulation, bfloat16, schedules) and is struck
a few times: SIGKILL, SIGTERM or SIGINT to the training, SIGTERM to its whole group, SIGKILL to a loading process. Then
its weights, optimizer and curves are compared, bit for bit, with those of a run that nothing disturbed. After each
strike every checkpoint must be readable. What failed is kept, with what it said.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from segtrain.callbacks.report import read_rows
from segtrain.errors import UserError
from segtrain.repro import first_deviation
from segtrain.runs import Run, find_latest

DATA = ["data.size=32", "data.train=24", "data.val=8", "data.test=3", "data.foreground=.2", "crop=32", "batch_size=4"]
WORDS = [*DATA, "model.width=2", "model.depth=2", "epochs=4", "callbacks.pictures.samples=1", "resume=auto"]
VARIANTS = (
    ["mix=none"],
    ["mix=cutmix", "num_workers=2"],
    ["mix=copy_paste", "aug=heavy", "num_workers=1"],
    ["mix=mixup", "optim.schedule=plateau", "optim.patience=0"],
    ["trainer.accumulate=2", "batch_size=2", "num_workers=2"],
    ["trainer.precision=bf16-mixed", "optim.schedule=onecycle"],
    ["aug=randaugment", "loss=dice_boundary", "optim=sgd", "ema=.9"],
    ["task=multiclass", "data.oversample=.5", "data.repeat=1", "crop=16", "num_workers=1"],
)
SAVING = ("every_steps=1", "every_steps=3", "every_minutes=.002", "every_steps=null")
STRIKES = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "SIGTERM to the group", "SIGKILL to a worker")
# how a process may end, if it had not ended before; -15: before it listened to signals
ENDINGS = {"SIGKILL": {-9}, "SIGTERM": {143, -15}, "SIGINT": {130}, "SIGTERM to the group": {143, -15}}
ENDINGS |= {"SIGKILL to a worker": {1, -9}, "": set()}  # -9: there was no worker
MOST_STRIKES = 4  # of one run
SECONDS = 120  # for one sitting

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["segtrain.run", "segtrain.cli.training", "torch.utils.tensorboard"])


@dataclass
class Tally:
    """What happened in a run."""

    strikes: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def sitting(words: Sequence[str], log: Path) -> Any:
    """A training in a process of its own, forked from one that has loaded everything."""
    process = _context.Process(target=_train, args=(list(words), log))
    process.start()
    return process


def _train(words: list[str], log: Path) -> None:
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # of its loading processes
    for number in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    torch.set_num_threads(1)
    from segtrain.cli import main as command

    sys.argv = ["segtrain", "train", *words]
    sys.exit(command(["train", *words]))


def strike(process: Any, how: str) -> None:
    """Send what it says, if the process is still there."""
    with suppress(ProcessLookupError, FileNotFoundError):  # it has ended meanwhile
        number = getattr(signal, how.partition(" ")[0])
        if how.endswith("group"):
            os.killpg(process.pid, number)
        elif how.endswith("worker"):
            workers = loading(process.pid)
            os.kill(random.choice(workers) if workers else process.pid, number)
        else:
            os.kill(process.pid, number)


def loading(pid: int) -> list[int]:
    """Loading processes of a training; torch may have started others, for a GPU."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    started = listed.read_text().split() if listed.is_file() else []
    return [int(word) for word in started if Path(f"/proc/{word}/comm").read_text().startswith("pt_data_worker")]


def disturbed(words: Sequence[str], folder: Path, seed: int, seconds: float) -> Tally:
    """Train with strikes until it ends well.

    Args:
        words: of the command.
        folder: for outputs and log.
        seed: of when and how it is struck.
        seconds: that an undisturbed sitting takes.
    """
    dice, tally = random.Random(seed), Tally()
    for _ in range(40):
        process = sitting([*words, f"output_dir={folder / 'out'}"], folder / "log")
        how = dice.choice(STRIKES) if sum(tally.strikes.values()) < MOST_STRIKES else ""
        if how:
            process.join(dice.uniform(0.1, 1.1 * seconds))
            tally.strikes[how] += process.is_alive()
            strike(process, how)
        process.join(SECONDS)
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            tally.wrong.append(f"hung after {how}")
            return tally
        tally.endings[f"{how or 'nothing'}: {process.exitcode}"] += 1
        if process.exitcode not in {0, *ENDINGS[how]}:
            tally.wrong.append(f"exit code {process.exitcode} after {how or 'nothing'}")
        tally.wrong += unreadable(folder / "out")
        if process.exitcode == 0 or tally.wrong:
            return tally
    tally.wrong.append("never ended")
    return tally


def unreadable(output: Path) -> list[str]:
    """Checkpoints that cannot be read, and traces of half a save that pass for one."""
    from segtrain.checkpoint import load_checkpoint

    found = []
    for path in output.rglob("*.ckpt"):
        try:
            load_checkpoint(path)
        except UserError as error:
            found.append(str(error))
    return found


def differences(one: Run, other: Run) -> list[str]:
    """What two finished runs do not have in common."""
    found = []
    states = [torch.load(run.last, weights_only=True) for run in (one, other)]
    tensors = [_tensors(state) for state in states]
    unequal = [k for k in tensors[0] | tensors[1] if not _equal(tensors[0].get(k), tensors[1].get(k))]
    found += [f"weights or optimizer: {', '.join(unequal[:3])}"] if unequal else []
    deviation = first_deviation(*(read_rows(run.folder / "metrics.csv") for run in (one, other)))
    found += [] if deviation is None else [deviation.in_words()]
    steps = [_steps(run) for run in (one, other)]
    found += [] if steps[0] == steps[1] else [f"steps of TensorBoard: {steps[0]} and {steps[1]}"]
    return found


def _tensors(checkpoint: dict[str, Any]) -> dict[str, Any]:
    optimizer = checkpoint["optimizer_states"][0]["state"]
    moments = {f"{index}.{key}": value for index, state in optimizer.items() for key, value in state.items()}
    behind = {f"current.{key}": value for key, value in checkpoint.get("current_model_state", {}).items()}
    return {**checkpoint["state_dict"], **behind, **moments}


def _equal(one: Any, other: Any) -> bool:
    return one is not None and other is not None and torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def _steps(run: Run) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # what it makes void is expected
    events = EventAccumulator(str(run.folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return [event.step for event in [*events.Scalars("val/iou"), *events.Images("val/predictions")]]


def one_run(number: int, seed: int, base: Path, wholes: dict[int, tuple[Run, float]]) -> Tally:
    """A run with random settings, struck and compared."""
    dice = random.Random(f"{seed} {number}")
    variant = number % len(VARIANTS)
    folder = base / f"{number:04d}"
    folder.mkdir()
    whole, seconds = wholes[variant]
    words = [*WORDS, *VARIANTS[variant], f"checkpoint.{dice.choice(SAVING)}"]
    tally = disturbed(words, folder, dice.randrange(2**32), seconds)
    if not tally.wrong:
        tally.wrong += differences(whole, Run(find_latest(folder / "out")))
    if tally.wrong:
        print(f"run {number}, {' '.join(words)}: {'; '.join(tally.wrong)}; kept in {folder}", flush=True)
    else:
        shutil.rmtree(folder)
    return tally


def undisturbed(variant: int, base: Path) -> tuple[Run, float]:
    """A run that nothing disturbs, and the seconds that it takes."""
    folder = base / f"whole{variant}"
    folder.mkdir()
    started = time.monotonic()
    process = sitting([*WORDS, *VARIANTS[variant], f"output_dir={folder / 'out'}"], folder / "log")
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"{' '.join(VARIANTS[variant])} fails undisturbed: see {folder / 'log'}")
    return Run(find_latest(folder / "out")), time.monotonic() - started


def main() -> int:
    """Returns 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--also", nargs="*", default=[], help="further words, such as trainer=gpu deterministic=true")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    given = parser.parse_args()
    WORDS.extend(given.also)
    base, started = Path(tempfile.mkdtemp(prefix="crash_test_")), time.monotonic()
    sitting(["--version"], base / "log").join()  # loads everything once
    wholes = {variant: undisturbed(variant, base) for variant in range(min(given.runs, len(VARIANTS)))}
    with ThreadPoolExecutor(given.jobs) as pool:
        tallies = list(pool.map(lambda number: one_run(number, given.seed, base, wholes), range(given.runs)))
    strikes = sum((tally.strikes for tally in tallies), Counter())
    endings = sum((tally.endings for tally in tallies), Counter())
    wrong = [tally for tally in tallies if tally.wrong]
    print(f"{given.runs} runs in {time.monotonic() - started:.0f} s, struck {sum(strikes.values())} times")
    for title, counted in (("strikes", strikes), ("exit codes by strike", endings)):
        print(f"{title}: " + ", ".join(f"{name} x {number}" for name, number in sorted(counted.items())))
    print(f"{len(wrong)} went wrong" + (f"; they are in {base}" if wrong else ""))
    if not wrong:
        shutil.rmtree(base)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

"""Randomly damaged inputs, given to segtrain in child processes with limits of time and memory.

    python scripts/fuzz_inputs.py --files 10000 --seed 0

Half are images and masks for our readers; the others are for the command line: files that say what is in a data set,
configurations and words, checkpoints and the other files of a run. What must never happen: a crash, a hang, a
traceback, an error that is no sentence about the input, anything touched outside of the input's folder, or success
where Pillow and OpenCV both fail on an image. The folders of the inputs where that did happen are kept.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import fuzz_commands
import fuzz_damage
import fuzz_images
import fuzz_sources
import numpy as np

MEMORY = 3 * 2**30  # bytes of address space of a child, beyond what it begins with
SECONDS = 20.0  # for one input
ANEW = 250  # inputs of one child
MIB = 2**20
SHARES = {"images": 0.5, "manifests": 0.2, "configurations": 0.15, "runs": 0.15}
Make = Callable[[Path, Path, np.random.Generator], list[str]]
COMMANDS: dict[str, Make] = {
    "manifests": fuzz_sources.manifest,
    "configurations": fuzz_sources.configuration,
    "runs": fuzz_sources.trained,
}


def child(pipe: Connection, folder: Path) -> None:
    """Answer (kind, number, seed) with what went wrong and the most memory so far, until there are no more."""
    most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    os.setsid()  # so that what it starts ends with it
    os.environ |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    tempfile.tempdir = str(folder / "tmp")
    sys.stderr = os.fdopen(os.dup(2), "w")  # for faults of ours
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders written in C say much
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # as commands have it
    watch = fuzz_commands.Watch(str(folder / "outside"))
    sys.addaudithook(watch)
    intact = fuzz_images.sources()
    while (asked := pipe.recv()) is not None:
        kind, number, seed = asked
        place = folder / f"{kind}_{number:06d}"
        place.mkdir()
        random = np.random.default_rng([seed, number, *kind.encode()])
        if kind == "images":
            name = sorted(intact)[number % len(intact)]
            wrong = damaged_image(place / name, intact[name], random)
        else:
            words = COMMANDS[kind](folder / "sound", place, random)
            (place / "command").write_text(shlex.join(["segtrain", *words]), errors="surrogateescape")
            wrong = fuzz_commands.verdict(words, place, watch, folder / "tmp")
        if not wrong:
            shutil.rmtree(place)
        pipe.send((wrong, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


def damaged_image(path: Path, content: bytes, random: np.random.Generator) -> list[str]:
    """Write a damaged image; what our readers did wrong with it."""
    path.write_bytes(fuzz_damage.damaged(content, random))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fuzz_images.verdict(path)


@dataclass
class Worker:
    """A child process that is started anew where it crashed or hung.

    Args:
        folder: in which inputs are made.
    """

    folder: Path
    process: Any = None
    pipe: Any = None
    asked: int = 0
    memory: int = 0  # most MiB of any child
    context: Any = field(default_factory=lambda: multiprocessing.get_context("fork"))

    def ask(self, kind: str, number: int, seed: int) -> list[str]:
        """What went wrong with an input, crashes and hangs included."""
        if self.asked == ANEW:
            self.stop()
        if self.process is None:
            self.pipe, theirs = self.context.Pipe()
            self.process = self.context.Process(target=child, args=(theirs, self.folder))
            self.process.start()
            theirs.close()
            self.asked = 0
        self.asked += 1
        self.pipe.send((kind, number, seed))
        try:
            if self.pipe.poll(SECONDS):
                wrong, memory = self.pipe.recv()
                self.memory = max(self.memory, memory)
                return list(wrong)
            answer = f"hang: no answer in {SECONDS:g} s"
        except (EOFError, ConnectionError):
            self.process.join()
            answer = f"crash: exit code {self.process.exitcode}"
        self.stop()
        return [answer]

    def stop(self) -> None:
        """End the process, and what it has started."""
        if self.process is not None:
            with suppress(ProcessLookupError):  # where it has not come to lead a group
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.join()
            self.process = None


@dataclass
class Report:
    """What came of the inputs of one kind.

    Args:
        inputs: number of them.
        wrong: what went wrong, by the folder of the input.
        memory: most MiB of a child.
        seconds: that all took.
    """

    inputs: int
    wrong: dict[str, list[str]] = field(default_factory=dict)
    memory: int = 0
    seconds: float = 0.0


def prepare(folder: Path, kinds: Mapping[str, int]) -> None:
    """Make the folders, and load what commands import, so that each child has it."""
    for name in ("home", "tmp", "outside", "sound"):
        (folder / name).mkdir()
    for name in ("image.png", "mask.png"):
        fuzz_sources.trees.save(folder / "outside" / name, np.zeros((34, 34), np.uint8))
    if not set(kinds) & set(COMMANDS):
        return
    fuzz_commands.load()
    making = multiprocessing.get_context("fork").Process(target=fuzz_sources.make_sound, args=(folder / "sound",))
    making.start()  # elsewhere, since torch does not train in a fork of what has trained
    making.join()
    if making.exitcode:
        raise RuntimeError("the sound training failed")


def fuzz(kinds: Mapping[str, int], seed: int, folder: Path) -> dict[str, Report]:
    """Try so many damaged inputs of each kind; the folders of those that went wrong are left."""
    prepare(folder, kinds)
    reports = {}
    for kind, inputs in kinds.items():
        report, worker, started = Report(inputs), Worker(folder), time.monotonic()
        for number in range(inputs):
            if wrong := worker.ask(kind, number, seed):
                report.wrong[str(folder / f"{kind}_{number:06d}")] = wrong
                print(f"{folder / f'{kind}_{number:06d}'}: {wrong}", flush=True)
        worker.stop()
        report.memory, report.seconds = worker.memory, time.monotonic() - started
        reports[kind] = report
    return reports


def summary(reports: Mapping[str, Report]) -> str:
    """A line for each kind."""
    lines = []
    for kind, report in reports.items():
        kinds = Counter(each.partition(":")[0][:40] for wrong in report.wrong.values() for each in wrong)
        told = "; ".join(f"{number} x {what}" for what, number in kinds.most_common(8))
        lines.append(
            f"{kind:15} {report.inputs:6} inputs, {len(report.wrong)} went wrong, at most {report.memory} MiB, "
            f"{report.seconds:.0f} s" + (f" ({told})" if told else "")
        )
    return "\n".join(lines)


def main() -> int:
    """Returns 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="number of inputs, of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(SHARES), help="only these")
    arguments = parser.parse_args()
    shares = SHARES if arguments.kind is None else {arguments.kind: 1.0}
    folder = Path(tempfile.mkdtemp(prefix="fuzz_inputs_"))
    reports = fuzz({kind: round(arguments.files * share) for kind, share in shares.items()}, arguments.seed, folder)
    print(summary(reports))
    if found := any(report.wrong for report in reports.values()):
        print(f"the inputs that went wrong are in {folder}")
    else:
        shutil.rmtree(folder)
    return int(found)


if __name__ == "__main__":
    sys.exit(main())

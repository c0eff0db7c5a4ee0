"""The promise that needs two processes: together they give the gradient that one gives on both batches.

Each of the two calls `work`; they meet in a folder, read there what to do, and leave their gradients there.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segtrain.contract.counterexample import Counterexample, literal
from segtrain.contract.examples import TASKS, Example, generator
from segtrain.contract.promise import Broken, Loss, same
from segtrain.contract.suite import Verdict, excuses
from segtrain.task import Task

WORLD = 2
MOST_SECONDS = 120  # for both processes, their start included
PATIENCE = 30.0  # seconds, of one process for the other
LABELLED = {"unequal numbers of valid pixels": (4, 1), "a process without labels": (4, 0)}  # of 4 pixels, by process
NAME = "two processes"
SENTENCE = "Two processes that average their gradients give the gradient of one, whatever is ignored"
ADVICE = (
    "divide by the valid pixels of all processes (sum * processes / valid pixels of all), "
    "or sum over the processes before dividing (sync=true, where a loss has it)"
)


class Scaled(nn.Module):
    """Logits times a number per class, plus another: a net whose gradients are shared.

    Args:
        num_classes: channels of the logits.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.scale, self.shift = (nn.Parameter(torch.full((num_classes, 1, 1), x)) for x in (1.0, 0.0))

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.scale + self.shift


def halves(task: Task, labelled: Sequence[int]) -> list[Example]:
    """The batch of each process: one row of four pixels, of which so many have a label."""
    shape = (WORLD, task.num_classes, 1, 4) if task.mode == "multilabel" else (WORLD, 1, 4)
    target = torch.randint(0, max(2, task.num_classes if task.exclusive else 2), shape, generator=generator(3))
    logits = torch.randint(-2, 3, (WORLD, task.num_classes, 1, 4), generator=generator(4)).float()
    parts = []
    for rank, count in enumerate(labelled):
        target[rank, ..., count:] = task.ignore_index
        parts.append(Example(logits[rank : rank + 1], target[rank : rank + 1]))
    return parts


def gradient(loss: Loss, net: nn.Module, example: Example) -> Tensor:
    """Of the net's parameters, averaged over the processes where the net is distributed."""
    loss(net(example.logits), example.target).backward()  # type: ignore[no-untyped-call]
    return torch.stack([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def examine_processes(
    command: Sequence[str], build: Callable[[Task], Loss], verdicts: Iterable[Verdict], patience: float = PATIENCE
) -> list[Verdict]:
    """How the promise of two processes stands in each mode: a must for means over pixels, else a property.

    Args:
        command: followed by a folder and a rank, starts a process that calls `work` with them and the same builder.
        build: builds the loss for a task.
        verdicts: on the other promises; they say in which modes the loss is a mean.
        patience: seconds for which one process waits for the other.
    """
    means = {v.mode: v.breach is None for v in verdicts if v.promise == "mean over pixels"}
    reasons = {mode: excuses(build(TASKS[mode]), {}).get(NAME, "") for mode in means}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "what.json").write_text(json.dumps({"modes": list(means), "patience": patience}))
        trouble = _start_both(command, folder)
        found = [torch.load(file, weights_only=True) for file in sorted(folder.glob("*.pt"))]
    met = len(found) == WORLD  # or nothing is known about the loss
    return [
        Verdict(
            NAME,
            mode,
            is_mean and not reasons[mode],
            _compared(TASKS[mode], build, found, trouble) if met else None,
            reasons[mode],
            "" if met else f"two processes did not meet: {trouble}",
        )
        for mode, is_mean in means.items()
    ]


def _compared(
    task: Task, build: Callable[[Task], Loss], found: list[dict[str, Any]], trouble: str
) -> Counterexample | None:
    for case, labelled in LABELLED.items():
        parts = halves(task, labelled)
        whole = Example(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        results = [result.get(f"{task.mode}, {case}", trouble) for result in found]
        failed = [result for result in results if isinstance(result, str)]
        try:
            if failed:
                raise Broken("it does not work in two processes", detail=" ".join(failed[0].split())[:300])
            expected = gradient(build(task), Scaled(task.num_classes), whole)
            zero = torch.zeros(())
            same(
                (zero, results[0]),
                (zero, expected),
                1e-4,
                1e-6,
                kind=f"of two processes is not that of one, with {case}",
            )
        except Broken as broken:
            got, wanted = (pair[1] if pair else None for pair in (broken.got, broken.expected))
            return Counterexample(whole, Broken(broken.kind, got, wanted, broken.detail), _written(parts))
        except Exception as error:
            return Counterexample(
                whole, Broken(f"it raises {type(error).__name__}", detail=str(error)), _written(parts)
            )
    return None


def _written(parts: Sequence[Example]) -> str:
    words = [
        f"logits_{rank}, target_{rank} = {literal(part.logits, torch.float32)}, {literal(part.target, torch.int64)}"
        for rank, part in enumerate(parts)
    ]
    return "\n".join([*words, "# gradients of a factor and a summand per class that all logits share"])


def _start_both(command: Sequence[str], folder: Path) -> str:
    """Run both processes to their end, or to the end of the time; what went wrong, or nothing."""
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    files = [(folder / f"{rank}.err").open("w") for rank in range(WORLD)]
    started = [
        subprocess.Popen([*command, str(folder), str(rank)], env=environment, stdout=file, stderr=file)
        for rank, file in enumerate(files)
    ]
    end = time.monotonic() + MOST_SECONDS
    try:
        for process in started:
            process.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return f"the processes did not end within {MOST_SECONDS} s"
    finally:
        for process, file in zip(started, files, strict=True):
            process.kill()
            process.wait()
            file.close()
    said = [line for rank in range(WORLD) for line in (folder / f"{rank}.err").read_text().splitlines() if line]
    return said[-1] if said else "a process ended without a result"


def work(folder: Path, rank: int, build: Callable[[Task], Loss]) -> None:
    """What one process does: the gradient, or the error, of each mode and case."""
    what = json.loads((folder / "what.json").read_text())
    meeting = f"file://{folder}/meeting"
    torch.set_num_threads(1)
    wait = datetime.timedelta(seconds=what["patience"])
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORLD, timeout=wait)
    result: dict[str, Tensor | str] = {}
    torch.save(result, folder / f"{rank}.pt")
    for mode in what["modes"]:
        task = TASKS[mode]
        for case, labelled in LABELLED.items():
            net = nn.parallel.DistributedDataParallel(Scaled(task.num_classes))
            try:
                result[f"{mode}, {case}"] = gradient(build(task), net, halves(task, labelled)[rank])
            except Exception as error:
                result[f"{mode}, {case}"] = f"{type(error).__name__}: {error}"
            torch.save(result, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()

"""What the benchmarks share: time of variants side by side, peak memory, host waits, and their place in a document."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler speaks of every start and stop
Call = Callable[[], Any]
MIB = 2**20
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
# operations whose result, or its size, the host must know before it goes on
WAITING = ("_local_scalar_dense", "_unique", "bincount", "equal", "is_nonzero", "masked_select", "nonzero", "unique_")


def interleaved(variants: Mapping[str, Call], rounds: int = 9, device: str = "cpu") -> dict[str, float]:
    """Median milliseconds of each variant; all of them take a turn in each round, so that drift meets all alike.

    On a CPU it is the time of this process (of all its threads), which other processes hardly change; on a GPU the
    time until the device has finished.

    Args:
        variants: by name; each is called once more beforehand, to warm up.
        rounds: how often.
        device: where they compute.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, call in variants.items():
            wait()
            started = clock()
            call()
            wait()
            if turn:
                times[name].append(1e3 * (clock() - started))
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory(call: Call, device: str = "cpu") -> float:
    """MiB allocated at most while it runs, beyond what there was before: temporaries, results, state; not inputs.

    On a CPU it is summed from every allocation and release that torch's allocator reports to the profiler, those
    inside of operations too.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak / MIB


class Waits(TorchDispatchMode):
    """Counts the operations that would make the host wait for a GPU.

    Attributes:
        number: of them so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        masks = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        self.number += masks or name.startswith(WAITING)
        return func(*args, **(kwargs or {}))


def host_waits(call: Call) -> int:
    """How often the host would wait for a GPU; counted on any device."""
    with Waits() as waits:
        call()
    return waits.number


def setting(packages: Sequence[str], command: str, device: str = "cpu") -> str:
    """Date, machine, versions and command, as a sentence for the document."""
    where = f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} cores"
    if device == "cuda":
        where = f"{torch.cuda.get_device_name()}, {where}"
    versions = ", ".join(f"{name} {found}" for name in packages if (found := installed(name)) is not None)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return f"`{command}`, {today}, on {where}; {versions}."


def installed(package: str) -> str | None:
    """Version of a package; None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", path.read_text()) if path.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first are aligned to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Put text between this name's markers, at the end where they are missing; the rest of the page stays."""
    begin, end = f"<!-- {name}: written by scripts/bench_{name}.py -->", f"<!-- end of {name} -->"
    before = page.read_text(encoding="utf-8") if page.is_file() else "# Benchmarks\n"
    section = f"{begin}\n{text.strip()}\n{end}"
    if begin in before:
        head, rest = before.split(begin, 1)
        after = head + section + rest.split(end, 1)[1]
    else:
        after = f"{before.rstrip()}\n\n{section}\n"
    page.write_text(after, encoding="utf-8")

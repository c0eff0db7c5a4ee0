"""A process that has loaded everything, and children forked from it: a whole command each, in half a second.

(The test process itself cannot be forked: it has trained, and torch does not go on in a fork of that.)
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

SECONDS = 60  # in which each child must have ended

if multiprocessing.process.current_process().name == "MainProcess" and "forkserver" in " ".join(sys.orig_argv):
    # in the process to fork from: what a training imports
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch.utils.tensorboard

    import segtrain.cli.data
    import segtrain.cli.sweeps
    import segtrain.cli.training
    import segtrain.run

    torch.set_num_threads(1)
    segtrain.cli.compose.compose("train", [])

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


class Child:
    """A command of segtrain in a process of its own, which leads a group.

    Args:
        words: of the command.
        folder: where stdout and stderr go, and in which it runs.
        before: called first, in the child; a function of a module.
        environment: more variables for it.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        before: Callable[[], Any] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout", folder / "stderr"
        arguments = (list(words), folder, before, environment or {})
        self._process = _context.Process(target=_run, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def out(self) -> str:
        """What it has said so far."""
        return self._out.read_text() if self._out.is_file() else ""

    @property
    def err(self) -> str:
        """What it has complained of so far."""
        return self._err.read_text() if self._err.is_file() else ""

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def send(self, number: int) -> None:
        """A signal to this process alone."""
        os.kill(self.pid, number)

    def send_group(self, number: int) -> None:
        """A signal to it and all processes that it has started."""
        os.killpg(self.pid, number)

    def ended(self, seconds: float = SECONDS) -> int:
        """Its exit code, once it has ended; it is killed, and the test fails, where that takes too long."""
        self._process.join(seconds)
        if self._process.is_alive():
            self.kill()
            raise AssertionError(f"not ended after {seconds} s: {self.out[-1000:]} {self.err[-2000:]}")
        assert self._process.exitcode is not None
        return self._process.exitcode

    def kill(self) -> None:
        """End it and its group, if they have not ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()

    def wait_for(self, condition: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Wait until something is true while it runs."""
        until = time.monotonic() + seconds
        while not condition():
            assert self.running, f"ended: {self.out[-1000:]} {self.err[-2000:]}"
            assert time.monotonic() < until, f"still waiting after {seconds} s: {self.out[-1000:]}"
            time.sleep(0.01)


def _run(words: list[str], folder: Path, before: Callable[[], Any] | None, environment: dict[str, str]) -> None:
    os.setsid()
    os.chdir(folder)
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    # written at once, so that a test can wait for a line
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.environ.update(environment)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
    multiprocessing.set_start_method("fork", force=True)  # of its loading processes, as of those of a command
    import segtrain.cli

    sys.argv = ["segtrain", *words]
    if before is not None:
        before()
    sys.exit(segtrain.cli.main(words))

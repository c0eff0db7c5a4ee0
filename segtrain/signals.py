"""What the system or the user asks a run to do: end, while nothing is lost.

SIGTERM comes from whoever stops a machine, SIGUSR1 from a batch system before its time limit, SIGHUP when the
terminal has gone, SIGINT from ctrl-c. A training saves behind the step that it is making and ends; all else ends
at once. The exit code is 128 + the number of the signal.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

STDERR = 2
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))


class Stopped(BaseException):
    """A run was asked to end. (No Exception: what catches failures must not catch it.)

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number
        self.told = False  # whether the user knows, and how to go on


def interruption(error: BaseException | None) -> Stopped | KeyboardInterrupt | None:
    """What asked to end, behind an error: code that a signal meets may stumble when it cleans up, and say that."""
    while error is not None and not isinstance(error, (Stopped, KeyboardInterrupt)):
        error = error.__context__
    return error


class Signals:
    """Listens to the signals that ask to end.

    Attributes:
        deferred: whether somebody looks at `received` from time to time; else a signal raises at once.
        received: number of the first signal; 0: none.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.received = 0
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take over, again too: Lightning puts its own handler for SIGTERM in our place."""
        if threading.current_thread() is not threading.main_thread():  # no other may set handlers
            return
        for number in STOPPING:
            current = signal.getsignal(number)
            if current == signal.SIG_IGN:  # as nohup does with SIGHUP
                continue
            self._before.setdefault(number, current)
            signal.signal(number, self._receive)

    def remove(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Only note signals, for whoever looks at `received`; what nobody has acted upon raises at the end.

        Raises:
            Stopped: a signal came, and the block ended by itself.
        """
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False
        if self.received:
            raise Stopped(self.received)

    def _receive(self, number: int, frame: Any) -> None:
        """Only note it where somebody looks: what is being done could be a save, or talk with other processes."""
        first, again = not self.received, number == self.received == signal.SIGINT
        self.received = self.received or number
        if self.deferred and not again:
            if first:
                _say(number)
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped(number)


def _say(number: int) -> None:
    """What is going to happen; not by print, which could be interrupted in the middle of another and then fails."""
    again = "; ctrl-c once more ends at once" if number == signal.SIGINT else ""
    with suppress(OSError):
        os.write(STDERR, f"\n{signal.Signals(number).name}: ends after this step{again}\n".encode())


@contextmanager
def listening() -> Iterator[Signals]:
    """Signals, until the end of the block."""
    signals = Signals()
    signals.install()
    try:
        yield signals
    finally:
        signals.remove()


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait until the end of the block, and in processes that are forked in it until `ignore_signals`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals() -> None:
    """In a loading process: a signal to the whole group is for the training process, which still needs batches."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # what was held back is gone

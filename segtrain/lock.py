"""Which runs are alive: a lock that ends with its process, however that process ends.

The lock is an advisory one (flock) on a run's train.log, which is never replaced. The system drops it when the
process dies, so a killed run can be told from one that still trains, whatever its status says. Network file
systems pass it on to other machines where they support it (NFS on Linux does, Lustre with its flock option);
where they refuse, and on Windows, there is no lock: a run then counts as dead, and two commands must not
continue the same one.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from segtrain.errors import UserError

fcntl = importlib.import_module("fcntl") if os.name == "posix" else None

LOCKED = "train.log"  # of a run folder
_held: set[int] = set()  # descriptors


class RunLock:
    """Held by the process that trains a run.

    Args:
        folder: of the run.

    Raises:
        UserError: another process holds it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.descriptor = _open(folder)
        except OSError as error:
            raise UserError(f"{folder} cannot be written ({error.strerror}); choose another run") from error
        if not _lock(self.descriptor):
            os.close(self.descriptor)
            raise UserError(f"{folder} is being trained by another process; wait for it, or stop it")
        _held.add(self.descriptor)

    def release(self) -> None:
        """Let others have the run; a second call does nothing."""
        if self.descriptor in _held:
            _held.discard(self.descriptor)
            os.close(self.descriptor)


def is_alive(folder: Path) -> bool:
    """Whether a process trains the run now."""
    if not (folder / LOCKED).is_file():
        return False
    try:
        descriptor = _open(folder)
    except PermissionError:  # another user's
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def _open(folder: Path) -> int:
    return os.open(folder / LOCKED, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)


def _lock(descriptor: int) -> bool:
    """Whether the lock was had, or cannot be had by anybody here."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _forget() -> None:
    """In a forked loading process: give up its copies, so that the lock ends with the training process."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

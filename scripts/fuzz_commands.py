"""Runs a command of segtrain in this process, watched: what it says, how it ends, what it touches."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# audit event of Python -> which of its arguments are paths that change
CHANGES = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.link": (1,),
}
CHANGES |= {"os.truncate": (0,), "os.chmod": (0,), "shutil.rmtree": (0,), "os.utime": (0,), "os.chown": (0,)}
RUNNING = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pty.spawn")
MAY_RUN = ("git",)  # for the commit of the folder one stands in
GENERIC = re.compile(r"error: \w+: .*\(--traceback shows where\)")
SENTENCE = re.compile(r"error: [^\n]+(\n  [^\n]*)*(\n`segtrain check[^\n]*)?")  # and a list of faults
WARNING = re.compile(r"^(warning: .*|\S+:\d+: \w*Warning: .*(\n  .*)?)\n", re.MULTILINE)  # ours, and Python's
LONGEST = 6000  # characters of a message; 20 troubles may be listed
# a path, a key, a quoted word, or the value of a key
NAMES_SOMETHING = re.compile(r"/|=|'|\b\w+\.\w+|: |must be|is empty|is missing|holds no|nested")


@dataclass
class Watch:
    """An audit hook that notes what leaves the folder of an input; Python keeps it until the process ends.

    Args:
        untouchable: folder of which nothing may be read either.
        allowed: folders that may be written to.
    """

    untouchable: str
    allowed: tuple[str, ...] = ()
    on: bool = False
    seen: list[str] = field(default_factory=list)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Called by Python for everything that is done."""
        if not self.on:
            return
        if event == "open" and isinstance(args[0], (str, bytes)):
            path = _absolute(args[0])
            if args[2] & WRITING and not self._may_write(path):
                self.seen.append(f"writes {path}")
            elif path.startswith(self.untouchable):
                self.seen.append(f"reads {path}")
        elif event in CHANGES:
            paths = [_absolute(args[i]) for i in CHANGES[event] if isinstance(args[i], (str, bytes))]
            self.seen += [f"{event} {path}" for path in paths if not self._may_write(path)]
        elif event == "socket.connect" and args[0].family == socket.AF_UNIX:
            return  # of loading processes
        elif event in RUNNING and str(args[0]) not in MAY_RUN:
            self.seen.append(f"{event} {args[0]!r}"[:200])

    def _may_write(self, path: str) -> bool:
        return path == os.devnull or path.startswith(self.allowed)

    @contextmanager
    def over(self, *allowed: Path) -> Iterator[None]:
        """Note what is done meanwhile."""
        self.allowed, self.seen = tuple(map(str, allowed)), []
        self.on = True
        try:
            yield
        finally:
            self.on = False


def _absolute(path: str | bytes) -> str:
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - links are not followed


def load() -> None:
    """Import what commands import, and keep to one thread, so that processes can be forked from this one."""
    import torch.utils.tensorboard

    import segtrain.cli.compose
    import segtrain.cli.prediction
    import segtrain.cli.preview
    import segtrain.cli.sweeps
    import segtrain.explain
    import segtrain.run

    torch.set_num_threads(1)
    segtrain.cli.compose.compose("train", [])


def said(words: list[str], place: Path) -> tuple[int | str, str, str]:
    """Exit code (or what was raised), stdout and stderr of a command that runs in a folder."""
    from segtrain.cli import main

    os.chdir(place)
    before, streams = (os.dup(1), os.dup(2)), (sys.stdout, sys.stderr)
    for number, name in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv = ["segtrain", *words]
    try:
        with open(1, "w", closefd=False) as sys.stdout, open(2, "w", closefd=False) as sys.stderr:
            code: int | str = main(words)
    except BaseException as error:
        code = f"{type(error).__name__}: {error}"
    finally:
        sys.stdout, sys.stderr = streams
        for number, kept in enumerate(before, 1):
            os.dup2(kept, number)
            os.close(kept)
        os.chdir("/")
    return code, *((place / name).read_text(errors="replace") for name in ("stdout", "stderr"))


def verdict(words: list[str], place: Path, watch: Watch, temporary: Path) -> list[str]:
    """What a command did wrong; empty where all is well."""
    with watch.over(place, temporary):
        code, out, err = said(words, place)
    wrong = list(watch.seen)
    if code not in (0, 1):
        wrong.append(f"ends with {code}"[:500])
    if "Traceback (most recent" in out + err:
        wrong.append("a traceback is shown")
    if found := GENERIC.search(err):
        wrong.append(found[0][:500])
    message = WARNING.sub("", err).rstrip("\n")
    reported = words[0] in ("check", "test-loss") and not message  # on stdout
    if code == 1 and not reported and not SENTENCE.fullmatch(message):
        wrong.append(f"not one sentence: {message[:500]!r}")
    if code == 1 and not reported and not NAMES_SOMETHING.search(message.removeprefix("error: ")):
        wrong.append(f"names nothing: {message[:500]!r}")
    if len(message) > LONGEST:
        wrong.append(f"says {len(message)} characters: {message[:200]!r}")
    return wrong

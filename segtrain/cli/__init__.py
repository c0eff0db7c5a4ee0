"""The command line: `segtrain COMMAND key=value ...`. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

import importlib
import os
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from segtrain import __version__
from segtrain.checks import did_you_mean
from segtrain.errors import UserError, shown
from segtrain.secrets import hidden, remember
from segtrain.signals import Stopped, interruption

# command -> (module, function, one line for the help); a function takes Arguments
COMMANDS = {
    "train": ("segtrain.cli.training", "train", "train a net, score it on the test split"),
    "evaluate": ("segtrain.cli.training", "evaluate", "score a trained net on a split"),
    "repro": ("segtrain.cli.repro", "repro", "train a finished run again from its own record, and compare the two"),
    "predict": ("segtrain.cli.prediction", "predict", "make masks of images"),
    "check": (
        "segtrain.cli.data",
        "check",
        "look through a data set: what is in it, what is wrong, what to train with",
    ),
    "preview": ("segtrain.cli.preview", "preview", "show what augmentation makes of training images, as a picture"),
    "test-loss": ("segtrain.cli.promises", "test_loss", "try a loss on everything that losses must do"),
    "explain": ("segtrain.cli.explanation", "explain", "show what losses do, as a table and a picture"),
    "ls": ("segtrain.cli.files", "ls", "list configuration groups, or the options of one"),
    "cp": ("segtrain.cli.files", "cp", "copy a configuration to edit it"),
    "env": ("segtrain.cli.files", "env", "versions and devices, for bug reports"),
}
WITH_VALUE = ("--config-dir", "--allow")
MULTIRUN = ("-m", "--multirun")
COMPARE = "--compare"
# flags of Hydra that show something and stop -> the values they take, of which the first is the default
SHOWING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
    **dict.fromkeys(("--shell-completion", "-sc"), ()),
}
HOW_SHOWN = ("--resolve", "--package", "-p")  # of --cfg
HYDRA_FLAGS = (*MULTIRUN, *SHOWING, *HOW_SHOWN)
COMPOSED = ("train", "evaluate", "predict", "check", "preview", "explain")  # commands that print their configuration
READING = (*COMPOSED, "test-loss", "repro")  # commands that read the user's own configurations


@dataclass
class Arguments:
    """What was typed after the command.

    Args:
        command: its name.
        overrides: key=value words, and the plain words of ls, cp and repro.
        hydra: flags (with their values) for Hydra itself, such as --cfg job.
        multirun: whether every combination is wanted (-m).
        compare: whether comma-separated values are put side by side.
        config_dir: of the user's own groups.
        allow: packages whose code configurations may name.
        traceback: whether an error shows where it came from.
    """

    command: str
    overrides: list[str] = field(default_factory=list)
    hydra: list[str] = field(default_factory=list)
    multirun: bool = False
    compare: bool = False
    config_dir: str | None = None
    allow: list[str] = field(default_factory=list)
    traceback: bool = False


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for an error the user can mend, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in words
    remember({}, words)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except BaseException as error:
        asked = interruption(error)
        if asked is None and (traceback or not isinstance(error, Exception)) and not isinstance(error, BrokenPipeError):
            raise
        return _ended(error, asked)


def _ended(error: BaseException, asked: Stopped | KeyboardInterrupt | None) -> int:
    """Say why, where nobody has; the exit code."""
    if isinstance(asked, Stopped):
        if not asked.told:
            print(asked, file=sys.stderr)
        return asked.code
    if asked is not None:  # or what Lightning makes of it
        print("interrupted", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 1
    if isinstance(error, UserError):
        print(f"error: {shown(hidden(str(error)))}", file=sys.stderr)
        return 1
    message = shown(" ".join(hidden(str(error)).split())[:500])
    print(f"error: {type(error).__name__}: {message} (--traceback shows where)", file=sys.stderr)
    return 1


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        print(__version__)
        return 0
    if not words or words[0] in ("-h", "--help"):
        from segtrain.cli.help import overview

        print(overview())
        return 0
    command = words[0]
    if command in HYDRA_FLAGS:  # `segtrain -sc install=bash`, as Hydra documents it
        command, words = "train", ["train", *words]
    if command not in COMMANDS:
        near = did_you_mean(command, (*COMMANDS, "--version", "--help"))
        raise UserError(f"no command {command!r}{near}; commands: {', '.join(COMMANDS)}")
    if any(word in ("-h", "--help") for word in words):
        from segtrain.cli.help import about

        print(about(command))
        return 0
    module, function, _ = COMMANDS[command]
    result = getattr(importlib.import_module(module), function)(parse(words))
    return int(result or 0)


def parse(words: list[str]) -> Arguments:
    """Sort the words after the command into our flags, Hydra's flags and overrides.

    Raises:
        UserError: an unknown flag, one without its value, or one that the command has no use for.
    """
    arguments = Arguments(words[0])
    rest = deque(words[1:])
    while rest:
        word = rest.popleft()
        flag, _, value = word.partition("=")
        if word == "--traceback":
            arguments.traceback = True
        elif flag in WITH_VALUE:
            value = value or _value(flag, rest)
            if flag == "--allow":
                arguments.allow.append(value)
            else:
                arguments.config_dir = value
        elif word in MULTIRUN:
            arguments.multirun = True
        elif word == COMPARE:
            arguments.compare = True
        elif flag in SHOWING:
            value = value or (rest.popleft() if rest and rest[0] in SHOWING[flag] else "")
            arguments.hydra += [flag, *([value] if value else SHOWING[flag][:1])]
        elif flag in HOW_SHOWN:
            arguments.hydra += [flag] if flag == "--resolve" else [flag, value or _value(flag, rest)]
        elif word.startswith("-"):
            if value:
                raise UserError(f"no flag {flag}; settings are written without dashes: {word.lstrip('-')}")
            flags = ("--traceback", COMPARE, *WITH_VALUE, *HYDRA_FLAGS, "--help")
            raise UserError(f"no flag {word}{did_you_mean(word, flags)}; settings are written key=value")
        else:
            arguments.overrides.append(word)
    _refuse_useless(arguments)
    if arguments.allow and str(Path.cwd()) not in sys.path:  # a console script does not look in the current folder
        sys.path.insert(0, str(Path.cwd()))
    return arguments


def _value(flag: str, rest: deque[str]) -> str:
    if not rest or rest[0].startswith("-"):
        raise UserError(f"{flag} needs a value")
    return rest.popleft()


def _refuse_useless(arguments: Arguments) -> None:
    """Flags that would be passed over in silence."""
    command, showing = arguments.command, [flag for flag in arguments.hydra if flag in SHOWING]
    given = [*(["-m"] if arguments.multirun else []), *showing]
    own = [flag for flag, value in zip(WITH_VALUE, (arguments.config_dir, arguments.allow), strict=True) if value]
    useless = [] if command in COMPOSED else [*given, *arguments.hydra]
    if useless := [*useless, *(own if command not in READING else [])]:
        raise UserError(f"{useless[0]} has no use with {command}")
    if arguments.multirun and command != "train":
        raise UserError(f"-m is for train; {command} takes one run at a time")
    if arguments.compare and command != "preview":
        raise UserError(f"{COMPARE} has no use with {command}; it is for preview")
    if len(given) > 1:
        raise UserError(f"{' and '.join(given[:2])} do not go together; --cfg shows the configuration of one run")
    if arguments.hydra and not showing:
        raise UserError(f"{arguments.hydra[0]} goes with --cfg job")

"""A loss by what a user types: a registered name, or the dotted path of a class of their own.

`my_pkg.MyLoss` imports and runs my_pkg. That is what was asked for: who types the path of their own code wants
it to run, so no further permission is needed, unlike a path that stands in a configuration file.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from segtrain import checks
from segtrain.contract.examples import STATS, TASKS
from segtrain.contract.promise import Loss
from segtrain.errors import UserError
from segtrain.losses import LOSSES, build_loss
from segtrain.task import ClassStats, Task


def loss_builder(name: str, params: Mapping[str, Any]) -> Callable[[Task], Loss]:
    """What builds a loss for a task, with these parameters; STATS stand for its training set.

    Raises:
        UserError: no such module, class or parameter.
    """
    if name in LOSSES:
        return lambda task: build_loss(name, task, STATS[task.mode], **params)
    maker = find(name)
    _check_params(name, maker, params)
    return lambda task: _build(name, maker, task, STATS[task.mode], params)


def find(name: str) -> Callable[..., Any]:
    """The class (or function) that a dotted path means, imported from the current folder first.

    Raises:
        UserError: it cannot be found or imported; the nearest name is suggested.
    """
    module, _, attribute = name.rpartition(".")
    if not module or not all(part.isidentifier() for part in name.split(".")):
        near = checks.did_you_mean(name, LOSSES)
        raise UserError(f"{name} is no loss{near}; give one of {', '.join(LOSSES)}, or a class as in my_pkg.MyLoss")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"{name}: {module} needs {error.name}, which is not installed") from error
        raise UserError(f"{name}: there is no module {error.name} here{_near(error.name, _modules())}") from error
    except Exception as error:
        raise UserError(f"{name}: importing {module} fails: {_said(error)}") from error
    if not callable(found):
        own = [value for value in vars(sys.modules[module]).values() if getattr(value, "__module__", "") == module]
        made = [value.__name__ for value in own if inspect.isclass(value)]
        hint = _near(attribute, made) or (f"; it has {', '.join(made[:8])}" if made else "")
        raise UserError(f"{name}: {module} has no class {attribute}{hint}")
    return found  # type: ignore[no-any-return]


def offered(name: str, build: Callable[[Task], Loss], modes: Iterable[str]) -> dict[str, str]:
    """Of each mode: why the loss is not offered there, or "" where it is.

    Raises:
        UserError: in none of the modes.
    """
    refusals = {}
    for mode in modes:
        try:
            build(TASKS[mode])
            refusals[mode] = ""
        except UserError as error:
            refusals[mode] = str(error)
    if all(refusals.values()):
        why = next(iter(refusals.values()))
        raise UserError(why if name in why else f"{name} cannot be built: {why}")
    return refusals


def _check_params(name: str, maker: Callable[..., Any], params: Mapping[str, Any]) -> None:
    known = inspect.signature(maker).parameters
    names = [key for key in known if key not in ("task", "stats")]
    if not known:
        raise UserError(f"{name} takes no task; its constructor must be {name}(task, **parameters)")
    if "target" in known:
        raise UserError(f"{name} is given logits and target itself; give what builds it, {name}(task, **parameters)")
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        for key in params:
            checks.choice(f"{name}: each parameter", key, names[0 if "task" in known else 1 :] or ["(none)"])
    empty = inspect.Parameter.empty
    missing = [key for key in names if known[key].default is empty and known[key].kind is known[key].KEYWORD_ONLY]
    missing += [
        key
        for key in names[0 if "task" in known else 1 :]
        if known[key].default is empty and known[key].kind is known[key].POSITIONAL_OR_KEYWORD
    ]
    for key in missing:
        if key not in params:
            raise UserError(f"{name} needs a value for {key}; add {key}=... to the command")


def _build(name: str, maker: Callable[..., Any], task: Task, stats: ClassStats, params: Mapping[str, Any]) -> Loss:
    extra = {"stats": stats} if "stats" in inspect.signature(maker).parameters else {}
    try:
        loss = maker(task, **params, **extra)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: building it for a {task.mode} task fails: {_said(error)}") from error
    if not callable(loss):
        raise UserError(f"{name} is no loss: what it builds cannot be called with logits and target")
    return loss  # type: ignore[no-any-return]


def _modules() -> list[str]:
    return [path.stem for path in Path.cwd().iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]


def _near(word: str, known: Iterable[str]) -> str:
    return checks.did_you_mean(word, known) if difflib.get_close_matches(word, list(known), 1) else ""


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

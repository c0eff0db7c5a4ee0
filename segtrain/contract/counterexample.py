"""The smallest input found on which a loss breaks a promise, in words that can be pasted into Python."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segtrain.contract.examples import Example
from segtrain.contract.promise import Broken, Promise, Subject, Unexamined
from segtrain.task import Task

MOST_TRIALS, MOST_SECONDS = 600, 8.0
FEW = 48  # numbers that are tried one by one, and printed
DIMENSIONS = ((0, 0), (2, -2), (3, -1))  # of logits and target: images, rows, columns


@dataclass(frozen=True)
class Counterexample:
    """An input on which a promise is broken.

    Args:
        example: logits and target.
        broken: how.
        inputs: how to write the example, where not as its numbers.
    """

    example: Example
    broken: Broken
    inputs: str = ""

    def text(self) -> str:
        """Inputs, what came and what should have come; the inputs can be pasted."""
        logits, target = self.example
        written = f"logits = {literal(logits, torch.float32)}\ntarget = {literal(target, torch.int64)}"
        lines = [self.inputs or written]
        if self.broken.detail:
            lines.append(f"# {self.broken.detail}")
        for word, value in (("got", self.broken.got), ("expected", self.broken.expected)):
            if value is not None:
                lines.append(f"# {word}: {shown(value)}")
        return "\n".join(lines)


def smallest(promise: Promise, subject: Subject) -> Counterexample | None:
    """The first example that breaks a promise, made simpler for as long as it is broken in the same way.

    Args:
        promise: says on what it is tried, and which parts may change.
        subject: the loss.

    Returns:
        None where the promise is kept.

    Raises:
        Unexamined: it is broken on none of the examples, and on some it cannot be tried.
    """
    unexamined: Unexamined | None = None
    for place, example in enumerate(promise.examples(subject.task)):
        try:
            broken = promise.breach(subject, example)
        except Unexamined as why:
            unexamined, broken = why, None
        if broken is not None:
            simple = _simplified(promise, subject, Counterexample(example, broken))
            readable = _readable(simple.example)
            return simple if readable else Counterexample(example, broken, _recipe(promise, subject.task, place))
    if unexamined is not None:
        raise unexamined
    return None


def _simplified(promise: Promise, subject: Subject, found: Counterexample) -> Counterexample:
    end, trials = time.monotonic() + MOST_SECONDS, 0
    while True:
        weight = _weight(found.example, subject.task)
        for candidate in _simpler(found.example, subject.task, promise.simplify):
            trials += 1
            if trials > MOST_TRIALS or time.monotonic() > end:
                return found
            if _weight(candidate, subject.task) >= weight:
                continue
            broken = _breach(promise, subject, candidate)
            if broken is not None and _stem(broken) == _stem(found.broken):
                found = Counterexample(candidate, broken)
                break
        else:
            return found


def _breach(promise: Promise, subject: Subject, example: Example) -> Broken | None:
    try:
        return promise.breach(subject, example)
    except Unexamined:
        return None


def _stem(broken: Broken) -> str:
    """What is wrong, whether it shows in the value or in the gradient."""
    return broken.kind.removeprefix("the value ").removeprefix("the gradient ")


def _simpler(example: Example, task: Task, parts: tuple[str, ...]) -> Iterator[Example]:
    """Examples that are a little simpler, the boldest first."""
    logits, target = example
    if "shape" in parts:
        yield from _smaller(example, halves=True)
    if "logits" in parts:
        yield from (Example(torch.full_like(logits, value), target) for value in (0.0, 1.0, -1.0))
    if "target" in parts:
        ignored = target == task.ignore_index
        yield Example(logits, target.masked_fill(ignored, 0))
        yield from (Example(logits, target.masked_fill(~ignored, label)) for label in (0, 1))
    if "shape" in parts:
        yield from _smaller(example, halves=False)
    if "target" in parts:
        yield from (Example(logits, changed) for changed in _each(target, (0,)))
    if "logits" in parts:
        yield from (Example(changed, target) for changed in (logits.sign(), logits.round()))
        yield from (Example(changed, target) for changed in _each(logits, (0.0, 1.0, -1.0)))


def _smaller(example: Example, halves: bool) -> Iterator[Example]:
    """Half of the images, rows or columns, or one less of them."""
    for dimension, other in DIMENSIONS:
        length = example.logits.shape[dimension] if example.logits.ndim == 4 else 1
        count = length // 2 if halves else length - 1
        for start in (0, length - count) if 0 < count < length else ():
            yield Example(example.logits.narrow(dimension, start, count), example.target.narrow(other, start, count))


def _each(tensor: Tensor, values: tuple[float, ...]) -> Iterator[Tensor]:
    """One number replaced, each in turn; nothing where there are many."""
    for place in product(*map(range, tensor.shape)) if tensor.numel() <= FEW else ():
        for value in values:
            changed = tensor.clone()
            changed[place] = value
            yield changed


def _weight(example: Example, task: Task) -> tuple[float, ...]:
    """How hard an example is to read: numbers, ignored pixels, ids that differ, logits other than 0, 1, -1."""
    logits, target = example
    ignored = target == task.ignore_index
    ranks = torch.full(logits.shape, 4)
    for rank, kind in ((3, logits == logits.round()), (2, logits == -1), (1, logits == 1), (0, logits == 0)):
        ranks[kind] = rank
    labels = target.masked_fill(ignored, 0)
    mixed = float((labels != 0).sum()) + 1 if bool((labels != labels.max()).any()) else float(labels.max() > 0)
    return logits.numel(), float(ignored.sum()), mixed, float(ranks.sum())


def _readable(example: Example) -> bool:
    """Whether its numbers can be printed."""
    return all(t.numel() <= FEW or bool((t == t.reshape(-1)[0]).all()) for t in example)


def _recipe(promise: Promise, task: Task, place: int) -> str:
    """How to make an example that is too large to be printed."""
    return (
        "from segtrain.contract.suite import PROMISES\n"
        "from segtrain.contract.examples import TASKS\n"
        f"logits, target = list(PROMISES[{promise.name!r}].examples(TASKS[{task.mode!r}]))[{place}]"
    )


def literal(tensor: Tensor, usual: torch.dtype) -> str:
    """A tensor as an expression: its numbers, or torch.full where it is long and all are the same.

    Args:
        tensor: of any type and in the memory layouts of examples.laid_out.
        usual: the type that need not be written.
    """
    kind = "" if tensor.dtype == usual else f", dtype={tensor.dtype}"
    first = tensor.reshape(-1)[0]
    if tensor.numel() > 4 and bool((tensor == first).all()):
        return f"torch.full({tuple(tensor.shape)}, {_number(first)}{kind}){_strides(tensor)}"
    return f"torch.tensor({_nested(tensor)}{kind}){_strides(tensor)}"


def _strides(tensor: Tensor) -> str:
    """What gives a contiguous tensor the memory layout of this one, or of its clone, which is what judges are given."""
    tensor = tensor.clone()
    if tensor.is_contiguous():
        return ""
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return ".to(memory_format=torch.channels_last)"
    return ".mT.contiguous().mT"


def shown(value: Any) -> str:
    """A value, or a value and its gradient, with six digits."""
    if isinstance(value, tuple):
        return f"value {shown(value[0])}, gradient {shown(value[1])}"
    if not isinstance(value, Tensor):
        return str(value)
    if value.numel() > FEW:
        return f"{list(value.shape)}, {value.min():.6g} .. {value.max():.6g}"
    return _nested(value, digits=6)


def _nested(tensor: Tensor, digits: int | None = None) -> str:
    if tensor.ndim == 0:
        return f"{tensor:.{digits}g}" if digits and tensor.is_floating_point() else _number(tensor)
    return f"[{', '.join(_nested(part, digits) for part in tensor)}]"


def _number(value: Tensor) -> str:
    """The shortest number that is this one in its own precision."""
    if not value.is_floating_point():
        return str(int(value))
    number = float(value)
    if not math.isfinite(number):
        return f"{'-' if number < 0 else ''}torch.{'nan' if math.isnan(number) else 'inf'}"
    exact = np.float64(number) if value.dtype == torch.float64 else np.float32(number)
    return np.format_float_positional(exact, unique=True, trim="0")

"""Judges of how a loss computes: types, precision, memory, refusals, waiting.

A judge passes where an example says nothing about its promise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from segtrain.contract.examples import HALVES, SMALL, Example, make_logits
from segtrain.contract.promise import Broken, Outcome, Subject, Unexamined, demand, run, same
from segtrain.contract.waiting import HostWaits, NoSync, without_data
from segtrain.errors import UserError
from segtrain.task import valid_mask

MIXED = re.compile("same device|different devices")  # in what torch says of them


def judge_running(subject: Subject, example: Example) -> None:
    """It takes logits and target as segtrain/task.py describes them, and returns a tensor with a gradient."""
    run(subject.loss, *example)


def judge_scalar(subject: Subject, example: Example) -> None:
    """A positive float32 scalar with a gradient, whatever the logits' precision."""
    if not valid_mask(example.target, subject.task).any():
        return
    value, gradient = run(subject.loss, *example)
    demand(value.shape == (), "the value is not a scalar", list(value.shape), [])
    demand(value.dtype == torch.float32, "the value is not float32", value.dtype, torch.float32)
    demand(value > 0, "the value is not positive", value)
    demand(gradient.dtype == example.logits.dtype, "the gradient has another type", gradient.dtype)
    demand(gradient.abs().sum() > 0, "the gradient is 0 everywhere", gradient)


def judge_extremes(subject: Subject, example: Example) -> None:
    """Value and gradient are finite for logits up to +-1e4 on every kind of mask, in each precision."""
    value, gradient = run(subject.loss, *example)
    demand(value.isfinite(), "the value is not finite", value)
    demand(gradient.isfinite().all(), "the gradient is not finite", (value, gradient))


def judge_half(subject: Subject, example: Example, within: float = 1e-3) -> None:
    """Half-precision logits give what float64 gives on the same rounded logits, within 1e-3."""
    if example.logits.dtype not in HALVES:
        return
    (value, gradient), (expected, slope) = _halved(subject, example)
    same((value, gradient), (expected, gradient), within, 1e-6, kind="in half precision is not that of float64")
    same((value, gradient), (value, slope), 1e-2, 1e-6, kind="in half precision is not that of float64")


def judge_large_half(subject: Subject, example: Example, within: float = 1e-3) -> None:
    """Sums over half a million half-precision pixels neither overflow nor lose digits."""
    if not valid_mask(example.target, subject.task).any():
        return
    with torch.no_grad():
        expected = subject.loss(example.logits.double(), example.target).double()
    value, gradient = run(subject.loss, *example)
    close = torch.isclose(value.double(), expected, within, 1e-6)
    demand(close, "the value of half-precision logits is not that of float64", value, expected)
    demand(gradient.isfinite().all(), "the gradient of half-precision logits is not finite", gradient)
    if not gradient.any():  # or it is too small for half precision alone
        _, slope = run(subject.loss, example.logits.float(), example.target)
        demand(slope.any(), "no gradient is left of so many pixels", slope)


def judge_unchanged(subject: Subject, example: Example) -> None:
    """Logits and target are left as they were, bit by bit."""
    copies = Example(example.logits.clone(), example.target.clone())
    run(subject.loss, *example)
    for word, given, expected in zip(("logits", "target"), example, copies, strict=True):
        demand((given == expected).all(), f"it changes the caller's {word}", given, expected)


def judge_layout(subject: Subject, example: Example) -> None:
    """The target's integer type and the tensors' strides do not matter."""
    logits, target = example
    given, expected = run(subject.loss, *example), run(subject.loss, logits.contiguous(), target.long().contiguous())
    if target.dtype == torch.int64:
        same(given, expected, 1e-5, 1e-7, kind="of tensors with other strides is another")
    else:
        same(given, expected, kind=f"of a target of {target.dtype} is not that of int64")


def judge_gradient(subject: Subject, example: Example) -> None:
    """The gradient is that of the value: finite differences, in float64 where the loss keeps it."""
    value, gradient = run(subject.loss, *example)
    step, rtol, atol = (1e-6, 1e-4, 1e-7) if value.dtype == torch.float64 else (1e-2, 1e-2, 1e-4)
    slope = torch.zeros_like(gradient)
    with torch.no_grad():
        for place in range(gradient.numel()):
            shift = torch.zeros_like(slope).view(-1).index_fill(0, torch.tensor([place]), step).view_as(slope)
            up, down = (subject.loss(example.logits + s, example.target) for s in (shift, -shift))
            slope.view(-1)[place] = (up - down).double() / (2 * step)
    same((value, gradient), (value, slope), rtol, atol, kind="is not that of the value")


def judge_refusals(subject: Subject, example: Example) -> None:
    """Logits and targets of wrong shape or type are refused (segtrain.task.check_shapes does it)."""
    try:
        value = subject.loss(*example)
    except Exception:
        return
    raise Broken("it accepts a wrong shape or type", value, "an error", _described(example))


def judge_words(subject: Subject, example: Example) -> None:
    """The refusal is a UserError that names what was expected and what was given."""
    logits, target = example
    number, channels, height, width = make_logits(subject.task, SMALL).shape
    fitting = logits.ndim == 4 and logits.shape[1] == channels
    size = [number, *([channels] if subject.task.mode == "multilabel" else []), height, width]
    words: Sequence[object] = [f"[N, {channels}, H, W]", list(logits.shape)]
    if fitting and list(target.shape) != size:
        words = [size, list(target.shape)]
    elif fitting:
        words = ["integer", target.dtype] if logits.is_floating_point() else ["floating point", logits.dtype]
    try:
        subject.loss(logits, target)
    except UserError as error:
        missing = [str(word) for word in words if str(word) not in str(error)]
        demand(not missing, "the refusal does not name what was expected and given", str(error), missing)
        return
    raise Broken("it accepts a wrong shape or type", None, "a UserError", _described(example))


def judge_autocast(subject: Subject, example: Example) -> None:
    """Autocasting does not touch the computation in float32."""
    expected = run(subject.loss, *example)
    with torch.autocast("cpu", torch.bfloat16):
        given = run(subject.loss, *example)
    same(given, expected, 1e-5, 1e-7, kind="is another within autocast", detail='torch.autocast("cpu", torch.bfloat16)')


def judge_waiting(subject: Subject, example: Example) -> None:
    """The host never waits for the device: no .item(), no bool(tensor), no boolean indexing, no mix of devices."""
    leaf, where = example.logits.requires_grad_(), "while its operations are watched"
    try:
        with NoSync():
            subject.loss(leaf, example.target).sum().backward()  # type: ignore[no-untyped-call]
        where = "on a GPU without data (torch's FakeTensorMode)"
        _run_on_a_fake_gpu(subject, example)
    except (HostWaits, DataDependentOutputException, DynamicOutputShapeException) as wait:
        operation = wait if isinstance(wait, HostWaits) else getattr(wait, "func", wait)
        raise Broken("the host waits for the device", detail=f"in {operation}{_place(wait)}") from wait
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}{_place(error)}"
        if MIXED.search(str(error)):
            raise Broken("tensors of different devices meet", detail=said) from error
        raise Unexamined(f"{where} it raises {said}") from error


def judge_float64(subject: Subject, example: Example) -> None:
    """float64 logits are computed in float64, so that gradients can be checked to the last digits."""
    value = subject.loss(*example)
    demand(value.dtype == torch.float64, "the value of float64 logits has another type", value.dtype, torch.float64)


def _halved(subject: Subject, example: Example) -> tuple[Outcome, Outcome]:
    """Outcomes of the logits as they are and in float64, in types that can be compared."""
    value, gradient = run(subject.loss, *example)
    expected, slope = run(subject.loss, example.logits.double(), example.target)
    return (value.double(), gradient), (expected.double(), slope.to(gradient.dtype))


def _run_on_a_fake_gpu(subject: Subject, example: Example) -> None:
    loss = subject.build(subject.task)
    logits, target = example
    # a constant that the loss keeps outside of its buffers is a tensor on the host; alone, a number may stay there
    with FakeTensorMode(allow_non_fake_inputs=True), NoSync():
        if isinstance(loss, nn.Module):
            loss._apply(without_data)  # type: ignore[no-untyped-call]
        loss(torch.empty(logits.shape, device="cuda"), torch.empty(target.shape, dtype=target.dtype, device="cuda"))


def _place(error: BaseException) -> str:
    """The last line outside of torch and of the judges, ' (my_pkg.py:12)'."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "/torch/" not in file and "contract/mechanics" not in file and "contract/waiting" not in file:
            place = f" ({file.rpartition('/')[2]}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _described(example: Example) -> str:
    logits, target = example
    return f"logits {list(logits.shape)} {logits.dtype}, target {list(target.shape)} {target.dtype}"

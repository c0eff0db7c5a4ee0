"""What every loss must do, as functions that raise AssertionError; used on the losses and on wrong ones.

Each takes (loss, task). `CHECKS` are those that hold for all losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from segtrain.errors import UserError
from segtrain.task import Task
from tests.conftest import SIZE, TARGETS, ignored_entries, make_logits, make_target

Loss = Callable[[Tensor, Tensor], Tensor]
Reference = Callable[[Tensor, Tensor], float]


def run(loss: Loss, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Value, and gradient with respect to the logits."""
    leaf = logits.detach().requires_grad_()
    value = loss(leaf, target)
    assert value.requires_grad, "not connected to the graph"
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def same(given: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], rtol: float = 0.0, atol: float = 0.0) -> None:
    """Assert that two values and gradients agree, bit by bit where no tolerance is given."""
    for a, b in zip(given, expected, strict=True):
        assert_close(a, b, rtol=rtol, atol=atol, equal_nan=False)


def check_scalar(loss: Loss, task: Task) -> None:
    """A positive float32 scalar, whatever the logits' precision."""
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        value, gradient = run(loss, make_logits(task).to(dtype), make_target(task))
        assert value.shape == (), value.shape
        assert value.dtype == torch.float32, value.dtype
        assert value > 0
        assert gradient.dtype == dtype
        assert gradient.abs().sum() > 0


def check_ignored(loss: Loss, task: Task) -> None:
    """Value and gradient do not depend on the logits at ignored pixels, not even on inf and NaN."""
    logits, target = make_logits(task), make_target(task)
    ignored = ignored_entries(target, task)
    expected = run(loss, logits, target)
    assert (expected[1][ignored] == 0).all()
    for fill in (0.0, 37.0, -1e4, torch.inf, -torch.inf, torch.nan):
        same(run(loss, logits.masked_fill(ignored, fill), target), expected)


def check_deleting(loss: Loss, task: Task) -> None:
    """Ignoring pixels is the same as deleting them (pixel-wise and batch-region losses)."""
    logits, target = make_logits(task).double(), make_target(task, ignored=0)
    drop = torch.rand(len(logits), *SIZE[1:]) < 0.5
    value, gradient = run(
        loss, logits, target.masked_fill(drop[:, None] if target.ndim == 4 else drop, task.ignore_index)
    )
    kept = logits.movedim(1, -1)[~drop].mT  # [C, P]
    ids = target.movedim(1, -1)[~drop].mT.unsqueeze(1) if target.ndim == 4 else target[~drop].unsqueeze(0)
    expected, slope = run(loss, kept[None, :, None], ids[None])
    same((value, gradient.movedim(1, -1)[~drop].mT), (expected, slope[0, :, 0]), rtol=1e-9, atol=1e-12)


def check_all_ignored(loss: Loss, task: Task) -> None:
    """A batch without labels gives exactly 0, connected to the graph, with gradient 0."""
    for fill in (None, 1e4, torch.nan):
        logits = make_logits(task) if fill is None else torch.full_like(make_logits(task), fill)
        value, gradient = run(loss, logits, make_target(task, "ignored"))
        assert value == 0, value
        assert (gradient == 0).all()


def check_empty(loss: Loss, task: Task) -> None:
    """On an empty mask every valid pixel's gradient pushes the foreground's probability down, strictly."""
    target = make_target(task, "empty")
    value, gradient = run(loss, make_logits(task), target)
    assert value.isfinite()
    assert gradient.isfinite().all()
    valid = ~ignored_entries(target, task)
    if task.exclusive:  # the background's logit must go up, so the others' probability goes down
        gradient, valid = -gradient[:, :1], valid[:, :1]
    assert (gradient[valid] > 0).all(), f"{int((gradient[valid] <= 0).sum())} of {int(valid.sum())} pixels not pushed"


def check_extremes(loss: Loss, task: Task) -> None:
    """Finite value and gradient for logits of N(0, 1), +-50 and +-1e4 on every kind of mask and precision."""
    normal = make_logits(task, scale=1)
    for name, logits in (("N(0, 1)", normal), ("50", 50 * normal.sign()), ("1e4", 1e4 * normal.sign())):
        for kind in TARGETS:
            for dtype in (torch.float32, torch.float16, torch.bfloat16):
                value, gradient = run(loss, logits.to(dtype), make_target(task, kind))
                case = f"{dtype} logits of {name}, {kind} mask"
                assert value.isfinite(), f"value {value} for {case}"
                assert gradient.isfinite().all(), f"gradient for {case}"


def check_half(loss: Loss, task: Task) -> None:
    """Half-precision logits give what float64 gives on the same rounded logits."""
    for dtype in (torch.float16, torch.bfloat16):
        for kind in TARGETS:
            logits, target = make_logits(task, scale=4).to(dtype), make_target(task, kind)
            value, gradient = run(loss, logits, target)
            expected, slope = run(loss, logits.double(), target)
            assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
            assert_close(gradient, slope.to(dtype), rtol=1e-2, atol=1e-6)


def check_large_half(loss: Loss, task: Task) -> None:
    """Sums over two million half-precision pixels neither overflow nor lose digits."""
    size = (max(1, 8 // task.num_classes), 512, 512)
    logits, target = make_logits(task, size).half(), make_target(task, size=size)
    with torch.no_grad():
        expected = loss(logits.double(), target)
    value, gradient = run(loss, logits, target)
    assert_close(value.double(), expected, rtol=1e-4, atol=0)
    assert gradient.isfinite().all()


def check_inputs_unchanged(loss: Loss, task: Task) -> None:
    """Logits and target are left as they were, bit by bit."""
    for dtype in (torch.int64, torch.uint8):
        logits, target = make_logits(task), make_target(task).to(dtype)
        copies = logits.clone(), target.clone()
        run(loss, logits, target)
        same((logits, target), copies)


def check_layout(loss: Loss, task: Task) -> None:
    """The target's integer type and the tensors' strides do not matter."""
    logits, target = make_logits(task), make_target(task)
    expected = run(loss, logits, target)
    for dtype in (torch.uint8, torch.int32):
        same(run(loss, logits, target.to(dtype)), expected)
    strided = logits.to(memory_format=torch.channels_last), target.transpose(-1, -2).contiguous().transpose(-1, -2)
    same(run(loss, *strided), expected, rtol=1e-5, atol=1e-7)


def check_permutation(loss: Loss, task: Task) -> None:
    """The order of the images changes nothing beyond rounding."""
    logits, target, order = make_logits(task), make_target(task), torch.tensor([2, 0, 1])
    value, gradient = run(loss, logits, target)
    same(run(loss, logits[order], target[order]), (value, gradient[order]), rtol=1e-5, atol=1e-7)


def check_perfect(loss: Loss, task: Task) -> None:
    """For hard targets in which all classes occur, nothing is below the perfect prediction."""
    target = make_target(task)
    known = target.masked_fill(target == task.ignore_index, 0)
    hot = torch.nn.functional.one_hot(known, task.num_classes).movedim(-1, 1) if task.exclusive else known
    perfect = 40.0 * (2 * hot.view(len(hot), task.num_classes, *SIZE[1:]) - 1)
    least = loss(perfect, target)
    assert least >= 0
    others = [-perfect, 0 * perfect, 0.02 * perfect, *(make_logits(task, scale=s, seed=s) for s in (1, 10, 40))]
    flipped = perfect.where(torch.rand(perfect.shape) < 0.8, -perfect)
    for other in (*others, flipped):
        assert least < loss(other, target)


def check_gradient(loss: Loss, task: Task) -> None:
    """The gradient is that of the value (finite differences in float64), with ignored pixels."""
    logits = make_logits(task, (2, 2, 3)).double().requires_grad_()
    target = make_target(task, size=(2, 2, 3))
    right = torch.autograd.gradcheck(lambda z: loss(z, target), (logits,), atol=1e-7, rtol=1e-4, raise_exception=False)
    assert right, "the gradient is not that of the value"


def check_refusals(loss: Loss, task: Task) -> None:
    """Wrong shapes and types are refused in words that name what was expected and given."""
    logits, target = make_logits(task), make_target(task)
    number, channels, height, width = logits.shape
    wrong = torch.zeros(number, channels + 1, height, width)
    cases: list[tuple[Tensor, Tensor, Sequence[object]]] = [
        (wrong, target, [f"[N, {channels}, H, W]", list(wrong.shape)]),
        (logits[0], target[0], [f"[N, {channels}, H, W]", list(logits[0].shape)]),
        (logits, target[..., 1:], [list(target.shape), list(target[..., 1:].shape)]),
        (logits, target[None], [list(target.shape), list(target[None].shape)]),
        (logits.long(), target, ["floating point", torch.int64]),
        (logits, target.float(), ["integer", torch.float32]),
        (logits, target == 1, ["integer", torch.bool]),
    ]
    for bad_logits, bad_target, words in cases:
        with pytest.raises(UserError) as caught:
            loss(bad_logits, bad_target)
        assert all(str(word) in str(caught.value) for word in words), f"{caught.value} lacks one of {words}"


def check_autocast(loss: Loss, task: Task) -> None:
    """Autocasting does not touch the computation in float32."""
    logits, target = make_logits(task), make_target(task)
    expected = run(loss, logits, target)
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = run(loss, logits, target)
    assert value.dtype == torch.float32
    same((value, gradient), expected, rtol=1e-5, atol=1e-7)


def check_reference(loss: Loss, task: Task, reference: Reference, rtol: float = 1e-6) -> None:
    """The value is that of an independent implementation, on random, empty and full masks, one image without labels."""
    for kind in ("random", "empty", "full"):
        logits, target = make_logits(task).double(), make_target(task, kind)
        target[1] = task.ignore_index
        expected = torch.as_tensor(reference(logits, target), dtype=torch.float64)
        assert_close(loss(logits, target), expected, rtol=rtol, atol=1e-9)


CHECKS = {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_scalar,
        check_ignored,
        check_deleting,
        check_all_ignored,
        check_empty,
        check_extremes,
        check_half,
        check_large_half,
        check_inputs_unchanged,
        check_layout,
        check_permutation,
        check_perfect,
        check_gradient,
        check_refusals,
        check_autocast,
    )
}

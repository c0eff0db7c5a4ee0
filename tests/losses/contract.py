"""The promises of segtrain.contract.suite as `check_<name>(loss, task)`, and the check against a reference.

A check raises Broken, an AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.testing import assert_close

from segtrain.contract.promise import Loss, Promise, Subject, run, same
from segtrain.contract.suite import PROMISES
from segtrain.task import Task
from tests.conftest import make_logits, make_target

__all__ = ["CHECKS", "TIGHT", "Loss", "check_reference", "run", "same"]

Check = Callable[[Loss, Task], None]
Reference = Callable[[Tensor, Tensor], float]
NAMES = {
    "scalar": "scalar",
    "ignored": "ignored pixels",
    "dilution": "no dilution",
    "deleting": "ignoring is deleting",
    "all_ignored": "all ignored",
    "empty": "empty mask",
    "extremes": "extreme logits",
    "half": "half precision",
    "large_half": "large half",
    "inputs_unchanged": "inputs unchanged",
    "layout": "memory layout",
    "permutation": "order of images",
    "perfect": "perfect is 0",
    "gradient": "gradient",
    "refusals": "refusal in words",
    "autocast": "autocast",
}


def _tight(promise: Promise) -> Promise:
    """With the tolerance that our own losses keep: more than they must."""
    within = {"half precision": 1e-5, "large half": 1e-4}.get(promise.name)
    return promise if within is None else replace(promise, judge=partial(promise.judge, within=within))


TIGHT = {name: _tight(promise) for name, promise in PROMISES.items()}


def _check(promise: str) -> Check:
    return lambda loss, task: TIGHT[promise].check(Subject(task, lambda _: loss))


CHECKS = {short: _check(promise) for short, promise in NAMES.items()}


def __getattr__(name: str) -> Check:
    """check_scalar and its like."""
    try:
        return CHECKS[name.removeprefix("check_")]
    except KeyError:
        raise AttributeError(name) from None


def check_reference(loss: Loss, task: Task, reference: Reference, rtol: float = 1e-6) -> None:
    """The value is that of an independent implementation, on random, empty and full masks, one image without labels."""
    for kind in ("random", "empty", "full"):
        logits, target = make_logits(task).double(), make_target(task, kind)
        target[1] = task.ignore_index
        expected = torch.as_tensor(reference(logits, target), dtype=torch.float64)
        assert_close(loss(logits, target), expected, rtol=rtol, atol=1e-9)

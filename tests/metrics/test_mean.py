"""A mean is weighted, exact over processes, kept in checkpoints, and makes no one wait."""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from segtrain.contract.waiting import NoSync, without_data
from segtrain.metrics import Mean


def test_values_weigh_as_told() -> None:
    mean = Mean()
    for value, weight in ((1.0, 3), (0.0, 1)):
        mean.update(torch.tensor(value), torch.tensor(weight))
    assert float(mean.compute()) == 0.75
    mean.update(torch.tensor(1.75))
    assert float(mean.compute()) == pytest.approx(0.95)


def test_what_is_not_a_number_does_not_disappear() -> None:
    mean = Mean()
    mean.update(torch.tensor(1.0))
    mean.update(torch.tensor(math.nan))
    assert math.isnan(float(mean.compute()))


def test_state_and_reset() -> None:
    mean, copy = Mean(), Mean()
    mean.update(torch.tensor(2.0), torch.tensor(5))
    copy.load_state_dict(mean.state_dict())
    assert set(mean.state_dict()) == {"mean_value", "weight"}  # as in the checkpoints of earlier versions
    copy.update(torch.tensor(1.0), torch.tensor(5))
    assert float(copy.compute()) == 1.5
    copy.reset()
    copy.update(torch.tensor(7.0))
    assert float(copy.compute()) == 7


def test_the_host_need_not_wait() -> None:
    mean = Mean()
    with FakeTensorMode(), NoSync():
        mean._apply(without_data).update(
            torch.empty((), device="cuda"), torch.empty((), dtype=torch.int64, device="cuda")
        )
    assert mean.mean_value.device.type == mean.weight.device.type == "cuda"

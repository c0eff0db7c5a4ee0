"""Learning rates against formulas, parameter groups, and refused values."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from segtrain.cli import main
from segtrain.errors import UserError
from segtrain.optim import OPTIMIZERS, SCHEDULES, Optim, parameter_groups
from tests import tiny

LR, STEPS = 0.5, 40


def rates(optim: Optim, steps: int) -> list[float]:
    """Learning rate of each step, and the one after the last."""
    optimizer = optim.optimizer(nn.Linear(2, 2))
    scheduler, _ = optim.scheduler(optimizer, steps, "max")
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    assert len({group["lr"] for group in optimizer.param_groups}) == 1
    return [*seen, optimizer.param_groups[0]["lr"]]


def after_warmup(decay: Callable[[float], float], warmup: int) -> list[float]:
    rising = [LR * (0.01 + 0.99 * step / warmup) for step in range(warmup)]
    return rising + [LR * decay(step / (STEPS - warmup)) for step in range(STEPS - warmup + 1)]


def cosine_between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


# ---- schedules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup", [0, 8])
@pytest.mark.parametrize(
    ("schedule", "decay", "last"),
    [
        ("cosine", lambda t: (1 + math.cos(math.pi * t)) / 2, 0.0),
        ("poly", lambda t: (1 - t) ** 0.9, 0.0),
        ("constant", lambda t: 1.0, LR),
        ("plateau", lambda t: 1.0, LR),  # no validation has been reported
    ],
)
def test_schedules(schedule: str, decay: Callable[[float], float], last: float, warmup: int) -> None:
    found = rates(Optim(lr=LR, schedule=schedule, warmup=warmup / STEPS), STEPS)
    assert found == pytest.approx(after_warmup(decay, warmup))
    assert found[0] == pytest.approx(LR / 100 if warmup else LR)
    assert max(found) == pytest.approx(LR)
    assert found[-1] == pytest.approx(last, abs=1e-12)


def test_onecycle() -> None:
    found = rates(Optim(lr=LR, schedule="onecycle", warmup=0.25), STEPS)
    top = 0.25 * (STEPS + 1) - 1
    expected = [
        cosine_between(LR / 100, LR, step / top)
        if step <= top
        else cosine_between(LR, LR / 100 / 1e4, (step - top) / (STEPS - top))
        for step in range(STEPS + 1)
    ]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.99])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_runs_of_few_steps(schedule: str, name: str, warmup: float, steps: int) -> None:
    found = rates(Optim(name, LR, schedule=schedule, warmup=warmup), steps)
    assert all(0 < rate <= LR * (1 + 1e-9) for rate in found[:-1])


def test_beyond_the_last_step_nothing_rises() -> None:
    optim = Optim(lr=LR)
    optimizer = optim.optimizer(nn.Linear(2, 2))
    scheduler, _ = optim.scheduler(optimizer, 5, "max")
    assert scheduler is not None
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("mode", "better"), [("max", 1), ("min", -1)])
def test_plateau_halves_and_keeps(mode: str, better: int) -> None:
    optim = Optim(lr=LR, schedule="plateau", warmup=0.1, patience=2)
    optimizer = optim.optimizer(nn.Linear(2, 2))
    rising, plateau = optim.scheduler(optimizer, STEPS, mode)
    assert rising is not None
    assert isinstance(plateau, ReduceLROnPlateau)
    after = []
    for score in (1, 2, 2, 2, 2, 2, 2, 3):  # an improvement, twice three validations without, an improvement
        for _ in range(5):
            optimizer.step()
            rising.step()
        plateau.step(score**better)
        after.append(optimizer.param_groups[0]["lr"] / LR)
    assert after == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5])


def test_only_plateau_waits_for_validations() -> None:
    for schedule in SCHEDULES:
        optim = Optim(schedule=schedule)
        by_step, by_score = optim.scheduler(optim.optimizer(nn.Linear(2, 2)), 100, "max")
        assert by_step is not None
        assert (by_score is not None) == (schedule == "plateau")


# ---- optimizers ----------------------------------------------------------------------------------------------------


def test_norms_and_biases_do_not_decay() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    net[2].weight.requires_grad_(False)
    decayed, plain = parameter_groups(net, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(net[0].weight)]
    assert {id(p) for p in plain["params"]} == {id(p) for p in (net[0].bias, net[1].weight, net[1].bias, net[2].bias)}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({"name": "adamw"}, torch.optim.AdamW, {}),
        ({"name": "sgd"}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ({"name": "sgd", "momentum": 0}, torch.optim.SGD, {"momentum": 0, "nesterov": False}),
    ],
)
def test_optimizers(options: dict[str, Any], kind: type, expected: dict[str, Any]) -> None:
    net = nn.Linear(2, 2)
    optimizer = Optim(lr=LR, weight_decay=0.1, **options).optimizer(net)
    assert type(optimizer) is kind
    assert (expected | {"fused": True}).items() <= optimizer.defaults.items()
    weight, bias = net.weight.detach().clone(), net.bias.detach().clone()
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(net.weight.detach(), weight * (1 - LR * 0.1 * (1 + expected.get("momentum", 0))))
    torch.testing.assert_close(net.bias.detach(), bias)


def test_a_net_without_biases() -> None:
    Optim().optimizer(nn.Linear(2, 2, bias=False)).step()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "adam"}, r"optim.name must be one of adamw, sgd; got 'adam' - did you mean adamw\?"),
        ({"schedule": "cosin"}, r"optim.schedule .*did you mean cosine\?"),
        ({"lr": 0}, "lr must be auto or a number > 0, got 0"),
        ({"lr": "fast"}, "lr must be auto or a number > 0, got 'fast'"),
        ({"lr": math.nan}, "lr must be auto or a number > 0, got nan"),
        ({"weight_decay": -1}, "optim.weight_decay must be a number >= 0"),
        ({"momentum": 1}, "optim.momentum must be a number in"),
        ({"warmup": 1}, "optim.warmup must be a number in"),
        ({"patience": 1.5}, "optim.patience must be a whole number >= 0"),
    ],
)
def test_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Optim(**options)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("shape", [(), (0,), (2,), (2**20, 2**20)])
def test_moments_of_another_shape_are_refused(name: str, shape: tuple[int, ...]) -> None:
    """Fused steps would read beyond their ends."""
    net = nn.Conv2d(1, 2, 3)
    optimizer = Optim(name).optimizer(net)
    net(torch.ones(1, 1, 3, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    moment = "exp_avg" if name == "adamw" else "momentum_buffer"
    state["state"][0][moment] = torch.zeros(()).expand(shape)
    with pytest.raises(ValueError, match=f"{moment} has the shape .*, its parameter "):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_lie_as_their_parameter_does(name: str) -> None:
    """Fused steps go through both memories number by number: those of other strides would be mixed up."""
    trained = []
    for strides in (torch.channels_last, torch.contiguous_format):
        torch.manual_seed(0)
        net = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        optimizer = Optim(name).optimizer(net)
        image = torch.rand(2, 3, 5, 5)
        for _ in range(2):
            optimizer.zero_grad()
            net(image).square().sum().backward()
            optimizer.step()
            state = optimizer.state_dict()
            for moments in state["state"].values():
                moments |= {k: v.contiguous(memory_format=strides) for k, v in moments.items() if v.ndim == 4}
            optimizer.load_state_dict(state)
        trained.append(net.weight.detach())
    torch.testing.assert_close(*trained, rtol=0, atol=0)


@pytest.mark.parametrize(("scaling", "expected"), [("none", 0.1), ("linear", 0.4), ("sqrt", 0.2)])
def test_the_rate_follows_the_images_of_a_step(scaling: str, expected: float) -> None:
    optim = Optim(lr=0.1, scaling=scaling, base_batch=8, encoder_factor=1.0)
    assert optim.rate(32) == pytest.approx(expected)
    assert optim.rate(8) == 0.1
    net = nn.Linear(2, 2)
    assert [group["lr"] for group in optim.optimizer(net, 32).param_groups] == pytest.approx([expected] * 2)
    assert {group["lr"] for group in optim.optimizer(net).param_groups} == {0.1}


def test_accumulated_batches_count(tmp_path: Path) -> None:
    words = ["optim.schedule=constant", "optim.warmup=0", "lr=.01", "trainer.accumulate=2", "data.train=16"]
    run = tiny.train(tmp_path, *words, "optim.scaling=linear", "optim.base_batch=2", "epochs=1")
    assert [float(row["optim/lr"]) for row in tiny.table(run)] == pytest.approx([0.04])


def test_a_measured_rate_is_not_scaled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, "lr=auto", "optim.scaling=sqrt", f"output_dir={tmp_path}"]) == 1
    assert "set optim.scaling=none" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

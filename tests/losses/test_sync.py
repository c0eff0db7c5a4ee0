"""`dice(sync=True)` on two processes is one process with both batches, in value and gradient."""

from __future__ import annotations

import datetime
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from segtrain.losses import build_loss
from tests.conftest import TASKS, make_target
from tests.losses.contract import run

WORLD = 2
NAMES = ("dice", "tversky", "jaccard")


def examples(mode: str) -> tuple[Tensor, Tensor]:
    """Images and targets of both processes; the second half is unlike the first (no foreground, fewer labels)."""
    task = TASKS[mode]
    size = (WORLD, 4, 5)
    first, second = make_target(task, size=size), make_target(task, "empty", size, ignored=0.6)
    return torch.randn(2 * WORLD, 2, 4, 5, generator=torch.Generator().manual_seed(3)), torch.cat([first, second])


def step(mode: str, rank: int | None) -> dict[str, tuple[Tensor, list[Tensor]]]:
    """Value and parameter gradients of each loss; rank None: everything in one process."""
    image, target = (x if rank is None else x.chunk(WORLD)[rank] for x in examples(mode))
    result = {}
    for name in NAMES:
        torch.manual_seed(0)
        net = nn.Conv2d(2, TASKS[mode].num_classes, 1)
        model = net if rank is None else nn.parallel.DistributedDataParallel(net)
        loss = build_loss(name, TASKS[mode], sync=rank is not None)
        value = loss(model(image), target)
        value.backward()
        result[name] = value.detach(), [p.grad.clone() for p in net.parameters() if p.grad is not None]
    return result


def work(rank: int, folder: str) -> None:
    """One process: what it computes goes into a file."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=WORLD,
        timeout=datetime.timedelta(seconds=60),
    )
    torch.save({mode: step(mode, rank) for mode in TASKS}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_are_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=WORLD)
    for rank in range(WORLD):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for mode in TASKS:
            assert_close(found[mode], step(mode, None), rtol=1e-5, atol=1e-7)


def test_without_processes_sync_changes_nothing() -> None:
    task = TASKS["multiclass"]
    logits, target = torch.randn(2, 4, 3, 3), make_target(task, size=(2, 3, 3))
    given, expected = (run(build_loss("dice", task, sync=flag), logits, target) for flag in (True, False))
    assert torch.equal(given[0], expected[0])
    assert torch.equal(given[1], expected[1])


def test_halves_alone_would_not_agree() -> None:
    """The example can tell: without sync the mean of the two halves' losses is another number."""
    for mode in TASKS:
        whole, halves = step(mode, None), [examples(mode)[i].chunk(WORLD) for i in (0, 1)]
        net = nn.Conv2d(2, TASKS[mode].num_classes, 1)
        torch.manual_seed(0)
        net.reset_parameters()
        values = [build_loss("dice", TASKS[mode])(net(x), t) for x, t in zip(*halves, strict=True)]
        assert abs(torch.stack(values).mean() - whole["dice"][0]) > 1e-3

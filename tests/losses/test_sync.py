"""Two processes are one with both batches, in value and gradient: means divide by the labels of both, whatever is
ignored, and region losses with sync=true sum over both."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from segtrain.losses import Combo, build_loss
from tests.conftest import STATS, TASKS, make_target
from tests.losses.contract import run

WORLD = 2
SUMMED = {"sync": True}
# what two processes compute as one; ohem and lovasz choose and sort among the pixels of a process
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bce": ("bce", {}),
    "bce smoothed": ("bce", {"label_smoothing": 0.1}),
    "balanced_bce": ("balanced_bce", {}),
    "balanced_bce per batch": ("balanced_bce", {"beta": "batch"}),
    "ce": ("ce", {}),
    "ce weighted": ("ce", {"class_weights": "auto"}),
    "focal": ("focal", {"alpha": "auto"}),
    "poly": ("poly", {}),
    "dice": ("dice", SUMMED),
    "dice squared": ("dice", {"squared": True, **SUMMED}),
    "dice per image": ("dice", {"reduce": "image"}),
    "jaccard": ("jaccard", SUMMED),
    "tversky": ("tversky", SUMMED),
    "focal_tversky": ("focal_tversky", SUMMED),
    "generalized_dice": ("generalized_dice", SUMMED),
    "mcc": ("mcc", SUMMED),
    "unified_focal": ("unified_focal", SUMMED),
    "cldice": ("cldice", SUMMED),
    "boundary": ("boundary", {}),
    "boundary of the batch": ("boundary", {"reduce": "batch", **SUMMED}),
    "lovasz per image": ("lovasz", {"reduce": "image"}),
}
PAIRS = [
    (case, mode)
    for case, (name, params) in CASES.items()
    for mode in TASKS
    if mode != "multiclass" or name not in ("bce", "balanced_bce")
    if mode == "multiclass" or params.get("class_weights") is None
]


def examples(mode: str) -> tuple[Tensor, Tensor]:
    """Images and targets of both processes; the second half is unlike the first (no foreground, fewer labels)."""
    task = TASKS[mode]
    size = (WORLD, 4, 5)
    first, second = make_target(task, size=size), make_target(task, "empty", size, ignored=0.6)
    return torch.randn(2 * WORLD, 2, 4, 5, generator=torch.Generator().manual_seed(3)), torch.cat([first, second])


def step(case: str, mode: str, rank: int | None) -> tuple[Tensor, list[Tensor]]:
    """Value and parameter gradients of a loss; rank None: everything in one process."""
    image, target = (x if rank is None else x.chunk(WORLD)[rank] for x in examples(mode))
    torch.manual_seed(0)
    net = nn.Conv2d(2, TASKS[mode].num_classes, 1)
    model = net if rank is None else nn.parallel.DistributedDataParallel(net)
    name, params = CASES[case]
    value = build_loss(name, TASKS[mode], STATS[mode], **params)(model(image), target)
    value.backward()
    return value.detach(), [p.grad.clone() for p in net.parameters() if p.grad is not None]


def validation(rank: int) -> list[float]:
    """In evaluation the processes score batches of their own, not equally many, and do not wait for each other."""
    task = TASKS["binary"]
    loss = Combo({"dice": build_loss("dice", task, sync=True), "bce": build_loss("bce", task)}).eval()
    logits, target = torch.zeros(1, 1, 4, 5), make_target(task, size=(1, 4, 5))
    return [float(loss(logits, target)) for _ in range(1 + rank)]


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
    found = {f"{case} {mode}": step(case, mode, rank) for case, mode in PAIRS}
    torch.save({"steps": found, "validation": validation(rank)}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process found."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.parametrize(("case", "mode"), PAIRS)
def test_two_processes_are_one(case: str, mode: str, found: list[dict[str, Any]]) -> None:
    value, gradients = step(case, mode, None)
    steps = [each["steps"][f"{case} {mode}"] for each in found]
    assert_close(sum(value for value, _ in steps) / WORLD, value, rtol=1e-5, atol=1e-7)
    for _, theirs in steps:
        assert_close(theirs, gradients, rtol=1e-5, atol=1e-7)


def test_evaluation_waits_for_no_other_process(found: list[dict[str, Any]]) -> None:
    assert [len(each["validation"]) for each in found] == [1, 2]
    assert found[0]["validation"] == found[1]["validation"][:1]


def test_without_processes_sync_changes_nothing() -> None:
    task = TASKS["multiclass"]
    logits, target = torch.randn(2, 4, 3, 3), make_target(task, size=(2, 3, 3))
    given, expected = (run(build_loss("dice", task, sync=flag), logits, target) for flag in (True, False))
    assert torch.equal(given[0], expected[0])
    assert torch.equal(given[1], expected[1])


def test_halves_alone_would_not_agree() -> None:
    """The example can tell: without sync the mean of the two halves' losses is another number."""
    for mode in TASKS:
        (whole, _), halves = step("dice", mode, None), [examples(mode)[i].chunk(WORLD) for i in (0, 1)]
        net = nn.Conv2d(2, TASKS[mode].num_classes, 1)
        torch.manual_seed(0)
        net.reset_parameters()
        values = [build_loss("dice", TASKS[mode])(net(x), t) for x, t in zip(*halves, strict=True)]
        assert abs(torch.stack(values).mean() - whole) > 1e-3

"""Tiny data and tiny trainings: the real command line on images of 32 pixels, in about a second each."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from PIL import Image
from torch import nn

from segtrain.cli import main
from segtrain.data.listing import Listing
from segtrain.layouts.folder import FolderLayout
from segtrain.models.normalize import SegmentationNet
from segtrain.runs import Run, find_latest, read_run
from segtrain.task import Task

__all__ = ["Run", "find_latest", "read_run"]

NET = ["model.width=2", "model.depth=2"]
SYNTHETIC = ["data.size=32", "data.train=10", "data.val=3", "data.test=3", "data.foreground=.2"]
BARE = [*NET, "crop=32", "batch_size=4", "epochs=2", "compile=false"]
FAST = [*BARE, "~callbacks.pictures"]  # to draw them takes as long as all else


def every(step: int, cases: Iterable[Any]) -> list[Any]:
    """The cases, of which each run of the tests takes the first of every `step`; the others are slow.

    Those that have marks of their own keep them.
    """
    found = []
    for index, case in enumerate(cases):
        values = case if type(case) is tuple else (case,)
        kept = index % step == 0 or hasattr(case, "marks")
        found.append(case if kept else pytest.param(*values, marks=pytest.mark.slow))
    return found


def train(output: Path, *overrides: str, data: Sequence[str] = SYNTHETIC, fast: Sequence[str] = FAST) -> Run:
    """Train through the command line, as a user would; the run that it made."""
    assert main(["train", *data, *fast, f"output_dir={output}", *overrides]) == 0
    return read_run(find_latest(output))


def make_folder(
    root: Path,
    ids: Sequence[int] = (0, 255),
    counts: tuple[int, int, int] = (6, 2, 3),
    sizes: Sequence[tuple[int, int]] = ((32, 32), (40, 36)),
    seed: int = 0,
) -> Path:
    """A data set in the folder layout: bright squares of the ids on a dark ground.

    Args:
        root: where to make it.
        ids: of the mask files; the first is the ground.
        counts: images of train, val and test.
        sizes: (height, width), in turn.
        seed: of everything random.
    """
    random = np.random.default_rng(seed)
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            height, width = sizes[index % len(sizes)]
            image = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
            mask = np.full((height, width), ids[0], np.uint8)
            for place, value in enumerate(ids[1:]):
                top, left = random.integers(0, height - 12), random.integers(0, width - 12)
                image[top : top + 12, left : left + 12, place % 3] += 150
                mask[top : top + 12, left : left + 12] = value
            Image.fromarray(image).save(root / "images" / split / f"{split}{index}.png")
            Image.fromarray(mask).save(root / "masks" / split / f"{split}{index}.png")
    return root


def folder(root: Path, *more: str) -> list[str]:
    """Overrides that read such a data set."""
    return ["data=folder", f"data.root={root}", *more]


def plain_net(task: Task, in_channels: int, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """A net without batch norm, and with every parameter's gradient far from 0."""
    net = nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, task.num_classes, 1))
    return SegmentationNet(net, mean, std, 1)


def summary(run: Run) -> dict[str, Any]:
    """summary.json of a run."""
    content: dict[str, Any] = json.loads((run.folder / "summary.json").read_text())
    return content


def weights(run: Run) -> dict[str, torch.Tensor]:
    """All tensors that a resume must reproduce: the module's state and the optimizer's."""
    checkpoint = torch.load(run.last, weights_only=True)
    optimizer = checkpoint["optimizer_states"][0]["state"]
    moments = {f"{index}.{key}": value for index, state in optimizer.items() for key, value in state.items()}
    behind = {f"current.{key}": value for key, value in checkpoint.get("current_model_state", {}).items()}  # an average
    return {**checkpoint["state_dict"], **behind, **{k: torch.as_tensor(v) for k, v in moments.items()}}


def global_step(run: Run) -> int:
    """Optimizer steps behind a run's last.ckpt."""
    return int(torch.load(run.last, weights_only=True)["global_step"])


TIMED = ("perf/", "_step")  # columns of metrics.csv that depend on the clock


def table(run: Run) -> list[dict[str, str]]:
    """The rows of metrics.csv."""
    with (run.folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def curves(run: Run) -> list[dict[str, str]]:
    """The rows of metrics.csv that a resume must reproduce."""
    return [{k: v for k, v in row.items() if not k.startswith(TIMED)} for row in table(run)]


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that are not equal bit for bit."""
    return [
        name for name in {**one, **other} if name not in one or name not in other or not _same(one[name], other[name])
    ]


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one, other)


def cleared(*kept: list[Any]) -> Any:
    """A fixture: lists in which callbacks keep what they see are empty for each test, and hold nothing behind it."""

    @pytest.fixture(autouse=True)
    def clear() -> Iterator[None]:
        for each in kept:
            each.clear()
        yield
        for each in kept:
            each.clear()

    return clear


@dataclass(frozen=True)
class Weighted:
    """The folder layout, with images that weigh 1, 2, 3 in turn. Implements Layout; settings as FolderLayout."""

    images: str | None = None
    masks: str | None = None
    suffix: str | None = None
    lists: str | None = None

    def find(self, root: Path) -> Listing:
        listing = FolderLayout(self.images, self.masks, self.suffix, self.lists).find(root)
        items = [replace(item, weight=1.0 + index % 3) for index, item in enumerate(listing.items)]
        return replace(listing, items=items)


class Stop(Callback):
    """Ends training with an error after so many steps, like a kill between two batches.

    Args:
        step: optimizer steps after which it strikes.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("stopped by the test")


def stop_at(step: int) -> list[str]:
    """Words that make a training stop there."""
    return [f"+callbacks.stop={{_target_:tests.tiny.Stop,step:{step}}}", "--allow", "tests"]


def scores(run: Run, split: str) -> dict[str, Any]:
    """What `evaluate` wrote of a split."""
    content: dict[str, Any] = json.loads((run.folder / "evaluation" / split / "scores.json").read_text())
    return content

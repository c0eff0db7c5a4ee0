"""Test IoU after a fixed CPU time: our training beside a usual script, same net; writes docs/benchmarks.md.

    python scripts/bench_accuracy.py data/camvid_small --seconds 420 --seeds 3

Takes a folder with images/<split>/, masks/<split>/ (ids) and a dataset.json that names classes and ignore_index. What
counts is the CPU time of training and of all that goes on meanwhile (loading, validation, logging), not the last test.
The script: float32, the library's net, Albumentations, images padded to a multiple of 32, batches of 8, cross entropy
and Dice, AdamW with warm-up and cosine over the time. Ours: a first training of two epochs says how many fit. Each
training has one thread, and two run at a time.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from albumentations.pytorch import ToTensorV2
from clock import ends
from measure import markdown, setting, write_section
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassConfusionMatrix

from segtrain.cli import main as segtrain

PACKAGES = ("torch", "segmentation_models_pytorch", "albumentations", "torchmetrics")
ENCODER = "resnet18"
DIVISOR, BATCH, RATE, WARMUP = 32, 8, 1e-3, 0.05
OURS = (
    *("model=unet_resnet34", f"model.encoder={ENCODER}", "model.downsample=3", "crop=[180,240]", "batch_size=8"),
    *("loss.terms.ce.class_weights=sqrt", "lr=4e-3", "optim.schedule=onecycle", "ema=.99", "passes=2"),
)
PRETRAINED = (
    *("experiment=strong_baseline", "model.downsample=2", "crop=[192,256]", "batch_size=8"),
    "loss.terms.ce.class_weights=sqrt",
)
QUIET = ("~callbacks.pictures", "trainer.limit_val=20")
INTRODUCTION = """## Accuracy for a fixed time

Test IoU (mean over classes) after {seconds:g} CPU-seconds of training from random weights, an SMP U-Net on {encoder}
in all cases, mean of {seeds} seeds. The script is float32, cross entropy and Dice, AdamW, warm-up and cosine; ours is
`{words}`."""


class Plain(Dataset[Any]):
    """Images and ids as many scripts read them."""

    def __init__(self, root: Path, split: str, ignore: int) -> None:
        self.images = sorted((root / "images" / split).iterdir())
        self.masks = [root / "masks" / split / f"{path.stem}.png" for path in self.images]
        change = [A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast(p=0.5)] if split == "train" else []
        pad = A.PadIfNeeded(
            None, None, pad_height_divisor=DIVISOR, pad_width_divisor=DIVISOR, fill_mask=ignore, position="top_left"
        )
        self.transform = A.Compose([*change, pad, A.Normalize(), ToTensorV2()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = cv2.cvtColor(cv2.imread(str(self.images[index])), cv2.COLOR_BGR2RGB)
        made = self.transform(image=image, mask=cv2.imread(str(self.masks[index]), cv2.IMREAD_GRAYSCALE))
        return made["image"], made["mask"].long()


@dataclass(frozen=True)
class Result:
    """What came of a training: test IoU, images seen, CPU seconds."""

    iou: float
    images: int
    seconds: float


def plain(root: Path, seconds: float, classes: int, ignore: int, seed: int) -> Result:
    """Train by a script, for so long."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    net: nn.Module = smp.Unet(ENCODER, encoder_weights=None, classes=classes)
    cross, dice = nn.CrossEntropyLoss(ignore_index=ignore), smp.losses.DiceLoss("multiclass", ignore_index=ignore)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    batches = DataLoader(Plain(root, "train", ignore), BATCH, shuffle=True, drop_last=True)
    started, seen, share = time.process_time(), 0, 0.0
    while share < 1:
        for image, mask in batches:
            share = (time.process_time() - started) / seconds
            if share >= 1:
                break
            rising = share / WARMUP if share < WARMUP else (1 + math.cos(math.pi * share)) / 2
            optimizer.param_groups[0]["lr"] = RATE * rising
            logits = net(image)
            loss = cross(logits, mask) + dice(logits, mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(image)
    used = time.process_time() - started
    return Result(test_iou(net, root, classes, ignore), seen, used)


@torch.no_grad()
def test_iou(net: nn.Module, root: Path, classes: int, ignore: int) -> float:
    """Mean over the classes of the IoU over all test pixels."""
    net.eval()
    counted = MulticlassConfusionMatrix(classes, ignore_index=ignore)
    for image, mask in DataLoader(Plain(root, "test", ignore), BATCH):
        counted.update(net(image).argmax(1), mask)
    counts = counted.compute().double()
    union = counts.sum(0) + counts.sum(1) - counts.diag()
    return float((counts.diag() / union).nanmean())


@cache
def epochs_that_fit(seconds: float, command: Sequence[str]) -> int:
    """By the first two, of which the first has more to do."""
    with tempfile.TemporaryDirectory() as folder:
        train([*command, f"output_dir={folder}", "epochs=2", "trainer.limit_test=0"])
    first, second = ends[1] - ends[0], ends[2] - ends[1]
    return max(1, int((seconds - first) / second) + 1)


def ours(root: Path, seconds: float, words: Sequence[str], seed: int) -> Result:
    """Train by the command, for as many epochs as fit."""
    clock = ("+callbacks.clock._target_=clock.EpochClock", "--allow", "clock")
    command = ("train", "data=folder", f"data.root={root}", *words, *QUIET, *clock)
    with tempfile.TemporaryDirectory() as folder:
        train([*command, f"seed={seed}", f"output_dir={folder}", f"epochs={epochs_that_fit(seconds, command)}"])
        summary: Any = json.loads((Path(folder) / "latest" / "summary.json").read_text())
        with (Path(folder) / "latest" / "metrics.csv").open(newline="") as file:
            steps = max(int(row["step"]) for row in csv.DictReader(file))
    return Result(float(summary["test"]["iou"]), steps * int(summary["batch_size"]), ends[-1] - ends[0])


def train(words: Sequence[str]) -> None:
    """Run the command."""
    ends.clear()
    if segtrain(list(words)) != 0:
        raise SystemExit("segtrain has failed")


def prepare() -> None:
    """Of each process; libraries warn of what is meant."""
    warnings.simplefilter("ignore")


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, of one thread each")
    parser.add_argument("--pretrained", action="store_true", help="ours with model=unet_lite0 too")
    parser.add_argument("--print-only", action="store_true")
    given = parser.parse_args()
    declared = json.loads((given.root / "dataset.json").read_text())
    classes, ignore = len(declared["classes"]), int(declared["ignore_index"])
    ways: dict[str, Callable[[int], Result]] = {
        "script": partial(plain, given.root, given.seconds, classes, ignore),
        "segtrain": partial(ours, given.root, given.seconds, OURS),
    }
    if given.pretrained:
        ways["segtrain, ImageNet weights"] = partial(ours, given.root, given.seconds, PRETRAINED)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes: CPU time then holds no waiting for other threads
    tasks = [(name, seed) for seed in range(1, given.seeds + 1) for name in ways]
    with ProcessPoolExecutor(given.jobs, get_context("spawn"), prepare) as pool:
        running = {pool.submit(ways[name], seed): (name, seed) for name, seed in tasks}
        for each in as_completed(running):
            if each.exception() is not None:
                pool.shutdown(cancel_futures=True)
            print(*running[each], each.result(), flush=True)
    found = {name: [each.result() for each, (way, _) in running.items() if way == name] for name in ways}
    base = statistics.mean(each.iou for each in next(iter(found.values())))
    rows = [
        [
            name,
            ", ".join(f"{each.iou:.3f}" for each in results),
            f"{statistics.mean(each.iou for each in results):.3f}",
            f"{statistics.mean(each.iou for each in results) / base:.2f}",
            f"{statistics.mean(each.images for each in results):.0f}",
            f"{statistics.mean(each.seconds for each in results):.0f}",
        ]
        for name, results in found.items()
    ]
    table = markdown(["", "test IoU", "mean", "of the first", "images seen", "CPU s"], rows)
    print(table)
    if not given.print_only:
        text = INTRODUCTION.format(seconds=given.seconds, encoder=ENCODER, seeds=given.seeds, words=" ".join(OURS))
        command = "python scripts/bench_accuracy.py FOLDER" + " --pretrained" * given.pretrained
        write_section("accuracy", f"{text}\n\n{setting(PACKAGES, command)}\n\n{table}")


if __name__ == "__main__":
    main()

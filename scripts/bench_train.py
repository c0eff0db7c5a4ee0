"""Times training as a user starts it beside the ceiling and beside usual scripts; writes docs/benchmarks.md.

    python scripts/bench_train.py data/nuclei

Takes a folder with images/<split>/ and masks/<split>/ (single-channel masks of 0 and 255), whose first images are
trained on. What counts is the second epoch and those behind it: by default our images are in memory by then. Ceiling:
forward, loss, backward and optimizer on tensors in memory, in the precision that training chooses here. Plain: a loop
in float32 with segmentation-models-pytorch's net and Dice, Albumentations and torch's loader, which logs nothing.
Lightning: the same in a LightningModule that logs its loss and torchmetrics' IoU at each step. Blocks of steps take
turns; of each the median step counts, and ratios are those of neighbouring blocks. On a CPU the ceiling is closer than
that machine's own unrest between blocks: there each step of ours is followed by one of the ceiling's. (On a GPU loading
processes would go on meanwhile.)
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from bench_data import PlainData
from clock import Clock, note, steps, turns
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from measure import markdown, setting, write_section
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import BinaryJaccardIndex

from segtrain.cli import main as segtrain
from segtrain.hardware import choose_accelerator, choose_precision
from segtrain.losses import build_loss
from segtrain.models import build_model
from segtrain.task import Task

EPOCH = 8  # steps of an epoch; the first, in which our cache is filled, does not count
PACKAGES, COMMAND = (
    ("torch", "lightning", "segmentation_models_pytorch", "torchmetrics"),
    "python scripts/bench_train.py FOLDER",
)
INTRODUCTION = """## Training

Images a second of a whole training by its defaults (augmentation `light`, metrics, TensorBoard, all guards) from the
second epoch on, and their ratio to others side by side, medians of {rounds} rounds. The ceiling is forward, loss,
backward and optimizer alone, on a CPU a step of it behind each of ours; the plain loop is float32 and logs nothing;
Lightning logs its loss and torchmetrics' IoU at each step."""
BINARY = Task("binary")


@dataclass(frozen=True)
class Size:
    """What is trained.

    Args:
        name: of the row.
        words: that choose the net.
        net: the same net for others, of the library or ours.
        batch: images of a step.
        side: of a crop.
        epochs: of EPOCH steps in a block.
    """

    name: str
    words: tuple[str, ...]
    net: Callable[[], nn.Module]
    batch: int
    side: int
    epochs: int

    @property
    def steps(self) -> int:
        """Of a block."""
        return EPOCH * self.epochs


def tiny_net() -> nn.Module:
    """As model.width=4 model.depth=2 builds it."""
    return build_model(BINARY, 3, [0.5] * 3, [0.25] * 3, "plain_unet", width=4, depth=2)


SIZES = (
    Size(
        "unet_resnet34, 8 x 256 x 256",
        ("model=unet_resnet34",),
        partial(smp.Unet, "resnet34", encoder_weights=None),
        8,
        256,
        2,
    ),
    Size("width 4, 2 x 32 x 32", ("model=unet_tiny", "model.width=4", "model.depth=2"), tiny_net, 2, 32, 25),
)


def ours(size: Size, root: Path, folder: str, clock: str = "Clock") -> None:
    """The command that a user types; only its length is limited."""
    limits = [f"epochs={size.epochs}", "trainer.limit_val=1", "trainer.limit_test=0"]
    words = [*size.words, f"batch_size={size.batch}", f"crop={size.side}", f"output_dir={folder}", *limits]
    words += [f"+callbacks.clock._target_=clock.{clock}", "--allow", "clock"]
    if segtrain(["train", "data=folder", f"data.root={root}", "loss=dice_bce", *words]) != 0:
        raise SystemExit("segtrain has failed")


def ceiling(size: Size, device: torch.device) -> Callable[[], None]:
    """Makes the arithmetic of a step and nothing else."""
    half = choose_precision("auto", choose_accelerator("auto")) == "bf16-mixed"
    image = torch.randint(0, 256, (size.batch, 3, size.side, size.side), dtype=torch.uint8, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    mask = torch.randint(0, 2, (size.batch, size.side, size.side), device=device)
    arch = ("plain_unet",) if size.net is tiny_net else ("unet", "resnet34")
    more = {"width": 4, "depth": 2} if size.net is tiny_net else {}
    net = build_model(BINARY, 3, [0.5] * 3, [0.25] * 3, *arch, **more).to(device, memory_format=torch.channels_last)
    bce, dice = build_loss("bce", BINARY), build_loss("dice", BINARY)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            logits = net(image)
        loss = bce(logits.float(), mask) + dice(logits.float(), mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def repeated(step: Callable[[], None], number: int) -> None:
    """A block of steps."""
    for _ in range(number):
        step()
        note()


class PlainLoss(nn.Module):
    """Dice and BCE as one would take them from the library."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = smp.losses.DiceLoss("binary")

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Their sum."""
        truth = (mask == 1)[:, None].float()
        sum_: Tensor = self.dice(logits, truth) + nn.functional.binary_cross_entropy_with_logits(logits, truth)
        return sum_


def first_images(root: Path, target: Path, number: int) -> Path:
    """A folder with so many of the training images, and a few of validation."""
    for split, most in (("train", number), ("val", 2)):
        for kind in ("images", "masks"):
            (target / kind / split).mkdir(parents=True)
        for image in sorted((root / "images" / split).iterdir())[:most]:
            for kind in ("images", "masks"):
                (path,) = (root / kind / split).glob(f"{image.stem}.*")
                (target / kind / split / path.name).symlink_to(path.resolve())
    return target


def small_images(root: Path, side: int) -> Path:
    """A folder of noise."""
    random = np.random.default_rng(0)
    for split, kind in itertools.product(("train", "val"), ("images", "masks")):
        (root / kind / split).mkdir(parents=True)
        for index in range(2 * EPOCH if split == "train" else 2):
            shape, top = ((side, side, 3), 256) if kind == "images" else ((side, side), 2)
            cv2.imwrite(str(root / kind / split / f"{split}{index}.png"), random.integers(0, top, shape, np.uint8))
    return root


def loader(size: Size, root: Path) -> DataLoader[Any]:
    """Of crops, normalized on the host."""
    images = sorted((root / "images" / "train").iterdir())
    pairs = [(path, root / "masks" / "train" / f"{path.stem}.png") for path in images]
    return DataLoader(PlainData(pairs, True, size.side), size.batch, shuffle=True, drop_last=True)


def endless(batches: DataLoader[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from batches


def plain(size: Size, root: Path, device: torch.device) -> None:
    """A loop as in a tutorial."""
    net, loss_of = size.net().to(device), PlainLoss()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for image, mask in itertools.islice(endless(loader(size, root)), size.steps):
        loss = loss_of(net(image.to(device)), mask.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        note()


class Usual(LightningModule):
    """What many LightningModules look like."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.net, self.loss, self.iou = size.net(), PlainLoss(), BinaryJaccardIndex(ignore_index=255)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss and IoU of a batch, logged."""
        image, mask = batch
        logits = self.net(image)
        loss: Tensor = self.loss(logits, mask)
        self.iou(logits[:, 0], mask)
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True)
        self.log("train/iou", self.iou, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As the plain loop."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def usual(size: Size, root: Path, folder: str) -> None:
    """A Trainer with a logger and a bar."""
    trainer = Trainer(
        max_steps=size.steps,
        logger=TensorBoardLogger(folder),
        callbacks=[Clock()],
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(Usual(size), loader(size, root))


def measured(size: Size, root: Path, rounds: int) -> list[list[str]]:
    """A row for each way to train."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if size.net is tiny_net:  # whose step would be shorter than to read an image of the usual size
            root = small_images(Path(folder) / "small", size.side)
        else:
            root = first_images(root, Path(folder) / "first", size.batch * EPOCH)
        top, train = ceiling(size, device), partial(ours, size, root, folder)
        blocks = {
            "segtrain": train,
            "plain loop": partial(plain, size, root, device),
            "Lightning": partial(usual, size, root, folder),
        }
        if device.type == "cuda":
            blocks["ceiling"] = partial(repeated, top, size.steps)
        for turn in range(rounds):
            for name in list(blocks)[:: 1 - 2 * (turn % 2)]:
                taken.setdefault(name, []).append(statistics.median(steps(blocks[name], EPOCH)))
        ratios = {
            name: statistics.median(other / own for other, own in zip(times, taken["segtrain"], strict=True))
            for name, times in taken.items()
        }
        if device.type == "cpu":
            pairs = [pair for _ in range(rounds) for pair in turns(partial(train, clock="Turns"), top, EPOCH)]
            taken["ceiling"] = [other for _, other in pairs]
            ratios["ceiling"] = statistics.median(other / own for own, other in pairs)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return [
        [f"{size.name}: {name}", f"{size.batch / medians[name]:.1f}", f"{1e3 * medians[name]:.2f}", f"{ratio:.2f}"]
        for name, ratio in ratios.items()
    ]


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="the beginning of a size's name")
    parser.add_argument("--print-only", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = [size for size in SIZES if size.name.startswith(given.only or "")]
    rows = [row for size in chosen for row in measured(size, given.root, given.rounds)]
    table = markdown(["", "images a second", "step, ms", "segtrain is faster by"], rows)
    print(table)
    if not given.print_only:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        text = INTRODUCTION.format(rounds=given.rounds)
        write_section("train", f"{text}\n\n{setting(PACKAGES, COMMAND, device)}\n\n{table}")


if __name__ == "__main__":
    main()

"""Times loading beside a plain data set, and shows memory beside the number of images; writes docs/benchmarks.md.

    python scripts/bench_data.py data/nuclei

Takes a folder with images/<split>/ and masks/<split>/ (single-channel masks of 0 and 255). Three minutes on one core.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from measure import interleaved, markdown, setting, write_section
from plain_aug import ALBUMENTATIONS
from torch.utils.data import DataLoader, Dataset

from segtrain.augment import build_augmentation
from segtrain.build import plain
from segtrain.cli.compose import compose
from segtrain.data.files import FileData
from segtrain.data.listing import Listing
from segtrain.datamodule import SegmentationDataModule
from segtrain.layouts.folder import FolderLayout

BATCH, CROP, IMAGES = 8, 128, 200
ROUNDS = 3
COUNTS = (100, 1_000, 10_000, 100_000)
TASK = {"mode": "auto", "num_classes": None, "ignore_index": 255}
INTRODUCTION = """## Data

Loading of {images} images of 256 x 256 pixels and more, one epoch of batches of {batch}, crops of {crop}, augmentation
`light` (mirror, affine, brightness), in this process. Plain: a data set that reads with OpenCV, Albumentations with
the same crop and ops, and torch's loader; "normalized" divides by mean and deviation on the host, as such scripts do
(ours leaves that to the net). A warm cache has seen all images before."""


class PlainData(Dataset[Any]):
    """What many training scripts have: read both files, Albumentations, tensors."""

    def __init__(self, pairs: list[tuple[Path, Path]], normalized: bool, side: int = CROP) -> None:
        self.pairs = pairs
        host = [A.Normalize()] if normalized else []
        crop = [A.PadIfNeeded(side, side), A.RandomCrop(side, side)]
        self.transform = A.Compose([*crop, *ALBUMENTATIONS["light"](), *host, ToTensorV2()])

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        image = cv2.cvtColor(cv2.imread(str(self.pairs[index][0])), cv2.COLOR_BGR2RGB)
        mask = (cv2.imread(str(self.pairs[index][1]), cv2.IMREAD_GRAYSCALE) > 0).astype(np.uint8)
        made = self.transform(image=image, mask=mask)
        return made["image"], made["mask"].long()


@dataclass(frozen=True)
class Few:
    """The first images of a folder, or so many times over as wanted. Implements Layout."""

    number: int

    def find(self, root: Path) -> Listing:
        """A listing of `number` items; beyond the real ones they are repetitions of other names."""
        listing = FolderLayout().find(root)
        real = [item for item in listing.items if item.split == "train"][:IMAGES]
        repeated = [replace(real[i % len(real)], id=f"{i:06}_{real[i % len(real)].id}") for i in range(self.number)]
        return Listing([*repeated, *(item for item in listing.items if item.split == "val")])


def ours(root: Path, cache: str, folder: Path) -> Callable[[], None]:
    """One epoch of our loader, the next one at each call."""
    source = FileData(str(root), Few(IMAGES), cache=cache, cache_dir=str(folder), scan_dir=str(folder)).open(TASK)
    ops = plain(compose("train", ["aug=light"])[0].aug.train)
    augmentation = build_augmentation(ops, CROP, 255)
    data = SegmentationDataModule(source, augmentation, 1, BATCH, (CROP, CROP), 0)
    loader: Any = data.train_dataloader()
    epochs = iter(range(10**6))

    def epoch() -> None:
        loader.sampler.set_epoch(next(epochs))
        exhaust(loader)

    return epoch


def exhaust(loader: Iterable[Any]) -> None:
    """Load everything."""
    for _ in loader:
        pass


def loading(root: Path) -> str:
    """The table of throughput."""
    pairs = [(item.image, item.label.files[0]) for item in Few(IMAGES).find(root).items if item.split == "train"]
    with tempfile.TemporaryDirectory() as folder:
        variants: dict[str, Callable[[], None]] = {}
        for name, normalized in (("plain, normalized", True), ("plain", False)):
            plain = DataLoader(PlainData(pairs, normalized), BATCH, shuffle=True, drop_last=True)
            variants[name] = lambda loader=plain: exhaust(loader)  # type: ignore[misc]
        for cache in ("none", "ram", "disk"):
            variants[f"segtrain, data.cache={cache}" + (", warm" * (cache != "none"))] = ours(root, cache, Path(folder))
        times = interleaved(variants, ROUNDS)
    rows = [
        [name, f"{1e3 * IMAGES / ms:.0f}", f"{times['plain, normalized'] / ms:.2f}", f"{times['plain'] / ms:.2f}"]
        for name, ms in times.items()
    ]
    return markdown(["one core", "images / s", "x plain, normalized", "x plain"], rows)


def memory(root: Path) -> str:
    """The table of memory: each number of images in a process of its own."""
    rows = []
    for number in COUNTS:
        done = subprocess.run(
            [sys.executable, __file__, str(root), str(number)], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append([f"{number:,}", f"{found['resident']:.0f}", f"{found['peak']:.0f}", f"{found['seconds']:.1f}"])
    heads = ["images in the listing", "resident MiB", "peak MiB", "seconds to open"]
    return markdown(heads, rows)


def measure_memory(root: Path, number: int) -> None:
    """Print what a process needs that has opened so many images and loaded 25 batches."""
    import resource
    import time

    started = time.perf_counter()
    source = FileData(str(root), Few(number), cache_gb=0.1).open(TASK)
    seconds = time.perf_counter() - started
    augmentation = build_augmentation({}, CROP, 255)
    loader = SegmentationDataModule(source, augmentation, 1, BATCH, (CROP, CROP), 0).train_dataloader()
    for step, _ in enumerate(loader):
        if step == 25:
            break
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * resource.getpagesize() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"resident": resident, "peak": peak, "seconds": seconds}))


def main() -> None:
    """Measure and write the tables."""
    root = Path(sys.argv[1])
    if len(sys.argv) > 2:
        measure_memory(root, int(sys.argv[2]))
        return
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    where = setting(("torch", "albumentations", "opencv-python-headless"), "python scripts/bench_data.py FOLDER", "cpu")
    text = "\n\n".join(
        [INTRODUCTION.format(images=IMAGES, batch=BATCH, crop=CROP), loading(root),
         "Memory of a process that has opened a data set (real files, named many times over) and loaded 25 batches:",
         memory(root), where]
    )  # fmt: skip
    write_section("data", text)
    print(text)


if __name__ == "__main__":
    main()

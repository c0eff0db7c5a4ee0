"""Trains on a few images with and without augmentation, over several seeds; prints the table of docs/augmentation.md.

    python scripts/few_images.py data/nuclei outputs/few

Takes a folder with images/<split>/ and masks/<split>/; twenty training images, which come 4 times an epoch, and 24
validation images are drawn by each seed, all test images are scored. Half an hour on two cores.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from pathlib import Path

from measure import markdown

TRAIN, VAL, TIMES, EPOCHS, SEEDS = 20, 24, 4, 50, (1, 2, 3)
PIPELINES = ("none", "heavy")
SETTINGS = ("loss=dice_bce", f"epochs={EPOCHS}", "~callbacks.pictures")


def few(root: Path, folder: Path, seed: int) -> Path:
    """A folder of links to the images that a seed draws."""
    for split, number in (("train", TRAIN), ("val", VAL), ("test", None)):
        files = sorted((root / "images" / split).iterdir())
        for file in random.Random(seed).sample(files, number) if number else files:
            for kind, source in (("images", file), ("masks", root / "masks" / split / f"{file.stem}.png")):
                (folder / kind / split).mkdir(parents=True, exist_ok=True)
                for copy in range(TIMES if split == "train" else 1):
                    (folder / kind / split / f"{copy}_{source.name}").symlink_to(source.resolve())
    return folder


def dice(data: Path, output: Path, aug: str, seed: int) -> float:
    """Test Dice of a training."""
    words = ["data=folder", f"data.root={data}", *SETTINGS, f"aug={aug}", f"seed={seed}", f"output_dir={output}"]
    subprocess.run([sys.executable, "-m", "segtrain", "train", *words], check=True, stdout=subprocess.DEVNULL)
    return float(json.loads((output / "latest" / "summary.json").read_text())["test"]["dice"])


def main() -> None:
    """Train all, print the table."""
    root, output = Path(sys.argv[1]), Path(sys.argv[2])
    if output.exists():
        sys.exit(f"{output} is there already; remove it, or name another folder")
    found: dict[str, list[float]] = {aug: [] for aug in PIPELINES}
    for seed in SEEDS:
        data = few(root, output / f"data{seed}", seed)
        for aug in PIPELINES:
            found[aug].append(dice(data, output / f"{aug}{seed}", aug, seed))
            print(f"seed {seed} aug={aug}: {found[aug][-1]:.4f}", flush=True)
    rows = [
        [aug, *(f"{score:.3f}" for score in scores), f"{statistics.mean(scores):.3f}"] for aug, scores in found.items()
    ]
    print(markdown(["aug", *(f"seed {seed}" for seed in SEEDS), "mean"], rows))


if __name__ == "__main__":
    main()

"""Times augmentation beside pipelines written by hand, preset by preset and op by op; writes docs/benchmarks.md.

    python scripts/bench_aug.py data/nuclei

Takes a folder with images/<split>/ and masks/<split>/. Four minutes on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import plain_aug
import torch
from measure import interleaved, markdown, setting, write_section

from segtrain.augment import OPS, build_augmentation
from segtrain.augment.backends import find_backend
from segtrain.augment.ops import Stage
from segtrain.augment.style import STYLES
from segtrain.build import plain
from segtrain.cli.compose import compose

SIZE, IMAGES, ROUNDS = 512, 40, 7
PRESETS = ("light", "medium", "heavy", "geometric", "color", "noise", "erase", "light + noise")
CLASSES: Mapping[str, Any] = {
    "hflip": lambda: A.HorizontalFlip(p=1),
    "d4": lambda: A.D4(p=1),
    "rotate": lambda: A.Rotate((-30, 30), p=1),
    "affine": lambda: A.Affine(rotate=(-30, 30), scale=(0.8, 1.25), p=1),
    "crop": lambda: A.RandomResizedCrop((SIZE, SIZE), (0.4, 1), p=1),
    "perspective": lambda: A.Perspective((0.02, 0.1), p=1),
    "elastic": lambda: A.ElasticTransform(80, 8, p=1),
    "grid": lambda: A.GridDistortion(5, 0.2, p=1),
    "brightness": lambda: A.RandomBrightnessContrast(0.2, 0, p=1),
    "contrast": lambda: A.RandomBrightnessContrast(0, 0.2, p=1),
    "gamma": lambda: A.RandomGamma((70, 140), p=1),
    "channel_drop": lambda: A.ChannelDropout(p=1),
    "channel_shuffle": lambda: A.ChannelShuffle(p=1),
    "hue": lambda: A.HueSaturationValue(5, 0, 0, p=1),
    "saturation": lambda: A.HueSaturationValue(0, 30, 0, p=1),
    "grey": lambda: A.ToGray(p=1),
    "invert": lambda: A.InvertImg(p=1),
    "posterize": lambda: A.Posterize((4, 8), p=1),
    "solarize": lambda: A.Solarize((0.5, 1), p=1),
    "autocontrast": lambda: A.AutoContrast(p=1),
    "equalize": lambda: A.Equalize(p=1),
    "clahe": lambda: A.CLAHE((1, 3), p=1),
    "noise": lambda: A.GaussNoise(std_range=(0.01, 0.05), p=1),
    "salt_pepper": lambda: A.SaltAndPepper((0.001, 0.02), p=1),
    "speckle": lambda: A.MultiplicativeNoise((0.8, 1.2), per_channel=True, elementwise=True, p=1),
    "blur": lambda: A.GaussianBlur(sigma_limit=(0.3, 1.5), p=1),
    "motion_blur": lambda: A.MotionBlur((3, 9), p=1),
    "sharpen": lambda: A.Sharpen(p=1),
    "fog": lambda: A.RandomFog(fog_coef_range=(0.1, 0.4), p=1),
    "rain": lambda: A.RandomRain(p=1),
    "jpeg": lambda: A.ImageCompression(quality_range=(40, 90), p=1),
    "low_resolution": lambda: A.Downscale((0.4, 0.9), p=1),
    "erase": lambda: A.CoarseDropout((1, 1), (0.15, 0.3), (0.15, 0.3), p=1),
    "cutout": lambda: A.CoarseDropout((1, 3), (12, 32), (12, 32), p=1),
    "grid_drop": lambda: A.GridDropout(0.4, unit_size_range=(24, 48), p=1),
}
INTRODUCTION = """## Augmentation

Image (3 channels of 8 bits) and mask of {size} x {size} pixels, {images} images of the nuclei, on one core; the time of
a whole call, in which each op is applied with its own chance. By hand: the same ops, ranges and chances with
Albumentations or with torchvision's transforms v2 (which has no fog, grid distortion or low resolution), as in
`scripts/plain_aug.py`."""
OPS_TEXT = """Milliseconds of each op, applied always, on such images (with the mask): ours with either backend, and
Albumentations' class of that kind. A pixel op costs what stands here; shapes that come together are one look-up,
whatever their number. `fog`, `rain` and `elastic` are made in another way than Albumentations', and look different."""


def samples(root: Path) -> list[tuple[Any, Any]]:
    """Images and masks, as large as wanted."""
    files = sorted((root / "images" / "train").iterdir())[:IMAGES]
    pairs = []
    for file in files:
        image = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        mask = (cv2.imread(str(root / "masks" / "train" / f"{file.stem}.png"), cv2.IMREAD_GRAYSCALE) > 0).astype(
            "uint8"
        )
        size = (SIZE, SIZE)
        pairs.append((cv2.resize(image, size), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)))
    return pairs


def all_of(pairs: list[tuple[Any, Any]], call: Callable[..., Any], seeded: bool) -> Callable[[], None]:
    """A call on each sample; ours with another seed each time."""
    seeds = count()

    def run() -> None:
        for image, mask in pairs:
            call(image, mask, next(seeds)) if seeded else call(image, mask)

    return run


def ours(preset: str, backend: str = "albumentations") -> Any:
    """A preset, or several joined by +."""
    config = plain(compose("train", [f"aug={preset.replace(' ', '')}", f"crop={SIZE}"])[0].aug)
    del config["_target_"]
    return build_augmentation(**{**config, "backend": backend})


def presets(pairs: list[tuple[Any, Any]]) -> str:
    """The table of presets."""
    rows, shown = [], {}
    for name in PRESETS:
        variants = {
            "ours": all_of(pairs, ours(name), True),
            "albumentations": all_of(pairs, plain_aug.albumentations(name), False),
        }
        if name in plain_aug.TORCHVISION:
            variants["torchvision"] = all_of(pairs, plain_aug.torchvision(name), False)
            variants["ours, torchvision"] = all_of(pairs, ours(name, "torchvision"), True)
        shown[name] = {key: value / IMAGES for key, value in interleaved(variants, ROUNDS).items()}
        rows.append([name, *_row(shown[name])])
    heads = [
        "aug",
        "ms",
        "images / s",
        "x Albumentations by hand",
        "x torchvision by hand",
        "ms, aug.backend=torchvision",
    ]
    ratio = shown["heavy"]["ours"] / shown["light + noise"]["ours"]
    return markdown(heads, rows) + f"\n\n`heavy` takes {ratio:.2f} x the time of `light+noise`."


def _row(times: Mapping[str, float]) -> list[str]:
    own = times["ours"]
    return [
        f"{own:.2f}",
        f"{1e3 / own:.0f}",
        f"{times['albumentations'] / own:.2f}",
        f"{times['torchvision'] / own:.1f}" if "torchvision" in times else "",
        f"{times['ours, torchvision']:.1f}" if "ours, torchvision" in times else "",
    ]


def ops(pairs: list[tuple[Any, Any]], references: Path) -> str:
    """The table of ops."""
    rows, few = [], pairs[:10]
    lacking = find_backend("torchvision").pixels
    for name, op in OPS.items():
        config: dict[str, Any] = {"op": name, **({"folder": str(references)} if name in STYLES else {})}
        variants = {}
        for backend in ("albumentations", "torchvision"):
            if op.stage is not Stage.PIXEL or name in lacking or backend == "albumentations":
                augmentation = build_augmentation({"x": config}, SIZE, 255, backend)
                augmentation.check(3)
                variants[backend] = all_of(few, augmentation, True)
        if name in CLASSES:
            compose_ = A.Compose([CLASSES[name]()])
            variants["plain"] = all_of(few, lambda image, mask, c=compose_: c(image=image, mask=mask), False)
        times = interleaved(variants, ROUNDS)
        columns = ("albumentations", "torchvision", "plain")
        rows.append([name, *(f"{times[key] / len(few):.2f}" if key in times else "" for key in columns)])
    return markdown(["op", "ms", "ms, aug.backend=torchvision", "ms, Albumentations' class"], rows)


def main() -> None:
    """Measure and write the tables."""
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pairs = samples(root)
    packages = ("albumentations", "torchvision", "opencv-python-headless", "numpy")
    where = setting(packages, "python scripts/bench_aug.py FOLDER", "cpu")
    text = "\n\n".join(
        [
            INTRODUCTION.format(size=SIZE, images=IMAGES),
            presets(pairs),
            OPS_TEXT,
            ops(pairs, root / "images" / "val"),
            where,
        ]
    )
    write_section("aug", text)
    print(text)


if __name__ == "__main__":
    main()

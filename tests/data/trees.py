"""Small data sets in the arrangements that people have, written file by file, with the arrays they must give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.files import Bytes, noise

SIDE = 34
Written = dict[str, tuple[Bytes, Bytes]]  # (image, ids of the mask) by "<split>/<id>"
NAMES: Mapping[str, Sequence[str]] = {"train": ("a", "b c", "d.1"), "val": ("e", "f"), "test": ("g",)}


def array_pair(seed: int, ids: Sequence[int]) -> tuple[Bytes, Bytes]:
    """Smooth enough for JPEG: one colour an image; each of the ids somewhere in the mask."""
    color = np.random.default_rng(seed).integers(0, 256, 3, dtype=np.uint8)
    mask = np.random.default_rng(seed).choice(ids, (SIDE, SIDE)).astype(np.uint8)
    mask.flat[: len(ids)] = ids
    return np.broadcast_to(color, (SIDE, SIDE, 3)).copy(), mask


def save(path: Path, array: Bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **({"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}))


def write(
    root: Path,
    place: Callable[[str, str], tuple[str, str]],
    ids: Sequence[int] = (0, 255),
    names: Mapping[str, Sequence[str]] = NAMES,
) -> Written:
    """Write a pair for each name.

    Args:
        root: the folder.
        place: from split and name to the paths of image and mask below it.
        ids: of the masks.
        names: of each split.
    """
    written: Written = {}
    for split, members in names.items():
        for name in members:
            image, mask = array_pair(len(written), ids)
            paths = place(split, name)
            save(root / paths[0], image)
            save(root / paths[1], mask)
            with Image.open(root / paths[0]) as stored:
                written[f"{split}/{name}"] = (np.asarray(stored.convert("RGB")), mask)
    return written


def folder(root: Path) -> Written:
    return write(root, lambda split, name: (f"images/{split}/{name}.png", f"masks/{split}/{name}.png"))


def listed_folder(root: Path) -> Written:
    """Lists of names beside folders without splits."""
    written = write(root, lambda _, name: (f"images/{name}.jpg", f"masks/{name}.png"))
    (root / "splits").mkdir()
    for split, members in NAMES.items():
        (root / "splits" / f"{split}.txt").write_text("".join(f"{name}\n" for name in members))
    return written


def table(root: Path) -> Written:
    written = write(root, lambda split, name: (f"scans/{split}/{name}.jpg", f"gt/{split}/{name}.png"))
    rows = [f"scans/{key}.jpg,gt/{key}.png,{key.split('/')[0]}\n" for key in written]
    (root / "pairs.csv").write_text("image,mask,split\n" + "".join(rows))
    return {f"{key.split('/')[0]}/scans/{key}": pair for key, pair in written.items()}


def voc(root: Path) -> Written:
    """All 21 classes and the void of the borders, as palette PNGs."""
    base = root / "VOCdevkit" / "VOC2012"
    place = lambda _, name: (f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png")  # noqa: E731
    names = {split: [f"2007_{split}{name[0]}" for name in members] for split, members in NAMES.items()}
    written = write(base, place, [*range(21), 255], names)
    for key, (_, mask) in written.items():
        coloured = Image.fromarray(mask, "P")
        coloured.putpalette(bytes(range(256)) * 3)
        coloured.save(base / "SegmentationClass" / f"{key.split('/')[1]}.png")
    for split, members in names.items():
        path = base / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in members))
    save(base / "JPEGImages" / "2007_unlabelled.jpg", noise(0, SIDE, SIDE))
    return written


def cityscapes(root: Path, kind: str = "labelIds", ids: Sequence[int] = tuple(range(34))) -> Written:
    """Every id in every mask."""

    def place(split: str, name: str) -> tuple[str, str]:
        city = name.split("_")[0]
        label = f"gtFine/{split}/{city}/{name}_gtFine_{kind}.png"
        return f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", label

    names = {"train": ["aachen_000000_000019", "bochum_000000_000600"], "val": ["munster_1_2"], "test": ["bonn_1_2"]}
    return write(root, place, ids, names)


def pet(root: Path) -> Written:
    base = root / "oxford-iiit-pet"
    place = lambda _, name: (f"images/{name}.jpg", f"annotations/trimaps/{name}.png")  # noqa: E731
    names = {
        "trainval": [f"{breed}_{i}" for breed in ("Abyssinian", "great_pyrenees") for i in (1, 10, 2, 3, 4, 5)],
        "test": ["Abyssinian_6", "great_pyrenees_7"],
    }
    written = write(base, place, (1, 2, 3), names)
    for split, members in names.items():
        lines = [f"{name} {1 + ('great' in name)} {1 + ('great' in name)} 1\n" for name in members]
        (base / "annotations" / f"{split}.txt").write_text("".join(lines))
    return written


# the options of `data` that read files, each with what writes a data set for it
TREES: Mapping[str, Callable[[Path], Written]] = {
    "folder": folder,
    "csv": table,
    "voc": voc,
    "cityscapes": cityscapes,
    "pet": pet,
}

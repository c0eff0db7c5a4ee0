"""`data=pet`: the Oxford-IIIT Pet data set, as torchvision downloads it: pets against the background."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from segtrain import checks
from segtrain.data.classes import Declared, FileClass
from segtrain.data.listing import Listing
from segtrain.errors import UserError
from segtrain.layouts.lists import Line, pair_lines, read_list

PET, BACKGROUND, BORDER = 1, 2, 3  # ids of the trimaps
FOLDER = "oxford-iiit-pet"
DOWNLOAD = "torchvision.datasets.OxfordIIITPet({root!r}, target_types='segmentation', download=True)"


@dataclass(frozen=True)
class PetLayout:
    """images/*.jpg, annotations/trimaps/*.png and the lists of trainval and test. Implements Layout.

    Of the trainval images of each breed, in the order of their names, every `val_every`-th is a val image.

    Args:
        border: ignore (the outline carries no label) or class (a third class).
        val_every: at least 2.
    """

    border: str = "ignore"
    val_every: int = 5

    def find(self, root: Path) -> Listing:
        """The images of both lists.

        Raises:
            UserError: a part is missing.
        """
        border = checks.choice("data.layout.border", self.border, ("ignore", "class"))
        every = checks.whole("data.layout.val_every", self.val_every, 2)
        folder = _folder(root)
        lists = {name: folder / "annotations" / f"{name}.txt" for name in ("trainval", "test")}
        lines = [line for name, path in lists.items() for line in read_list(path, name)]
        named = [replace(line, name=line.name.split()[0]) for line in lines]
        masks = folder / "annotations" / "trimaps"
        items, faults = pair_lines(
            divided(named, every), lambda name: (folder / "images" / f"{name}.jpg", masks / f"{name}.png")
        )
        note = f"Oxford-IIIT Pet; val is each {every}th trainval image of a breed, by name"
        return Listing(items, faults, declared(border), [note])


def divided(lines: list[Line], every: int) -> list[Line]:
    """The lines with the splits train, val and test in place of trainval and test."""
    counted: dict[str, int] = {}
    result = []
    for line in sorted(lines, key=lambda line: line.name):
        if line.split == "trainval":
            breed = line.name.rpartition("_")[0]
            counted[breed] = counted.get(breed, 0) + 1
            line = replace(line, split="val" if counted[breed] % every == 0 else "train")
        result.append(line)
    return result


def _folder(root: Path) -> Path:
    """The root or oxford-iiit-pet in it.

    Raises:
        UserError: neither holds the data.
    """
    for folder in (root, root / FOLDER):
        if (folder / "annotations" / "trimaps").is_dir():
            for path in (folder / "images", *(folder / "annotations" / f"{name}.txt" for name in ("trainval", "test"))):
                if not path.exists():
                    raise UserError(f"{path}: not found; download it again with {DOWNLOAD.format(root=str(root))}")
            return folder
    raise UserError(
        f"{root}: no annotations/trimaps there or in {FOLDER}; download it with {DOWNLOAD.format(root=str(root))}"
    )


def declared(border: str) -> Declared:
    """Background comes first: in a binary task the second class is what is looked for."""
    classes = [FileClass(BACKGROUND, "background"), FileClass(PET, "pet")]
    if border == "ignore":
        return Declared(classes, {BORDER}, origin="Oxford-IIIT Pet")
    return Declared([*classes, FileClass(BORDER, "border")], origin="Oxford-IIIT Pet")

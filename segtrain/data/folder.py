"""`data=folder`: images in images/<split>/, masks of the same stem in masks/<split>/.

root/images/train/a.jpg    root/masks/train/a.png    (val and test likewise; test may be missing)
root/dataset.json or root/classes.txt                (optional: class ids, names, colours, ignored ids)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segtrain.data.listing import SPLITS, Item, Listing, MaskFile
from segtrain.data.masks import MASK_SUFFIXES
from segtrain.data.readers import IMAGE_SUFFIXES
from segtrain.errors import UserError


@dataclass(frozen=True)
class FolderLayout:
    """Split folders below images/ and masks/. Implements Layout."""

    def find(self, root: Path) -> Listing:
        """Match images and masks by stem in each split; a file without its partner and an empty split are faults.

        Raises:
            UserError: a missing folder.
        """
        items: list[Item] = []
        faults: list[str] = []
        for split in SPLITS:
            images, masks = root / "images" / split, root / "masks" / split
            if split == "test" and not images.is_dir():
                continue
            for folder in (images, masks):
                if not folder.is_dir():
                    raise UserError(f"{folder}: no such folder; data=folder needs images/{split} and masks/{split}")
            found, unmatched = match(images, masks, split)
            items += found
            faults += unmatched
        return Listing(items, faults)


def match(images: Path, masks: Path, split: str) -> tuple[list[Item], list[str]]:
    """Images and masks of the same stem, by name, and a sentence for each file without its partner."""
    by_stem = [_by_stem(folder, suffixes) for folder, suffixes in ((images, IMAGE_SUFFIXES), (masks, MASK_SUFFIXES))]
    faults = [fault for _, found in by_stem for fault in found]
    image_of, mask_of = (files for files, _ in by_stem)
    if not image_of:
        faults.append(f"{images}: no images ({', '.join(IMAGE_SUFFIXES)})")
    faults += [f"{image_of[s]}: no mask {masks / s}.png" for s in sorted(image_of.keys() - mask_of.keys())]
    faults += [f"{mask_of[s]}: no image {images / s}.*" for s in sorted(mask_of.keys() - image_of.keys())]
    both = sorted(image_of.keys() & mask_of.keys())
    return [Item(stem, image_of[stem], MaskFile(mask_of[stem]), split) for stem in both], faults


def _by_stem(folder: Path, suffixes: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (*suffixes, *IMAGE_SUFFIXES) and p.name[0] != ".")
    found = {path.stem: path for path in files}
    others = [path for path in files if found[path.stem] != path]
    return found, [f"{path}: stands there twice, as {found[path.stem].name} too; remove one" for path in others]

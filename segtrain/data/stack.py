"""`data=stack`: multi-page TIFF, each page an image, with the page of the same number of another file as its mask.

root/images/train.tif        root/masks/train.tif          (one stack per split; val and test likewise)
root/images/train/a.tif      root/masks/train/a.tif        (or several, of the same stems)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segtrain.data.folder import match
from segtrain.data.listing import SPLITS, Item, Listing, MaskFile
from segtrain.data.tiffhead import page_numbers
from segtrain.errors import UserError

SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True)
class StackLayout:
    """Stacks of images beside stacks of masks. Implements Layout."""

    def find(self, root: Path) -> Listing:
        """Match stacks by split or by stem, and their pages by number; stacks of unequal length are faults.

        Slices of one stack are a group: they are alike.

        Raises:
            UserError: no stacks of a split that training needs.
        """
        items: list[Item] = []
        faults: list[str] = []
        for split in SPLITS:
            stacks, unmatched = find_stacks(root, split)
            if not stacks and not unmatched and split != "test":
                raise UserError(
                    f"{root}: no {split} stacks; data=stack needs images/{split}.tif and masks/{split}.tif, or folders "
                    f"images/{split} and masks/{split} with stacks of the same stems"
                )
            faults += unmatched
            for name, image, mask in stacks:
                try:
                    items += slices(name, image, mask, split)
                except UserError as error:
                    faults.append(str(error))
        return Listing(items, faults)


def find_stacks(root: Path, split: str) -> tuple[list[tuple[str, Path, Path]], list[str]]:
    """(name, stack of images, stack of masks) of a split, and a sentence for each stack without its partner."""
    images, masks = root / "images" / split, root / "masks" / split
    if images.is_dir() and masks.is_dir():
        found, faults = match(images, masks, split)
        return [(item.id, item.image, item.label.files[0]) for item in found], faults
    image, mask = (_stack(folder) for folder in (images, masks))
    if image is not None and mask is not None:
        return [(split, image, mask)], []
    if image is None and mask is None:
        return [], []
    return [], [f"{image or mask}: no stack of the same name in {masks.parent if image else images.parent}"]


def _stack(folder: Path) -> Path | None:
    """The stack that stands in place of a folder."""
    candidates = [folder.with_name(folder.name + suffix) for suffix in SUFFIXES]
    return next((path for path in candidates if path.is_file()), None)


def slices(name: str, image: Path, mask: Path, split: str) -> list[Item]:
    """The pages of a stack with those of its mask.

    Raises:
        UserError: damaged, or not as many.
    """
    pages, labels = page_numbers(image), page_numbers(mask)
    if len(pages) != len(labels):
        raise UserError(f"{mask}: {len(labels)} pages, but its images have {len(pages)}; they must have as many")
    digits = len(str(len(pages)))
    return [
        Item(f"{name}_{number:0{digits}}", image, MaskFile(mask, label), split, group=f"{split}/{name}", page=page)
        for number, (page, label) in enumerate(zip(pages, labels, strict=True))
    ]

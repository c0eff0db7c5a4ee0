"""`data=stack`: multi-page TIFF, each page an image, with the page of the same number of another file as its mask.

root/images/train.tif        root/masks/train.tif          (one stack per split; val and test likewise)
root/images/train/a.tif      root/masks/train/a.tif        (or several, of the same stems)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segtrain.data.listing import SPLITS, Item, Listing, MaskFile
from segtrain.decode.tiffhead import page_numbers
from segtrain.errors import UserError
from segtrain.layouts.folder import FolderLayout

SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True)
class StackLayout:
    """Stacks of images beside stacks of masks. Implements Layout."""

    def find(self, root: Path) -> Listing:
        """Match stacks by split or by stem, and their pages by number; stacks of unequal length are faults.

        Slices of one stack are a group: they are alike.

        Raises:
            UserError: no stacks.
        """
        stacks, faults = single_stacks(root)
        if not stacks and not faults:
            if not (root / "images").is_dir() or not any(path.is_dir() for path in (root / "images").iterdir()):
                raise UserError(
                    f"{root}: no train stacks; data=stack needs images/train.tif and masks/train.tif, or folders "
                    "images/train and masks/train with stacks of the same stems"
                )
            listing = FolderLayout("images/{split}", "masks/{split}").find(root)
            faults = list(listing.faults)
            stacks = [(item.split, item.id, item.image, item.label.files[0]) for item in listing.items]
        items: list[Item] = []
        for split, name, image, mask in stacks:
            try:
                items += slices(name, image, mask, split)
            except UserError as error:
                faults.append(str(error))
        return Listing(items, faults)


def single_stacks(root: Path) -> tuple[list[tuple[str, str, Path, Path]], list[str]]:
    """(split, name, images, masks) where each split is one file, and a sentence for each file without its partner."""
    stacks, faults = [], []
    for split in SPLITS:
        image, mask = _stack(root / "images" / split), _stack(root / "masks" / split)
        if image is not None and mask is not None:
            stacks.append((split, split, image, mask))
        elif image is not None or mask is not None:
            lacking = root / ("masks" if image else "images")
            faults.append(f"{image or mask}: no stack of the same name in {lacking}")
    return stacks, faults


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

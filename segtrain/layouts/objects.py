"""`data=objects`: a folder for each image, with a mask file for each object, as in the Data Science Bowl 2018.

root/train/ab12/images/ab12.png  root/train/ab12/masks/1.png, 2.png, ...     (val and test likewise)

Ids: 0 background, 1 object; 2 where two objects touch, if it is a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from segtrain import checks
from segtrain.data.classes import Declared, FileClass
from segtrain.data.listing import Item, Listing
from segtrain.data.raster import GROUND, Bits
from segtrain.decode.masks import MASK_SUFFIXES, IdArray, MaskRules, read_mask
from segtrain.decode.readers import IMAGE_SUFFIXES
from segtrain.errors import UserError
from segtrain.layouts.annotations import split_folders
from segtrain.task import IGNORE

OBJECT, TOUCHING = 1, 2
IDS = {"none": OBJECT, "class": TOUCHING, "ignore": IGNORE}  # of pixels where objects touch


@dataclass(frozen=True)
class ObjectsLayout:
    """One folder per image, one mask per object. Implements Layout.

    Args:
        touching: what an object's pixel is that has another object's pixel among its 8 neighbours (or in itself):
            "none" (object, like the rest), "class" (a class of its own, 2) or "ignore".

    Raises:
        UserError: an unknown word.
    """

    touching: str = "none"

    def __post_init__(self) -> None:
        checks.choice("data.layout.touching", self.touching, IDS)

    def find(self, root: Path) -> Listing:
        """Look for images and masks; a folder without one image or without masks is a fault.

        Raises:
            UserError: no such folder.
        """
        items: list[Item] = []
        faults: list[str] = []
        for split, folder in split_folders(root).items():
            for place in sorted(path.parent for path in folder.glob("*/images") if path.is_dir()):
                images, masks = _files(place / "images", IMAGE_SUFFIXES), _files(place / "masks", MASK_SUFFIXES)
                if len(images) != 1:
                    faults.append(f"{place / 'images'}: {len(images)} images, there must be one")
                elif not masks:
                    faults.append(f"{place / 'masks'}: no masks of objects ({', '.join(MASK_SUFFIXES)})")
                else:
                    items.append(Item(place.name, images[0], ObjectMasks(masks, self.touching), split))
        if not items and not faults:
            raise UserError(f"{root}: no folders <split>/<image>/images with masks beside, as data=objects needs")
        classes = [FileClass(GROUND, "background"), FileClass(OBJECT, "object")]
        classes += [FileClass(TOUCHING, "touching")] if self.touching == "class" else []
        return Listing(items, faults, Declared(classes, frozenset({IGNORE}), origin="data=objects"))


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")


@dataclass(frozen=True)
class ObjectMasks:
    """Mask files of the objects of one image. Implements Label.

    Args:
        masks: at least one file; its two values are outside (0) and inside.
        touching: as ObjectsLayout.touching.
    """

    masks: Sequence[Path]
    touching: str

    @property
    def files(self) -> Sequence[Path]:
        """All of them."""
        return self.masks

    @property
    def settings(self) -> str:
        """What touching pixels are."""
        return self.touching

    def read(self, size: tuple[int, int], rules: MaskRules) -> IdArray:
        """Ids as IDS; see Label.read."""
        numbers = np.zeros(size, dtype=np.int32)
        shared = np.zeros(size, dtype=bool)
        for number, path in enumerate(self.masks, 1):
            bits = self._bits(path, size, rules)
            shared |= bits & (numbers > 0)
            numbers[bits] = number
        ids = np.where(numbers > 0, np.uint8(OBJECT), np.uint8(GROUND))
        if self.touching != "none":
            ids[shared | touches(numbers)] = IDS[self.touching]
        return ids

    def _bits(self, path: Path, size: tuple[int, int], rules: MaskRules) -> Bits:
        mask = read_mask(path, rules)
        if mask.shape != size:
            raise UserError(
                f"{path}: {mask.shape[1]} x {mask.shape[0]} pixels, but its image has {size[1]} x {size[0]}; "
                "they must have one size"
            )
        values = np.unique(mask).tolist()
        if len({0, *values}) > 2:
            raise UserError(f"{path}: holds the values {values[:10]}; the mask of one object has 0 and one other")
        return mask > 0


def touches(numbers: IdArray) -> Bits:
    """Where an object's pixel has another object's among its 8 neighbours.

    Args:
        numbers: of the object at each pixel, [H, W]; 0 where there is none.
    """
    window = np.ones((3, 3), dtype=bool)
    others = np.where(numbers > 0, numbers, np.iinfo(np.int32).max)
    highest = ndimage.grey_dilation(numbers, footprint=window, mode="nearest")
    lowest = ndimage.grey_erosion(others, footprint=window, mode="nearest")
    found: Bits = (numbers > 0) & ((highest != numbers) | (lowest != numbers))
    return found

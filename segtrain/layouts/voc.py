"""`data=voc`: Pascal VOC, as it is downloaded: JPEGImages, SegmentationClass, ImageSets/Segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segtrain.data.classes import Declared, FileClass
from segtrain.data.listing import SPLITS, Listing
from segtrain.errors import UserError
from segtrain.layouts.lists import pair_lines, read_list
from segtrain.task import IGNORE, Color

IMAGES, MASKS, LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
DOWNLOAD = "torchvision.datasets.VOCSegmentation({root!r}, year='2012', download=True)"


@dataclass(frozen=True)
class VocLayout:
    """VOC's lists, images and palette masks. Implements Layout."""

    def find(self, root: Path) -> Listing:
        """The images of train.txt and val.txt, and of test.txt where it is there.

        Raises:
            UserError: a part is missing.
        """
        folder = _folder(root)
        lists = {split: folder / LISTS / f"{split}.txt" for split in SPLITS}
        lines = [line for split, path in lists.items() if path.is_file() for line in read_list(path, split)]
        items, faults = pair_lines(
            lines, lambda name: (folder / IMAGES / f"{name}.jpg", folder / MASKS / f"{name}.png")
        )
        return Listing(items, faults, DECLARED, [f"Pascal VOC in {folder.name}"])


def _folder(root: Path) -> Path:
    """The folder of one year, in the root, below VOCdevkit, or the root itself.

    Raises:
        UserError: none, or several.
    """
    places = [root, *sorted(root.glob("VOC20*")), *sorted(root.glob("VOCdevkit/VOC20*"))]
    places += sorted(root.glob("TrainVal/VOCdevkit/VOC20*"))
    found = [place for place in places if (place / MASKS).is_dir()]
    if len(found) == 1 and (found[0] / LISTS / "train.txt").is_file():
        return found[0]
    if len(found) > 1:
        raise UserError(f"{root}: several years are there; choose one with data.root={found[0]}")
    missing = found[0] / LISTS / "train.txt" if found else f"{root}/.../{MASKS}"
    raise UserError(f"{missing}: not found; download Pascal VOC with {DOWNLOAD.format(root=str(root))}")


def color_of(index: int) -> Color:
    """VOC's colour of a class: the id's bits, three by three, are the high bits of red, green and blue."""

    def level(channel: int) -> int:
        return sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))

    return level(0), level(1), level(2)


DECLARED = Declared(
    [FileClass(index, name, color_of(index)) for index, name in enumerate(NAMES)], {IGNORE}, origin="Pascal VOC"
)

"""`data=cityscapes`: Cityscapes with its 19 classes of evaluation, each city a group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segtrain import checks
from segtrain.data.classes import Declared, FileClass
from segtrain.data.listing import Item, Listing, MaskFile, in_order
from segtrain.errors import UserError
from segtrain.task import IGNORE, Color

IMAGES, MASKS, IMAGE_ENDING = "leftImg8bit", "gtFine", "_leftImg8bit.png"
KINDS = ("labelIds", "labelTrainIds")
LAST_ID = 33
# (name, its id in labelIds, colour); its id in labelTrainIds is its place here
CLASSES: tuple[tuple[str, int, Color], ...] = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)


@dataclass(frozen=True)
class CityscapesLayout:
    """leftImg8bit/<split>/<city>/ and gtFine/<split>/<city>/. Implements Layout.

    Args:
        labels: labelIds (34 ids, as downloaded) or labelTrainIds (19, as cityscapesScripts makes them); None: the
            first of them that is there. Both give the same 19 classes.
        test: whether test is read; the public labels of it are empty.
    """

    labels: str | None = None
    test: bool = False

    def find(self, root: Path) -> Listing:
        """The images of train and val, with their cities as groups.

        Raises:
            UserError: a folder is missing, or the labels asked for.
        """
        checks.flag("data.layout.test", self.test)
        for folder in (root / part / split for part in (IMAGES, MASKS) for split in ("train", "val")):
            if not folder.is_dir():
                raise UserError(
                    f"{folder}: no such folder; Cityscapes cannot be had through torchvision: register at "
                    "cityscapes-dataset.com, and unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip there"
                )
        kind = self._kind(root)
        splits = ("train", "val", "test") if self.test else ("train", "val")
        images = [(split, path) for split in splits for path in (root / IMAGES / split).glob(f"*/*{IMAGE_ENDING}")]
        pairs = [(split, image, _mask(root, split, image, kind)) for split, image in images]
        items = [_item(*pair) for pair in pairs if pair[2].is_file()]
        faults = [f"{image}: no mask {mask}" for _, image, mask in sorted(pairs) if not mask.is_file()]
        empty = [split for split in splits if split not in {split for split, _ in images}]
        faults += [f"{root / IMAGES / split}: no images (*/*{IMAGE_ENDING})" for split in empty]
        note = "" if self.test else "; without test, whose labels are not public (data.layout.test=true reads it)"
        return Listing(in_order(items), faults, declared(kind), [f"Cityscapes, {kind}{note}"])

    def _kind(self, root: Path) -> str:
        if self.labels is not None:
            return checks.choice("data.layout.labels", self.labels, KINDS)
        there = (kind for kind in KINDS if any(True for _ in (root / MASKS / "train").glob(f"*/*_gtFine_{kind}.png")))
        return next(there, KINDS[0])


def _mask(root: Path, split: str, image: Path, kind: str) -> Path:
    name = image.name.removesuffix(IMAGE_ENDING)
    return root / MASKS / split / image.parent.name / f"{name}_gtFine_{kind}.png"


def _item(split: str, image: Path, mask: Path) -> Item:
    return Item(image.name.removesuffix(IMAGE_ENDING), image, MaskFile(mask), split, image.parent.name)


def declared(kind: str) -> Declared:
    """The 19 classes, by their ids in files of that kind; all other ids are ignored."""
    ids = [index for _, index, _ in CLASSES] if kind == "labelIds" else range(len(CLASSES))
    classes = [FileClass(index, name, color) for index, (name, _, color) in zip(ids, CLASSES, strict=True)]
    rest = set(range(LAST_ID + 1)) - set(ids) if kind == "labelIds" else set()
    return Declared(classes, {*rest, IGNORE}, origin="Cityscapes")

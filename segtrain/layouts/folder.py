"""`data=folder`: images and masks in folders, in the arrangements that people really have.

root/images/train/a.jpg    root/masks/train/a.png        root/train/images/a.jpg    root/train/masks/a.png
root/train/a.png           root/trainannot/a.png         root/train/a.jpg           root/train/a_mask.png
root/images/a.jpg          root/masks/a.png              root/splits/train.txt

Which one it is, is found by the folders' names (detect.py) and the files' (naming.py); the settings say it outright.
Classes: dataset.json or classes.txt in the folder, see classes.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segtrain.data.declarations import read_declared
from segtrain.data.listing import Listing, in_order
from segtrain.errors import UserError
from segtrain.layouts import detect
from segtrain.layouts.advice import why_nothing
from segtrain.layouts.detect import Plan, make_plan
from segtrain.layouts.lists import find_lists
from segtrain.layouts.patterns import SPLIT, listed
from segtrain.layouts.piles import Pile, pair_all, pair_listed, read_piles

EXAMPLES = {"images": "imgs/{split}", "masks": "gt/{split}", "suffix": "_mask", "lists": "splits/{split}.txt"}


@dataclass(frozen=True)
class FolderLayout:
    """Images and masks in folders. Implements Layout. What is None is found.

    Args:
        images: folder or pattern of the images below the root, such as "imgs/{split}" or "{split}/*_rgb.png".
        masks: the same of the masks; the same text where masks lie among the images.
        suffix: what the masks' names have after those of the images, such as "_mask"; "" for nothing.
        lists: text files that name the images of each split, such as "splits/{split}.txt".
    """

    images: str | None = None
    masks: str | None = None
    suffix: str | None = None
    lists: str | None = None

    def find(self, root: Path) -> Listing:
        """Match images and masks; a file without its partner and an empty place are faults.

        Raises:
            UserError: nothing is found, or several arrangements.
        """
        self._check()
        plan = self._plan(root)
        piles = read_piles(root, plan, self.suffix)
        notes = [_in_words(plan, piles), *plan.notes, *_unused_names(root)]
        if files := self._lists(root, plan):
            items, faults, note = pair_listed(root, piles[0], files)
            return Listing(in_order(items), faults, notes=[*notes, note])
        items, faults = pair_all(root, piles)
        return Listing(in_order(items), faults, notes=notes)

    def _check(self) -> None:
        for key in ("images", "masks", "suffix", "lists"):
            value = getattr(self, key)
            if not (value is None or isinstance(value, str)) or (key != "suffix" and value == ""):
                raise UserError(f"data.layout.{key} must be a text such as {EXAMPLES[key]}, got {value!r}")
        for key, pattern in (("images", self.images), ("masks", self.masks)):
            if pattern is not None and "**" in pattern:
                raise UserError(f"data.layout.{key}={pattern}: ** is not read; a folder is read with all below it")
        if self.images and self.masks and 0 < self.images.count("*") != self.masks.count("*") > 0:
            raise UserError(
                f"data.layout.images={self.images} and data.layout.masks={self.masks} need equally many *: "
                "what stands for them is compared"
            )

    def _lists(self, root: Path, plan: Plan) -> dict[str, Path]:
        """The lists of the splits, where the folders do not say them."""
        if any(place.split for place in plan.places):
            if self.lists is not None:
                raise UserError(f"data.layout.lists={self.lists}: {plan.images} says the splits already; leave one out")
            return {}
        return find_lists(root, self.lists)

    def _plan(self, root: Path) -> Plan:
        """Where images and masks lie: as the settings say, the rest as found."""
        if self.images is None and self.masks is None and (found := detect.nnunet(root)):
            return found
        if self.images is not None and self.masks is not None:
            return make_plan(root, self.images, self.masks)
        if self.images is not None:
            proposed = [(self.images, masks) for masks in detect.mask_folders(root)]
        elif self.masks is not None:
            proposed = [(images, self.masks) for images in detect.image_folders(root)]
        else:
            proposed = detect.propose(root)
        proposed = [(images, masks) for images, masks in proposed if SPLIT in images or SPLIT not in masks]
        if not proposed and self.masks is None:
            proposed = self._together(root)
        return make_plan(root, *_only(root, proposed))

    def _together(self, root: Path) -> list[tuple[str, str]]:
        """Places where at least one mask lies beside its image."""
        candidates = [self.images] if self.images is not None else detect.together(root)
        plans = [make_plan(root, pattern, pattern) for pattern in candidates]
        return [(p.images, p.masks) for p in plans if any(pile.masks for pile in read_piles(root, p, self.suffix))]


def _only(root: Path, proposed: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The one arrangement that was found.

    Raises:
        UserError: none, or several; the sentence lists them and names the settings.
    """
    if len(proposed) == 1:
        return proposed[0]
    if proposed:
        choices = "".join(f"\n  data.layout.images={images} data.layout.masks={masks}" for images, masks in proposed)
        raise UserError(f"{root}: {len(proposed)} arrangements of images and masks are there; choose one:{choices}")
    inside = [path.name + "/" * path.is_dir() for path in listed(root)]
    shown = ", ".join(inside[:10]) + (", ..." if len(inside) > 10 else "") or "nothing"
    raise UserError(f"{root}: no images with masks are found there (it holds {shown}); {why_nothing(root)}")


def _unused_names(root: Path) -> list[str]:
    """That Ultralytics' file is not read: its ids are those of objects, of which the first may be 1 in masks."""
    found = next((name for name in ("data.yaml", "data.yml", "dataset.yaml") if (root / name).is_file()), "")
    return [f"{found} is not read: give ids and names in classes.txt"] if found and not read_declared(root) else []


def _in_words(plan: Plan, piles: Sequence[Pile]) -> str:
    image, mask = piles[0].endings.image, piles[0].endings.mask
    of_images, of_masks = (f" (*{ending})" if ending else "" for ending in (image, mask))
    if plan.together:
        return f"images and masks{of_masks} in {plan.images}"
    return f"images in {plan.images}{of_images}, masks in {plan.masks}{of_masks}"

"""A data set with one of each defect, planted by hand, and what must be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.files import Bytes, bomb, noise, oriented, save_ids, truncate

SIDE = 48
CLASSES = "0\tground\n1\tcell\n2\tfibre\n3\trare\n4\tonly_val\n5\tnever\n11\tvoid\tignore\n"


@dataclass(frozen=True)
class Defect:
    """One defect: whether it is an error, its kind, the file named (below the root), what else the sentence says."""

    error: bool
    kind: str
    file: str
    says: str


def scene(seed: int) -> Bytes:
    """A smooth random picture: its gist and thumbnail are its own."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def good_mask(seed: int) -> Bytes:
    """Ground with a square of cell and a bar of fibre."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    top, left = np.random.default_rng(seed).integers(0, SIDE - 16, 2)
    mask[top : top + 12, left : left + 12] = 1
    mask[SIDE - 3 :] = 2
    return mask


class Maker:
    """Writes pairs and remembers what is wrong with them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.planted: list[Defect] = []
        self._seed = 0

    def pair(self, name: str, split: str = "train") -> tuple[Path, Path]:
        """A good pair; the paths of image and mask."""
        self._seed += 1
        image, mask = self.root / "images" / split / f"{name}.png", self.root / "masks" / split / f"{name}.png"
        save_ids(image, scene(self._seed))
        save_ids(mask, good_mask(self._seed))
        return image, mask

    def error(self, kind: str, file: Path, says: str) -> None:
        self._plant(True, kind, file, says)

    def warning(self, kind: str, file: Path, says: str) -> None:
        self._plant(False, kind, file, says)

    def _plant(self, error: bool, kind: str, file: Path, says: str) -> None:
        self.planted.append(Defect(error, kind, file.relative_to(self.root).as_posix(), says))


def plant(root: Path) -> list[Defect]:
    """Write the data set; what is wrong with it."""
    maker = Maker(root)
    for split, number in (("train", 20), ("val", 6), ("test", 4)):
        for index in range(number):
            maker.pair(f"good{index}", split)
    (root / "classes.txt").write_text(CLASSES)
    unreadable(maker)
    unfit_masks(maker)
    odd_images(maker)
    odd_masks(maker)
    twins(maker)
    return maker.planted


def unreadable(maker: Maker) -> None:
    """Files that cannot be matched or decoded."""
    image, mask = maker.pair("no_mask")
    mask.unlink()
    maker.error("no mask", image, str(mask))
    image, mask = maker.pair("no_image")
    image.unlink()
    maker.error("no image", mask, "no_image.*")
    image, _ = maker.pair("twice")
    Image.open(image).save(image.with_suffix(".jpg"))
    maker.error("stands there twice", image.with_suffix(".jpg"), "twice.png")
    image, _ = maker.pair("empty_file")
    image.write_bytes(b"")
    maker.error("not a readable image", image, "0 bytes")
    image, _ = maker.pair("html")
    image.write_bytes(b"<!DOCTYPE html><html>404</html>")
    maker.error("not a readable image", image, "<!DOCTYP")
    image, _ = maker.pair("a_folder")
    image.unlink()
    image.mkdir()
    maker.error("not a readable image", image, "a folder")
    image, _ = maker.pair("link")
    image.unlink()
    image.symlink_to(image.with_name("gone.png"))
    maker.error("no such file", image, "")
    image, _ = maker.pair("loop")
    image.unlink()
    image.symlink_to(image)
    maker.error("not a readable image", image, "symbolic links")
    image, _ = maker.pair("cut_png")
    truncate(image, 0.5)
    maker.error("damaged", image, "ends too early")
    image, mask = maker.pair("cut_jpeg")
    image.unlink()
    image = image.with_suffix(".jpg")
    Image.fromarray(noise(1, SIDE, SIDE)).save(image, quality=95)
    truncate(image, 0.6)
    maker.error("damaged", image, "truncated")
    _, mask = maker.pair("cut_mask")
    truncate(mask, 0.5)
    maker.error("damaged", mask, "")
    image, _ = maker.pair("bomb")
    bomb(image, 20_000)
    maker.error("too many pixels", image, "20000 x 20000")
    image, _ = maker.pair("flipped_bits")
    content = bytearray(image.read_bytes())
    content[60:64] = b"\xff\x00\xff\x00"
    image.write_bytes(content)
    maker.error("damaged", image, "")


def unfit_masks(maker: Maker) -> None:
    """Masks that cannot be those of their images, or hold no ids."""
    _, mask = maker.pair("other_size")
    save_ids(mask, np.zeros((SIDE, SIDE - 5), np.uint8))
    maker.error("mask of another size than its image", mask, f"{SIDE - 5} x {SIDE} pixels, but its image has 48 x 48")
    _, mask = maker.pair("rgb")
    colors = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)[good_mask(1)]
    Image.fromarray(colors).save(mask)
    maker.error("a mask of colours, not class ids", mask, "(10,20,30) in 2016 pixels")
    _, mask = maker.pair("rgba")
    Image.fromarray(colors).convert("RGBA").save(mask)
    maker.error("a mask of colours, not class ids", mask, "(10,20,30) in 2016 pixels")
    _, mask = maker.pair("jpeg_mask")
    mask.unlink()
    Image.fromarray(good_mask(1) * 100).save(mask.with_suffix(".jpg"))
    maker.error("JPEG blurs the ids of a mask", mask.with_suffix(".jpg"), "export it again as PNG")
    _, mask = maker.pair("outside", "val")
    ids = good_mask(2)
    ids[:2, :3] = 77
    save_ids(mask, ids)
    maker.error("ids outside the classes", mask, "ids [77] (6 pixels)")
    _, mask = maker.pair("zero_255")
    save_ids(mask, (good_mask(3) == 1).astype(np.uint8) * 255)
    maker.error("0 / 255 mask among ids", mask, "if 255 is foreground here, save it as 1")
    _, mask = maker.pair("smoothed")
    smooth = Image.fromarray(good_mask(4) * 100).resize((SIDE // 3, SIDE // 3), Image.Resampling.BICUBIC)
    smooth.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(mask)
    maker.error("mask that was smoothed", mask, "without smoothing")
    image, _ = maker.pair("exif")
    turned = image.with_suffix(".jpg")
    Image.open(image).save(turned, exif=oriented(6))  # square: its mask cannot tell which way up it is
    image.unlink()
    maker.error("EXIF", turned, "orientation 6")


def odd_images(maker: Maker) -> None:
    """Images that decode but look wrong."""
    for name, height, width, says in (
        ("tiny", 20, 20, "a side of less than 32"),
        ("strip", 33, 400, "8 times as long as wide"),
        ("huge", 400, 300, "times larger than usual"),
    ):
        image, mask = maker.pair(name)
        save_ids(image, noise(len(name), height, width))
        ids = np.zeros((height, width), np.uint8)
        ids[:9, :9] = 1
        save_ids(mask, ids)
        maker.warning("odd size", image, says)
    image, _ = maker.pair("one_colour")
    save_ids(image, np.full((SIDE, SIDE, 3), 7, np.uint8))
    maker.warning("image of one colour", image, "all pixels are [7, 7, 7]")
    image, _ = maker.pair("grey")
    Image.open(image).convert("L").save(image)
    maker.warning("images stored in different ways", image, "mode L, where most images have RGB")
    stray = maker.root / "images" / "train" / "notes.heic"
    stray.write_bytes(b"?")
    maker.warning("file that is passed over", stray, ".heic is not read")


def odd_masks(maker: Maker) -> None:
    """Masks that decode but look wrong, and classes that are not where they should be."""
    _, mask = maker.pair("palette")
    ids = Image.open(mask)
    ids.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    ids.save(mask)
    maker.warning("masks stored in different ways", mask, "mode P, where most masks have L; its palette indices")
    _, mask = maker.pair("all_cell")
    save_ids(mask, np.ones((SIDE, SIDE), np.uint8))
    maker.warning("mask of one value", mask, "all pixels are 1")
    _, mask = maker.pair("all_void")
    save_ids(mask, np.full((SIDE, SIDE), 11, np.uint8))
    maker.warning("mask without labels", mask, "100% of it is ignored")
    _, mask = maker.pair("a_dot")
    ids = good_mask(5)
    ids[0, 0] = 3
    save_ids(mask, ids)
    here = maker.root
    maker.warning("class with few labels", here, "rare has 1 pixels in 1 image of train")
    _, mask = maker.pair("new_class", "val")
    ids = good_mask(6)
    ids[:5, :5] = 4
    save_ids(mask, ids)
    maker.warning("class not in train", here, "only_val occurs in val but not in train")
    maker.warning("class that never occurs", here, "never has no pixel in any mask (classes.txt)")
    maker.warning("class not in every split", here, "rare occurs in train but not in test")


def twins(maker: Maker) -> None:
    """Images that are there twice."""
    image, mask = maker.pair("original")
    copy, other = maker.pair("original_copy", "test")
    copy.write_bytes(image.read_bytes())
    other.write_bytes(mask.read_bytes())
    maker.error("one image in two splits", image, str(copy))
    image, mask = maker.pair("same_a")
    copy, other = maker.pair("same_b")
    copy.write_bytes(image.read_bytes())
    other.write_bytes(mask.read_bytes())
    maker.warning("image that is there twice", copy, str(image))
    image, mask = maker.pair("mask_a")
    copy, other = maker.pair("mask_b")
    copy.write_bytes(image.read_bytes())
    save_ids(other, np.where(np.arange(SIDE) < 9, good_mask(9), 0).astype(np.uint8))
    maker.warning("one image with two masks", copy, str(image))
    image, mask = maker.pair("frame")
    copy, other = maker.pair("frame_again", "val")
    bright = np.clip(np.asarray(Image.open(image)) * 1.1 + 6, 0, 255).astype(np.uint8)
    save_ids(copy, bright)
    other.write_bytes(mask.read_bytes())
    maker.warning("nearly the same image in two splits", image, str(copy))

"""Data sets whose labels are objects, in each layout, all with the same rectangles, so that masks are known exactly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segtrain.data import DataSource
from segtrain.data.files import FileData
from segtrain.data.listing import Layout
from segtrain.errors import UserError
from tests.data.files import REQUEST, noise

# (class name, left, top, right, bottom), in whole pixels
Box = tuple[str, int, int, int, int]
Boxes = Mapping[str, Mapping[str, Sequence[Box]]]
NAMES = ["cat", "dog"]
HEIGHT, WIDTH = 34, 40
BOXES: Boxes = {
    "train": {
        "a": [("cat", 2, 3, 20, 22), ("dog", 10, 12, 16, 30)],  # the dog is smaller and reaches below the cat
        "b": [("dog", 0, 0, 12, 9), ("cat", 30, 20, 40, 34)],
        "c": [("dog", 5, 5, 25, 25), ("cat", 8, 8, 14, 14)],  # a cat in the middle of a dog
        "empty": [],
    },
    "val": {"v": [("cat", 1, 1, 9, 9), ("dog", 20, 20, 33, 33)]},
    "test": {"t": [("dog", 4, 4, 30, 30)]},
}


def ring(box: Box) -> list[list[float]]:
    _, left, top, right, bottom = box
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def planes(boxes: Sequence[Box]) -> dict[str, npt.NDArray[np.bool_]]:
    """Where each class is."""
    found = {name: np.zeros((HEIGHT, WIDTH), dtype=bool) for name in NAMES}
    for name, left, top, right, bottom in boxes:
        found[name][top:bottom, left:right] = True
    return found


def drawn(boxes: Sequence[Box], by_size: bool = True) -> npt.NDArray[np.uint8]:
    """Ids 0, 1 (cat), 2 (dog), the smallest object, or else the last one, on top."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    area = {box: (box[3] - box[1]) * (box[4] - box[2]) for box in boxes}
    for box in sorted(boxes, key=lambda box: -area[box]) if by_size else boxes:
        mask[box[2] : box[4], box[1] : box[3]] = 1 + NAMES.index(box[0])
    return mask


def picture(path: Path, boxes: Sequence[Box]) -> None:
    image = noise(len(path.name), HEIGHT, WIDTH) // 4
    for name, plane in planes(boxes).items():
        image[plane, NAMES.index(name)] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def coco(split: str, boxes: Boxes, suffix: str = ".png", first_id: int = 1) -> dict[str, Any]:
    """The content of an annotation file of one split."""
    stems = list(boxes[split])
    sizes = {"height": HEIGHT, "width": WIDTH}
    images = [{"id": 10 + i, "file_name": f"{stem}{suffix}", **sizes} for i, stem in enumerate(stems)]
    objects = [(10 + i, box) for i, stem in enumerate(stems) for box in boxes[split][stem]]
    annotations = [
        {
            "id": 100 + number,
            "image_id": image,
            "category_id": first_id + NAMES.index(box[0]),
            "iscrowd": 0,
            "segmentation": [[float(v) for point in ring(box) for v in point]],
        }
        for number, (image, box) in enumerate(objects)
    ]
    categories = [{"id": first_id + i, "name": name, "supercategory": "animal"} for i, name in enumerate(NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def make_coco(root: Path, boxes: Boxes = BOXES, first_id: int = 1) -> Path:
    for split, stems in boxes.items():
        for stem, found in stems.items():
            picture(root / f"{split}2017" / f"{stem}.png", found)
        write_json(root / "annotations" / f"instances_{split}2017.json", coco(split, boxes, first_id=first_id))
    return root


def labelme(stem: str, boxes: Sequence[Box]) -> dict[str, Any]:
    shapes = [{"label": box[0], "points": ring(box), "shape_type": "polygon", "flags": {}} for box in boxes]
    return {"imagePath": f"{stem}.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None, "shapes": shapes}


def make_labelme(root: Path, boxes: Boxes = BOXES) -> Path:
    for split, stems in boxes.items():
        for stem, found in stems.items():
            picture(root / split / f"{stem}.png", found)
            write_json(root / split / f"{stem}.json", labelme(stem, found))
    return root


def make_yolo(root: Path, boxes: Boxes = BOXES) -> Path:
    for split, stems in boxes.items():
        for stem, found in stems.items():
            picture(root / "images" / split / f"{stem}.png", found)
            lines = [
                " ".join([str(NAMES.index(box[0])), *(f"{x / WIDTH:.8f} {y / HEIGHT:.8f}" for x, y in ring(box))])
                for box in found
            ]
            path = root / "labels" / split / f"{stem}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            if lines:
                path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "data.yaml").write_text(f"path: /somewhere/else\ntrain: images/train\nnames: {NAMES}\n", encoding="utf-8")
    return root


def make_objects(root: Path, boxes: Boxes = BOXES) -> Path:
    """A mask for each box; images without boxes are left out, since there an image needs a mask."""
    for split, stems in boxes.items():
        for stem, found in stems.items():
            for number, box in enumerate(found):
                picture(root / split / stem / "images" / f"{stem}.png", found)
                mask = np.zeros((HEIGHT, WIDTH), np.uint8)
                mask[box[2] : box[4], box[1] : box[3]] = 255
                (root / split / stem / "masks").mkdir(exist_ok=True)
                Image.fromarray(mask).save(root / split / stem / "masks" / f"{number}.png")
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "coco": make_coco,
    "labelme": make_labelme,
    "objects": make_objects,
    "yolo": make_yolo,
}


def opened(root: Path, layout: Layout, mode: str = "auto", **options: Any) -> DataSource:
    return FileData(str(root), layout, **options).open({**REQUEST, "mode": mode})


def masks(source: DataSource, split: str = "train") -> dict[str, npt.NDArray[Any]]:
    """The masks of a split by name."""
    examples = source.splits[split]
    return {name: examples.read(index)[1] for index, name in enumerate(examples.ids)}


def faults(root: Path, layout: Layout, **options: Any) -> str:
    """The message of the refusal."""
    try:
        opened(root, layout, **options)
    except UserError as error:
        return str(error)
    raise AssertionError("was not refused")

"""What files of objects have in common: JSON with named faults, corners, paths that stay inside the data's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from segtrain.data.listing import SPLITS, Item
from segtrain.data.raster import Points
from segtrain.decode.headers import contents
from segtrain.errors import UserError
from segtrain.layouts.drawn import Drawing, Rings, Shape

LEAST_CORNERS = 3
FARTHEST = 1e9  # a coordinate beyond it is no place in an image
SLACK = 0.5  # pixels outside of the image that hold no centre
NOMINAL = (1000, 1000)  # size for which relative coordinates are judged
SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}  # of split folders


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: missing, not JSON (with line and column) or no object.
    """
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        if error.pos == 0:  # nothing of it is JSON
            raise UserError(f"{path}: not valid JSON {contents(path)}") from error
        raise UserError(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}; not valid JSON") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); export it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not an object of annotations; export it again")
    return content


def corners(values: Any) -> Points:
    """Corners (x, y), [P, 2], from numbers x1, y1, x2, y2, ... or from pairs.

    Raises:
        ValueError: not such numbers, or fewer than three corners.
    """
    numbers = numbers_of(values)
    if numbers.size % 2:
        raise ValueError(f"a polygon of {numbers.size} numbers, where x and y come in pairs")
    if numbers.size < 2 * LEAST_CORNERS:
        raise ValueError(
            f"a polygon of {numbers.size // 2} points {_short(values)}; at least {LEAST_CORNERS} are needed"
        )
    return numbers.reshape(-1, 2)


def numbers_of(values: Any) -> Points:
    """Finite numbers as an array.

    Raises:
        ValueError: something else is among them; the sentence names it.
    """
    try:
        if not isinstance(values, list):
            raise TypeError(values)
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"coordinates that are not numbers: {_short(values)}") from None
    wrong = numbers[~(np.abs(numbers) < FARTHEST)]
    if wrong.size:
        raise ValueError(f"a coordinate of {wrong.flat[0]}")
    return numbers


def _short(values: Any) -> str:
    text = str(values)
    return text if len(text) <= 60 else f"{text[:60]}..."


def inside(folder: Path, name: Any, root: Path) -> Path:
    """The file that a text in an annotation file names.

    Args:
        folder: that the name starts from.
        name: relative; backslashes separate folders too.
        root: that it must not leave.

    Raises:
        ValueError: no text, or a path that leaves the root.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"its image is named {name!r}, not by a path")
    parts = PurePosixPath(name.replace("\\", "/")).parts
    place = list(folder.relative_to(root).parts)
    for part in parts:
        if part == ".." and place:
            place.pop()
        elif part == ".." or part.startswith("/") or part.endswith(":"):
            raise ValueError(f"the path {name!r} leads out of {root}")
        else:
            place.append(part)
    return root.joinpath(*place)


def id_of(image: Path, folder: Path) -> str:
    """An image's name in its split: its path below the folder, without suffix; folders are joined by a dash."""
    return "-".join(image.relative_to(folder).with_suffix("").parts)


def split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split, however it is called; {"": root} where there is none."""
    found = {split: root / name for split in SPLITS for name in SPLIT_NAMES[split] if (root / name).is_dir()}
    return found or {"": root}


def twice(items: Iterable[Item]) -> list[str]:
    """A sentence for each image that two labels claim, and for each two images that would have one name."""
    faults: list[str] = []
    by_image: dict[Path, Item] = {}
    by_name: dict[tuple[str, str], Item] = {}
    for item in items:
        other, same = by_image.setdefault(item.image, item), by_name.setdefault((item.split, item.id), item)
        if other is not item:
            sources = " and ".join(sorted({str(one.label.files[0]) for one in (other, item)}))
            faults.append(f"{item.image}: labelled twice, in {sources} ({other.split} and {item.split})")
        elif same is not item:
            faults.append(f"{item.image}: has the same name as {same.image}; rename one of them")
    return faults


def in_image(shape: Shape, size: tuple[int, int] | None) -> Shape:
    """The shape, if it meets its image; one that reaches outside of it is cut off when it is drawn.

    Args:
        shape: of an object.
        size: (height, width) that the annotation file says; None where it does not say.

    Raises:
        ValueError: no part of it can lie in the image.
    """
    size = NOMINAL if isinstance(shape, Rings) and shape.relative else size
    if size is None:
        return shape
    left, top, right, bottom = shape.bounds(size)
    if right <= 0 or bottom <= 0 or left >= size[1] or top >= size[0]:
        raise ValueError("no part of it lies in the image; correct its coordinates, or remove it")
    return shape


def outside(items: Iterable[Item]) -> list[str]:
    """A note on objects that reach outside of their image, with the first of them, where there are any."""
    drawings = [(item, item.label) for item in items if isinstance(item.label, Drawing)]
    found = [item for item, label in drawings for _, shape in label.objects if _leaves(shape, label.size)]
    if not found:
        return []
    return [f"{len(found)} objects reach outside of their image and are cut off (the first in {found[0].image.name})"]


def _leaves(shape: Shape, size: tuple[int, int] | None) -> bool:
    size = NOMINAL if isinstance(shape, Rings) and shape.relative else size
    if size is None:
        return False
    left, top, right, bottom = shape.bounds(size)
    return min(left, top) < -SLACK or right > size[1] + SLACK or bottom > size[0] + SLACK

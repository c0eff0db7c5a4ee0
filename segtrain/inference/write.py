"""Predicted masks as files: class-id PNGs with the palette attached, and overlays to look at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from segtrain.decode.readers import IMAGE_SUFFIXES
from segtrain.draw import color_table, overlay, to_rgb
from segtrain.errors import UserError
from segtrain.inference.opened import OpenedImage
from segtrain.inference.predictor import Predictor
from segtrain.runs import clean_name
from segtrain.task import Task

Ids = npt.NDArray[np.uint8]
OVERLAY = "_overlay"  # appended to the stem


def find_images(source: str) -> list[Path]:
    """The images of a folder (not of its sub-folders), or the one file.

    Raises:
        UserError: no such file or folder, no images in it, or two of the same stem.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"input={source}: no such file or folder")
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise UserError(f"input={source}: no images in it ({', '.join(IMAGE_SUFFIXES)})")
    stems: dict[str, Path] = {}
    for image in found:
        if image.stem in stems:
            raise UserError(f"{image} and {stems[image.stem]} would both become {image.stem}.png; rename one")
        stems[image.stem] = image
    return found


def prepare_output(folder: str, images: list[Path]) -> Path:
    """Make the output folder.

    Raises:
        UserError: it is where the images are, or it cannot be made.
    """
    output = Path(folder).expanduser()
    if output.resolve() == images[0].parent.resolve():
        raise UserError(f"output={folder} is where the images are; choose another folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={folder}: cannot be made ({error.strerror}); choose another folder") from error
    if not os.access(output, os.W_OK):
        raise UserError(f"output={folder}: cannot be written to; choose another folder")
    return output


def predict_files(
    predictor: Predictor, images: list[Path], output: Path, overlays: bool, failed: Callable[[str], None]
) -> Iterator[Path]:
    """Predict each image and write its files; an unreadable image is reported and the others go on.

    Args:
        predictor: see load_predictor; it knows how to read.
        images: files to read.
        output: folder for <stem>.png (and <stem>_overlay.png).
        overlays: whether to write overlays too.
        failed: called with a sentence for each image that could not be read.

    Yields:
        The image just finished.
    """
    for path in images:
        try:
            image = OpenedImage(path, predictor.reading, predictor.tiling, overlays)
            ids = predictor.read_and_predict(image.size, image.read)
        except UserError as error:
            failed(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        write_ids(ids, predictor.task, output / f"{path.stem}.png")
        if overlays:
            picture = overlay(to_rgb(image.shown), ids[..., :: image.step, :: image.step], predictor.task)
            write_png(Image.fromarray(picture), output / f"{path.stem}{OVERLAY}.png")
        yield path


def write_ids(ids: Ids, task: Task, path: Path) -> None:
    """A palette PNG whose values are the class ids; multilabel: one file per class, <stem>_<class>.png."""
    if task.mode == "multilabel":
        for layer, name in zip(ids, task.names, strict=True):
            write_png(Image.fromarray(layer * np.uint8(255)), path.with_name(f"{path.stem}_{clean_name(name)}.png"))
        return
    image = Image.fromarray(ids)
    image.putpalette(color_table(task).flatten().tolist())
    write_png(image, path)


def write_png(image: Image.Image, path: Path) -> None:
    """Write beside and rename, so that a killed run leaves no half picture."""
    temporary = path.with_name(f".{path.name}.tmp")
    image.save(temporary, format="PNG")
    temporary.replace(path)

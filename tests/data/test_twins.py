"""Copies across splits are found, and pictures that are only alike are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segtrain.data.listing import Item, MaskFile
from segtrain.data.scan import look
from segtrain.data.twins import Found, identical, is_flat, leak_warning, leaks, near_twins, thumbnail
from segtrain.decode.masks import MaskRules
from tests.data.files import Bytes, save_ids


def scene(seed: int, detail: int = 8) -> Bytes:
    coarse = np.random.default_rng(seed).integers(0, 255, (detail, detail, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (96, 72), interpolation=cv2.INTER_CUBIC), np.uint8)


def found(folder: Path, name: str, image: Bytes, split: str) -> Found:
    paths = folder / f"{name}.png", folder / f"{name}_mask.png"
    save_ids(paths[0], image)
    save_ids(paths[1], np.zeros(image.shape[:2], np.uint8))
    item = Item(name, paths[0], MaskFile(paths[1]), split)
    return item, look(item, MaskRules())


def jpeg(image: Bytes) -> Bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=40)
    return np.asarray(Image.open(content))


def noisy(image: Bytes) -> Bytes:
    return np.clip(image + np.random.default_rng(0).normal(0, 5, image.shape), 0, 255).astype(np.uint8)


def moved(image: Bytes) -> Bytes:
    """As the next frame from a moving car: larger around the centre."""
    return np.asarray(cv2.resize(image[12:-12, 16:-16], (96, 72)), np.uint8)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (jpeg, True),
        (noisy, True),
        (lambda image: np.asarray(cv2.resize(image, (58, 43), interpolation=cv2.INTER_AREA), np.uint8), True),
        (lambda image: np.clip(image * 1.15 + 10, 0, 255).astype(np.uint8), True),
        (moved, False),
        (lambda image: image[:, ::-1], False),
    ],
    ids=["jpeg", "noisy", "smaller", "brighter", "moved", "mirrored"],
)
def test_near_twins(tmp_path: Path, change: Callable[[Bytes], Bytes], same: bool) -> None:
    training = [found(tmp_path, f"train{i}", scene(i), "train") for i in range(6)]
    others = [found(tmp_path, f"val{i}", scene(100 + i), "val") for i in range(3)]
    copy = found(tmp_path, "copy", np.ascontiguousarray(change(scene(4))), "val")
    pairs = [(one[0].id, other[0].id) for one, other, *_ in near_twins([*training, *others, copy])]
    assert pairs == ([("train4", "copy")] if same else [])


def test_twins_within_a_split_and_identical_ones_are_no_near_twins(tmp_path: Path) -> None:
    items = [
        found(tmp_path, "a", scene(1), "train"),
        found(tmp_path, "b", noisy(scene(1)), "train"),
        found(tmp_path, "c", scene(1), "val"),
    ]
    assert [(one[0].id, other[0].id) for one, other, *_ in near_twins(items)] == [("b", "c")]
    assert [[item.id for item, _ in group] for group in leaks(items)] == [["a", "c"]]
    assert "1 image is in more than one split" in leak_warning(items)[0]
    assert leak_warning(items[:2]) == []
    assert near_twins([]) == []


def test_blank_images_are_no_copies_of_each_other(tmp_path: Path) -> None:
    blank = [found(tmp_path, name, np.zeros((40, 40, 3), np.uint8), name) for name in ("train", "val")]
    assert all(is_flat(finding) for _, finding in blank)
    assert not is_flat(found(tmp_path, "x", scene(1), "train")[1])
    assert identical(blank) == near_twins(blank) == leak_warning(blank) == []


def test_thumbnails_correlate_as_numpy_says() -> None:
    one, other = scene(1), scene(2)
    small = [cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).mean(2).ravel() for image in (one, other)]
    assert float(thumbnail(one) @ thumbnail(other)) == pytest.approx(np.corrcoef(*small)[0, 1], abs=1e-5)

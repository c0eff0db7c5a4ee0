"""Training transforms: ids stay ids, image and mask stay together, the seed decides everything, faults are named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from segtrain.augment import Augmentation, build_augmentation
from segtrain.errors import UserError
from segtrain.windows import Array

FOLDER = Path(__file__).parents[2] / "conf" / "aug"
PRESETS: Mapping[str, Mapping[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))["train"] for path in sorted(FOLDER.glob("*.yaml"))
}
OPS = {f"{preset}-{name}": op for preset, ops in PRESETS.items() for name, op in ops.items()}
GEOMETRIC = {"HorizontalFlip", "D4", "Affine", "ElasticTransform", "GridDistortion"}
MOVING = {key: op for key, op in OPS.items() if op["op"] in GEOMETRIC}
COLOURING = {key: op for key, op in OPS.items() if op["op"] not in GEOMETRIC}
MORE_MOVING = {
    op: {"op": op} for op in ("Perspective", "Rotate", "OpticalDistortion", "VerticalFlip", "RandomRotate90")
}
IGNORE = 255
CROP = 32
PLANES: Mapping[str, tuple[int, ...]] = {"exclusive": (), "multilabel": (3,), "many labels": (6,)}


def preset(name: str, crop: Any = CROP, ignore_index: int = IGNORE) -> Augmentation:
    return build_augmentation(PRESETS[name], crop, ignore_index)


def always(op: Mapping[str, Any], crop: int = CROP) -> Augmentation:
    return Augmentation({"op": {**op, "p": 1.0}}, crop, IGNORE)


def sample(size: tuple[int, int], planes: tuple[int, ...] = (), top: int = 3) -> tuple[Array, Array]:
    """A noisy image and mask that may not be written to."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    mask = rng.integers(0, top, (*planes, *size)).astype(np.uint8)
    image.flags.writeable = mask.flags.writeable = False
    return image, mask


def test_the_presets() -> None:
    assert set(PRESETS) >= {"none", "light", "medium", "heavy"}
    assert PRESETS["none"] == {}
    assert {op["op"] for op in MOVING.values()} == GEOMETRIC


# ---- ids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planes", PLANES.values(), ids=PLANES)
@pytest.mark.parametrize("name", PRESETS)
def test_masks_hold_what_they_held_and_ignore(name: str, planes: tuple[int, ...]) -> None:
    augment = preset(name)
    image, mask = sample((CROP, CROP), planes)
    before = image.copy(), mask.copy()
    for seed in range(8):
        for value in (0, 2, None):  # one id everywhere, or a mixture
            ids = mask if value is None else np.full_like(mask, value)
            changed, moved = augment(image, ids, seed)
            assert changed.shape == (CROP, CROP, 3)
            assert moved.shape == (*planes, CROP, CROP)
            assert changed.dtype == moved.dtype == np.uint8
            assert changed.flags.c_contiguous
            assert moved.flags.c_contiguous
            assert set(np.unique(moved)) <= {*np.unique(ids), IGNORE}
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])


@pytest.mark.parametrize("op", [*MOVING.values(), *MORE_MOVING.values()], ids=[*MOVING, *MORE_MOVING])
def test_what_is_uncovered_is_ignored_in_every_plane(op: Mapping[str, Any]) -> None:
    image = sample((CROP, CROP))[0]
    augment = always(op)
    for seed in range(6):
        one = augment(image, np.ones((CROP, CROP), np.uint8), seed)[1]
        planes = augment(image, np.ones((5, CROP, CROP), np.uint8), seed)[1]
        assert set(np.unique(one)) <= {1, IGNORE}
        for plane in planes:
            np.testing.assert_array_equal(plane, one)


def test_a_crop_may_be_a_rectangle() -> None:
    augment = preset("light", [24, 40])
    assert augment.size == (24, 40)
    assert augment(*sample((24, 40)), 0)[0].shape == (24, 40, 3)
    augment.check(3)


# ---- image and mask together ---------------------------------------------------------------------------------------


def block(size: tuple[int, int]) -> Array:
    """A mask of one block off the middle, so that no mirroring maps it onto itself."""
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 8 : size[0] // 2, size[1] // 5 : size[1] * 2 // 5] = 1
    return mask


@pytest.mark.parametrize("planes", [False, True], ids=["mask", "planes"])
@pytest.mark.parametrize("op", [*MOVING.values(), *MORE_MOVING.values()], ids=[*MOVING, *MORE_MOVING])
def test_image_and_mask_move_together(op: Mapping[str, Any], planes: bool) -> None:
    mask = block((64, 64))
    image = np.repeat(mask[..., None] * 255, 3, axis=2).astype(np.uint8)
    augment, moved_at_all = always(op, 64), False
    for seed in range(6):
        changed, moved = augment(image, np.stack([1 - mask, mask]) if planes else mask, seed)
        found = moved[1] if planes else moved
        seen, labelled = changed[..., 0] > 127, found != IGNORE
        both, either = (seen & (found == 1)).sum(), ((seen | (found == 1)) & labelled).sum()
        assert both / either > 0.85  # interpolation differs at the edge
        moved_at_all |= bool((found != mask).any())
        if planes:
            np.testing.assert_array_equal(moved[0][labelled], 1 - found[labelled])
    assert moved_at_all


@pytest.mark.parametrize("planes", [(), (3,)], ids=["mask", "planes"])
@pytest.mark.parametrize("op", COLOURING.values(), ids=COLOURING)
def test_other_ops_leave_the_mask_alone(op: Mapping[str, Any], planes: tuple[int, ...]) -> None:
    image, mask = sample((CROP, CROP), planes)
    changed, same = zip(*(always(op)(image, mask, seed) for seed in range(4)), strict=True)
    assert any((array != image).any() for array in changed)
    for array in same:
        np.testing.assert_array_equal(array, mask)


# ---- seeds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_the_seed_decides_everything(name: str) -> None:
    image, mask = sample((CROP, CROP))
    first, second = preset(name), preset(name)
    results = [first(image, mask, seed) for seed in range(12)]
    np.random.seed(1)  # the global state must not matter
    for seed in reversed(range(12)):
        for again, before in zip(second(image, mask, seed), results[seed], strict=True):
            np.testing.assert_array_equal(again, before)
    assert len({changed.tobytes() for changed, _ in results}) == (1 if name == "none" else 12)


def test_ops_do_not_share_one_stream() -> None:
    """Two coins of equal p fall together in half of all seeds, not in all of them (set_random_seed does that)."""
    image = np.zeros((CROP, CROP, 3), np.uint8)
    image[0, 0] = 255
    ops = {"h": {"op": "HorizontalFlip", "p": 0.5}, "v": {"op": "VerticalFlip", "p": 0.5}}
    augment = Augmentation(ops, CROP, IGNORE)
    mask = np.zeros((CROP, CROP), np.uint8)
    corners = [tuple(np.argwhere(augment(image, mask, seed)[0][..., 0])[0]) for seed in range(60)]
    assert min(corners.count((y, x)) for y in (0, CROP - 1) for x in (0, CROP - 1)) > 4


# ---- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "says"),
    [
        ({"op": "HorizontalFlop"}, r"aug.train.x.op must be .*did you mean HorizontalFlip\?"),
        ({"op": "OneOf"}, r"aug.train.x.op must be one of \d+ names; got 'OneOf'"),
        ({"op": "ShiftScaleRotate"}, r"aug.train.x \(ShiftScaleRotate\): .*use Affine"),
        ({"op": "Affine", "rotat": 3}, r"aug.train.x \(Affine\).*'rotat' - did you mean rotate\?"),
        ({"op": "GaussianBlur", "p": 3}, r"aug.train.x \(GaussianBlur\): .*p"),
        ({"op": "GaussNoise", "std_range": [0.5, 0.1]}, r"aug.train.x \(GaussNoise\): .*std_range"),
        ({"op": "Affine", "scale": "big"}, r"aug.train.x \(Affine\): .*scale"),
        ({"p": 0.5}, r"aug.train.x must be a mapping with the key op"),
        ("HorizontalFlip", r"aug.train.x must be a mapping with the key op.*got 'HorizontalFlip'"),
        (None, r"aug.train.x must be a mapping with the key op"),
    ],
)
def test_bad_ops(op: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        build_augmentation({"x": op}, CROP, IGNORE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("crop", [0, -3, [8], [8, 8, 8], [8, 0], "big", "12", 1.5, None, True])
def test_bad_crops(crop: Any) -> None:
    with pytest.raises(UserError, match="crop must be"):
        build_augmentation({}, crop, IGNORE)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_works_on_rgb(name: str) -> None:
    preset(name).check(channels=3)


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_ops_for_rgb_alone_are_named(channels: int) -> None:
    for name in ("none", "light", "medium"):
        preset(name).check(channels)
    with pytest.raises(UserError, match=rf"aug.train.color .*{channels} channels.*~aug.train.color$") as caught:
        preset("heavy").check(channels)
    assert "\n" not in str(caught.value)


def test_check_tries_ops_that_are_rarely_applied() -> None:
    augment = Augmentation({"a": {"op": "HueSaturationValue", "p": 0.0}}, CROP, IGNORE)
    with pytest.raises(UserError, match=r"~aug.train.a"):
        augment.check(5)


@pytest.mark.parametrize("op", [{"op": "D4"}, {"op": "RandomRotate90"}, {"op": "Resize", "height": 9, "width": 9}])
def test_ops_that_change_the_size_of_the_crop_are_named(op: Mapping[str, Any]) -> None:
    with pytest.raises(
        UserError, match=rf"aug.train.t \({op['op']}\) makes \(.*\) of a crop of \(24, 40\).*~aug.train.t"
    ):
        Augmentation({"t": op}, [24, 40], IGNORE).check(3)


def test_nothing_to_do() -> None:
    assert build_augmentation(None, CROP, IGNORE).ops == {}

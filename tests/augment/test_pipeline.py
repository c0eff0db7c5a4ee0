"""Training transforms: ids stay ids, image and mask stay together, the seed decides everything, faults are named."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest

from segtrain.augment import OPS, Augmentation, build_augmentation
from segtrain.errors import UserError
from segtrain.windows import Array
from tests.augment.samples import (
    CHANNELS,
    DTYPES,
    HOLES,
    IGNORE,
    ODD,
    PIXELS,
    PLANES,
    PRESETS,
    SHAPES,
    always,
    preset,
    sample,
    works_on,
)

USABLE = [name for name in PRESETS if name != "style"]  # which has its own tests: it needs a folder
BACKENDS = ("albumentations", "torchvision")
LIBRARY = {
    "albumentations": ["Affine", "ElasticTransform", "GridDistortion", "Perspective", "D4", "RandomRotate90"],
    "torchvision": ["RandomAffine", "RandomPerspective", "ElasticTransform", "RandomRotation"],
}
ARGUMENTS: Mapping[str, Any] = {
    "Affine": {"rotate": [-30, 30]},
    "ElasticTransform": {"alpha": 40.0},
    "RandomAffine": {"degrees": 30},
    "RandomRotation": {"degrees": 30},
    "solarize": {"threshold": 0.4},
}


def augmentations(names: list[str], channels: int, dtype: str) -> list[Augmentation]:
    """Those of the ops, on either backend, that can work on such images."""
    return [
        always(name, ODD, backend)
        for name, backend in product(names, BACKENDS)
        if works_on(name, channels, dtype) and has(backend, name)
    ]


def has(backend: str, name: str) -> bool:
    return name not in PIXELS or name in Augmentation({}, ODD, IGNORE, backend).backend.pixels


# ---- ids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planes", PLANES.values(), ids=PLANES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_masks_hold_what_they_held_and_ignore(channels: int, dtype: str, planes: tuple[int, ...]) -> None:
    """Every op and preset, whatever the images: kinds and sizes stay, values stay in range, inputs stay as they are."""
    image, mask = sample(ODD, planes, channels, dtype)
    usable = [preset(name) for name in USABLE if all(works_on(op, channels, dtype) for op in ops_of(name))]
    assert len(usable) >= 3
    for place, augment in enumerate([*augmentations([*SHAPES, *PIXELS, *HOLES], channels, dtype), *usable]):
        for seed, value in ((place, None), (place + 1, 0), (place + 2, 1)):  # a mixture, or one id everywhere
            ids = mask if value is None else np.full_like(mask, value)
            changed, moved = augment(image, ids, seed)
            assert (changed.shape, changed.dtype) == (image.shape, image.dtype)
            assert (moved.shape, moved.dtype) == (ids.shape, ids.dtype)
            assert changed.flags.c_contiguous
            assert moved.flags.c_contiguous
            assert set(np.unique(moved)) <= {*np.unique(ids), IGNORE}
            assert np.isfinite(changed).all()
            assert changed.max() <= (255 if dtype == "uint8" else 1)
            assert changed.min() >= 0


def ops_of(name: str) -> list[str]:
    policy = PRESETS[name].get("policy") or {}
    pairs = [op for pair in (policy.get("pairs") or {}).values() for op in pair]
    return [op["op"] for op in [*PRESETS[name]["train"].values(), *(policy.get("ops") or {}).values(), *pairs]]


@pytest.mark.parametrize(
    ("backend", "op"),
    [(b, o) for b in BACKENDS for o in [*SHAPES, *LIBRARY[b]]],
)
def test_what_is_uncovered_is_ignored_in_every_plane(backend: str, op: str) -> None:
    image = sample()[0]
    augment = always({"op": op, **ARGUMENTS.get(op, {})}, ODD, backend)
    for seed in range(6):
        one = augment(image, np.ones(ODD, np.uint8), seed)[1]
        planes = augment(image, np.ones((5, *ODD), np.uint8), seed)[1]
        assert set(np.unique(one)) <= {1, IGNORE}
        for plane in planes:
            np.testing.assert_array_equal(plane, one)


def test_ids_that_bytes_cannot_hold() -> None:
    image, mask = sample()
    moved = build_augmentation({"x": {"op": "translate", "x": 5, "y": 0}}, ODD, -1)(image, mask, 0)[1]
    assert set(np.unique(moved[:, :5])) == {-1}
    np.testing.assert_array_equal(moved[:, 5:], mask[:, :-5])


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
@pytest.mark.parametrize(
    ("backend", "op"),
    [(b, o) for b in BACKENDS for o in [*SHAPES, *LIBRARY[b]]],
)
def test_image_and_mask_move_together(backend: str, op: str, planes: bool) -> None:
    mask = block((65, 65))
    image = np.repeat(mask[..., None] * 255, 3, axis=2).astype(np.uint8)
    augment, moved_at_all = always({"op": op, **ARGUMENTS.get(op, {})}, 65, backend), False
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


@pytest.mark.parametrize("name", ["geometric", "heavy"])
def test_a_marked_pixel_is_found_at_the_same_place(name: str) -> None:
    """A dot of 3 x 3 pixels in image and mask, through all shapes of a preset at once."""
    shapes = {k: {**v, "p": 1.0} for k, v in PRESETS[name]["train"].items() if v["op"] in SHAPES}
    augment, rng, met = Augmentation(shapes, 129, IGNORE), np.random.default_rng(0), 0
    for seed in range(40):
        row, column = rng.integers(40, 90, 2)
        mask = np.zeros((129, 129), np.uint8)
        mask[row - 1 : row + 2, column - 1 : column + 2] = 1
        changed, moved = augment(np.repeat(mask[..., None] * 255, 3, axis=2), mask, seed)
        if (moved == 1).sum() > 4:
            middle = np.argwhere(moved == 1).mean(0)
            seen = np.average(np.argwhere(changed[..., 0] >= 0), axis=0, weights=changed[..., 0].ravel())
            assert np.abs(middle - seen).max() < 0.75
            met += 1
    assert met > 20


@pytest.mark.parametrize("planes", [(), (3,)], ids=["mask", "planes"])
@pytest.mark.parametrize(("backend", "op"), [(b, o) for b in BACKENDS for o in PIXELS if o != "identity"])
def test_pixel_ops_leave_the_mask_alone(backend: str, op: str, planes: tuple[int, ...]) -> None:
    if not has(backend, op):
        with pytest.raises(UserError, match=rf"{backend} does not have aug.train.x \({op}\); remove with ~aug.train.x"):
            always(op, ODD, backend)
        return
    image, mask = sample(ODD, planes)
    augment = always({"op": op, **ARGUMENTS.get(op, {})}, ODD, backend)
    changed, same = zip(*(augment(image, mask, seed) for seed in range(4)), strict=True)
    assert any((array != image).any() for array in changed)
    for array in same:
        np.testing.assert_array_equal(array, mask)


@pytest.mark.parametrize("op", HOLES)
@pytest.mark.parametrize("planes", [(), (3,)], ids=["mask", "planes"])
def test_below_holes_the_mask_is_kept_or_ignored(op: str, planes: tuple[int, ...]) -> None:
    image, mask = np.full((*ODD, 3), 200, np.uint8), sample(ODD, planes)[1]
    for seed in range(5):
        dark, same = always({"op": op, "fill": "black", "label": "keep"})(image, mask, seed)
        hole = (dark == 0).all(-1)
        np.testing.assert_array_equal(same, mask)
        again, holed = always({"op": op, "fill": "black", "label": "ignore"})(image, mask, seed)
        np.testing.assert_array_equal(again, dark)
        np.testing.assert_array_equal(holed, np.where(hole, IGNORE, mask))
        assert hole.any()


# ---- seeds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", USABLE)
def test_the_seed_decides_everything(name: str) -> None:
    image, mask = sample()
    first, second = preset(name), preset(name)
    results = [first(image, mask, seed) for seed in range(24)]
    np.random.seed(1)  # the global state must not matter
    for seed in reversed(range(24)):
        for again, before in zip(second(image, mask, seed), results[seed], strict=True):
            np.testing.assert_array_equal(again, before)
    different = len({changed.tobytes() for changed, _ in results})
    assert different == 1 if name == "none" else different > 8


@pytest.mark.parametrize("name", USABLE)
def test_the_trace_is_what_is_done(name: str) -> None:
    image, mask = sample()
    augment = preset(name)
    said = 0
    for seed in range(12):
        traced = augment.trace(image, mask, seed)
        changed, moved = augment(image, mask, seed)
        np.testing.assert_array_equal(traced.image, changed)
        np.testing.assert_array_equal(traced.mask, moved)
        said += len(traced.ops)
        assert traced.ops or (changed == image).all()
    assert said or name == "none"


def test_ops_do_not_share_one_stream() -> None:
    """Two coins of equal p fall together in half of all seeds, not in all of them."""
    image = np.zeros((*ODD, 3), np.uint8)
    image[0, 0] = 255
    augment = Augmentation({"h": {"op": "hflip", "p": 0.5}, "v": {"op": "vflip", "p": 0.5}}, ODD, IGNORE)
    mask = np.zeros(ODD, np.uint8)
    corners = [tuple(np.argwhere(augment(image, mask, seed)[0][..., 0])[0]) for seed in range(60)]
    last = ODD[0] - 1
    assert min(corners.count((y, x)) for y in (0, last) for x in (0, last)) > 4


def test_an_op_that_is_switched_off_changes_nothing_for_the_others() -> None:
    image, mask = sample()
    settings = {k: dict(v) for k, v in PRESETS["heavy"]["train"].items()}
    full = Augmentation(settings, ODD, IGNORE)
    off = Augmentation(settings | {"noise": {**settings["noise"], "p": 0}}, ODD, IGNORE)
    for seed in range(30):
        ops = full.trace(image, mask, seed).ops
        assert off.trace(image, mask, seed).ops == [op for op in ops if not op.startswith("noise")]


def test_shapes_come_before_pixels_and_pixels_before_holes() -> None:
    ops = {
        "a": {"op": "erase"},
        "b": {"op": "noise"},
        "c": {"op": "hflip"},
        "d": {"op": "gamma"},
        "e": {"op": "rotate"},
    }
    said = Augmentation(ops, ODD, IGNORE).trace(*sample(), 0).ops
    assert [op.split()[0] for op in said] == ["hflip", "rotate", "noise", "gamma", "erase"]
    ops = {str(place): {"op": op} for place, op in enumerate(["GaussNoise", "erase", "HorizontalFlip", "d4"])}
    said = Augmentation(ops, ODD, IGNORE).trace(*sample(), 0).ops
    assert said[:2] == ["d4", "HorizontalFlip"]  # ours look beyond the crop, so they come before a library's
    assert said[2] == "GaussNoise"


# ---- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "says"),
    [
        ({"op": "hflop"}, r"aug.train.x.op=hflop: no such op - did you mean hflip\?; `segtrain ls ops`"),
        (
            {"op": "HorizontalFlop"},
            r"Flop: Albumentations has no such class - did you mean HorizontalFlip\?",
        ),
        (
            {"op": "OneOf"},
            r"op=OneOf: to choose among ops is what aug.policy is for, as in aug=randaugment",
        ),
        ({"op": "ShiftScaleRotate"}, r"aug.train.x \(ShiftScaleRotate\): .*use Affine"),
        ({"op": "Affine", "rotat": 3}, r"aug.train.x \(Affine\).*'rotat' - did you mean rotate\?"),
        ({"op": "GaussNoise", "std_range": [0.5, 0.1]}, r"aug.train.x \(GaussNoise\): .*std_range"),
        (
            {"op": "rotate", "degree": 3},
            r"aug.train.x \(rotate\): each parameter must be .*mean degrees",
        ),
        (
            {"op": "rotate", "degrees": [30, -30]},
            r"x.degrees: the range .* ends before it begins; write \[-30, 30\]",
        ),
        ({"op": "rotate", "degrees": [1, 2, 3]}, r"aug.train.x.degrees must be a number or a range \[low, high\]"),
        ({"op": "rotate", "degrees": 400}, r"aug.train.x.degrees must be a number in \[-180, 180\], got 400"),
        ({"op": "rotate", "degrees": "much"}, r"aug.train.x.degrees must be a number in .*got 'much'"),
        ({"op": "posterize", "bits": 3.5}, r"aug.train.x.bits must be a whole number in \[1, 8\], got 3.5"),
        ({"op": "blur", "p": 3}, r"aug.train.x.p must be a number in \[0, 1\], got 3"),
        ({"op": "erase", "label": "drop"}, r"aug.train.x.label must be one of keep, ignore; got 'drop'"),
        ({"op": "elastic", "pixels": 9, "spacing": 10}, r"aug.train.x \(elastic\): pixels up to 9 would fold .* of 10"),
        ({"p": 0.5}, r"aug.train.x must be a mapping with the key op"),
        ("hflip", r"aug.train.x must be a mapping with the key op.*got 'hflip'"),
        (None, r"aug.train.x must be a mapping with the key op"),
    ],
)
def test_bad_ops(op: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        build_augmentation({"x": op}, ODD, IGNORE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("op", "says"),
    [
        ({"op": "RandomAffin", "degrees": 3}, r"did you mean RandomAffine\?"),
        ({"op": "RandomAffine", "degree": 3}, r"aug.train.x \(RandomAffine\).*'degree' - did you mean degrees\?"),
        (
            {"op": "HorizontalFlip"},
            r"v2 has no such class - did you mean RandomHorizontalFlip\?",
        ),
        ({"op": "clahe"}, r"aug.backend=torchvision does not have aug.train.x \(clahe\); remove with ~aug.train.x"),
    ],
)
def test_bad_ops_of_torchvision(op: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        build_augmentation({"x": op}, ODD, IGNORE, "torchvision")


@pytest.mark.parametrize("crop", [0, -3, [8], [8, 8, 8], [8, 0], "big", "12", 1.5, None, True])
def test_bad_crops(crop: Any) -> None:
    with pytest.raises(UserError, match="crop must be"):
        build_augmentation({}, crop, IGNORE)


def test_bad_settings() -> None:
    with pytest.raises(UserError, match=r"aug.backend must be one of albumentations, torchvision; got 'kornia'"):
        build_augmentation({}, ODD, IGNORE, "kornia")
    with pytest.raises(UserError, match=r"aug.train must be a mapping of named ops, got \['hflip'\]"):
        build_augmentation(["hflip"], ODD, IGNORE)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", USABLE)
def test_every_preset_works_on_rgb(name: str) -> None:
    preset(name).check(channels=3)


@pytest.mark.parametrize("name", ["none", "light", "medium", "geometric", "grey", "erase"])
def test_presets_for_any_images(name: str) -> None:
    for channels, dtype in product(CHANNELS, DTYPES):
        preset(name).check(channels, dtype)


@pytest.mark.parametrize("name", ["none", "light", "medium", "heavy", "geometric", "grey", "erase", "randaugment"])
def test_presets_that_both_backends_have(name: str) -> None:
    preset(name, backend="torchvision").check(3)


def test_all_ops_that_cannot_work_are_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        preset("heavy").check(4)
    assert str(caught.value) == (
        "aug.train.hue (hue), aug.train.saturation (saturation): three colours needed, and the images have 4 channels "
        "of uint8; remove with ~aug.train.hue ~aug.train.saturation, or instead of hue use channel_gain or "
        "channel_shuffle; instead of saturation use channel_gain"
    )
    with pytest.raises(UserError, match=r"^aug.train.jpeg \(jpeg\): 8 bits needed, .* of float32; remove with ~"):
        preset("noise").check(3, "float32")
    with pytest.raises(UserError, match=r"^aug.train.d4 \(d4\): a square crop needed, and crop is \[24, 40\]"):
        preset("medium", [24, 40]).check(3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_alternatives_work_where_ops_do_not(backend: str) -> None:
    for op in OPS.values():
        for other in op.instead.split(" or ") if op.instead else []:
            assert not OPS[other].rgb
            assert not OPS[other].uint8
            always(other, ODD, backend).check(4, "float32")


def test_check_tries_ops_that_are_rarely_applied() -> None:
    augment = Augmentation({"a": {"op": "HueSaturationValue", "p": 0.0}}, ODD, IGNORE)
    with pytest.raises(UserError, match=r"HueSaturationValue\) cannot work on images of 5 channels.*~aug.train.a"):
        augment.check(5)


@pytest.mark.parametrize(
    ("backend", "op", "says"),
    [
        ("albumentations", {"op": "RandomRotate90"}, r"makes \(.*\) of a crop of \(24, 40\)"),
        ("albumentations", {"op": "Resize", "height": 9, "width": 9}, r"makes \(9, 9\) of a crop of \(24, 40\)"),
        ("albumentations", {"op": "RandomCrop", "height": 64, "width": 64}, "cannot work on images of 3 channels"),
        ("albumentations", {"op": "ToFloat"}, "makes 3 channels of float32 of images of 3 channels, uint8"),
        ("torchvision", {"op": "CenterCrop", "size": 9}, r"makes \(9, 9\) of a crop of \(24, 40\)"),
        ("torchvision", {"op": "AutoAugment"}, "cannot work on images of 3 channels, uint8"),
        ("torchvision", {"op": "Grayscale"}, "makes 1 channels of uint8 of images of 3 channels, uint8"),
    ],
)
def test_library_ops_that_change_what_must_stay_are_named(backend: str, op: Mapping[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=rf"aug.train.t \({op['op']}\) {says}.*~aug.train.t"):
        Augmentation({"t": op}, [24, 40], IGNORE, backend).check(3)


@pytest.mark.parametrize(
    ("op", "says"),
    [
        (
            {"op": "Affine", "mask_interpolation": 1},
            r"\(Affine\): leave out mask_interpolation; masks are",
        ),
        ({"op": "Affine", "fill_mask": 3}, r"\(Affine\): leave out fill_mask; .* labels stay what they are"),
        ({"op": "PixelDropout", "mask_drop_value": 1}, r"\(PixelDropout\): leave out mask_drop_value"),
        (
            {"op": "MaskDropout"},
            r"\(MaskDropout\) writes \[0\] into masks of .*, and labels must stay; remove it",
        ),
    ],
)
def test_library_ops_cannot_write_labels(op: Mapping[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Augmentation({"t": {**op, "p": 1.0}}, ODD, IGNORE).check(3)


def test_policies_that_cannot_work_are_named_in_one_sentence() -> None:
    with pytest.raises(UserError) as caught:
        preset("autoaugment").check(3, "float32")
    assert str(caught.value) == (
        "aug.policy (equalize): 8 bits needed, and the images have 3 channels of float32; "
        "choose another aug, such as light, medium or grey"
    )


def test_all_that_a_backend_lacks_is_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        preset("color", backend="torchvision")
    assert str(caught.value) == (
        "aug.backend=torchvision does not have aug.train.shift (color_shift), aug.train.clahe (clahe), aug.train.space "
        "(color_space); remove with ~aug.train.shift ~aug.train.clahe ~aug.train.space, or use another aug.backend"
    )


def test_an_op_draws_the_same_whatever_stands_beside_it() -> None:
    image, mask = sample()
    settings = {k: dict(v) for k, v in PRESETS["heavy"]["train"].items()}
    full, without = (
        Augmentation({k: v for k, v in settings.items() if k not in left_out}, ODD, IGNORE)
        for left_out in ((), ("fog",))
    )
    for seed in range(40):
        ops = full.trace(image, mask, seed).ops
        assert without.trace(image, mask, seed).ops == [op for op in ops if not op.startswith("fog")]


def test_nothing_to_do() -> None:
    assert build_augmentation(None, ODD, IGNORE).steps == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_loading_processes_that_are_started_anew_get_the_same(backend: str) -> None:
    ops: dict[str, Any] = {op: {"op": op} for op in [*SHAPES, *HOLES, *PIXELS] if has(backend, op)}
    ops |= {op: {"op": op, **ARGUMENTS.get(op, {})} for op in LIBRARY[backend][:3]}
    policy = {"number": 2, "ops": {"a": {"op": "hflip"}, "b": {"op": "gamma"}}}
    first = build_augmentation({name: {**op, "p": 0.3} for name, op in ops.items()}, ODD, IGNORE, backend, policy)
    second = pickle.loads(pickle.dumps(first))
    for seed in range(5):
        for one, other in zip(first(*sample(), seed), second(*sample(), seed), strict=True):
            np.testing.assert_array_equal(one, other)

"""The synthetic data set: reproducible, as imbalanced as asked for, and hard for a threshold."""

from __future__ import annotations

import hashlib
import inspect
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from segtrain.data.shapes import SHAPES, TEXTURES, draw_shape, draw_texture
from segtrain.data.source import DataSource, Examples
from segtrain.data.synthetic import KINDS, SyntheticData
from segtrain.errors import UserError
from tests import tiny

MODES = ("binary", "multiclass", "multilabel")


def source(mode: str = "auto", num_classes: int | None = None, train: int = 2, **parameters: Any) -> DataSource:
    """Few training images, since opening draws them all; most tests look at the 64 of the test split."""
    task = {"mode": mode, "num_classes": num_classes, "ignore_index": 255, "names": None, "palette": None}
    return SyntheticData(train=train, **parameters).open(task)


def masks(examples: Examples) -> npt.NDArray[Any]:
    return np.stack([examples.read(index)[1] for index in range(len(examples.ids))])


def any_class(stack: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return stack.any(axis=1) if stack.ndim == 4 else stack > 0


# --- the same on every call, different for every key -------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_same_key_same_arrays_in_any_order(mode: str) -> None:
    first, second = source(mode).splits["test"], source(mode, test=20).splits["test"]
    forward = [first.read(index) for index in (3, 7)]
    backward = [second.read(index) for index in (7, 3)][::-1]
    for (image, mask), (other_image, other_mask) in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(image, other_image)
        np.testing.assert_array_equal(mask, other_mask)


def test_every_machine_draws_the_same() -> None:
    """If this fails after a change of the generator, raise VERSION and write down the new values."""
    image, mask = source("multilabel").splits["test"].read(8)
    assert hashlib.blake2b(mask.tobytes(), digest_size=8).hexdigest() == "4092068af0555529"
    np.testing.assert_allclose(
        image[::32, ::32, 0].astype(int),
        [[152, 135, 124, 105], [139, 141, 90, 126], [115, 107, 77, 72], [97, 151, 131, 98]],
        atol=1,
    )


def test_index_split_and_seed_each_change_image_and_mask() -> None:
    data, reseeded = source(empty=0.0), source(empty=0.0, seed=1)
    image, mask = data.splits["train"].read(0)
    others = (data.splits["train"].read(1), data.splits["val"].read(0), reseeded.splits["train"].read(0))
    for other_image, other_mask in others:
        assert (image != other_image).mean() > 0.5
        assert (mask != other_mask).any()


def test_fingerprint_is_of_the_parameters() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"size": 64},
        {"train": 9},
        {"val": 9},
        {"test": 9},
        {"foreground": 0.2},
        {"empty": 0.2},
        {"channels": 1},
        {"seed": 1},
        {"mode": "multilabel"},
        {"mode": "multiclass"},
        {"mode": "multiclass", "num_classes": 5},
    ]
    prints = [source(**change).fingerprint for change in changes]
    assert len(set(prints)) == len(changes)
    assert prints[0] == source().fingerprint
    assert int(prints[0], 16) > 0


def test_survives_pickling() -> None:
    data = source("multilabel", train=4)
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy.splits["train"].read(3)[0], data.splits["train"].read(3)[0])
    assert copy == data


# --- as imbalanced as asked for ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("foreground", tiny.every(2, [0.5, 0.03, 0.001]))
def test_share_of_foreground_is_what_was_asked_for(mode: str, foreground: float) -> None:
    drawn = any_class(masks(source(mode, foreground=foreground).splits["test"]))
    assert drawn.mean() == pytest.approx(foreground, rel=0.2)  # 25 % are promised


@pytest.mark.parametrize("empty", [0.0, 0.1, 0.7])
def test_share_of_empty_masks_is_exact_in_every_split(empty: float) -> None:
    data = source(empty=empty)
    for split, examples in data.splits.items():
        drawn = any_class(masks(examples))
        blank = (~drawn.any(axis=(1, 2))).sum()
        assert abs(blank - empty * len(drawn)) < 1, split
        assert split == "train" or drawn.mean() == pytest.approx(0.15, rel=0.25)  # 2 images have any share


def test_share_keeps_at_other_sizes() -> None:
    for size in (48, [200, 320]):
        drawn = any_class(masks(source(size=size, test=50, foreground=0.1).splits["test"]))
        assert drawn.mean() == pytest.approx(0.1, rel=0.25), size


def test_later_classes_are_rarer_and_all_occur() -> None:
    for mode in ("multiclass", "multilabel"):
        share = source(mode, train=64).stats.share()
        objects = share[1:] if mode == "multiclass" else share
        assert sorted(objects, reverse=True) == objects
        assert 0 < objects[-1] < 0.2 * objects[0]
        assert mode == "multilabel" or share[0] == pytest.approx(0.85, abs=0.03)  # the background is class 0


# --- masks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "channels"), [(128, 3), ([97, 131], 1), ([16, 40], 5)])
@pytest.mark.parametrize(
    ("mode", "planes", "ids"),
    tiny.every(2, [("binary", (), {0, 1}), ("multiclass", (), {0, 1, 2, 3}), ("multilabel", (3,), {0, 1})]),
)
def test_shapes_dtypes_and_ids(mode: str, planes: tuple[int, ...], ids: set[int], channels: int, size: Any) -> None:
    data = source(mode, size=size, channels=channels, train=24)
    height, width = (size, size) if isinstance(size, int) else size
    image, mask = data.splits["train"].read(1)
    assert image.dtype == mask.dtype == np.uint8
    assert image.shape == (height, width, channels)
    assert mask.shape == (*planes, height, width)
    assert set(np.unique(masks(data.splits["train"]))) == ids
    assert data.splits["train"].sizes == ((height, width),) * 24
    assert len(data.mean) == len(data.std) == data.channels == channels


def test_multilabel_classes_overlap() -> None:
    stack = masks(source("multilabel").splits["test"])
    double = (stack.sum(axis=1) > 1).mean() / (stack > 0).any(axis=1).mean()
    assert 0.1 < double < 0.6  # of the labelled pixels: no accident, no identical planes


def test_all_kinds_can_be_classes() -> None:
    data = source("multiclass", len(KINDS) + 1, train=10, val=0, test=1, size=512, foreground=0.5, empty=0.0)
    assert set(np.unique(masks(data.splits["train"]))) == set(range(len(KINDS) + 1))
    assert len(set(data.task.names)) == len(KINDS) + 1
    assert list(data.splits) == ["train", "test"]


def test_binary_foreground_has_thin_structures() -> None:
    """Some components vanish under a 3x3 opening, and they are long: threads, not specks."""
    longest = []
    for mask in masks(source().splits["test"]):
        thin = mask - cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        stats = cv2.connectedComponentsWithStats(thin, connectivity=8)[2][1:]
        longest.append(max((max(row[cv2.CC_STAT_WIDTH], row[cv2.CC_STAT_HEIGHT]) for row in stats), default=0))
    assert np.mean(np.array(longest) >= 20) > 0.3  # pixels; in a third of the images


# --- the statistics are those of the training split --------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_stats_mean_and_std_by_hand(mode: str) -> None:
    data = source(mode, train=10, channels=2)
    pairs = [data.splits["train"].read(index) for index in range(10)]
    pixels = np.stack([image for image, _ in pairs]).reshape(-1, 2) / 255
    assert data.mean == pytest.approx(pixels.mean(axis=0).tolist())
    assert data.std == pytest.approx(pixels.std(axis=0).tolist())
    first = 1 if mode == "binary" else 0
    for k in range(data.task.num_classes):
        planes = [mask[k] if mode == "multilabel" else mask == k + first for _, mask in pairs]
        assert data.stats.positives[k] == sum(int(plane.sum()) for plane in planes)
        assert data.stats.present[k] == sum(plane.size for plane in planes if plane.any())
        assert data.stats.valid[k] == 10 * 128 * 128
    assert data.stats.images == 10


def test_names_and_palette_of_the_user_are_kept() -> None:
    asked = {"mode": "multilabel", "num_classes": 2, "ignore_index": -1, "names": ["a", "b"]}
    task = SyntheticData(train=2).open({**asked, "palette": [[1, 2, 3], [4, 5, 6]]}).task
    assert (task.names, task.palette, task.ignore_index) == (("a", "b"), ((1, 2, 3), (4, 5, 6)), -1)
    assert source("multiclass").task.names == ("background", "striped_blob", "checked_disk", "thread")


# --- hard enough, cheap enough -----------------------------------------------------------------------


def otsu_iou(examples: Examples) -> float:
    """Of Otsu's threshold, each image with the polarity that fits its own mask better."""
    both = either = 0
    for index in range(len(examples.ids)):
        image, mask = examples.read(index)
        _, bright = cv2.threshold(image.mean(axis=2).astype(np.uint8), 0, 1, cv2.THRESH_OTSU)
        sides = [(bright == side, mask > 0) for side in (0, 1)]
        counts = [(int((side & truth).sum()), int((side | truth).sum())) for side, truth in sides]
        hit, union = max(counts, key=lambda count: count[0] / count[1])
        both, either = both + hit, either + union
    return both / either


@pytest.mark.parametrize("seed", [0, 1])
def test_no_threshold_solves_it(seed: int) -> None:
    assert otsu_iou(source(seed=seed).splits["test"]) < 0.35


def test_grey_value_tells_no_class() -> None:
    """The classes' mean brightness differs by less than the deviation within each of them."""
    examples = source("multiclass").splits["test"]
    pairs = [examples.read(index) for index in range(64)]
    grey = np.concatenate([image.mean(axis=2).ravel() for image, _ in pairs])
    ids = np.concatenate([mask.ravel() for _, mask in pairs])
    means = [grey[ids == k].mean() for k in range(4)]
    assert max(means) - min(means) < 0.5 * min(grey[ids == k].std() for k in range(4))


# --- primitives --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("area", [20.0, 60.0, 600.0])
def test_shapes_have_the_wanted_area(shape: str, area: float) -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_shape(shape, area, rng) for _ in range(100)]
    assert {int(value) for patch in drawn for value in np.unique(patch)} <= {0, 1}
    line = shape in ("thread", "scratch")
    wanted = min(area, 110.0) if line else area  # 110: the mean of LONGEST
    coarse = line or area < 50  # a pixel more in radius is much there
    assert np.mean([patch.sum() for patch in drawn]) == pytest.approx(wanted, rel=0.25 if coarse else 0.12)


@pytest.mark.parametrize("texture", sorted(set(TEXTURES) - {"plain"}))
def test_textures_have_mean_0_and_rms_1(texture: str) -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_texture(texture, 40, 44, rng) for _ in range(50)])
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 0.1
    assert np.sqrt(np.mean(drawn**2)) == pytest.approx(1.0, rel=0.1)


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("foreground", 2),
        ("foreground", 0.0005),
        ("foreground", float("nan")),
        ("foreground", "much"),
        ("empty", -0.1),
        ("empty", 0.95),
        ("train", 0),
        ("train", 2.5),
        ("val", -1),
        ("test", True),
        ("channels", 0),
        ("seed", -1),
        ("seed", "a"),
        ("size", 8),
        ("size", [128]),
        ("size", [128, 4]),
        ("size", "12"),
        ("size", None),
    ],
)
def test_a_bad_parameter_is_named_in_one_sentence(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^data\.{key} must be .*got .*{str(value).split()[-1].strip('[]')}") as error:
        source(**{key: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"foreground": 0.5, "empty": 0.5}, "data.empty"),
        ({"foreground": 0.001, "size": 32}, "data.size"),
        ({"mode": "panoptic"}, "task.mode"),
        ({"mode": "binary", "num_classes": 2}, "task.num_classes"),
        ({"mode": "multiclass", "num_classes": 1}, "task.num_classes"),
        ({"mode": "multilabel", "num_classes": "3"}, "task.num_classes"),
        ({"mode": "multilabel", "num_classes": 99}, "99 classes"),
    ],
)
def test_what_does_not_go_together_is_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        source(**parameters)


def test_yaml_and_function_have_the_same_defaults() -> None:
    config = yaml.safe_load((Path(__file__).parents[2] / "conf/data/synthetic.yaml").read_text())
    assert config.pop("_target_") == f"{SyntheticData.__module__}.{SyntheticData.__name__}"
    parameters = inspect.signature(SyntheticData).parameters.values()
    assert config == {parameter.name: parameter.default for parameter in parameters if parameter.name != "task"}


def test_large_images_do_not_make_opening_slow() -> None:
    assert source(train=9, size=[1024, 2048], foreground=0.001).stats.images == 2


def test_no_image_beyond_the_last() -> None:
    examples = source(val=4).splits["val"]
    assert examples.ids == ("val_00000", "val_00001", "val_00002", "val_00003")
    for index in (4, -1):
        with pytest.raises(IndexError, match="val has images 0 to 3"):
            examples.read(index)

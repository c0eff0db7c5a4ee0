"""Pixel ops against other libraries, and against their formulas in float64."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from skimage import color, exposure

from segtrain.augment import colors, fields, filters, torchvision
from tests.augment.samples import CHANNELS, DTYPES, PIXELS, sample, works_on

SETTINGS: Mapping[str, list[dict[str, Any]]] = {
    "brightness": [{"factor": 0.6}, {"factor": 1.7}],
    "contrast": [{"factor": 0.4}, {"factor": 1.9}],
    "gamma": [{"power": 0.5}, {"power": 2.2}],
    "channel_gain": [{"spread": 0.3, "seed": 5}],
    "channel_drop": [{"seed": 4}],
    "channel_shuffle": [{"seed": 4}],
    "saturation": [{"factor": 0.0}, {"factor": 1.8}],
    "hue": [{"degrees": 40.0}, {"degrees": -100.0}, {"degrees": 180.0}],
    "grey": [{}],
    "invert": [{}],
    "posterize": [{"bits": 3}, {"bits": 8}],
    "solarize": [{"threshold": 0.4}, {"threshold": 0.6}],
    "autocontrast": [{}],
    "equalize": [{}],
    "noise": [{"sigma": 0.05, "seed": 9}],
    "salt_pepper": [{"share": 0.1, "seed": 9}],
    "speckle": [{"sigma": 0.2, "seed": 9}],
    "blur": [{"sigma": 0.8}, {"sigma": 2.0}],
    "sharpen": [{"factor": 0.2}, {"factor": 2.5}],
    "fog": [{"density": 0.3, "spacing": 0.3, "seed": 9}],
    "low_resolution": [{"factor": 0.5}],
    "identity": [{}],
}
# 8 bits: how many grey levels apart; where the libraries differ in more than rounding it says why
APART = {
    "hue": 5,  # OpenCV keeps 256 hues of 8 bits
    "sharpen": 2,
    "low_resolution": 6,  # by areas, or by a triangle filter
    "equalize": 5,  # Pillow's steps, or those of a cumulative histogram
}
OURS = colors.PIXELS | filters.PIXELS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SETTINGS)
def test_both_backends_do_the_same(name: str, dtype: str) -> None:
    for channels in CHANNELS:
        if not works_on(name, channels, dtype):
            continue
        image = sample((192, 229), channels=channels, dtype=dtype)[0]
        for drawn in SETTINGS[name]:
            one, other = OURS[name](image, **drawn), torchvision.PIXELS[name](image, **drawn)
            scale = 1.0 if dtype == "uint8" else 255.0
            apart = np.abs(one.astype(np.float64) - other) * scale
            assert apart.max() <= APART.get(name, 1 if dtype == "uint8" else 0.03), (channels, drawn)
            if name != "identity" and drawn.get("bits") != 8 and (name, channels) != ("channel_shuffle", 1):
                assert np.abs(one.astype(np.float64) - image).max() * scale > 3


def test_every_op_that_both_have_is_compared() -> None:
    assert set(SETTINGS) == set(torchvision.PIXELS)
    assert set(OURS) == set(PIXELS)


def pillow(change: Callable[[Image.Image], Image.Image]) -> Any:
    image = sample((256, 256))[0]  # of few pixels, whole numbers of them for each level make equalize differ
    return image, np.asarray(change(Image.fromarray(image))).astype(int)


PILLOW: Mapping[str, tuple[dict[str, Any], Callable[[Image.Image], Image.Image], int]] = {
    "brightness": ({"factor": 1.6}, lambda i: ImageEnhance.Brightness(i).enhance(1.6), 1),
    "contrast": ({"factor": 1.6}, lambda i: ImageEnhance.Contrast(i).enhance(1.6), 1),
    "saturation": ({"factor": 1.6}, lambda i: ImageEnhance.Color(i).enhance(1.6), 1),
    "sharpen": ({"factor": 1.6}, lambda i: ImageEnhance.Sharpness(i).enhance(1.6), 2),
    "grey": ({}, lambda i: i.convert("L").convert("RGB"), 1),
    "invert": ({}, ImageOps.invert, 0),
    "posterize": ({"bits": 3}, lambda i: ImageOps.posterize(i, 3), 0),
    "solarize": ({"threshold": 0.5}, lambda i: ImageOps.solarize(i, 128), 0),
    "autocontrast": ({}, ImageOps.autocontrast, 1),
    "equalize": ({}, ImageOps.equalize, 5),
}


@pytest.mark.parametrize("name", PILLOW)
def test_pillow_does_the_same(name: str) -> None:
    drawn, change, apart = PILLOW[name]
    image, wanted = pillow(change)
    assert np.abs(OURS[name](image, **drawn).astype(int) - wanted).max() <= apart


@pytest.mark.parametrize("space", [*colors.RANGES, "xyz", "ycrcb", "yuv"])
def test_color_spaces_of_8_bits_and_floats_agree(space: str) -> None:
    image = sample((48, 57))[0]
    bytes_, floats = colors.color_space(image, space), colors.color_space(image.astype(np.float32) / 255, space)
    apart = np.abs(bytes_ / 255 - floats)
    apart = np.minimum(apart, 1 - apart) if space in ("hsv", "hls") else apart  # hues meet at the ends
    assert np.quantile(apart, 0.98) < 0.02
    still = colors.color_shift(image, space, 0.0, 0.0, 0.0)
    assert np.abs(still.astype(int) - image).max() <= 3


def test_shifts_of_lab_are_those_of_skimage() -> None:
    image = sample((48, 57), dtype="float32")[0]
    shifted = color.rgb2lab(image) + np.array([0.05 * 100, -0.04 * 254, 0.03 * 254])
    wanted = np.clip(color.lab2rgb(shifted), 0, 1)
    found = colors.color_shift(image, "lab", 0.05, -0.04, 0.03)
    assert np.abs(found - wanted).mean() < 0.01


def test_clahe_flattens_the_light_and_is_limited() -> None:
    """As scikit-image's in kind: more even over the image, the stronger the limit."""
    image = sample((96, 96), channels=1)[0]
    slope = [abs(np.polyfit(np.arange(96), each[..., 0].mean(0), 1)[0]) for each in (image, colors.clahe(image, 40, 4))]
    reference = exposure.equalize_adapthist(image[..., 0], kernel_size=24, clip_limit=0.5)
    assert slope[1] < 0.6 * slope[0]
    assert np.corrcoef(colors.clahe(image, 40, 4)[..., 0].ravel(), reference.ravel())[0, 1] > 0.8
    spread = [colors.clahe(image, limit, 4).std() for limit in (2, 8, 40)]
    assert spread == sorted(spread)


@pytest.mark.parametrize("dtype", DTYPES)
def test_noises_have_the_deviation_they_say(dtype: str) -> None:
    grey = np.full((200, 200, 3), 100, np.uint8) if dtype == "uint8" else np.full((200, 200, 3), 0.4, np.float32)
    white = colors.full(grey)
    added = filters.noise(grey, 0.04, 1).astype(float) - grey
    assert added.std() / white == pytest.approx(0.04, rel=0.02)
    assert abs(added.mean()) / white < 5e-4
    assert np.corrcoef(added[..., 0].ravel(), added[..., 1].ravel())[0, 1] < 0.02
    speckled = filters.speckle(grey, 0.1, 1).astype(float) / grey
    assert speckled.std() == pytest.approx(0.1, rel=0.02)
    spotted = filters.salt_pepper(grey, 0.06, 1)
    for value in (0, white):
        assert (spotted == value).all(-1).mean() == pytest.approx(0.03, abs=0.004)
    assert ((spotted == grey).all(-1) | (spotted == 0).all(-1) | (spotted == white).all(-1)).all()


def test_deviates_are_normal() -> None:
    """Quantiles of the normal distribution, up to the ends that 256 levels can show."""
    drawn = fields.normal(3, (1000, 1000), 1.0)
    for share, deviate in ((0.01, -2.326), (0.1, -1.2816), (0.5, 0.0), (0.8413, 1.0), (0.99, 2.326)):
        assert np.quantile(drawn, share) == pytest.approx(deviate, abs=0.07)
    assert drawn.std() == pytest.approx(1, abs=0.0015)  # two standard errors; the bare quantiles have .9975
    assert np.abs(drawn).max() == pytest.approx(2.9, abs=0.1)


def test_fog_whitens_by_its_density_and_unevenly() -> None:
    dark = np.zeros((200, 300, 3), np.uint8)
    means, spread = [], []
    for seed in range(30):
        fogged = filters.fog(dark, 0.3, 0.25, seed) / 255
        assert (fogged[..., 0] == fogged[..., 2]).all()
        means.append(fogged.mean())
        spread.append(fogged.std())
        assert np.abs(np.diff(fogged[..., 0], axis=1)).max() < 0.02  # smooth
    assert np.mean(means) == pytest.approx(0.3, abs=0.01)
    assert 0.03 < np.mean(spread) < 0.12


def test_rain_falls_as_dense_and_as_slanted_as_it_says() -> None:
    dark = np.zeros((300, 300, 1), np.uint8)
    few, many = (filters.rain(dark, drops, 12, 0, 1)[..., 0] for drops in (10, 40))
    assert (many > 40).mean() / (few > 40).mean() == pytest.approx(4, rel=0.35)
    slanted = filters.blur(filters.rain(dark, 4, 60, 30, 1), 2.0)[..., 0]
    rows, columns = np.gradient(slanted.astype(float))
    # streaks of 30 degrees from the vertical: the structure tensor's main direction is across them
    angle = 0.5 * np.arctan2(2 * (rows * columns).sum(), (columns**2).sum() - (rows**2).sum())
    assert abs(np.degrees(angle)) == pytest.approx(30, abs=4)


def test_motion_blur_is_a_mean_along_a_line() -> None:
    dot = np.zeros((41, 41, 1), np.uint8)
    dot[20, 20] = 255
    flat = filters.motion_blur(dot, 9, 0)[..., 0]
    assert (flat[20] > 5).sum() == pytest.approx(9, abs=1)
    assert flat[18].max() == 0
    steep = filters.motion_blur(dot, 9, 90)[..., 0]
    np.testing.assert_array_equal(steep, flat.T)
    slanted = filters.motion_blur(dot, 15, 45)[..., 0]
    assert slanted[16, 24] > 5  # up to the right
    assert slanted[16, 16] == 0
    np.testing.assert_array_equal(filters.motion_blur(dot, 1, 30), dot)


def test_jpeg_is_that_of_pillow() -> None:
    image = sample((48, 64))[0]
    found = filters.jpeg(image, 30)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "jpeg", quality=30)
    wanted = np.asarray(Image.open(stream)).astype(int)
    assert np.abs(found.astype(int) - wanted).mean() < 3
    worse = [np.abs(filters.jpeg(image, quality).astype(int) - image).mean() for quality in (95, 50, 10)]
    assert worse == sorted(worse)
    grey = filters.jpeg(image[..., :1], 80)
    assert grey.shape == (48, 64, 1)
    assert np.abs(grey.astype(int) - image[..., :1]).mean() < 6


def test_low_resolution_keeps_areas_and_loses_detail() -> None:
    stripes = np.tile(np.array([0, 200], np.uint8), (40, 20))[..., None]
    halved = filters.low_resolution(stripes, 0.5)
    assert np.abs(halved.astype(int) - 100).max() <= 1
    np.testing.assert_array_equal(filters.low_resolution(stripes, 1.0), stripes)


def test_blur_is_that_of_its_deviation() -> None:
    dot = np.zeros((61, 61, 1), np.float32)
    dot[30, 30] = 1
    for sigma in (0.7, 2.0, 5.0):
        spread = filters.blur(dot, sigma)[..., 0]
        variance = (spread.sum(0) * (np.arange(61) - 30.0) ** 2).sum() / spread.sum()
        assert np.sqrt(variance) == pytest.approx(sigma, rel=0.05)
    np.testing.assert_array_equal(filters.blur(dot, 0), dot)


def test_equal_histograms_after_equalize() -> None:
    image = sample((64, 64), channels=4)[0]
    for channel in np.moveaxis(colors.equalize(image), 2, 0):
        assert np.abs(np.quantile(channel, [0.25, 0.5, 0.75]) / 255 - [0.25, 0.5, 0.75]).max() < 0.03

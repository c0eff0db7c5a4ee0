"""The style of references: against other libraries and against what each method promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.linalg import sqrtm
from skimage.exposure import match_histograms

from segtrain.augment import style
from segtrain.build import build_augmentation_of, open_source
from segtrain.cli.compose import compose
from segtrain.decode.reading import Reading
from segtrain.errors import UserError
from tests.augment.samples import CHANNELS, DTYPES, STYLE, preset, sample

SETTINGS: dict[str, dict[str, Any]] = {
    "fourier": {"band": 0.05},
    "histogram": {"blend": 1.0},
    "distribution": {"kind": "covariance", "blend": 1.0},
}


def pair(channels: int = 3, dtype: str = "uint8") -> tuple[Any, Any]:
    """A dark image and a bright reference with other colours."""
    image, other = (sample((48, 57), channels=channels, dtype=dtype, seed=seed)[0] for seed in (1, 2))
    scale = np.linspace(0.5, 0.9, channels)
    dark = (image * scale).astype(image.dtype)
    bright = np.rot90(other, 2) * (1 - 0.4 * scale) + (60 if dtype == "uint8" else 60 / 255)
    return dark, np.ascontiguousarray(bright).astype(image.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", STYLE)
def test_images_stay_what_they_are(name: str, channels: int, dtype: str) -> None:
    image, reference = pair(channels, dtype)
    changed = style.STYLES[name](image, reference, **SETTINGS[name])
    assert (changed.shape, changed.dtype) == (image.shape, image.dtype)
    assert changed.max() <= (255 if dtype == "uint8" else 1)
    assert changed.min() >= 0
    before, after = (np.abs(each.mean((0, 1)) - reference.mean((0, 1))).max() for each in (image, changed))
    assert after < 0.3 * before  # whatever else, the mean colour comes from the reference
    same = style.STYLES[name](image, image, **SETTINGS[name])
    assert np.abs(same.astype(float) - image).max() <= (1 if dtype == "uint8" else 0.01)


def test_fourier_as_the_paper_defines_it() -> None:
    """Amplitudes within the square around the shifted spectrum's middle, with the whole transform."""
    image, reference = pair(dtype="float32")
    dark = image * 0.3 + 0.3  # nothing is cut off
    bright = reference * 0.3 + 0.3
    ours, theirs = (np.fft.fftshift(np.fft.fft2(each, axes=(0, 1)), axes=(0, 1)) for each in (dark, bright))
    amplitude, phase = np.abs(ours), np.angle(ours)
    reach, row, column = int(0.09 * 48), 24, 28
    window = slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1)
    amplitude[window] = np.abs(theirs)[window]
    wanted = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase), axes=(0, 1)), axes=(0, 1)).real
    np.testing.assert_allclose(style.fourier(dark, bright, 0.09), wanted, atol=2e-6)
    assert reach == 4


def test_fourier_of_no_band_takes_the_mean_alone() -> None:
    image, reference = pair(dtype="float32")
    dark, bright = image * 0.3 + 0.3, reference * 0.3 + 0.3
    wanted = dark - dark.mean((0, 1)) + bright.mean((0, 1))
    np.testing.assert_allclose(style.fourier(dark, bright, 0.0), wanted, atol=2e-6)


def test_histograms_as_scikit_image_matches_them() -> None:
    image, reference = pair()
    wanted = match_histograms(image, reference, channel_axis=-1)
    assert np.abs(style.histogram(image, reference, 1.0).astype(float) - wanted).max() <= 1
    half = style.histogram(image, reference, 0.5).astype(float)
    assert np.abs(half - (wanted + image.astype(float)) / 2).max() <= 1.5
    floats, others = pair(dtype="float32")
    apart = style.histogram(floats, others, 1.0) - match_histograms(floats, others, channel_axis=-1)
    assert np.abs(apart).mean() < 0.003


@pytest.mark.parametrize("kind", ["covariance", "deviation"])
def test_distributions_are_those_of_the_reference(kind: str) -> None:
    image, reference = pair(dtype="float32")
    dark, bright = image * 0.3 + 0.3, reference * 0.3 + 0.3
    changed = style.distribution(dark, bright, kind, 1.0)
    flat, wanted = changed.reshape(-1, 3).astype(float), bright.reshape(-1, 3).astype(float)
    np.testing.assert_allclose(flat.mean(0), wanted.mean(0), atol=1e-4)
    np.testing.assert_allclose(flat.std(0), wanted.std(0), rtol=0.01)
    if kind == "covariance":
        # of all maps that do it this one moves colours least: the distance between normal distributions
        ours, theirs = np.cov(dark.reshape(-1, 3).astype(float).T), np.cov(wanted.T)
        root = sqrtm(ours)
        least = (
            np.trace(ours + theirs - 2 * sqrtm(root @ theirs @ root))
            + ((dark.mean((0, 1)) - wanted.mean(0)) ** 2).sum()
        )
        assert ((changed - dark) ** 2).sum(-1).mean() == pytest.approx(least, rel=0.01)
        np.testing.assert_allclose(np.cov(flat.T), np.cov(wanted.T), rtol=0.02, atol=1e-6)
    grey = np.full((20, 20, 3), 0.5, np.float32)
    assert np.isfinite(style.distribution(grey, bright[:20, :20], kind, 1.0)).all()


# ---- references ----------------------------------------------------------------------------------------------------


def write(folder: Path, number: int, size: tuple[int, int] = (60, 70), channels: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        image = sample(size, channels=channels, seed=index)[0]
        Image.fromarray(image.squeeze()).save(folder / f"{index}.png")
    return folder


def test_references_have_the_size_of_crops(tmp_path: Path) -> None:
    for place, size in enumerate([(60, 70), (20, 90), (20, 10), (37, 37)]):
        folder = write(tmp_path / str(place), 2, size)
        found = style.References("key", str(folder), (37, 37), Reading(), 3, "uint8")
        assert [image.shape for image in found.images] == [(37, 37, 3)] * 2
        assert {found.pick(seed).tobytes() for seed in range(9)} == {image.tobytes() for image in found.images}


def test_of_many_references_some_are_kept(tmp_path: Path) -> None:
    folder = write(tmp_path / "many", 150, (8, 8))
    kept = style.References("key", str(folder), (8, 8), Reading(), 3, "uint8").images
    assert 40 <= len(kept) <= style.MOST


def test_the_preset_takes_the_style_of_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "below" / "deeper", 3)
    augment = preset("style", references=str(tmp_path / "below"))
    augment.check(3)
    image, mask = sample()
    traced = [augment.trace(image, mask, seed) for seed in range(20)]
    assert {op.split()[0] for each in traced for op in each.ops} == set(STYLE)
    assert all((each.mask == mask).all() for each in traced)
    assert all((each.image != image).any() == bool(each.ops) for each in traced)
    assert folder.is_dir()


def test_bad_references(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    write(tmp_path / "two", 1, channels=3)
    for folder, channels, says in (
        ("missing", 3, r"aug.references=.*missing: no such folder"),
        ("empty", 3, r"aug.references=.*empty: no images in it \(.bmp, .*name a folder that has some"),
        ("broken", 3, r"a.png"),
        ("two/0.png", 3, r"aug.references=.*0.png: a file; name its folder"),
        (
            "two",
            6,
            r"two/0.png has 3 channels, uint8, and the training images 6, uint8; take references",
        ),
    ):
        with pytest.raises(UserError, match=says):
            preset("style", references=str(tmp_path / folder)).check(channels)
    with pytest.raises(UserError, match=r"aug.references must be a folder of reference images, for aug.train.f"):
        preset("style", references=None).check(3)


def test_references_are_read_like_the_training_images(tmp_path: Path) -> None:
    """12 bits in files of 16, with their range said: white stays white."""
    for split in ("train", "val"):
        for kind, white in (("images", 4095), ("masks", 1)):
            (tmp_path / "data" / kind / split).mkdir(parents=True)
            pixels = np.full((40, 40), white, np.uint16 if kind == "images" else np.uint8)
            pixels[:4] = 0 if kind == "masks" else white
            tifffile.imwrite(tmp_path / "data" / kind / split / "a.tif", pixels)
    words = [f"data.root={tmp_path / 'data'}", "data.channels=grey", "data.value_range=4095", "task=binary", "crop=32"]
    references = f"aug.references={tmp_path / 'data' / 'images'}"
    config = compose("train", ["data=folder", *words, "aug=style", references, f"output_dir={tmp_path}"])[0]
    augmentation = build_augmentation_of(config, open_source(config))
    assert {image.max() for kept in augmentation._styles.values() for image in kept.images} == {1.0}


def test_references_without_an_op_that_takes_them() -> None:
    with pytest.raises(UserError, match=r"aug.references=here: no op takes a style; add one, as in aug=light\+style"):
        preset("light", references="here")

"""The style of reference images, without a network: their low frequencies, their histograms, their colours.

The references are unlabelled images of a folder, such as those of the place where a net is to work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from segtrain.augment.colors import Pixels, cut, full, looked_up, means
from segtrain.decode.readers import IMAGE_SUFFIXES, read_image
from segtrain.decode.reading import Reading
from segtrain.errors import UserError
from segtrain.windows import Size

MOST = 64  # references that are kept in memory, evenly spread over the folder
QUANTILES = np.linspace(0, 1, 256)
SMALLEST = 1e-12  # variance (or its square) below which a direction of colours is none
Floats = npt.NDArray[np.floating]


class References:
    """Reference images of one folder, of a crop's size.

    Args:
        key: in the configuration, for messages.
        folder: it and all folders below it are searched.
        size: (height, width); larger images are cut in the middle, smaller ones enlarged.
        reading: how files become arrays, as for the training images.
        channels: that each must have.

    Raises:
        UserError: no such folder, no images in it, or one that cannot be read like the training images.
    """

    def __init__(self, key: str, folder: str, size: Size, reading: Reading, channels: int, dtype: str) -> None:
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise UserError(f"{key}={folder}: {'a file; name its folder' if root.is_file() else 'no such folder'}")
        files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise UserError(
                f"{key}={folder}: no images in it ({', '.join(sorted(IMAGE_SUFFIXES))}); name a folder that has some"
            )
        chosen = files[:: -(-len(files) // MOST)]
        self.images = [fitted(_read(key, file, reading, channels, dtype), size) for file in chosen]

    def pick(self, seed: int) -> Pixels:
        """One of them."""
        return self.images[seed % len(self.images)]


def _read(key: str, file: Path, reading: Reading, channels: int, dtype: str) -> Pixels:
    image = read_image(file, reading)
    if (image.shape[2], image.dtype) != (channels, np.dtype(dtype)):
        raise UserError(
            f"{key}: {file} has {image.shape[2]} channels, {image.dtype}, and the training images {channels}, {dtype}; "
            "take references of the same kind, or read both alike (data.channels=rgb or grey)"
        )
    return image


def fitted(image: Pixels, size: Size) -> Pixels:
    """The middle of an image [H, W, C], enlarged where it is smaller than the size."""
    enlarge = max(1.0, size[0] / image.shape[0], size[1] / image.shape[1])
    if enlarge > 1:
        width, height = (
            max(side, round(old * enlarge)) for side, old in zip(size[::-1], image.shape[1::-1], strict=True)
        )
        image = np.asarray(cv2.resize(image, (width, height))).reshape(height, width, -1)
    top, left = (image.shape[0] - size[0]) // 2, (image.shape[1] - size[1]) // 2
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def fourier(image: Pixels, reference: Pixels, band: float) -> Pixels:
    """Amplitudes of low frequencies from the reference, phases of the image (FDA, Yang and Soatto, CVPR 2020).

    Args:
        image: [H, W, C].
        reference: the same shape and type.
        band: half the side of the square of frequencies that are taken, as a share of the shorter side (their beta).
    """
    height, width = image.shape[:2]
    reach = int(band * min(height, width))
    ours, theirs = (fft.rfft2(np.asarray(each, np.float32), axes=(0, 1)) for each in (image, reference))
    rows = np.r_[0 : reach + 1, height - reach : height] if reach else np.array([0])
    low = np.ix_(rows, np.arange(min(reach + 1, ours.shape[1])))
    ours[low] = np.abs(theirs[low]) * np.exp(1j * np.angle(ours[low]))
    return cut(fft.irfft2(ours, s=(height, width), axes=(0, 1)), image)


def histogram(image: Pixels, reference: Pixels, blend: float) -> Pixels:
    """Each channel's values mapped so that its distribution is the reference's, and blended with the image."""
    match = _match_levels if image.dtype == np.uint8 else _match_quantiles
    matched = np.empty_like(image)
    for channel in range(image.shape[2]):
        ours, theirs = (np.asarray(cv2.extractChannel(each, channel)) for each in (image, reference))
        cv2.insertChannel(match(ours, theirs), matched, channel)
    return blended(image, matched, blend)


def _match_levels(channel: Pixels, reference: Pixels) -> Pixels:
    """8 bits, exactly: from the level of each rank to the reference's level of the same rank."""
    ours, theirs = (
        np.cumsum(cv2.calcHist([each], [0], None, [256], [0, 256])) / each.size for each in (channel, reference)
    )
    levels = np.flatnonzero(np.diff(theirs, prepend=0.0))
    return looked_up(channel, np.rint(np.interp(ours, theirs[levels], levels)).astype(np.uint8))


def _match_quantiles(channel: Pixels, reference: Pixels) -> Pixels:
    mapped = np.interp(channel, np.quantile(channel, QUANTILES), np.quantile(reference, QUANTILES))
    return np.asarray(mapped, np.float32)


def distribution(image: Pixels, reference: Pixels, kind: str, blend: float) -> Pixels:
    """Mean and covariance of the channels (or their deviations alone) from the reference.

    With covariance: x -> m + S (x - mean), S the map of optimal transport between normal distributions.
    """
    (middle, ours), (their_middle, theirs) = _moments(image, kind), _moments(reference, kind)
    root, inverse = _power(ours, 0.5), _power(ours, -0.5)
    change = inverse @ _power(root @ theirs @ root, 0.5) @ inverse
    pixels = image.reshape(-1, image.shape[2]).astype(np.float32) / np.float32(full(image))
    moved = pixels @ change.astype(np.float32) + (their_middle - middle @ change).astype(np.float32)
    return blended(image, cut(moved.reshape(image.shape) * np.float32(full(image)), image), blend)


def _moments(image: Pixels, kind: str) -> tuple[Floats, Floats]:
    """Mean [C] and covariance [C, C] of the channels in [0, 1]; for "deviation" its diagonal alone."""
    middle = means(image) / full(image)
    pixels = image.reshape(-1, image.shape[2]).astype(np.float32) / np.float32(full(image)) - middle.astype(np.float32)
    covariance = (pixels.T @ pixels).astype(np.float64) / len(pixels)
    return middle, covariance if kind == "covariance" else np.diag(np.diag(covariance))


def _power(matrix: Floats, exponent: float) -> Floats:
    """Of a symmetric matrix; directions without variance are left out."""
    values, vectors = np.linalg.eigh(matrix)
    powers = np.where(values > SMALLEST, np.maximum(values, SMALLEST) ** exponent, 0)
    return np.asarray((vectors * powers) @ vectors.T)


def blended(image: Pixels, other: Pixels, share: float) -> Pixels:
    """share of the other image, the rest of this."""
    return np.asarray(cv2.addWeighted(other, share, image, 1 - share, 0)).reshape(image.shape)


STYLES: Mapping[str, Callable[..., Pixels]] = {
    "fourier": fourier,
    "histogram": histogram,
    "distribution": distribution,
}

"""Synthetic micrographs with exact masks: the data set that needs no download.

Objects are told by texture and shape, not by grey value: they are as often darker as brighter than the
background, the light is uneven, and distractors (other textures, straight scratches) look alike. Every
image follows from (seed, split, index) alone: masks are the same bits on any machine, images too but
for a grey level where the machine rounds a sine differently.
`data=synthetic` on the command line; parameters in conf/data/synthetic.yaml.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segtrain.checks import choice, number, whole
from segtrain.data.sampling import Pixels, Sampling, mask_places
from segtrain.data.shapes import Canvas, Grey, Label, Patch, draw_shape, draw_texture, expose
from segtrain.data.source import DataSource
from segtrain.errors import UserError
from segtrain.task import IGNORE, MODES, ClassStats, Task
from segtrain.windows import Array, Window, cut

VERSION = 1  # of the generator: raise it whenever a pixel changes, so that old runs are not compared
COUNTED = 64  # images behind stats, mean and std: a fifth of a second, and the shares are steady by then
ENOUGH = 1 << 22  # pixels behind them: 64 images of 256 x 256, fewer of larger ones, or opening takes long
SPECK = 12.0  # pixels: an object smaller than that is not begun, it would look like noise
STACKED = 0.4  # chance that an object lies on top of the one before, where labels may overlap
LEAST = 4.0  # foreground pixels per image below which an object is no shape any more
SMALLEST = 16  # pixels, side of an image: room for one object
FULLEST = 0.7  # share of an image that scattered objects can cover without hiding each other
OBJECTS = 5  # of usual size per image; more where the image is so large that they reach AREA[1]
AREA = (48.0, 2500.0)  # pixels of a usual object: its texture has room, and it stays an object
JITTER = 0.5  # the share of an image is within +-50 % of the mean, so the number of objects varies
OFFSET = 0.08  # largest mean brightness of an object, either sign: below the unevenness of the light
AMPLITUDE = (0.05, 0.12)  # RMS of a texture: from just above the noise to plainly visible
STROKE = (0.12, 0.25)  # brightness of threads and scratches, either sign: thin, so they need more

Mask = npt.NDArray[np.uint8]
Kind = tuple[str, str]  # texture, shape: keys of TEXTURES and SHAPES

_TEXTURES = ("striped", "checked", "ringed", "dotted")
_SHAPES = ("blob", "disk", "box", "annulus", "wedge")
# 4 and 5 have no common divisor, so counting both at once meets each of the 20 pairs; neighbours differ in both.
_PAIRS = tuple((_TEXTURES[k % 4], _SHAPES[k % 5]) for k in range(20))
KINDS: tuple[Kind, ...] = (*_PAIRS[:2], ("plain", "thread"), *_PAIRS[2:])  # the classes, commonest first
FOREGROUND: tuple[Kind, ...] = (KINDS[0], KINDS[2])  # of the binary task: striped blobs and threads
# What is not foreground: the same shapes with other textures, lines that do not bend.
DISTRACTORS: tuple[Kind, ...] = (("grainy", "blob"), ("plain", "scratch"), ("plain", "blob"), ("grainy", "disk"))
BINARY_DISTRACTORS: tuple[Kind, ...] = (("checked", "blob"), *DISTRACTORS)


@dataclass(frozen=True)
class Scene:
    """All that an image depends on besides its split and index; fields as in `SyntheticData`."""

    mode: str
    kinds: tuple[Kind, ...]
    height: int
    width: int
    channels: int
    foreground: float
    empty: float
    seed: int


@dataclass  # not frozen: the protocol Examples declares plain attributes
class SyntheticExamples:
    """The images of one split, drawn when read.

    Args:
        scene: what is drawn.
        split: "train", "val" or "test".
        ids: such as train_00012; one image each.
        sizes: (height, width) in pixels of each image.
    """

    scene: Scene
    split: str
    ids: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    _drawn: dict[int, tuple[Mask, Mask]] = field(default_factory=dict, repr=False, compare=False)  # the last

    def places(self, index: int) -> Pixels:
        """As Examples.places, from the drawn mask."""
        return mask_places(self._draw(index)[1], _key(self.scene.seed, f"{self.split}/places", index))

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        """Image uint8 [H, W, C] and mask of ids, uint8 [H, W] or (multilabel) [K, H, W].

        Raises:
            IndexError: no such image.
        """
        if not 0 <= index < len(self.ids):
            raise IndexError(f"{self.split} has images 0 to {len(self.ids) - 1}, not {index}")
        return cut(*self._draw(index), window)

    def _draw(self, index: int) -> tuple[Mask, Mask]:
        if index not in self._drawn:
            image, mask = draw_example(self.scene, self.split, index)
            image.flags.writeable = mask.flags.writeable = False
            self._drawn = {index: (image, mask)}
        return self._drawn[index]


@dataclass(frozen=True)
class SyntheticData:
    """The synthetic data set: nothing is stored, each image is drawn when it is read.

    Args:
        name: short name, used for run folders.
        size: of an image in pixels, one number or [height, width]; objects keep their size.
        train: number of images; at least 1.
        val: number of images; 0 leaves the split out.
        test: number of images; 0 leaves the split out.
        foreground: mean share of the pixels with any class but background, [0.001, 0.5].
        empty: share of the images without foreground (they hold distractors), [0, 0.9].
        channels: of an image, at least 1; they see the same scene with other gains and noise.
        seed: 0 or more; another seed is another data set.
        oversample: see Sampling; as the next two.
    """

    name: str = "synthetic"
    size: int | Sequence[int] = 128
    train: int = 128
    val: int = 32
    test: int = 64
    foreground: float = 0.15
    empty: float = 0.1
    channels: int = 3
    seed: int = 0
    oversample: float = 0.0
    oversample_background: bool = False
    repeat: float | None = None

    def open(self, task: Mapping[str, Any]) -> DataSource:
        """Measure the data set and make it a data source.

        Args:
            task: mode, num_classes, ignore_index, names and palette as asked for; mode auto is binary,
                without num_classes there are 4 classes in multiclass (with background), 3 in multilabel.

        Raises:
            UserError: a parameter is out of range, or foreground, empty and size do not go together.
        """
        sampling = Sampling(self.oversample, self.oversample_background, self.repeat)
        height, width = _size(self.size)
        asked_for = {"train": (self.train, 1), "val": (self.val, 0), "test": (self.test, 0)}
        counts = {split: whole(f"data.{split}", count, least) for split, (count, least) in asked_for.items()}
        share = number("data.foreground", self.foreground, 0.001, 0.5)
        blank = number("data.empty", self.empty, 0.0, 0.9)
        _check_room(share, blank, height * width)
        asked, kinds = _task(task)
        depth = whole("data.channels", self.channels, 1)
        scene = Scene(asked.mode, kinds, height, width, depth, share, blank, whole("data.seed", self.seed, 0, math.inf))
        splits = {
            split: SyntheticExamples(scene, split, tuple(f"{split}_{i:05d}" for i in range(n)), ((height, width),) * n)
            for split, n in counts.items()
            if n
        }
        stats, mean, std = _measure(splits["train"], asked)
        key = repr((VERSION, self.name, scene, sorted(counts.items()), asked))
        fingerprint = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return DataSource(self.name, asked, depth, splits, stats, mean, std, fingerprint, sampling=sampling)


def draw_example(scene: Scene, split: str, index: int) -> tuple[Mask, Mask]:
    """Draw one example: the same for the same arguments, whatever was drawn before.

    Returns:
        Image uint8 [H, W, C], mask of ids uint8 [H, W] or (multilabel) [K, H, W].
    """
    rng = np.random.default_rng(_key(scene.seed, split, index))
    plane = (scene.height, scene.width)
    planes = len(scene.kinds) if scene.mode == "multilabel" else 1
    canvas = Canvas(np.zeros(plane, np.float32), np.zeros((planes, *plane), np.uint8))
    share = scene.foreground / (1 - scene.empty)  # of the images that are not empty
    spread = min(JITTER, FULLEST / share - 1)
    pixels = share * scene.height * scene.width
    distractors = BINARY_DISTRACTORS if scene.mode == "binary" else DISTRACTORS
    _scatter(canvas, distractors, [(0, 0)] * len(distractors), pixels, rng)  # first, so they hide no foreground
    if not _is_empty(scene, split, index):
        _scatter(canvas, scene.kinds, _labels(scene), pixels * rng.uniform(1 - spread, 1 + spread), rng)
    return expose(canvas.layer, scene.channels, rng), canvas.mask if scene.mode == "multilabel" else canvas.mask[0]


def _scatter(
    canvas: Canvas, kinds: Sequence[Kind], labels: Sequence[Label], pixels: float, rng: np.random.Generator
) -> None:
    """Draw objects until they cover `pixels` pixels, each kind rarer than the one before."""
    covered = np.zeros(canvas.layer.shape, np.uint8)
    usual = min(max(pixels / OBJECTS, AREA[0]), AREA[1])
    odds = np.cumsum(1 / np.arange(1, len(kinds) + 1))  # Zipf's law: kind k is 1/k as frequent as the first
    center = _anywhere(covered.shape, rng)
    stacked = STACKED if len(canvas.mask) > 1 and labels[0][1] else 0.0  # distractors have no labels to overlap
    for _ in range(20 + int(8 * pixels / usual)):  # a guard for crowded images, not the usual end
        left = pixels - cv2.countNonZero(covered)
        if left < max(0.1 * pixels, min(SPECK, 0.5 * pixels)):
            return
        which = int(np.searchsorted(odds, rng.random() * odds[-1]))
        texture, shape = kinds[which]
        patch = draw_shape(shape, left if left < 1.5 * usual else usual * rng.uniform(0.5, 1.5), rng)
        if rng.random() >= stacked:
            center = _anywhere(covered.shape, rng)
        canvas.paint(patch, _shade(texture, shape, patch, rng), center, labels[which], covered)


def _labels(scene: Scene) -> list[Label]:
    """(plane, id) of each kind."""
    if scene.mode == "binary":
        return [(0, 1)] * len(scene.kinds)
    return [(k, 1) if scene.mode == "multilabel" else (0, k + 1) for k in range(len(scene.kinds))]


def _shade(texture: str, shape: str, patch: Patch, rng: np.random.Generator) -> Grey:
    """Brightness of an object relative to the background, [h, w]."""
    sign = 1.0 if rng.random() < 0.5 else -1.0
    if shape in ("thread", "scratch"):
        return np.full(patch.shape, sign * rng.uniform(*STROKE), np.float32)
    strength, offset = np.float32(rng.uniform(*AMPLITUDE)), np.float32(sign * rng.uniform(0.0, OFFSET))
    return draw_texture(texture, patch.shape[0], patch.shape[1], rng) * strength + offset


def _anywhere(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(shape[0])), int(rng.integers(shape[1]))


def _is_empty(scene: Scene, split: str, index: int) -> bool:
    """Evenly spaced from a random start: even a small split has the share of empty masks asked for."""
    start = _key(scene.seed, split, -1) % 1000 / 1000
    return math.floor((index + 1) * scene.empty + start) > math.floor(index * scene.empty + start)


def _key(seed: int, split: str, index: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{split}/{index}".encode(), digest_size=16).digest(), "big")


# --- opening ----------------------------------------------------------------------------------------


def _task(asked: Mapping[str, Any]) -> tuple[Task, tuple[Kind, ...]]:
    """The task, and which kinds of object are foreground in it."""
    mode = choice("task.mode", asked.get("mode", "auto"), ("auto", *MODES)).replace("auto", "binary")
    usual = {"binary": 1, "multiclass": 4, "multilabel": 3}[mode]
    wanted = asked.get("num_classes")
    num_classes = usual if wanted is None else whole("task.num_classes", wanted, 1)
    background = ("background",) if mode == "multiclass" else ()
    if num_classes - len(background) > len(KINDS):
        raise UserError(f"data=synthetic draws at most {len(KINDS)} kinds of object, so not {num_classes} classes")
    kinds = FOREGROUND if mode == "binary" else KINDS[: num_classes - len(background)]
    names = (*background, *(shape if texture == "plain" else f"{texture}_{shape}" for texture, shape in kinds))
    names = asked.get("names") or (("foreground",) if mode == "binary" else names)
    return Task(mode, num_classes, asked.get("ignore_index", IGNORE), names, asked.get("palette") or ()), kinds


def _measure(examples: SyntheticExamples, task: Task) -> tuple[ClassStats, list[float], list[float]]:
    """Class statistics, mean and deviation per channel of the first images, by sums of whole numbers."""
    area = examples.sizes[0][0] * examples.sizes[0][1]
    images = min(COUNTED, len(examples.ids), max(1, ENOUGH // area))
    counts = np.zeros((images, task.num_classes), np.int64)
    idents = (1,) if task.mode == "binary" else range(task.num_classes)
    sums, squares = np.zeros((2, examples.scene.channels), np.int64)
    for index in range(images):
        image, mask = examples.read(index)
        planes = mask if task.mode == "multilabel" else [mask == ident for ident in idents]
        counts[index] = [np.count_nonzero(plane) for plane in planes]
        levels = image.astype(np.int64)
        sums, squares = sums + levels.sum((0, 1)), squares + np.square(levels).sum((0, 1))
    mean = sums / (images * area)
    std = np.sqrt(squares / (images * area) - mean**2)
    present = (counts > 0).sum(0) * area
    stats = ClassStats(counts.sum(0).tolist(), [images * area] * task.num_classes, present.tolist(), images)
    return stats, (mean / 255).tolist(), (std / 255).tolist()


def _size(size: Any) -> tuple[int, int]:
    sides = list(size) if isinstance(size, Sequence) and not isinstance(size, str) else [size, size]
    if len(sides) != 2:
        raise UserError(f"data.size must be one number or [height, width], got {size!r}")
    return whole("data.size", sides[0], SMALLEST), whole("data.size", sides[1], SMALLEST)


def _check_room(foreground: float, empty: float, pixels: int) -> None:
    share = foreground / (1 - empty)
    if share > FULLEST:
        raise UserError(
            f"data.foreground {foreground:g} with data.empty {empty:g} would cover {share:.0%} of the other images; "
            f"at most {FULLEST:.0%} can be drawn, so lower one of them"
        )
    if share * pixels < LEAST:
        raise UserError(
            f"data.foreground {foreground:g} is {share * pixels:.1f} pixels of an image of this data.size; "
            f"raise one of them until it is at least {LEAST:g}"
        )

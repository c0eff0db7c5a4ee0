"""What is being segmented: the Task, its Batch, and the class statistics of a data set.

Everything below (losses, metrics, models, data, augmentation) speaks of a task through this file
and through nothing else, so that none of them needs to know another.

    mode        logits          target                                   probability
    binary      [N, 1, H, W]    [N, H, W] in {0, 1, ignore}              sigmoid
    multiclass  [N, C, H, W]    [N, H, W] in {0 .. C-1, ignore}          softmax over C
    multilabel  [N, C, H, W]    [N, C, H, W] in {0, 1, ignore}           sigmoid, each class its own
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import torch
from torch import Tensor

from segtrain.errors import UserError
from segtrain.windows import Tile

if TYPE_CHECKING:
    from typing_extensions import NotRequired

MODES = ("binary", "multiclass", "multilabel")
IGNORE = 255  # the ignored pixel's id in memory; ids of files are mapped at reading
Color = tuple[int, int, int]


class Second(NamedTuple):
    """The other target of blended images: the loss is lam L(z, mask of the batch) + (1 - lam) L(z, this mask).

    mask: of the images that were blended in, shaped as the mask of the batch.
    lam: share of a batch's own images, in [0, 1], a float32 scalar.
    """

    mask: Tensor
    lam: Tensor


class Batch(TypedDict):
    """What a data loader yields and every step receives.

    image: uint8 in [0, 255] or float32 in [0, 1], [N, C, H, W]; the net normalizes.
    mask: canonical ids, [N, H, W] (binary, multiclass) or [N, K, H, W] (multilabel).
    id: the sample's name, N strings.
    forced: whether the sample is a crop that was placed around a pixel of a class, N of them.
    tiles: where all samples are tiles of one image, what each is of it (other pixels are ignored in mask); else none.
    second: where images were blended in training (mix=mixup), the other target.
    """

    image: Tensor
    mask: Tensor
    id: list[str]
    forced: list[bool]
    tiles: list[Tile]
    second: NotRequired[Second]


@dataclass(frozen=True)
class Task:
    """What is being segmented: how many classes, whether they exclude each other, what is ignored.

    Args:
        mode: binary, multiclass (each pixel has one class) or multilabel (classes may overlap).
        num_classes: channels of the logits; real classes only, so 1 in binary.
        ignore_index: id of pixels without a label; they take no part in any loss or score.
        names: one name per class; "foreground" or "class_0".. where not given.
        palette: one RGB colour (0 .. 255) per class; spread over the hues where not given.

    Raises:
        UserError: unknown mode, or counts that contradict each other.
    """

    mode: str
    num_classes: int = 1
    ignore_index: int = IGNORE
    names: Sequence[str] = ()
    palette: Sequence[Color] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"task.mode must be one of {', '.join(MODES)}, got {self.mode!r}")
        self._check_counts()
        names = tuple(str(name) for name in self.names) or self._default_names()
        palette = tuple(_color(c) for c in self.palette) or default_palette(self.num_classes, self.mode)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "palette", palette)
        for what, values in (("names", names), ("colours", palette)):
            if len(values) != self.num_classes:
                raise UserError(f"task: {self.num_classes} classes but {len(values)} {what}: {values}")

    def _check_counts(self) -> None:
        for key, value in (("num_classes", self.num_classes), ("ignore_index", self.ignore_index)):
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise UserError(f"task.{key} must be a whole number, got {value!r}")
        for key, values in (("names", self.names), ("palette", self.palette)):
            if isinstance(values, str) or not hasattr(values, "__iter__"):
                raise UserError(f"task.{key} must be a list with an entry for each class, got {values!r}")
        least = {"binary": 1, "multiclass": 2, "multilabel": 1}[self.mode]
        if self.num_classes < least or (self.mode == "binary" and self.num_classes != 1):
            wanted = "exactly 1" if self.mode == "binary" else f"at least {least}"
            raise UserError(f"task.num_classes must be {wanted} in mode {self.mode}, got {self.num_classes}")
        if 0 <= self.ignore_index < max(2, self.num_classes):
            raise UserError(f"task.ignore_index {self.ignore_index} is also the id of a class; use 255 or -1")

    def _default_names(self) -> tuple[str, ...]:
        if self.mode == "binary":
            return ("foreground",)
        return tuple(f"class_{index}" for index in range(self.num_classes))

    @property
    def exclusive(self) -> bool:
        """Whether each pixel has exactly one class (softmax) instead of one yes or no per class."""
        return self.mode == "multiclass"


@dataclass(frozen=True)
class ClassStats:
    """Pixel counts of a training set: what class weights, beta and priors are computed from.

    Args:
        positives: pixels of each class (binary: of the foreground).
        valid: labelled pixels of each class; the same number for all but multilabel with ignored pixels.
        present: labelled pixels of the images that contain the class (for median frequency weights).
        images: number of images counted.
    """

    positives: Sequence[int]
    valid: Sequence[int]
    present: Sequence[int]
    images: int

    def share(self) -> list[float]:
        """Share of the labelled pixels that belongs to each class, each in [0, 1]."""
        return [p / v if v else 0.0 for p, v in zip(self.positives, self.valid, strict=True)]


def valid_mask(target: Tensor, task: Task) -> Tensor:
    """True where the target has a label; same shape as target."""
    return target != task.ignore_index


def check_shapes(logits: Tensor, target: Tensor, task: Task) -> None:
    """Refuse tensors that do not fit the task, naming what was expected and given.

    Reads shapes and dtypes only, so the host never waits for the device.

    Raises:
        UserError: wrong rank, channels, size or dtype, or nothing in them.
    """
    if logits.ndim != 4 or logits.shape[1] != task.num_classes:
        wanted = f"[N, {task.num_classes}, H, W]"
        raise UserError(f"{task.mode}: logits must be {wanted}, got {list(logits.shape)}")
    expected = _expected_target(logits.shape, task)
    if list(target.shape) != expected:
        raise UserError(f"{task.mode}: target must be {expected}, got {list(target.shape)}")
    if 0 in logits.shape:  # a mean over nothing would be 0 or NaN and pass for a result
        raise UserError(f"{task.mode}: logits need an image, a row and a column at least, got {list(logits.shape)}")
    if not logits.is_floating_point():
        raise UserError(f"logits must be floating point, got {logits.dtype}")
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise UserError(f"target must hold integer ids (int64 or uint8), got {target.dtype}")
    if target.dtype == torch.uint8 and not 0 <= task.ignore_index <= 255:
        raise UserError(f"a uint8 target cannot hold the ignore index {task.ignore_index}; use int64")


def _expected_target(shape: torch.Size, task: Task) -> list[int]:
    if task.mode == "multilabel":
        return list(shape)
    return [shape[0], *shape[2:]]


def default_palette(num_classes: int, mode: str) -> tuple[Color, ...]:
    """Colours that tell neighbours apart: hues by the golden ratio; a multiclass background is black."""
    colors = [_hue(index * 0.61803398875 % 1.0) for index in range(num_classes)]
    if mode == "multiclass":
        colors = [(0, 0, 0), *colors[: num_classes - 1]]
    return tuple(colors)


def _hue(hue: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.95)
    return (round(red * 255), round(green * 255), round(blue * 255))


def _color(values: Sequence[int]) -> Color:
    try:
        red, green, blue = (int(value) for value in values)
    except (TypeError, ValueError) as error:
        raise UserError(f"task.palette holds [red, green, blue] for each class, got {values!r}") from error
    return (red, green, blue)

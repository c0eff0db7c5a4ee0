"""Training transforms: a mapping of named Albumentations ops on crops of one size.

    aug.train.fog.p=0            switch one off
    ~aug.train.fog               remove it
    aug.train.affine.rotate=[-30,30]

Each op is `{op: <class of Albumentations>, <its arguments>}`. What differs from plain Albumentations:
* an unknown argument is an error (the library only warns and trains with its default);
* mask area that an op uncovers becomes the ignore index (the library's default is 0, the background);
* the seed of a sample decides everything (with workers the library repeats itself each epoch);
* ops that cannot work on the data's images are refused at start, by name.

The crop is cut before the ops, so they cost what the crop costs. What a turn uncovers at its edges has no label; a
margin around the crop would fill it, but to turn a square by any angle needs twice its pixels, and ops whose
parameters are shares of the image (shifts, holes, grids) would mean shares of something larger.
"""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt

from segtrain import checks
from segtrain.errors import UserError

Array = npt.NDArray[np.generic]
OpConfig = Mapping[str, Any]
TRIALS = 8  # of each op at start: D4 and quarter turns swap height and width in half of them


class Augmentation:
    """The ops of one split. Call it with a crop, its mask and the sample's seed.

    Args:
        ops: named ops, applied in this order.
        crop: height and width of the crops, in pixels.
        ignore_index: id of mask area that an op uncovers.

    Attributes:
        size: (height, width) of what it takes and returns, in pixels.

    Raises:
        UserError: an unknown op or argument, or a value out of range.
    """

    def __init__(self, ops: Mapping[str, OpConfig], crop: int | Sequence[int], ignore_index: int) -> None:
        self.size = checks.size("crop", crop)
        self.ops = {name: build_op(name, config, ignore_index) for name, config in ops.items()}
        self._compose = A.Compose(list(self.ops.values()))

    def __call__(self, image: Array, mask: Array, seed: int) -> tuple[Array, Array]:
        """Transform one sample.

        Args:
            image: [H, W, C], uint8 or float32, of the crop's size.
            mask: [H, W], or [K, H, W] in multilabel.
            seed: equal seeds give equal results.

        Returns:
            The same, contiguous.
        """
        # two generators, as the library wants; set_random_seed would give all nested ops the same stream
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        target = "masks" if mask.ndim == 3 else "mask"  # as channels of one mask, only the first would be filled
        result = self._compose(image=image, **{target: mask})
        return np.ascontiguousarray(result["image"]), np.ascontiguousarray(result[target])

    def check(self, channels: int, dtype: str = "uint8") -> None:
        """Try each op a few times on a blank crop of so many channels.

        Args:
            channels: of the images.
            dtype: of the images, uint8 or float32.

        Raises:
            UserError: naming the op that cannot work on such images, or that changes the size of the crop.
        """
        for name, op in self.ops.items():
            key = f"aug.train.{name} ({op.__class__.__name__})"
            geometric = isinstance(op, A.DualTransform)
            size, trials = (self.size, TRIALS) if geometric else ((64, 64), 1)
            always = A.Compose([op.__class__(**(op.get_transform_init_args() | {"p": 1.0}))], seed=0)
            blank = {"image": np.zeros((*size, channels), dtype), "mask": np.zeros(size, np.uint8)}
            try:
                shapes = {always(**blank)["image"].shape[:2] for _ in range(trials)}
            except (ValueError, TypeError, NotImplementedError, cv2.error) as error:
                reason = " ".join(str(error).split())
                raise UserError(
                    f"{key} cannot work on images of {channels} channels, {dtype} ({reason}); "
                    f"remove it with ~aug.train.{name}"
                ) from error
            if shapes != {size}:
                raise UserError(
                    f"{key} makes {min(shapes - {size})} of a crop of {size} pixels; give a square crop if it turns "
                    f"images, or remove it with ~aug.train.{name}"
                )


def build_op(name: str, config: OpConfig, ignore_index: int) -> Any:
    """Build one named op.

    Args:
        name: its key in the configuration, for error messages.
        config: "op" (a class of Albumentations) and its arguments.
        ignore_index: fills mask area that the op uncovers.

    Raises:
        UserError: unknown op or argument, or values that the op refuses.
    """
    key = f"aug.train.{name}"
    if not isinstance(config, Mapping) or "op" not in config:
        raise UserError(
            f"{key} must be a mapping with the key op, such as {{op: HorizontalFlip, p: 0.5}}; got {config!r}"
        )
    kind = _op_class(key, str(config["op"]))
    known = inspect.signature(kind).parameters
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k != "op"}
    for argument in arguments:
        checks.choice(f"{key} ({kind.__name__}): each argument", argument, known)
    if "border_mode" in known and "fill_mask" in known:
        arguments.setdefault("fill_mask", ignore_index)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return kind(**arguments)
    except (ValueError, TypeError, UserWarning) as error:
        message = " ".join(str(error).split())[:300]
        raise UserError(f"{key} ({kind.__name__}): {message}") from error


def _op_class(key: str, name: str) -> type[Any]:
    known = [n for n, value in vars(A).items() if inspect.isclass(value) and issubclass(value, A.BasicTransform)]
    checks.choice(f"{key}.op", name, known)
    return getattr(A, name)  # type: ignore[no-any-return]

"""Ops of the backend's own library: any class of Albumentations or of torchvision.transforms.v2, by its name.

What differs from the plain library:
* an unknown argument is an error (Albumentations only warns and trains with its default);
* mask area that an op uncovers becomes the ignore index (the default is 0, the background);
* the seed decides everything (with workers Albumentations repeats itself each epoch).
"""

from __future__ import annotations

import inspect
import random
import re
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from segtrain import checks
from segtrain.errors import UserError
from segtrain.windows import Array

CHOOSING = {
    *("Compose", "OneOf", "OneOrOther", "SelectiveChannelTransform", "Sequential", "SomeOf"),
    *("RandomApply", "RandomChoice", "RandomOrder"),
}
# arguments of Albumentations that would write other labels into masks
MASKS_OWN = {"fill_mask", "mask_drop_value", "mask_fill_value", "mask_interpolation"}
Run = Callable[[Array, Array, int], tuple[Array, Array]]  # image, mask, seed -> the same, changed


def albumentations_op(key: str, name: str, arguments: Mapping[str, Any], ignore_index: int) -> tuple[Run, bool]:
    """Build a class of Albumentations, to be applied always.

    Args:
        key: in the configuration, for messages.
        name: of the class.
        arguments: of it, without p.
        ignore_index: of mask area that it uncovers.

    Returns:
        What runs it, and whether it leaves masks alone.

    Raises:
        UserError: unknown class or argument, or values that it refuses.
    """
    import albumentations as A

    classes = {n: c for n, c in vars(A).items() if inspect.isclass(c) and issubclass(c, A.BasicTransform)}
    _known(key, name, classes, "Albumentations")
    known = inspect.signature(classes[name]).parameters
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    for argument in MASKS_OWN & arguments.keys():
        raise UserError(
            f"{key} ({name}): leave out {argument}; masks are looked up at the nearest pixel, and what is uncovered is "
            "ignored, so that labels stay what they are"
        )
    if "border_mode" in known and "fill_mask" in known:
        arguments.setdefault("fill_mask", ignore_index)
    compose = A.Compose([_make(key, classes[name], known, {**arguments, "p": 1.0})])

    return partial(_run_albumentations, compose), issubclass(classes[name], A.ImageOnlyTransform)


def _run_albumentations(compose: Any, image: Array, mask: Array, seed: int) -> tuple[Array, Array]:
    # two generators, as the library wants; set_random_seed would give all nested ops the same stream
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    target = "masks" if mask.ndim == 3 else "mask"  # as channels of one mask, only the first would be filled
    result = compose(image=np.array(image), **{target: np.array(mask)})  # copies: some classes write into what they get
    return result["image"], np.asarray(result[target])


def torchvision_op(key: str, name: str, arguments: Mapping[str, Any], ignore_index: int) -> tuple[Run, bool]:
    """Build a class of torchvision.transforms.v2; as albumentations_op. It has its own p."""
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    classes = {n: c for n, c in vars(v2).items() if inspect.isclass(c) and issubclass(c, v2.Transform)}
    _known(key, name, classes, "torchvision.transforms.v2")
    known = inspect.signature(classes[name]).parameters
    arguments = dict(arguments)
    if "fill" in known:
        arguments["fill"] = {tv_tensors.Image: arguments.get("fill", 0), tv_tensors.Mask: ignore_index}
    if "p" in known:
        arguments["p"] = 1.0
    return partial(_run_torchvision, _make(key, classes[name], known, arguments)), False


def _run_torchvision(transform: Any, image: Array, mask: Array, seed: int) -> tuple[Array, Array]:
    from torchvision import tv_tensors

    pixels = tv_tensors.Image(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        changed, moved = transform(pixels, tv_tensors.Mask(torch.from_numpy(np.array(mask))))
    return changed.permute(1, 2, 0).numpy(), moved.numpy()


def _known(key: str, name: str, classes: Mapping[str, Any], library: str) -> None:
    """Refuse a class that the library does not have, or that chooses among others."""
    if name in CHOOSING:
        raise UserError(f"{key}.op={name}: to choose among ops is what aug.policy is for, as in aug=randaugment")
    if name not in classes:
        near = checks.did_you_mean(name, classes)
        raise UserError(f"{key}.op={name}: {library} has no such class{near}; `segtrain ls ops` lists our own ops")


def _make(key: str, kind: type[Any], known: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    for argument in arguments:
        checks.choice(f"{key} ({kind.__name__}): each argument", argument, known)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return kind(**arguments)
    except (ValueError, TypeError, UserWarning) as error:
        raise UserError(f"{key} ({kind.__name__}): {_said(error)}") from error


def _said(error: Exception) -> str:
    """What a library says is wrong, without what is for its developers."""
    text = re.sub(r"\[type=.*?\]|For further information visit \S+|\d+ validation errors? for \w+", " ", str(error))
    return " ".join(text.split())[:300]

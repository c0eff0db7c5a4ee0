"""The two libraries that carry ops out: what each has, and how it moves pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from segtrain import checks
from segtrain.augment import colors, filters, geometry
from segtrain.augment.colors import Pixels
from segtrain.augment.library import Run, albumentations_op, torchvision_op

# (image, mask, where pixels are taken from, ignore_index) -> image and mask
Warp = Callable[[Pixels, Pixels, geometry.Map, int], tuple[Pixels, Pixels]]
# (key, class, arguments, ignore_index) -> what runs it, and whether it leaves masks alone
BuildOp = Callable[[str, str, Mapping[str, Any], int], tuple[Run, bool]]


@dataclass(frozen=True)
class Backend:
    """What ops are carried out by.

    Args:
        name: as in `aug.backend`.
        pixels: functions of an image and drawn parameters, by op.
        warp: moves image and mask.
        library_op: builds a class of the library.
    """

    name: str
    pixels: Mapping[str, Callable[..., Pixels]]
    warp: Warp
    library_op: BuildOp

    def __reduce__(self) -> tuple[Callable[[str], Backend], tuple[str]]:
        """To loading processes that are started anew it goes by its name."""
        return find_backend, (self.name,)


def albumentations() -> Backend:
    """OpenCV, which Albumentations is built on, and all classes of Albumentations."""
    return Backend("albumentations", colors.PIXELS | filters.PIXELS, geometry.warp, albumentations_op)


def torchvision() -> Backend:
    """torchvision's transforms v2."""
    from segtrain.augment import torchvision as tv

    return Backend("torchvision", tv.PIXELS, tv.warp, torchvision_op)


BACKENDS: Mapping[str, Callable[[], Backend]] = {"albumentations": albumentations, "torchvision": torchvision}


def find_backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        UserError: there is none.
    """
    return BACKENDS[checks.choice("aug.backend", name, BACKENDS)]()

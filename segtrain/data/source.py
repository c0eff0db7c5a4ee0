"""What a data set is to the rest of segtrain, whatever layout it was read from.

A layout (`folder`, `synthetic`, ...) is one function that returns a DataSource; `datasets.py` turns its
splits into torch data sets. A new layout needs nothing else than such a function and a yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from segtrain.data.sampling import Pixels, Sampling
from segtrain.task import ClassStats, Task
from segtrain.windows import Array, Window


class Examples(Protocol):
    """The labelled images of one split.

    Attributes:
        ids: name of each image, unique in the split.
        sizes: (height, width) in pixels of each image, known without reading it.
    """

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def sizes(self) -> Sequence[tuple[int, int]]: ...

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        """Image [H, W, C] (uint8 in [0, 255] or float32 in [0, 1]) and mask of canonical ids, uint8.

        The mask is [H, W], or [K, H, W] in multilabel. The caller may change neither of them.

        Args:
            index: of the image.
            window: the part that is wanted; None: all of it.
        """
        ...

    def places(self, index: int) -> Pixels:
        """A few random pixels of each class of an image, int32 [P, 3]: class (multilabel: plane), row, column.

        None where the data source was opened without sampling by classes.
        """
        ...


@dataclass(frozen=True)
class DataSource:
    """A data set that has been looked through and found fit for training.

    Args:
        name: short name, used for run folders.
        task: mode, classes and ignore index, as found in the data or as asked for.
        channels: channels of each image.
        splits: "train", "val" and "test" (those that exist).
        stats: class statistics of the training split.
        mean: per channel, in [0, 1], of the training split.
        std: per channel, in [0, 1], of the training split.
        fingerprint: changes when the files, the classes or the reader change.
        notes: what the user should know of how the data was read.
        dtype: of the images: uint8 in [0, 255], or float32 in [0, 1].
        sampling: which training images and crops are wanted.
        weights: how often each training image is drawn, relative to the others; empty: all alike.
        warnings: a sentence for each thing that looks wrong but does not stop a training.
    """

    name: str
    task: Task
    channels: int
    splits: Mapping[str, Examples]
    stats: ClassStats
    mean: Sequence[float]
    std: Sequence[float]
    fingerprint: str
    notes: Sequence[str] = field(default=())
    dtype: str = "uint8"
    sampling: Sampling = field(default=Sampling())
    weights: Sequence[float] = field(default=())
    warnings: Sequence[str] = field(default=())

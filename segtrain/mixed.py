"""The mixing of a training: the crops it pastes from, and the random numbers of each of its steps."""

from __future__ import annotations

from segtrain.data import DataSource
from segtrain.data.bank import bank_crops
from segtrain.data.datasets import Transform
from segtrain.mixing import Mixing
from segtrain.mixing.bank import Bank, build_bank
from segtrain.mixing.pasting import CopyPaste
from segtrain.seeds import derive
from segtrain.task import Batch


def make_bank(
    mixing: Mixing, source: DataSource, transform: Transform, seed: int, crop: tuple[int, int]
) -> Bank | None:
    """The bank that copy_paste takes from: the same in each process, and in a training that goes on.

    Args:
        mixing: of the training.
        source: the data.
        transform: of training crops.
        seed: of the run.
        crop: (height, width) in pixels.

    Returns:
        None for a kind that pastes nothing.

    Raises:
        UserError: no image holds any of the classes.
    """
    kind = mixing.kind
    if not isinstance(kind, CopyPaste):
        return None
    crops = bank_crops(source, transform, seed, crop, kind.wanted, kind.bank)
    return build_bank(crops["image"], crops["mask"], source.task, kind.wanted)


def mix_step(
    mixing: Mixing, batch: Batch, bank: Bank | None, seed: int, step: tuple[int, int, int], epochs: int
) -> Batch:
    """The batch of a step, mixed.

    Args:
        mixing: of the training.
        batch: of the step.
        bank: of make_bank, on the device of the batch.
        seed: of the run.
        step: epoch, batch of the epoch, rank of the process.
        epochs: of the training, which may end without mixing.
    """
    return mixing(batch, derive(seed, "mix", *step), bank, step[0] < epochs - mixing.off_epochs)

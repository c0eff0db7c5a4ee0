"""Copy-paste: pixels of rare classes, from a bank of training crops, onto any image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from segtrain import checks
from segtrain.errors import UserError
from segtrain.mixing.bank import Bank
from segtrain.mixing.plan import Canvas, Flags, Ints, Plan
from segtrain.task import ClassStats, Task


@dataclass(frozen=True)
class CopyPaste:
    """Pixels of one class from a crop of the bank, moved anywhere (Ghiasi et al. 2021, with class masks).

    A paste draws class k with chance P_k ~ (share of the training pixels) ^ (1 - balance) of the classes that the bank
    holds; one of the crops B_k that hold it, each as likely; and how far its pixels are moved: each shift is as likely
    with which the h x w box around them touches the image. What leaves the image is cut off. So every pixel of an
    H x W image is covered by class c with the same chance

        Q_c = sum_k P_k  mean over b in B_k of  n_bkc / ((H + h - 1) (W + w - 1))

    with n_bkc the pixels of k in b that are c too (of classes that exclude each other, k = c alone). With Q, the same
    of n_bkk, which is the chance to be covered at all, m pastes make of a share s of class c on average

        s' = s (1 - Q)^m + Q_c (1 - (1 - Q)^m) / Q

    whatever is in the images; p s' + (1 - p) s where a share p of them is mixed.

    Args:
        task: of the masks.
        stats: of the training set.
        classes: names or ids of those that are pasted; None: all in the training set but the background.
        balance: in [0, 1]; 0: as frequent as their pixels are, 1: all alike.
        pastes: per image, one over the other.
        bank: number of crops in the bank; at least one for each class.

    Raises:
        UserError: a value out of range, or no such class in the training set.
    """

    task: Task
    stats: ClassStats
    classes: Sequence[str | int] | None = None
    balance: float = 1.0
    pastes: int = 2
    bank: int = 48
    least: ClassVar[int] = 1
    blends: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.number("mix.balance", self.balance, 0, 1)
        checks.whole("mix.pastes", self.pastes, 1)
        checks.whole("mix.bank", self.bank, 1)
        if self.bank < len(self.wanted):
            raise UserError(f"mix.bank={self.bank} crops cannot hold {len(self.wanted)} classes; raise mix.bank")

    @property
    def wanted(self) -> tuple[int, ...]:
        """Ids, or planes, of the classes that are pasted."""
        shares = dict(zip(self._ids(), self.stats.share(), strict=True))
        if self.classes is None:
            background = {0} if self.task.exclusive else set()
            found = tuple(label for label, share in shares.items() if share > 0 and label not in background)
            if not found:
                raise UserError("mix=copy_paste: the training masks hold no class to paste; choose another mix")
            return found
        if isinstance(self.classes, str) or not isinstance(self.classes, Sequence) or not self.classes:
            raise UserError(f"mix.classes must be null or a list of names or ids, got {self.classes!r}")
        named = dict(zip(self.task.names, shares, strict=True)) | {str(label): label for label in shares}
        found = tuple(named[checks.choice("mix.classes: each", str(each), named)] for each in self.classes)
        for label, each in zip(found, self.classes, strict=True):
            if shares[label] == 0:
                raise UserError(f"mix.classes: the training masks hold no pixel of {each}; leave it out")
        return found

    def _ids(self) -> Sequence[int]:
        return [1] if self.task.mode == "binary" else range(self.task.num_classes)

    def odds(self, bank: Bank) -> dict[int, float]:
        """P_k of the classes that the bank holds."""
        shares = dict(zip(self._ids(), self.stats.share(), strict=True))
        weights = {label: shares[label] ** (1 - self.balance) for label in self.wanted if label in bank.boxes}
        return {label: weight / sum(weights.values()) for label, weight in weights.items()}

    def plan(self, canvas: Canvas, mixed: Flags, random: np.random.Generator) -> Plan:
        """The image itself, but where a paste lies."""
        source, bank = canvas.own(), canvas.bank
        if bank is None or not bank.boxes:
            return Plan(source)
        for _ in range(self.pastes):
            pasted, numbers = self._paste(canvas, bank, canvas.put(self._draw(canvas, bank, mixed, random)))
            source = torch.where(pasted, source.numel() + numbers, source)
        return Plan(source)

    def _draw(self, canvas: Canvas, bank: Bank, mixed: Flags, random: np.random.Generator) -> Ints:
        """One paste for each image, [N, 4]: class, crop, rows and columns by which its pixels are moved."""
        number, *size = canvas.shape
        odds = self.odds(bank)
        labels = random.choice(list(odds), number, p=list(odds.values()))
        drawn = np.empty((number, 4), np.int64)
        for index, label in enumerate(labels.tolist()):
            crop, *box = bank.boxes[label][random.integers(len(bank.boxes[label]))].tolist()
            (top, left), (height, width) = box[:2], box[2:]
            shifts = random.integers([1 - top - height, 1 - left - width], [size[0] - top, size[1] - left])
            drawn[index] = label, crop, *shifts
        drawn[~mixed, 2] = size[0]  # out of sight
        return drawn

    def _paste(self, canvas: Canvas, bank: Bank, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Where a paste lies, bool [N, H, W], and the numbers of its pixels in the bank."""
        _, height, width = canvas.shape
        labels, crops, down, right = (values.view(-1, 1, 1) for values in drawn.unbind(1))
        rows, columns = canvas.rows_and_columns()
        rows, columns = rows - down, columns - right
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        place = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
        planes = self.task.num_classes if self.task.mode == "multilabel" else 1
        plane, value = (labels, 1) if self.task.mode == "multilabel" else (0, labels)
        flat = (crops * planes + plane) * (height * width) + place
        ids = bank.mask.flatten().index_select(0, flat.flatten()).view(flat.shape)
        return inside & (ids == value), crops * (height * width) + place

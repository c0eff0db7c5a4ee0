"""Whether probabilities can be believed: NLL, Brier score and a histogram, all as integers of fixed size.

The same for every run whatever its training loss, since values of different losses must not be compared. From the
histogram follow reliability, ECE, precision-recall curves and every threshold on the 1/256 grid (`curves`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from segtrain.bits import erase_, keep_bits
from segtrain.metrics.counts import predict_ids
from segtrain.metrics.curves import BINS, STEPS, Histogram, expected_calibration_error
from segtrain.metrics.pieces import pieces, yes_and_valid
from segtrain.task import Task, check_shapes, valid_mask

SUMS = ("nll", "brier")
FIXED_POINT = 2**20  # each row of pixels is summed in float32, then rounded to this
LARGEST_NLL = 100.0  # -log of 4e-44, where float32 ends; torch's binary cross entropy stops there too
CELLS = BINS * STEPS
# A probability is put into a cell by truncation; a factor one unit in the last place too small makes the cells
# (i/n, (i+1)/n], so that "above the threshold i/256" is a whole number of bins, as predict_ids decides it.
SCALE = CELLS * (1 - 2**-24)


class Pixels(NamedTuple):
    """What the histogram and the sums need of each decision, [N, K, H, W]; K is 1 in multiclass.

    All is float32 but `positive` (bool or uint8) and `keep`, see keep_bits; what is not kept may be anything.
    """

    probability: Tensor
    positive: Tensor
    nll: Tensor
    brier: Tensor
    keep: Tensor


class CalibrationProbe(Metric):
    """Negative log-likelihood, Brier score and expected calibration error of a data set.

    Binary and multilabel: every labelled yes-or-no decision, by the probability of the class; ECE is the mean over
    the classes. Multiclass: NLL = mean of -log p of the true class, Brier = mean over pixels of sum_c (p_c - y_c)^2
    (0 .. 2), ECE of the largest probability against being right.

    All states are int64, reduced by sums; on a CPU they do not depend on how the data set is divided. NLL and Brier
    are kept to 2^-21 per row of pixels, up to a total of 8 x 10^12 (NLL 1 on 30 million images of 512 x 512); the
    probabilities in ECE to 2^-15. -log p counts as at most 100. Where a labelled pixel's probabilities are not a
    number, all three scores are NaN: it does not disappear.

    Args:
        task: mode, classes and ignore index.

    Attributes:
        summed: the histogram over all processes, on the host, as of the last compute.

    Shape: update takes logits [N, C, H, W] and a target as the task says.

    Example:
        >>> probe = CalibrationProbe(Task(mode="binary"))
        >>> probe.update(torch.tensor([[[[0.0, 0.0]]]]), torch.tensor([[[1, 0]]]))
        >>> {name: round(float(value), 4) for name, value in probe.compute().items()}
        {'nll': 0.6931, 'brier': 0.25, 'ece': 0.0}
    """

    full_state_update = False
    histogram: Tensor
    within: Tensor
    totals: Tensor
    broken: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        shape = (1 if task.exclusive else task.num_classes, 2, BINS)
        # histogram: probabilities by label (by being right); within: where in its bin each stands, in 2 x STEPS parts
        for name, size in {"histogram": shape, "within": shape, "totals": (len(SUMS),), "broken": ()}.items():
            self.add_state(name, torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")
        self.summed = Histogram(self.histogram.clone(), self.within.clone())

    def update(self, logits: Tensor, target: Tensor, predicted: Tensor | None = None) -> None:
        """Count one batch; nothing here makes the host wait for the device.

        Args:
            logits: raw, any float dtype.
            target: ids.
            predicted: of predict_ids, where the caller has them already; used in multiclass only.
        """
        check_shapes(logits, target, self.task)
        logits, decisions = logits.detach(), self.histogram.shape[0]
        labels = target.view(len(logits), decisions, *logits.shape[2:])
        table = torch.zeros(1 + decisions * 2 * CELLS, dtype=torch.int64, device=logits.device)
        rows = torch.empty((len(SUMS), *labels.shape[:3]), dtype=torch.float32, device=logits.device)
        for n, r in pieces(logits):
            given = None if predicted is None else predicted[n, ..., r, :]
            pixels = self._pixels(logits[n, :, r].float(), labels[n, :, r], given)
            for sums, values in zip(rows, (pixels.nll, pixels.brier), strict=True):
                sums[n, :, r] = erase_(values, pixels.keep).sum(-1)
            _place(pixels, table)
        self._add(rows, table[1:].view(*self.histogram.shape, STEPS))  # the first cell is for ignored pixels

    def _pixels(self, logits: Tensor, labels: Tensor, predicted: Tensor | None) -> Pixels:
        if not self.task.exclusive:
            return _sigmoid_pixels(logits, labels, self.task)
        predicted = predict_ids(logits, self.task) if predicted is None else predicted
        return _softmax_pixels(logits, labels, predicted.unsqueeze(1), self.task)

    def _add(self, rows: Tensor, cells: Tensor) -> None:
        self.broken += rows[0].isnan().sum()
        self.totals += (rows.nan_to_num(nan=0.0) * FIXED_POINT).round().long().flatten(1).sum(1)
        self.histogram += cells.sum(-1)
        self.within += (cells * (2 * torch.arange(STEPS, device=cells.device) + 1)).sum(-1)

    def names(self) -> list[str]:
        """Keys of what compute returns."""
        return [*SUMS, "ece"]

    def compute(self) -> dict[str, Tensor]:
        """The scores as float64 scalars on the host; NaN where there was nothing to score."""
        self.summed = Histogram(self.histogram.cpu(), self.within.cpu())
        means = self.totals.cpu().double() / FIXED_POINT / self.summed.counts.sum()
        scores = dict(zip(SUMS, means, strict=True))
        scores["ece"] = expected_calibration_error(self.summed).nanmean()
        broken = self.broken.cpu() > 0
        return {name: value.masked_fill(broken, torch.nan) for name, value in scores.items()}


def image_nll(logits: Tensor, target: Tensor, task: Task) -> Tensor:
    """NLL of each image as the probe has it of a data set, float32 [N]; NaN where nothing is labelled."""
    valid = valid_mask(target, task)
    if task.exclusive:
        kept = target.long().masked_fill(~valid, 0)
        nll = F.cross_entropy(logits.float(), kept, reduction="none")
    else:
        wanted = (target == 1).view_as(logits).float()
        nll = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none").view_as(target)
    nll = nll.clamp(max=LARGEST_NLL).masked_fill(~valid, 0)
    return nll.flatten(1).sum(1) / valid.flatten(1).sum(1)


def _sigmoid_pixels(logits: Tensor, target: Tensor, task: Task) -> Pixels:
    """Yes-or-no decisions; exp and log1p, unlike sigmoid, give equal bits wherever a pixel stands in memory."""
    positive, valid = yes_and_valid(target, task)
    truth, keep = positive.float(), keep_bits(valid, logits)
    logits = erase_(logits.clone(memory_format=torch.contiguous_format), keep)  # may be anything there
    wrong = truth.mul(-2).add_(1).mul_(logits)  # the logit of the other label
    nll = logits.abs().neg_().exp_().log1p_().add_(wrong.clamp_(0, LARGEST_NLL))
    probability = logits.neg_().exp_().add_(1).reciprocal_()
    return Pixels(probability, positive, nll, truth.sub_(probability).square_(), keep)


def _softmax_pixels(logits: Tensor, target: Tensor, predicted: Tensor, task: Task) -> Pixels:
    """One decision per pixel: the class of the largest logit; one tensor of the logits' size is made."""
    valid = valid_mask(target, task)
    largest = logits.amax(1, keepdim=True)
    true = logits.gather(1, target.long() * valid).sub_(largest)
    powers = (logits - largest).exp_()
    total = powers.sum(1, keepdim=True)
    top = total.reciprocal()
    brier = powers.square_().sum(1, keepdim=True).mul_(top.square())
    brier.add_(1).sub_(true.exp().mul_(top), alpha=2).clamp_(min=0)
    nll = total.log_().sub_(true).clamp_(max=LARGEST_NLL)
    return Pixels(top, predicted == target, nll, brier, keep_bits(valid, top))


def _place(pixels: Pixels, table: Tensor) -> None:
    """Count each decision in the cell of its class, label and probability; in the first one where there is no label."""
    cell = pixels.probability.nan_to_num_(nan=0.0).mul_(SCALE).int().add_(pixels.positive.int(), alpha=CELLS)
    first = 1 + 2 * CELLS * torch.arange(cell.shape[1], dtype=torch.int32, device=cell.device).view(-1, 1, 1)
    cell.add_(first).bitwise_and_(pixels.keep)
    table.index_add_(0, cell.flatten(), table.new_ones(1).expand(cell.numel()))

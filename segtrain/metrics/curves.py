"""What follows from a histogram of probabilities by label: reliability, precision-recall curves, thresholds.

A histogram is int64 [K, 2, 256]: for each class the decisions whose label is no [:, 0] and yes [:, 1], by
probability; bin i holds those in (i/256, (i+1)/256]. In multiclass K is 1 and the label is whether the most
probable class is the right one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from segtrain.metrics.scores import Rates, score

BINS = 256
STEPS = 64  # cells of a bin that the mean probability within it is made of
GROUPS = 16  # bins of a reliability diagram; 15 and 16 are customary, and 16 divides 256


class Histogram(NamedTuple):
    """Probabilities by label.

    counts: int64 [K, 2, 256], as said above.
    within: sum of positions within the bin, int64 [K, 2, 256], in units of 1 / (256 x 128).
    """

    counts: Tensor
    within: Tensor


class Reliability(NamedTuple):
    """Equal bins of probability, each [K, 16]: number of decisions, their mean probability, the share of yes."""

    number: Tensor
    confidence: Tensor
    share: Tensor


class Sweep(NamedTuple):
    """Each threshold (a probability above it is a yes) and its scores, [K, 255] each; NaN as in `score`."""

    thresholds: Tensor
    iou: Tensor
    dice: Tensor
    precision: Tensor
    recall: Tensor


class Curve(NamedTuple):
    """Precision and recall of "above i/256" for i = 0 .. 256, with the counts behind them, [K, 257] each."""

    precision: Tensor
    recall: Tensor
    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor


def reliability(histogram: Histogram) -> Reliability:
    """The histogram in 16 bins; confidence and share are NaN in empty ones."""
    counts, within = histogram
    unit = 2 * STEPS
    bins = torch.arange(BINS, device=counts.device)
    sums = (counts * bins * unit + within).sum(1)  # over both labels
    number, mass, yes = (t.view(len(counts), GROUPS, -1).sum(-1) for t in (counts.sum(1), sums, counts[:, 1]))
    return Reliability(number, mass.double() / (BINS * unit) / number, yes.double() / number)


def expected_calibration_error(histogram: Histogram) -> Tensor:
    """ECE of each class, float64 [K]: mean distance of confidence and share, weighted by the bins' numbers.

    Guo et al. 2017, eq. 3, with equal bins (m/16, (m+1)/16]. Means within bins are of the probabilities themselves
    (to 2^-15), not bin centres, which would add .002 for a net that is sure and right. NaN for a class without pixels.
    """
    bins = reliability(histogram)
    gaps = (bins.confidence - bins.share).abs().nan_to_num(nan=0.0)
    return (bins.number * gaps).sum(-1) / bins.number.sum(-1)


def precision_recall(counts: Tensor) -> Curve:
    """The precision-recall curve of each class; precision is 1 where nothing is claimed, recall 0 without truth."""
    above = counts.flip(-1).cumsum(-1).flip(-1)
    fp, tp = torch.nn.functional.pad(above, (0, 1)).unbind(1)
    fn, tn = tp[:, :1] - tp, fp[:, :1] - fp
    claimed, truth = tp + fp, tp + fn
    precision = torch.where(claimed > 0, tp.double() / claimed.clamp(min=1), 1.0)
    return Curve(precision, tp.double() / truth.clamp(min=1), tp, fp, fn, tn)


def average_precision(counts: Tensor) -> Tensor:
    """Area under the curve as a step function, sum of (R_i - R_{i+1}) P_i, float64 [K]; NaN without truth.

    It is scikit-learn's average_precision_score of probabilities rounded up to 1/256.
    """
    precision, recall, tp, *_ = precision_recall(counts)
    area = -(recall.diff() * precision[:, :-1]).sum(-1)
    return area.masked_fill(tp[:, 0] == 0, torch.nan)


def sweep_thresholds(counts: Tensor) -> Sweep:
    """Scores of each class at the thresholds 1/256 .. 255/256, as if counted anew at each."""
    curve = precision_recall(counts)
    rates = Rates(*(c[:, 1:-1] for c in (curve.tp, curve.fp, curve.fn)))
    thresholds = (torch.arange(1, BINS).double() / BINS).expand(len(counts), -1)
    return Sweep(thresholds, *(score(name, rates) for name in ("iou", "dice", "precision", "recall")))


def best_thresholds(sweep: Sweep) -> Tensor:
    """Threshold of the highest IoU of each class (Dice's is the same), float64 [K]; of equal ones the nearest to .5.

    .5 for a class without a score.
    """
    iou = sweep.iou.nan_to_num(nan=-1.0)
    distance = (sweep.thresholds - 0.5).abs()
    ties = iou == iou.max(-1, keepdim=True).values
    place = torch.where(ties, distance, torch.inf).min(-1).indices
    return sweep.thresholds.gather(1, place.unsqueeze(1)).squeeze(1)

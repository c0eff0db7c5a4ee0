"""The tests of the metrics can fail: each plausible mistake is caught by the test that is there for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from segtrain.metrics import calibration, counts, curves, pieces, scores
from segtrain.metrics.curves import Curve
from segtrain.metrics.scores import Rates
from segtrain.task import Task, valid_mask
from tests.conftest import TASKS
from tests.metrics import test_calibration as probes
from tests.metrics import test_counts as counted
from tests.metrics import test_pieces as passed
from tests.metrics import test_scores as scored

BINARY, MULTICLASS, MULTILABEL = TASKS["binary"], TASKS["multiclass"], TASKS["multilabel"]
true_counts, true_sigmoid, true_softmax = counts.image_counts, calibration._sigmoid_pixels, calibration._softmax_pixels
true_score, true_image, true_curve = scores.score, scores.image_scores, curves.precision_recall


@dataclass(frozen=True)
class Mutant:
    """A wrong part (owner.name = wrong) and the test that must notice it."""

    owner: Any
    name: str
    wrong: Any
    test: Callable[[], Any]


def ignored_as_last(logits: Tensor, target: Tensor, task: Task, predicted: Tensor | None = None) -> Tensor:
    """255 clamped into the last class."""
    return true_counts(logits, target.clamp(max=max(1, task.num_classes - 1)), task, predicted)


def in_uint8(logits: Tensor, target: Tensor, task: Task, predicted: Tensor | None = None) -> Tensor:
    """Cells that do not fit in the target's type."""
    cell = (target * task.num_classes + counts.predict_ids(logits, task).to(target.dtype)).flatten(1).long()
    size = task.num_classes**2
    found = torch.zeros(len(target), 256 * size, dtype=torch.int64).scatter_add_(
        1, cell, (target != 255).flatten(1).long()
    )
    return found[:, :size].view(-1, task.num_classes, task.num_classes)


def at_least(logits: Tensor, task: Task, cuts: Tensor | float = 0.0) -> Tensor:
    """A half is a yes."""
    return (logits >= cuts).long().squeeze(1)


def hides_empty(matrices: Tensor, task: Task, name: str, background: bool, empty: float) -> Tensor:
    """Images without the class left out, false positives and all (MONAI)."""
    truth = scores.rates(matrices, task)
    none = (truth.tp + truth.fn).sum(1) == 0
    return true_image(matrices, task, name, background, empty).masked_fill(none, torch.nan)


def absent_is(value: float) -> Callable[[str, Rates], Tensor]:
    return lambda name, rates: true_score(name, rates).nan_to_num(nan=value)


def first_pieces(values: Tensor) -> Iterator[Any]:
    """All but the last, where there are several."""
    return iter(list(pieces.pieces(values))[:-1] or [(slice(None), slice(None))])


def in_half(z: Tensor, t: Tensor, predicted: Tensor, task: Task) -> Any:
    pixels = true_softmax(z.half(), t, predicted, task)
    return type(pixels)(*(each.float() if each.is_floating_point() else each for each in pixels))


def of_top_only(z: Tensor, t: Tensor, predicted: Tensor, task: Task) -> Any:
    """Brier of the most probable class instead of all."""
    pixels = true_softmax(z, t, predicted, task)
    return pixels._replace(brier=(pixels.probability - pixels.positive.float()).square())


def ties_are_right(z: Tensor, t: Tensor, predicted: Tensor, task: Task) -> Any:
    pixels = true_softmax(z, t, predicted, task)
    true = z.gather(1, t.long() * valid_mask(t, task))
    return pixels._replace(positive=true == z.amax(1, keepdim=True))


def in_pieces(metric: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        passed.test_pieces_change_no_bit(metric, BINARY, patch)


def trapezoid(histogram: Tensor) -> Tensor:
    curve = true_curve(histogram)
    return -torch.trapezoid(curve.precision, curve.recall)


def shifted(histogram: Tensor) -> Curve:
    """Off by one bin."""
    return Curve(*(values.roll(1, -1) for values in true_curve(histogram)))


MUTANTS = {
    "ignored counted as the last class": Mutant(
        counts, "image_counts", ignored_as_last, lambda: counted.test_ignored_pixels_do_not_matter(MULTICLASS)
    ),
    "truth and prediction swapped": Mutant(
        counts, "image_counts", lambda *a: true_counts(*a).transpose(-1, -2),
        lambda: counted.test_states_are_the_confusion_matrix(MULTICLASS),
    ),
    "uint8 arithmetic": Mutant(
        counts, "image_counts", in_uint8,
        lambda: counted.test_types_do_not_matter(Task("multiclass", 21), torch.uint8, torch.float32),
    ),
    "a half is a yes": Mutant(
        counted, "predict_ids", at_least, counted.test_a_probability_of_one_half_is_a_no_and_a_tie_the_first_class
    ),
    "images of a batch put together": Mutant(
        counts, "image_counts", lambda *a: true_counts(*a).sum(0, keepdim=True),
        lambda: counted.test_the_division_into_batches_changes_nothing(MULTICLASS, [3, 4]),
    ),
    "false positives hidden": Mutant(
        counts, "image_scores", hides_empty,
        lambda: counted.test_false_positives_on_an_empty_image_count_0(BINARY, None),
    ),
    "absent class is 0": Mutant(
        scores, "score", absent_is(0.0),
        scored.test_absent_classes_are_left_out_of_means_but_not_a_class_that_is_only_predicted,
    ),
    "absent class is 1": Mutant(
        scores, "score", absent_is(1.0),
        scored.test_absent_classes_are_left_out_of_means_but_not_a_class_that_is_only_predicted,
    ),
    "coarse sums of images": Mutant(
        counts, "FIXED_POINT", 2**6, lambda: counted.test_image_means(MULTICLASS, None, True, 0.5)
    ),
    "threshold ignored": Mutant(
        counts, "logit_cuts", lambda threshold, task: torch.zeros(task.num_classes, 1, 1),
        lambda: probes.test_each_threshold_scores_as_if_counted_anew(probes.count(BINARY), 200),
    ),
    "double activation": Mutant(
        calibration, "_sigmoid_pixels", lambda z, t, v: true_sigmoid(z.sigmoid(), t, v),
        probes.test_binary_scores_are_scikit_learns_and_torchmetrics,
    ),
    "computed in half": Mutant(
        calibration, "_softmax_pixels", in_half,
        probes.test_multiclass_scores_are_scikit_learns_and_torchmetrics,
    ),
    "ignored pixels looked at": Mutant(
        calibration, "yes_and_valid", lambda t, task: (t == 1, torch.ones_like(t)),
        lambda: probes.test_ignored_pixels_do_not_matter(BINARY),
    ),
    "brier of the top class": Mutant(
        calibration, "_softmax_pixels", of_top_only, probes.test_multiclass_scores_are_scikit_learns_and_torchmetrics
    ),
    "ties are right": Mutant(
        calibration, "_softmax_pixels", ties_are_right, probes.test_among_equal_logits_the_predicted_class_is_the_first
    ),
    "no bound": Mutant(
        calibration, "LARGEST_NLL", 1e9, lambda: probes.test_certain_and_wrong_costs_a_hundred(1e4)
    ),
    "bins closed on the left": Mutant(
        probes, "SCALE", float(calibration.CELLS), probes.test_a_probability_on_an_edge_belongs_to_the_cell_below
    ),
    "bin centres for means": Mutant(
        calibration, "expected_calibration_error",
        lambda h: curves.expected_calibration_error(curves.Histogram(h.counts, h.counts * curves.STEPS)),
        lambda: probes.test_a_net_that_is_sure_and_right_has_no_error_of_calibration(BINARY),
    ),
    "eight bins": Mutant(curves, "GROUPS", 8, probes.test_scores_are_the_oracles),
    "labels cut to bytes": Mutant(
        pieces, "ignore_in_bytes", lambda t, ignore: (t.to(torch.uint8), ignore & 255),
        lambda: passed.test_any_index_may_be_ignored(counts.SegmentationMetrics, BINARY, 257),
    ),
    "last piece of the counts left out": Mutant(
        counts, "pieces", first_pieces, lambda: in_pieces(counts.SegmentationMetrics)
    ),
    "last piece of the probe left out": Mutant(
        calibration, "pieces", first_pieces, lambda: in_pieces(calibration.CalibrationProbe)
    ),
    "rounded by image": Mutant(
        calibration, "FIXED_POINT", 2**4, probes.test_binary_scores_are_scikit_learns_and_torchmetrics
    ),
    "not a number dropped": Mutant(
        calibration.CalibrationProbe, "compute",
        lambda self: {"nll": self.totals[0] / self.histogram.sum()},
        lambda: probes.test_what_is_not_a_number_does_not_disappear(BINARY),
    ),
    "area by trapezoids": Mutant(
        probes, "average_precision", trapezoid, lambda: probes.test_curves_are_scikit_learns(probes.count(BINARY))
    ),
    "thresholds off by one": Mutant(
        curves, "precision_recall", shifted,
        lambda: probes.test_each_threshold_scores_as_if_counted_anew(probes.count(BINARY), 128),
    ),
    "first of equal thresholds": Mutant(
        probes, "best_thresholds",
        lambda sweep: sweep.thresholds.gather(1, sweep.iou.nan_to_num(nan=-1).max(-1).indices.unsqueeze(1)).squeeze(1),
        probes.test_of_equally_good_thresholds_the_nearest_to_one_half_is_the_best,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutant.test()  # the true one passes
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.wrong)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        mutant.test()

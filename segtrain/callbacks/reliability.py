"""Figures and curves of the calibration probe: reliability diagram, TensorBoard's precision-recall curves."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from segtrain.draw import Picture
from segtrain.metrics import CalibrationProbe
from segtrain.metrics.curves import expected_calibration_error, precision_recall, reliability

EVERY = 4  # TensorBoard's plugin takes at most 127 points: 0, 4/256, .. 1


def reliability_picture(probe: CalibrationProbe) -> Picture:
    """How often the label is yes among decisions of each probability; on the diagonal a net is calibrated.

    One line per class; in multiclass one for the most probable class and its being right.
    """
    from matplotlib.figure import Figure

    bins, errors = reliability(probe.summed), expected_calibration_error(probe.summed)
    names = ["most probable class"] if probe.task.exclusive else list(probe.task.names)
    figure = Figure(figsize=(4.5, 5.5), dpi=100)
    # margins that its labels need; to let matplotlib find them costs as much as the drawing
    room = {"left": 0.19, "right": 0.97, "bottom": 0.09, "top": 0.98, "hspace": 0.07}
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1), gridspec_kw=room)
    upper.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for name, confidence, share, number, error in zip(names, *bins[1:], bins.number, errors, strict=True):
        upper.plot(confidence, share, marker="o", markersize=3, label=f"{name} (ECE {float(error):.3f})")
        lower.step((np.arange(len(number)) + 0.5) / len(number), number.clamp(min=1), where="mid")
    upper.set(ylabel="share that is right" if probe.task.exclusive else "share of the class", xlim=(0, 1), ylim=(0, 1))
    upper.legend(fontsize=7, loc="upper left")
    lower.set(xlabel="probability", ylabel="pixels", yscale="log")
    return figure_picture(figure)


def add_curves(writer: SummaryWriter, stage: str, probe: CalibrationProbe, step: int) -> None:
    """A precision-recall curve of each class, <stage>_pr/<name>; multiclass has none, see CalibrationProbe."""
    if probe.task.exclusive:
        return
    curve = precision_recall(probe.summed.counts)
    for index, name in enumerate(probe.task.names):
        precision, recall, tp, fp, fn, tn = (values[index, ::EVERY].numpy() for values in curve)
        tag, points = f"{stage}_pr/{name}", len(precision)
        writer.add_pr_curve_raw(tag, tp, fp, tn, fn, precision, recall, step, points)


def figure_picture(figure: Any) -> Picture:
    """A matplotlib figure as an RGB array; no display, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])

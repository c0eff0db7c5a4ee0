"""The learning-rate range test (Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3).

A training whose learning rate rises from step to step; the loss, drawn over it, says which rates train. Lightning's own
(Tuner.lr_find) writes a checkpoint, takes all callbacks away, a frozen encoder's too, and looks for the steepest
descent over the rate itself, not its logarithm, which favours the smallest; so only its Trainer is used here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from segtrain.callbacks.pictures import save_png
from segtrain.callbacks.reliability import figure_picture
from segtrain.signals import Signals

STEPS, LOW, HIGH = 100, 1e-6, 1.0
MEMORY = 0.9  # of the moving average of the losses
DIVERGED = 4  # times the lowest average
FIRST = 10  # steps left out: averages of few losses
REACH = 3  # steps on both sides over which a slope is taken
FALL = 0.05  # share of the loss by which it must fall, which chance alone does not reach
LEAST, MOST = 10, 100  # times below the rate of the lowest loss


class RangeTest(Callback):
    """Raises the learning rate at each step and keeps the losses; ends the training where they break.

    Args:
        signals: end it at once.

    Attributes:
        rates: learning rate of each step.
        losses: of each step, the mean over its batches.
    """

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._parts: list[float] = []  # of the step that is being made

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, where Lightning has put its own handler."""
        self.signals.install()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the rate; an encoder's own stays in proportion."""
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * rate_of(trainer.global_step) / LOW

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss of a step that is done."""
        # Lightning divides by the batches of a whole step, also where an epoch ends within one
        self._parts.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)
        if trainer.global_step > len(self.losses):
            self.rates.append(rate_of(len(self.losses)))
            self.losses.append(float(np.mean(self._parts)))
            self._parts = []
            trainer.should_stop = len(self.losses) == STEPS or has_broken(self.losses)


def rate_of(step: int) -> float:
    """The learning rate of a step, from LOW to HIGH in equal ratios."""
    return float(LOW * (HIGH / LOW) ** (step / (STEPS - 1)))


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential moving average, each divided by the sum of its weights."""
    total, averages = 0.0, []
    for number, loss in enumerate(losses, start=1):
        total = MEMORY * total + (1 - MEMORY) * loss
        averages.append(total / (1 - MEMORY**number))
    return averages


def has_broken(losses: Sequence[float]) -> bool:
    """Whether the last loss is not finite, or their average DIVERGED times its minimum; losses may be below 0."""
    if not math.isfinite(losses[-1]):
        return True
    averages = smoothed(losses)
    lowest = min(averages)
    return averages[-1] > lowest + (DIVERGED - 1) * abs(lowest)


def curve(rates: Sequence[float], losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """Averages of the finite losses, and of the logarithms of their rates: a moving average lags behind its last value.

    Args:
        rates: of the steps.
        losses: of the steps, the last of which may not be finite.

    Returns:
        Rates and losses that belong together.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    exponents = smoothed([math.log(rate) for rate in rates[: len(finite)]])
    return [math.exp(exponent) for exponent in exponents], smoothed(finite)


def suggest(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, str] | None:
    """The rate at which the average loss falls fastest over the logarithm of the rate, before its lowest value.

    At most a tenth of the rate of the lowest loss, above which trainings fail; at least a hundredth, below which it is
    chance that makes it fall. Two digits, so that it can be typed.

    Args:
        rates: rising, of the steps.
        losses: of the steps, the last of which may not be finite.

    Returns:
        The rate, and what it is, in words; None where the loss does not fall by more than chance.
    """
    averages = np.array(curve(rates, losses))[:, FIRST:]
    if averages.shape[1] <= 2 * REACH:
        return None
    exponents, heights = np.log(averages[0]), averages[1]
    lowest = int(np.argmin(heights))
    if heights[0] - heights[lowest] < FALL * abs(heights[0]):
        return None
    slopes = [_slope(exponents, heights, place) for place in range(lowest + 1)]
    steepest, end = math.exp(exponents[int(np.argmin(slopes))]), math.exp(exponents[lowest])
    found = min(max(steepest, end / MOST), end / LEAST)
    why = "where the loss falls fastest" if found == steepest else f"{found / end:.2g} of the rate of the lowest loss"
    return float(f"{found:.2g}"), why


def _slope(steps: np.ndarray[Any, Any], averages: np.ndarray[Any, Any], place: int) -> float:
    left, right = max(0, place - REACH), min(len(steps) - 1, place + REACH)
    return float((averages[right] - averages[left]) / (steps[right] - steps[left]))


def draw_range(rates: Sequence[float], losses: Sequence[float], chosen: float | None, path: Path) -> None:
    """Write the curve as a picture, with the chosen rate.

    Args:
        rates: of the steps.
        losses: of the steps.
        chosen: None where none was found.
        path: of the PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=100, layout="constrained")
    axes = figure.subplots()
    shown = curve(rates, losses)
    axes.plot(rates, losses, ".", markersize=3, color="silver", label="loss of a step")
    axes.plot(*shown, color="C0", label="moving average")
    if chosen is not None:
        axes.axvline(chosen, color="C3", linewidth=1, label=f"lr={chosen:g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="learning-rate range test")
    low, high = min(shown[1], default=0.0), max(shown[1], default=0.0)
    if low < high:  # single losses, where it breaks, would flatten the rest
        axes.set_ylim(low - 0.1 * (high - low), high + 0.25 * (high - low))
    axes.legend(fontsize=8)
    save_png(figure_picture(figure), path)

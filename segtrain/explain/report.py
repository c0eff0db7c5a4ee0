"""What losses do, side by side: curves of configured losses, as a table and as a picture."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from segtrain.build import build, settle_loss
from segtrain.contract.promise import Loss
from segtrain.explain.curves import (
    PIXELS,
    PixelCurve,
    ShareCurve,
    at,
    checked_share,
    pixel_curve,
    share_curve,
    statistics,
)
from segtrain.task import Task

CLASSES = {"binary": 1, "multiclass": 3, "multilabel": 2}  # where the command says nothing
SHOWN_P, SHOWN_SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99), (0.001, 0.01, 0.05, 0.1, 0.25, 0.5)
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")  # Okabe and Ito's
STYLES = ("-", "--", "-.", ":")
STEEP = 12.0  # no axis of p shows more than so many times what is usual at p = .5


@dataclass(frozen=True)
class Explained:
    """The curves of one loss.

    Args:
        label: the loss and its parameters.
        foreground: of a pixel in the middle of the disc.
        background: of a pixel in a corner.
        shares: of the whole picture.
    """

    label: str
    foreground: PixelCurve
    background: PixelCurve
    shares: ShareCurve


def explain(config: DictConfig, label: str, allow: Sequence[str] = ()) -> Explained:
    """Compute the curves of a configured loss.

    Args:
        config: conf/explain.yaml, composed.
        label: for legends.
        allow: packages whose code the configuration may name.

    Raises:
        UserError: whatever the task or the loss refuses.
    """
    task = make_task(config)

    def built(share: float) -> Loss:
        return build_for(config, task, share, allow)

    share, others = checked_share(config.share), config.others
    loss = built(share)
    foreground, background = (pixel_curve(loss, task, label, share, others) for label in (1, 0))
    return Explained(label, foreground, background, share_curve(built, task, others))


def make_task(config: DictConfig) -> Task:
    """The task of the configuration; as many classes as CLASSES says where it says nothing."""
    given: Any = OmegaConf.to_container(config.task, resolve=True)
    fields = {key: value for key, value in given.items() if value is not None and key != "_target_"}
    return Task(**{"num_classes": CLASSES.get(fields["mode"], 1), **fields})


def build_for(config: DictConfig, task: Task, share: float, allow: Sequence[str]) -> Loss:
    """The loss, as for a training set with this share of foreground."""
    config = config.copy()
    with open_dict(config):
        for key, value in (("task", task), ("stats", statistics(share, task))):
            config[key] = {"_target_": f"segtrain.task.{type(value).__name__}", **json.loads(json.dumps(asdict(value)))}
    settle_loss(config, task, statistics(share, task))
    loss: Loss = build(config.loss, "loss", allow)
    return loss


def table(losses: Sequence[Explained]) -> str:
    """The curves at a few places: a pixel by its probability, the picture by its share of foreground."""
    from rich.console import Console
    from rich.table import Table

    text = io.StringIO()
    console = Console(file=text, width=110, color_system=None)
    for what in ("foreground", "background"):
        rows = Table(f"a {what} pixel", "", *(f"p={p:g}" for p in SHOWN_P))
        for word, name in (("loss", "cost"), ("dL/dz", "slope")):
            for one in losses:
                curve = getattr(one, what)
                rows.add_row(one.label, word, *map(_cell, at(curve.p, getattr(curve, name), SHOWN_P)))
            rows.add_section()
        console.print(rows)
    rows = Table("the whole picture", "", *(f"{100 * share:g} % fg" for share in SHOWN_SHARES))
    for word, name in (("loss", "value"), ("pull fg/bg", "balance")):
        for one in losses:
            rows.add_row(one.label, word, *map(_cell, at(one.shares.share, getattr(one.shares, name), SHOWN_SHARES)))
        rows.add_section()
    console.print(rows)
    return text.getvalue().rstrip()


def _cell(value: float) -> str:
    if not math.isfinite(value):  # no gradient on one side, as in a hinge loss whose pixels are all right enough
        return "-"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def save_picture(losses: Sequence[Explained], title: str, note: str, path: Path) -> None:
    """Six charts: loss and gradient of a foreground and of a background pixel, and both by the share.

    Args:
        losses: at most as many as there are COLORS.
        title: of the picture.
        note: below it.
        path: where to write; the ending says the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.6), dpi=130, layout="constrained", facecolor="white")
    axes = figure.subplots(2, 3)
    _draw_pixel(axes[:, 0], "a foreground pixel", losses, [one.foreground for one in losses])
    _draw_pixel(axes[:, 1], "a background pixel", losses, [one.background for one in losses])
    _draw_shares(axes[:, 2], losses)
    for axis in axes.flat:
        axis.grid(True, color="#e6e6e6", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=min(len(losses), 4),
        frameon=False,
        fontsize=11,
        title=title,
        title_fontproperties={"weight": "bold", "size": 13},
    )
    figure.supxlabel(note, fontsize=9, color="#555555")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw_pixel(axes: Any, title: str, losses: Sequence[Explained], curves: Sequence[PixelCurve]) -> None:
    for place, (one, curve) in enumerate(zip(losses, curves, strict=True)):
        style = {"color": COLORS[place], "linestyle": STYLES[place % len(STYLES)], "linewidth": 2}
        axes[0].plot(curve.p, curve.cost, label=one.label, **style)
        axes[1].plot(curve.p, curve.slope, **style)
    axes[0].set_title(f"Loss of {title}", fontsize=11)
    axes[1].set_title(f"Gradient of {title}", fontsize=11)
    axes[0].set_ylabel("loss")
    axes[1].set_ylabel("dL / dz")
    axes[1].axhline(0, color="#999999", linewidth=0.8)
    axes[0].set_ylim(*_limits([curve.cost for curve in curves]))
    for axis in axes:
        axis.set(xlim=(0, 1), xlabel="p, probability of the foreground")


def _limits(values: Sequence[Any]) -> tuple[float, float]:
    """From the least to the most, but not up the walls at p = 0 and 1."""
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    usual = max(float(v.abs()[len(v) // 2]) for v in values)
    high = min(high, max(STEEP * usual, 1e-3))
    return low - 0.03 * (high - low), high * 1.03


def _with(least: tuple[float, float], limits: tuple[float, float]) -> tuple[float, float]:
    """Limits that hold both ranges."""
    return min(least[0], limits[0]), max(least[1], limits[1])


def _draw_shares(axes: Any, losses: Sequence[Explained]) -> None:
    for place, one in enumerate(losses):
        style = {"color": COLORS[place], "linestyle": STYLES[place % len(STYLES)], "linewidth": 2}
        axes[0].plot(one.shares.share, one.shares.value, **style)
        axes[1].plot(one.shares.share, one.shares.balance, **style)
    axes[0].set_title("Loss by the share of foreground", fontsize=11)
    axes[1].set_title("Pull of foreground against background", fontsize=11)
    axes[0].set_ylabel("loss of the picture")
    axes[1].set_ylabel("sum |dL/dz|: foreground / background")
    axes[0].set_ylim(bottom=min(0, axes[0].get_ylim()[0]))
    axes[1].axhline(1, color="#999999", linewidth=0.8)
    axes[1].set_yscale("log")
    axes[1].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[1].yaxis.set_minor_formatter(lambda value, _: "")
    axes[1].set_ylim(*_with((0.1, 2), axes[1].get_ylim()))
    axes[1].text(0.001, 1.06, "balanced", color="#777777", fontsize=9, va="bottom")
    for axis in axes:
        axis.set(xscale="log", xlabel="share of foreground pixels")
        axis.set_xticks([0.001, 0.01, 0.1, 0.5], ["0.1 %", "1 %", "10 %", "50 %"])
        axis.xaxis.minorticks_off()


def note_of(config: DictConfig) -> str:
    """What the picture shows, in two lines."""
    return (
        f"A picture of {PIXELS:,} pixels, {100 * config.share:.3g} % of them foreground in the left and middle charts. "
        f"All pixels but the one looked at give their own class the probability {config.others:g}.\n"
        "Loss and gradient of a pixel are multiplied by the number of pixels: for a mean over pixels they are its own, "
        "for other losses what it adds in this picture."
    )

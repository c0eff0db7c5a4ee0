"""The picture of `segtrain explain`: six charts in which every curve's shape can be read.

Losses differ in scale by orders of magnitude. Where one would flatten the others it is drawn at a tenth, say, and the
chart says so beside it; the axis then holds for all others.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from segtrain.explain.curves import PIXELS
from segtrain.explain.report import Explained, note_lines

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")  # Okabe and Ito's
STYLES = ("-", "--", "-.", ":")
STEEP = 12.0  # no axis of p shows more than so many times what is usual at p = .5
ROOM = 5.0  # the largest curve of a chart is drawn at most so many times as large as the smallest
WALLS = 0.05  # next to p = 0 and 1, where logarithms rise without end: says nothing about a curve's scale
WIDTH = 185  # letters of a line below the charts
HEIGHT = 7.2  # inches of the charts


def factors(curves: Sequence[Tensor]) -> list[float]:
    """By what each curve of a chart is multiplied, so that none flattens another.

    The largest group of curves whose sizes are within ROOM of each other stays as it is; of groups as large, the one
    nearest to 1, the scale of a mean over pixels. The others get a factor of 1, 2 or 5 times a power of ten; one of 2
    would not be worth its note.

    Args:
        curves: values of each; its size is the largest of them, without sign.
    """
    sizes = [_size(curve) for curve in curves]
    known = [size for size in sizes if size > 0]
    if not known:
        return [1.0] * len(sizes)
    top = max(known, key=lambda high: (sum(high / ROOM <= size <= high for size in known), -abs(math.log(high))))
    found = []
    for size, curve in zip(sizes, curves, strict=True):
        near = size == 0 or top / ROOM <= size <= 2 * top
        found.append(1.0 if near or (size < top and _is_constant(curve)) else _round(top / size))
    return found


def _size(curve: Tensor) -> float:
    finite = curve[curve.isfinite()].abs()
    return float(finite.max()) if finite.numel() else 0.0


def _is_constant(curve: Tensor) -> bool:
    return float(curve.max() - curve.min()) <= 0.01 * _size(curve)


def _round(factor: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above it."""
    power: float = 10.0 ** math.floor(math.log10(factor))
    return max(step * power for step in (1, 2, 5) if step * power <= factor * (1 + 1e-9))


def save_picture(losses: Sequence[Explained], title: str, note: str, path: Path) -> None:
    """Six charts: loss and gradient of a foreground and of a background pixel, and both by the share.

    Args:
        losses: at most as many as there are COLORS.
        title: of the picture.
        note: below it, before those of the losses.
        path: where to write; the ending says the format.
    """
    figure = figure_of(losses, title, note)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def figure_of(losses: Sequence[Explained], title: str, note: str) -> Any:
    """The picture, as save_picture writes it."""
    from matplotlib.figure import Figure

    below = [line for text in (*note.splitlines(), *note_lines(losses)) for line in textwrap.wrap(text, WIDTH)]
    figure = Figure(figsize=(13, HEIGHT + 0.17 * len(below)), dpi=130, layout="constrained", facecolor="white")
    axes = figure.subplots(2, 3)
    _draw_pixel(axes[:, 0], "foreground", losses)
    _draw_pixel(axes[:, 1], "background", losses)
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
    figure.supxlabel("\n".join(below), x=0.01, ha="left", fontsize=9, color="#444444")
    return figure


def _draw(axis: Any, losses: Sequence[Explained], x: Tensor, curves: Sequence[Tensor], scales: Sequence[float]) -> Any:
    """Draw curves at their scales; returns the lines."""
    lines = []
    for place, (one, curve, scale) in enumerate(zip(losses, curves, scales, strict=True)):
        style = {"color": COLORS[place], "linestyle": STYLES[place % len(STYLES)], "linewidth": 2}
        lines += axis.plot(x, curve * scale, label=one.label, **style)
    return lines


def _say(axis: Any, lines: Sequence[Any], *texts: Sequence[str]) -> None:
    """Notes about single lines, where the chart has room; their labels stand above the picture."""
    said = [(line, ", ".join(filter(None, words))) for line, *words in zip(lines, *texts, strict=True)]
    pairs = [(line, text) for line, text in said if text]
    if pairs:
        few, notes = zip(*pairs, strict=True)
        axis.legend(few, notes, loc="best", fontsize=9, framealpha=0.7, edgecolor="none", handlelength=2.8)


def in_words(scale: float) -> str:
    """How a curve is drawn; nothing where it is drawn as it is."""
    if scale == 1:
        return ""
    return f"drawn at 1/{1 / scale:g}" if scale < 1 else f"drawn {scale:g} times as large"


def _draw_pixel(axes: Any, what: str, losses: Sequence[Explained]) -> None:
    pixels = [getattr(one, what) for one in losses]
    p, costs, slopes = pixels[0].p, [pixel.cost for pixel in pixels], [pixel.slope for pixel in pixels]
    middle = (p >= WALLS) & (p <= 1 - WALLS)
    scales = factors([cost[middle] for cost in costs])
    lines, drawn = _draw(axes[0], losses, p, costs, scales), [c * s for c, s in zip(costs, scales, strict=True)]
    low, high = _limits(drawn)
    axes[0].set_ylim(low, high)
    leaving = [f"rises to {c.max():.3g}" if d.max() > high else "" for c, d in zip(costs, drawn, strict=True)]
    _say(axes[0], lines, [in_words(scale) for scale in scales], leaving)
    scales = factors(slopes)
    _say(axes[1], _draw(axes[1], losses, p, slopes, scales), [in_words(scale) for scale in scales])
    axes[0].set_title(f"Loss of a {what} pixel", fontsize=11)
    axes[1].set_title(f"Gradient of a {what} pixel", fontsize=11)
    axes[0].set_ylabel("loss")
    axes[1].set_ylabel("dL / dz")
    axes[1].axhline(0, color="#999999", linewidth=0.8)
    for axis in axes:
        axis.set(xlim=(0, 1), xlabel="p, probability of the foreground")


def _limits(values: Sequence[Tensor]) -> tuple[float, float]:
    """From the least to the most, but not up the walls at p = 0 and 1."""
    values = [value.nan_to_num(posinf=0, neginf=0) for value in values]
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    usual = max(float(v.abs()[len(v) // 2]) for v in values)
    high = min(high, max(STEEP * usual, 1e-3))
    return low - 0.03 * (high - low), high * 1.03


def _draw_shares(axes: Any, losses: Sequence[Explained]) -> None:
    shares = losses[0].shares.share
    values, balances = [one.shares.value for one in losses], [one.shares.balance for one in losses]
    scales = factors(values)
    _say(axes[0], _draw(axes[0], losses, shares, values, scales), [in_words(scale) for scale in scales])
    lines = _draw(axes[1], losses, shares, balances, [1.0] * len(losses))
    axes[0].set_title("Loss by the share of foreground", fontsize=11)
    axes[1].set_title("Pull of foreground against background", fontsize=11)
    axes[0].set_ylabel("loss of the picture")
    axes[1].set_ylabel("sum |dL/dz|: foreground / background")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(min(0, low), high + 0.03 * (high - min(0, low)))
    axes[1].axhline(1, color="#999999", linewidth=0.8)
    axes[1].set_yscale("log")
    axes[1].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[1].yaxis.set_minor_formatter(lambda value, _: "")
    axes[1].set_ylim(*_with((0.1, 2), axes[1].get_ylim()))
    axes[1].text(0.001, 1.06, "balanced", color="#777777", fontsize=9, va="bottom")
    _say(axes[1], lines, ["" if balance.isfinite().any() else "no gradient here" for balance in balances])
    for axis in axes:
        axis.set(xscale="log", xlabel="share of foreground pixels")
        axis.set_xticks([0.001, 0.01, 0.1, 0.5], ["0.1 %", "1 %", "10 %", "50 %"])
        axis.xaxis.minorticks_off()


def _with(least: tuple[float, float], limits: tuple[float, float]) -> tuple[float, float]:
    """Limits that hold both ranges."""
    return min(least[0], limits[0]), max(least[1], limits[1])


def note_of(config: DictConfig) -> str:
    """What the picture shows, in two lines."""
    return (
        f"A picture of {PIXELS:,} pixels, {100 * config.share:.3g} % of them foreground in the left and middle charts. "
        f"All pixels but the one looked at give their own class the probability {config.others:g}.\n"
        "Loss and gradient of a pixel are multiplied by the number of pixels: for a mean over pixels they are its own, "
        "for other losses what it adds in this picture."
    )

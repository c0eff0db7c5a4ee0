"""The picture: every curve can be read, and what is drawn at another scale says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segtrain.cli.explanation import combinations
from segtrain.explain import chart
from segtrain.explain.report import Explained, explain

SCALE = re.compile(r"drawn at 1/(\S+?)(?:,|$)|drawn (\S+) times as large")
LARGEST = 2 * chart.ROOM  # ratio of what is drawn


def explained(*words: str) -> list[Explained]:
    return [explain(config, label) for label, config in combinations(words)]


def scale_of(text: str) -> float:
    found = SCALE.search(text)
    if found is None:
        return 1.0
    return 1 / float(found[1]) if found[1] else float(found[2])


def notes_of(axis: Any) -> dict[str, str]:
    """What a chart says of its lines, by their colours."""
    legend = axis.get_legend()
    if legend is None:
        return {}
    pairs = zip(legend.get_lines(), legend.get_texts(), strict=True)
    return {line.get_color(): text.get_text() for line, text in pairs}


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8))
def test_no_curve_flattens_another(sizes: list[float]) -> None:
    scales = chart.factors([torch.tensor([0.0, -size, size / 2]) for size in sizes])
    drawn = [size * scale for size, scale in zip(sizes, scales, strict=True)]
    assert max(drawn) / min(drawn) <= LARGEST * (1 + 1e-6)
    assert 1 in scales
    assert all(f"{scale:e}"[0] in "125" for scale in scales)


@pytest.mark.parametrize(
    ("sizes", "scales"),
    [
        ([10, 1, 0.4], [0.1, 1, 1]),  # the larger group stays
        ([200, 4], [0.02, 1]),  # of two, the one nearer to 1
        ([0.02, 1], [50, 1]),
        ([4, 1], [1, 1]),
        ([0, 30, 1], [1, 0.02, 1]),
        ([0, 0], [1, 1]),
    ],
)
def test_which_curves_keep_their_scale(sizes: Sequence[float], scales: Sequence[float]) -> None:
    assert chart.factors([torch.tensor([0.0, size]) for size in sizes]) == pytest.approx(scales)


def test_a_constant_is_not_enlarged() -> None:
    assert chart.factors([torch.tensor([0.001, 0.001]), torch.tensor([0.0, 1.0])]) == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["loss=lovasz,dice,ce"],
        pytest.param(["loss=boundary,dice"], marks=pytest.mark.slow),
        pytest.param(
            ["loss=ce,dice", "loss.class_weights=inverse,null", "task=multiclass", "share=.03"], marks=pytest.mark.slow
        ),
        ["loss=focal,lovasz", "loss.alpha=.25,null", "task=multilabel"],
    ],
)
def test_what_is_drawn_is_the_curve_at_the_scale_that_is_said_and_can_be_read(words: list[str]) -> None:
    losses = explained(*words)
    axes = chart.figure_of(losses, "", "").axes
    for axis, what, name in zip(
        axes,
        ("foreground", "background", "shares") * 2,
        ("cost", "cost", "value", "slope", "slope", "balance"),
        strict=True,
    ):
        said, (low, high) = notes_of(axis), axis.get_ylim()
        for place, one in enumerate(losses):
            line, curve = axis.lines[place], getattr(getattr(one, what), name)
            scale = scale_of(said.get(line.get_color(), ""))
            drawn = torch.as_tensor(line.get_ydata())
            torch.testing.assert_close(drawn, curve * scale, equal_nan=True)
            constant = curve.max() - curve.min() <= 0.01 * curve.abs().max()
            if name in ("cost", "slope") and not constant:
                assert drawn.max() - drawn.min() >= 0.05 * (high - low), (one.label, what, name)


def test_a_curve_that_leaves_its_chart_says_to_where() -> None:
    (one,) = explained("loss=focal")
    axis = chart.figure_of([one], "", "").axes[0]
    assert notes_of(axis) == {chart.COLORS[0]: f"rises to {one.foreground.cost.max():.3g}"}
    assert one.foreground.cost.max() > axis.get_ylim()[1]


def test_no_pull_is_said_and_the_notes_stand_below(tmp_path: Path) -> None:
    losses = explained("loss=lovasz,bce")
    figure = chart.figure_of(losses, "title", "the note")
    assert notes_of(figure.axes[5]) == {chart.COLORS[0]: "no gradient here"}
    below = figure.get_supxlabel().splitlines()
    assert below[0] == "the note"
    assert any(line.startswith("lovasz: ") for line in below)
    assert max(map(len, below)) <= chart.WIDTH
    chart.save_picture(losses, "title", "the note", tmp_path / "new" / "a.svg")
    assert "svg" in (tmp_path / "new" / "a.svg").read_text()

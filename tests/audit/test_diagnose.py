"""The documented rules, on statistics made by hand and on generated data."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from segtrain.audit import diagnose as rules
from segtrain.audit.components import ClassFacts, Facts
from segtrain.audit.diagnose import Advice, choose_loss, crop_side, diagnose
from segtrain.data.synthetic import SyntheticData
from segtrain.losses.weights import balance, square_root
from segtrain.task import ClassStats, Task
from tests.data.files import REQUEST

PAGE = Path(__file__).parents[2] / "docs" / "check.md"
PIXELS = 1_000_000


def stats(*shares: float) -> ClassStats:
    counts = [round(share * PIXELS) for share in shares]
    return ClassStats(counts, [PIXELS] * len(shares), [PIXELS] * len(shares), 10)


def facts(*shares: float, mode: str = "binary", **changes: object) -> Facts:
    task = Task(mode, len(shares))
    each = ClassFacts("", 1, 1, 1, (1, 1, 1), 40, 20.0, 2.0, 0.9)
    classes = [replace(each, name=name) for name in task.names]
    made = Facts(task, 3, [(200, 300)] * 10, 1.0, 0, classes, stats(*shares), (128, 128))
    return replace(made, **changes)  # type: ignore[arg-type]


def advice(found: Facts) -> dict[str, Advice]:
    return {each.what: each for each in diagnose(found)}


@pytest.mark.parametrize(
    ("share", "loss"),
    [(0.5, "dice_ce"), (0.05, "dice_ce"), (0.049, "RARE"), (0.02, "RARE"), (0.0199, "VERY"), (0.0, "dice_ce")],
)
def test_binary_loss_by_its_share(share: float, loss: str) -> None:
    expected = {"RARE": rules.RARE_LOSS, "VERY": rules.VERY_RARE_LOSS}.get(loss, loss)
    choice = choose_loss(Task("binary"), stats(share))
    assert choice.loss == expected
    assert choice.reason


def test_multilabel_goes_by_its_rarest_class() -> None:
    assert choose_loss(Task("multilabel", 3), stats(0.3, 0.002, 0.1)).loss == rules.VERY_RARE_LOSS
    assert choose_loss(Task("multilabel", 3), stats(0.3, 0.0, 0.1)).loss == "dice_ce"  # one that never occurs


def test_multiclass_weighs_classes_that_are_far_apart() -> None:
    even = choose_loss(Task("multiclass", 3), stats(0.6, 0.35, 0.05))
    assert (even.loss, dict(even.settings)) == ("dice_ce", {})
    uneven = choose_loss(Task("multiclass", 3), stats(0.6, 0.38, 0.02))
    assert (uneven.loss, dict(uneven.settings)) == ("dice_ce", {"terms.ce.class_weights": "auto"})


@pytest.mark.parametrize(("foreground", "loss"), [(0.5, "dice_ce"), (0.05, None), (0.003, rules.VERY_RARE_LOSS)])
def test_generated_data_gets_the_documented_choice(foreground: float, loss: str | None) -> None:
    source = SyntheticData(foreground=foreground, size=128, train=64, val=1, test=0).open(REQUEST)
    choice = choose_loss(source.task, source.stats)
    (share,) = source.stats.share()
    assert share == pytest.approx(foreground, rel=0.25)
    if loss is None:  # on the border of two rules: as the share came out
        loss = "dice_ce" if share >= rules.RARE else rules.RARE_LOSS
    assert choice.loss == loss


def test_beta_alpha_and_weights_are_those_of_the_losses() -> None:
    import torch

    found = advice(facts(0.04))
    assert float(found["beta"].value) == pytest.approx(float(balance(torch.tensor(0.04), "weighted")), rel=1e-2)
    assert float(found["alpha"].value) == pytest.approx(0.96)
    shares = (0.6, 0.3, 0.1)
    said = advice(facts(*shares, mode="multiclass"))["class weights"].reason
    raw = square_root(stats(*shares))
    mean = math.fsum(weight * share for weight, share in zip(raw, shares, strict=True))
    given = [float(number) for number in re.findall(r"class_\d ([\d.]+)", said)]
    assert given == pytest.approx([weight / mean for weight in raw], rel=0.02)


@pytest.mark.parametrize(
    ("extent", "size", "side"),
    [
        (10, (500, 500), 128),
        (100, (500, 500), 224),
        (400, (2000, 3000), 512),
        (400, (300, 900), 288),
        (5, (20, 20), 32),
    ],
)
def test_crop(extent: int, size: tuple[int, int], side: int) -> None:
    found = facts(0.1)
    found = replace(found, sizes=[size], classes=[replace(found.classes[0], extent=extent)])
    assert crop_side(found).settings == {"crop": side}
    assert side % 32 == 0


def test_batches_keep_the_pixels_of_a_step() -> None:
    assert rules.batch_size(128).settings == {"batch_size": 8}
    assert rules.batch_size(256).settings == {"batch_size": 2}
    assert rules.batch_size(32).settings == {"batch_size": 32}


def test_oversampling_where_crops_miss_a_class() -> None:
    found = facts(0.1)
    assert "oversampling" not in advice(found)
    rare = replace(found, classes=[replace(found.classes[0], hit=0.2)])
    assert advice(rare)["oversampling"].settings == {"data.oversample": 0.33}


def test_hints() -> None:
    found = facts(0.1, empty=3)
    assert "empty_score" in advice(found)["metrics"].reason
    thin = replace(found, classes=[replace(found.classes[0], thickness=3.0, length=30.0)], empty=0)
    assert set(advice(thin)) ^ set(advice(replace(found, empty=0))) == {"thin structures"}


def test_the_page_states_the_rules_as_they_are() -> None:
    text = PAGE.read_text()
    for phrase in (
        f"f < {rules.VERY_RARE:.0%} | `loss={rules.VERY_RARE_LOSS}`",
        f"f < {rules.RARE:.0%} | `loss={rules.RARE_LOSS}`",
        f"more than {rules.UNEQUAL} times",
        f"{rules.AROUND} x the extent",
        f"below {rules.LEAST_HIT:.0%}",
    ):
        assert phrase in text, phrase

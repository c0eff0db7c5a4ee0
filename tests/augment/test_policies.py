"""Policies choose as their papers say; strengths are shares of the way to the ends of real ranges."""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from segtrain.augment import build_augmentation
from segtrain.augment.parameters import Real
from segtrain.errors import UserError
from tests.augment.samples import HOLES, IGNORE, ODD, PIXELS, PRESETS, SHAPES, preset, sample


def policy(**settings: Any) -> Any:
    return build_augmentation({}, ODD, IGNORE, policy=settings)


def names(augment: Any, seeds: int) -> list[list[str]]:
    return [[op.split()[0] for op in augment.trace(*sample(), seed).ops] for seed in range(seeds)]


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0, None])
@pytest.mark.parametrize("name", [*SHAPES, *PIXELS, *HOLES])
def test_any_op_may_be_chosen_at_any_strength(name: str, strength: float | None) -> None:
    augment = policy(strength=strength, ops={"x": {"op": name}})
    for seed in range(3):
        changed, moved, (said,) = augment.trace(*sample(), seed)
        assert said.split()[0] == name
        assert np.isfinite(changed).all()
        assert set(np.unique(moved)) <= {0, 1, 2, IGNORE}


def test_what_says_how_and_not_how_much_is_drawn_whatever_the_strength() -> None:
    for strength in (0.0, 0.5, 1.0):
        drawn = [Real((0, 0), 0, 360, neutral=None).draw((30, 90), Random(seed), strength) for seed in range(200)]
        assert 30 <= min(drawn) < 33
        assert 87 < max(drawn) <= 90


def test_so_many_ops_each_as_likely() -> None:
    ops = {name: {"op": name} for name in ("hflip", "invert", "gamma", "autocontrast")}
    drawn = names(policy(number=2, strength=0.5, ops=ops), 800)
    assert all(len(each) == 2 for each in drawn)
    counts = Counter(name for each in drawn for name in each)
    assert max(abs(counts[name] - 400) for name in ops) < 70  # 3.7 deviations


def test_pairs_go_together_with_their_own_chances() -> None:
    pairs = {"a": [{"op": "hflip", "p": 0.25}, {"op": "invert"}], "b": [{"op": "gamma", "power": [0.5, 2]}]}
    counts = Counter(tuple(each) for each in names(policy(number=1, strength=1, pairs=pairs), 800))
    assert set(counts) == {("hflip", "invert"), ("invert",), ("gamma",)}
    assert counts["gamma",] == pytest.approx(400, abs=55)
    assert counts["hflip", "invert"] == pytest.approx(100, abs=35)


@pytest.mark.parametrize(
    ("kind", "given", "ends"),
    [
        (Real((0, 0), -180, 180), (-30, 20), {-15.0, 10.0}),
        (Real((0, 0), 0, 10, neutral=1), (0.1, 1.9), {0.55, 1.45}),
        (Real((0, 0), 1, 8, neutral=8, whole=True), (4, 8), {6}),
        (Real((0, 0), 0.05, 20, neutral=1, log=True), (0.25, 4), {0.5, 2.0}),
        (Real((0, 0), 0, 1), (0, 0), {0}),
    ],
)
def test_strength_is_the_share_of_the_way_from_no_change(kind: Real, given: Any, ends: set[float]) -> None:
    found = {round(kind.draw(given, Random(seed), 0.5), 9) for seed in range(40)}
    assert sorted(found) == pytest.approx(sorted(ends))
    assert {round(kind.draw(given, Random(seed), 0.0), 9) for seed in range(9)} == {kind.neutral}
    outermost = {round(kind.draw(given, Random(seed), 1.0), 9) for seed in range(40)}
    assert sorted(outermost) == pytest.approx(sorted({end for end in given if end != kind.neutral} or {kind.neutral}))


def test_ranges_are_drawn_from_evenly() -> None:
    for kind, middle in ((Real((0, 0), 0, 10), 2.125), (Real((0, 0), 0.1, 10, log=True), 1.0)):
        drawn = [kind.draw((0.25, 4.0), Random(seed)) for seed in range(2000)]
        assert 0.25 <= min(drawn) < 0.27
        assert 3.9 < max(drawn) <= 4.0
        assert np.median(drawn) == pytest.approx(middle, rel=0.1)
    wholes = Counter(Real((0, 0), 1, 9, whole=True).draw((2, 4), Random(seed)) for seed in range(900))
    assert set(wholes) == {2, 3, 4}
    assert min(wholes.values()) > 240  # each as likely


@pytest.mark.parametrize("name", ["randaugment", "trivialaugment", "autoaugment"])
def test_presets_of_policies(name: str) -> None:
    settings = PRESETS[name]["policy"]
    augment = preset(name)
    drawn = names(augment, 60)
    ours = [[op for op in each if op != "hflip"] for each in drawn]
    most = {"randaugment": 2, "trivialaugment": 1, "autoaugment": 2}[name]
    assert max(map(len, ours)) == most
    assert settings["strength"] == {"randaugment": 0.3, "trivialaugment": None, "autoaugment": 1}[name]
    assert len({op for each in ours for op in each}) >= 8


def test_trivialaugment_draws_its_strength() -> None:
    texts = [op for seed in range(300) for op in preset("trivialaugment").trace(*sample(), seed).ops]
    angles = [abs(float(text.split()[1].rstrip("°"))) for text in texts if text.startswith("rotate")]
    assert min(angles) < 35
    assert max(angles) > 100


def test_randaugment_has_one_strength() -> None:
    texts = [op for seed in range(100) for op in preset("randaugment").trace(*sample(), seed).ops]
    assert {text for text in texts if text.startswith("rotate")} == {"rotate 9°", "rotate -9°"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"numbr": 2}, r"aug.policy: each key must be one of number, strength, ops, pairs.*did you mean number\?"),
        ({"ops": {}}, "aug.policy has neither ops nor pairs"),
        ({"ops": {"a": {"op": "hflip"}}, "number": 0}, r"aug.policy.number must be a whole number >= 1, got 0"),
        ({"ops": {"a": {"op": "hflip"}}, "strength": 2}, r"aug.policy.strength must be null or .* \[0, 1\], got 2"),
        ({"ops": {"a": {"op": "hflop"}}}, r"aug.policy.ops.a.op=hflop: no such op - did you mean hflip\?"),
        ({"pairs": {"a": "hflip"}}, r"aug.policy.pairs.a must be a list of ops, got 'hflip'"),
        (
            {"pairs": {"a": [{"op": "hflip"}, {"op": "gama"}]}},
            r"aug.policy.pairs.a.1.op=gama: no such op - did you mean gamma\?",
        ),
    ],
)
def test_bad_policies(settings: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        policy(**settings)


def test_a_policy_is_settings() -> None:
    with pytest.raises(UserError, match=r"aug.policy must be settings \(number, strength, ops, pairs\), got 'rand'"):
        build_augmentation({}, ODD, IGNORE, policy="rand")  # type: ignore[arg-type]


def test_the_pairs_of_autoaugment_are_those_of_torchvision() -> None:
    """Levels 0 to 9 of its table, in our units."""
    theirs = AutoAugment(AutoAugmentPolicy.IMAGENET)
    space = theirs._augmentation_space(10, (224, 224))
    words = {"Color": "saturation", "Sharpness": "sharpen", "ShearX": "shear"}
    for ours, pair in zip(PRESETS["autoaugment"]["policy"]["pairs"].values(), theirs.policies, strict=True):
        for config, (name, p, level) in zip(ours, pair, strict=True):
            assert (config["op"], config["p"]) == (words.get(name, name.lower()), p)
            magnitude = 0.0 if level is None else float(space[name][0][level])
            wanted = {
                "Posterize": {"bits": magnitude},
                "Solarize": {"threshold": magnitude / 255},
                "Rotate": {"degrees": [-magnitude, magnitude]},
                "ShearX": {"x": [-math.degrees(math.atan(magnitude)), math.degrees(math.atan(magnitude))], "y": 0},
                **{key: {"factor": [1 - magnitude, 1 + magnitude]} for key in ("Color", "Contrast", "Sharpness")},
            }.get(name, {})
            assert config.keys() - {"op", "p"} == wanted.keys()
            for key, value in wanted.items():
                assert config[key] == pytest.approx(value, abs=0.1 if key in ("degrees", "x") else 0.001)

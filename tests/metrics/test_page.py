"""The page on metrics and the docstrings: their examples give what stands there, and the page names every score."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

from segtrain.metrics import CalibrationProbe, SegmentationMetrics, calibration, counts
from segtrain.module import score_tag
from segtrain.task import Task

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_examples_give_what_stands_there() -> None:
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert found.attempted >= 10
    assert found.failed == 0


@pytest.mark.parametrize("module", [calibration, counts])
def test_the_examples_of_a_module_give_what_stands_there(module: ModuleType) -> None:
    found = doctest.testmod(module, extraglobs={"torch": torch})
    assert found.attempted >= 3
    assert found.failed == 0


def test_every_score_is_explained() -> None:
    explained = set(re.findall(r"`(val\w*/\w+?)(?:_<name>)?`", PAGE.read_text()))
    task = Task("binary")
    for key in [score_tag("val", name) for name in SegmentationMetrics(task).names()]:
        assert key.removesuffix("_foreground") in explained
    assert {f"val_probe/{name}" for name in CalibrationProbe(task).names()} <= explained

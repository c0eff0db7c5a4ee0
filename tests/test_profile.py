"""debug=profile: the parts of a step add up, and what is written can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from segtrain.callbacks.profiling import PARTS, in_words
from tests import tiny


def test_parts_of_a_step() -> None:
    text = in_words({"data": 0.2, "net": 0.3, "rest": 0.5}, 10)
    assert [line.split() for line in text.splitlines()] == [
        ["data", "20.00", "ms", "20%"],
        ["net", "30.00", "ms", "30%"],
        ["rest", "50.00", "ms", "50%"],
        ["a", "step", "100.00", "ms"],
    ]


@pytest.mark.parametrize(
    ("train", "steps"), [(4, 1), (12, 2), pytest.param(100, 10, marks=pytest.mark.slow)]
)  # batches of 4
def test_a_profile_is_written(tmp_path: Path, train: int, steps: int, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path, "debug=profile", f"data.train={train}")
    folder = run.folder / "profile"
    table = (folder / "table.txt").read_text()
    found = {part: float(ms) for part, ms in re.findall(r"^([a-z ]+?) +([\d.]+) ms", table, flags=re.MULTILINE)}
    assert set(found) == {*PARTS, "a step"}
    assert sum(found[part] for part in PARTS) == pytest.approx(found["a step"], abs=0.05)
    assert min(found["net"], found["backward"], found["optimizer"]) > 0
    assert "aten::convolution_backward" in table
    names = [event.get("name") for event in json.loads((folder / "trace.json").read_text())["traceEvents"]]
    assert names.count("aten::_fused_adamw_") in (2 * steps, steps)  # two groups of parameters
    assert f"profile in {folder}" in capsys.readouterr().out

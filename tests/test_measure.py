"""The benchmarks' yardsticks measure what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scripts.measure import host_waits, interleaved, markdown, peak_memory, setting, write_section

MIB = 2**20


def test_peak_memory_counts_temporaries_and_results_but_not_inputs() -> None:
    given = torch.zeros(8 * MIB // 4)

    def call() -> torch.Tensor:
        first = given + 1  # 8
        second = torch.cat([first, first])  # 16
        del first
        return second[:4] + torch.zeros(2 * MIB // 4).sum()  # 2, when the first is gone

    assert peak_memory(call) == pytest.approx(24, abs=0.1)
    assert peak_memory(lambda: given.add_(1)) == pytest.approx(0, abs=0.01)


def test_peak_memory_sees_what_an_operation_allocates_inside() -> None:
    strided = torch.zeros(2, 2 * MIB // 4).t()  # 4; sorting returns 4 and, as int64, 8, but copies within
    assert peak_memory(lambda: strided.sort(dim=0)) > 15


def test_host_waits_are_counted() -> None:
    x = torch.tensor([1.0, -1.0])

    def call() -> None:
        float(x.sum())
        x[x > 0]
        x.nonzero()
        (x.abs().long() + 1).bincount()
        x[torch.tensor([0])]

    assert host_waits(call) >= 4
    assert host_waits(lambda: torch.where(x > 0, x, 0).sum()) == 0


def test_each_variant_takes_its_turn_in_each_round() -> None:
    calls: list[str] = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert calls == ["a", "b"] * 4  # one to warm up
    assert set(times) == {"a", "b"}
    assert interleaved({"slow": lambda: sum(range(10**6)), "fast": lambda: None})["slow"] > 1


def test_a_section_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    for name, text in (("one", "1"), ("two", "2"), ("one", "3")):
        write_section(name, text, page)
    text = page.read_text()
    assert text.startswith("# Benchmarks\n")
    assert "1" not in text
    assert text.index("3") < text.index("2")
    assert text.count("end of one") == 1


def test_a_table_and_its_setting() -> None:
    assert markdown(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
    text = setting(("torch", "no-such-package"), "python scripts/x.py")
    assert f"torch {torch.__version__.partition('+')[0]}" in text
    assert "no-such-package" not in text

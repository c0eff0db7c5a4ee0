"""Pictures: which samples are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segtrain.callbacks import pictures
from segtrain.callbacks.pictures import spread
from tests import tiny


def test_a_run_without_pictures_draws_nothing(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "~callbacks.pictures", "epochs=1", fast=tiny.BARE)
    assert run.status == "done"
    assert not (run.folder / "plots").exists()


@pytest.mark.parametrize(
    ("count", "number", "expected"),
    [(9, 3, [1, 4, 7]), (100, 4, [12, 37, 62, 87]), (3, 8, [0, 1, 2]), (5, 1, [2]), (5, 0, []), (0, 4, [])],
)
def test_samples_are_spread_evenly(count: int, number: int, expected: list[int]) -> None:
    assert spread(range(count), number) == expected


def test_the_same_samples_are_shown_whatever_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.make_folder(tmp_path / "data", counts=(6, 9, 1))
    shown: list[str] = []
    drawn = pictures.prediction_row

    def noted(batch: Any, logits: Any, place: int, task: Any) -> Any:
        shown.append(batch["id"][place])
        return drawn(batch, logits, place, task)

    monkeypatch.setattr(pictures, "prediction_row", noted)
    for size in (1, 4):
        shown.clear()
        words = ["epochs=1", "callbacks.pictures.samples=3", f"batch_size={size}"]
        run = tiny.train(tmp_path / "out", *words, data=tiny.folder(root), fast=tiny.BARE)
        assert sorted(Path(name).stem for name in shown) == ["val1", "val4", "val7"]
        assert (run.folder / "plots" / "predictions.png").is_file()

"""Pictures: which samples are shown, and that to show them changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segtrain.assemble import Request, assemble
from segtrain.callbacks import pictures
from segtrain.callbacks.pictures import spread
from segtrain.cli import main
from segtrain.cli.compose import compose
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


@pytest.mark.slow
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


def shown_images(run: Any) -> dict[str, list[int]]:
    """Steps of each picture of a run."""
    events = EventAccumulator(str(run.folder), size_guidance={"images": 0})
    events.Reload()
    return {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}


@pytest.mark.parametrize("cache", ["ram", pytest.param("none", marks=pytest.mark.slow)])
def test_how_samples_are_made_is_shown_once_and_changes_nothing(tmp_path: Path, cache: str) -> None:
    root = tiny.make_folder(tmp_path / "data")
    words = [f"data.cache={cache}", "aug=heavy", "+aug.train.clahe={op: CLAHE, p: 1}", "checkpoint.every_steps=1"]
    data = tiny.folder(root)
    plain = tiny.train(tmp_path / "plain", *words, "~callbacks.pictures", data=data, fast=tiny.BARE)
    drawn = tiny.train(tmp_path / "drawn", *words, data=data, fast=tiny.BARE)
    assert tiny.differing(tiny.weights(plain), tiny.weights(drawn)) == []
    assert shown_images(drawn)["train/augmentation"] == [0]
    none = tiny.train(tmp_path / "none", *words, "callbacks.pictures.samples=0", data=data, fast=tiny.BARE)
    assert "train/augmentation" not in shown_images(none)


@pytest.mark.slow
def test_a_run_that_goes_on_shows_it_no_second_time(tmp_path: Path) -> None:
    words = ["train", *tiny.SYNTHETIC, *tiny.BARE, "checkpoint.every_steps=1", f"output_dir={tmp_path}"]
    assert main([*words, *tiny.stop_at(1)]) == 1
    assert main(["train", "resume=latest", f"output_dir={tmp_path}", "~callbacks.stop"]) == 0
    assert shown_images(tiny.read_run(tiny.find_latest(tmp_path)))["train/augmentation"] == [0]


def test_it_shows_the_first_samples_of_the_batch_as_the_net_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = assemble(Request(*compose("train", [*tiny.SYNTHETIC, *tiny.BARE, "aug=heavy"])))
    loader, seen = parts.data.train_dataloader(), []
    batch = next(iter(loader))
    before = pictures.stages
    monkeypatch.setattr(pictures, "stages", lambda *a: seen.extend(before(*a)) or seen)
    for number, expected in ((3, 3), (9, 4)):
        seen.clear()
        picture = pictures.augmentation_picture(loader, batch, number, parts.source.task)
        assert picture is not None
        assert [one.name for one in seen] == batch["id"][:expected]
        for one, image in zip(seen, batch["image"], strict=False):
            assert np.array_equal(one.image, one.changed)
            assert np.array_equal(one.image, image.permute(1, 2, 0).numpy())
    loader.dataset.transform = lambda image, mask, seed: (image, mask)
    assert pictures.augmentation_picture(loader, batch, 3, parts.source.task) is None

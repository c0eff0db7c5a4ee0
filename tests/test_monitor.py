"""A monitored score that is not a number, in some epochs or in all: it is never the best, and the run says so."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch.utils.data import DataLoader

from segtrain.callbacks import KeepBest
from segtrain.cli import main
from segtrain.console import set_up_logging
from tests import tiny


class Scored(LightningModule):
    """One weight, and a score for each epoch that is given beforehand."""

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.net = torch.nn.Linear(1, 1)
        self.given = scores

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch).sum()

    def on_train_epoch_end(self) -> None:
        self.log("score", self.given[self.current_epoch])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize(
    ("scores", "mode", "best"),
    [
        ([math.nan, 0.1, 0.3, math.nan], "max", 2),
        ([math.nan, 0.3, 0.1, math.nan], "min", 2),
        ([0.2, math.nan, 0.1], "max", 0),
        ([math.nan, 0.0], "max", 1),
        ([math.nan, math.nan], "max", None),
        ([math.nan, math.nan], "min", None),
    ],
)
def test_an_epoch_whose_score_is_no_number_is_never_the_best(
    scores: list[float], mode: str, best: int | None, tmp_path: Path
) -> None:
    set_up_logging()  # Lightning speaks of few workers
    keep = KeepBest(tmp_path, "score", mode)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=len(scores),
        callbacks=[keep],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Scored(scores), DataLoader([torch.ones(1)]))
    saved = sorted(path.name for path in tmp_path.iterdir())
    assert saved == ([] if best is None else ["best.ckpt"])
    if best is not None:
        assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == best


def unlabelled_validation(root: Path) -> Path:
    """Three classes, and validation masks without a label: no score of theirs is a number."""
    tiny.make_folder(root, ids=(0, 1, 2))
    (root / "classes.txt").write_text("0\tground\n1\tone\n2\ttwo\n9\tunlabelled\tignore\n")
    for path in (root / "masks" / "val").iterdir():
        Image.fromarray(np.full_like(np.asarray(Image.open(path)), 9)).save(path)
    return root


def test_a_run_whose_monitor_was_never_a_number_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = unlabelled_validation(tmp_path / "squares")
    run = tiny.train(tmp_path / "out", "monitor=val_class/iou_two", "lr=.1", data=tiny.folder(root))
    said = capsys.readouterr().out
    for text in (said, (run.folder / "train.log").read_text()):
        assert "monitor=val_class/iou_two was not a number in any epoch, so there is no best.ckpt" in text
        assert "test split, last.ckpt" in text
        assert "best epoch" not in text
    assert [path.name for path in (run.folder / "checkpoints").iterdir()] == ["last.ckpt"]
    summary = json.loads((run.folder / "summary.json").read_text(), parse_constant=pytest.fail)
    best = summary["val_best"]
    assert (run.status, best["epoch"], best["score"], best["iou"], best["class"]["two"]["dice"]) == (
        "done",
        *[None] * 4,
    )
    assert run.score is None
    # what was scored on the test split is what `evaluate` takes
    assert main(["evaluate", f"run={run.folder}", "split=test", f"output={tmp_path / 'tables'}"]) == 0
    assert "has no best.ckpt, so its last.ckpt is used" in capsys.readouterr().out
    again = json.loads((tmp_path / "tables" / "scores.json").read_text())
    assert again["iou"] == pytest.approx(summary["test"]["iou"], abs=1e-6)


def test_without_a_test_split_nothing_is_said_to_be_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = unlabelled_validation(tmp_path / "squares")
    for kind in ("images", "masks"):
        (root / kind / "test").rename(root / kind / "unused")
    tiny.train(tmp_path / "out", "epochs=1", data=tiny.folder(root))
    said = capsys.readouterr().out
    assert "monitor=val/iou was not a number in any epoch" in said
    assert "scored" not in said

"""ema=: the moving average of the weights is what is validated, kept, tested and begun with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from segtrain.callbacks import Ema
from segtrain.checkpoint import net_weights
from segtrain.cli import main
from segtrain.errors import UserError
from tests import tiny
from tests.tiny import curves

DECAY = 0.3
State = dict[str, torch.Tensor]
steps: list[State] = []


class Watch(Callback):
    """Keeps the net's weights as they are made and behind each step."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._keep(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == len(steps):
            self._keep(pl_module)

    def _keep(self, module: Any) -> None:
        steps.append({name: value.clone() for name, value in module.net.state_dict().items()})


WATCH = ["+callbacks.watch._target_=tests.test_ema.Watch", "--allow", "tests"]


_forgotten = tiny.cleared(steps)


def averaged(name: str, decay: float) -> torch.Tensor:
    """The average by its definition, in double precision."""
    if not steps[0][name].is_floating_point():
        return steps[-1][name]
    average = steps[0][name].double()
    for number, weights in enumerate(steps[1:], 1):
        kept = min(decay, (1 + number) / (10 + number))
        average = kept * average + (1 - kept) * weights[name].double()
    return average


@pytest.mark.parametrize("words", [[], ["trainer.accumulate=2", "batch_size=2"]])
def test_the_checkpoint_holds_the_average_and_the_weights(tmp_path: Path, words: list[str]) -> None:
    run = tiny.train(tmp_path, f"ema={DECAY}", *words, *WATCH)
    checkpoint = torch.load(run.last, weights_only=True)
    assert len(steps) == 1 + checkpoint["global_step"] > 4
    behind = net_weights({"state_dict": checkpoint["current_model_state"]})
    for name, value in net_weights(checkpoint).items():
        torch.testing.assert_close(value.double(), averaged(name, DECAY).double(), atol=1e-6, rtol=1e-5)
        assert torch.equal(behind[name], steps[-1][name])
    assert tiny.differing(net_weights(checkpoint), behind) != []


def test_what_is_validated_is_the_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path, "ema=.9", "data.val=8")
    assert main(["evaluate", f"run={run.last}", "split=val", f"output_dir={tmp_path}"]) == 0
    scores = json.loads((run.folder / "evaluation" / "val" / "scores.json").read_text())
    last = curves(run)[-1]
    for score in ("iou", "dice"):
        assert scores[score] == pytest.approx(float(last[f"val/{score}"]), abs=1e-6)
    assert float(last["val/loss"]) != pytest.approx(float(curves(tiny.train(tmp_path, "data.val=8"))[-1]["val/loss"]))


@pytest.mark.slow
def test_the_training_itself_is_not_changed(tmp_path: Path) -> None:
    plain = tiny.train(tmp_path / "plain")
    for decay in ("0", ".9"):
        run = tiny.train(tmp_path / decay, f"ema={decay}")
        assert [row["train/loss"] for row in curves(run)] == [row["train/loss"] for row in curves(plain)]
        behind = torch.load(run.last, weights_only=True)["current_model_state"]
        assert tiny.differing(behind, torch.load(plain.last, weights_only=True)["state_dict"]) == []
        # with a decay of 0 the average is the weights, so all scores are those of the plain run
        assert (curves(run) == curves(plain)) == (decay == "0")


def test_a_new_run_begins_with_the_average(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "ema=.9", "epochs=1")
    tiny.train(tmp_path, "epochs=1", f"init_from={run.last}", *WATCH)
    assert tiny.differing(steps[0], net_weights(torch.load(run.last, weights_only=True))) == []


def test_a_run_is_not_continued_with_another_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.train(tmp_path, "ema=.9", "epochs=1")
    assert main(["train", "resume=latest", f"output_dir={tmp_path}", "ema=.8"]) == 1
    assert "settings differ (ema: 0.9 then, 0.8 now)" in capsys.readouterr().err


@pytest.mark.parametrize("decay", [1, -0.1, float("nan"), "much"])
def test_other_decays_are_refused(decay: Any) -> None:
    with pytest.raises(UserError, match=r"^ema must be"):
        Ema(decay)

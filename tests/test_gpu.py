"""On a GPU: a step waits for nothing, whatever watches it; what is averaged lies where the net does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from segtrain.checkpoint import net_weights
from tests import tiny
from tests.test_ema import DECAY, WATCH, averaged, steps

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]
FIRST, LAST = 2, 5  # of the steps that are watched: behind what is done once, before the epoch ends


class Waits(Callback):
    """Lets torch refuse whatever would wait for the GPU, from the start of a step to the start of a later one."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == FIRST and trainer.current_epoch == 0:
            torch.cuda.set_sync_debug_mode("error")
        if batch_idx == LAST:
            watched.append(batch_idx)
            torch.cuda.set_sync_debug_mode("default")


watched: list[int] = []
_forgotten = tiny.cleared(watched, steps)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["ema=.9", "loss=dice_focal", "trainer.clip=1"],
        ["task=multiclass", "mix=cutmix", "trainer.accumulate=2", "optim=sgd"],
        ["mix=copy_paste", "loss=tversky", "trainer.precision=32-true"],
    ],
)
def test_a_step_waits_for_nothing(tmp_path: Path, words: list[str]) -> None:
    watch = ["+callbacks.waits._target_=tests.test_gpu.Waits", "--allow", "tests"]
    tiny.train(tmp_path, "trainer=gpu", "data.train=40", "epochs=1", *words, *watch)
    assert watched == [LAST]


def test_the_average_is_its_definition(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "trainer=gpu", "trainer.precision=32-true", f"ema={DECAY}", *WATCH)
    for name, value in net_weights(torch.load(run.last, weights_only=True)).items():
        expected = averaged(name, DECAY).double().cpu()
        torch.testing.assert_close(value.double().cpu(), expected, atol=1e-6, rtol=1e-5)


def test_where_the_time_goes(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "trainer=gpu", "debug=profile", "data.train=80")
    table = (run.folder / "profile" / "table.txt").read_text()
    assert "CUDA" in table
    assert float(tiny.table(run)[-1]["perf/memory_gib"]) > 0

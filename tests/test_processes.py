"""Several processes: none waits for another without end, and they make one run however they were started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segtrain.cli import main
from tests import tiny

SECONDS = 120  # a process that waits for another one would wait half an hour
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "num_workers=0", "epochs=1"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def start(output: Path, *words: str, launcher: list[str] | None = None) -> subprocess.Popen[str]:
    """A training of two processes."""
    return launched([*tiny.SYNTHETIC, *tiny.FAST, *TWO, f"output_dir={output}", *words], launcher)


def launched(words: list[str], launcher: list[str] | None = None) -> subprocess.Popen[str]:
    """A training in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, *(launcher or []), "-m", "segtrain", "train", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr); all of its processes are killed where it takes too long."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"not ended after {SECONDS} s: {out[-500:]} {err[-2000:]}")
    return process.returncode, out, err


def test_a_process_without_an_image_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val", "test"):
        words = [*tiny.SYNTHETIC, *tiny.FAST, *TWO, f"data.{split}=1", f"output_dir={tmp_path}"]
        assert main(["train", *words]) == 1
        assert f"the 1 {split} images cannot be shared by 2 processes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_processes_started_by_torchrun_share_one_folder_and_continue_it(tmp_path: Path) -> None:
    code, out, err = ended(start(tmp_path, launcher=TORCHRUN))
    assert code == 0, err
    assert out.count("epoch 1/1") == 1
    run = tiny.read_run(tiny.find_latest(tmp_path))
    assert len(list(run.folder.parent.iterdir())) == 1
    assert run.status == "done"
    code, out, err = ended(start(tmp_path, "resume=latest", "epochs=2", launcher=TORCHRUN))
    assert code == 0, err
    assert "epoch 2/2" in out
    assert len(list(run.folder.parent.iterdir())) == 1
    assert torch.load(run.last, weights_only=True)["segtrain"]["processes"] == 2


def test_processes_that_would_each_train_alone_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, f"output_dir={tmp_path}"]) == 1
    assert "4 processes were started (SLURM_STEP_NUM_TASKS)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_run_is_not_that_of_the_next(tmp_path: Path) -> None:
    tiny.train(tmp_path, "epochs=1")
    assert not [name for name in os.environ if name.startswith("SEGTRAIN_RUN")]


@pytest.mark.slow
@pytest.mark.parametrize("loss", [["loss=dice_ce", "loss.terms.dice.sync=true"], ["loss=focal"]])
def test_two_processes_learn_what_one_does_with_batches_of_both(tmp_path: Path, loss: list[str]) -> None:
    """Without batch norm a step's gradient is the same, however few pixels of one's share carry labels."""
    root = tiny.make_folder(tmp_path / "data", (0, 1, 2), (8, 2, 2), [(32, 32)])
    for index in range(0, 8, 3):
        path = root / "masks" / "train" / f"train{index}.png"
        mask = np.array(Image.open(path))
        mask[:, : 8 * (2 + index // 3)] = 255
        Image.fromarray(mask).save(path)
    conf = tmp_path / "conf"
    (conf / "model").mkdir(parents=True)
    (conf / "model" / "plain.yaml").write_text("# No batch norm.\n_target_: tests.tiny.plain_net\n")
    own = ["model=plain", "--config-dir", str(conf), "--allow", "tests", "data.ignore_ids=[255]"]
    words = [*own, *loss, "trainer.precision=32-true", "optim=sgd", "optim.schedule=constant", "aug=none", "lr=.1"]
    nets = []
    for name, batch, processes in (("two", 2, TWO), ("one", 4, ["trainer=cpu", "num_workers=0", "epochs=1"])):
        command = [*tiny.folder(root), "crop=32", "~callbacks.pictures", f"output_dir={tmp_path / name}", *words]
        process = launched([*command, *processes, f"batch_size={batch}"])
        code, _, err = ended(process)
        assert code == 0, err
        nets.append(tiny.weights(tiny.read_run(tiny.find_latest(tmp_path / name))))
    learned = [name for name in nets[0] if name.startswith("net.net.")]
    assert len(learned) == 4
    for name in learned:
        torch.testing.assert_close(nets[0][name], nets[1][name], atol=1e-6, rtol=0, msg=name)
    alone = tiny.train(tmp_path / "less", *words, "batch_size=2", data=tiny.folder(root), fast=["crop=32", "epochs=1"])
    assert any(not torch.allclose(tiny.weights(alone)[name], nets[1][name], atol=1e-4) for name in learned)

"""Several processes: none waits for another without end, and they make one run however they were started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
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


@pytest.mark.slow
def test_processes_and_images_of_a_step_are_said(tmp_path: Path) -> None:
    code, out, err = ended(start(tmp_path, "optim.scaling=sqrt"))
    assert code == 0, err
    assert "device 2 processes, 8 images a step, each on cpu, 1 thread on " in out
    chosen = tiny.summary(tiny.read_run(tiny.find_latest(tmp_path)))["chosen"]
    assert (chosen["processes"], chosen["images_per_step"]) == (2, 8)


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


@pytest.fixture
def two_hosts() -> Iterator[list[list[str]]]:
    """What makes a command run on each of two machines: network namespaces joined by a cable."""
    if (
        shutil.which("ip") is None
        or subprocess.run(["ip", "netns", "add", "segtrain0"], capture_output=True).returncode
    ):
        pytest.skip("network namespaces cannot be made here: it needs iproute2 and the rights of root")
    try:
        for command in CABLE:
            subprocess.run(["ip", *command.split()], check=True)
        yield [["ip", "netns", "exec", f"segtrain{host}"] for host in (0, 1)]
    finally:
        for host in (0, 1):
            subprocess.run(["ip", "netns", "del", f"segtrain{host}"], check=False, capture_output=True)


CABLE = (
    "netns add segtrain1",
    "link add cable0 netns segtrain0 type veth peer name cable1 netns segtrain1",
    *(f"-n segtrain{host} addr add 10.77.0.{host + 1}/24 dev cable{host}" for host in (0, 1)),
    *(f"-n segtrain{host} link set {device} up" for host in (0, 1) for device in ("lo", f"cable{host}")),
)


@pytest.mark.slow
def test_two_machines_make_one_run(tmp_path: Path, two_hosts: list[list[str]]) -> None:
    """As docs/training.md starts them, with one process each."""
    nodes = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2", "num_workers=0"]
    words = ["-m", "segtrain", "train", *tiny.SYNTHETIC, *tiny.FAST, *nodes, "epochs=1", f"output_dir={tmp_path}"]
    processes = []
    for host, prefix in enumerate(two_hosts):
        where = ["--nnodes=2", f"--node_rank={host}", "--nproc_per_node=1", "--master_addr=10.77.0.1"]
        command = [*prefix, sys.executable, *TORCHRUN[:2], *where, "--master_port=29500", *words]
        variables = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": f"cable{host}"}
        processes.append(
            subprocess.Popen(
                command,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
    results = [ended(process) for process in processes]
    assert [code for code, _, _ in results] == [0, 0], results
    run = tiny.read_run(tiny.find_latest(tmp_path))
    assert run.status == "done"
    assert len(list(run.folder.parent.iterdir())) == 1
    assert torch.load(run.last, weights_only=True)["segtrain"]["processes"] == 2

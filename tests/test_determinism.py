"""deterministic=true: the same bits for the same command, or a sentence about what prevents it, before training."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segtrain.cli import main
from segtrain.determinism import alerts, nondeterministic, of_loss, of_metrics, of_net, random_batch, refuse
from segtrain.errors import UserError
from segtrain.losses import LOSSES, Combo, build_loss
from segtrain.models import build_model
from segtrain.process import THREADS, WORKSPACE, restored
from segtrain.repro import weights_digest
from segtrain.task import IGNORE, Task
from tests import tiny
from tests.conftest import STATS
from tests.own import ScatteredError

CPU = torch.device("cpu")
PUT = "put_"  # the operation of ScatteredError, as torch calls it
SHAPE = (3, 32, 48)


def put() -> Tensor:
    return torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))


def state() -> tuple[bool, bool, bool, str | None]:
    enabled, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return enabled, warns, torch.backends.cudnn.benchmark, os.environ.get(WORKSPACE)


class PuttingNet(nn.Module):
    """One convolution and the operation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.conv(image.float())
        return logits + put()[1]


def own_loss(folder: Path) -> list[str]:
    """Words for a training whose loss has the operation."""
    (folder / "loss").mkdir(parents=True)
    (folder / "loss" / "mine.yaml").write_text("_target_: tests.own.ScatteredError\ntask: ${task}\nscale: 2.0\n")
    return ["loss=mine", "--config-dir", str(folder), "--allow", "tests"]


def test_torch_names_the_operation_and_is_left_as_it_was() -> None:
    before = state()
    assert alerts(put) == [PUT]
    assert alerts(lambda: torch.ones(3) + 1) == []
    assert state() == before


def test_a_variable_that_comes_too_late_is_said() -> None:
    # torch's own words, on a GPU
    words = "this operation is not deterministic because it uses CuBLAS and you have CUDA >= 10.2. To enable, set an "
    found = alerts(lambda: warnings.warn(f"{words}environment variable: {WORKSPACE}=:4096:8 or :16:8", stacklevel=1))
    assert found == [f"matmul (without {WORKSPACE}=:4096:8 before the process starts)"]
    assert alerts(lambda: warnings.warn("something else", stacklevel=1)) == []


def test_what_is_not_deterministic_is_said_with_where_it_comes_from() -> None:
    task = Task("binary")
    batch = random_batch(task, SHAPE, "uint8", CPU)
    right = build_model(task, 3, (0.5,) * 3, (0.2,) * 3, "plain_unet", width=2, depth=2)
    assert nondeterministic(right, build_loss("bce", task), task, batch) == {}
    assert nondeterministic(right, ScatteredError(task, 1.0), task, batch) == {"loss": [PUT]}
    found = nondeterministic(PuttingNet(), ScatteredError(task, 1.0), task, batch)
    assert found == {"model": [PUT], "loss": [PUT]}
    with pytest.raises(UserError, match=r"put_ \(of the model\), put_ \(of the loss\); choose .*deterministic=warn"):
        refuse(found, CPU)


def test_a_term_whose_weight_grows_from_zero_is_tried_too() -> None:
    task = Task("binary")
    terms = {"bce": build_loss("bce", task), "late": ScatteredError(task, 1.0)}
    combo = Combo(terms, {"late": 0}, {"late": {"to": 1, "end": 5}})
    _, logits, target = random_batch(task, SHAPE, "uint8", CPU)
    assert of_loss(combo, logits, target) == [PUT]
    assert combo.epoch is None


def test_the_net_that_will_be_trained_is_not_changed() -> None:
    task = Task("multiclass", 3)
    net = build_model(task, 3, (0.5,) * 3, (0.2,) * 3, "plain_unet", width=2, depth=2)
    net.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    nondeterministic(net, build_loss("ce", task), task, random_batch(task, SHAPE, "float32", CPU))
    assert not net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    assert tiny.differing(before, net.state_dict()) == []
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_random_batch_is_of_the_task(task: Task, dtype: str) -> None:
    image, logits, target = random_batch(task, SHAPE, dtype, CPU)
    assert str(image.dtype) == f"torch.{dtype}"
    assert image.shape == (2, *SHAPE)
    assert logits.shape == (2, task.num_classes, 32, 48)
    classes = task.num_classes if task.exclusive else 2
    assert sorted(target.unique().tolist()) == [*range(classes), IGNORE]


def test_all_of_ours_is_deterministic_on_a_cpu(task: Task) -> None:
    _, logits, target = random_batch(task, SHAPE, "uint8", CPU)
    assert of_metrics(task, logits, target) == []
    for name in set(LOSSES) - ({"bce", "balanced_bce"} if task.exclusive else set()):
        assert of_loss(build_loss(name, task, STATS[task.mode]), logits, target) == [], name


def test_a_training_stops_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", *tiny.SYNTHETIC, *tiny.FAST, *own_loss(tmp_path / "conf"), f"output_dir={tmp_path / 'out'}"]
    assert main([*words, "deterministic=true"]) == 1
    said = capsys.readouterr().err
    assert "error: deterministic=true: on cpu there is no deterministic implementation of put_ (of the loss)" in said
    assert not (tmp_path / "out").exists()
    assert main([*words, "deterministic=maybe"]) == 1
    assert "deterministic must be warn, true or false, got 'maybe'" in capsys.readouterr().err


def test_warn_names_the_operations_and_trains_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["deterministic=warn", "epochs=1", *own_loss(tmp_path / "conf")]
    run = tiny.train(tmp_path / "out", *words)
    assert run.status == "done"
    assert "there is no deterministic implementation of put_ (of the loss)" in capsys.readouterr().out


@pytest.mark.fault(
    "Numbers",
    "deterministic=true",
    "the same command gives the same weights, bit for bit (two runs compared by hash)",
)
@pytest.mark.parametrize(
    "words",
    [
        ["task=multiclass", "aug=heavy", "mix=cutmix", "loss=dice_focal"],
        pytest.param([], marks=pytest.mark.slow),
    ],
)
def test_the_same_command_gives_the_same_bits(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = state()
    digests = set()
    for name in ("one", "two"):
        run = tiny.train(tmp_path / name, "deterministic=true", *words)
        digests |= {(weights_digest(run.last), weights_digest(run.best))}
    assert len(digests) == 1
    assert capsys.readouterr().out.count("deterministic: on cpu every operation of this training is\n") == 2
    other = tiny.train(tmp_path / "other", "deterministic=true", "seed=2", *words)
    assert weights_digest(other.last) not in {last for last, _ in digests}
    assert state() == before


def test_what_lightning_sets_for_several_processes_does_not_leak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(THREADS, raising=False)  # or Lightning takes its number
    monkeypatch.setattr(torch, "set_num_threads", (seen := list[int]()).append)
    run = tiny.train(tmp_path, "epochs=1", "trainer.accelerator=cpu")
    seen.clear()
    for name in ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1"]
    assert main(["evaluate", f"run={run.last}", "split=val", *ddp]) == 0
    assert len(seen) > 1  # it was set
    assert seen[-1] == torch.get_num_threads()  # and put back, as the variable
    assert THREADS not in os.environ
    assert "MASTER_PORT" not in os.environ
    assert not torch.distributed.is_initialized()


def test_what_one_run_sets_does_not_leak_into_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = state()
    tiny.train(tmp_path, "deterministic=true", "epochs=1")
    assert state() == before
    assert main(["train", *tiny.SYNTHETIC, f"output_dir={tmp_path}", "deterministic=true", "lr=-1"]) == 1
    assert state() == before
    # nor is what the caller had set lost
    with restored():
        torch.use_deterministic_algorithms(True, warn_only=True)
        monkeypatch.setenv(WORKSPACE, ":16:8")
        callers = state()
        tiny.train(tmp_path, "epochs=1")
        assert main(["evaluate", f"output_dir={tmp_path}"]) == 0
        assert state() == callers


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_what_is_found_is_what_torch_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":4096:8")
    task, device = Task("binary"), torch.device("cuda")
    image, logits, target = random_batch(task, (3, 64, 64), "uint8", device)
    upsampling = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Upsample(scale_factor=2, mode="bicubic")).to(device)
    (name,) = of_net(upsampling, image.float())
    with restored():
        torch.use_deterministic_algorithms(True)
        with pytest.raises(RuntimeError, match=name):
            upsampling(image.float()).sum().backward()
    for loss in LOSSES:
        found = of_loss(build_loss(loss, task, STATS["binary"]), logits, target)
        with restored():
            torch.use_deterministic_algorithms(True)
            if not found:
                build_loss(loss, task, STATS["binary"]).to(device)(logits.clone().requires_grad_(), target).backward()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_same_command_gives_the_same_bits(tmp_path: Path) -> None:
    words = ["trainer=gpu", "deterministic=true", "loss=bce", "task=binary"]
    digests = {weights_digest(tiny.train(tmp_path / name, *words).last) for name in ("one", "two")}
    assert len(digests) == 1

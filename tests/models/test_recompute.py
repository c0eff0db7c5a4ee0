"""trainer.activation_checkpointing=true: less is kept for the backward pass, and nothing else changes."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segtrain.cli import main
from segtrain.errors import UserError
from segtrain.models import SegmentationNet, build_model, recompute
from segtrain.models.recompute import blocks, recompute_blocks
from segtrain.runs import find_latest, read_run
from segtrain.task import Task
from tests import tiny

MOBILE, HRNET = "tu-mobilenetv3_small_050", "tu-hrnet_w18_small"
ON = "trainer.activation_checkpointing=true"
# each for what is particular of it: dropout, dropout in a net of the library, a net of timm, paths that are dropped, a
# list that grows, a list that is written into
NETS = ["plain_unet", "pspnet resnet18", f"unet {MOBILE}", "unet mit_b0", "unet densenet121", f"unet {HRNET}"]
SLOW = ("pspnet resnet18", "unet densenet121", f"unet {HRNET}")


def build(name: str) -> SegmentationNet:
    """A net by architecture and encoder; the plain one is given dropout, and norms that count otherwise."""
    arch, _, encoder = name.partition(" ")
    params: dict[str, Any] = {"encoder": encoder} if encoder else {"width": 4, "depth": 2}
    torch.manual_seed(0)
    net: Any = build_model(Task("multiclass", 3), 3, [0.5] * 3, [0.25] * 3, arch, **params)
    if not encoder:
        net.net.join[0].append(nn.Dropout2d(0.5))
        net.net.down[1][1].momentum = None
        net.net.down[0][1] = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
    return net.train()


def trained(net: SegmentationNet, half: bool = False) -> dict[str, Tensor]:
    """Weights and statistics behind two steps, and all gradients of the last."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            logits = net(torch.rand(2, 3, 27, 30))
        logits.float().square().mean().backward()
        optimizer.step()
    gradients = {f"{name}.grad": each.grad for name, each in net.named_parameters() if each.grad is not None}
    return {**net.state_dict(), **gradients, "random": torch.get_rng_state()}


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NETS])
def test_weights_and_statistics_are_those_of_a_training_without(name: str, half: bool) -> None:
    plain = build(name)
    net = copy.deepcopy(plain)
    assert recompute_blocks(net)
    assert list(net.state_dict()) == list(plain.state_dict())
    assert tiny.differing(trained(net, half), trained(plain, half)) == []


def test_statistics_would_be_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail."""
    plain = build("plain_unet")
    net = copy.deepcopy(plain)
    recompute_blocks(net)
    monkeypatch.setattr(recompute, "_contexts", lambda _: (nullcontext(), nullcontext()))
    names = tiny.differing(trained(net), trained(plain))
    assert {name.rpartition(".")[2] for name in names} >= {"running_mean", "running_var", "num_batches_tracked"}
    assert not any(name.endswith(("weight", "bias", "grad")) for name in names)


def test_a_copy_has_blocks_of_its_own() -> None:
    net = build("plain_unet")
    recompute_blocks(net)
    other, before = copy.deepcopy(net), copy.deepcopy(net.state_dict())
    trained(other)
    assert tiny.differing(net.state_dict(), before) == []
    assert tiny.differing(other.state_dict(), before) != []


@pytest.mark.parametrize("name", NETS)
def test_no_block_is_within_another(name: str) -> None:
    names = [each for each, _ in blocks(build(name))]
    assert len(names) > 4
    assert not [one for one in names for other in names if one.startswith(f"{other}.")]


def test_nothing_is_computed_twice_but_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    net, image = build(f"unet {MOBILE}"), torch.rand(2, 3, 32, 32)
    expected = net.eval()(image)
    recompute_blocks(net)
    calls: list[Any] = []
    monkeypatch.setattr(recompute, "checkpoint", lambda *given, **_: calls.append(given))
    assert torch.equal(net.eval()(image), expected)
    with torch.no_grad():
        net.train()(image)
    assert calls == []


class Writing(nn.Module):
    """A block that changes the list it is given, and whose list the caller changes behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(1, 1, 1)

    def forward(self, given: list[Tensor], more: dict[str, Tensor]) -> Tensor:
        given[0] = self.inner(given[0]) * more["x"]
        more["x"] = given[0]
        return given[0].square() * len(given)


def test_lists_are_those_of_the_first_time() -> None:
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        net, image = nn.Sequential(Writing()), torch.rand(1, 1, 4, 4, requires_grad=True)
        if again:
            assert recompute_blocks(net) == ["0"]
        given, more = [image], {"x": image}
        made = net[0](given, more=more)
        given.append(image)
        made.sum().backward()
        assert image.grad is not None
        found.append(image.grad)
    assert torch.equal(*found)


def most_kept(net: nn.Module, image: Tensor) -> int:
    """The most bytes that are kept for the backward pass at one time."""
    held: dict[int, list[int]] = {}  # by address: how often it is kept, bytes
    most = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal most
            self.tensor, self.place = tensor, tensor.untyped_storage().data_ptr()
            held.setdefault(self.place, [0, tensor.untyped_storage().nbytes()])[0] += 1
            most = max(most, sum(size for _, size in held.values()))

        def __del__(self) -> None:
            held[self.place][0] -= 1
            if not held[self.place][0]:
                del held[self.place]

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        net(image).square().mean().backward()
    return most


@pytest.mark.parametrize("name", ["unet resnet34", "plain_unet"])
def test_less_is_kept(name: str) -> None:
    net, image = build(name), torch.rand(2, 3, 128, 128)
    before = most_kept(net, image)
    recompute_blocks(net)
    parameters = sum(each.numel() * 4 for each in net.parameters())
    assert parameters < before  # it sees what is kept
    assert most_kept(net, image) < before / 2


def test_a_net_without_blocks_is_refused() -> None:
    with pytest.raises(UserError, match=r"^trainer.activation_checkpointing=true: this net has no blocks"):
        recompute_blocks(SegmentationNet(nn.Conv2d(3, 1, 1), [0.5] * 3, [0.25] * 3, 1))


def test_it_is_true_or_false(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*tiny.SYNTHETIC, *tiny.FAST, "trainer.activation_checkpointing=maybe", f"output_dir={tmp_path}"]
    assert main(["train", *words]) == 1
    assert "trainer.activation_checkpointing must be true or false, got 'maybe'" in capsys.readouterr().err


# ---- whole trainings -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_may_go_on_with_it_or_without(tmp_path: Path) -> None:
    """With a moving average and deep supervision: bit for bit the run that keeps everything."""
    words = ["ema=.9", "deep_supervision=1", "checkpoint.every_steps=1", "deterministic=true"]
    whole = tiny.train(tmp_path / "whole", *words)
    command = ["train", *tiny.SYNTHETIC, *tiny.FAST, *words, f"output_dir={tmp_path / 'cut'}"]
    assert main([*command, ON, *tiny.stop_at(3)]) == 1
    off = [f"output_dir={tmp_path / 'cut'}", "trainer.activation_checkpointing=false", "~callbacks.stop"]
    assert main(["train", "resume=latest", *off]) == 0
    run = read_run(find_latest(tmp_path / "cut"))
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []
    assert tiny.curves(whole) == tiny.curves(run)


@pytest.mark.slow
def test_a_frozen_encoder_stays_so(tmp_path: Path) -> None:
    net: Any = build(f"unet {MOBILE}").net
    torch.save(net.encoder.state_dict(), tmp_path / "encoder.pt")
    fast = ["model=unet_resnet34", f"model.encoder={MOBILE}", f"model.encoder_weights={tmp_path / 'encoder.pt'}"]
    fast += [
        "crop=32",
        "batch_size=4",
        "epochs=2",
        "~callbacks.pictures",
        "freeze_encoder=1",
        "optim.encoder_factor=.5",
    ]
    runs = [tiny.train(tmp_path / word[-4:], word, fast=fast) for word in (ON, ON.replace("true", "false"))]
    assert tiny.differing(*map(tiny.weights, runs)) == []


@pytest.mark.slow
def test_two_processes_train_as_without(tmp_path: Path) -> None:
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "num_workers=0"]
    runs = []
    for word in (ON, ON.replace("true", "false")):
        words = [*tiny.SYNTHETIC, *tiny.FAST, *ranks, "deep_supervision=1", word, f"output_dir={tmp_path / word[-4:]}"]
        command = [sys.executable, "-m", "segtrain", "train", *words]
        done = subprocess.run(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        runs.append(read_run(find_latest(tmp_path / word[-4:])))
    assert tiny.differing(*map(tiny.weights, runs)) == []

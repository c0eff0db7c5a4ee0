"""deep_supervision=: coarser levels make logits in training, and nothing of that is left behind it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segtrain.assemble import Request, assemble
from segtrain.checkpoint import net_weights
from segtrain.cli import main
from segtrain.cli.compose import compose
from segtrain.errors import UserError
from segtrain.inference import load_predictor
from segtrain.losses import Combo, build_loss
from segtrain.models import SegmentationNet, build_model
from segtrain.models.scales import Scales, at_scale
from segtrain.models.supervision import LEVELS, supervise
from segtrain.module import SegmentationModule
from segtrain.optim import Optim
from segtrain.runs import find_latest, read_run
from segtrain.task import IGNORE, Batch, Second, Task
from tests import tiny

BINARY, MULTICLASS = Task("binary"), Task("multiclass", 3)
NET = ["model.width=2", "model.depth=3"]
FAST = [*NET, "crop=32", "batch_size=4", "epochs=2", "~callbacks.pictures"]
HEADS = "supervision."


def build(arch: str = "plain_unet", levels: int = 2, task: Task = BINARY) -> SegmentationNet:
    """A small net; with heads on some levels."""
    small: dict[str, Any] = (
        {"width": 2, "depth": 3} if arch == "plain_unet" else {"encoder": "tu-mobilenetv3_small_050"}
    )
    torch.manual_seed(0)
    net = build_model(task, 3, [0.5] * 3, [0.25] * 3, arch, **small)
    supervise(net, arch, task, levels)
    return net


# ---- the sum of the scales, by hand --------------------------------------------------------------------------------


def by_hand(net: Any, image: Tensor) -> list[Tensor]:
    """Logits of the levels of a plain U-Net of depth 3, from its parts: fine to coarse, not yet cropped."""
    height, width = image.shape[-2:]
    x = (image - 0.5) / 0.25
    x = F.pad(x, (0, -width % 8, 0, -height % 8), mode="reflect")
    a = net.net.down[0](x)
    b = net.net.down[1](F.max_pool2d(a, 2))
    c = net.net.down[2](F.max_pool2d(b, 2))
    d = net.net.down[3](F.max_pool2d(c, 2))
    quarter = net.net.join[0](torch.cat([c, net.net.up[0](d)], 1))
    half = net.net.join[1](torch.cat([b, net.net.up[1](quarter)], 1))
    whole = net.net.join[2](torch.cat([a, net.net.up[2](half)], 1))
    heads = net.supervision.heads
    return [net.net.head(whole), heads[0](half), heads[1](quarter)]


def cross_entropy(logits: Tensor, mask: Tensor, factor: int) -> float:
    """Mean over the pixels of a grid whose pixels hold one of the image, each with the id nearest to its centre."""
    losses = []
    _, height, width = mask.shape
    for n in range(len(mask)):
        for i in range(math.ceil(height / factor)):
            for j in range(math.ceil(width / factor)):
                y, x = min(i * factor + factor // 2, height - 1), min(j * factor + factor // 2, width - 1)
                if mask[n, y, x] != IGNORE:
                    p = logits[n, 0, i, j].double().sigmoid().item()
                    losses.append(-math.log(p if mask[n, y, x] == 1 else 1 - p))
    return sum(losses) / len(losses)


def module_of(net: nn.Module, loss: nn.Module) -> SegmentationModule:
    return SegmentationModule(net, loss, BINARY, Optim())


def random_batch(height: int, width: int) -> Batch:
    image = torch.rand(2, 3, height, width)
    mask = torch.randint(0, 2, (2, height, width))
    mask[torch.rand(mask.shape) < 0.2] = IGNORE
    return {"image": image, "mask": mask, "id": ["a", "b"], "forced": [False, False], "tiles": []}


@pytest.mark.parametrize("size", [(16, 24), (13, 21), (9, 10)])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_loss_is_the_sum_over_the_scales(size: tuple[int, int], mixed: bool) -> None:
    net, batch = build().train(), random_batch(*size)
    if mixed:
        batch["second"] = Second(random_batch(*size)["mask"], torch.tensor(0.3))
    module = module_of(net, build_loss("bce", task=BINARY))
    loss = module.loss_of_scales(net(batch["image"]), batch)[0].item()
    expected = 0.0
    for logits, factor in zip(by_hand(net, batch["image"]), (1, 2, 4), strict=True):
        one = cross_entropy(logits, batch["mask"], factor)
        two = cross_entropy(logits, batch["second"].mask, factor) if mixed else one
        expected += (0.3 * one + 0.7 * two) / factor
    assert loss == pytest.approx(expected / (1 + 1 / 2 + 1 / 4), rel=1e-5)


def test_the_terms_of_a_combination_are_those_of_the_finest_scale() -> None:
    net, batch = build().train(), random_batch(13, 21)
    loss = Combo({"bce": build_loss("bce", task=BINARY), "dice": build_loss("dice", task=BINARY)})
    module, scales = module_of(net, loss), net(batch["image"])
    parts, alone = module.loss_of_scales(scales, batch)[1], loss.parts(scales.logits[0], batch["mask"])
    assert {name: value.item() for name, value in parts.items()} == {k: v.item() for k, v in alone.items()}


# ---- every net -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", LEVELS)
def test_evaluation_is_that_of_a_net_without(arch: str) -> None:
    """And in training all levels have the size of their ids, and gradients reach all heads."""
    plain, net, image = build(arch, 0, MULTICLASS), build(arch, 2, MULTICLASS), torch.rand(2, 3, 21, 29)
    assert tiny.differing(plain.state_dict(), {k: v for k, v in net.state_dict().items() if HEADS not in k}) == []
    with torch.inference_mode():
        assert torch.equal(plain.eval()(image), net.eval()(image))
    scales = net.train()(image)
    assert torch.equal(plain.train()(image), scales.logits[0])
    assert scales.factors == (1, 2, 4)
    for logits, factor in zip(scales.logits, scales.factors, strict=True):
        assert logits.shape[-2:] == at_scale(image, factor).shape[-2:]
        logits.sum().backward(retain_graph=True)
    assert net.supervision is not None
    assert all(head.weight.grad.abs().sum() > 0 for head in net.supervision.heads)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["deep_supervision=-1"], "deep_supervision must be a whole number >= 0, got -1"),
        (["deep_supervision=true"], "deep_supervision must be a whole number >= 0, got True"),
        (["deep_supervision=3"], "deep_supervision=3: the decoder of this net has 2 coarser levels; choose at most"),
        (
            ["deep_supervision=1", "model=unet_resnet34", "model.arch=fpn", "data.train=x"],  # before the data
            "model.arch=fpn has none; choose one of plain_unet, unet, unetplusplus, linknet, manet, or set",
        ),
    ],
)
def test_what_cannot_be_supervised_is_refused(
    tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *tiny.SYNTHETIC, *(NET if len(words) == 1 else []), *words, f"output_dir={tmp_path}"]) == 1
    assert sentence in capsys.readouterr().err


def test_another_kind_of_net_is_refused() -> None:
    with pytest.raises(UserError, match=r"^deep_supervision=1: a net of segtrain's is needed, not a Conv2d"):
        supervise(nn.Conv2d(3, 1, 1), "plain_unet", BINARY, 1)


def test_all_heads_begin_with_the_class_shares() -> None:
    config, choices = compose("train", [*tiny.SYNTHETIC, *NET, "crop=32", "bias_prior=true", "deep_supervision=2"])
    net: Any = assemble(Request(config, choices)).module.net
    biases = [head.bias.tolist() for head in (net.net.head, *net.supervision.heads)]
    assert biases[0] == biases[1] == biases[2] != [0.0]


# ---- whole trainings -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_resume_is_exact(tmp_path: Path) -> None:
    """With a moving average, mixing, and steps of two batches."""
    words = ["deep_supervision=2", "bias_prior=true", "ema=.9", "mix=mixup", "mix.p=1", "trainer.accumulate=2"]
    words += ["batch_size=2", "checkpoint.every_steps=1", "deterministic=true"]
    whole = tiny.train(tmp_path / "whole", *words, fast=FAST)
    command = ["train", *tiny.SYNTHETIC, *FAST, *words, f"output_dir={tmp_path / 'cut'}"]
    assert main([*command, *tiny.stop_at(4)]) == 1
    assert main(["train", "resume=latest", f"output_dir={tmp_path / 'cut'}", "~callbacks.stop"]) == 0
    run = read_run(find_latest(tmp_path / "cut"))
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []
    assert tiny.curves(whole) == tiny.curves(run)


@pytest.mark.slow
def test_weights_go_from_nets_with_heads_to_nets_without_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny.train(tmp_path / "with", "deep_supervision=2", "epochs=1", fast=FAST)
    trained = net_weights(torch.load(run.last, weights_only=True))
    assert {key for key in trained if HEADS in key} != set()
    net = load_predictor(run.last).net
    assert net.supervision is None
    assert tiny.differing(net.state_dict(), {k: v for k, v in trained.items() if HEADS not in k}) == []

    capsys.readouterr()
    evaluate = ["evaluate", f"run={run.folder}", f"output_dir={tmp_path / 'with'}", "surface=false"]
    assert main(evaluate) == 0
    scores, said = tiny.scores(run, "test"), capsys.readouterr().out
    assert "not needed to predict" not in said
    assert main([*evaluate, "deep_supervision=0"]) == 0
    said = capsys.readouterr().out
    assert ", and not needed to predict: supervision.heads.0.weight, supervision.heads.0.bias" in said
    assert tiny.scores(run, "test") == scores

    without = tiny.train(tmp_path / "without", "epochs=1", f"init_from={run.last}", fast=FAST)
    assert f"weights from {run.last}; not taken over: supervision.heads.0.bias" in capsys.readouterr().out
    tiny.train(tmp_path / "again", "epochs=1", "deep_supervision=1", f"init_from={without.last}", fast=FAST)
    assert "; new: supervision.heads.0.bias, supervision.heads.0.weight\n" in capsys.readouterr().out


@pytest.mark.slow
def test_the_steps_are_measured_with_it(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, "deep_supervision=1", "debug=profile", "epochs=1", fast=FAST)
    first = (run.folder / "profile" / "table.txt").read_text().splitlines()
    (net,) = [line for line in first if line.startswith("net ")]
    assert float(net.split()[1]) > 0


def test_a_training_step_makes_scales() -> None:
    net = build()
    assert isinstance(net.train()(torch.rand(1, 3, 16, 16)), Scales)
    assert isinstance(module_of(net, build_loss("bce", task=BINARY))(torch.rand(1, 3, 16, 16)), Tensor)

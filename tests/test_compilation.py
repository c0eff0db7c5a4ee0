"""compile: refused where it cannot be, chosen where it is won back, used in training alone, and said."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segtrain import compilation
from segtrain.cli import main
from tests import tiny

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtrain.compilation.shutil.which", lambda name: None)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes that the compiled net was given; compiling itself takes a minute."""
    sizes: list[int] = []

    def compiled(net: nn.Module, **settings: Any) -> Callable[[torch.Tensor], Any]:
        def call(image: torch.Tensor) -> Any:
            sizes.append(len(image))
            logging.getLogger("torch.utils.cpp_extension").warning("No CUDA runtime is found")  # as torch's does
            return net(image)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    return sizes


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, "trainer=cpu", "compile=true", f"output_dir={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: compile=true, but torch.compile needs a C\+\+ compiler \(.+\) here; .*\n", said)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_compiler")
def test_auto_does_without() -> None:
    assert compilation.choose("auto", CPU, 1e6) == (False, f"it needs {compilation.missing(CPU)}")


def test_a_word_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, "compile=maybe", f"output_dir={tmp_path}"]) == 1
    assert "error: compile must be auto, true or false, got 'maybe'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "estimate", "expected"),
    [("auto", 59, False), ("auto", 60, True), (True, 0, True), (False, 1e6, False)],
)
def test_it_is_chosen_where_it_is_won_back(
    wanted: object, estimate: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "missing", lambda device: "")
    assert compilation.choose(wanted, CPU, estimate)[0] is expected


def test_the_arithmetic_is_that_of_the_layers() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    before = net[1].num_batches_tracked.clone()
    assert compilation.operations(net, torch.zeros(1, 3, 5, 7)) == 2 * 35 * (27 * 8 + 8 * 2)
    assert torch.equal(net[1].num_batches_tracked, before)


def test_minutes() -> None:
    """Forward once and twice as much backward."""
    images = int(20 * 60 * 3e10 / 1e9)
    assert compilation.minutes(10**9, images, CPU, half=False, threads=1) == pytest.approx(60)
    assert compilation.minutes(10**9, images, CPU, half=True, threads=2) == pytest.approx(6)
    assert compilation.minutes(10**9, images, GPU, half=True, threads=1) == pytest.approx(60 * 3e10 / 5e13)


def test_training_goes_through_it_and_scoring_does_not(
    tmp_path: Path, seen: list[int], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    plain = tiny.train(tmp_path / "plain", "compile=false")
    assert not seen
    run = tiny.train(tmp_path / "compiled", "compile=true", "data.train=40", "epochs=1")
    assert seen == [4] * 10
    assert re.search(r"^compile \d+ s; a step now takes [\d.]+ s$", capsys.readouterr().out, re.MULTILINE)
    assert tiny.weights(run).keys() == tiny.weights(plain).keys()
    assert tiny.summary(run)["chosen"]["compile"] is True
    assert "CUDA" not in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("seen")
def test_the_same_is_learned(tmp_path: Path) -> None:
    one, other = (tiny.weights(tiny.train(tmp_path / word, f"compile={word}")) for word in ("true", "false"))
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_a_net_that_cannot_be_compiled_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class FailedError(RuntimeError):
        __module__ = "torch._dynamo.exc"

    def compiled(net: nn.Module, **settings: Any) -> Callable[[torch.Tensor], Any]:
        def call(image: torch.Tensor) -> Any:
            raise FailedError("no such operation\nmany lines of advice")

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, "compile=true", f"output_dir={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: torch cannot compile this net in step 0 (no such operation): set compile=false; ")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_it_compiles(tmp_path: Path) -> None:
    one, other = (
        tiny.train(tmp_path / word, f"compile={word}", "trainer.precision=32-true") for word in ("true", "false")
    )
    for name, value in tiny.weights(one).items():
        torch.testing.assert_close(value, tiny.weights(other)[name], atol=1e-4, rtol=1e-3, msg=name)

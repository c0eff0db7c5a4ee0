"""lr=auto and batch_size=auto: what is found, that nothing else changes, and that it stays found."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from segtrain.assemble import Parts, Request, assemble
from segtrain.callbacks import FreezeEncoder
from segtrain.cli import main
from segtrain.cli.compose import compose
from segtrain.console import set_up_logging
from segtrain.errors import UserError
from segtrain.signals import Signals
from segtrain.tuning import lr_range, throughput
from segtrain.tuning import measuring as tuning
from segtrain.tuning.auto import STAND_IN, filled, stand_in
from segtrain.tuning.lr_range import HIGH, LOW, STEPS, curve, has_broken, rate_of, smoothed, suggest
from segtrain.tuning.throughput import NoRoomError, batch_sizes, choose_batch, kept_bytes, timed
from tests import tiny

RATES = [rate_of(step) for step in range(STEPS)]
LEARNS = ["data.foreground=.4", "model.width=4"]  # within a hundred steps


@pytest.fixture(autouse=True)
def lightning_is_quiet() -> None:
    """As in a training: pytest takes its warnings for errors."""
    set_up_logging()


def falling(center: float, rises: float, noise: float = 0.0) -> list[float]:
    """Losses that fall around one learning rate, and rise from another on."""
    chance = np.random.default_rng(0)
    losses = [1 - 0.8 / (1 + (center / rate) ** 2) + (rate / rises) ** 4 for rate in RATES]
    return [min(loss, 50) * (1 + noise * chance.standard_normal()) for loss in losses]


def found(rates: list[float], losses: list[float]) -> float:
    suggestion = suggest(rates, losses)
    assert suggestion is not None
    return suggestion[0]


@pytest.mark.parametrize("center", [3e-5, 3e-4, 3e-3])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_rate_is_where_the_loss_falls_fastest(center: float, noise: float) -> None:
    """The logistic curve is steepest at its centre; a moving average alone would be read at 3.5 times the rate."""
    losses = falling(center, 50 * center, noise)
    rate, why = suggest(RATES, losses) or (math.nan, "")
    assert why == "where the loss falls fastest"
    assert center / 2 < rate < 2 * center


def test_it_keeps_its_distance_from_the_lowest_loss() -> None:
    steep = [1.0] * 60 + [0.9 - 0.1 * step for step in range(6)] + [5.0] * 10  # falls fastest just before it breaks
    rates, averages = curve(RATES[: len(steep)], steep)
    end = rates[int(np.argmin(averages))]
    assert suggest(RATES, steep) == (float(f"{end / 10:.2g}"), "0.1 of the rate of the lowest loss")
    early = [2.0] * 15 + [1.0 - 0.001 * step for step in range(80)]  # and once by chance
    rates, averages = curve(RATES[: len(early)], early)
    end = rates[int(np.argmin(averages))]
    assert suggest(RATES, early) == (float(f"{end / 100:.2g}"), "0.01 of the rate of the lowest loss")


@pytest.mark.parametrize(
    "losses",
    [[1.0] * STEPS, [1 + step / STEPS for step in range(STEPS)], [1 - 0.04 * step / STEPS for step in range(STEPS)],
     [math.nan], [], [1.0, 0.5, math.inf], [1 - 0.05 * step for step in range(16)]],
)  # fmt: skip
def test_no_rate_without_a_descent(losses: list[float]) -> None:
    assert suggest(RATES[: len(losses)], losses) is None


def test_the_scale_of_a_loss_does_not_matter_nor_does_its_end() -> None:
    losses = falling(1e-3, 1e-1)
    assert found(RATES, losses) == found(RATES, [100 * loss for loss in losses])
    assert found(RATES, [*losses[:85], math.inf]) == found(RATES, losses[:85])
    assert found(RATES, [loss - 3 for loss in losses]) == found(RATES, losses)  # below 0


def test_averages_have_no_bias() -> None:
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)
    assert smoothed([1.0, 2.0])[1] == pytest.approx((0.9 * 1 + 2) / 1.9)
    rates, losses = curve([1e-4, 1e-2], [5.0, 7.0])  # each average loss at the average exponent
    assert rates[1] == pytest.approx(10 ** ((0.9 * -4 - 2) / 1.9))
    assert losses[1] == pytest.approx((0.9 * 5 + 7) / 1.9)


def test_when_it_breaks() -> None:
    assert has_broken([1.0, math.nan])
    assert has_broken([1.0, math.inf])
    assert not has_broken([1.0, 6.6])  # (.9 + 6.6) / 1.9 = 3.95 times
    assert has_broken([1.0, 6.8])
    assert not has_broken([-1.0, -1.0])
    assert has_broken([-1.0, 4.9])


def test_rates_rise_in_equal_ratios() -> None:
    assert (RATES[0], RATES[-1]) == (LOW, pytest.approx(HIGH))
    assert {round(b / a, 9) for a, b in itertools.pairwise(RATES)} == {round(1e6 ** (1 / 99), 9)}


def assembled(*words: str) -> tuple[Request, Parts]:
    config, choices = compose("train", [*tiny.SYNTHETIC, *tiny.FAST, *LEARNS, *words])
    request = Request(config, choices)
    return request, assemble(replace(request, config=stand_in(config)))


def states() -> list[Any]:
    return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # type: ignore[index]


def test_a_range_test_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lr_range, "STEPS", 24)
    monkeypatch.setattr(lr_range, "FALL", 0)  # chance is enough
    _, parts = assembled("trainer.accumulate=2")
    module = parts.module
    before, optim = {key: value.clone() for key, value in module.state_dict().items()}, dict(vars(module.optim))
    random_before, data = states(), dict(vars(parts.data))
    rate, said = tuning.find_lr(parts, tmp_path / "run", Signals())
    assert tiny.differing(before, module.state_dict()) == []
    assert vars(module.optim) == optim
    assert {key: value for key, value in vars(parts.data).items() if key != "plan"} == data
    assert states() == random_before
    assert f"{rate:g}" == f"{float(said.partition(',')[0]):g}"
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [
        "run/plots/lr_range.png"
    ]


def test_it_trains_as_the_training_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen encoder, ramps of weights, accumulated batches, clipped gradients."""
    tests: list[lr_range.RangeTest] = []
    trainers: list[Any] = []

    def keeping(signals: Signals) -> lr_range.RangeTest:
        tests.append(lr_range.RangeTest(signals))
        return tests[-1]

    def building(*arguments: Any) -> Any:
        trainers.append(build(*arguments))
        return trainers[-1]

    build = tuning.build_trainer
    monkeypatch.setattr(tuning, "RangeTest", keeping)
    monkeypatch.setattr(tuning, "build_trainer", building)
    monkeypatch.setattr(lr_range, "STEPS", 4)
    ramp = ["loss=dice_ce", "loss.weights.ce=1", "+loss.ramps.ce={to: 9, end: 1}"]
    for words in (["trainer.accumulate=1"], ["trainer.accumulate=2", "trainer.clip=.5", *ramp]):
        with pytest.raises(UserError, match="lr=auto"):
            tuning.find_lr(assembled(*words)[1], tmp_path, Signals())
    plain, accumulated = tests
    assert accumulated.rates == [rate_of(step) for step in range(4)]
    assert accumulated.losses == pytest.approx(plain.losses, rel=0.2)  # five epochs on, a ramp would be at 9
    assert trainers[1].gradient_clip_val == 0.5
    assert trainers[1].limit_val_batches == 0


@pytest.mark.slow
def test_a_frozen_encoder_stays_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    build = tuning.build_trainer
    monkeypatch.setattr(tuning, "build_trainer", lambda *a: given.extend(a[2]) or build(*a))
    monkeypatch.setattr(lr_range, "STEPS", 3)
    config, choices = compose("train", [*tiny.SYNTHETIC, "model=unet_lite0", "crop=32", "freeze_encoder=1"])
    with pytest.raises(UserError, match="lr=auto"):
        tuning.find_lr(assemble(Request(config, choices)), tmp_path, Signals())
    assert [each.epochs for each in given if isinstance(each, FreezeEncoder)] == ["always"]


def test_no_descent_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lr_range, "STEPS", 20)
    words = ["optim=sgd", "trainer.clip=1e-9", "lr=auto", f"output_dir={tmp_path}", "~callbacks.pictures"]
    assert main(["train", *tiny.SYNTHETIC, *tiny.BARE, *words]) != 0
    said = capsys.readouterr()
    assert "lr=auto: the loss falls at no learning rate from 1e-06 to 1 (" in said.err + said.out
    run = tiny.read_run(tiny.find_latest(tmp_path))
    assert run.status == "failed"
    with Image.open(run.folder / "plots" / "lr_range.png") as picture:
        assert picture.size == (600, 400)


def never(*_: Any) -> Any:
    raise AssertionError("measured again")


@pytest.mark.slow
def test_the_number_is_as_good_as_given_and_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit; kept in all records; taken when the run is continued, evaluated and made again."""
    words = [*LEARNS, "batch_size=auto", "lr=auto"]
    monkeypatch.setattr(lr_range, "STEPS", 24)
    monkeypatch.setattr(lr_range, "FALL", 0)  # chance is enough
    monkeypatch.setattr(tuning, "timed", lambda step, device: step() or 1.0)
    auto = tiny.train(tmp_path / "auto", *words)
    said = capsys.readouterr().out
    summary = tiny.summary(auto)
    rate, size = summary["lr"], summary["batch_size"]
    assert f"batch  {size}, the smallest within 5 % of the fastest (images a second: 2 with 2, 4 with 4" in said
    assert f"lr     {f'{rate:g}'.removeprefix('0')}, " in said
    assert size == 8  # of 10 images; the time of a step does not grow
    assert LOW < rate < HIGH
    stored = OmegaConf.load(auto.folder / "config.yaml")
    kept = torch.load(auto.last, weights_only=True)["segtrain"]["config"]
    for record in (stored, kept):
        assert (record["lr"], record["optim"]["lr"], record["batch_size"]) == (rate, rate, size)
    given = tiny.train(tmp_path / "given", *LEARNS, f"lr={rate}", f"batch_size={size}")
    assert tiny.differing(tiny.weights(auto), tiny.weights(given)) == []
    assert tiny.curves(auto) == tiny.curves(given)

    output = f"output_dir={tmp_path / 'cut'}"
    cut = ["train", *tiny.SYNTHETIC, *tiny.FAST, output, *words, "checkpoint.every_steps=1"]
    with pytest.raises(RuntimeError, match="stopped by the test"):
        main([*cut, *tiny.stop_at(1), "--traceback"])
    for name in ("find_lr", "find_batch_size"):
        monkeypatch.setattr(tuning, name, never)
    run = tiny.find_latest(tmp_path / "cut")
    assert main(["train", f"resume={run}", "~callbacks.stop", "--traceback"]) == 0
    assert tiny.differing(tiny.weights(auto), tiny.weights(tiny.read_run(run))) == []
    assert main(["evaluate", f"run={run}", "split=val"]) == 0
    assert main(["train", *cut[1:5], *words, f"resume={given.folder}"]) == 0  # of numbers that were given
    assert "is done already" in capsys.readouterr().out


@pytest.mark.slow
def test_it_is_made_again_with_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "find_lr", lambda *_: (0.004, "found"))
    monkeypatch.setattr(tuning, "find_batch_size", lambda *_: (3, "found"))
    run = tiny.train(tmp_path, "lr=auto", "batch_size=auto")
    for name in ("find_lr", "find_batch_size"):
        monkeypatch.setattr(tuning, name, never)
    assert main(["repro", str(run.folder), f"output_dir={tmp_path}"]) == 0


@pytest.mark.slow
def test_each_run_of_a_sweep_measures_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([0.004, 0.002])
    monkeypatch.setattr(tuning, "find_lr", lambda *_: (next(rates), "found"))
    words = [*tiny.SYNTHETIC, *tiny.FAST, f"output_dir={tmp_path}", "-m", "lr=auto,.001", "seed=1,2"]
    assert main(["train", *words]) == 0
    found = sorted(OmegaConf.load(path).lr for path in (tmp_path / "sweeps").rglob("config.yaml"))
    assert found == [0.001, 0.001, 0.002, 0.004]
    assert main(["train", *words]) == 0  # all are done


@pytest.mark.slow
def test_an_unfinished_run_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """resume=auto compares what was typed."""
    monkeypatch.setattr(tuning, "find_lr", lambda *_: (0.004, "found"))
    words = ["train", *tiny.SYNTHETIC, *tiny.FAST, "lr=auto", f"output_dir={tmp_path}", "resume=auto", "--traceback"]
    stop = "callbacks.stop={_target_:tests.tiny.Stop,step:%s}"
    with pytest.raises(RuntimeError, match="stopped by the test"):
        main([*words, "--allow", "tests", f"+{stop % 3}"])
    run = tiny.find_latest(tmp_path)
    monkeypatch.setattr(tuning, "find_lr", never)
    monkeypatch.setattr(tiny.Stop, "on_train_batch_start", lambda *_: None)
    assert main([*words, "--allow", "tests", f"+{stop % 3}"]) == 0
    assert tiny.find_latest(tmp_path) == run
    assert tiny.global_step(tiny.read_run(run)) == 4
    assert OmegaConf.load(run / "config.yaml").lr == 0.004


@pytest.mark.parametrize("word", ["lr=atuo", "batch_size=atuo", "lr=Auto"])
def test_other_words_are_refused(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", word, f"output_dir={tmp_path}"]) != 0
    key, _, value = word.partition("=")
    assert f"{key} must be a" in (said := capsys.readouterr().err)
    assert f"got '{value}'" in said


@pytest.mark.parametrize("key", ["lr", "batch_size"])
def test_several_processes_are_refused(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", f"{key}=auto", f"output_dir={tmp_path}"]
    assert main(["train", *tiny.SYNTHETIC, *tiny.NET, "crop=32", *words]) != 0
    assert f"{key}=auto is measured by one process, and this training has 2" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_commands_take_the_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*tiny.SYNTHETIC, "crop=32", "lr=auto", "batch_size=auto"]
    assert main(["train", *words, "--cfg", "job"]) == 0
    assert "lr: auto" in capsys.readouterr().out
    assert main(["preview", *words, "rows=1", "columns=2", f"output={tmp_path / 'picture.png'}"]) == 0


def test_numbers_reach_all_that_refers_to_them() -> None:
    config, _ = compose("train", ["lr=auto", "batch_size=auto"])
    assert (stand_in(config).optim.lr, stand_in(config).batch_size) == (STAND_IN["lr"], STAND_IN["batch_size"])
    assert filled(config, {"lr": 0.5}).optim.lr == 0.5
    assert config.optim.lr == "auto"  # left as it was


def test_batch_sizes() -> None:
    assert batch_sizes(1, 1000) == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert batch_sizes(2, 40) == [2, 4, 8, 16, 32]
    assert batch_sizes(2, 1) == [1]
    assert batch_sizes(1, 8) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("speeds", "chosen", "tried"),
    [
        ([10, 20, 40, 80, 160, 320, 640, 1280, 2560], 256, 9),
        ([10, 20, 20.9, 20.9, 40], 2, 4),  # twice in a row no gain: the fifth is not tried
        ([10, 20, 20.5, 40, 41, 41], 8, 6),  # once is not twice
        ([10, 9, 8, 99], 1, 3),
        ([20, 20.9, 21.1, 22, 22], 4, 5),  # nearly as fast as the best one, which many small gains reach
        ([10, 20, None], 2, 3),
        ([10, 10.4, None], 1, 3),
    ],
)
def test_the_smallest_that_is_nearly_as_fast(speeds: list[float | None], chosen: int, tried: int) -> None:
    asked: list[int] = []

    def rate(size: int) -> float:
        speed = speeds[len(asked)]
        asked.append(size)
        if speed is None:
            raise torch.OutOfMemoryError
        return speed

    size, measured = choose_batch(batch_sizes(1, 1000)[: len(speeds)], rate)
    assert (size, len(asked)) == (chosen, tried)
    assert list(measured.values()) == [speed for speed in speeds[:tried] if speed is not None]


@pytest.mark.parametrize("error", [NoRoomError(), torch.OutOfMemoryError(), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")])
def test_no_room_at_all(error: Exception) -> None:
    def rate(size: int) -> float:
        raise error

    with pytest.raises(UserError, match="batch_size=auto: memory does not suffice for a step of 2 images; lower crop"):
        choose_batch([2, 4], rate)


def test_other_errors_are_not_hidden() -> None:
    def rate(size: int) -> float:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        choose_batch([2, 4], rate)


def test_steps_are_timed_without_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    durations = iter([9.0, 0.3, 0.1, 0.2, 0.05])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now[0])

    def step() -> None:
        now[0] += next(durations)

    assert timed(step, torch.device("cpu")) == pytest.approx(0.1)  # three steps, half a second: the fastest of them


def trial_of(*words: str) -> tuple[Parts, Any]:
    _, parts = assembled(*words)
    trainer = tuning.build_trainer(OmegaConf.to_container(parts.config.trainer), 1, [], [])  # type: ignore[arg-type]
    return parts, trainer


def test_a_trial_leaves_all_as_it_was_and_ends_where_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def short(step: Callable[[], Any], device: torch.device) -> float:
        step()
        if len(sizes) == 2:
            raise torch.OutOfMemoryError
        sizes.append(len(sizes))
        return 1.0

    monkeypatch.setattr(tuning, "timed", short)
    parts, trainer = trial_of()
    before, random_before = {k: v.clone() for k, v in parts.module.state_dict().items()}, states()
    assert tuning.find_batch_size(parts, trainer) == (
        4,
        "4, the smallest within 5 % of the fastest (images a second: 2 with 2, 4 with 4)",
    )
    assert tiny.differing(before, parts.module.state_dict()) == []
    assert states() == random_before


def test_a_cpu_stops_before_its_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "timed", lambda step, device: 1.0)
    parts, trainer = trial_of("trainer.precision=32-true")
    net, loss = parts.module.net, parts.module.loss
    image = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    kept = kept_bytes(lambda: loss(net(image), torch.zeros(2, 32, 32, dtype=torch.long)))
    monkeypatch.setattr(tuning, "free_memory", lambda: 2 * kept * 2.6)  # four images with a fifth to spare, not eight
    assert tuning.find_batch_size(parts, trainer)[0] == 4
    monkeypatch.setattr(tuning, "free_memory", lambda: 2 * kept * 1.2)  # a fifth more than two images is too little
    with pytest.raises(UserError, match="memory does not suffice for a step of 2 images"):
        tuning.find_batch_size(parts, trainer)


def test_bytes_are_counted_once() -> None:
    weight = torch.ones(1000, requires_grad=True)
    assert kept_bytes(lambda: (weight * weight).sum()) == 4000
    assert kept_bytes(lambda: (weight.exp() + 1).exp().sum()) == 8000  # both results


def test_free_memory_is_the_smallest_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most, used = tmp_path / "max", tmp_path / "current"
    monkeypatch.setattr(throughput, "LIMITS", (str(most), str(used)))
    machine = throughput.free_memory()
    assert 0 < machine <= math.inf
    most.write_text("5000\n")
    used.write_text("2000\n")
    assert throughput.free_memory() == 3000
    most.write_text("max\n")
    assert throughput.free_memory() > 3000


def test_batch_norm_and_mixing_need_two() -> None:
    assert tuning.smallest_batch(torch.nn.Sequential(torch.nn.BatchNorm2d(1))) == 2
    assert tuning.smallest_batch(torch.nn.Conv2d(1, 1, 1)) == 1


@pytest.mark.slow
def test_of_two_the_batch_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So that the learning rate is that of the batches that are trained."""
    seen: list[int] = []
    monkeypatch.setattr(tuning, "find_batch_size", lambda *_: (4, "4"))
    monkeypatch.setattr(tuning, "find_lr", lambda parts, *_: seen.append(parts.data.batch_size) or (0.5, ".5"))
    request, parts = assembled("lr=auto", "batch_size=auto")
    said: list[str] = []
    done = tuning.tune(parts, request, None, trial_of()[1], tmp_path, Signals(), said.append)
    assert seen == [4]
    assert [line.split()[0] for line in said] == ["batch", "lr"]
    assert "loading processes" in done.data.why
    assert (done.config.lr, done.module.optim.lr, done.data.batch_size) == (0.5, 0.5, 4)
    assert done.data.pixels == 2 * 4 * 32 * 32

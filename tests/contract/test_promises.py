"""Every promise catches a wrong loss, keeps quiet about the right ones, and shows a small example."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segtrain.contract import counterexample, examples
from segtrain.contract.counterexample import Counterexample, literal, smallest
from segtrain.contract.examples import Example
from segtrain.contract.processes import examine_processes
from segtrain.contract.promise import Broken, Promise, Subject, Unexamined, run
from segtrain.contract.suite import PROMISES, Verdict, examine, excuses
from segtrain.losses import Combo, build_loss
from segtrain.task import Task
from tests.conftest import TASKS
from tests.contract import wrong

MUSTS = [name for name, promise in PROMISES.items() if promise.must]
SMALL = 8  # pixels of a counterexample; more where the promise speaks of many
LARGER = {"no dilution": 32, "large half": 2**18}


def subject(loss: type[nn.Module], mode: str = "binary") -> Subject:
    return Subject(TASKS[mode], loss)


@pytest.mark.parametrize("loss", wrong.WRONG, ids=lambda loss: loss.__name__)
def test_a_wrong_loss_is_caught_on_a_small_example(loss: type[nn.Module]) -> None:
    name = wrong.WRONG[loss]
    found = smallest(PROMISES[name], subject(loss))
    assert found is not None
    assert found.example.target.numel() <= LARGER.get(name, 12 if name == "refusals" else SMALL), found.text()
    right = wrong.RightDice if issubclass(loss, wrong.RightDice) else wrong.RightMean
    assert smallest(PROMISES[name], subject(right)) is None


def test_every_must_catches_something() -> None:
    assert set(MUSTS) == set(wrong.WRONG.values())


@pytest.mark.parametrize("mode", ["binary", "multilabel"])
@pytest.mark.parametrize("right", [wrong.RightMean, wrong.RightDice])
def test_a_right_loss_keeps_every_promise(right: type[nn.Module], mode: str) -> None:
    verdicts = list(examine(right, [mode]))
    assert [v.promise for v in verdicts if v.must] == MUSTS
    assert not [(v.promise, v.breach.text()) for v in verdicts if v.must and v.breach]
    properties = {v.promise: v.breach is None for v in verdicts if not v.must}
    assert properties.pop("mean over pixels") == (right is wrong.RightMean)
    assert all(properties.values())


def pasted(text: str) -> Example:
    """What a counterexample's lines make in Python."""
    names: dict[str, Any] = {"torch": torch}
    exec(text, names)
    return Example(names["logits"], names["target"])


@pytest.mark.parametrize("loss", wrong.WRONG, ids=lambda loss: loss.__name__)
def test_a_counterexample_can_be_pasted(loss: type[nn.Module]) -> None:
    promise = PROMISES[wrong.WRONG[loss]]
    found = smallest(promise, subject(loss))
    assert found is not None
    example = pasted(found.text())
    for given, expected in zip(example, found.example, strict=True):
        assert given.dtype == expected.dtype
        assert given.is_contiguous() == expected.clone().is_contiguous()
    broken = promise.breach(subject(loss), example)
    assert broken is not None
    assert (broken.kind, broken.detail) == (found.broken.kind, found.broken.detail)


def test_what_uint8_alone_shows_is_shown_as_uint8() -> None:
    found = smallest(PROMISES["memory layout"], subject(wrong.UnsignedArithmetic))
    assert found is not None
    assert "dtype=torch.uint8" in found.text()
    (logits, target), loss = pasted(found.text()), wrong.UnsignedArithmetic(TASKS["binary"])
    slopes = [run(loss, logits, ids)[1] for ids in (target, target.long())]
    assert not torch.equal(*slopes)


def test_what_strides_alone_show_is_shown_with_them() -> None:
    found = smallest(PROMISES["memory layout"], subject(wrong.Viewed))
    assert found is not None
    (logits, target), loss = pasted(found.text()), wrong.Viewed(TASKS["binary"])
    assert loss(logits.contiguous(), target.contiguous()).isfinite()
    with pytest.raises(RuntimeError, match="view"):
        loss(logits, target)


@pytest.mark.parametrize("mode", TASKS)
def test_types_are_written_wherever_they_are_not_the_usual_ones(mode: str) -> None:
    for make in (examples.laid_out, examples.every_integer, examples.in_half, examples.precise, examples.unfit):
        for example in make(TASKS[mode]):
            text = Counterexample(example, Broken("")).text()
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            for line, tensor, usual in zip(lines, example, (torch.float32, torch.int64), strict=True):
                assert (f"dtype={tensor.dtype}" in line) == (tensor.dtype != usual)
            for given, expected in zip(pasted(text), example, strict=True):
                assert given.dtype == expected.dtype
                assert given.is_contiguous() == expected.clone().is_contiguous()
                assert torch.equal(given, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_literal_is_the_tensor_bit_by_bit(dtype: torch.dtype) -> None:
    numbers = torch.tensor([[0.1, -1e4], [3e-8, 1 / 3]], dtype=torch.float64).to(dtype)
    for tensor in (numbers, torch.full((2, 3), 0.7, dtype=dtype), torch.tensor([1, 255], dtype=torch.uint8)):
        written = eval(literal(tensor, torch.float32), {"torch": torch})
        assert written.dtype == tensor.dtype
        assert torch.equal(written, tensor)
    special = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=dtype)
    assert torch.equal(eval(literal(special, torch.float32), {"torch": torch}).nan_to_num(), special.nan_to_num())


@pytest.mark.slow
def test_what_cannot_be_printed_is_made_by_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counterexample, "MOST_SECONDS", 0.5)
    promise = PROMISES["large half"]

    class NeedsAll(wrong.RightMean):
        """Wrong on large pictures of many values alone, so that no simpler example is found."""

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            value = super().forward(logits, target)
            return 2 * value if logits.dtype == torch.float16 and logits.std() > 1 and logits.numel() > 5e5 else value

    found = smallest(promise, subject(NeedsAll))
    assert found is not None
    names: dict[str, Tensor] = {}
    exec(found.text(), names)
    assert names["logits"].shape == (2, 1, 512, 512)


def test_an_example_that_another_mistake_breaks_is_not_taken_for_smaller() -> None:
    class TwoMistakes(wrong.RightMean):
        """Not finite for large logits; raises on a single image."""

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            if len(logits) == 1:
                raise RuntimeError("one image")
            return super().forward(logits, target) / (logits.abs().max() < 100)

    found = smallest(PROMISES["extreme logits"], subject(TwoMistakes))
    assert found is not None
    assert found.broken.kind == "the value is not finite"
    assert len(found.example.logits) == 2


def test_nothing_else_is_tried_on_a_loss_that_does_not_run() -> None:
    (verdict,) = examine(wrong.NotForTargets, ["binary"])
    assert verdict.promise == "runs"
    assert verdict.breach is not None


def test_a_loss_may_say_what_it_does_not_promise() -> None:
    class Unpromising(wrong.EmptySkipped):
        not_promised = {"empty mask": "only masks with foreground are of interest"}  # noqa: RUF012

    verdicts = {v.promise: v for v in examine(Unpromising, ["binary"])}
    assert verdicts["empty mask"].breach is not None
    assert not verdicts["empty mask"].must
    assert "foreground" in verdicts["empty mask"].reason
    assert [name for name, v in verdicts.items() if v.breach and v.must] == []
    loss = wrong.RightMean(TASKS["binary"])
    assert set(excuses(loss, {"label_smoothing": 0.1})) == {"perfect is 0", "empty mask"}
    assert excuses(loss, {"label_smoothing": 0}) == {}


def test_what_a_term_excuses_is_excused_with_its_name() -> None:
    task = TASKS["binary"]
    terms = {"edges": build_loss("boundary", task), "ce": build_loss("ce", task, label_smoothing=0.1)}
    settings = {"terms": {"ce": {"label_smoothing": 0.1}}}
    found = excuses(Combo(terms), settings)
    assert set(found) == {"right is best", "perfect is 0", "empty mask"}
    assert found["right is best"].endswith("boundaries at the same place (term edges)")
    assert found["empty mask"].endswith("(term ce)")
    assert set(excuses(Combo(terms, {"edges": 0}), settings)) == {"perfect is 0", "empty mask"}


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (wrong.CustomOperation, "RuntimeError: There was no fake impl registered"),
        (wrong.NotOnDevices, "NotImplementedError: written for the host (wrong.py:"),
    ],
)
def test_what_no_fake_gpu_can_run_is_not_examined(loss: type[nn.Module], reason: str) -> None:
    verdicts = {verdict.promise: verdict for verdict in examine(loss, ["binary"])}
    assert reason in verdicts["no waiting"].unexamined
    assert verdicts["no waiting"].must
    assert not [
        name for name, v in verdicts.items() if (v.must and v.breach) or (v.unexamined and name != "no waiting")
    ]


def test_a_number_may_stay_on_the_host() -> None:
    assert smallest(PROMISES["no waiting"], subject(wrong.NumberOnTheHost)) is None


def test_a_breach_on_one_example_counts_though_others_cannot_be_tried() -> None:
    def judge(_: Subject, example: Example) -> None:
        """Float64 alone can be tried."""
        if example.logits.dtype != torch.float64:
            raise Unexamined("float32")
        raise Broken("wrong")

    usual, precise = (list(make(TASKS["binary"])) for make in (examples.usual, examples.precise))
    promise = Promise("one", judge, lambda task: [*usual, *precise, *usual])
    found = smallest(promise, subject(wrong.RightMean))
    assert found is not None
    assert found.broken.kind == "wrong"
    with pytest.raises(Unexamined, match="float32"):
        smallest(replace(promise, examples=lambda task: usual), subject(wrong.RightMean))


MEAN = Verdict("mean over pixels", "binary", False, None)
WORK = """
import sys
from pathlib import Path
from segtrain.contract.processes import work
from tests.contract import wrong
work(Path(sys.argv[2]), int(sys.argv[3]), getattr(wrong, sys.argv[1]))
"""


def command(name: str) -> list[str]:
    """What starts one of two processes that build a loss of wrong.py."""
    return [sys.executable, "-c", WORK, name]


@pytest.mark.slow
def test_two_processes_that_wait_for_each_other_end() -> None:
    (verdict,) = examine_processes(command("LeavesTheOthersWaiting"), wrong.LeavesTheOthersWaiting, [MEAN], patience=5)
    assert verdict.must
    assert verdict.breach is not None
    assert verdict.breach.broken.kind == "it does not work in two processes"
    assert "target_1 = torch.tensor(" in verdict.breach.text()
    assert "255, 255, 255, 255" in verdict.breach.text()


def test_processes_that_do_not_meet_say_nothing_about_the_loss() -> None:
    alone = [sys.executable, "-c", "raise SystemExit('no network here')"]
    (verdict,) = examine_processes(alone, wrong.RightMean, [MEAN])
    assert verdict.must
    assert verdict.breach is None
    assert verdict.unexamined == "two processes did not meet: no network here"


@pytest.mark.slow
def test_two_processes_may_be_excused() -> None:
    class Unpromising(wrong.LocalMean):
        not_promised = {"two processes": "each looks at its own pixels"}  # noqa: RUF012

    (verdict,) = examine_processes(command("LocalMean"), Unpromising, [MEAN])
    assert verdict.breach is not None
    assert not verdict.must
    assert verdict.reason == "each looks at its own pixels"


def test_a_task_is_the_builders_argument() -> None:
    seen: list[Task] = []

    def build(task: Task) -> wrong.RightMean:
        seen.append(task)
        return wrong.RightMean(task)

    list(examine(build, ["binary"]))
    assert {task.ignore_index for task in seen} == {255, -1}

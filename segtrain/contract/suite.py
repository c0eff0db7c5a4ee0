"""What every loss must do, and what it may do by its definition: `PROMISES`, in the order of reports.

`segtrain test-loss` prints which hold for a loss; our own losses are tested with the same list. A loss that
by its definition cannot keep a promise says so: `not_promised = {"empty mask": "why"}`, on the class or the instance.
What a term excuses is excused for a combination too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segtrain.contract import examples, meaning, mechanics
from segtrain.contract.counterexample import Counterexample, smallest
from segtrain.contract.examples import TASKS
from segtrain.contract.promise import Broken, Loss, Promise, Subject, Unexamined
from segtrain.losses import Combo
from segtrain.task import Task

FIRST = "runs"  # where it is broken, the others are not tried
CONSTANT = "make ignored logits and ids constant before the formula: logits.masked_fill(~valid, 0), then average"
FLOAT32 = "begin with logits.float(), which leaves nothing in half precision"
SMOOTHED = "with label smoothing p = 1 is not the best prediction"
_ALL = (
    Promise("runs", mechanics.judge_running, examples.usual),
    Promise("scalar", mechanics.judge_scalar, examples.every_float, "compute in logits.float() and return one number"),
    Promise("ignored pixels", meaning.judge_ignored, examples.usual, CONSTANT),
    Promise("no dilution", meaning.judge_dilution, examples.all_labelled, "divide by the number of valid pixels"),
    Promise("ignore index", meaning.judge_index, examples.usual, "take the index from task.ignore_index"),
    Promise("all ignored", meaning.judge_all_ignored, examples.without_labels, "divide by valid.sum().clamp(min=1)"),
    Promise("order of images", meaning.judge_permutation, examples.usual),
    Promise("right is best", meaning.judge_right, examples.usual, "look at the sign and at the classes' order"),
    Promise("perfect is 0", meaning.judge_perfect, examples.usual, "apply sigmoid or softmax once"),
    Promise(
        "empty mask", meaning.judge_empty, examples.without_foreground,
        "keep classes that are absent from the mask in the mean, with a smoothing term",
    ),
    Promise(
        "extreme logits", mechanics.judge_extremes, examples.extreme,
        "write log sigmoid as torch.nn.functional.logsigmoid, log softmax as log_softmax",
    ),
    Promise("half precision", mechanics.judge_half, examples.in_half, FLOAT32),
    Promise("large half", mechanics.judge_large_half, examples.large_in_half, FLOAT32),
    Promise(
        "gradient", mechanics.judge_gradient, examples.precise, "nothing that matters may be detached",
        simplify=("shape", "target"),
    ),
    Promise("inputs unchanged", mechanics.judge_unchanged, examples.every_integer, "use masked_fill, not masked_fill_"),
    Promise("memory layout", mechanics.judge_layout, examples.laid_out, "use target.long() and reshape"),
    Promise("autocast", mechanics.judge_autocast, examples.usual, FLOAT32 + "; sum in place of a matrix product"),
    Promise(
        "refusals", mechanics.judge_refusals, examples.unfit, "call segtrain.task.check_shapes(logits, target, task)",
        simplify=(),
    ),
    Promise("no waiting", mechanics.judge_waiting, examples.usual, "multiply by a mask in place of indexing with it"),
    Promise("mean over pixels", meaning.judge_mean, examples.usual, must=False),
    Promise("ignoring is deleting", meaning.judge_deleting, examples.partly_ignored, must=False),
    Promise("float64 stays", mechanics.judge_float64, examples.precise, must=False),
    Promise("refusal in words", mechanics.judge_words, examples.unfit, must=False, simplify=()),
)  # fmt: skip
PROMISES = {promise.name: promise for promise in _ALL}


@dataclass(frozen=True)
class Verdict:
    """How a promise stands in one mode.

    Args:
        promise: its name.
        mode: binary, multiclass or multilabel.
        must: whether this loss must keep it.
        breach: the counterexample; None where it holds, as far as is known.
        reason: why a must is none for this loss.
        unexamined: why it could not be tried; "" where it was.
    """

    promise: str
    mode: str
    must: bool
    breach: Counterexample | None
    reason: str = ""
    unexamined: str = ""


def examine(
    build: Callable[[Task], Loss], modes: Sequence[str], params: Mapping[str, object] | None = None
) -> Iterator[Verdict]:
    """Try every promise in these modes, in one process; processes.py has the one that needs two.

    Args:
        build: builds the loss for a task.
        modes: those in which the loss is offered.
        params: of the loss; a combination's hold those of its terms.
    """
    for mode in modes:
        subject = Subject(TASKS[mode], build)
        reasons = excuses(subject.loss, params or {})
        broken = smallest(PROMISES[FIRST], subject)
        yield Verdict(FIRST, mode, True, broken)
        for promise in PROMISES.values() if broken is None else ():
            if promise.name == FIRST:
                continue
            yield _verdict(promise, subject, reasons.get(promise.name, ""))


def _verdict(promise: Promise, subject: Subject, reason: str) -> Verdict:
    must = promise.must and not reason
    try:
        return Verdict(promise.name, subject.task.mode, must, smallest(promise, subject), reason)
    except Unexamined as why:
        return Verdict(promise.name, subject.task.mode, must, None, reason, str(why))


def excuses(loss: Loss, params: Mapping[str, Any]) -> dict[str, str]:
    """Promises that a loss, or a term of a combination that has a weight, does not make, each with the reason."""
    found: dict[str, str] = {"perfect is 0": SMOOTHED, "empty mask": SMOOTHED} if params.get("label_smoothing") else {}
    if isinstance(loss, Combo):
        settings = params.get("terms", {})
        for name in (name for name in loss.terms if loss.weight(name) > 0):
            own = excuses(loss.terms[name], settings.get(name, {}))
            found |= {promise: f"{reason} (term {name})" for promise, reason in own.items() if promise not in found}
    return {**found, **getattr(loss, "not_promised", {})}


__all__ = ["PROMISES", "Broken", "Verdict", "examine", "excuses"]

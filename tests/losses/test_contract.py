"""The promises of segtrain.contract.suite, for every loss of LOSSES, common combinations and forms, in three modes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from segtrain.contract.promise import Loss, Subject, run, same
from segtrain.contract.suite import PROMISES
from segtrain.errors import UserError
from segtrain.losses import LOSSES, Combo, build_loss
from segtrain.task import Task
from tests import tiny
from tests.conftest import STATS, TASKS, make_logits, make_target
from tests.losses.contract import TIGHT

PIXELS = {"bce", "ce", "balanced_bce", "focal", "poly"}  # means over pixels
PER_YES_OR_NO = ("bce", "balanced_bce")  # an error in multiclass
Params = dict[str, Any]

# name -> terms, each a loss with its parameters
CASES: dict[str, dict[str, Params]] = {name: {name: {}} for name in LOSSES} | {
    "dice_ce": {"dice": {}, "ce": {}},
    "dice_bce": {"dice": {}, "bce": {}},
    "dice_focal": {"dice": {}, "focal": {}},
    "bce weighted": {"bce": {"pos_weight": 3.0}},
    "balanced_bce hed, normalized": {"balanced_bce": {"form": "hed", "normalize": True}},
    "balanced_bce per batch": {"balanced_bce": {"beta": "batch"}},
    "balanced_bce hed per batch": {"balanced_bce": {"form": "hed", "beta": "batch"}},
    "focal gamma .5": {"focal": {"gamma": 0.5}},
    "focal gamma 0": {"focal": {"gamma": 0}},
    "focal auto": {"focal": {"alpha": "auto"}},
    "dice squared": {"dice": {"squared": True}},
    "dice per image": {"dice": {"reduce": "image"}},
    "jaccard per image": {"jaccard": {"reduce": "image"}},
    "tversky per image": {"tversky": {"reduce": "image"}},
    "focal_tversky per image": {"focal_tversky": {"reduce": "image"}},
    "generalized_dice per image": {"generalized_dice": {"reduce": "image"}},
    "generalized_dice simple": {"generalized_dice": {"weighting": "simple"}},
    "mcc per image": {"mcc": {"reduce": "image"}},
    "lovasz per image": {"lovasz": {"reduce": "image"}},
    "unified_focal per image": {"unified_focal": {"reduce": "image"}},
    "ohem all": {"ohem": {"share": 1}},
    "cldice per image": {"cldice": {"reduce": "image"}},
    "boundary of the batch": {"boundary": {"reduce": "batch"}},
    "dice_boundary": {"dice": {}, "ce": {}, "boundary": {}},
    "dice, squared and plain": {"dice": {"squared": True}, "tversky": {}, "poly": {}},
}
ONLY_MULTICLASS: dict[str, dict[str, Params]] = {
    "ce weighted": {"ce": {"class_weights": "auto"}},
    "dice foreground": {"dice": {"include_background": False}},
}
SMOOTHED: dict[str, dict[str, Params]] = {
    "ce smoothed": {"ce": {"label_smoothing": 0.1}},
    "bce smoothed": {"bce": {"label_smoothing": 0.1}},
}


def build(name: str, task: Task) -> Loss:
    """The loss of a case; a Combo where it has several terms."""
    terms = {loss: build_loss(loss, task, STATS[task.mode], **params) for loss, params in ALL[name].items()}
    return Combo(terms) if len(terms) > 1 else terms[name.split()[0]]


ALL = CASES | ONLY_MULTICLASS | SMOOTHED
PAIRS = [
    (name, mode)
    for name, terms in ALL.items()
    for mode in TASKS
    if mode == "multiclass" or name not in ONLY_MULTICLASS
    if mode != "multiclass" or not set(terms) & set(PER_YES_OR_NO)
]


def holds(name: str, promise: str) -> bool:
    """Whether a form keeps a promise, by its definition."""
    losses = set(ALL[name])
    if promise == "ignoring is deleting":  # reduce=image scores images apart; shapes have neighbours
        return "per image" not in name and not losses & {"cldice", "boundary"}
    if promise == "mean over pixels":  # weights that depend on the batch make it another mean in each part
        return (losses <= PIXELS or name == "ohem all") and "per batch" not in name and name != "ce weighted"
    if promise == "empty mask" and "ohem" in losses:  # easy pixels have no gradient
        return name == "ohem all"
    return not (promise in ("perfect is 0", "empty mask") and name in SMOOTHED)  # p = e / 2 is best there, not 0


def may_break(name: str, promise: str) -> bool:
    """What a boundary loss promises in no mode, though in some examples it is so."""
    return name.startswith("boundary") and promise in ("perfect is 0", "right is best")


FORMS_OF_YES_OR_NO = [name for name, terms in ALL.items() if set(terms) & set(PER_YES_OR_NO)]


def is_tried_by_hand(name: str, mode: str) -> bool:
    """Whether other parameters are tried in modes beside the one in which they differ most."""
    return mode != "multiclass" and name not in LOSSES and name not in FORMS_OF_YES_OR_NO


TRIPLES = [
    pytest.param(name, mode, promise, marks=pytest.mark.slow) if is_tried_by_hand(name, mode) else (name, mode, promise)
    for name, mode in PAIRS
    for promise in PROMISES
    if not may_break(name, promise)
]


@pytest.mark.parametrize(("name", "mode", "promise"), tiny.every(2, TRIPLES))
def test_contract(name: str, mode: str, promise: str) -> None:
    subject = Subject(TASKS[mode], lambda task: build(name, task))
    if holds(name, promise):
        TIGHT[promise].check(subject)
    else:
        with pytest.raises(AssertionError):
            PROMISES[promise].check(subject)


@pytest.mark.parametrize("name", PER_YES_OR_NO)
def test_yes_or_no_losses_refuse_multiclass_and_name_ce(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name}.*multiclass.*loss=ce"):
        build_loss(name, TASKS["multiclass"], STATS["multiclass"])


@pytest.mark.parametrize("name", [name for name in ALL if name not in ONLY_MULTICLASS])
def test_one_label_is_binary(name: str) -> None:
    stats = STATS["binary"]
    binary, labels = Task(mode="binary"), Task(mode="multilabel", num_classes=1)
    logits, target = make_logits(binary), make_target(binary)
    given, expected = (
        [build_loss(loss, task, stats, **params) for loss, params in ALL[name].items()] for task in (labels, binary)
    )
    for a, b in zip(given, expected, strict=True):
        same(run(a, logits, target.unsqueeze(1)), run(b, logits, target))


@pytest.mark.parametrize("mode", ["binary", "multilabel"])
@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky"])
def test_background_exists_in_multiclass_only(name: str, mode: str) -> None:
    task = TASKS[mode]
    logits, target = make_logits(task), make_target(task)
    with_it, without = (build_loss(name, task, include_background=flag) for flag in (True, False))
    same(run(without, logits, target), run(with_it, logits, target))


@pytest.mark.parametrize(("name", "mode"), PAIRS)
def test_ignore_index_is_the_tasks(name: str, mode: str) -> None:
    task = TASKS[mode]
    other = Task(mode=mode, num_classes=task.num_classes, ignore_index=-1)
    logits, target = make_logits(task), make_target(task)
    given = run(build(name, other), logits, target.masked_fill(target == 255, -1))
    same(given, run(build(name, task), logits, target))


def test_every_term_of_a_combo_sees_the_same_target(task: Task) -> None:
    terms = {name: build_loss(name, task) for name in ("ce", "dice", "focal")}
    weights = {"ce": 2.0, "focal": 0.5}
    combo, logits, target = Combo(terms, weights), make_logits(task), make_target(task)
    parts = {name: term(logits, target) for name, term in terms.items()}
    assert_close(combo.parts(logits, target), parts, rtol=0, atol=0)
    assert_close(combo(logits, target), 2 * parts["ce"] + parts["dice"] + 0.5 * parts["focal"])
    assert torch.equal(combo(logits, target), combo.total(parts))

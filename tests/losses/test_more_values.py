"""Values of the losses that judge regions, ranks and shapes: definitions, identities, SMP and scikit-learn, refusals.

Also Poly-1 and focal Tversky. See test_values.py for the losses that these are built on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from segtrain.errors import UserError
from segtrain.losses import build_loss
from segtrain.task import Task
from tests import tiny
from tests.conftest import TARGETS, TASKS, generator, make_logits, make_target
from tests.losses import oracle
from tests.losses import oracle_more as more
from tests.losses.contract import check_reference, run, same

BINARY, MULTICLASS, MULTILABEL = TASKS["binary"], TASKS["multiclass"], TASKS["multilabel"]
TWO = Task(mode="multiclass", num_classes=2)
Params = dict[str, Any]
SEEDS = st.integers(0, 2**31 - 2)
SCALES = st.floats(0.1, 8)
IGNORED = st.floats(0, 0.95)
MODES = st.sampled_from(list(TASKS))
SMOOTH = st.floats(0.01, 100)
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
REDUCE = st.sampled_from(["batch", "image"])


def ceiling(share: float) -> Callable[[int], int]:
    """How many of V pixels are the hardest share: rounded up, at least one."""
    return lambda count: max(1, math.ceil(share * count))


def reference(name: str, task: Task, p: Params) -> oracle.Oracle:
    """The oracle of a loss with these parameters, all of them given."""
    shared = {key: p[key] for key in ("reduce", "include_background") if key in p}
    makers: dict[str, Callable[[], oracle.Oracle]] = {
        "focal_tversky": lambda: oracle.region(
            task, more.focal_tversky(p["gamma"], p["fp_weight"], p["fn_weight"], p["smooth"]), **shared
        ),
        "generalized_dice": lambda: more.generalized_dice(task, p["weighting"], p["smooth"], **shared),
        "mcc": lambda: more.per_class(task, more.mcc(p["smooth"]), **shared),
        "lovasz": lambda: more.lovasz(task, **shared),
        "unified_focal": lambda: more.unified_focal(task, **p),
        "poly": lambda: more.poly(task, p["epsilon"]),
        "ohem": lambda: more.ohem(task, ceiling(p["share"])),
        "cldice": lambda: more.cldice(task, **p),
        "boundary": lambda: more.per_class(task, more.boundary(p["width"], p["tolerance"], p["smooth"]), **shared),
    }
    return makers[name]()


GROUPED: Params = {"reduce": "batch", "include_background": True}
DEFAULTS: dict[str, Params] = {
    "focal_tversky": {"gamma": 4 / 3, "fp_weight": 0.3, "fn_weight": 0.7, "smooth": 1.0, **GROUPED},
    "generalized_dice": {"weighting": "square", "smooth": 1.0, **GROUPED},
    "mcc": {"smooth": 1.0, **GROUPED},
    "lovasz": GROUPED,
    "unified_focal": {"weight": 0.5, "delta": 0.6, "gamma": 0.5, "smooth": 1.0, "reduce": "batch"},
    "poly": {"epsilon": 1.0},
    "ohem": {"share": 0.25},
    "cldice": {"alpha": 0.5, "iterations": 3, "smooth": 1.0, **GROUPED},
    "boundary": {"width": 3, "tolerance": 5, "smooth": 1.0, **GROUPED, "reduce": "image"},
}
OTHERS: dict[str, list[Params]] = {
    "focal_tversky": [{"gamma": 0.6, "smooth": 0.01}, {"gamma": 3.0, "fp_weight": 1.5, "fn_weight": 0.0}],
    "generalized_dice": [{"weighting": "simple", "smooth": 0.01}, {"weighting": "uniform", "smooth": 30.0}],
    "mcc": [{"smooth": 0.01}, {"smooth": 40.0}],
    "lovasz": [{}],
    "unified_focal": [
        {"weight": 1.0, "delta": 0.9, "gamma": 0.1},
        {"weight": 0.2, "gamma": 0.8, "smooth": 0.01},
        {"weight": 0.0, "gamma": 0.0},
    ],
    "poly": [{"epsilon": -1.0}, {"epsilon": 0.0}, {"epsilon": 7.0}],
    "ohem": [{"share": 0.01}, {"share": 0.5}, {"share": 1.0}],
    "cldice": [{"alpha": 1.0, "iterations": 1}, {"alpha": 0.2, "iterations": 6, "smooth": 0.01}],
    "boundary": [{"width": 5, "tolerance": 3, "smooth": 0.01}, {"width": 7, "tolerance": 9}, {"smooth": 30.0}],
}


def forms(name: str) -> list[Params]:
    """The defaults and others, each with every way of grouping; all parameters given."""
    found = []
    for changes in ({}, *OTHERS[name]):
        for reduce in ("batch", "image") if "reduce" in DEFAULTS[name] else ("",):
            for background in (True, False) if "include_background" in DEFAULTS[name] else (None,):
                grouping = {"reduce": reduce, "include_background": background}
                found.append(DEFAULTS[name] | changes | {k: v for k, v in grouping.items() if k in DEFAULTS[name]})
    return found


FORMS = [(name, params) for name in DEFAULTS for params in forms(name)]
IDS = [f"{name}-{'-'.join(map(str, params.values()))}" for name, params in FORMS]


# ---- against the definitions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "params"), tiny.every(2, FORMS), ids=IDS)
def test_is_its_definition(name: str, params: Params, task: Task) -> None:
    check_reference(build_loss(name, task, **params), task, reference(name, task, params))


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name: str, task: Task) -> None:
    check_reference(build_loss(name, task), task, reference(name, task, DEFAULTS[name]))


def batch(task: Task, size: tuple[int, int, int], seed: int, scale: float, ignored: float) -> tuple[Tensor, Tensor]:
    """Random logits and ids, a share ignored, at least one pixel labelled."""
    target = make_target(task, size=size, ignored=ignored, seed=seed + 1)
    assume(bool((target != task.ignore_index).any()))
    return make_logits(task, size, scale, seed).double(), target


@settings(max_examples=400)  # over some hundred forms
@given(form=st.sampled_from(FORMS), mode=MODES, size=SIZES, seed=SEEDS, scale=SCALES, ignored=IGNORED)
def test_is_its_definition_on_any_shape(
    form: tuple[str, Params], mode: str, size: tuple[int, int, int], seed: int, scale: float, ignored: float
) -> None:
    (name, params), task = form, TASKS[mode]
    logits, target = batch(task, size, seed, scale, ignored)
    value = build_loss(name, task, **params)(logits, target)
    assert_close(float(value), float(reference(name, task, params)(logits, target)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "kind", ["random", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("empty", "full"))]
)
@pytest.mark.parametrize("name", DEFAULTS)
def test_gradient_is_that_of_the_definition(name: str, kind: str, task: Task) -> None:
    """Central differences of the oracle, which knows nothing of backward."""
    logits, target = make_logits(task, (2, 3, 3)).double(), make_target(task, kind, (2, 3, 3))
    slow, step = reference(name, task, DEFAULTS[name]), 1e-5
    expected = torch.zeros_like(logits)
    for k in range(logits.numel()):
        change = torch.zeros(logits.numel(), dtype=logits.dtype)
        change[k] = step
        change = change.view_as(logits)
        expected.view(-1)[k] = (slow(logits + change, target) - slow(logits - change, target)) / (2 * step)
    _, gradient = run(build_loss(name, task), logits, target)
    assert_close(gradient, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("reduce", ["batch", "image"])
@pytest.mark.parametrize("include_background", [True, False])
def test_lovasz_is_the_extension_of_the_set_function_and_the_running_iou(
    task: Task, reduce: str, include_background: bool
) -> None:
    for extension in (more.extension_by_levels, more.extension_by_order):
        slow = more.lovasz(task, extension, reduce, include_background)
        check_reference(build_loss("lovasz", task, reduce=reduce, include_background=include_background), task, slow)


# By hand, at logits 0: p = 1/2. Four pixels, half of them foreground: I = FP = FN = TN = 1.
HALF: list[tuple[str, Params, float]] = [
    ("focal_tversky", {"gamma": 2.0}, math.sqrt(1 / 3)),
    ("generalized_dice", {}, 4 / 9),  # both classes: (2 + 2) / (2 + 2 + 2 + 2 + 1)
    ("generalized_dice", {"weighting": "uniform", "smooth": 2.0}, 4 / 10),
    ("mcc", {}, 1 - 3 / 9),  # 2 x 2 - 1 over (2 + 1)^2
    ("lovasz", {}, 1.0),  # every hinge is 1, and so is 1 - IoU with all of them wrong
    ("unified_focal", {"weight": 0.0}, (0.6 + 0.4 / math.sqrt(2)) * math.log(2) / 2),
    ("unified_focal", {"weight": 1.0}, (math.sqrt(1 / 3) + 1 / 3) / 2),
    ("poly", {}, math.log(2) + 1 / 2),
    ("poly", {"epsilon": -1.0}, math.log(2) - 1 / 2),
    ("ohem", {}, math.log(2)),
]


@pytest.mark.parametrize(("name", "params", "value"), HALF)
def test_by_hand(name: str, params: Params, value: float) -> None:
    target = torch.tensor([[[0, 1, 255], [1, 0, 255]]])
    given_value = build_loss(name, BINARY, **params)(torch.zeros(1, 1, 2, 3), target)
    assert_close(float(given_value), value, rtol=1e-6, atol=0)


def drawn(rows: list[str]) -> Tensor:
    """A mask from a drawing: # is 1."""
    return torch.tensor([[[int(c == "#") for c in row] for row in rows]])


def sure(target: Tensor) -> Tensor:
    """Logits of a binary mask, certain to the last digit of float64."""
    return 50.0 * (2 * target.unsqueeze(1).double() - 1)


BAND = drawn(["........", "########", "########", "########", "........"])
LINE = drawn(["........", "........", "########", "........", "........"])


def test_centre_line_of_a_band_by_hand() -> None:
    """Its centre line lies in it, so precision is 1; the band's own line is the middle row, 8 pixels, all covered."""
    loss = build_loss("cldice", BINARY, alpha=1.0, smooth=1e-9)
    assert_close(float(loss(sure(LINE), BAND)), 0.0, rtol=0, atol=1e-8)
    assert_close(float(loss(sure(BAND), LINE)), 0.0, rtol=0, atol=1e-8)
    below = LINE.roll(2, 1)  # outside the band: nothing of it is in the truth, and nothing true is covered
    assert_close(float(loss(sure(below), LINE)), 1.0, rtol=0, atol=1e-6)
    half = LINE * (torch.arange(8) < 4)  # all of it in the truth, half of the truth covered: 2 / 3
    assert_close(float(loss(sure(half), LINE)), 1 / 3, rtol=1e-6, atol=0)


def test_boundary_by_hand() -> None:
    """A boundary is the mask's own outermost pixels; one beside the true one counts within the tolerance only."""
    high = BAND * (torch.arange(5) > 1)[:, None]  # the upper edge a row lower
    loss = build_loss("boundary", BINARY, tolerance=3, smooth=1e-9)
    assert_close(float(loss(sure(high), BAND)), 0.0, rtol=0, atol=1e-8)
    far = drawn(["#.......", *["........"] * 6, ".......#"])
    near = drawn(["#.......", *["........"] * 7])
    assert_close(float(loss(sure(near), far)), 1 / 3, rtol=1e-6, atol=0)  # precision 1, recall 1/2


def test_boundary_cannot_tell_a_mask_from_its_inverse() -> None:
    """Both have the same contour within the tolerance: hence only beside a region loss."""
    mask = F.pad(torch.ones(1, 6, 7, dtype=torch.long), (8, 8, 8, 8))
    for target in (mask, 1 - mask):
        assert_close(build_loss("boundary", BINARY)(sure(target), mask), torch.tensor(0.0, dtype=torch.float64))


# ---- against other libraries, where they are right --------------------------------------------------------------


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("ignored", [0.0, 0.5])
@pytest.mark.parametrize("mode", ["binary", "multiclass"])
def test_lovasz_is_smps_where_a_class_occurs(mode: str, ignored: float, per_image: bool) -> None:
    """SMP's is in float32 only, and in multilabel sorts all labels together."""
    logits, target = make_logits(TASKS[mode]), make_target(TASKS[mode], ignored=ignored)
    theirs = smp.losses.LovaszLoss(mode, per_image=per_image, ignore_index=255)(logits, target)
    ours = build_loss("lovasz", TASKS[mode], reduce="image" if per_image else "batch")(logits, target)
    assert_close(ours, theirs, rtol=1e-5, atol=0)


def test_mcc_is_smps() -> None:
    """SMP takes probabilities and adds its eps to all four counts."""
    logits, target = make_logits(BINARY).double(), make_target(BINARY, ignored=0)
    theirs = smp.losses.MCCLoss(eps=1e-12)(logits.sigmoid(), target)
    assert_close(build_loss("mcc", BINARY, smooth=1e-12)(logits, target), theirs, rtol=1e-9, atol=0)


@given(mode=MODES, seed=SEEDS, ignored=st.floats(0, 0.6))
def test_mcc_of_a_hard_prediction_is_scikit_learns(mode: str, seed: int, ignored: float) -> None:
    task, size = TASKS[mode], (2, 6, 7)
    target = make_target(task, size=size, ignored=ignored, seed=seed)
    choice = make_target(task, size=size, ignored=0, seed=seed + 5)
    hot = F.one_hot(choice, 4).movedim(-1, 1) if task.exclusive else choice.view(2, task.num_classes, 6, 7)
    truth = target.view(2, -1, 6, 7).expand_as(hot)
    expected = []
    for c in range(task.num_classes):
        valid = truth[:, c] != 255
        y = truth[:, c][valid] == c if task.exclusive else truth[:, c][valid] == 1
        assume(0 < int(y.sum()) < len(y))
        expected.append(1 - matthews_corrcoef(y.numpy(), hot[:, c][valid].numpy()))
    value = build_loss("mcc", task, smooth=1e-12)(50.0 * (2 * hot - 1).double(), target)
    assert_close(float(value), sum(expected) / len(expected), rtol=1e-6, atol=1e-9)


# ---- identities -------------------------------------------------------------------------------------------------


def agree(given_loss: nn.Module, expected: nn.Module, logits: Tensor, target: Tensor) -> None:
    """Equal in value and gradient; parameters are kept in float32, hence the tolerance."""
    same(run(given_loss, logits, target), run(expected, logits, target), rtol=1e-6, atol=1e-10)


@given(
    mode=MODES, size=SIZES, seed=SEEDS, scale=SCALES, ignored=IGNORED, a=st.floats(0, 2), b=st.floats(0.1, 2), s=SMOOTH,
    reduce=REDUCE, background=st.booleans(),
)  # fmt: skip
def test_special_cases_are_the_plain_losses(
    mode: str, size: tuple[int, int, int], seed: int, scale: float, ignored: float, a: float, b: float, s: float,
    reduce: str, background: bool,
) -> None:  # fmt: skip
    task = TASKS[mode]
    logits, target = batch(task, size, seed, scale, ignored)
    grouping = {"reduce": reduce, "include_background": background}
    prices = {"fp_weight": a, "fn_weight": b, "smooth": s}
    floored = build_loss("tversky", task, **prices, **grouping)(logits, target) < 1e-5  # near the floor of the root
    if not floored:
        plain = build_loss("tversky", task, **prices, **grouping)
        value = build_loss("focal_tversky", task, gamma=1, **prices, **grouping)(logits, target)
        assert_close(value, plain(logits, target), rtol=1e-6, atol=1e-6)
    identities: list[tuple[tuple[str, Params], tuple[str, Params]]] = [
        (("poly", {"epsilon": 0.0}), ("ce", {})),
        (("ohem", {"share": 1.0}), ("ce", {})),
        (("cldice", {"alpha": 0.0, "smooth": s, **grouping}), ("dice", {"smooth": s, **grouping})),
    ]
    for (name, params), (other, others) in identities:
        agree(build_loss(name, task, **params), build_loss(other, task, **others), logits, target)


@given(mode=MODES, size=SIZES, seed=SEEDS, scale=SCALES, ignored=IGNORED, weight=st.floats(0, 1), s=SMOOTH)
def test_parts_of_unified_focal(
    mode: str, size: tuple[int, int, int], seed: int, scale: float, ignored: float, weight: float, s: float
) -> None:
    """Linear in weight; delta .5 and gamma 0 are half of the cross entropy and Tversky with equal prices."""
    task = TASKS[mode]
    logits, target = batch(task, size, seed, scale, ignored)

    def part(share: float, **params: float) -> Tensor:
        value: Tensor = build_loss("unified_focal", task, weight=share, smooth=s, **params)(logits, target)
        return value

    assert_close(part(weight), weight * part(1) + (1 - weight) * part(0), rtol=1e-6, atol=1e-9)
    assert_close(part(0, delta=0.5, gamma=0), build_loss("ce", task)(logits, target) / 2, rtol=1e-6, atol=1e-9)
    pair = (task, logits, target) if task.exclusive else (TWO, torch.cat([0 * logits, logits], 1), target)
    if mode != "multilabel":
        prices = {"fp_weight": 0.5, "fn_weight": 0.5, "smooth": s}
        plain = build_loss("tversky", pair[0], **prices)(*pair[1:])
        assert_close(part(1, delta=0.5, gamma=0), plain, rtol=1e-6, atol=1e-6)


@given(size=SIZES, seed=SEEDS, scale=SCALES, ignored=IGNORED)
def test_uniform_generalized_dice_is_the_mean_error(
    size: tuple[int, int, int], seed: int, scale: float, ignored: float
) -> None:
    """P and Y of all classes sum to V each, and I to sum(p_t): 1 - sum(p_t) / V, which is what Poly-1 adds to CE."""
    for task in (BINARY, MULTICLASS):
        logits, target = batch(task, size, seed, scale, ignored)
        value = build_loss("generalized_dice", task, weighting="uniform", smooth=1e-9)(logits, target)
        added = build_loss("poly", task)(logits, target) - build_loss("ce", task)(logits, target)
        assert_close(value, added, rtol=1e-6, atol=1e-9)


@given(size=SIZES, seed=SEEDS, scale=SCALES, ignored=IGNORED, reduce=REDUCE)
def test_foreground_and_background_may_be_swapped(
    size: tuple[int, int, int], seed: int, scale: float, ignored: float, reduce: str
) -> None:
    logits, target = batch(BINARY, size, seed, scale, ignored)
    inverse = torch.where(target == 255, target, 1 - target)
    for name in ("generalized_dice", "mcc"):
        loss = build_loss(name, BINARY, reduce=reduce)
        value, gradient = run(loss, logits, target)
        same(run(loss, -logits, inverse), (value, -gradient), rtol=1e-6, atol=1e-10)


@given(form=st.sampled_from(FORMS), size=SIZES, seed=SEEDS, scale=SCALES, ignored=IGNORED)
def test_one_label_is_binary(
    form: tuple[str, Params], size: tuple[int, int, int], seed: int, scale: float, ignored: float
) -> None:
    name, params = form
    logits, target = batch(BINARY, size, seed, scale, ignored)
    label = build_loss(name, Task(mode="multilabel", num_classes=1), **params)
    same(run(label, logits, target.unsqueeze(1)), run(build_loss(name, BINARY, **params), logits, target))


FOREGROUND_ONLY = ("focal_tversky", "cldice", "boundary")


@given(
    form=st.sampled_from([(n, p) for n, p in FORMS if n != "lovasz" and p.get("include_background", True)]),
    size=SIZES, seed=SEEDS, scale=SCALES, ignored=IGNORED,
)  # fmt: skip
def test_two_classes_with_logits_0_and_z_are_binary(
    form: tuple[str, Params], size: tuple[int, int, int], seed: int, scale: float, ignored: float
) -> None:
    """With both classes where the binary form judges both (of MCC they have the same), else with the foreground."""
    name, params = form
    logits, target = batch(BINARY, size, seed, scale, ignored)
    pair = torch.cat([torch.zeros_like(logits), logits], 1)
    both = {**params, "include_background": False} if name in FOREGROUND_ONLY else params
    value, gradient = run(build_loss(name, TWO, **both), pair, target)
    same((value, gradient[:, 1:]), run(build_loss(name, BINARY, **params), logits, target), rtol=1e-6, atol=1e-10)


@given(mode=MODES, size=SIZES, seed=SEEDS, scale=SCALES, ignored=IGNORED, a=st.floats(0.01, 1), b=st.floats(0.01, 1))
def test_properties_of_all_inputs(
    mode: str, size: tuple[int, int, int], seed: int, scale: float, ignored: float, a: float, b: float
) -> None:
    task = TASKS[mode]
    logits, target = batch(task, size, seed, scale, ignored)

    def value(name: str, **params: Any) -> float:
        return float(build_loss(name, task, **params)(logits, target))

    low, high = sorted((a, b))
    assert value("ohem", share=high) <= value("ohem", share=low) * (1 + 1e-9)  # fewer are harder
    assert value("ce") <= value("ohem", share=high) * (1 + 1e-9)
    assert value("poly", epsilon=-a) <= value("ce") <= value("poly", epsilon=b)
    for name in ("generalized_dice", "boundary", "cldice", "focal_tversky"):
        assert -1e-12 <= value(name) <= 1 + 1e-12
    assert -1e-12 <= value("mcc") <= 2
    assert value("lovasz") >= 0


@given(mode=MODES, seed=SEEDS, ignored=st.floats(0, 0.6))
def test_lovasz_of_a_hard_prediction_is_one_minus_iou(mode: str, seed: int, ignored: float) -> None:
    """An extension equals the set function at the vertices; the hinge of a wrong pixel of margin 1 is 2."""
    task, size = TASKS[mode], (2, 4, 5)
    target = make_target(task, size=size, ignored=ignored, seed=seed)
    choice = make_target(task, size=size, ignored=0, seed=seed + 5)
    hot = F.one_hot(choice, 4).movedim(-1, 1) if task.exclusive else choice.view(2, task.num_classes, 4, 5)
    truth = target.view(2, -1, 4, 5).expand_as(hot)
    losses = []
    for c in range(task.num_classes):
        valid = truth[:, c] != 255
        y, p = truth[:, c][valid] == (c if task.exclusive else 1), hot[:, c][valid] == 1
        if y.any():
            losses.append(1 - float((y & p).sum()) / float((y | p).sum()))
        else:
            assume(task.exclusive)
    margin, factor = (50.0, 1) if task.exclusive else (1.0, 2)
    value = build_loss("lovasz", task)(margin * (2 * hot - 1).double(), target)
    assert_close(float(value), factor * sum(losses) / len(losses), rtol=1e-9, atol=1e-12)


@given(size=SIZES, seed=SEEDS, scale=SCALES, ignored=IGNORED, share=st.floats(0, 1))
def test_lovasz_hinge_is_convex(
    size: tuple[int, int, int], seed: int, scale: float, ignored: float, share: float
) -> None:
    for task in (BINARY, MULTILABEL):
        one, target = batch(task, size, seed, scale, ignored)
        other = make_logits(task, size, scale, seed + 9).double()
        loss = build_loss("lovasz", task)
        bound = share * loss(one, target) + (1 - share) * loss(other, target)
        assert loss(share * one + (1 - share) * other, target) <= bound + 1e-9


# ---- ignored pixels ---------------------------------------------------------------------------------------------


def without_ignored(task: Task, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The valid pixels alone, as an image of one row (all labels of a pixel are ignored together here)."""
    flat = target.movedim(1, -1).reshape(-1, task.num_classes) if target.ndim == 4 else target.reshape(-1, 1)
    valid = flat[:, 0] != task.ignore_index
    ids = flat[valid].T[None, :, None] if target.ndim == 4 else flat[valid].T[None]
    return logits.movedim(1, -1).reshape(-1, task.num_classes)[valid].T[None, :, None], ids


@given(
    form=st.sampled_from([(n, p) for n, p in FORMS if n not in ("cldice", "boundary") and p.get("reduce") != "image"]),
    mode=MODES, size=SIZES, seed=SEEDS, scale=SCALES, ignored=IGNORED,
)  # fmt: skip
def test_ignoring_is_deleting(
    form: tuple[str, Params], mode: str, size: tuple[int, int, int], seed: int, scale: float, ignored: float
) -> None:
    (name, params), task = form, TASKS[mode]
    logits, target = batch(task, size, seed, scale, 0)
    drop = torch.rand((size[0], 1, *size[1:]), generator=generator(seed)) < ignored
    assume(not bool(drop.all()))
    target = target.masked_fill(drop if target.ndim == 4 else drop[:, 0], 255)
    loss = build_loss(name, task, **params)
    value, gradient = run(loss, logits, target)
    expected, slope = run(loss, *without_ignored(task, logits, target))
    kept = gradient.movedim(1, -1).reshape(-1, task.num_classes)[~drop.flatten()].T[None, :, None]
    same((value, kept), (expected, slope), rtol=1e-8, atol=1e-11)
    assert (gradient.masked_select(drop) == 0).all()


@pytest.mark.parametrize("name", ["cldice", "boundary"])
def test_neighbours_matter_to_shapes(name: str) -> None:
    """An ignored column cuts a line in two; the same pixels side by side are another picture."""
    target = BAND.clone()
    target[..., 3] = 255
    logits = make_logits(BINARY, (1, 5, 8)).double()
    given_value = build_loss(name, BINARY)(logits, target)
    kept = [0, 1, 2, 4, 5, 6, 7]
    assert not torch.isclose(given_value, build_loss(name, BINARY)(logits[..., kept], target[..., kept]), rtol=1e-4)


@pytest.mark.parametrize(
    "dtype", [torch.float32, *(pytest.param(half, marks=pytest.mark.slow) for half in (torch.float16, torch.bfloat16))]
)
@pytest.mark.parametrize(("name", "params"), tiny.every(3, FORMS), ids=IDS)
def test_finite_for_extreme_logits(name: str, params: Params, dtype: torch.dtype, task: Task) -> None:
    loss = build_loss(name, task, **params)
    normal = make_logits(task, scale=1)
    for logits in (1e4 * normal.sign(), -1e4 * torch.ones_like(normal), 1e4 * torch.ones_like(normal), 0 * normal):
        for kind in TARGETS:
            value, gradient = run(loss, logits.to(dtype), make_target(task, kind))
            assert value.isfinite(), f"{dtype}, {kind} mask"
            assert gradient.isfinite().all(), f"gradient, {dtype}, {kind} mask"
            if kind == "ignored":
                assert value == 0
                assert (gradient == 0).all()


@pytest.mark.parametrize(("name", "params"), tiny.every(3, FORMS), ids=IDS)
def test_an_image_without_labels_changes_nothing(name: str, params: Params, task: Task) -> None:
    logits, target = make_logits(task).double(), make_target(task)
    target[1] = task.ignore_index
    loss = build_loss(name, task, **params)
    value, gradient = run(loss, logits, target)
    expected, slope = run(loss, logits[[0, 2]], target[[0, 2]])
    same((value, gradient[[0, 2]]), (expected, slope), rtol=1e-9, atol=1e-12)
    assert (gradient[1] == 0).all()


# ---- what training needs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["focal_tversky", "generalized_dice", "mcc", "lovasz", "cldice", "boundary"])
def test_without_background_an_empty_mask_still_pushes_the_foreground_down(name: str) -> None:
    loss, target = build_loss(name, MULTICLASS, include_background=False), make_target(MULTICLASS, "empty")
    _, gradient = run(loss, make_logits(MULTICLASS), target)
    valid = target != 255
    assert (gradient[:, 0][valid] < 0).all()


@pytest.mark.parametrize("name", ["focal_tversky", "generalized_dice", "mcc", "lovasz", "unified_focal", "cldice"])
def test_an_absent_class_does_not_silence_the_others(name: str) -> None:
    """On 64 x 64 pixels without class 3 the gradient is that of Dice up to a factor of 100."""
    target = torch.randint(0, 3, (2, 64, 64), generator=generator(0))
    logits = make_logits(MULTICLASS, (2, 64, 64)).double()
    _, gradient = run(build_loss(name, MULTICLASS), logits, target)
    _, dice = run(build_loss("dice", MULTICLASS), logits, target)
    for kept in (slice(0, 3), slice(3, 4)):
        assert gradient[:, kept].abs().sum() > dice[:, kept].abs().sum() / 100


@pytest.mark.parametrize("name", ["generalized_dice", "mcc", "unified_focal"])
def test_a_mask_that_is_nearly_full_keeps_the_digits_of_one_that_is_nearly_empty(name: str) -> None:
    """V - P - Y + I of a million pixels, taken as a difference, is off by tenths of a pixel in float32."""
    size = (1, 1024, 1024)
    target = torch.ones(size, dtype=torch.long)
    target[0, 0, :10] = 0
    logits = 12 * (2.0 * target.unsqueeze(1) - 1) + make_logits(BINARY, size, scale=1)
    loss = build_loss(name, BINARY)
    for z, y in ((-logits, 1 - target), (logits, target)):
        with torch.no_grad():
            assert_close(loss(z, y).double(), loss(z.double(), y), rtol=1e-4, atol=0)


# ---- refused parameters -----------------------------------------------------------------------------------------

NUMBERS: dict[tuple[str, str], list[Any]] = {
    ("focal_tversky", "gamma"): [0, -1, math.nan, math.inf, "x", True],
    ("focal_tversky", "fp_weight"): [-0.1, math.inf, "x"],
    ("focal_tversky", "fn_weight"): [-0.1, math.nan, None],
    ("focal_tversky", "smooth"): [0, -1, math.nan, "x"],
    ("generalized_dice", "weighting"): ["squared", 2, None],
    ("generalized_dice", "smooth"): [0, -1, math.nan, "x"],
    ("mcc", "smooth"): [0, -1, math.nan, math.inf],
    ("unified_focal", "weight"): [-0.1, 1.1, math.nan, "x"],
    ("unified_focal", "delta"): [0, 1, -0.1, 1.1, math.nan],
    ("unified_focal", "gamma"): [-0.1, 1, 2, math.nan],
    ("unified_focal", "smooth"): [0, -1],
    ("poly", "epsilon"): [-1.1, math.nan, math.inf, "x", True],
    ("ohem", "share"): [0, -0.1, 1.1, math.nan, "x", True],
    ("cldice", "alpha"): [-0.1, 1.1, math.nan, "x"],
    ("cldice", "iterations"): [0, -1, 1.5, "x", True],
    ("cldice", "smooth"): [0, -1],
    ("boundary", "width"): [1, 2, 4, -3, 0, 3.5, "x", True],
    ("boundary", "tolerance"): [1, 2, 4, -3, 0, 3.5, "x", True],
    ("boundary", "smooth"): [0, -1, math.nan],
}
GROUPING: dict[tuple[str, str], list[Any]] = {
    (name, key): values
    for name, params in DEFAULTS.items()
    for key, values in {"reduce": ["images", None, 1], "include_background": ["no", 1, None], "sync": ["no", 1]}.items()
    if key in params or (key == "sync" and "reduce" in params and name != "lovasz")
}
REFUSED = [(name, key, value) for (name, key), values in (NUMBERS | GROUPING).items() for value in values]


@pytest.mark.parametrize(("name", "key", "value"), REFUSED)
def test_refused_parameters_name_the_loss_and_the_key(name: str, key: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        build_loss(name, BINARY, **{key: value})
    assert str(caught.value).startswith(f"{name}: {key} must be "), str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", [n for n in DEFAULTS if (n, "sync") in GROUPING])
def test_sync_needs_the_sums_of_the_batch(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name}: reduce \(with sync=true\) must be one of batch"):
        build_loss(name, BINARY, sync=True, reduce="image")


@pytest.mark.parametrize("name", DEFAULTS)
def test_unknown_parameters_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"loss {name}: each parameter must be one of"):
        build_loss(name, BINARY, beta=0.5)

"""Values: against the definitions, torch, torchvision and SMP; the identities between losses; refused parameters."""

from __future__ import annotations

import math
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision.ops import sigmoid_focal_loss

from segtrain.errors import UserError
from segtrain.losses import Combo, build_loss
from segtrain.task import ClassStats, Task
from tests.conftest import STATS, TASKS, make_logits, make_target
from tests.losses import oracle
from tests.losses.contract import check_empty, check_reference, run, same

BINARY, MULTICLASS, MULTILABEL = TASKS["binary"], TASKS["multiclass"], TASKS["multilabel"]
YES_OR_NO = {"binary": BINARY, "multilabel": MULTILABEL}
ROOTS = [1 / math.sqrt(share) for share in (0.6, 0.25, 0.1, 0.05)]
MEAN = sum(root * share for root, share in zip(ROOTS, (0.6, 0.25, 0.1, 0.05), strict=True))
AUTO = [root / MEAN for root in ROOTS]  # 1 / sqrt(share); a pixel weighs 1 in the mean
SHARES = {mode: [p / v for p, v in zip(s.positives, s.valid, strict=True)] for mode, s in STATS.items()}


def build(name: str, task: Task, **params: Any) -> nn.Module:
    return build_loss(name, task, STATS[task.mode], **params)


# ---- against the definitions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("task", YES_OR_NO.values(), ids=YES_OR_NO)
def test_bce(task: Task, smoothing: float) -> None:
    many = [0.3, 2.0, 5.0][: task.num_classes]
    for weight, weights in ((None, None), (3.0, [3.0] * 3), (many, many)):
        loss = build("bce", task, pos_weight=weight, label_smoothing=smoothing)
        check_reference(loss, task, oracle.bce(task, weights, smoothing))
    check_reference(build("ce", task, label_smoothing=smoothing), task, oracle.bce(task, None, smoothing))


@pytest.mark.parametrize(
    ("given_weights", "weights"), [(None, [1.0] * 4), ([1.0, 2.0, 0.5, 3.0], [1.0, 2.0, 0.5, 3.0]), ("auto", AUTO)]
)
def test_ce(given_weights: Any, weights: list[float]) -> None:
    check_reference(build("ce", MULTICLASS, class_weights=given_weights), MULTICLASS, oracle.ce(MULTICLASS, weights))


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_ce_is_torchs(weights: list[float] | None, smoothing: float) -> None:
    def torchs(logits: Tensor, target: Tensor) -> Tensor:
        weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        return F.cross_entropy(logits, target, weight, ignore_index=255, label_smoothing=smoothing)

    check_reference(build("ce", MULTICLASS, class_weights=weights, label_smoothing=smoothing), MULTICLASS, torchs)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("form", ["weighted", "hed"])
@pytest.mark.parametrize("task", YES_OR_NO.values(), ids=YES_OR_NO)
def test_balanced_bce(task: Task, form: str, normalize: bool) -> None:
    shares = SHARES[task.mode]
    auto = [1 - f if form == "hed" else (1 - f) / f for f in shares]
    many = [0.3, 0.6, 0.9][: task.num_classes]
    for beta, betas in (("auto", auto), (0.8, [0.8] * 3), (many, many)):
        loss = build("balanced_bce", task, form=form, beta=beta, normalize=normalize)
        check_reference(loss, task, oracle.balanced(task, form, betas, shares if normalize else None))


@pytest.mark.parametrize("form", ["weighted", "hed"])
@pytest.mark.parametrize("task", YES_OR_NO.values(), ids=YES_OR_NO)
def test_balanced_bce_per_batch_keeps_a_gradient_on_empty_masks(task: Task, form: str) -> None:
    loss = build("balanced_bce", task, form=form, beta="batch")
    check_reference(loss, task, oracle.balanced(task, form))
    check_empty(loss, task)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("weighted", ["null", "numbers", "auto"])
def test_focal(task: Task, gamma: float, weighted: str) -> None:
    many = [0.25, 0.5, 0.9, 0.1][: task.num_classes]
    auto = AUTO if task.exclusive else [1 - share for share in SHARES[task.mode]]
    alpha, values = {"null": (None, None), "numbers": (many, many), "auto": ("auto", auto)}[weighted]
    check_reference(build("focal", task, gamma=gamma, alpha=alpha), task, oracle.focal(task, gamma, values))


@pytest.mark.parametrize("reduce", ["batch", "image"])
@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("smooth", [1.0, 0.01, 100.0])
def test_region(task: Task, reduce: str, include_background: bool, smooth: float) -> None:
    shared: dict[str, Any] = {"reduce": reduce, "include_background": include_background}
    cases = {
        "dice": ({}, oracle.dice(smooth)),
        "jaccard": ({}, lambda i, p, y: (i + smooth) / (p + y - i + smooth)),
        "tversky": ({"fp_weight": 0.2, "fn_weight": 1.5}, oracle.tversky(0.2, 1.5, smooth)),
    }
    for name, (params, formula) in cases.items():
        loss = build(name, task, smooth=smooth, **params, **shared)
        check_reference(loss, task, oracle.region(task, formula, **shared))
    loss = build("dice", task, smooth=smooth, squared=True, **shared)
    check_reference(loss, task, oracle.region(task, oracle.dice(smooth), squared=True, **shared))


def test_defaults(task: Task) -> None:
    check_reference(build("focal", task), task, oracle.focal(task, 2.0))
    check_reference(build("dice", task), task, oracle.region(task, oracle.dice(1)))
    check_reference(build("jaccard", task), task, oracle.region(task, oracle.tversky(1, 1, 1)))
    check_reference(build("tversky", task), task, oracle.region(task, oracle.tversky(0.3, 0.7, 1)))


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky"])
def test_images_without_labels_are_left_out_of_the_mean(name: str, task: Task) -> None:
    loss = build(name, task, reduce="image")
    logits, target = make_logits(task), make_target(task)
    target[1] = task.ignore_index
    value, gradient = run(loss, logits, target)
    expected, slope = run(loss, logits[[0, 2]], target[[0, 2]])
    same((value, gradient[[0, 2]]), (expected, slope), rtol=1e-6)
    assert (gradient[1] == 0).all()


# By hand, at logits 0: p = 1/2, or 1/4 of four classes. Four pixels, half of them foreground: I = 1, P = Y = 2.
HALF = [
    ("bce", {}, math.log(2)),
    ("ce", {}, math.log(2)),
    ("bce", {"pos_weight": 3.0}, 2 * math.log(2)),
    ("balanced_bce", {"beta": 3.0}, 2 * math.log(2)),
    ("balanced_bce", {"form": "hed", "beta": 0.9}, math.log(2)),
    ("focal", {}, math.log(2) / 4),
    ("focal", {"alpha": 0.25}, math.log(2) / 8),
    ("dice", {}, 0.4),
    ("dice", {"squared": True}, 0.25),
    ("dice", {"smooth": 5}, 1 - 7 / 9),
    ("jaccard", {}, 0.5),
    ("tversky", {}, 1 / 3),
    ("tversky", {"fp_weight": 1.0, "fn_weight": 0.0}, 1 / 3),
]


@pytest.mark.parametrize(("name", "params", "value"), HALF)
def test_by_hand(name: str, params: dict[str, Any], value: float) -> None:
    target = torch.tensor([[[0, 1, 255], [1, 0, 255]]])
    assert_close(float(build(name, BINARY, **params)(torch.zeros(1, 1, 2, 3), target)), value, rtol=1e-6, atol=0)


def test_absent_classes_stay_in_the_mean() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.long)  # class 0 alone: I = 1, P = 1, Y = 4; the others P = 1, I = Y = 0
    value = build("dice", MULTICLASS)(torch.zeros(1, 4, 2, 2), target)
    assert_close(float(value), ((1 - 3 / 6) + 3 * (1 - 1 / 2)) / 4)


# ---- against other libraries, where they are right --------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0])
@pytest.mark.parametrize("alpha", [None, 0.25, 0.9])
def test_focal_is_torchvisions_and_smps(gamma: float, alpha: float | None) -> None:
    logits, target = make_logits(BINARY), make_target(BINARY)
    value = build("focal", BINARY, gamma=gamma, alpha=alpha)(logits, target)
    valid = target != 255
    z, y = logits.squeeze(1)[valid], target[valid].float()
    assert_close(value, sigmoid_focal_loss(z, y, -1 if alpha is None else alpha, gamma, reduction="mean"))
    theirs = smp.losses.FocalLoss("binary", alpha=alpha, gamma=gamma, ignore_index=255)
    assert_close(value, theirs(logits, target.unsqueeze(1)))


def test_region_losses_are_smps_where_no_class_is_absent(task: Task) -> None:
    """SMP's Dice smooth=s is the classic 2 s (2 I + 2 s over P + Y + 2 s); nothing is ignored here."""
    logits, target = make_logits(task), make_target(task, ignored=0)
    cases = {
        ("dice", 1.0): smp.losses.DiceLoss(task.mode, smooth=0.5),
        ("jaccard", 2.0): smp.losses.JaccardLoss(task.mode, smooth=2.0),
        ("tversky", 1.0): smp.losses.TverskyLoss(task.mode, alpha=0.3, beta=0.7, smooth=1.0),
    }
    for (name, smooth), theirs in cases.items():
        assert_close(build(name, task, smooth=smooth)(logits, target), theirs(logits, target))


def test_pos_weight_is_torchs() -> None:
    logits, target = make_logits(MULTILABEL), make_target(MULTILABEL, ignored=0)
    weight = torch.tensor([0.5, 2.0, 7.0])
    expected = F.binary_cross_entropy_with_logits(logits, target.float(), pos_weight=weight[:, None, None])
    assert_close(build("bce", MULTILABEL, pos_weight=weight.tolist())(logits, target), expected)


# ---- identities ---------------------------------------------------------------------------------------------------

SEEDS = st.integers(0, 2**31 - 2)
SCALES = st.floats(0.1, 10)
IGNORED = st.floats(0, 0.9)
MODES = st.sampled_from(list(TASKS))


def batch(task: Task, seed: int, scale: float, ignored: float) -> tuple[Tensor, Tensor]:
    size = (1 + seed % 3, 1 + seed % 5, 2 + seed % 4)
    return make_logits(task, size, scale, seed).double(), make_target(task, size=size, ignored=ignored, seed=seed + 1)


def agree(given: nn.Module, expected: nn.Module, factor: float, logits: Tensor, target: Tensor) -> None:
    """given == factor * expected, in value and gradient; parameters are kept in float32, hence the tolerance."""
    value, gradient = run(expected, logits, target)
    same(run(given, logits, target), (factor * value, factor * gradient), rtol=1e-6, atol=1e-12)


@given(mode=MODES, seed=SEEDS, scale=SCALES, ignored=IGNORED, b=st.floats(0.01, 0.98), s=st.floats(0.01, 100))
def test_identities(mode: str, seed: int, scale: float, ignored: float, b: float, s: float) -> None:
    task = TASKS[mode]
    logits, target = batch(task, seed, scale, ignored)
    identities = [
        (("focal", {"gamma": 0}), 1, ("ce", {})),
        (("tversky", {"fp_weight": 0.5, "fn_weight": 0.5, "smooth": s / 2}), 1, ("dice", {"smooth": s})),
        (("tversky", {"fp_weight": 1, "fn_weight": 1, "smooth": s}), 1, ("jaccard", {"smooth": s})),
    ]
    if mode != "multiclass":
        weighted, hed = {"form": "weighted"}, {"form": "hed"}
        identities += [
            (("focal", {"gamma": 0}), 1, ("bce", {})),
            (("focal", {"gamma": 0, "alpha": 0.5}), 0.5, ("bce", {})),
            (("balanced_bce", {**weighted, "beta": 1}), 1, ("bce", {})),
            (("balanced_bce", {**hed, "beta": 0.5}), 1, ("bce", {})),
            (("balanced_bce", {**hed, "beta": b}), 2 * (1 - b), ("balanced_bce", {**weighted, "beta": b / (1 - b)})),
            (("bce", {"pos_weight": s}), 1, ("balanced_bce", {**weighted, "beta": s})),
            (("ce", {}), 1, ("bce", {})),
        ]
    for (name, params), factor, (other, others) in identities:
        agree(build(name, task, **params), build(other, task, **others), factor, logits, target)


@given(seed=SEEDS, scale=SCALES, ignored=IGNORED, gamma=st.floats(0, 5))
def test_two_classes_with_logits_0_and_z_are_binary(seed: int, scale: float, ignored: float, gamma: float) -> None:
    logits, target = batch(BINARY, seed, scale, ignored)
    pair, two = torch.cat([torch.zeros_like(logits), logits], 1), Task(mode="multiclass", num_classes=2)
    for name, params, binary in (("ce", {}, "bce"), ("focal", {"gamma": gamma}, "focal")):
        value, gradient = run(build_loss(name, two, **params), pair, target)
        same((value, gradient[:, 1:]), run(build_loss(binary, BINARY, **params), logits, target), 1e-9, 1e-12)


@given(mode=MODES, seed=SEEDS, scale=SCALES, gamma=st.floats(0, 5), smooth=st.floats(0.01, 100))
def test_properties_of_all_inputs(mode: str, seed: int, scale: float, gamma: float, smooth: float) -> None:
    task = TASKS[mode]
    logits, target = batch(task, seed, scale, 0.2)
    plain, focal = build("ce", task)(logits, target), build("focal", task, gamma=gamma)(logits, target)
    assert 0 <= focal <= plain * (1 + 1e-9)  # focusing only takes away
    dice, jaccard = (build(name, task, smooth=smooth)(logits, target) for name in ("dice", "jaccard"))
    assert 0 <= dice <= jaccard + 1e-12 < 1
    order = torch.randperm(len(logits))
    assert_close(build("dice", task)(logits[order], target[order]), build("dice", task)(logits, target))


# ---- behaviour that the parameters promise ---------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1e-3, 0.1, 0.5, 0.999])
def test_focal_below_one_is_finite_where_p_is_one(gamma: float, task: Task) -> None:
    """(1 - p)^gamma has an infinite slope at p = 1."""
    target = make_target(task)
    for margin in (5.0, 16.0, 17.0, 40.0, 90.0, 103.0, 110.0, 1e4):
        known = target.masked_fill(target == 255, 0)
        hot = F.one_hot(known, 4).movedim(-1, 1) if task.exclusive else known.view(make_logits(task).shape)
        value, gradient = run(build("focal", task, gamma=gamma), margin * (2.0 * hot - 1), target)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert gradient.abs().max() <= 1


@pytest.mark.parametrize(("beta", "direction"), [(3.0, -1), (1 / 3, 1)])
def test_beta_trades_false_negatives_for_false_positives(beta: float, direction: int) -> None:
    """At p = 1/2 with as many positives as negatives, beta > 1 raises probabilities (fewer false negatives)."""
    _, gradient = run(build("balanced_bce", BINARY, beta=beta), torch.zeros(1, 1, 1, 2), torch.tensor([[[0, 1]]]))
    assert gradient.sum() * direction > 0


@pytest.mark.parametrize("share", [0.06, 0.5, 0.9])
def test_hed_has_mean_weight_four_f_one_minus_f_unless_normalized(share: float) -> None:
    stats = ClassStats([round(100 * share)], [100], [100], 1)
    target = (torch.arange(100) < 100 * share).long().view(1, 10, 10)
    for normalize, factor in ((False, 4 * share * (1 - share)), (True, 1.0)):
        loss = build_loss("balanced_bce", BINARY, stats, form="hed", normalize=normalize)
        assert_close(float(loss(torch.zeros(1, 1, 10, 10), target)), factor * math.log(2), rtol=1e-5, atol=0)


@pytest.mark.filterwarnings("ignore:.*no training pixel is")
@pytest.mark.parametrize("positives", [0, 1000])
def test_automatic_weights_stay_finite_for_a_class_that_never_or_always_occurs(positives: int) -> None:
    stats = ClassStats([positives], [1000], [1000], 1)
    clamped = {0: 999.0, 1000: 1 / 999}[positives]
    auto = build_loss("balanced_bce", BINARY, stats)
    agree(auto, build_loss("balanced_bce", BINARY, beta=clamped), 1, make_logits(BINARY), make_target(BINARY))
    absent = ClassStats([900, 100, 0, 0], [1000] * 4, [1000] * 4, 1)
    weights = build_loss("ce", MULTICLASS, absent, class_weights="auto").weight
    raw = torch.tensor([0.9, 0.1, 0.1, 0.1]).rsqrt()  # absent classes count as the rarest
    assert_close(weights, raw / (0.9 * raw[0] + 0.1 * raw[1]))


def test_alpha_of_a_quarter_lowers_the_weight_of_the_foreground() -> None:
    logits = make_logits(BINARY)
    for kind, factor in (("full", 0.25), ("empty", 0.75)):
        given = build("focal", BINARY, alpha=0.25), build("focal", BINARY), factor
        agree(*given, logits, make_target(BINARY, kind))


# ---- refused parameters --------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("focal", "binary", {"gamma": "abc"}, "focal: gamma must be a number >= 0, got 'abc'"),
    ("focal", "binary", {"gamma": -1}, "focal: gamma must be a number >= 0, got -1"),
    ("focal", "binary", {"gamma": math.nan}, "focal: gamma must be a number >= 0, got nan"),
    ("focal", "binary", {"gamma": True}, "focal: gamma must be a number >= 0, got True"),
    ("focal", "binary", {"alpha": 1.5}, "focal: alpha must be a number in [0, 1], got 1.5"),
    ("focal", "binary", {"alpha": "automatic"}, "focal: alpha must be one of auto; got 'automatic'"),
    ("focal", "multilabel", {"alpha": [0.1, 0.2]}, "focal: alpha needs one number or 3, one per class; got 2"),
    ("focal", "multiclass", {"alpha": 0.25}, "focal: alpha in multiclass is a list of 4 weights or auto, got 0.25"),
    ("focal", "multiclass", {"alpha": [1, 2]}, "focal: alpha needs one number or 4, one per class; got 2"),
    ("focal", "multiclass", {"alpha": [1, 1, 1, -1]}, "focal: alpha must be a number >= 0, got -1"),
    ("bce", "binary", {"pos_weight": 0}, "bce: pos_weight must be a number > 0, got 0"),
    ("bce", "multilabel", {"pos_weight": [1, 2]}, "bce: pos_weight needs one number or 3, one per class; got 2"),
    ("bce", "binary", {"label_smoothing": 1}, "bce: label_smoothing must be a number in [0, 0.999], got 1"),
    ("ce", "multiclass", {"label_smoothing": -0.1}, "ce: label_smoothing must be a number in [0, 0.999], got -0.1"),
    ("ce", "binary", {"class_weights": [1]}, "ce: class_weights need a multiclass task, this one is binary"),
    ("ce", "multiclass", {"class_weights": "atuo"}, "enet, effective; got 'atuo' - did you mean auto?"),
    ("ce", "multiclass", {"class_weights": [1, 2]}, "ce: class_weights needs one number or 4, one per class; got 2"),
    ("balanced_bce", "binary", {"form": "hde"}, "form must be one of weighted, hed; got 'hde' - did you mean hed?"),
    ("balanced_bce", "binary", {"beta": -1}, "balanced_bce (weighted form): beta must be a number > 0, got -1"),
    ("balanced_bce", "binary", {"beta": 0}, "balanced_bce (weighted form): beta must be a number > 0, got 0"),
    ("balanced_bce", "binary", {"form": "hed", "beta": 2}, "balanced_bce (hed form): beta must be a number > 0 and <"),
    ("balanced_bce", "binary", {"form": "hed", "beta": 1}, "balanced_bce (hed form): beta must be a number > 0 and <"),
    ("balanced_bce", "binary", {"beta": "atuo"}, "beta must be a number > 0, got 'atuo'"),
    ("balanced_bce", "binary", {"beta": "batch", "normalize": True}, "normalize needs a fixed beta"),
    ("balanced_bce", "binary", {"normalize": "maybe"}, "balanced_bce: normalize must be true or false, got 'maybe'"),
    ("dice", "binary", {"smooth": 0}, "dice: smooth must be a number > 0, got 0"),
    ("dice", "binary", {"squared": 1}, "dice: squared must be true or false, got 1"),
    ("dice", "binary", {"reduce": "images"}, "reduce must be one of batch, image; got 'images' - did you mean image?"),
    ("dice", "binary", {"sync": True, "reduce": "image"}, "reduce (with sync=true) must be one of batch"),
    ("jaccard", "binary", {"include_background": "no"}, "jaccard: include_background must be true or false, got 'no'"),
    ("jaccard", "binary", {"smooth": "x"}, "jaccard: smooth must be a number > 0, got 'x'"),
    ("tversky", "binary", {"fp_weight": -0.1}, "tversky: fp_weight must be a number >= 0, got -0.1"),
    ("tversky", "binary", {"fn_weight": math.inf}, "tversky: fn_weight must be a number >= 0, got inf"),
    ("focal", "binary", {"gama": 2}, "got 'gama' - did you mean gamma?"),
    ("tversky", "binary", {"alpha": 0.3}, "loss tversky: each parameter must be one of fn_weight, fp_weight"),
    ("dise", "binary", {}, "got 'dise' - did you mean dice?"),
]


@pytest.mark.parametrize(("name", "mode", "params", "message"), REFUSED)
def test_refused_parameters(name: str, mode: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(name, TASKS[mode], **params)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "mode", "params"),
    [
        ("balanced_bce", "binary", {}),
        ("balanced_bce", "binary", {"beta": 2.0, "normalize": True}),
        ("focal", "binary", {"alpha": "auto"}),
        ("focal", "multiclass", {"alpha": "auto"}),
        ("ce", "multiclass", {"class_weights": "auto"}),
    ],
)
def test_auto_needs_the_statistics(name: str, mode: str, params: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{name}: .* needs the statistics of a training set"):
        build_loss(name, TASKS[mode], **params)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"dicee": 1}, "loss.weights: each key must be one of dice, ce; got 'dicee' - did you mean dice?"),
        ({"dice": -1}, "loss.weights.dice must be a number >= 0, got -1"),
        ({"ce": "a"}, "loss.weights.ce must be a number >= 0, got 'a'"),
    ],
)
def test_refused_weights_of_a_combo(weights: dict[str, Any], message: str, task: Task) -> None:
    with pytest.raises(UserError) as caught:
        Combo({name: build_loss(name, task) for name in ("dice", "ce")}, weights)
    assert message in str(caught.value)


def test_a_combo_needs_a_term() -> None:
    with pytest.raises(UserError, match="at least one term"):
        Combo({})

"""Judges of what a loss means: which pixels count, what is cheapest, what pushes where.

A judge passes where an example says nothing about its promise.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from segtrain.contract.examples import Example, generator, ignored_entries, make_logits
from segtrain.contract.promise import Subject, demand, run, same
from segtrain.task import Task, valid_mask

OTHER_INDEX = -1
SURELY = "costs of sure logits (40 where the target has the class, -40 elsewhere) and of the others"
ENOUGH = 32  # pixels, for smoothing terms to be small
DILUTION = 0.15  # may change; smoothing and borders of regions do a little
SURE = 40.0  # a logit whose sigmoid is 1 in float32


def judge_ignored(subject: Subject, example: Example) -> None:
    """Value and gradient do not depend on the logits at ignored pixels, not even on inf and NaN."""
    logits, target = example
    ignored = ignored_entries(target, subject.task)
    expected = run(subject.loss, *example)
    demand((expected[1][ignored] == 0).all(), "the gradient at ignored pixels is not 0", expected)
    for fill in (0.0, 37.0, -1e4, torch.inf, -torch.inf, torch.nan):
        given = run(subject.loss, logits.masked_fill(ignored, fill), target)
        same(given, expected, kind="depends on logits at ignored pixels", detail=f"with {fill:g} there")


def judge_index(subject: Subject, example: Example) -> None:
    """Value and gradient do not depend on the ids at ignored pixels: any ignore index gives the same."""
    task = replace(subject.task, ignore_index=OTHER_INDEX)
    target = example.target.masked_fill(~valid_mask(example.target, subject.task), OTHER_INDEX)
    given = run(subject.build(task), example.logits, target)
    same(
        given, run(subject.loss, *example), kind="depends on the ignore index", detail=f"{OTHER_INDEX} in place of 255"
    )


def judge_dilution(subject: Subject, example: Example) -> None:
    """Ignored pixels do not dilute the value: of two equal halves of a picture one may be ignored."""
    logits, target = example
    valid = valid_mask(target, subject.task)
    if not valid.all() or target.shape[-1] * target.shape[-2] < ENOUGH:
        return
    ignored = torch.full_like(target, subject.task.ignore_index)
    whole, half = (torch.cat([target, other], -1) for other in (target, ignored))
    twice = torch.cat([logits, logits], -1)
    expected, given = _value(subject, twice, whole), _value(subject, twice, half)
    near = (given - expected).abs() <= DILUTION * expected.abs()
    demand(near, "ignoring one of two equal halves changes the value", given, expected, "this picture, twice in a row")


def judge_all_ignored(subject: Subject, example: Example) -> None:
    """A batch without labels gives exactly 0, connected to the graph, with gradient 0."""
    if valid_mask(example.target, subject.task).any():
        return
    value, gradient = run(subject.loss, *example)
    demand(value == 0, "the value of a batch without labels is not 0", value, 0.0)
    demand((gradient == 0).all(), "the gradient of a batch without labels is not 0", gradient)


def judge_empty(subject: Subject, example: Example) -> None:
    """On an empty mask every valid pixel's gradient pushes the foreground's probability down, strictly."""
    task, valid = subject.task, ~ignored_entries(example.target, subject.task)
    if not valid.any() or (example.target[valid_mask(example.target, task)] != 0).any():
        return
    value, gradient = run(subject.loss, *example)
    demand(value.isfinite() and gradient.isfinite().all(), "not finite on an empty mask", (value, gradient))
    # multiclass: the background's logit must go up, so that the others' probability goes down
    down = -gradient[:, :1][valid[:, :1]] if task.exclusive else gradient[valid]
    demand((down > 0).all(), "the gradient on an empty mask does not push every valid pixel down", gradient)


def judge_permutation(subject: Subject, example: Example) -> None:
    """The order of the images changes nothing beyond rounding."""
    logits, target = example
    value, gradient = run(subject.loss, logits, target)
    given = run(subject.loss, logits.roll(1, 0), target.roll(1, 0))
    same(given, (value, gradient.roll(1, 0)), 1e-5, 1e-7, kind="depends on the order of the images")


def judge_right(subject: Subject, example: Example) -> None:
    """For hard targets with all classes, the right labels cost less, at some confidence, than any others."""
    perfect = perfect_logits(example.target, subject.task)
    if perfect is None:
        return
    least = torch.stack([_value(subject, share * perfect, example.target) for share in (0.05, 0.1, 0.2, 1)]).min()
    for name, other in _others(perfect, subject.task):
        cost = _value(subject, other, example.target)
        demand(least < cost, f"the right labels cost no less than {name}", least, cost)


def judge_perfect(subject: Subject, example: Example) -> None:
    """For hard targets with all classes, the perfect prediction is the minimum, and next to 0."""
    perfect = perfect_logits(example.target, subject.task)
    if perfect is None:
        return
    least, most = (_value(subject, z, example.target) for z in (perfect, -perfect))
    for name, other in _others(perfect, subject.task):
        cost = _value(subject, other, example.target)
        demand(least < cost, f"a perfect prediction costs no less than {name}", least, cost, SURELY)
    kind = "a perfect prediction costs more than a hundredth of an entirely wrong one (activated twice?)"
    demand(least.abs() <= 0.01 * most, kind, least, 0.0, f"entirely wrong {most:g}")


def judge_deleting(subject: Subject, example: Example) -> None:
    """Ignoring pixels is the same as deleting them (pixel-wise and batch-region losses)."""
    logits, target = example
    valid = valid_mask(target, subject.task)
    kept = valid.all(1) if target.ndim == 4 else valid
    if not kept.any() or (target.ndim == 4 and (valid.any(1) != kept).any()):
        return
    value, gradient = run(subject.loss, logits, target)
    ids = target.movedim(1, -1)[kept].mT.unsqueeze(1) if target.ndim == 4 else target[kept].unsqueeze(0)
    expected, slope = run(subject.loss, logits.movedim(1, -1)[kept].mT[None, :, None], ids[None])
    close = (1e-9, 1e-12) if value.dtype == torch.float64 else (1e-5, 1e-7)
    given = value, gradient.movedim(1, -1)[kept].mT
    same(given, (expected, slope[0, :, 0]), *close, kind="changes when ignored pixels are deleted")


def judge_mean(subject: Subject, example: Example) -> None:
    """The value is a mean over the valid pixels: parts of the batch weigh as many pixels as they have."""
    valid = valid_mask(example.target, subject.task)
    counts = valid.flatten(1).sum(1)
    if not counts.any():
        return
    whole = _value(subject, *example)
    parts = torch.stack([_value(subject, z[None], y[None]) for z, y in zip(*example, strict=True)])
    mean = (parts * counts).sum() / counts.sum()
    demand(torch.isclose(whole, mean.to(whole.dtype), 1e-5, 1e-7), "the value is not the parts' mean", whole, mean)


def perfect_logits(target: Tensor, task: Task) -> Tensor | None:
    """Logits that are sure of the target everywhere; None where not every class occurs among the valid pixels."""
    known = target.masked_fill(~valid_mask(target, task), 0).long()
    hot = nn.functional.one_hot(known, task.num_classes).movedim(-1, 1) if task.exclusive else known
    hot = hot.view(len(hot), task.num_classes, *target.shape[-2:])
    valid = ~ignored_entries(target, task)
    both = (hot == 1) & valid, (hot == 0) & valid
    if not all(found.any(3).any(2).any(0).all() for found in both):
        return None
    return SURE * (2.0 * hot - 1)


def _others(perfect: Tensor, task: Task) -> list[tuple[str, Tensor]]:
    """Predictions that are not perfect, by name."""
    size = len(perfect), *perfect.shape[-2:]
    flip = torch.rand(perfect.shape, generator=generator(7)) < 0.2
    flip.view(-1)[0] = True
    random = [(f"random logits of scale {s}", make_logits(task, size, s, seed=s)) for s in (1, 10, 40)]
    return [
        ("its opposite", -perfect),
        ("logits of 0", 0 * perfect),
        ("an unsure one", 0.02 * perfect),
        *random,
        ("one with a fifth of the logits reversed", torch.where(flip, -perfect, perfect)),
    ]


def _value(subject: Subject, logits: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        return subject.loss(logits, target)

"""What a training says before its first epoch and after its last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segtrain.assemble import Parts, Request
from segtrain.callbacks import BEST
from segtrain.console import listed, score_table
from segtrain.labels import absence
from segtrain.losses import Combo
from segtrain.resume import Resume
from segtrain.trainer import limits


def headline(parts: Parts, request: Request, folder: Path, resume: Resume | None) -> str:
    """What is trained, on what, and where it goes.

    Args:
        parts: of the training.
        request: what was asked for.
        folder: of the run.
        resume: where it goes on; None for a new run.
    """
    source, module = parts.source, parts.module
    counts = ", ".join(f"{len(examples.ids)} {split}" for split, examples in source.splits.items())
    names = listed(source.task.names)
    said = [*source.notes, *parts.data.plan.notes]
    notes = "".join(f"\n       {note}" for note in said)
    parameters = sum(p.numel() for p in module.net.parameters()) / 1e6
    how = f"continues at step {resume.step} in" if resume is not None else "in"
    return (
        f"data   {source.name}: {counts} images; {source.task.mode}: {names}{notes}\n"
        f"{absence(source)}"
        f"model  {request.choices.get('model')}, {parameters:.1f} M parameters; loss {_loss_in_words(parts, request)}\n"
        f"{_chosen(parts)}"
        f"{_derived(parts)}"
        f"{_limited(parts)}"
        f"{_warned(parts)}"
        f"run    {how} {folder}"
    )


def _loss_in_words(parts: Parts, request: Request) -> str:
    """The loss; of a combination also its terms and their weights."""
    loss, name = parts.module.loss, str(request.choices.get("loss"))
    if parts.choice is not None:
        name = f"auto, here {parts.choice.loss}"
    if not isinstance(loss, Combo):
        return name
    loss.epoch = 0
    start = {term: loss.weight(term) for term in loss.terms}
    loss.epoch = None
    return f"{name} = " + " + ".join(
        f"{start[term]:g}..{loss.weight(term):g} {term}"
        if term in loss.ramps
        else term
        if start[term] == 1
        else f"{start[term]:g} {term}"
        for term in loss.terms
    )


def _derived(parts: Parts) -> str:
    """What losses computed from the training set, such as class weights; a line for each, or nothing."""
    lines = []
    for loss in parts.module.loss.modules():
        for key, values in getattr(loss, "derived", {}).items():
            pairs = [f"{name} {value:.3g}" for name, value in zip(parts.source.task.names, values, strict=True)]
            lines.append(f"       {key} from the training set: {listed(pairs, most=40)}\n")
    return "".join(lines)


def _chosen(parts: Parts) -> str:
    """Why `loss=auto` chose what it did; a line, or nothing."""
    return "" if parts.choice is None else f"       loss=auto: {parts.choice.reason}\n"


def _limited(parts: Parts) -> str:
    """That only a part of the images counts; a line, or nothing."""
    most = [f"{number} of {split}" for split, number in limits(parts.config.trainer).items()]
    return f"limit  at most {', '.join(most)} batches: losses and scores are of those alone\n" if most else ""


def of_part(parts: Parts) -> str:
    """For the title of a table: that a part of the split was scored; nothing where all of it was."""
    most = limits(parts.config.trainer).get("test")
    return "" if most is None else f", its first {most} batch{'es' * (most > 1)} alone"


def _warned(parts: Parts) -> str:
    """What looks wrong in the data; a line for each, or nothing."""
    return "".join(f"warning: {sentence}\n" for sentence in parts.source.warnings)


def closing(parts: Parts, folder: Path, tested: Path, scores: Mapping[str, float], summary: Mapping[str, Any]) -> str:
    """How it ended, and the commands that follow.

    Args:
        parts: of the training.
        folder: of the run.
        tested: the checkpoint that was scored.
        scores: of the test split, by tag; empty where there is none.
        summary: as summary.json has it.
    """
    best, monitor = summary["val_best"], parts.config.monitor
    which = f"best epoch {best['epoch']}" if best["epoch"] is not None else tested.name
    title = f"test split{of_part(parts)}, {which}"
    lines = [score_table(scores, "test", parts.source.task, title)] if scores else []
    if best["epoch"] is not None:
        lines.append(f"{which}: {monitor} {best['score']}")
    else:
        lines.append(
            f"warning: monitor={monitor} was not a number in any epoch, so there is no {BEST}"
            f"{f' and {which} was scored instead' if scores else ''}; "
            "monitor another score, or look whether the validation masks hold what it scores"
        )
    lines += [
        str(folder),
        "",
        f"  segtrain predict run={folder} input=IMAGES output=MASKS",
        f"  segtrain evaluate run={folder} split=val",
        f"  tensorboard --logdir {parts.config.output_dir}",
    ]
    return "\n".join(lines)

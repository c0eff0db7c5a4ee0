"""What losses do, side by side: curves of configured losses, as a table and as a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from segtrain import checks
from segtrain.build import build_loss_of, settle_loss, with_task
from segtrain.contract.promise import Broken, Loss
from segtrain.errors import UserError
from segtrain.explain.curves import (
    PixelCurve,
    ShareCurve,
    at,
    checked_share,
    pixel_curve,
    share_curve,
    statistics,
)
from segtrain.explain.notes import grouped, notes
from segtrain.task import Task

CLASSES = {"binary": 1, "multiclass": 3, "multilabel": 2}  # where the command says nothing
SHOWN_P, SHOWN_SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99), (0.001, 0.01, 0.05, 0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Explained:
    """The curves of one loss.

    Args:
        label: the loss and its parameters.
        foreground: of a pixel in the middle of the disc.
        background: of a pixel in a corner.
        shares: of the whole picture.
        notes: what must be said beside them, without the label.
    """

    label: str
    foreground: PixelCurve
    background: PixelCurve
    shares: ShareCurve
    notes: Sequence[str] = ()


def explain(config: DictConfig, label: str, allow: Sequence[str] = ()) -> Explained:
    """Compute the curves of a configured loss.

    Args:
        config: conf/explain.yaml, composed.
        label: for legends.
        allow: packages whose code the configuration may name.

    Raises:
        UserError: whatever the task or the loss refuses.
    """
    task = make_task(config)
    checks.number("epochs", config.epochs, above=0)
    if config.stats is not None:
        raise UserError(f"stats={config.stats}: the class statistics are made from share; leave stats out")

    def built(share: float) -> Loss:
        return build_for(config, task, share, allow)

    share, others = checked_share(config.share), config.others
    loss = built(share)
    try:
        pixels = [pixel_curve(loss, task, each, share, others) for each in (1, 0)]
        said = notes(loss, task, share, others, pixels)
        return Explained(label, pixels[0], pixels[1], share_curve(built, task, others), said)
    except UserError:
        raise
    except Exception as error:
        what = str(error) if isinstance(error, Broken) else f"it raises {type(error).__name__}: {error}"
        raise UserError(f"loss {label}: {what}; segtrain test-loss tries it on small examples") from error


def make_task(config: DictConfig) -> Task:
    """The task of the configuration; as many classes as CLASSES says where it says nothing."""
    given: Any = OmegaConf.to_container(config.task, resolve=True)
    fields = {key: value for key, value in given.items() if value is not None and key != "_target_"}
    return Task(**{"num_classes": CLASSES.get(fields["mode"], 1), **fields})


def build_for(config: DictConfig, task: Task, share: float, allow: Sequence[str]) -> Loss:
    """The loss, as for a training set with this share of foreground."""
    stats = statistics(share, task)
    config = with_task(config, task, stats)
    settle_loss(config, task, stats)
    loss: Loss = build_loss_of(config, allow)
    return loss


def note_lines(losses: Sequence[Explained]) -> list[str]:
    """What must be said beside the curves of these losses."""
    return grouped([one.label for one in losses], [one.notes for one in losses])


def table(losses: Sequence[Explained]) -> str:
    """The curves at a few places: a pixel by its probability, the picture by its share of foreground."""
    from rich.console import Console
    from rich.table import Table

    text = io.StringIO()
    console = Console(file=text, width=110, color_system=None)
    for what in ("foreground", "background"):
        rows = Table(f"a {what} pixel", "", *(f"p={p:g}" for p in SHOWN_P))
        for word, name in (("loss", "cost"), ("dL/dz", "slope")):
            for one in losses:
                curve = getattr(one, what)
                rows.add_row(one.label, word, *map(_cell, at(curve.p, getattr(curve, name), SHOWN_P)))
            rows.add_section()
        console.print(rows)
    rows = Table("the whole picture", "", *(f"{100 * share:g} % fg" for share in SHOWN_SHARES))
    for word, name in (("loss", "value"), ("pull fg/bg", "balance")):
        for one in losses:
            rows.add_row(one.label, word, *map(_cell, at(one.shares.share, getattr(one.shares, name), SHOWN_SHARES)))
        rows.add_section()
    console.print(rows)
    return "\n".join([text.getvalue().rstrip(), *note_lines(losses)])


def _cell(value: float) -> str:
    if not math.isfinite(value):  # no gradient on one side, as in a hinge loss whose pixels are all right enough
        return "-"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"

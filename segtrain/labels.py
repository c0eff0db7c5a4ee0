"""Whether the training masks hold what is to be learned: said before training, whatever the data was read from."""

from __future__ import annotations

from segtrain.console import listed
from segtrain.data import DataSource
from segtrain.errors import UserError


def check_labels(source: DataSource) -> None:
    """Refuse training masks in which there is nothing to tell apart.

    Of masks that were not all counted nothing is refused; `absence` says what was not found.

    Raises:
        UserError: everything is ignored, or all that is labelled is of one class.
    """
    absent, classes = len(absent_classes(source)), source.task.num_classes
    enough = {"binary": absent == 0, "multiclass": absent < classes - 1, "multilabel": absent < classes}
    if enough[source.task.mode] or not _all_counted(source):
        return
    notes = f" ({'; '.join(source.notes)})" if source.notes else ""
    raise UserError(
        f"data {source.name}{notes}: {_found(source)}, so there is nothing to learn; "
        "correct the masks, or say what their ids mean, see docs/data.md"
    )


def absence(source: DataSource) -> str:
    """A line of warning that names the classes without a training pixel, or nothing."""
    if not absent_classes(source):
        return ""
    advice = "what never occurs is not learned, so correct the masks or leave it out"
    if not _all_counted(source):
        advice = "it can only be learned from the others"
    return f"warning: {_found(source)}; {advice}\n"


def absent_classes(source: DataSource) -> list[str]:
    """Names of the classes, in binary of foreground and background, that no training pixel has."""
    stats, task = source.stats, source.task
    absent = [name for name, pixels in zip(task.names, stats.positives, strict=True) if pixels == 0]
    if task.mode == "binary" and stats.positives[0] == stats.valid[0]:
        absent.append("background")
    return absent


def _all_counted(source: DataSource) -> bool:
    return source.stats.images >= len(source.splits["train"].ids)


def _found(source: DataSource) -> str:
    masks = f"the {source.stats.images} training masks"
    if not _all_counted(source):
        masks += f" that were counted (of {len(source.splits['train'].ids)})"
    if not any(source.stats.valid):
        return f"all pixels of {masks} are ignored"
    return f"no pixel of {masks} is {listed(absent_classes(source))}"

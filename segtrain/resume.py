"""Which run is continued, from which checkpoint, and whether it may be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtrain.checkpoint import KEY, load_checkpoint
from segtrain.errors import UserError
from segtrain.runs import LATEST, Run, find_latest, unfinished

# May change when a run is continued: where and how fast it runs, how long it trains, what it shows and keeps.
FREE: tuple[str, ...] = (
    "callbacks",
    "checkpoint",
    "epochs",
    "name",
    "num_workers",
    "output_dir",
    "resume",
    "init_from",
    "trainer",
    "data.cache",
)
FREE += ("data.cache_gb", "data.root", "data.scan_dir", "data.name")
BATCH = "batch_size"


@dataclass(frozen=True)
class Resume:
    """A run to continue.

    Args:
        folder: of the run.
        checkpoint: the newest one that can be read.
        content: of the checkpoint.
    """

    folder: Path
    checkpoint: Path
    content: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps already made."""
        return int(self.content["global_step"])

    def complete(self, epochs: int) -> bool:
        """Whether the run has ended well and as many epochs are behind it as are asked for."""
        made = self.content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        return (
            Run(self.folder).status == "done" and self.checkpoint.name == Run(self.folder).last.name and made >= epochs
        )

    @property
    def mid_epoch(self) -> bool:
        """Whether it stands within an epoch."""
        return not self.content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]


def find_resume(spec: str | None, output_dir: Path, config_hash: str, say: Callable[[str], None]) -> Resume | None:
    """The run that `resume=` means; None for a new run.

    Args:
        spec: None, "latest", "auto", a run folder or a checkpoint file.
        output_dir: where runs live.
        config_hash: of the configuration, for "auto".
        say: told when a checkpoint is passed over.

    Raises:
        UserError: there is no such run, or none of its checkpoints can be read.
    """
    if spec is None:
        return None
    if spec == "auto":
        folder = unfinished(output_dir, config_hash)
        # a run that was stopped before its first checkpoint has nothing to continue from
        return None if folder is None or not any(_checkpoints(folder)) else newest(folder, say)
    path = find_latest(output_dir) if spec == LATEST else Path(spec).expanduser().resolve()
    if path.is_dir():
        return newest(path, say)
    if not path.is_file():
        raise UserError(f"resume={spec}: no such run folder or checkpoint; use latest, auto, a folder or a .ckpt file")
    return Resume(path.parent.parent, path, load_checkpoint(path))


def newest(folder: Path, say: Callable[[str], None]) -> Resume:
    """The newest readable checkpoint of a run, last before best where they are of one age.

    Raises:
        UserError: none can be read; never starts afresh without a word.
    """
    found = sorted(_checkpoints(folder), key=lambda path: path.stat().st_mtime, reverse=True)
    if not found:
        raise UserError(f"{folder}: no checkpoint to continue from; it ended before its first epoch")
    for path in found:
        try:
            return Resume(folder, path, load_checkpoint(path))
        except UserError as error:
            say(f"{error}")
            unreadable = error
    raise UserError(f"{folder}: none of its checkpoints can be read; begin a new run") from unreadable


def _checkpoints(folder: Path) -> Iterator[Path]:
    run = Run(folder)
    return (path for path in (run.last, run.best) if path.is_file())


def check_continuation(resume: Resume, config: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Refuse to continue a run with settings that would make it another one.

    Args:
        resume: the run and its checkpoint.
        config: of the command now, with the data's task filled in.
        say: told when a change is allowed but makes a difference.

    Raises:
        UserError: listing the settings that differ.
    """
    before, after = flatten(resume.content[KEY]["config"]), flatten(config)
    changed = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    # a one-cycle schedule is drawn for its number of steps; the others can be drawn out
    free = [key for key in FREE if key != "epochs" or after.get("optim.schedule") != "onecycle"]
    changed = [key for key in changed if not any(key == each or key.startswith(f"{each}.") for each in free)]
    if BATCH in changed and not resume.mid_epoch:
        say(f"{BATCH} changes from {before[BATCH]} to {after[BATCH]}: from here on this is another training")
        changed.remove(BATCH)
    if changed:
        listed = "; ".join(f"{key}: {before.get(key)!r} then, {after.get(key)!r} now" for key in changed[:6])
        remedy = "begin a new run with init_from= to change them"
        where = "in the middle of an epoch " if BATCH in changed else ""
        raise UserError(f"resume {where}{resume.folder}: settings differ ({listed}); {remedy}")


def check_same(folder: Path, config_hash: str) -> None:
    """Refuse to take a finished run for one of other settings.

    Raises:
        UserError: the run in the folder was made with other settings.
    """
    record = json.loads((folder / "env.json").read_text(encoding="utf-8"))
    if record.get("config_hash") != config_hash:
        raise UserError(f"{folder} holds a run of other settings; choose another name=, or remove that folder")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

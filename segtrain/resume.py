"""Which run is continued, from which checkpoint, and whether it may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segtrain.checkpoint import KEY, load_checkpoint, understood
from segtrain.errors import UserError
from segtrain.lock import is_alive
from segtrain.runs import LATEST, Run, find_latest, is_there, near, read_json, unfinished
from segtrain.secrets import masked

# May change when a run is continued: where it runs, how long, what it shows and keeps.
FREE = (
    "callbacks",
    "checkpoint",
    "compile",
    "data.cache",
    "data.cache_dir",
    "data.cache_gb",
    "data.max_pixels",
    "data.name",
    "data.root",
    "data.scan_dir",
    "data.split_dir",
    "epochs",
    "init_from",
    "name",
    "num_workers",
    "output_dir",
    "resume",
    "tile",  # of validation and test alone
    "tile_margin",
    "trainer.accelerator",
    "trainer.activation_checkpointing",  # how the same is computed
    "trainer.check",
    "trainer.limit_test",  # only of the final score
    "trainer.log_every",
    "trainer.threads",
    # of these three the number of processes matters, which is compared itself
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "worker_timeout",
)
# May change between two epochs, with a warning: what a machine with other memory needs. Within an epoch the images
# already seen could no longer be told. The rest of `trainer` (clip, limit_train, limit_val) makes another training.
BETWEEN_EPOCHS = ("batch_size", "trainer.accumulate", "trainer.precision", "trainer.sync_batchnorm")
PROCESSES = "number of processes"
EARLY_STOP = "EarlyStop"  # Lightning's callback and ours begin so
NAMING = ("name", "arch", "_target_")  # of a component of a configuration, the first that it has
SHOWN = 6  # settings that are listed


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

    def __post_init__(self) -> None:
        with understood(self.checkpoint):
            _ = self.step, self.epochs, self.mid_epoch, self.content["callbacks"].items()
            if not isinstance(self.content[KEY]["config"]["epochs"], int):
                raise TypeError("epochs is no whole number")

    @property
    def step(self) -> int:
        """Optimizer steps already made."""
        return int(self.content["global_step"])

    @property
    def epochs(self) -> int:
        """Epochs already made."""
        return int(self.content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])

    def trained(self, config: Mapping[str, Any]) -> bool:
        """Whether nothing is left to train: all epochs are made, or it was stopped early and may not go on.

        Args:
            config: of the command now; more epochs or more patience than before let an early stop go on.
        """
        if self.mid_epoch:
            return False
        if config["epochs"] > self.content[KEY]["config"]["epochs"]:
            return False
        return self.epochs >= config["epochs"] or self._stopped_early(config)

    def _stopped_early(self, config: Mapping[str, Any]) -> bool:
        nodes = [node for node in config["callbacks"].values() if EARLY_STOP in str(node.get("_target_"))]
        patience = min((node.get("patience", 3) for node in nodes), default=math.inf)  # 3: Lightning's own
        states = (state for key, state in self.content["callbacks"].items() if key.startswith(EARLY_STOP))
        return any(state["wait_count"] >= patience for state in states)

    def complete(self, config: Mapping[str, Any]) -> bool:
        """Whether the run has ended well and nothing is left to train."""
        run = Run(self.folder)
        return run.status == "done" and self.checkpoint.name == run.last.name and self.trained(config)

    def is_stuck(self, step: Any) -> bool:
        """Whether no two steps were made since; a schedule is asked behind the first. A damaged count is no number."""
        return not isinstance(step, int) or step <= self.step + 1

    @property
    def mid_epoch(self) -> bool:
        """Whether it stands within an epoch, its validation included."""
        progress = self.content["loops"]["fit_loop"]["epoch_progress"]["current"]
        return bool(progress["processed"] < progress["ready"])


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
        return _find_unfinished(output_dir, config_hash, say)
    path = resume_path(spec, output_dir)
    return newest(path, say) if path.is_dir() else Resume(path.parent.parent, path, load_checkpoint(path))


def resume_path(spec: str, output_dir: Path) -> Path:
    """The run folder or checkpoint file that "latest" or a path means.

    Raises:
        UserError: there is no such thing.
    """
    path = find_latest(output_dir) if spec == LATEST else Path(spec).expanduser().resolve()
    if not is_there(path):
        raise UserError(
            f"resume={spec}: no such run folder or checkpoint; use latest, auto, a folder or a .ckpt file{near(path)}"
        )
    return path


def _find_unfinished(output_dir: Path, config_hash: str, say: Callable[[str], None]) -> Resume | None:
    for folder in unfinished(output_dir, config_hash):
        if not any(_checkpoints(folder)):  # stopped before its first checkpoint: nothing to continue from
            continue
        if is_alive(folder):
            say(f"{folder} is passed over: another process is training it")
            continue
        return newest(folder, say)
    return None


def newest(folder: Path, say: Callable[[str], None]) -> Resume:
    """The readable checkpoint of a run with the most steps, last before best where they have as many.

    Raises:
        UserError: none can be read; never starts afresh without a word.
    """
    found: list[Resume] = []
    unreadable: UserError | None = None
    for path in _checkpoints(folder):
        try:
            found.append(Resume(folder, path, load_checkpoint(path)))
        except UserError as error:
            say(f"{error}")
            unreadable = error
    if unreadable is not None and not found:
        raise UserError(f"{folder}: none of its checkpoints can be read; begin a new run") from unreadable
    if not found and is_alive(folder):
        raise UserError(f"{folder} is being trained by another process, and has saved nothing yet; wait for it")
    if not found:
        raise UserError(f"{folder}: no checkpoint to continue from; it ended before its first save, begin a new run")
    chosen = max(found, key=lambda resume: resume.step)  # the first of equals
    if unreadable is not None:
        say(f"goes on from {chosen.checkpoint.name} instead, at step {chosen.step}")
    return chosen


def _checkpoints(folder: Path) -> Iterator[Path]:
    run = Run(folder)
    return (path for path in (run.last, run.best) if path.is_file())


def check_continuation(resume: Resume, config: Mapping[str, Any], processes: int, say: Callable[[str], None]) -> None:
    """Refuse to continue a run with settings that would make it another one.

    Args:
        resume: the run and its checkpoint.
        config: of the command now, with the data's task filled in.
        processes: that train now.
        say: told when a change is allowed but makes a difference.

    Raises:
        UserError: listing the settings that differ.
    """
    record = resume.content[KEY]
    before, after = flatten(masked(record["config"])), flatten(masked(config))
    before[PROCESSES], after[PROCESSES] = record.get("processes", processes), processes
    changed = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    # a one-cycle schedule is drawn for its number of steps; the others can be drawn out
    free = [key for key in FREE if key != "epochs" or after.get("optim.schedule") != "onecycle"]
    if "epochs" in changed and after.get("optim.schedule") not in ("constant", "plateau", "onecycle"):
        # the others follow the share of all steps that are made
        say(
            f"epochs changes from {before['epochs']} to {after['epochs']}: the schedule of the learning rate now ends "
            f"with epoch {after['epochs']}"
        )
    changed = [key for key in changed if not any(key == each or key.startswith(f"{each}.") for each in free)]
    between = [key for key in changed if key in (*BETWEEN_EPOCHS, PROCESSES)]
    if between and not resume.mid_epoch:
        for key in between:
            say(f"{key} changes from {before.get(key)} to {after.get(key)}: from here on this is another training")
        changed = [key for key in changed if key not in between]
    if changed:
        listed = "; ".join(differences(before, after, changed)[:SHOWN])
        remedy = "begin a new run with init_from= to change them"
        where = "in the middle of an epoch " if between and resume.mid_epoch else ""
        if where and changed == between:
            remedy = f"keep them until the epoch has ended, or {remedy}"
        raise UserError(f"resume {where}{resume.folder}: settings differ ({listed}); {remedy}")


def cannot_go_on(resume: Resume, error: Exception) -> UserError:
    """That a training fails at once with what a checkpoint holds."""
    reason = " ".join(str(error).split())[:300]
    return UserError(
        f"{resume.checkpoint}: the training cannot go on from it ({type(error).__name__}: {reason}); resume another "
        "checkpoint, or begin a new run with its weights by init_from="
    )


def check_same(folder: Path, config_hash: str) -> None:
    """Refuse to take a finished run for one of other settings.

    Raises:
        UserError: the run in the folder was made with other settings.
    """
    record = read_json(folder / "env.json")
    if record.get("config_hash") != config_hash:
        raise UserError(f"{folder} holds a run of other settings; choose another name=, or remove that folder")


def differences(before: Mapping[str, Any], after: Mapping[str, Any], changed: Sequence[str]) -> list[str]:
    """What differs, in words; of a loss or model that was exchanged the name, not all that is set of it.

    Args:
        before: settings by dotted key.
        after: likewise.
        changed: keys whose values differ.
    """
    exchanged = {key.rpartition(".")[0] for key in changed if key.rpartition(".")[2] in NAMING} - {""}
    found: dict[str, str] = {}
    for key in changed:
        above = [whole for whole in exchanged if key.startswith(f"{whole}.")]
        what = min(above, key=len) if above else key
        then, now = (_called(flat, what) if above else repr(flat.get(key)) for flat in (before, after))
        found[what] = f"{what}: {then} then, {now} now"
    return list(found.values())


def _called(flat: Mapping[str, Any], component: str) -> str:
    """A component by its name; a combination by the names of its terms."""
    terms = sorted({key.split(".terms.")[1].partition(".")[0] for key in flat if key.startswith(f"{component}.terms.")})
    names = [str(flat[key]).rpartition(".")[2] for name in NAMING if (key := f"{component}.{name}") in flat]
    return " + ".join(terms) or (names or ["none"])[0]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

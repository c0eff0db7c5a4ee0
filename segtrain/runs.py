"""Run folders: where a run lives, what stands in it, and how it is found again. Imports nothing heavy.

outputs/<name>/<loss>-<aug>[-<mix>]-s<seed>_<MMDD-HHMM>[-k]/
    config.yaml overrides.yaml env.json train.log status metrics.csv summary.json
    checkpoints/{best,last}.ckpt   plots/*.png   events.out.tfevents.*
outputs/latest -> the last one
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from segtrain.checks import nearest
from segtrain.errors import UserError

LONGEST_NAME = 60  # characters of one folder's name
STAMP = "_%m%d-%H%M"
LONGEST_LABEL = LONGEST_NAME - len("_0102-0304-999")  # what is left beside the date and the number
LATEST = "latest"
STATUSES = ("running", "done", "failed", "stopped", "pruned")


@dataclass(frozen=True)
class Run:
    """A finished (or interrupted) run.

    Args:
        folder: where everything of it stands.
        summary: what summary.json holds; empty where the run has not ended.
    """

    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Path:
        """Checkpoint with the best monitored score."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """Checkpoint to continue from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def status(self) -> str:
        """One of STATUSES, or "" where there is none."""
        path = self.folder / "status"
        return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""

    @property
    def score(self) -> float | None:
        """The best monitored score, which sweeps optimize."""
        value = self.summary.get("val_best", {}).get("score")
        return None if value is None else float(value)


def read_run(folder: Path) -> Run:
    """A run from its folder.

    Raises:
        UserError: its summary.json is damaged.
    """
    path = folder / "summary.json"
    return Run(folder, read_json(path) if path.is_file() else {})


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file of a run holds.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds {content!r}")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}); restore it, or begin a new run") from error
    return content


def new_folder(parent: Path, label: str, now: datetime | None = None) -> Path:
    """Make a folder of its own for a run.

    Args:
        parent: of the folder; made too.
        label: what the run is, at most LONGEST_LABEL characters of it are used.
        now: the date that follows it.

    Raises:
        UserError: it cannot be made or written to.
    """
    name = clean_name(label)[:LONGEST_LABEL] + (now or datetime.now()).strftime(STAMP)
    for attempt in range(1, 1000):
        folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"output_dir: {folder} cannot be made ({error.strerror}); choose another output_dir"
            ) from error
        return folder
    raise UserError(f"{parent}: a thousand runs named {name}; choose another name")


def clean_name(text: str) -> str:
    """A name without path separators, control characters or leading dots, of bounded length."""
    cleaned = re.sub(r"[^\w=,.+@-]+", "-", text).strip(".-") or "run"
    return cleaned[:LONGEST_NAME]


def point_latest(output_dir: Path, folder: Path) -> None:
    """Make outputs/latest point to a run; a text file where links are not allowed."""
    link, temporary = output_dir / LATEST, output_dir / f".{LATEST}.{os.getpid()}"
    try:
        target = os.path.relpath(folder, output_dir)
    except ValueError:  # Windows: on another drive
        target = str(folder.resolve())
    try:
        temporary.symlink_to(target, target_is_directory=True)
    except OSError:
        temporary.write_text(target, encoding="utf-8")
    temporary.replace(link)


def find_latest(output_dir: Path) -> Path:
    """The folder that outputs/latest points to.

    Raises:
        UserError: there is none.
    """
    link = output_dir / LATEST
    folder = output_dir / link.read_text(encoding="utf-8") if link.is_file() else link
    if not folder.is_dir():
        raise UserError(f"{link}: no run yet; train one, or give the folder of a run")
    return folder.resolve()


def find_run(spec: str, output_dir: Path) -> tuple[Path, Path]:
    """(run folder, checkpoint) named by "latest", a run folder or a checkpoint file.

    A folder stands for its best checkpoint. The run folder of a lone checkpoint file is its own folder.

    Raises:
        UserError: there is no such run or it has no checkpoint.
    """
    path = find_latest(output_dir) if spec == LATEST else Path(spec).expanduser()
    if is_there(path) and path.is_file():
        folder = path.resolve().parent
        return (folder.parent if folder.name == "checkpoints" else folder), path
    if not is_there(path) or not path.is_dir():
        raise UserError(
            f"run={spec}: no such run folder or checkpoint; use latest, a folder or a .ckpt file{near(path)}"
        )
    run = Run(path.resolve())
    for checkpoint in (run.best, run.last):
        if checkpoint.is_file():
            return run.folder, checkpoint
    raise UserError(f"run={spec}: {run.folder} has no checkpoint, it ended before its first epoch")


def is_there(path: Path) -> bool:
    """Whether it exists; a name that is too long for the system, for which Python raises an error, does not."""
    try:
        return path.exists()
    except OSError:
        return False


def near(path: Path) -> str:
    """' - did you mean outputs/nuclei/...?' for what lies in the same folder under nearly the same name."""
    try:
        name = nearest(path.name, [each.name for each in path.parent.iterdir()])
    except OSError:  # no such folder, or none that may be read
        return ""
    return "" if name is None else f" - did you mean {path.with_name(name)}?"


def unfinished(output_dir: Path, config_hash: str) -> list[Path]:
    """The runs of the same configuration that have not ended well, newest first."""
    found = []
    for record in output_dir.glob("**/env.json"):
        run = Run(record.parent)
        try:
            same = json.loads(record.read_text(encoding="utf-8")).get("config_hash") == config_hash
        except (OSError, ValueError, AttributeError, RecursionError):
            continue
        if same and run.status not in ("done", "pruned"):
            found.append((record.stat().st_mtime, run.folder))
    return [folder for _, folder in sorted(found, reverse=True)]


def write_text(path: Path, text: str) -> None:
    """Write a file whole, beside, flushed to the disk and then renamed."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole; keys in the order given."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def set_status(folder: Path, status: str) -> None:
    """Note whether a run is running, done, failed, stopped (to be continued) or pruned."""
    assert status in STATUSES
    write_text(folder / "status", f"{status}\n")

"""What a run was given, read from its folder: the words typed for it, its folder of configurations, its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segtrain.errors import UserError
from segtrain.runs import LATEST, find_latest, find_run
from segtrain.secrets import masked_words

FOLDER = "--config-dir="  # how overrides.yaml holds the user's own groups, beside the words
START = ("resume", "init_from")  # settings that concern only the start of a run


def record(words: Sequence[str], config_dir: str | Path | None) -> list[str]:
    """What a run keeps of a command: its words, and where the user's own groups are.

    Not --allow: what may run is said by hand each time.
    """
    return [*words, *([] if config_dir is None else [f"{FOLDER}{Path(config_dir).expanduser().resolve()}"])]


def stored_words(folder: Path) -> list[str]:
    """What was typed for a run, without what concerned only its start."""
    return [word for word in _read(folder) if not word.startswith(FOLDER) and word.partition("=")[0] not in START]


def stored_folder(folder: Path) -> str | None:
    """The --config-dir that a run was made with.

    Raises:
        UserError: it is gone.
    """
    return existing_folder(folder, next((w.removeprefix(FOLDER) for w in _read(folder) if w.startswith(FOLDER)), None))


def existing_folder(run: Path, config_dir: str | None) -> str | None:
    """The --config-dir of a run, if it had one.

    Raises:
        UserError: it is gone.
    """
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(
            f"{run} was made with --config-dir {config_dir}, which is gone; say --config-dir and where it is now"
        )
    return config_dir


def _read(folder: Path) -> list[str]:
    path = folder / "overrides.yaml"
    if not path.is_file():
        return []
    from segtrain.cli.own import read_yaml

    words = read_yaml(path)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{path}: damaged, not the list of the words of a run; restore it, or type the words again")
    return words


def continued(words: Sequence[str], config_dir: str | None) -> tuple[list[str], str | None]:
    """With resume=latest or a path, the run's own words and --config-dir apply, so that none need be typed again.

    Raises:
        UserError: there is no such run.
    """
    given = {key: value.strip("'\"") for key, _, value in (word.partition("=") for word in words)}
    spec = given.get("resume", "")
    if spec in ("", "null", "auto"):
        return list(words), config_dir
    path = find_latest(Path(given.get("output_dir", "outputs"))) if spec == LATEST else Path(spec).expanduser()
    folder = path.resolve().parent.parent if path.is_file() else path
    stored = [_where_it_lies(word, folder.resolve()) for word in stored_words(folder)]
    return [*without(stored, words), *words], config_dir or stored_folder(folder)


def _where_it_lies(word: str, folder: Path) -> str:
    """A run's own output_dir=... as the folder that it lies in, for commands that are given somewhere else."""
    key, _, value = word.partition("=")
    name = Path(value.strip("'\"")).name  # "" of the folder one stands in, or one above
    if key != "output_dir" or not name:
        return word
    return next((f"{key}={above}" for above in folder.parents[1:] if above.name == name), word)


def without(stored: Sequence[str], given: Sequence[str]) -> list[str]:
    """A run's own words but for those that are typed again; Hydra takes no ~key, +key or +group twice.

    Args:
        stored: with MASK for secrets.
        given: of the command now, where secrets have their values.
    """
    again = {*given, *masked_words(given)}
    return [word for word in stored if word not in again]


def find_checkpoint(spec: str, output_dir: Path) -> tuple[Path, Path]:
    """(run folder, checkpoint) as find_run; says so where a folder's newest state stands in for its best one.

    Raises:
        UserError: there is no such run or it has no checkpoint.
    """
    folder, checkpoint = find_run(spec, output_dir)
    if checkpoint.name == "last.ckpt" and not spec.endswith(".ckpt"):
        print(f"{folder} has no best.ckpt, so its last.ckpt is used", flush=True)
    return folder, checkpoint

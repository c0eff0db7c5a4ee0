"""`segtrain train`, with its sweeps (-m), and `segtrain evaluate`."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from segtrain.cli import Arguments
from segtrain.cli.compose import compose, expand, parse_overrides, quoted, use_folder
from segtrain.cli.conf import CONF
from segtrain.errors import UserError
from segtrain.runs import clean_name

LONGEST_NAME = 60  # characters of a sweep's sub-folder


def train(arguments: Arguments) -> int:
    """Train once, or every combination with -m."""
    if {"-m", "--multirun"} & set(arguments.hydra):
        return sweep(arguments)
    if arguments.hydra:
        return _hydra(arguments, lambda config: None)
    overrides = continued(arguments.overrides)
    config, choices = compose("train", overrides, arguments.config_dir)
    from segtrain.assemble import Request
    from segtrain.run import train as run_training

    run_training(Request(config, choices, overrides, tuple(arguments.allow)))
    return 0


def evaluate(arguments: Arguments) -> int:
    """Score a run; its own settings apply, changed by those typed."""
    config, _ = compose("evaluate", arguments.overrides, arguments.config_dir)
    from segtrain.assemble import Request
    from segtrain.run import evaluate as run_evaluation
    from segtrain.runs import find_run

    folder, _ = find_run(str(config.run), Path(config.output_dir))
    # a run that was cut short for a quick look is scored on the whole split all the same
    stored = [word for word in stored_overrides(folder) if not word.startswith(("trainer.limit_", "debug="))]
    overrides = stored + arguments.overrides
    config, choices = compose("evaluate", overrides, arguments.config_dir)
    run_evaluation(Request(config, choices, overrides, tuple(arguments.allow)))
    return 0


def continued(overrides: list[str]) -> list[str]:
    """With resume=latest or a path, the run's own settings come first, so that none need be typed again.

    Raises:
        UserError: there is no such run.
    """
    from segtrain.runs import LATEST, find_latest

    given = {key: value for key, _, value in (word.partition("=") for word in overrides)}
    spec = given.get("resume", "null").strip("'\"")
    if spec in ("null", "auto"):
        return overrides
    path = find_latest(Path(given.get("output_dir", "outputs"))) if spec == LATEST else Path(spec).expanduser()
    return stored_overrides(path.resolve().parent.parent if path.is_file() else path) + overrides


def stored_overrides(folder: Path) -> list[str]:
    """What was typed for a run, without what concerned only its start."""
    path = folder / "overrides.yaml"
    if not path.is_file():
        return []
    from omegaconf import OmegaConf

    words = [str(word) for word in OmegaConf.load(path)]
    return [word for word in words if word.partition("=")[0] not in ("resume", "init_from")]


def sweep(arguments: Arguments) -> int:
    """Train every combination; each in a folder named by what differs, so that it is found again."""
    for words in expand(arguments.overrides):
        fixed = [
            w
            for w, o in zip(arguments.overrides, parse_overrides(arguments.overrides), strict=True)
            if not o.is_sweep_override() and w not in words
        ]
        compose("train", fixed + words, arguments.config_dir)
    parsed = parse_overrides([quoted(word) for word in arguments.overrides])
    swept = [o.get_key_element() for o in parsed if o.is_sweep_override()]
    constant = sorted(o.input_line or "" for o in parsed if not o.is_sweep_override())
    failed: list[str] = []

    def job(config: Any) -> float | None:
        from hydra.core.hydra_config import HydraConfig

        from segtrain.assemble import Request
        from segtrain.run import train as run_training

        hydra = HydraConfig.get()
        words = list(hydra.overrides.task)
        choices = {str(k): str(v) for k, v in hydra.runtime.choices.items() if v is not None}
        differing = [word for word in words if word.partition("=")[0] in swept]
        folder = sweep_folder(config, choices, constant) / job_name(differing)
        print(f"\n== {', '.join(differing)}", flush=True)
        try:
            return run_training(Request(config, choices, words, tuple(arguments.allow), folder)).score
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            failed.append(job_name(differing))
            return None

    _hydra(arguments, job)
    if failed:
        raise UserError(
            f"{len(failed)} runs of the sweep failed: {'; '.join(failed)}; the same command tries them again"
        )
    return 0


def sweep_folder(config: Any, choices: dict[str, str], constant: list[str]) -> Path:
    """outputs/sweeps/<name>: equal for equal constant settings, so that a grid can grow."""
    root = config.data.get("root")
    name = config.name or (Path(root).resolve().name if root else choices["data"])
    if constant and config.name is None:
        name += "-" + hashlib.blake2b("\n".join(constant).encode(), digest_size=3).hexdigest()
    return Path(config.output_dir) / "sweeps" / clean_name(str(name))


def job_name(differing: list[str]) -> str:
    """A folder's name from the settings that differ; shortened, with a hash, where they are long."""
    name = ",".join(differing)
    cleaned = clean_name(name)
    if len(name) <= LONGEST_NAME:
        return cleaned
    return cleaned[: LONGEST_NAME - 7] + "-" + hashlib.blake2b(name.encode(), digest_size=3).hexdigest()


def _hydra(arguments: Arguments, job: Any) -> int:
    """Hand over to Hydra's own main, which knows -m, --cfg, --info and shell completion."""
    import hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise, so that the error becomes one sentence here
    use_folder(arguments.config_dir)
    words = [quoted(word) for word in arguments.overrides]
    multirun = {"-m", "--multirun"} & set(arguments.hydra)
    extra = ["hydra.sweep.subdir=.", "hydra.sweep.dir=${output_dir}/sweeps"] if multirun else []
    program = sys.argv[0]
    before, sys.argv = sys.argv, [program, *arguments.hydra, *words, *extra]
    try:
        hydra.main(config_path=str(CONF), config_name=arguments.command, version_base="1.3")(job)()
    finally:
        sys.argv = before
    return 0

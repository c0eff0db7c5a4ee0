"""`segtrain train` and `segtrain evaluate`."""

from __future__ import annotations

from pathlib import Path

from segtrain.cli import Arguments
from segtrain.cli.compose import compose, hand_over, quoted
from segtrain.cli.sweeps import sweep


def train(arguments: Arguments) -> int:
    """Train once, or every combination with -m."""
    if {"-m", "--multirun"} & set(arguments.hydra):
        return sweep(arguments)
    if arguments.hydra:
        words = [quoted(word) for word in arguments.overrides]
        return hand_over("train", words, arguments.hydra, arguments.config_dir, lambda config: None)
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

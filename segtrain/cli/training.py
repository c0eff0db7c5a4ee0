"""`segtrain train` and `segtrain evaluate`."""

from __future__ import annotations

from pathlib import Path

from segtrain.cli import Arguments
from segtrain.cli.compose import compose, show
from segtrain.cli.request import make_request
from segtrain.cli.stored import continued, find_checkpoint, stored_folder, stored_words
from segtrain.cli.sweeps import sweep
from segtrain.errors import UserError
from segtrain.runs import LATEST

CUT = ("trainer.limit_", "debug=")  # of a run that was cut short for a quick look; its scores are of the whole split


def train(arguments: Arguments) -> int:
    """Train once, or every combination with -m."""
    if arguments.multirun:
        return sweep(arguments)
    words, config_dir = continued(arguments.overrides, arguments.config_dir)
    if arguments.hydra:
        return show("train", words, arguments.hydra, config_dir)
    request = make_request(words, config_dir, arguments.allow)
    from segtrain.run import train as run_training

    run_training(request)
    return 0


def evaluate(arguments: Arguments) -> int:
    """Score a run; its own settings apply, changed by those typed."""
    # the other words may only mean something among the run's own
    which = [word for word in arguments.overrides if word.partition("=")[0] in ("run", "output_dir")]
    wanted, _ = compose("evaluate", which)
    try:
        folder, _ = find_checkpoint(str(wanted.run), Path(wanted.output_dir))
    except UserError:
        if not arguments.hydra or wanted.run != LATEST:
            raise
        folder = Path(wanted.output_dir)  # nothing trained yet: --cfg shows the defaults
    stored = [word for word in stored_words(folder) if not word.startswith(CUT)]
    words, config_dir = stored + arguments.overrides, arguments.config_dir or stored_folder(folder)
    if arguments.hydra:
        return show("evaluate", words, arguments.hydra, config_dir)
    config, choices = compose("evaluate", words, config_dir)
    from segtrain.assemble import Request
    from segtrain.run import evaluate as run_evaluation

    run_evaluation(Request(config, choices, words, tuple(arguments.allow)))
    return 0

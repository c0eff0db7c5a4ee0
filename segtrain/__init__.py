"""segtrain: train semantic-segmentation networks from one command.

    run = segtrain.train(["loss=focal", "aug=heavy"])       # as on the command line
    mask = segtrain.load(run.best)(image)                   # image [H, W, C] -> class ids [H, W]

Importing this package loads nothing heavy; the functions below load what they need when they are used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segtrain.inference import Predictor
    from segtrain.runs import Run

__version__ = "0.1.0"
__all__ = ["__version__", "load", "train"]

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # the library asks the network for updates on import


def train(overrides: Sequence[str] = (), config_dir: str | Path | None = None, allow: Sequence[str] = ()) -> Run:
    """Train a net, as `segtrain train` does.

    Args:
        overrides: key=value, such as "loss=focal" or "data.root=images".
        config_dir: a folder with configuration groups of your own.
        allow: packages of your own whose code the configuration may name.

    Returns:
        The run: its folder, summary and checkpoints.

    Raises:
        UserError: a sentence that says what is wrong, where, and what to do.
    """
    from segtrain.cli.request import make_request

    request = make_request(overrides, config_dir, allow)
    from segtrain.run import train as run_training

    return run_training(request)


def load(path: str | Path, device: str = "cpu") -> Predictor:
    """A trained net as a function from an image to its mask.

    Args:
        path: a checkpoint, or a run folder (its best checkpoint).
        device: where it runs, such as "cuda".

    Raises:
        UserError: no such checkpoint, or damaged.
    """
    from segtrain.inference import load_predictor
    from segtrain.runs import find_run

    _, checkpoint = find_run(str(path), Path("outputs"))
    return load_predictor(checkpoint, device)

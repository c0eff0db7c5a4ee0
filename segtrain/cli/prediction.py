"""`segtrain predict`: masks of images from a trained net."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtrain.cli import Arguments
from segtrain.cli.compose import compose, show
from segtrain.cli.stored import find_checkpoint
from segtrain.errors import UserError

if TYPE_CHECKING:
    from segtrain.decode.reading import Reading
    from segtrain.windows import Tiling

READING = ("reader", "channels", "value_range", "pages", "orientation", "max_pixels")


def predict(arguments: Arguments) -> int:
    """Write a class-id PNG (and an overlay) for each image; unreadable images are named, the others go on."""
    if arguments.hydra:
        return show("predict", arguments.overrides, arguments.hydra, arguments.config_dir)
    config, _ = compose("predict", arguments.overrides, arguments.config_dir)
    from segtrain import checks
    from segtrain.build import plain
    from segtrain.console import log, set_up_logging
    from segtrain.hardware import choose_accelerator, choose_precision, limit_threads
    from segtrain.inference import load_predictor
    from segtrain.inference.write import find_images, predict_files, prepare_output

    checks.flag("overlay", config.overlay)
    set_up_logging()
    _, checkpoint = find_checkpoint(str(config.run), Path(config.output_dir))
    images = find_images(str(config.input))
    limit_threads(config.trainer.threads)
    accelerator = choose_accelerator(config.trainer.accelerator)
    device = {"gpu": "cuda"}.get(accelerator, accelerator)
    precision = choose_precision(config.trainer.precision, accelerator)
    predictor = load_predictor(checkpoint, device, precision, plain(config)["threshold"])
    predictor.reading = changed_reading(predictor.reading, plain(config))
    predictor.tiling = changed_tiling(predictor.tiling, plain(config))
    output = prepare_output(str(config.output), images)
    failures: list[str] = []
    started, done = time.monotonic(), 0
    for done, path in enumerate(predict_files(predictor, images, output, config.overlay, failures.append), 1):
        if sys.stdout.isatty():
            print(f"\r{done + len(failures)}/{len(images)}  {path.name[:60]:60}", end="", flush=True)
    seconds = time.monotonic() - started
    speed = done / max(seconds, 1e-9)
    if not done:
        raise UserError(_unread(failures, len(images)))
    log.info(f"\n{done} masks in {output} ({speed:.1f} images/s); ids 0 .. {max(1, predictor.task.num_classes - 1)}")
    if failures:
        raise UserError(_unread(failures, len(images)))
    return 0


def changed_reading(trained: Reading, config: dict[str, Any]) -> Reading:
    """How images are read: as in training, but for what the command says."""
    changes = {name: config[name] for name in READING if config[name] is not None}
    try:
        return replace(trained, **changes)
    except UserError as error:
        raise UserError(as_typed(str(error))) from error


def changed_tiling(trained: Tiling, config: dict[str, Any]) -> Tiling:
    """Which images go in tiles: as in training, but for what the command says."""
    changes = {"side": config["tile"], "margin": config["tile_margin"]}
    return replace(trained, **{name: value for name, value in changes.items() if value != "auto"})


def as_typed(message: str) -> str:
    """A message about reading with the keys of this command: orientation=..., not data.orientation=..."""
    return re.sub(rf"\bdata\.({'|'.join(READING)})\b", r"\1", message)


def _unread(failures: Sequence[str], number: int) -> str:
    listed = "".join(f"\n  {as_typed(failure)}" for failure in failures[:20])
    return f"{len(failures)} of {number} images could not be read:{listed}"

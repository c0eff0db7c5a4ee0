"""From a composed configuration to objects: data, net, loss, augmentation, optimizer; nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from segtrain import checks
from segtrain.audit.diagnose import Choice
from segtrain.build import (
    build,
    build_augmentation_of,
    build_loss_of,
    build_mixing_of,
    open_source,
    plain,
    plain_fields,
    settle_loss,
    with_task,
)
from segtrain.console import log
from segtrain.data import DataSource
from segtrain.datamodule import SegmentationDataModule
from segtrain.determinism import in_words, nondeterministic, random_batch, refuse
from segtrain.errors import UserError
from segtrain.metrics import CalibrationProbe, SegmentationMetrics
from segtrain.models.normalize import require_encoder
from segtrain.models.supervision import check_supervision
from segtrain.module import SegmentationModule, score_tag
from segtrain.net import build_net
from segtrain.resume import EARLY_STOP, resume_path
from segtrain.runs import find_run
from segtrain.secrets import masked
from segtrain.task import MODES, ClassStats, Task
from segtrain.trainer import WARN
from segtrain.windows import Tiling


@dataclass(frozen=True)
class Request:
    """What a command was given.

    Args:
        config: composed.
        choices: option chosen in each group, such as {"loss": "focal"}, where a combination whose terms were changed
            is called by them.
        overrides: as typed.
        allow: packages whose code the configuration may name.
        sweep: folder for this job of a sweep; None for a single run.
    """

    config: DictConfig
    choices: Mapping[str, str]
    overrides: list[str] = field(default_factory=list)
    allow: tuple[str, ...] = ()
    sweep: Path | None = None


@dataclass(frozen=True)
class Parts:
    """What a configuration was built into.

    Args:
        config: with the data's task and statistics filled in, and the loss that `loss=auto` chose.
        source: the data.
        module: net, loss and optimizer.
        data: the loaders.
        choice: of `loss=auto`; None where a loss was given.
    """

    config: DictConfig
    source: DataSource
    module: SegmentationModule
    data: SegmentationDataModule
    choice: Choice | None = None


def check_before_data(request: Request) -> None:
    """Refuse what no data could make possible, before they are looked through, which can take minutes.

    Raises:
        UserError: a setting of the optimizer or augmentation; a mixing or a loss that refuses every task alike.
    """
    config, allow = request.config, request.allow
    checks.whole("seed", config.seed, 0, math.inf)
    checks.whole("batch_size", config.batch_size, 1, word="auto")
    if config.num_workers != "auto":
        checks.whole("num_workers", config.num_workers, 0, word="auto")
    checks.number("worker_timeout", config.worker_timeout, above=0)
    checks.choice("monitor_mode", config.monitor_mode, ("max", "min"))
    check_supervision(config.model.get("arch"), config.deep_supervision)
    _check_start(config)
    build(config.optim, "optim", allow, "optimizer")
    tasks = _tasks(config.task)
    for task in tasks[:1]:  # of the task it has the ignore index alone
        build(with_task(config, task, _even_stats(task)).aug, "aug", allow, "check")
    chosen = [build_mixing_of] if "choices" in config.loss else [build_mixing_of, build_loss_of]
    for build_of in chosen:
        guesses = (with_task(config, task, _even_stats(task)) for task in tasks)
        if sentence := _same_refusal(_refusal(build_of, guess, allow) for guess in guesses):
            raise UserError(sentence)


def _tasks(given: DictConfig) -> list[Task]:
    """Tasks that the data may turn out to have, as far as they are not declared; none where the declared is none."""
    found = []
    for mode in (given.mode,) if given.get("mode") in MODES else MODES:
        for number in (given.get("num_classes") or guess for guess in ((1,) if mode == "binary" else (2, 3, 4))):
            with suppress(UserError):  # which the data's own task will say, with what they hold
                found.append(Task(mode, number, given.ignore_index))
    return found


def _even_stats(task: Task) -> ClassStats:
    """Of a training set in which no class is rare."""
    number = task.num_classes
    return ClassStats([100] * number, [100 * max(2, number)] * number, present=[80] * number, images=100)


def _same_refusal(refusals: Iterable[str]) -> str:
    """What every task is refused with; "" as soon as one is not, or with another sentence."""
    sentence = ""
    for refusal in refusals:
        if not refusal or (sentence and refusal != sentence):
            return ""
        sentence = refusal
    return sentence


def _refusal(build_of: Callable[[DictConfig, tuple[str, ...]], Any], config: DictConfig, allow: tuple[str, ...]) -> str:
    try:
        build_of(config, allow)
    except UserError as error:
        return str(error)
    return ""


def assemble(request: Request) -> Parts:
    """Build data, net, loss, augmentation, mixing and optimizer; nothing is written.

    Raises:
        UserError: whatever one of them refuses.
    """
    config, allow = request.config, request.allow
    source = open_source(config, allow)
    config = with_task(config, source.task, source.stats)
    choice = settle_loss(config, source.task, source.stats)
    _check_settings(config, source.task, own=bool(allow))
    net = build_net(config, source, allow)
    record = {"config": masked(plain(config)), "task": plain_fields(source.task), "channels": source.channels}
    module = SegmentationModule(
        net.to(memory_format=torch.channels_last),
        build_loss_of(config, allow),
        source.task,
        build(config.optim, "optim", allow, "optimizer"),
        config.monitor,
        config.monitor_mode,
        record | {"fingerprint": source.fingerprint},
        **plain(config.metrics),
    )
    tiling = Tiling(config.tile, config.tile_margin, int(getattr(net, "stride", 1)))
    check_tiles(source, tiling, plain(config.data).get("max_pixels"))
    return Parts(config, source, module, _datamodule(config, source, tiling, allow), choice)


def not_changed(config: DictConfig) -> None:
    """Take augmentation and mixing out of a configuration that evaluates: what they need may be gone."""
    for key in ("train", "policy", "references"):
        if key in config.aug:
            config.aug[key] = None
    if "kind" in config.mix:
        config.mix = {"_target_": config.mix["_target_"], "kind": "none"}


def _check_settings(config: DictConfig, task: Task, own: bool) -> None:
    """Values that would only be found wrong after the first epoch."""
    scores = [score_tag("val", key) for key in SegmentationMetrics(task).names()]
    scores += [f"val_probe/{key}" for key in CalibrationProbe(task).names()]
    known = ["val/loss", *scores]
    checks.choice("monitor", config.monitor, known)
    for name, node in config.callbacks.items():
        # it would look for its score after the first epoch; code of the user's own may log others
        if EARLY_STOP in str(node.get("_target_")) and not own:
            checks.choice(f"callbacks.{name}.monitor", node.get("monitor"), ["train/loss", *known])


def _check_start(config: DictConfig) -> None:
    if config.resume not in (None, "auto"):
        resume_path(str(config.resume), Path(config.output_dir))
    if config.init_from is None or config.resume is not None:
        return
    try:
        find_run(str(config.init_from), Path(config.output_dir))
    except UserError as error:
        raise UserError(str(error).replace("run=", "init_from=", 1)) from error


def check_determinism(parts: Parts, device: torch.device, precision: str) -> None:
    """With deterministic=true, try the operations of a step once; with deterministic=warn, say which are not.

    Args:
        parts: of the training.
        device: on which it will run.
        precision: of the trainer.

    Raises:
        UserError: some are not deterministic on this device, and deterministic=true.
    """
    wanted, source, module = parts.config.deterministic, parts.source, parts.module
    if not wanted:
        return
    batch = random_batch(source.task, (source.channels, *parts.data.crop), source.dtype, device)
    found = nondeterministic(module.net, module.loss, source.task, batch, precision == "bf16-mixed")
    if not found:
        log.info(f"deterministic: on {device.type} every operation of this training is")
    elif wanted != WARN:
        refuse(found, device)
    else:
        log.warning(
            f"deterministic={WARN}: on {device.type} there is no deterministic implementation of {in_words(found)}; "
            "two runs of this command may differ"
        )


def check_encoder(parts: Parts) -> None:
    """Refuse settings that are for an encoder where there is none, or one that has learned nothing.

    Raises:
        UserError: it is so.
    """
    config, net = parts.config, parts.module.net
    if config.freeze_encoder != 0:
        require_encoder(net, f"freeze_encoder={config.freeze_encoder}")
        begins = config.resume in (None, "auto")  # else with the weights of its run
        if begins and config.init_from is None and config.model.get("encoder_weights") is None:
            raise UserError(
                f"freeze_encoder={config.freeze_encoder} would keep random weights; begin with trained ones by "
                "model.encoder_weights= or init_from="
            )
    parts.module.optim.optimizer(net)  # refuses an encoder's own rate where there is none


def check_tiles(source: DataSource, tiling: Tiling, max_pixels: int | None) -> None:
    """Refuse images that the first validation could not read.

    Args:
        source: the data.
        tiling: which images are cut.
        max_pixels: most that is decoded at once; None: no matter.

    Raises:
        UserError: an image of val or test, or a tile of it, is larger.
    """
    for split in ("val", "test"):
        examples = source.splits.get(split)
        for name, size in zip(examples.ids, examples.sizes, strict=True) if examples is not None else ():
            largest = max(tile.window.height * tile.window.width for tile in tiling.tiles(size))
            if max_pixels is not None and largest > max_pixels:
                raise UserError(
                    f"{name} of the {split} images has {size[1]} x {size[0]} pixels, and with tile={tiling.side} "
                    f"{largest:,} of them would be decoded at once, more than data.max_pixels={max_pixels:,}; lower "
                    "tile or raise data.max_pixels"
                )


def _datamodule(
    config: DictConfig, source: DataSource, tiling: Tiling, allow: tuple[str, ...]
) -> SegmentationDataModule:
    augmentation = build_augmentation_of(config, source, allow)
    pinned = torch.cuda.is_available() and config.trainer.accelerator != "cpu"
    mixing = build_mixing_of(config, allow)
    if mixing is not None and mixing.off_epochs >= config.epochs:
        log.warning(f"mix.off_epochs={mixing.off_epochs} and epochs={config.epochs}: nothing is mixed")
    batches = (config.batch_size, augmentation.size, config.num_workers, pinned)
    timeout = config.worker_timeout
    return SegmentationDataModule(source, augmentation, config.seed, *batches, tiling, mixing, timeout, config.passes)

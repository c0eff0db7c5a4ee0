"""The composition root: a configuration becomes data, net, loss and trainer; trains, tests and records.

python train.py loss=focal  ->  cli  ->  train(request)  ->  module.training_step  ->  losses/focal.py
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from rich.console import Console

from segtrain import callbacks as cb
from segtrain import checks
from segtrain.assemble import Parts, Request, assemble, check_before_data, check_determinism, check_encoder, not_changed
from segtrain.build import build, plain, shown
from segtrain.callbacks.tensorboard import EventFile, describe_run, record_result
from segtrain.causes import failures_in_words
from segtrain.checkpoint import KEY, load_checkpoint, load_net, understood
from segtrain.compilation import require_compiler
from segtrain.console import listed, log, score_table, set_up_logging
from segtrain.errors import UserError
from segtrain.evaluation import output_folder, threshold_report, write_tables
from segtrain.headline import closing, headline, of_part
from segtrain.labels import check_labels
from segtrain.process import restored
from segtrain.record import config_hash, summarize
from segtrain.resume import Resume, cannot_go_on, check_same
from segtrain.runs import Run, find_run, read_run, write_json
from segtrain.secrets import masked_command
from segtrain.session import begin, keep_settings, recorded
from segtrain.signals import Signals, listening
from segtrain.speed import Chosen, choose
from segtrain.task import Task
from segtrain.trainer import build_trainer, limits
from segtrain.tuning.auto import filled, known, stand_in
from segtrain.tuning.measuring import tune


@restored()
def train(request: Request) -> Run:
    """Train, keep the best checkpoint, score it on the test split, and record everything.

    Raises:
        UserError: anything the user can mend, before training starts where possible.
    """
    started = time.perf_counter()
    set_up_logging(getattr(rank_zero_only, "rank", 0))
    if request.sweep is not None and read_run(request.sweep).status == "done":
        check_same(request.sweep, config_hash(plain(request.config)))
        log.info(f"{request.sweep} is done already")
        return read_run(request.sweep)
    given = replace(request, config=stand_in(request.config))
    check_before_data(given)
    trial, _ = _trainer(given.config, Path(os.devnull), request, Signals())  # finds wrong settings
    require_compiler(given.config.compile, trial.strategy.root_device)
    parts = assemble(given)
    check_labels(parts.source)
    parts.data.check_shares(trial.world_size, _used_splits(parts))
    check_encoder(parts)
    check_determinism(parts, trial.strategy.root_device, str(trial.precision))
    session = begin(request, parts, trial)
    folder, resume = session.folder, session.resume
    if session.complete and resume is not None:
        log.info(f"{folder} is done already, after {resume.epochs} epochs; epochs=N trains on")
        return read_run(folder)
    with recorded(session, request, parts) as signals:
        log.info(headline(parts, request, folder, resume) + session.initial)
        parts = tune(parts, request, resume, trial, folder, signals, log.info)
        keep_settings(session, parts)
        chosen = choose(parts, trial)
        log.info(chosen.in_words())
        trainer, speed = _trainer(parts.config, folder, request, signals, resume, started, chosen)
        _describe(trainer, parts, resume)
        with signals.deferring():  # StopSignal looks at them
            _fit(trainer, parts, resume)
        _, tested = find_run(str(folder), folder.parent)
        scores = score(trainer, parts, tested, "test") if "test" in parts.source.splits else {}
        summary = _summary(trainer, parts, request, folder, scores) | {
            "seconds": round(speed.total_seconds(), 1),
            "images_per_s": round(speed.images / max(speed.seconds, 1e-9), 2),
            "chosen": chosen.as_dict() | {"precision": str(trainer.precision), "rounding": _rounding(trainer)},
        }
        if trainer.is_global_zero:
            write_json(folder / "summary.json", summary)
            log.info(closing(parts, folder, tested, scores, summary))
    return read_run(folder)


def _rounding(trainer: Trainer) -> str | None:
    """What the check of the first step found; None where there was none."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((each.said or None for each in callbacks if isinstance(each, cb.RoundingCheck)), None)


def _used_splits(parts: Parts) -> list[str]:
    tested = "test" in parts.source.splits and parts.config.trainer.limit_test != 0
    return ["train", "val", *(["test"] if tested else [])]


def _fit(trainer: Trainer, parts: Parts, resume: Resume | None) -> None:
    path = None if resume is None else str(resume.checkpoint)
    try:
        with failures_in_words(trainer, "train"):
            trainer.fit(parts.module, datamodule=parts.data, ckpt_path=path, weights_only=True)
    except Exception as error:
        if resume is not None and resume.is_stuck(trainer.global_step) and not isinstance(error, UserError):
            raise cannot_go_on(resume, error) from error
        raise


def score(trainer: Trainer, parts: Parts, checkpoint: Path, split: str) -> dict[str, float]:
    """All scores of a checkpoint on a split, by tag (test/...).

    Raises:
        UserError: the data has no such split, or the checkpoint does not fit.
    """
    if split not in parts.source.splits:
        raise UserError(f"split={split}: the data has only {', '.join(parts.source.splits)}")
    if heads := load_net(parts.module.net, load_checkpoint(checkpoint), checkpoint):
        log.info(f"not taken from {checkpoint}, and not needed to predict: {', '.join(heads[:4])}")
    parts.data.check_shares(trainer.world_size, [split])
    parts.data.test_split = split
    with failures_in_words(trainer, split):
        trainer.test(parts.module, datamodule=parts.data, verbose=False)
    return {tag: float(value) for tag, value in trainer.callback_metrics.items() if tag.startswith("test")}


@restored()
def evaluate(request: Request) -> dict[str, float]:
    """Score a trained net on a split; the configuration is the run's own with the given changes.

    Writes per_image.csv, scores.json and (binary, multilabel) thresholds.csv.

    Returns:
        Scores by tag, such as test/iou.

    Raises:
        UserError: no such run, or data that its net does not fit.
    """
    set_up_logging(getattr(rank_zero_only, "rank", 0))
    config = request.config.copy()
    folder, checkpoint = find_run(str(config.run), Path(config.output_dir))
    if "encoder_weights" in config.model:
        config.model.encoder_weights = None  # all weights are the checkpoint's: nothing to download
    not_changed(config)
    with understood(checkpoint):
        record = load_checkpoint(checkpoint)[KEY]
        trained, config = Task(**record["task"]), filled(config, known(config, record["config"]))
    parts = assemble(replace(request, config=config))
    given = parts.source.task
    if (trained.mode, trained.names) != (given.mode, given.names):
        raise UserError(
            f"{checkpoint} was trained for {trained.mode} ({listed(trained.names)}), but this data is {given.mode} "
            f"({listed(given.names)}); map its classes with data.classes"
        )
    split, table = str(config.split), cb.ImageTable(checks.flag("surface", config.surface))
    trainer = build_trainer(plain(config.trainer), 1, [table], [])
    with listening():
        scores = score(trainer, parts, checkpoint, split)
    scores |= table.means()
    log.info(score_table(scores, "test", given, f"{split} split of {parts.source.name}{of_part(parts)}, {checkpoint}"))
    if trainer.is_global_zero:
        probe, output = parts.module.probe("test"), output_folder(config.output, folder, split)
        write_tables(output, table.rows, parts.source.splits[split].ids, probe, scores)
        if not given.exclusive:
            log.info(threshold_report(probe, split, plain(config)["threshold"], scores))
        log.info(f"tables in {output}")
    return scores


def _trainer(
    config: DictConfig,
    folder: Path,
    request: Request,
    signals: Signals,
    resume: Resume | None = None,
    started: float = 0.0,
    chosen: Chosen | None = None,
) -> tuple[Trainer, cb.Speed]:
    checkpoints, speed = folder / "checkpoints", cb.Speed(started, log.info, config.data.get("cache"))
    extra = {name: node for name, node in config.callbacks.items() if name != "pictures"}
    shown = config.callbacks.get("pictures")  # ~callbacks.pictures removes them
    last = cb.KeepLast(checkpoints, config.checkpoint.every_steps, config.checkpoint.every_minutes)
    around: list[Callback] = [
        cb.StepSeeds(config.seed),
        *([cb.RoundingCheck()] if chosen is not None and chosen.checked else []),
        *([cb.Compiled(log.info)] if chosen is not None and chosen.compiled else []),
        *([] if config.freeze_encoder == 0 else [cb.FreezeEncoder(config.freeze_encoder)]),
        cb.NonFiniteGuard(config.trainer.check, config.trainer.log_every),
        speed,
        *([] if shown is None else [cb.Pictures(shown.samples, folder / "plots")]),
        cb.StepBar(Console()),
        *(build(node, f"callbacks.{name}", request.allow) for name, node in extra.items()),
        *([] if config.ema is None else [cb.Ema(config.ema)]),
        cb.StopSignal(last, signals),
        cb.EpochReport(log.info, folder / "metrics.csv", config.monitor, config.monitor_mode),
        cb.KeepBest(checkpoints, config.monitor, config.monitor_mode),
        last,
    ]
    # what a killed process wrote behind its last checkpoint (a sweep's run: before its first) is void
    logger = EventFile(folder, 0 if resume is None else resume.step)
    # a run that was stopped early has only its test left
    epochs = resume.epochs if resume is not None and resume.trained(plain(config)) else config.epochs
    return build_trainer(plain(config.trainer), epochs, around, [logger], config.deterministic), speed


def _describe(trainer: Trainer, parts: Parts, resume: Resume | None) -> None:
    """Tell TensorBoard what is run; a run that is continued has been told."""
    logger = trainer.loggers[0]
    if trainer.is_global_zero and resume is None and isinstance(logger, EventFile):
        texts = {"config": shown(parts.config), "command": masked_command(sys.argv)}
        describe_run(logger, texts | {"data": "\n".join(parts.source.notes)})


def _summary(
    trainer: Trainer, parts: Parts, request: Request, folder: Path, scores: Mapping[str, float]
) -> dict[str, Any]:
    """summary.json without the times; the same goes to TensorBoard's table of hyper-parameters."""
    config = parts.config
    names = {group: request.choices.get(group) for group in ("loss", "aug", "mix", "model", "experiment")}
    settings = {"lr": config.lr, "batch_size": config.batch_size, "epochs": config.epochs, "seed": config.seed}
    summary = {"status": "done", "command": masked_command(sys.argv), **names, **settings, "data": parts.source.name}
    summary |= {"limits": most} if (most := limits(config.trainer)) else {}
    if parts.choice is not None:
        summary |= {"loss_chosen": parts.choice.loss, "loss_reason": parts.choice.reason}
    summary |= summarize(folder / "metrics.csv", config.monitor, config.monitor_mode, scores)
    logger = trainer.loggers[0]
    if trainer.is_global_zero and isinstance(logger, EventFile):
        columns = {**names, "encoder": config.model.get("encoder"), **settings, "data": parts.source.name}
        best = {f"val_best/{k}": v for k, v in summary["val_best"].items() if k in ("iou", "dice") and v is not None}
        shown = {key: value for key, value in columns.items() if value is not None}
        record_result(logger, shown, best, trainer.global_step)
    return summary

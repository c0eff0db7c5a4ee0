"""One sitting at a run: its folder, which all processes agree on, its lock, its status, its log.

Process 0 decides which run is continued or what folder a new one gets. Processes that Lightning starts read it
from the environment; those that torchrun or srun started are told over their common process group.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from segtrain.assemble import Parts, Request
from segtrain.build import plain, shown
from segtrain.callbacks.tensorboard import one_error_of_the_writer
from segtrain.checkpoint import initialise_from, load_checkpoint, sweep_temporaries
from segtrain.console import log, log_to
from segtrain.errors import UserError
from segtrain.lock import RunLock
from segtrain.record import config_hash, file_digest, note_sitting
from segtrain.resume import Resume, check_continuation, find_resume, newest
from segtrain.runs import (
    LONGEST_LABEL,
    Run,
    clean_name,
    find_run,
    new_folder,
    point_latest,
    set_status,
    write_text,
)
from segtrain.secrets import masked_command, masked_words
from segtrain.signals import Signals, Stopped, interruption, listening
from segtrain.tuning.auto import filled, open_settings
from segtrain.tuning.measuring import remembered

FOLDER, CHECKPOINT = "SEGTRAIN_RUN_FOLDER", "SEGTRAIN_RUN_CHECKPOINT"  # for the processes that Lightning starts
DATA_PATHS = ("data.root", "data.split_file", "data.exclude", "aug.references")
DEFAULT_MODEL, NOT_USED = "unet_tiny", "none"  # not part of a run's name


@dataclass(frozen=True)
class Session:
    """What process 0 decided.

    Args:
        folder: of the run.
        resume: what is continued; None for a new run.
        complete: nothing is left to do.
        initial: what to say about weights taken over from another run.
        lock: of process 0, until the session ends.
    """

    folder: Path
    resume: Resume | None = None
    complete: bool = False
    initial: str = ""
    lock: RunLock | None = None


def begin(request: Request, parts: Parts, trainer: Trainer) -> Session:
    """Find the run to continue, or make a folder; the same in each process.

    Raises:
        UserError: no such run, one that may not be continued or is being trained, or a folder that cannot be made.
    """
    check_launch(trainer)
    environment: Any = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.world_size == 1 or isinstance(environment, LightningEnvironment):
        if trainer.world_size > 1 and request.sweep is not None:  # they would all make the whole sweep
            raise UserError(
                f"-m makes its runs one after the other in this process, but trainer={request.choices['trainer']} "
                f"starts {trainer.world_size}; start each run by itself, or use trainer.devices=1"
            )
        if trainer.global_rank == 0:
            return _decide(request, parts, trainer.world_size)
        if FOLDER not in os.environ:
            raise UserError("several machines: start the processes with torchrun or srun")
        return _follow(parts, os.environ[FOLDER], os.environ.get(CHECKPOINT, ""), complete=False)
    return _agree(request, parts, trainer)


def check_launch(trainer: Trainer) -> None:
    """Refuse several processes that would each train alone.

    Raises:
        UserError: torchrun or srun started several, but the trainer is for one.
    """
    count = "WORLD_SIZE" if "TORCHELASTIC_RUN_ID" in os.environ else "SLURM_STEP_NUM_TASKS"
    started = int(os.environ.get(count, 1))
    if started > 1 and trainer.world_size == 1:
        raise UserError(
            f"{started} processes were started ({count}), but the trainer is for one; "
            "use trainer=ddp trainer.devices=PROCESSES_PER_MACHINE trainer.num_nodes=MACHINES"
        )


def _agree(request: Request, parts: Parts, trainer: Trainer) -> Session:
    """Process 0 decides and tells the others, its errors too, so that none waits for it in vain."""
    trainer.strategy.setup_environment()
    session: Session | None = None
    told = ("", "", False, "")
    if trainer.global_rank == 0:
        try:
            session = _decide(request, parts, trainer.world_size)
            checkpoint = "" if session.resume is None else str(session.resume.checkpoint.absolute())
            told = (str(session.folder.absolute()), checkpoint, session.complete, "")
        except UserError as error:
            told = ("", "", False, str(error))
    folder, checkpoint, complete, refusal = trainer.strategy.broadcast(told)
    if refusal:
        raise UserError(refusal)
    return session or _follow(parts, folder, checkpoint, complete)


def _follow(parts: Parts, folder: str, checkpoint: str, complete: bool) -> Session:
    """What process 0 has told."""
    if not checkpoint:
        return Session(Path(folder), None, complete, initial_weights(parts))
    path = Path(checkpoint)
    return Session(Path(folder), Resume(Path(folder), path, load_checkpoint(path)), complete)


def _decide(request: Request, parts: Parts, processes: int) -> Session:
    resume, wanted = _resume(request), open_settings(request.config)
    if resume is None:
        if wanted and processes > 1:
            raise UserError(
                f"{wanted[0]}=auto is measured by one process, and this training has {processes}; train once with "
                f"trainer.devices=1 epochs=1, and give {wanted[0]} the number that it says, which is for the images of "
                f"a step there (see optim.scaling)"
            )
        initial = initial_weights(parts)  # before a folder is made
        folder = _new_folder(request, parts)
        os.environ[FOLDER] = str(folder.absolute())
        return Session(folder, initial=initial, lock=RunLock(folder))
    config = plain(filled(parts.config, remembered(request, resume)))
    check_continuation(resume, config, processes, log.warning)
    if resume.complete(config):
        return Session(resume.folder, resume, complete=True)
    lock = RunLock(resume.folder)
    os.environ |= {FOLDER: str(resume.folder), CHECKPOINT: str(resume.checkpoint.absolute())}
    return Session(resume.folder, resume, lock=lock)


def _resume(request: Request) -> Resume | None:
    """The run to continue; a sweep's job continues whatever stands in its folder."""
    config = request.config
    if request.sweep is not None and Run(request.sweep).last.is_file():
        return newest(request.sweep, log.warning)
    return find_resume(config.resume, Path(config.output_dir), config_hash(plain(config)), log.warning)


def initial_weights(parts: Parts) -> str:
    """Take over another run's weights where asked to; returns what to say about it."""
    if parts.config.init_from is None:
        return ""
    _, checkpoint = find_run(str(parts.config.init_from), Path(parts.config.output_dir))
    new, left = initialise_from(parts.module.net, checkpoint)
    named = (("new", new), ("not taken over", left))
    return f"\nweights from {checkpoint}" + "".join(f"; {how}: {', '.join(names[:4])}" for how, names in named if names)


def _new_folder(request: Request, parts: Parts) -> Path:
    config, choices = parts.config, request.choices
    if request.sweep is not None:
        request.sweep.mkdir(parents=True, exist_ok=True)
        return request.sweep
    recipe = "" if choices.get("experiment") == NOT_USED else f"-{choices.get('experiment')}"
    implied = recipe and not any(word.startswith("model=") for word in request.overrides)
    model = "" if choices.get("model") == DEFAULT_MODEL or implied else f"-{choices.get('model')}"
    mix = "" if choices.get("mix") == NOT_USED else f"-{choices.get('mix')}"
    rest = f"{recipe}-{choices.get('aug')}{mix}{model}-s{config.seed}"
    loss = str(choices.get("loss"))[: max(1, LONGEST_LABEL - len(rest))]  # a combination can have many terms
    return new_folder(Path(config.output_dir) / clean_name(str(config.name or parts.source.name)), loss + rest)


@contextmanager
def recorded(session: Session, request: Request, parts: Parts) -> Iterator[Signals]:
    """Write down what is run; note its status; keep its log. Only process 0, which holds the lock, writes.

    Yields:
        What the system asks meanwhile.
    """
    written = _written(session.folder, session.resume, request, parts) if session.lock else nullcontext()
    try:
        with listening() as signals, written:
            yield signals
    except Stopped as error:
        if session.lock is None and FOLDER in os.environ:
            # of a process that Lightning started: it kills the first one where any other fails
            raise SystemExit(0) from error
        raise
    finally:
        for name in (FOLDER, CHECKPOINT):  # the next run in this process gets its own
            os.environ.pop(name, None)
        if session.lock is not None:
            session.lock.release()


@contextmanager
def _written(folder: Path, resume: Resume | None, request: Request, parts: Parts) -> Iterator[None]:
    facts = _facts(request, parts)
    note_sitting(folder, None if resume is None else resume.step, facts)
    if resume is None:
        write_text(folder / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(facts["words"])))
    set_status(folder, "running")
    sweep_temporaries(folder / "checkpoints")
    if (output_dir := Path(parts.config.output_dir)).is_dir():  # not where a run is continued from elsewhere
        point_latest(output_dir, folder)
    handler = log_to(folder / "train.log")
    try:
        with one_error_of_the_writer():
            yield
        set_status(folder, "done")
    except BaseException as error:
        asked = interruption(error)
        failed = asked is None and isinstance(error, Exception)
        with suppress(OSError):  # a disk that is full; nobody holds the lock any more, so it is not taken for alive
            set_status(folder, "failed" if failed else "stopped")
        if failed:
            raise
        how = f"{asked}" if isinstance(asked, Stopped) else "interrupted"
        goes_on = Run(folder).last.is_file()
        log.warning(f"{how}; " + (f"resume={folder} goes on" if goes_on else "nothing was saved yet: begin anew"))
        if isinstance(asked, Stopped):
            asked.told = True
        if asked is not None and asked is not error:
            raise asked from None
        raise
    finally:
        log.removeHandler(handler)
        handler.close()


def keep_settings(session: Session, parts: Parts) -> None:
    """Write config.yaml, once each setting has its value."""
    if session.lock is not None:
        write_text(session.folder / "config.yaml", shown(parts.config))


def _facts(request: Request, parts: Parts) -> dict[str, Any]:
    """What env.json says of a sitting beside versions and machine."""
    config, words = plain(request.config), [_from_anywhere(word) for word in request.overrides]
    facts = {"command": masked_command(sys.argv), "config_hash": config_hash(config), "seed": config["seed"]}
    facts |= {"data": parts.source.fingerprint}
    if config["init_from"] is not None and config["resume"] is None:
        path = find_run(str(config["init_from"]), Path(config["output_dir"]))[1].absolute()
        facts |= {"init_from": {"checkpoint": str(path), "sha256": file_digest(path)}}
        words = [f"init_from={path}" if word.startswith("init_from=") else word for word in words]
    return {**facts, "words": masked_words(words)}


def _from_anywhere(word: str) -> str:
    """Paths of the data as absolute ones, so that a run is evaluated and continued from any folder."""
    key, _, value = word.partition("=")
    if key not in DATA_PATHS or value in ("", "null"):
        return word
    path = value.strip("'\"")
    return f"{key}={Path(path).expanduser().resolve()}"

"""Lightning's Trainer, set up for this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler

from segtrain import checks
from segtrain.checkpoint import AtomicCheckpointIO
from segtrain.errors import UserError
from segtrain.hardware import FLOAT16, choose_accelerator, choose_precision, limit_threads

WARN = "warn"  # of deterministic: train on, also where an operation is not
NOTHING = nullcontext("nothing")
STEP_HOOKS = (
    *("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_train_batch_end"),
)


def without_empty_hooks(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks, of whose hooks at each step Lightning shall call those alone that do something.

    It passes over a hook that cannot be called. A call costs some microseconds, and of nine callbacks with six such
    hooks most are empty.
    """
    for callback in callbacks:
        for hook in STEP_HOOKS:
            if getattr(type(callback), hook) is getattr(Callback, hook):
                setattr(callback, hook, None)
    return list(callbacks)


class Unprofiled(PassThroughProfiler):
    """Measures nothing. Lightning's makes a context for each callback at each hook, a tenth of a small net's step."""

    def profile(self, action_name: str) -> nullcontext[str]:  # type: ignore[override]
        """No context, whatever is done."""
        return NOTHING


def build_trainer(
    config: Mapping[str, Any],
    epochs: int,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    deterministic: bool | str = False,
) -> Trainer:
    """The trainer for a configuration of the group `trainer`.

    It sets which algorithms and how many threads torch uses from now on in this process, see process.restored.

    Raises:
        UserError: a value out of range, float16, or an accelerator that is not there.
    """
    accelerator = choose_accelerator(config["accelerator"])
    limit_threads(config["threads"])
    if config["precision"] == FLOAT16:  # its scaled gradients overflow at times, which would count as non-finite
        raise UserError(f"trainer.precision={FLOAT16} is for prediction alone; use auto, bf16-mixed or 32-true")
    try:
        return _trainer(config, epochs, accelerator, callbacks, loggers, deterministic)
    except UserError:
        raise
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error


def _trainer(
    config: Mapping[str, Any],
    epochs: int,
    accelerator: str,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    deterministic: bool | str,
) -> Trainer:
    return Trainer(
        accelerator=accelerator,
        devices=config["devices"],
        num_nodes=checks.whole("trainer.num_nodes", config["num_nodes"], 1),
        strategy=config["strategy"],
        precision=choose_precision(config["precision"], accelerator),  # type: ignore[arg-type]
        # torch has synchronized batch norm for GPUs only
        sync_batchnorm=checks.flag("trainer.sync_batchnorm", config["sync_batchnorm"]) and accelerator == "gpu",
        max_epochs=checks.whole("epochs", epochs, 1),
        accumulate_grad_batches=checks.whole("trainer.accumulate", config["accumulate"], 1),
        gradient_clip_val=None if config["clip"] is None else checks.number("trainer.clip", config["clip"], above=0),
        limit_train_batches=_limit("train", config),
        limit_val_batches=_limit("val", config),
        limit_test_batches=_limit("test", config),
        log_every_n_steps=checks.whole("trainer.log_every", config["log_every"], 1),
        callbacks=without_empty_hooks(callbacks),
        # where nothing is to be saved, Lightning would save it in a place of its own
        enable_checkpointing=any(isinstance(each, Checkpoint) for each in callbacks),
        logger=list(loggers),
        # Lightning would send a job back to the queue itself; SLURM does that, and resume=auto goes on
        plugins=[AtomicCheckpointIO(), *([SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else [])],
        use_distributed_sampler=False,  # Lightning's repeats samples to even out the processes
        num_sanity_val_steps=0,
        deterministic="warn" if deterministic == WARN else checks.flag("deterministic", deterministic, word=WARN),
        profiler=Unprofiled(),
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def limits(config: Mapping[str, Any]) -> dict[str, int]:
    """Batches that a pass over a split has at most, by split, where the group `trainer` says so."""
    given = {split: config[f"limit_{split}"] for split in ("train", "val", "test")}
    return {split: int(most) for split, most in given.items() if most is not None}


def _limit(split: str, config: Mapping[str, Any]) -> int | float:
    """Number of batches an epoch is cut to; all of them where it is null."""
    value = config[f"limit_{split}"]
    return 1.0 if value is None else checks.whole(f"trainer.limit_{split}", value, 0 if split == "test" else 1)

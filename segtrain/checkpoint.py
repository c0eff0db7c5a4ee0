"""Checkpoints: written whole or not at all, read without running anything that stands in them.

A checkpoint is what Lightning stores (weights, optimizer, schedules, progress) plus, under "segtrain", a format
version, the resolved configuration, the task and what the net needs to be built again. All of it is plain
containers and tensors, so `torch.load(weights_only=True)` reads it.
"""

from __future__ import annotations

import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import CheckpointIO

from segtrain.errors import UserError

FORMAT = 1
KEY = "segtrain"
TEMPORARY = ".tmp"
# what torch and our own readers raise where values are not what they should be
UNREADABLE = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, OverflowError, AssertionError)
FULL_DISK = re.compile(r"unexpected pos|file write failed|enforce fail at inline_container")  # in torch's words
NET = "net."  # prefix of the net's weights in the module's state
HEADS = "supervision."  # of the weights in the net's state that are for training alone

Checkpoint = dict[str, Any]


class AtomicCheckpointIO(CheckpointIO):
    """Saves beside the target and renames: a kill or a full disk leaves the previous file as it was."""

    def save_checkpoint(self, checkpoint: Checkpoint, path: str | Path, storage_options: Any | None = None) -> None:
        """Write, flush to the disk, rename, and flush the folder's entry too.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        path = Path(path)
        temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            reason = " ".join(str(error).split())
            if FULL_DISK.search(reason):
                reason = "the disk is full, or files may not grow so large"
            raise UserError(
                f"{path}: the checkpoint could not be written ({reason}); make room, earlier ones are intact"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> Checkpoint:
        """Read a checkpoint, always with weights_only=True."""
        return load_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint file, if it is there."""
        Path(path).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep_temporaries(folder: Path) -> None:
    """Delete what a killed save has left behind."""
    for leftover in folder.glob(f"*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a segtrain checkpoint onto the CPU; nothing in the file can run.

    Raises:
        UserError: no such file, damaged, not from segtrain, or of a newer format.
    """
    if "://" in str(path):
        raise UserError(f"{path}: checkpoints are read from local files only; download it first")
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        with warnings.catch_warnings():  # of tensors that are refused below
            warnings.simplefilter("ignore")
            checkpoint: Checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (*UNREADABLE, OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, struct.error) as error:
        size = path.stat().st_size
        raise UserError(
            f"{path}: damaged or not a segtrain checkpoint ({size} bytes, {type(error).__name__}); use another one"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(KEY), dict):
        raise UserError(f"{path}: not a segtrain checkpoint; weights of an encoder go to model.encoder_weights=PATH")
    with understood(path):
        if checkpoint[KEY].get("format", 0) > FORMAT:
            newer = f"format {checkpoint[KEY]['format']} is newer than this segtrain's {FORMAT}; update it"
            raise UserError(f"{path}: {newer}")
        _check_content(checkpoint)
    return checkpoint


def _check_content(checkpoint: Checkpoint) -> None:
    """Raises TypeError for weights that are no tensors, tensors not as they look, settings that are no plain values.

    A tensor that says to be larger than the numbers it has is read beyond its end by torch's fused optimizers.
    """
    for key, value in checkpoint["state_dict"].items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"the weight {key} is no tensor")
    for key, tensor in _tensors(checkpoint):
        dense = tensor.layout is torch.strided
        if not dense or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise TypeError(f"the tensor {key} has fewer numbers than it says")
    if not _is_plain(checkpoint.get("loops", {})):
        raise TypeError("the progress is no plain values")
    if not isinstance(checkpoint[KEY]["config"], dict) or not _is_plain(checkpoint[KEY]):
        raise TypeError("the settings are no plain values")


def _tensors(content: Any, key: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in containers, with dotted keys."""
    if isinstance(content, torch.Tensor):
        yield key, content
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from _tensors(value, f"{key}.{name}".lstrip("."))
    elif isinstance(content, (list, tuple)):
        for index, value in enumerate(content):
            yield from _tensors(value, f"{key}[{index}]")


def _is_plain(value: Any) -> bool:
    """Whether it is made of texts, numbers, and lists and mappings of them."""
    if isinstance(value, Mapping):
        return all(isinstance(key, (str, int)) and _is_plain(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float))


@contextmanager
def understood(path: str | Path) -> Iterator[None]:
    """What is done with a checkpoint's content may find other values than segtrain writes there.

    Raises:
        UserError: it does; the sentence names the file.
    """
    try:
        yield
    except UserError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or "no more is known"
        raise UserError(f"{path}: damaged ({type(error).__name__}: {reason}); use another checkpoint") from error


def net_weights(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of the SegmentationNet in a checkpoint."""
    state = checkpoint["state_dict"]
    return {key.removeprefix(NET): value for key, value in state.items() if key.startswith(NET)}


def load_net(net: torch.nn.Module, checkpoint: Mapping[str, Any], path: str | Path) -> list[str]:
    """Put a checkpoint's weights into a net of the same architecture.

    Returns:
        Names of heads of deep supervision that only one of the two has; no prediction depends on them.

    Raises:
        UserError: the architectures differ; names both and the first keys that do not fit.
    """
    weights, own = net_weights(checkpoint), net.state_dict()
    wrong = _unlike(weights, own)
    of_training = [key for key in wrong if key.startswith(HEADS)]
    if len(wrong) > len(of_training):
        with understood(path):
            stored = dict(checkpoint[KEY]["config"].get("model", {}))
        raise UserError(
            f"{path}: its net is {stored.get('arch')} {stored.get('encoder') or ''}".rstrip()
            + f", which does not fit this one; first differences: {', '.join(wrong[:3])}"
        )
    net.load_state_dict({key: value if key in of_training else weights[key] for key, value in own.items()})
    return of_training


def _unlike(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of weights that only one of the two has, or in another shape."""
    return [k for k in {**own, **weights} if k not in own or k not in weights or own[k].shape != weights[k].shape]


def initialise_from(net: torch.nn.Module, path: str | Path) -> tuple[list[str], list[str]]:
    """Start from another run's weights; layers of another shape (a new head) stay as they are.

    Returns:
        Names of the net's weights that are not from there, and of heads of deep supervision there that the net lacks.

    Raises:
        UserError: nothing in the checkpoint fits this net.
    """
    weights, own = net_weights(load_checkpoint(path)), net.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    if not any(k.endswith("weight") and not k.startswith(HEADS) for k in fitting):
        raise UserError(f"init_from={path}: none of its weights fits this net; choose the model it was trained with")
    keep = {k: v for k, v in own.items() if k in ("mean", "std")}  # of the new data
    net.load_state_dict(own | fitting | keep)
    return sorted(set(own) - set(fitting)), sorted(k for k in set(weights) - set(own) if k.startswith(HEADS))

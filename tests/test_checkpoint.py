"""Checkpoints are written whole or not at all, and reading one runs nothing."""

from __future__ import annotations

import os
import pickle
import signal
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segtrain import checkpoint as cp
from segtrain.errors import UserError
from segtrain.inference import load_predictor
from segtrain.models import build_model
from segtrain.task import Task


def content(**more: Any) -> dict[str, Any]:
    return {"state_dict": {"net.w": torch.arange(4.0)}, cp.KEY: {"format": cp.FORMAT, "config": {}}, **more}


def save(path: Path, what: Any) -> Path:
    cp.AtomicCheckpointIO().save_checkpoint(what, path)
    return path


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "new" / "a.ckpt", content())
    assert torch.equal(cp.net_weights(cp.load_checkpoint(path))["w"], torch.arange(4.0))
    assert [p.name for p in path.parent.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("where", ["save", "fsync", "replace"])
def test_a_failing_save_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    path = save(tmp_path / "a.ckpt", content())
    before = path.read_bytes()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    owner = {"save": (torch, "save"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[where]
    monkeypatch.setattr(*owner, full)
    with pytest.raises(UserError, match=r"a\.ckpt: the checkpoint could not be written .*No space left"):
        save(path, content(more=1))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("delay", [0.0, 0.005, 0.01, 0.02, 0.03, 0.05])
def test_a_kill_at_any_moment_of_a_save_leaves_a_readable_file(tmp_path: Path, delay: float) -> None:
    path = save(tmp_path / "last.ckpt", content(big=torch.zeros(2_000_000)))
    child = os.fork()
    if child == 0:
        while True:
            save(path, content(big=torch.ones(2_000_000)))
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    cp.load_checkpoint(path)
    cp.sweep_temporaries(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda what, path: path.write_bytes(pickle.dumps(what, protocol=2))])
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, write: Any) -> None:
    path, touched = tmp_path / "evil.ckpt", tmp_path / "touched"
    write(content(evil=Payload(touched)), path)
    with pytest.raises(UserError, match=r"evil\.ckpt: damaged or not a segtrain checkpoint"):
        cp.load_checkpoint(path)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: None, "no such checkpoint"),
        (lambda p: p.write_bytes(b""), r"damaged .*\(0 bytes"),
        (lambda p: p.write_bytes(b"<html>"), r"damaged .*\(6 bytes"),
        (lambda p: p.write_bytes(save(p, content()).read_bytes()[:300]), "damaged"),
        (lambda p: torch.save({"w": torch.ones(1)}, p), "not a segtrain checkpoint; weights of an encoder"),
        (lambda p: torch.save([1], p), "not a segtrain checkpoint"),
        (lambda p: torch.save({cp.KEY: {"format": 99}}, p), "format 99 is newer than this segtrain's 1; update it"),
    ],
)
def test_what_is_no_checkpoint_is_said(tmp_path: Path, make: Any, sentence: str) -> None:
    path = tmp_path / "a.ckpt"
    make(path)
    with pytest.raises(UserError, match=sentence):
        cp.load_checkpoint(path)


def test_addresses_are_refused() -> None:
    with pytest.raises(UserError, match="local files only"):
        cp.load_checkpoint("https://example.org/a.ckpt")


def net(width: int, classes: int = 1) -> nn.Module:
    task = Task("binary") if classes == 1 else Task("multiclass", classes)
    return build_model(task, 3, [0.1] * 3, [0.2] * 3, "plain_unet", width=width, depth=1)


def stored(source: nn.Module) -> dict[str, Any]:
    state = {f"{cp.NET}{key}": value for key, value in source.state_dict().items()}
    return {"state_dict": state, cp.KEY: {"format": 1, "config": {"model": {"arch": "plain_unet"}}}}


def test_another_architecture_is_a_short_error(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"its net is plain_unet, which does not fit this one; first differences: net\."
    ):
        cp.load_net(net(4), stored(net(2)), "a.ckpt")


def test_initialising_keeps_the_new_head_and_the_new_datas_normalization(tmp_path: Path) -> None:
    path, old, new = tmp_path / "a.ckpt", net(2), net(2, classes=3)
    old.mean.fill_(0.9)
    save(path, stored(old))
    assert cp.initialise_from(new, path) == (["net.head.bias", "net.head.weight"], [])
    assert torch.equal(new.net.up[0].weight, old.net.up[0].weight)
    assert float(new.mean.flatten()[0]) == pytest.approx(0.1)
    with pytest.raises(UserError, match="none of its weights fits"):
        cp.initialise_from(nn.Linear(2, 2), path)


HUGE = torch.zeros(1).expand(2**20, 2**20)  # says to be 4 TiB, and is 4 bytes


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"state_dict": 3}, "AttributeError"),
        ({"state_dict": {"net.w": [1.0]}}, "the weight net.w is no tensor"),
        ({"state_dict": {"net.w": torch.zeros(2).to_sparse()}}, "the tensor state_dict.net.w has fewer numbers"),
        ({"optimizer_states": [{"state": {0: {"exp_avg": HUGE}}}]}, r"optimizer_states\[0\].state.0.exp_avg has fewer"),
        ({cp.KEY: {"format": "1", "config": {}}}, "TypeError"),
        ({cp.KEY: {"format": 1}}, "KeyError: 'config'"),
        ({cp.KEY: {"format": 1, "config": [1]}}, "no plain values"),
        ({cp.KEY: {"format": 1, "config": {"lr": torch.zeros(3)}}}, "no plain values"),
    ],
)
def test_what_a_checkpoint_should_not_hold_is_said(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(content(**change), path)
    with pytest.raises(UserError, match=rf"^{path}: damaged \(.*{says}.*; use another checkpoint$"):
        cp.load_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [{"task": 3}, {"task": {"mode": "binary", "x": 1}}, {"channels": "x"}, {"config": {}}, {"config": {"model": []}}],
)
def test_a_checkpoint_that_makes_no_net_is_said(tmp_path: Path, change: dict[str, Any]) -> None:
    path, whole = tmp_path / "a.ckpt", stored(net(2))
    config = {"model": {"arch": "plain_unet", "width": 2, "depth": 1}, "data": {}}
    whole[cp.KEY] |= {"task": {"mode": "binary"}, "channels": 3, "config": config}
    save(path, whole)
    assert load_predictor(path).task.mode == "binary"
    whole[cp.KEY] |= change
    save(path, whole)
    with pytest.raises(UserError, match=rf"^{path}: damaged"):
        load_predictor(path)


@pytest.mark.parametrize(
    "pickled", [b"", b"\x80\x02}r\x01", b"\x80\x02}q", b"\x80\x02X\xff\xff\xff\x7fab", b"\x80\x02h\x09."]
)
def test_a_pickle_that_ends_early_is_damaged(tmp_path: Path, pickled: bytes) -> None:
    """torch's reader takes numbers from bytes that are no longer there."""
    path, whole = tmp_path / "last.ckpt", tmp_path / "whole.ckpt"
    torch.save({}, whole)
    with zipfile.ZipFile(whole) as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            after.writestr(name, pickled if name.endswith("data.pkl") else before.read(name))
    with pytest.raises(UserError, match=r"last.ckpt: damaged or not a segtrain checkpoint"):
        cp.load_checkpoint(path)

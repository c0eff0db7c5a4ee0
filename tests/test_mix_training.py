"""Mixing within a training: which batches, which seed, which loss, what is said of it, and exact resume."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

from segtrain import mixed
from segtrain.assemble import Request, assemble
from segtrain.augment import build_augmentation
from segtrain.cli import main
from segtrain.cli.compose import compose
from segtrain.data import SegmentationDataset, collate
from segtrain.data.sampler import Key
from segtrain.data.synthetic import SyntheticData
from segtrain.datamodule import SegmentationDataModule
from segtrain.losses import Combo, build_loss
from segtrain.mixing import build_mixing
from segtrain.module import SegmentationModule
from segtrain.optim import Optim
from segtrain.runs import Run, find_latest, read_run
from segtrain.task import Batch, Second, Task
from tests import tiny
from tests.conftest import TASKS, make_logits, make_target
from tests.data.files import REQUEST
from tests.losses.test_contract import PAIRS, build
from tests.test_names import hparam

# 10 images in batches of 2: an epoch has 5 batches
STEPS = ["epochs=2", "batch_size=2", "checkpoint.every_steps=1", "mix.p=.8"]
KINDS = {
    "mixup": ["mix=mixup", "mix.alpha=1"],
    "mosaic, accumulated": ["mix=mosaic", "trainer.accumulate=2"],
    "copy_paste": ["mix=copy_paste", "mix.bank=6", "task=multiclass"],
}


def curves(run: Run) -> list[dict[str, str]]:
    with (run.folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.startswith(("perf/", "_step"))} for row in csv.DictReader(file)]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | str, ...]]:
    """(epoch, step, rank) of each batch that is mixed."""
    seen: list[tuple[int | str, ...]] = []

    def watched(*parts: int | str) -> int:
        if parts[1:2] == ("mix",):
            seen.append(parts[2:])
        return derive(*parts)

    derive = mixed.derive
    monkeypatch.setattr(mixed, "derive", watched)
    return seen


@pytest.mark.slow  # tests/faults/test_resume.py has it for the kinds that differ
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_goes_on_in_the_middle_of_an_epoch_as_if_nothing_had_happened(
    tmp_path: Path, kind: str, keys: list[tuple[int | str, ...]]
) -> None:
    words = [*STEPS, *KINDS[kind]]
    whole = tiny.train(tmp_path / "whole", *words)
    every = [(epoch, step, 0) for epoch in range(2) for step in range(5)]
    assert keys == every  # training batches alone, each by its place in the epoch
    keys.clear()
    output = tmp_path / "cut"
    stop = 4 if "accumulated" in kind else 7  # optimizer steps: within the second epoch
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, *words, f"output_dir={output}", *tiny.stop_at(stop)]) == 1
    reached = len(keys)
    assert 6 < reached < 10
    assert main(["train", "resume=latest", f"output_dir={output}", "~callbacks.stop"]) == 0
    assert keys == [*every[:reached], *every[reached - 1 :]]  # the batch at which it was stopped comes again
    run = read_run(find_latest(output))
    assert tiny.differing(tiny.weights(whole), tiny.weights(run)) == []
    assert curves(whole) == curves(run)


@pytest.mark.slow
def test_the_last_epochs_are_trained_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    never = tiny.train(tmp_path / "never", "mix=none")
    nothing = tiny.train(tmp_path / "nothing", "mix=cutmix", "mix.p=1", "mix.off_epochs=2")
    assert "mix.off_epochs=2 and epochs=2: nothing is mixed" in "".join(capsys.readouterr())
    half = tiny.train(tmp_path / "half", "mix=cutmix", "mix.p=1", "mix.off_epochs=1")
    whole = tiny.train(tmp_path / "whole", "mix=cutmix", "mix.p=1")
    assert tiny.differing(tiny.weights(never), tiny.weights(nothing)) == []
    assert tiny.differing(tiny.weights(never), tiny.weights(half)) != []
    assert tiny.differing(tiny.weights(half), tiny.weights(whole)) != []


# ---- which batches, which seed -------------------------------------------------------------------------------------


def make_data(kind: str, **params: Any) -> tuple[SegmentationDataModule, Batch]:
    """A data module that mixes, and a batch of its training images."""
    source = SyntheticData(size=32, train=4, val=1, test=0, foreground=0.2).open({**REQUEST, "mode": "multiclass"})
    mixing = build_mixing(kind, source.task, source.stats, p=1.0, **params)
    transform = build_augmentation(None, 32, 255)
    data = SegmentationDataModule(source, transform, 1, 4, (32, 32), 0, mixing=mixing)
    dataset = SegmentationDataset(source.splits["train"])
    return data, collate([dataset[Key(0, index)] for index in range(4)])


def at(data: SegmentationDataModule, batch: Batch, epoch: int = 0, step: int = 0, rank: int = 0, **more: Any) -> Tensor:
    """The images of a batch after the transfer, at some place of a training of 4 epochs."""
    loop = SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(ready=step)))
    trainer = {"training": True, "current_epoch": epoch, "max_epochs": 4, "global_rank": rank}
    data.trainer = SimpleNamespace(**trainer | more, fit_loop=SimpleNamespace(epoch_loop=loop))  # type: ignore[assignment]
    return data.on_after_batch_transfer(batch, 0)["image"]


def test_each_epoch_step_and_process_mixes_in_its_own_way() -> None:
    data, batch = make_data("cutmix")
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    mixed = [at(data, batch, *place) for place in places]
    assert all(not torch.equal(a, b) for k, a in enumerate(mixed) for b in mixed[:k])
    assert all(torch.equal(image, at(data, batch, *place)) for image, place in zip(mixed, places, strict=True))
    data.seed = 2
    assert not torch.equal(at(data, batch), mixed[0])


def test_only_training_batches_are_mixed_until_the_last_epochs() -> None:
    data, batch = make_data("cutmix", off_epochs=1)
    assert torch.equal(at(data, batch, training=False), batch["image"])
    assert [torch.equal(at(data, batch, epoch), batch["image"]) for epoch in range(4)] == [False, False, False, True]


def test_images_of_mixup_are_floats_also_where_nothing_is_mixed() -> None:
    data, batch = make_data("mixup", off_epochs=1)
    assert at(data, batch, 3).dtype == at(data, batch, 0).dtype == torch.float32
    assert at(data, batch, training=False).dtype == torch.uint8


def test_each_process_makes_the_same_bank() -> None:
    banks = []
    for _ in range(2):
        data, batch = make_data("copy_paste", bank=6)
        data.setup("test")
        assert data.bank is None
        data.setup("fit")
        banks.append(data.bank)
        assert not torch.equal(at(data, batch), batch["image"])
    assert banks[0] is not None
    assert banks[1] is not None
    assert torch.equal(banks[0].image, banks[1].image)
    assert banks[0].image.shape == (6, 3, 32, 32)


# ---- the loss ------------------------------------------------------------------------------------------------------


def make_module(loss: nn.Module, task: Task) -> SegmentationModule:
    return SegmentationModule(nn.Identity(), loss, task, Optim())


def blended(task: Task, lam: float) -> Batch:
    """A batch with two masks."""
    masks = [make_target(task, seed=seed) for seed in (1, 7)]
    batch: Batch = {"image": make_logits(task), "mask": masks[0], "id": [], "forced": [], "tiles": []}
    return {**batch, "second": Second(masks[1], torch.tensor(lam))}


@pytest.mark.parametrize(("name", "mode"), PAIRS)
def test_the_loss_of_blended_images_is_that_of_both_masks(name: str, mode: str) -> None:
    task, lam = TASKS[mode], 0.3
    loss, batch = build(name, task), blended(TASKS[mode], lam)
    logits = batch["image"].requires_grad_()
    value, parts = make_module(loss, task).loss_of_batch(logits, batch)
    both = [batch["mask"], batch["second"].mask]
    first, second = (loss(logits, mask) for mask in both)
    assert not torch.equal(first, second)
    assert_close(value, lam * first + (1 - lam) * second)
    assert torch.isfinite(value)
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(gradient).all()
    if isinstance(loss, Combo):
        one, other = (loss.parts(logits, mask) for mask in both)
        assert_close(parts, {key: lam * one[key] + (1 - lam) * other[key] for key in one})
        assert_close(value, loss.total(parts))


class Counted(nn.Module):
    """Counts how often it is called."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss, self.calls = loss, 0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        value: Tensor = self.loss(logits, target)
        return value


def test_a_loss_is_computed_twice_only_where_images_were_blended(task: Task) -> None:
    loss = Counted(build_loss("dice", task))
    batch = blended(task, 0.4)
    module = make_module(loss, task)
    module.loss_of_batch(batch["image"], batch)
    assert loss.calls == 2
    del batch["second"]
    module.loss_of_batch(batch["image"], batch)
    assert loss.calls == 3


# ---- what is said of it --------------------------------------------------------------------------------------------


def test_names_scores_and_counts_of_a_run_that_mixes(tmp_path: Path) -> None:
    words = ["task=multiclass", "epochs=1", "data.train=24", "data.foreground=.05"]
    plain = tiny.train(tmp_path, *words)
    mixed = tiny.train(tmp_path, *words, "mix=copy_paste", "mix.p=1", "mix.pastes=4", "mix.bank=9")
    assert plain.folder.name.startswith("dice_ce-light-s1_")
    assert mixed.folder.name.startswith("dice_ce-light-copy_paste-s1_")
    assert [tiny.summary(run)["mix"] for run in (plain, mixed)] == ["none", "copy_paste"]
    assert hparam(mixed, "mix") == "copy_paste"
    # the counts are of what the net gets
    (before,), (after,) = curves(plain), curves(mixed)
    for name in ("striped_blob", "thread"):
        assert float(after[f"train_seen/{name}"]) > 1.2 * float(before[f"train_seen/{name}"])
    assert main(["evaluate", "run=latest", f"output_dir={tmp_path}", "split=val"]) == 0


def test_a_folder_of_images_is_pasted_from(tmp_path: Path) -> None:
    root = tiny.make_folder(tmp_path / "data", ids=(0, 1, 2), counts=(6, 1, 1))
    run = tiny.train(
        tmp_path, "mix=copy_paste", "mix.classes=[class_2]", "epochs=1", data=tiny.folder(root, "data.classes=null")
    )
    assert run.status == "done"
    assert "-copy_paste-s1_" in run.folder.name


@pytest.mark.slow
def test_sweeps_and_the_list_of_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "-m", *tiny.SYNTHETIC, *tiny.FAST, "epochs=1", f"output_dir={tmp_path}", "name=grid"]
    assert main([*words, "mix=none,cutmix"]) == 0
    folders = [path.parent for path in tmp_path.glob("sweeps/grid/*/status")]
    assert {folder.name: tiny.summary(read_run(folder))["mix"] for folder in folders} == {
        "mix=none": "none",
        "mix=cutmix": "cutmix",
    }
    capsys.readouterr()
    assert main(["ls", "mix"]) == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("none", "mixup", "cutmix", "mosaic", "classmix", "copy_paste"))


@pytest.mark.parametrize(
    ("words", "said"),
    tiny.every(
        3,
        [
            (["mix=cutmix", "mix.p=2"], "mix.p must be a number in [0, 1], got 2"),
            (["mix=cutmicks"], "did you mean cutmix"),
            (["mix=cutmix", "mix.alpha=1"], "mix.alpha"),
            (["mix.p=.5"], "the mix that is chosen has no p"),
            (["mix=cutmix", "batch_size=1"], "mix=cutmix needs batches of 2 or more images, and batch_size is 1"),
            (["mix=copy_paste", "mix.classes=[cell]"], "mix.classes: each must be one of foreground, 1; got 'cell'"),
        ],
    ),
)
def test_wrong_settings_are_found_at_the_start(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, *words, f"output_dir={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_evaluation_is_neither_augmented_nor_mixed(tmp_path: Path) -> None:
    """Validation and test see each image as its file holds it, whatever training does; so does prediction."""
    root = tiny.make_folder(tmp_path / "data", sizes=((32, 32), (41, 37)))
    words = [*tiny.folder(root), *tiny.FAST, "aug=heavy", "mix=mixup", "mix.p=1", f"output_dir={tmp_path / 'out'}"]
    data = assemble(Request(*compose("train", words))).data
    for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        seen = set()
        for batch in loader:
            batch = data.on_after_batch_transfer(batch, 0)
            assert batch["image"].dtype == torch.uint8
            for name, image, mask in zip(batch["id"], batch["image"], batch["mask"], strict=True):
                with Image.open(root / "images" / split / f"{name}.png") as stored:
                    np.testing.assert_array_equal(image.permute(1, 2, 0), np.asarray(stored))
                with Image.open(root / "masks" / split / f"{name}.png") as stored:
                    np.testing.assert_array_equal(mask, np.asarray(stored) // 255)
                seen.add(name)
        assert len(seen) == len(list((root / "images" / split).iterdir()))


def test_evaluation_needs_nothing_that_only_training_needed(tmp_path: Path) -> None:
    """The references of style are gone."""
    root = tiny.make_folder(tmp_path / "data")
    others = tiny.make_folder(tmp_path / "others")
    words = ["aug=style", f"aug.references={others / 'images'}", "mix=copy_paste", "mix.bank=4"]
    run = tiny.train(tmp_path / "out", *words, data=tiny.folder(root))
    shutil.rmtree(others)
    assert main(["evaluate", f"run={run.folder}", f"output={tmp_path / 'scores'}"]) == 0

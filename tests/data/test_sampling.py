"""How often each image comes: exact shares, one length for all epochs, any ranks and workers, resumable anywhere."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from segtrain.augment import build_augmentation
from segtrain.data import DataSource, ResumableSampler, SegmentationDataset, collate, sampler
from segtrain.data.crops import Crops
from segtrain.data.files import FileData
from segtrain.data.plan import EpochPlan, plan_epoch, plan_training, repeat_factors
from segtrain.data.sampler import Key
from segtrain.data.sampling import Sampling
from segtrain.data.synthetic import SyntheticData
from segtrain.datamodule import SegmentationDataModule
from segtrain.layouts.folder import FolderLayout
from segtrain.task import ClassStats, Task
from tests import tiny
from tests.data.files import REQUEST
from tests.data.test_crops import IGNORE, SIGMAS, Memory, blank, check_share

SHARES = [2.3, 1.0, 0.4, 0.05, 1.25, 3.0, 1.0]  # of 9 samples an epoch
LENGTH = 9
proportions_lists = st.lists(st.floats(0.01, 100), min_size=1, max_size=40)
seeds = st.integers(0, 2**62)


def keys(
    proportions: Sequence[float] | None, length: int, epoch: int, rank: int = 0, world: int = 1, consumed: int = 0
) -> list[Key]:
    drawn = ResumableSampler(length, 7, rank, world, proportions)
    drawn.start_at(epoch, consumed)
    return list(drawn)


# ---- how often -----------------------------------------------------------------------------------------------------


def check_times(epochs: int = 2000) -> None:
    """Each image its share rounded down or up, and the share itself on average; in each epoch the same sum."""
    times = np.zeros((epochs, len(SHARES)), int)
    for epoch in range(epochs):
        drawn = keys(SHARES, LENGTH, epoch)
        assert len(drawn) == LENGTH
        times[epoch] = np.bincount([key.image for key in drawn], minlength=len(SHARES))
    for share, found in zip(SHARES, times.T, strict=True):
        assert set(found) <= {math.floor(share), math.ceil(share)}
        part = share % 1
        assert abs(found.mean() - share) <= SIGMAS * math.sqrt(part * (1 - part) / epochs)


def check_company(epochs: int = 900) -> None:
    """Two of four images an epoch: each of the six pairs in a sixth of the epochs."""
    pairs = Counter(tuple(sorted(key.image for key in keys([0.5] * 4, 2, epoch))) for epoch in range(epochs))
    assert set(pairs) == set(itertools.combinations(range(4), 2))
    for times in pairs.values():
        check_share(times, epochs, 1 / 6)


def test_each_image_comes_as_often_as_its_share_says() -> None:
    check_times()
    check_company()


@given(proportions=proportions_lists, length=st.integers(1, 100), epoch=st.integers(0, 99))
def test_times_are_rounded_shares_and_each_occurrence_has_its_number(
    proportions: list[float], length: int, epoch: int
) -> None:
    drawn = keys(proportions, length, epoch)
    assert len(drawn) == length == len(set(drawn))
    times = Counter(key.image for key in drawn)
    for image, proportion in enumerate(proportions):
        share = length * proportion / math.fsum(proportions)
        assert math.floor(share - 1e-6) <= times[image] <= math.ceil(share + 1e-6)
        assert sorted(key.occurrence for key in drawn if key.image == image) == list(range(times[image]))


def test_equal_shares_are_each_image_once() -> None:
    for epoch, images in itertools.product(range(20), (1, 3, 49, 1000)):
        assert keys([0.1] * images, images, epoch) == keys(None, images, epoch)


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    drawn = {tuple(sorted(keys(SHARES, LENGTH, epoch)[i].image for i in range(LENGTH))) for epoch in range(40)}
    assert len(drawn) > 3
    torch.manual_seed(5)
    assert keys(SHARES, LENGTH, 3) == keys(SHARES, LENGTH, 3)


# ---- repeat factors and weights ------------------------------------------------------------------------------------


def test_repeat_factors_by_hand() -> None:
    """Of 100 images 4 hold class 1 and one of these class 2: with t = .16, sqrt(.16 / .04) = 2, sqrt(.16 / .01) = 4."""
    classes = [{0, 1, 2}, {0, 1}, {0, 1}, {1}, *[{0}] * 95, set[int]()]
    assert repeat_factors(classes, 0.16) == pytest.approx([4, 2, 2, 2, *[1] * 96])
    assert repeat_factors(classes, 0.01) == [1.0] * 100


@given(classes=st.lists(st.frozensets(st.integers(0, 5), max_size=4), min_size=1), t=st.floats(0.01, 1))
def test_repeat_factors_against_slow_ones(classes: list[frozenset[int]], t: float) -> None:
    def slow(found: frozenset[int]) -> float:
        shares = [np.mean([c in other for other in classes]) for c in found]
        return float(max([1.0, *(np.sqrt(t / share) for share in shares)]))

    np.testing.assert_allclose(repeat_factors(classes, t), [slow(found) for found in classes], rtol=1e-12)


@given(factors=st.lists(st.floats(1, 5), min_size=1, max_size=30), epoch=st.integers(0, 9))
def test_repeat_factors_leave_no_image_out(factors: list[float], epoch: int) -> None:
    plan = plan_epoch([1.0] * len(factors), factors)
    assert plan.length - 1 < sum(factors) <= plan.length + 1e-9
    assert {key.image for key in keys(plan.proportions, plan.length, epoch)} == set(range(len(factors)))


def test_weights_and_factors_multiply_and_only_factors_lengthen() -> None:
    assert plan_epoch([2.0, 2.0, 2.0], [1.0, 1.0, 1.0]).proportions is None
    weighted = plan_epoch([1.0, 3.0, 0.5], [1.0, 1.0, 1.0])
    assert (weighted.length, weighted.proportions) == (3, [1.0, 3.0, 0.5])
    both = plan_epoch([1.0, 3.0, 0.5], [1.0, 1.5, 2.0])
    assert (both.length, both.proportions) == (5, [1.0, 4.5, 1.0])
    assert both.notes == ["5 samples an epoch, an image comes up to 3.46 times"]


def source(sampling: Sampling, weights: Sequence[float] = ()) -> DataSource:
    """30 images; class 2 is in three of them, class 1 in ten, nothing in the others."""
    masks = [blank(20, 24, {(3, 4): 1} if i < 10 else {}) for i in range(30)]
    for i in range(3):
        masks[i][15, 9] = 2
    task, stats = Task("multiclass", 3, IGNORE), ClassStats([1] * 3, [1] * 3, [1] * 3, 30)
    return DataSource(
        "x", task, 3, {"train": Memory(*masks)}, stats, [0] * 3, [1] * 3, "", sampling=sampling, weights=weights
    )


def test_the_plan_of_a_data_source() -> None:
    plan = plan_training(source(Sampling(0.33, repeat=0.4), [1.0] * 29 + [2.0]))
    factors = [2.0] * 3 + [math.sqrt(1.2)] * 7 + [1.0] * 20
    assert plan.proportions == pytest.approx([*factors[:29], 2.0])
    assert plan.length == math.ceil(sum(factors))
    share = 0.33 * sum(factors[:10]) / (sum(factors) + 1)
    assert plan.notes[1] == f"{share:.1%} of the crops around a pixel of a class, which 10 of 30 images have"
    assert plan_training(source(Sampling())) == EpochPlan(30, None, [])


def test_by_area_images_come_in_proportion_to_their_pixels(tmp_path: Path) -> None:
    root = tiny.make_folder(tmp_path, sizes=[(32, 32), (64, 96)])
    data = FileData(str(root), FolderLayout(), by_area=True).open(REQUEST)
    plan = plan_training(data)
    areas = np.array([height * width for height, width in data.splits["train"].sizes])
    assert set(areas.tolist()) == {32 * 32, 64 * 96}
    assert plan.length == len(areas)
    assert plan.proportions is not None
    assert np.array(plan.proportions) / sum(plan.proportions) == pytest.approx(areas / areas.sum())


def test_background_of_a_binary_task_is_not_repeated() -> None:
    """Its one class is the foreground, which half of the images have."""
    data = SyntheticData(train=10, val=1, test=1, size=32, empty=0.5, foreground=0.1, repeat=1.0).open(REQUEST)
    plan = plan_training(data)
    held = [bool((data.splits["train"].read(i)[1] == 1).any()) for i in range(10)]
    share = sum(held) / 10
    assert 0 < share < 1
    assert plan.proportions == pytest.approx([math.sqrt(1 / share) if each else 1.0 for each in held])


@pytest.mark.parametrize("passes", [1, 2, 5])
def test_an_epoch_of_several_passes_has_each_image_so_often(passes: int) -> None:
    plan = plan_training(source(Sampling()), passes)
    drawn = keys(plan.proportions, plan.length, 0) if plan.proportions else [Key(0, i) for i in range(30)]
    assert sorted(drawn) == [Key(0, image, occurrence) for image in range(30) for occurrence in range(passes)]
    assert plan.notes == ([] if passes == 1 else [f"{passes} passes over the images in an epoch"])


def test_passes_and_rare_classes_multiply() -> None:
    once, thrice = (plan_training(source(Sampling(repeat=0.4)), passes) for passes in (1, 3))
    assert thrice.length == pytest.approx(3 * once.length, abs=3)
    assert thrice.proportions == pytest.approx([3 * each for each in once.proportions or []])


# ---- any number of ranks and workers, from any place ---------------------------------------------------------------


@given(proportions=proportions_lists, length=st.integers(1, 60), world=st.integers(1, 5), epoch=st.integers(0, 9))
def test_ranks_share_an_epoch_without_rest(proportions: list[float], length: int, world: int, epoch: int) -> None:
    whole = keys(proportions, length, epoch)
    shares = [keys(proportions, length, epoch, rank, world) for rank in range(world)]
    assert {len(share) for share in shares} == {length // world}
    assert sorted(itertools.chain(*shares)) == sorted(whole[: length // world * world])
    for rank, share in enumerate(shares):
        for consumed in range(0, len(share), 3):
            assert keys(proportions, length, epoch, rank, world, consumed) == share[consumed:]


def loader(workers: int, consumed: int, epoch: int = 1) -> DataLoader[Any]:
    """Batches of 4 of all three: forced crops, repeat factors, weights."""
    data = source(Sampling(0.5, repeat=0.4), [1.0] * 20 + [1.7] * 10)
    plan, crops = plan_training(data), Crops((16, 16), IGNORE, 0.5, (1, 2))
    flips = build_augmentation({"flip": {"op": "HorizontalFlip", "p": 0.5}}, 16, IGNORE)
    dataset = SegmentationDataset(data.splits["train"], flips, 3, crops)
    drawn = ResumableSampler(plan.length, 3, proportions=plan.proportions)
    drawn.start_at(epoch, consumed)
    return DataLoader(dataset, 4, sampler=drawn, num_workers=workers, collate_fn=collate, drop_last=True)


def tensors(batches: DataLoader[Any]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Image, mask, number of the image, whether it was forced."""
    return [
        (
            batch["image"],
            batch["mask"],
            torch.tensor([int(name.removeprefix("image_")) for name in batch["id"]]),
            torch.tensor(batch["forced"]),
        )
        for batch in batches
    ]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork with threads, Python 3.12
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine of one core
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_continues_at_every_step(workers: int) -> None:
    whole = tensors(loader(0, 0))
    assert len(whole) == 8
    assert any(forced.any() for *_, forced in whole)
    images = torch.cat([numbers for _, _, numbers, _ in whole]).tolist()
    assert len(set(images)) < len(images)
    for step in range(len(whole)):
        torch.testing.assert_close(tensors(loader(workers, 4 * step)), whole[step:], rtol=0, atol=0)


def test_an_image_that_comes_twice_looks_different() -> None:
    dataset = loader(0, 0).dataset
    for image in range(10):
        first, second = dataset[Key(0, image)], dataset[Key(0, image, 1)]
        assert (first["image"] != second["image"]).any()


@pytest.mark.parametrize("batch", [1, 4, 7, 50])
def test_the_scheduler_knows_the_length_of_an_epoch(batch: int) -> None:
    data = source(Sampling(0.5, repeat=0.4), [1.0] * 20 + [1.7] * 10)
    module = SegmentationDataModule(data, lambda image, mask, seed: (image, mask), 0, batch, (16, 16), 0)
    batches = module.train_dataloader()
    assert isinstance(batches.sampler, ResumableSampler)
    for epoch in range(3):
        batches.sampler.set_epoch(epoch)
        assert len(list(batches)) == len(batches) == module.train_batches()


# ---- the checks can fail -------------------------------------------------------------------------------------------


def rounded(shares: Tensor, seed: int) -> Tensor:
    """Shares to the nearest whole number, the rest to whoever is first: the same in each epoch."""
    times = shares.add(sampler.ONE // 2) // sampler.ONE
    times[0] += shares.sum() // sampler.ONE - times.sum()
    return times


def independent(shares: Tensor, seed: int) -> Tensor:
    """With replacement: right on average, but no epoch is."""
    drawn = torch.multinomial(
        shares.double(),
        int(shares.sum() // sampler.ONE),
        replacement=True,
        generator=torch.Generator().manual_seed(seed),
    )
    return torch.bincount(drawn, minlength=len(shares))


def in_one_order(shares: Tensor, seed: int) -> Tensor:
    """Pieces always laid in the same order: neighbours exclude each other for ever."""
    first = torch.randint(sampler.ONE, (1,), generator=torch.Generator().manual_seed(seed))
    return (
        torch.cat([torch.zeros(1).long(), shares.cumsum(0)]).add(first).div(sampler.ONE, rounding_mode="floor").diff()
    )


@pytest.mark.parametrize(
    ("wrong", "check"), [(rounded, check_times), (independent, check_times), (in_one_order, check_company)]
)
def test_wrong_draws_would_be_noticed(wrong: Any, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "draw_times", wrong)
    with pytest.raises(AssertionError):
        check()

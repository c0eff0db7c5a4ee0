"""What reaches the training loop: cache, order, evaluation batches, samples by (seed, epoch, index) alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from segtrain.augment import build_augmentation
from segtrain.data import EvaluationBatches, EvaluationDataset, ResumableSampler, SegmentationDataset, collate
from segtrain.data.cache import in_memory
from segtrain.data.crops import Crops
from segtrain.data.sampler import Key, Part
from segtrain.data.sampling import Pixels, mask_places
from segtrain.windows import Array, Tiling, Window, cut
from tests.data.files import noise

LENGTH, CROP = 7, 16
OPS = {
    "flip": {"op": "HorizontalFlip", "p": 0.5},
    "noise": {"op": "GaussNoise", "p": 1.0},
    "turn": {"op": "Affine", "rotate": [-30, 30], "p": 1.0},
    "bend": {"op": "elastic", "p": 0.5},
    "speckle": {"op": "speckle", "p": 0.5},
}


class Drawn:
    """Images and masks in memory that counts how often each is read. Implements Examples."""

    def __init__(self, size: tuple[int, int] = (20, 24), planes: tuple[int, ...] = ()) -> None:
        self.ids = [f"image_{i}" for i in range(LENGTH)]
        self.sizes = [size] * LENGTH
        self.planes = planes
        self.reads: list[int] = []

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        self.reads.append(index)
        mask = np.random.default_rng(index).integers(0, 3, (*self.planes, *self.sizes[index]))
        return cut(noise(index, *self.sizes[index]), mask.astype(np.uint8), window)

    def places(self, index: int) -> Pixels:
        return mask_places(self.read(index)[1], index)


def bytes_of(arrays: Sequence[Array]) -> int:
    return sum(array.nbytes for array in arrays)


# ---- order ---------------------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**62)
epochs = st.integers(0, 1000)


def order(length: int, seed: int, epoch: int, rank: int = 0, world: int = 1, consumed: int = 0) -> list[int]:
    sampler = ResumableSampler(length, seed, rank, world)
    sampler.start_at(epoch, consumed)
    assert {(key.epoch, key.occurrence) for key in sampler} <= {(epoch, 0)}
    return [key.image for key in sampler]


@given(length=st.integers(1, 60), seed=seeds, epoch=epochs, world=st.integers(1, 5), consumed=st.integers(0, 70))
def test_ranks_share_a_permutation_that_resumes_anywhere(
    length: int, seed: int, epoch: int, world: int, consumed: int
) -> None:
    whole = order(length, seed, epoch)
    assert sorted(whole) == list(range(length))
    shares = [order(length, seed, epoch, rank, world) for rank in range(world)]
    assert {len(share) for share in shares} == {length // world}
    assert sorted(itertools.chain(*shares)) == sorted(whole[: length // world * world])
    assert len(ResumableSampler(length, seed, 0, world)) == length // world
    for rank, share in enumerate(shares):
        assert order(length, seed, epoch, rank, world, consumed) == share[consumed:]


def test_order_depends_on_seed_and_epoch() -> None:
    orders = [tuple(order(30, seed, epoch)) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == len(orders)
    torch.manual_seed(5)
    assert orders[0] == tuple(order(30, 0, 0))


def test_every_place_gets_every_image() -> None:
    """First images of 600 epochs: 100 each expected, standard deviation 9."""
    first = np.bincount([order(6, 1, epoch)[0] for epoch in range(600)], minlength=6)
    assert first.min() > 60
    assert first.max() < 140


def test_setting_the_continued_epoch_keeps_the_place() -> None:
    sampler = ResumableSampler(10, 0)
    sampler.start_at(3, 4)
    sampler.set_epoch(3)
    assert list(sampler) == [Key(3, index) for index in order(10, 0, 3)[4:]]
    assert len(sampler) == 10
    sampler.set_epoch(4)
    assert list(sampler) == [Key(4, index) for index in order(10, 0, 4)]


SIZE_LISTS = st.lists(st.sampled_from([(4, 4), (4, 6), (6, 4), (20, 20)]), max_size=30)


@given(sizes=SIZE_LISTS, pixels=st.integers(1, 200), world=st.integers(1, 4))
def test_evaluation_sees_each_image_once_in_batches_of_one_size(
    sizes: list[tuple[int, int]], pixels: int, world: int
) -> None:
    shares = [EvaluationBatches(sizes, pixels, rank, world) for rank in range(world)]
    batches = [batch for share in shares for batch in share]
    assert [len(share) for share in shares] == [len(list(share)) for share in shares]
    assert sorted(key.image for batch in batches for key in batch) == list(range(len(sizes)))
    for batch in batches:
        assert len({sizes[key.image] for key in batch}) == 1
        assert len(batch) == 1 or sum(sizes[key.image][0] * sizes[key.image][1] for key in batch) <= pixels
    images = [sum(map(len, batches)) for batches in shares]
    assert max(images) - min(images) <= 1


@given(
    sizes=st.lists(st.sampled_from([(20, 20), (70, 70), (33, 129), (200, 90)]), max_size=8),
    pixels=st.integers(1, 10_000),
    world=st.integers(1, 3),
    margin=st.sampled_from([0, 7, 16]),
)
def test_tiles_of_an_image_come_in_order_to_one_process(
    sizes: list[tuple[int, int]], pixels: int, world: int, margin: int
) -> None:
    tiling = Tiling(64, margin)
    shares = [EvaluationBatches(sizes, pixels, rank, world, tiling) for rank in range(world)]
    for rank, share in enumerate(shares):
        assert {part.image for batch in share for part in batch} == set(range(rank, len(sizes), world))
        tiled = [part for batch in share for part in batch if part.tile is not None]
        for image in {part.image for part in tiled}:
            places = [place for place, part in enumerate(tiled) if part.image == image]
            assert places == list(range(places[0], places[0] + len(places)))  # no other image's between them
            assert [tiled[place].tile for place in places] == tiling.tiles(sizes[image])
        for batch in share:
            shapes = {sizes[p.image] if p.tile is None else (p.tile.window.height, p.tile.window.width) for p in batch}
            ((height, width),) = shapes
            assert len(batch) == 1 or len(batch) * height * width <= pixels
            assert len({part.image for part in batch if part.tile is not None}) <= 1
            assert len({part.tile is None for part in batch}) == 1
    whole = sorted(part.image for share in shares for batch in share for part in batch if part.tile is None)
    assert whole == [index for index, size in enumerate(sizes) if len(tiling.tiles(size)) == 1]


def test_evaluation_batches_are_filled() -> None:
    assert [len(batch) for batch in EvaluationBatches([(4, 4)] * 7, 3 * 16)] == [3, 3, 1]
    tiled = EvaluationBatches([(64, 32 * 9)], 2 * 64 * 64, tiling=Tiling(64, 0))
    assert [len(batch) for batch in tiled] == [2, 2, 1]  # tiles: four of 64 pixels and the rest of 32


@pytest.mark.parametrize(("planes", "ignore_index"), [((), 255), ((3,), 255), ((), -1)])
def test_beside_its_core_a_tile_is_ignored(planes: tuple[int, ...], ignore_index: int) -> None:
    examples = Drawn((70, 90), planes)
    image, mask = examples.read(1)
    data, seen = EvaluationDataset(examples, ignore_index), np.zeros_like(mask)
    for tile in Tiling(64, 16).tiles((70, 90)):
        sample = data[Part(1, tile)]
        np.testing.assert_array_equal(sample["image"], image[tile.window.slices])
        labelled = sample["mask"] != ignore_index
        assert labelled.sum() == np.prod(planes, dtype=int) * tile.core.height * tile.core.width
        seen[(..., *tile.window.slices)] += labelled.astype(np.uint8)
        np.testing.assert_array_equal(sample["mask"][labelled], mask[(..., *tile.window.slices)][labelled])
    assert (seen == 1).all()
    assert collate([sample])["tiles"] == [sample["tile"]]
    np.testing.assert_array_equal(mask, examples.read(1)[1])
    whole = data[Part(1)]
    np.testing.assert_array_equal(whole["mask"], mask)
    assert collate([whole])["tiles"] == []


# ---- samples and batches -------------------------------------------------------------------------------------------


def dataset(seed: int = 0, **drawn: Any) -> SegmentationDataset:
    crops = Crops((CROP, CROP), 255)
    cached, _ = in_memory(Drawn(**drawn), (3, sum(drawn.get("planes", ()))), np.uint8, 10**6)
    return SegmentationDataset(cached, build_augmentation(OPS, CROP, 255), seed, crops)


def test_without_a_transform_samples_are_the_files() -> None:
    plain = SegmentationDataset(Drawn())
    assert len(plain) == LENGTH
    sample = plain[Key(5, 2)]
    assert sample["id"] == "image_2"
    np.testing.assert_array_equal(sample["image"], noise(2, 20, 24))


def test_a_sample_depends_on_seed_and_key_alone() -> None:
    keys = [Key(*key) for key in itertools.product(range(3), range(3), range(2))]
    forward, other = dataset(), dataset(seed=1)
    samples = {key: forward[key] for key in keys}
    backward = dataset()
    for key in reversed(keys):
        for part in ("image", "mask"):
            np.testing.assert_array_equal(backward[key][part], samples[key][part])
        assert (other[key]["image"] != samples[key]["image"]).any()
    for key in keys[6:]:
        assert (samples[key]["image"] != samples[key._replace(epoch=key.epoch - 1)]["image"]).any()
    for key in keys[::2]:
        assert (samples[key]["image"] != samples[key._replace(occurrence=1)]["image"]).any()


def test_no_two_samples_share_a_seed() -> None:
    given_seeds = []

    def note(image: Array, mask: Array, seed: int) -> tuple[Array, Array]:
        given_seeds.append(seed)
        return image, mask

    for seed, *key in itertools.product(range(2), range(3), range(LENGTH), range(2)):
        SegmentationDataset(Drawn(), note, seed)[Key(*key)]
    assert len(set(given_seeds)) == 2 * 3 * LENGTH * 2


@pytest.mark.parametrize("planes", [(), (4,)], ids=["exclusive", "multilabel"])
def test_batches_are_channels_last_and_uint8(planes: tuple[int, ...]) -> None:
    data = dataset(planes=planes)
    samples = [data[Key(0, index)] for index in (1, 4, 2)]
    batch = collate(samples)
    assert batch["image"].shape == (3, 3, CROP, CROP)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert batch["mask"].shape == (3, *planes, CROP, CROP)
    assert batch["mask"].is_contiguous()
    assert batch["image"].dtype == batch["mask"].dtype == torch.uint8
    assert batch["id"] == ["image_1", "image_4", "image_2"]
    for place, sample in enumerate(samples):
        np.testing.assert_array_equal(batch["image"][place].permute(1, 2, 0), sample["image"])
        np.testing.assert_array_equal(batch["mask"][place], sample["mask"])


def test_float_images_stay_float() -> None:
    image = np.random.default_rng(0).random((20, 24, 3), np.float32)
    changed, mask = build_augmentation(OPS, (20, 24), 255)(image, np.zeros((20, 24), np.uint8), 0)
    batch = collate([{"image": changed, "mask": mask, "id": "x", "forced": False}])
    assert batch["image"].dtype == torch.float32
    assert 0 <= batch["image"].min() < batch["image"].max() <= 1


def epoch_tensors(loader: DataLoader[Any], sampler: ResumableSampler, numbers: Sequence[int]) -> list[list[Tensor]]:
    seen = []
    for epoch in numbers:
        sampler.set_epoch(epoch)
        batches = list(loader)
        seen.append([torch.cat([batch[part] for batch in batches]) for part in ("image", "mask")])
    return seen


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork with threads, Python 3.12
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine of one core
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_change_nothing(persistent: bool) -> None:
    def loaded(workers: int, numbers: Sequence[int]) -> list[list[Tensor]]:
        sampler = ResumableSampler(LENGTH, 3)
        kept = persistent and workers > 0
        loader = DataLoader(
            dataset(3), 2, sampler=sampler, num_workers=workers, collate_fn=collate, persistent_workers=kept
        )
        return epoch_tensors(loader, sampler, numbers)

    alone, together = loaded(0, [0, 1, 2]), loaded(2, [0, 1, 2])
    torch.testing.assert_close(alone, together, rtol=0, atol=0)
    assert not torch.equal(alone[0][0].sort(0).values, alone[1][0].sort(0).values)
    torch.testing.assert_close(loaded(2, [2]), alone[2:], rtol=0, atol=0)

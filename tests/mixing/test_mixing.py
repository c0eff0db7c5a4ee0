"""Mixing: each pixel is the one that the plan names, plans are what their kinds say, shares rise as predicted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

from segtrain.contract.waiting import NoSync, without_data
from segtrain.errors import UserError
from segtrain.mixing import KINDS, Mixing, build_mixing
from segtrain.mixing.bank import Bank, build_bank
from segtrain.mixing.kinds import partners
from segtrain.mixing.plan import Canvas, Plan, carry_out
from segtrain.task import Batch, ClassStats, Task
from tests import tiny
from tests.conftest import STATS, TASKS, generator, make_target

HARD = [name for name in KINDS if name != "mixup"]
SEEDS = range(8)
SIZE = (5, 7, 9)  # N, H, W


def make_batch(task: Task, size: tuple[int, int, int] = SIZE, dtype: Any = torch.uint8, channels: int = 3) -> Batch:
    number, height, width = size
    image = torch.randint(0, 256, (number, height, width, channels), dtype=torch.uint8, generator=generator(3))
    image = (image if dtype == torch.uint8 else image.to(dtype) / 255).permute(0, 3, 1, 2)
    mask = make_target(task, size=size, ignored=0.2).to(torch.uint8)
    names = [f"image{index}" for index in range(number)]
    return {"image": image, "mask": mask, "id": names, "forced": [False] * number, "tiles": []}


def make_bank(task: Task, classes: tuple[int, ...], size: tuple[int, int, int] = (6, *SIZE[1:]), **kw: Any) -> Bank:
    batch = make_batch(task, size, **kw)
    # other pixels than those of the batch
    return build_bank(batch["image"].flip(0), batch["mask"].flip(0), task, classes)


def make(name: str, task: Task, **params: Any) -> tuple[Mixing, Bank | None]:
    mix = build_mixing(name, task, STATS[task.mode], **params)
    assert mix is not None
    return mix, make_bank(task, mix.kind.wanted) if hasattr(mix.kind, "wanted") else None


def plan_of(mix: Mixing, batch: Batch, bank: Bank | None, seed: int, mixed: Any = True) -> Plan:
    flags = np.broadcast_to(np.asarray(mixed), (len(batch["mask"]),)).copy()
    return mix.kind.plan(Canvas(batch["mask"], bank), flags, np.random.default_rng(seed))


def origins(plan: Plan, batch: Batch) -> Iterator[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """(n, y, x) of each output pixel, and (image, y, x) of its source; images of the bank follow those of the batch."""
    height, width = batch["mask"].shape[-2:]
    for place, number in np.ndenumerate(plan.source.numpy()):
        image, rest = divmod(int(number), height * width)
        yield (place[0], place[1], place[2]), (image, *divmod(rest, width))


# ---- carrying out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("name", HARD)
def test_each_pixel_is_the_one_that_the_plan_names(name: str, task: Task, channels: int, dtype: Any) -> None:
    batch = make_batch(task, dtype=dtype, channels=channels)
    mix, bank = make(name, task)
    if bank is not None:
        bank = make_bank(task, tuple(bank.boxes), dtype=dtype, channels=channels)
    plan = plan_of(mix, batch, bank, 1)
    mixed = carry_out(batch, plan, bank)
    images, masks = list(batch["image"]), list(batch["mask"])
    if bank is not None:
        images, masks = [*images, *bank.image], [*masks, *bank.mask]
    assert (plan.source != Canvas(batch["mask"]).own()).any()
    for (n, y, x), (image, row, column) in origins(plan, batch):
        assert torch.equal(mixed["image"][n, :, y, x], images[image][:, row, column])
        assert torch.equal(mixed["mask"][n, ..., y, x], masks[image][..., row, column])
    for key in ("image", "mask"):
        assert mixed[key].dtype == batch[key].dtype
        assert mixed[key].shape == batch[key].shape
    assert mixed["image"].is_contiguous(memory_format=torch.channels_last)
    assert mixed["mask"].is_contiguous()
    assert "second" not in mixed
    assert mixed["id"] == batch["id"]


@pytest.mark.parametrize("name", HARD)
def test_other_memory_layouts_and_types_of_masks_give_the_same(name: str, task: Task) -> None:
    batch = make_batch(task)
    mix, bank = make(name, task, p=1.0)
    expected = mix(batch, 2, bank)
    plain: Batch = {**batch, "image": batch["image"].contiguous(), "mask": batch["mask"].mT.contiguous().mT.long()}
    given = mix(plain, 2, None if bank is None else Bank(bank.image.contiguous(), bank.mask.long(), bank.boxes))
    assert torch.equal(given["image"], expected["image"])
    assert torch.equal(given["mask"], expected["mask"].long())
    assert given["image"].is_contiguous()


@pytest.mark.parametrize("name", KINDS)
def test_the_batch_that_was_given_stays_as_it_was(name: str, task: Task) -> None:
    batch = make_batch(task)
    image, mask = batch["image"].clone(), batch["mask"].clone()
    mix, bank = make(name, task, p=1.0)
    mixed = mix(batch, 0, bank)
    assert not torch.equal(mixed["image"].float(), image.float())
    assert torch.equal(batch["image"], image)
    assert torch.equal(batch["mask"], mask)


def same(one: Batch, other: Batch) -> bool:
    pairs = [(one["image"], other["image"]), (one["mask"], other["mask"])]
    if "second" in one and "second" in other:
        pairs += zip(one["second"], other["second"], strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and one.keys() == other.keys()


@pytest.mark.parametrize("name", KINDS)
def test_equal_seeds_mix_alike_and_others_do_not(name: str, task: Task) -> None:
    batch = make_batch(task)
    mix, bank = make(name, task, p=1.0)
    assert same(mix(batch, 5, bank), mix(batch, 5, bank))
    assert not same(mix(batch, 5, bank), mix(batch, 6, bank))


@pytest.mark.parametrize("name", KINDS)
def test_a_share_p_of_the_images_is_mixed(name: str) -> None:
    task = TASKS["multiclass"]
    batch = make_batch(task, (40, 6, 6))
    mix, _ = make(name, task, p=0.3)
    bank = make_bank(task, (1, 2, 3), (6, 6, 6)) if name == "copy_paste" else None
    changed = torch.zeros(40)
    planned = []
    for seed in range(40):
        mixed = mix(batch, seed, bank)
        before = batch["image"].float() / (255 if mix.kind.blends else 1)
        changed += (mixed["image"] != before).flatten(1).any(1)
        planned.append(np.random.default_rng(seed).random(40) < 0.3)
    # classes that are not drawn and cut-off pastes leave some images as they are
    assert (changed <= torch.from_numpy(np.sum(planned, 0))).all()
    assert float(changed.mean()) / 40 > 0.2
    assert np.mean(planned) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_off_or_alone_is_left(name: str, task: Task) -> None:
    batch, one = make_batch(task), make_batch(task, (1, 7, 9))
    mix, bank = make(name, task, p=1.0)
    never, _ = make(name, task, p=0.0)
    for given, left in (
        (batch, mix(batch, 0, bank, on=False)),
        (batch, never(batch, 0, bank)),
        (one, mix(one, 0, bank)),
    ):
        if name == "copy_paste" and given is one:
            assert not torch.equal(left["image"], given["image"])
            continue
        expected = given["image"].float() / 255 if name == "mixup" else given["image"]
        assert torch.equal(left["image"], expected)
        assert left["image"].dtype == expected.dtype
        assert torch.equal(left["mask"], given["mask"])
        assert "second" not in left


def test_none_is_nothing() -> None:
    assert build_mixing("none") is None


# ---- partners ------------------------------------------------------------------------------------------------------


def test_partners_are_other_images_each_as_likely() -> None:
    for number in (2, 3, 5):
        counts = np.zeros((number, number), int)
        for seed in range(600):
            chosen = partners(np.ones(number, bool), np.random.default_rng(seed), 1)
            assert sorted(chosen[:, 0]) == list(range(number))
            counts[np.arange(number), chosen[:, 0]] += 1
        assert (counts.diagonal() == 0).all()
        others = counts[~np.eye(number, dtype=bool)]
        assert np.abs(others - 600 / (number - 1)).max() < 5 * np.sqrt(600 / (number - 1))


def test_three_partners_differ_where_they_can() -> None:
    for number, wanted in ((2, 1), (3, 2), (4, 3), (9, 3)):
        for seed in range(20):
            chosen = partners(np.ones(number, bool), np.random.default_rng(seed), 3)
            assert chosen.shape == (number, 3)
            for index, row in enumerate(chosen):
                assert index not in row
                assert len(set(row)) == wanted or number <= 3
    mixed = np.array([True, False, True])
    assert partners(mixed, np.random.default_rng(0), 3)[1].tolist() == [1, 1, 1]


# ---- each kind is what it says -------------------------------------------------------------------------------------


def test_cutmix_is_a_box_of_one_partner_with_the_area_that_was_asked_for() -> None:
    task = TASKS["binary"]
    batch = make_batch(task, (6, 40, 60))
    areas, tall = [], 0
    for seed in range(60):
        mix, _ = make("cutmix", task, area=[0.2, 0.4])
        source = plan_of(mix, batch, None, seed).source.numpy()
        for n in range(6):
            image, place = np.divmod(source[n], 40 * 60)
            assert (place == np.arange(40 * 60).reshape(40, 60)).all()
            inside = image != n
            assert len(np.unique(image[inside])) == 1
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            areas.append(inside.mean())
            tall += len(rows) / 40 > len(columns) / 60
    assert 0.18 < min(areas) < 0.22
    assert 0.38 < max(areas) < 0.42
    assert np.mean(areas) == pytest.approx(0.3, abs=0.01)
    assert 0.4 < tall / len(areas) < 0.6
    mix, _ = make("cutmix", task, area=0.25)
    assert np.mean(plan_of(mix, batch, None, 0).source.numpy() // 2400 != np.arange(6)[:, None, None]) == pytest.approx(
        0.25, abs=0.02
    )


def test_cutmix_boxes_lie_anywhere() -> None:
    """A box of half of each side: the middle is always covered, each place by a chance that follows from its range."""
    task = TASKS["binary"]
    batch, mix = make_batch(task, (20, 8, 8)), make("cutmix", task, area=1.0)[0]
    assert (plan_of(mix, batch, None, 0).source // 64 != torch.arange(20).view(-1, 1, 1)).all()
    mix, covered = make("cutmix", task, area=0.01)[0], torch.zeros(8, 8)
    for seed in range(40):
        covered += (plan_of(mix, batch, None, seed).source // 64 != torch.arange(20).view(-1, 1, 1)).sum(0)
    assert (covered > 0).all()


def test_mosaic_has_four_images_around_one_centre() -> None:
    task, (height, width) = TASKS["binary"], (40, 60)
    batch, mix = make_batch(task, (6, height, width)), make("mosaic", task, centre=0.2)[0]
    centres, own = [], []
    for seed in range(50):
        source = plan_of(mix, batch, None, seed).source.numpy()
        for n in range(6):
            image, place = np.divmod(source[n], height * width)
            assert (place == np.arange(height * width).reshape(height, width)).all()
            row = 1 + int(np.flatnonzero(image[1:, 0] != image[:-1, 0])[0])
            column = 1 + int(np.flatnonzero(image[0, 1:] != image[0, :-1])[0])
            quarters = [image[:row, :column], image[:row, column:], image[row:, :column], image[row:, column:]]
            found = [set(quarter.flatten().tolist()) for quarter in quarters]
            assert all(len(each) == 1 for each in found)
            assert len(set.union(*found)) == 4
            assert {n} in found
            own.append(found.index({n}))
            centres.append((row / height, column / width))
    assert np.min(centres) > 0.28
    assert np.max(centres) < 0.72
    assert np.ptp(centres) > 0.35
    assert np.bincount(own, minlength=4).min() > 40


def test_mosaic_of_two_images_uses_both() -> None:
    task = TASKS["binary"]
    batch, mix = make_batch(task, (2, 8, 8)), make("mosaic", task)[0]
    for seed in SEEDS:
        for image in plan_of(mix, batch, None, seed).source // 64:
            assert image.unique().tolist() == [0, 1]


def labels_at(mask: Tensor, task: Task, y: int, x: int) -> set[int]:
    """Classes of a pixel, none where it has no label."""
    if task.mode == "multilabel":
        return {k for k in range(task.num_classes) if int(mask[k, y, x]) == 1}
    return {int(mask[y, x])} - {task.ignore_index}


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_classmix_pastes_all_pixels_of_so_many_classes(task: Task, share: float) -> None:
    batch = make_batch(task, (4, 5, 6))
    batch["mask"][2:] = batch["mask"][2:].masked_fill(batch["mask"][2:] == 1, 0)  # other numbers of classes
    mix, drawn = make("classmix", task, share=share)[0], set()
    for seed in SEEDS:
        plan = plan_of(mix, batch, None, seed)
        chosen = pasted_classes(plan, batch, task)
        for n, (partner, classes) in chosen.items():
            mask = batch["mask"][partner]
            present = set().union(*(labels_at(mask, task, y, x) for y in range(5) for x in range(6)))
            more = task.mode == "multilabel"
            assert len(classes) == min(len(present), int((len(present) + more) * share + 1e-6))
            for (m, y, x), (image, row, column) in origins(plan, batch):
                if m == n:
                    assert (row, column) == (y, x)
                    assert image == (partner if labels_at(mask, task, y, x) & classes else n)
            drawn.add((partner, *sorted(classes)))
    assert len(drawn) > 4 or share == 1 or task.mode == "binary"


def pasted_classes(plan: Plan, batch: Batch, task: Task) -> dict[int, tuple[int, set[int]]]:
    """Of each image its partner and the classes all of whose pixels come from it, where it has any."""
    found = {}
    images = plan.source // (5 * 6)
    for n in range(len(images)):
        others = set(images[n].flatten().tolist()) - {n}
        assert len(others) <= 1
        for partner in others:
            taken = {c: [] for c in range(task.num_classes + 1)}
            for y in range(5):
                for x in range(6):
                    for label in labels_at(batch["mask"][partner], task, y, x):
                        taken[label].append(int(images[n, y, x]) == partner)
            found[n] = (partner, {c for c, flags in taken.items() if flags and all(flags)})
    return found


def test_classmix_draws_each_class_as_often() -> None:
    task = Task("multiclass", 4)
    mask = torch.arange(4, dtype=torch.uint8).repeat(2, 4, 1)  # four columns
    batch: Batch = {**make_batch(task, (2, 4, 4)), "mask": mask}
    mix, counts = make("classmix", task)[0], torch.zeros(4)
    for seed in range(400):
        counts += (plan_of(mix, batch, None, seed).source[0, 0] >= 16).float()
    assert counts.sum() == 800
    assert (counts - 200).abs().max() < 50


@pytest.mark.parametrize("name", ["binary", "multiclass"])
def test_classmix_of_one_class_pastes_nothing(name: str) -> None:
    task = TASKS[name]
    batch: Batch = {**make_batch(task), "mask": torch.zeros(SIZE, dtype=torch.uint8)}
    mix, _ = make("classmix", task, p=1.0)
    assert torch.equal(mix(batch, 0)["image"], batch["image"])


def test_nothing_without_a_label_is_pasted_for_itself(task: Task) -> None:
    batch = make_batch(task)
    batch["mask"][:] = task.ignore_index
    for name in ("classmix", "copy_paste"):
        mix, _ = make(name, task, p=1.0)
        bank = build_bank(batch["image"].flip(0), batch["mask"], task, (1,)) if name == "copy_paste" else None
        assert torch.equal(mix(batch, 0, bank)["image"], batch["image"])


def test_mixup_blends_images_and_keeps_both_masks(task: Task) -> None:
    batch = make_batch(task)
    mix, _ = make("mixup", task, alpha=1.0, p=0.6)
    lams = []
    for seed in range(30):
        mixed = mix(batch, seed)
        assert torch.equal(mixed["mask"], batch["mask"])
        second, lam = mixed["second"]
        lams.append(float(lam))
        assert lam.dtype == torch.float32
        image = batch["image"].float() / 255
        flags = np.random.default_rng(seed).random(len(image)) < 0.6
        for n, flag in enumerate(flags.tolist()):
            (partner,) = [m for m in range(len(image)) if torch.equal(second[n], batch["mask"][m])]
            assert (partner != n) == flag
            assert_close(mixed["image"][n], lam * image[n] + (1 - lam) * image[partner])
            if not flag:
                assert torch.equal(mixed["image"][n], image[n])
        assert mixed["image"].dtype == torch.float32
        assert mixed["image"].is_contiguous(memory_format=torch.channels_last)
    # the larger of two parts that are uniform
    assert 0.5 <= min(lams) < 0.6
    assert 0.9 < max(lams) <= 1
    assert np.mean(lams) == pytest.approx(0.75, abs=4 * 0.144 / 30**0.5)


# ---- copy-paste ----------------------------------------------------------------------------------------------------


def test_the_bank_knows_where_its_classes_are(task: Task) -> None:
    mask = make_target(task, size=(4, 8, 9), ignored=0.9)
    bank = build_bank(torch.zeros(4, 3, 8, 9), mask, task, (0, 1))
    for label in (0, 1):
        plane = (mask[:, label] == 1 if task.mode == "multilabel" else mask == label).numpy()
        assert bank.boxes[label][:, 0].tolist() == [crop for crop in range(4) if plane[crop].any()]
        for crop, top, left, height, width in bank.boxes[label].tolist():
            rows, columns = np.nonzero(plane[crop])
            assert (top, left) == (rows.min(), columns.min())
            assert (top + height - 1, left + width - 1) == (rows.max(), columns.max())


def test_a_paste_is_the_class_of_a_crop_moved_as_a_whole(task: Task) -> None:
    batch = make_batch(task)
    mix, bank = make("copy_paste", task, pastes=1)
    assert bank is not None
    number, shifts = len(batch["mask"]), set()
    for seed in SEEDS:
        plan = plan_of(mix, batch, bank, seed)
        pasted: dict[int, dict[tuple[int, int], tuple[int, int, int]]] = {n: {} for n in range(number)}
        for (n, y, x), (image, row, column) in origins(plan, batch):
            if image < number:
                assert (image, row, column) == (n, y, x)
            else:
                pasted[n][y, x] = (image - number, row, column)
        for places in (each for each in pasted.values() if each):
            ((crop, down, right),) = {(c, y - row, x - column) for (y, x), (c, row, column) in places.items()}
            shifts.add((down, right))
            common = set.intersection(*(labels_at(bank.mask[crop], task, r, c) for _, r, c in places.values()))
            expected = [
                {
                    (y + down, x + right)
                    for y in range(7)
                    for x in range(9)
                    if label in labels_at(bank.mask[crop], task, y, x) and 0 <= y + down < 7 and 0 <= x + right < 9
                }
                for label in common & set(bank.boxes)
            ]
            assert set(places) in expected
    assert len(shifts) > 20


def test_pastes_are_never_out_of_sight_and_cover_all_places_alike() -> None:
    """One pixel is as likely to be pasted onto any pixel."""
    task = TASKS["binary"]
    mask = torch.zeros(1, 4, 5, dtype=torch.uint8)
    mask[0, 1, 2] = 1
    bank = build_bank(torch.zeros(1, 3, 4, 5, dtype=torch.uint8), mask, task, (1,))
    batch, mix = make_batch(task, (10, 4, 5)), make("copy_paste", task, pastes=1)[0]
    covered = torch.zeros(4, 5)
    for seed in range(200):
        pasted = plan_of(mix, batch, bank, seed).source >= 10 * 20
        assert pasted.flatten(1).sum(1).tolist() == [1] * 10
        covered += pasted.sum(0)
    assert (covered - 100).abs().max() < 45


def shares(mask: Tensor, task: Task) -> list[float]:
    """Share of all pixels that each class has; of the foreground in binary."""
    labels = {"binary": [1], "multiclass": range(task.num_classes), "multilabel": range(task.num_classes)}[task.mode]
    planes = [mask[:, k] == 1 if task.mode == "multilabel" else mask == k for k in labels]
    return [float(plane.double().mean()) for plane in planes]


def planes_of(mask: Tensor, task: Task) -> list[Tensor]:
    """Where each class is in one mask; the foreground in binary."""
    if task.mode == "multilabel":
        return [plane == 1 for plane in mask]
    return [mask == label for label in ([1] if task.mode == "binary" else range(task.num_classes))]


def predicted(bank: Bank, task: Task, stats: ClassStats, balance: float, pastes: int, before: Any) -> Any:
    """The shares after pasting, paste by paste, straight from the chances: class, crop, shift."""
    height, width = bank.mask.shape[-2:]
    first = 1 if task.mode == "binary" else 0
    crops = [planes_of(mask, task) for mask in bank.mask]
    odds = {k - first: stats.share()[k - first] ** (1 - balance) for k in bank.boxes}
    cover, gain = 0.0, np.zeros(len(before))
    for k, weight in odds.items():
        holding = []
        for planes in (each for each in crops if each[k].any()):
            rows, columns = (planes[k].any(axis).nonzero() for axis in (1, 0))
            ways = (height + int(rows.max() - rows.min())) * (width + int(columns.max() - columns.min()))
            holding.append([int((planes[k] & plane).sum()) / ways for plane in planes])
        chances = np.mean(holding, axis=0) * weight / sum(odds.values())
        cover, gain = cover + chances[k], gain + chances
    for _ in range(pastes):
        before = before * (1 - cover) + gain
    return before


def rare_on_the_left(task: Task) -> Batch:
    """Random masks whose last class lies in the first columns alone: a chance that depended on the place would show."""
    batch = make_batch(task, (8, 12, 16))
    mask, value = batch["mask"], task.num_classes - 1 if task.exclusive else 1
    right = (mask[:, -1] if task.mode == "multilabel" else mask)[:, :, 4:]
    right[right == value] = 0
    return batch


def blocks(task: Task, classes: tuple[int, ...]) -> Bank:
    """A bank of blocks of several sizes; in multilabel some of the first class lie over others."""
    crops = make_batch(task, (8, 12, 16))
    crops["mask"].zero_()
    for n, label in enumerate([classes[n % len(classes)] for n in range(8)]):
        plane, value = (crops["mask"][n, label], 1) if task.mode == "multilabel" else (crops["mask"][n], label)
        plane[n % 4 : 2 * (n % 4) + 3, n : n + 5] = value
    if task.mode == "multilabel":
        crops["mask"][1::2, 0, 2:5, 3:7] = 1
    return build_bank(crops["image"], crops["mask"], task, classes)


@pytest.mark.parametrize(("balance", "pastes", "p"), tiny.every(3, [(1.0, 1, 1.0), (0.0, 3, 1.0), (0.5, 2, 0.4)]))
def test_the_share_of_a_rare_class_rises_as_predicted(task: Task, balance: float, pastes: int, p: float) -> None:
    batch, stats = rare_on_the_left(task), STATS[task.mode]
    mix, _ = make("copy_paste", task, balance=balance, pastes=pastes, p=p)
    bank = blocks(task, make_kind(task).wanted)
    before = np.array(shares(batch["mask"], task))
    expected = p * predicted(bank, task, stats, balance, pastes, before) + (1 - p) * before
    found = np.array([shares(mix(batch, seed, bank)["mask"], task) for seed in range(400)])
    error = found.std(0) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - expected) < 4 * error).all()
    # the rise is far more than what chance makes of 400 batches
    assert (expected - before)[-1] > 8 * error[-1]
    assert (4 * error / before)[-1] < 0.1


def test_classes_by_name_or_id() -> None:
    task = Task("multiclass", 4, names=("ground", "tree", "car", "sign"))
    assert make_kind(task).wanted == (1, 2, 3)
    assert make_kind(task, classes=["sign", 2]).wanted == (3, 2)
    binary = Task("binary", names=("nucleus",))
    assert make_kind(binary).wanted == make_kind(binary, classes=["nucleus"]).wanted == (1,)
    assert make_kind(TASKS["multilabel"]).wanted == (0, 1, 2)
    lacking = ClassStats([600, 0, 100, 50], [1000] * 4, [1000] * 4, 10)
    mix = build_mixing("copy_paste", task, lacking)
    assert mix is not None
    assert mix.kind.wanted == (2, 3)


def make_kind(task: Task, **params: Any) -> Any:
    mix = build_mixing("copy_paste", task, STATS[task.mode], **params)
    assert mix is not None
    return mix.kind


def test_balance_steers_how_often_classes_are_drawn() -> None:
    task = TASKS["multiclass"]  # 250, 100 and 50 of 1000 pixels
    bank = make_bank(task, (1, 2, 3))
    assert make_kind(task, balance=1).odds(bank) == pytest.approx({1: 1 / 3, 2: 1 / 3, 3: 1 / 3})
    assert make_kind(task, balance=0).odds(bank) == pytest.approx({1: 0.625, 2: 0.25, 3: 0.125})
    held = Bank(bank.image, bank.mask, {k: bank.boxes[k] for k in (1, 3)})
    assert make_kind(task, balance=0).odds(held) == pytest.approx({1: 250 / 300, 3: 50 / 300})


# ---- the host never waits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_mixing_waits_for_nothing(name: str, task: Task) -> None:
    batch = make_batch(task)
    mix, bank = make(name, task, p=0.7)
    with NoSync():
        given = [mix(batch, seed, bank) for seed in range(3)]
    assert any(not same(each, mix(batch, 0, bank)) for each in given)


@pytest.mark.parametrize("name", KINDS)
def test_mixing_on_a_fake_gpu(name: str, task: Task) -> None:
    batch = make_batch(task)
    mix, bank = make(name, task, p=0.7)
    with FakeTensorMode(), NoSync():
        fake: Batch = {**batch, "image": without_data(batch["image"]), "mask": without_data(batch["mask"])}
        stored = None if bank is None else Bank(without_data(bank.image), without_data(bank.mask), bank.boxes)
        mixed = [mix(fake, seed, stored) for seed in range(3)]
    for each in mixed:
        assert {each[key].device.type for key in ("image", "mask")} == {"cuda"}
        assert {value.device.type for value in each.get("second", ())} <= {"cuda"}
    assert name != "mixup" or any("second" in each for each in mixed)


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        ("cutmiks", {}, "mix.kind must be one of none, mixup, .*did you mean cutmix"),
        ("cutmix", {"alpha": 1}, "mix=cutmix: each parameter must be one of p, off_epochs, area; got 'alpha'"),
        ("cutmix", {"p": 1.5}, "mix.p must be a number in .0, 1., got 1.5"),
        ("cutmix", {"p": "half"}, "mix.p"),
        ("cutmix", {"off_epochs": -1}, "mix.off_epochs must be a whole number >= 0"),
        ("cutmix", {"area": 0}, "mix.area"),
        ("cutmix", {"area": [0.5, 0.1]}, r"mix.area \(its second number\)"),
        ("cutmix", {"area": [0.1, 0.2, 0.3]}, "mix.area must be a number or"),
        ("cutmix", {"area": "big"}, "mix.area"),
        ("mixup", {"alpha": 0}, "mix.alpha must be a number > 0"),
        ("mosaic", {"centre": 0.6}, "mix.centre"),
        ("classmix", {"share": 0}, "mix.share"),
        ("copy_paste", {"balance": 2}, "mix.balance"),
        ("copy_paste", {"pastes": 0}, "mix.pastes"),
        ("copy_paste", {"bank": 0}, "mix.bank"),
        ("copy_paste", {"bank": 2}, "mix.bank=2 crops cannot hold 3 classes; raise mix.bank"),
        ("copy_paste", {"classes": ["class_7"]}, "mix.classes: each must be one of class_0, .*; got 'class_7'"),
        ("copy_paste", {"classes": "class_1"}, "mix.classes must be null or a list"),
        ("copy_paste", {"classes": []}, "mix.classes must be null or a list"),
    ],
)
def test_wrong_settings_are_one_sentence(kind: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        build_mixing(kind, TASKS["multiclass"], STATS["multiclass"], **params)
    assert not re.search(r"\n", str(error.value))


def test_classes_that_no_training_image_holds() -> None:
    task, stats = TASKS["multiclass"], ClassStats([1000, 0, 0, 0], [1000] * 4, [1000] * 4, 10)
    with pytest.raises(UserError, match="no class to paste"):
        build_mixing("copy_paste", task, stats)
    with pytest.raises(UserError, match=r"mix.classes: the training masks hold no pixel of class_2"):
        build_mixing("copy_paste", task, stats, classes=["class_2"])


@pytest.mark.parametrize("wrong", [None, 3, "binary"])
def test_a_task_that_is_none_is_refused(wrong: Any) -> None:
    """As where a file of the user's own has no `task: ${task}`."""
    with pytest.raises(UserError, match=r"mix.task must be \$\{task\}, what the data say; got "):
        build_mixing("classmix", wrong, STATS["binary"])
    assert build_mixing("none", wrong) is None

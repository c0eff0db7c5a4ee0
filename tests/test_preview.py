"""`segtrain preview`: what is shown is what is trained on, and it can be read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segtrain import draw
from segtrain.assemble import Request, assemble
from segtrain.build import open_source
from segtrain.cli import main
from segtrain.cli.compose import compose
from segtrain.cli.preview import Pipeline, build_pipeline
from segtrain.cli.several import Combination
from segtrain.data import collate
from segtrain.module import SegmentationModule
from segtrain.preview import Stages, sample_cell, stages, views
from segtrain.preview.sheet import Sheet, _width, clip, draw_sheet, wrap
from segtrain.task import Task
from tests import tiny
from tests.decode.depths import make_depths

BINARY = Task("binary", palette=[(250, 0, 0)])
TINY = [*tiny.SYNTHETIC, "crop=32", "batch_size=4"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pipeline(*words: str) -> Pipeline:
    config, choices = compose("preview", list(words))
    return build_pipeline(Combination(words, config, choices), open_source(config), ())


def trained(epoch: int, *words: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, image and mask of all samples of an epoch, from the loader of a training."""
    loader = assemble(Request(*compose("train", [*words, *tiny.NET]))).data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [
        (name, image.permute(1, 2, 0).numpy(), mask.numpy())
        for batch in loader
        for name, image, mask in zip(batch["id"], batch["image"], batch["mask"], strict=True)
    ]


RARE = ["data.oversample=.5", "data.repeat=1"]


@pytest.mark.parametrize(
    "words",
    [
        ["aug=heavy"],
        ["aug=medium", "task=multiclass", "crop=16", *RARE, "seed=7"],
        ["aug=light", "task=multilabel", "batch_size=64"],
    ],
    ids=["binary", "rare classes", "less than a batch"],
)
@pytest.mark.parametrize("epoch", tiny.every(2, [0, 1]))
def test_shown_is_what_is_trained_on(words: list[str], epoch: int) -> None:
    words = [*TINY, *words]
    shown = list(pipeline(*words, f"epoch={epoch}").samples(1000))
    expected, crops = trained(epoch, *words), trained(epoch, *words, "aug=none")
    assert len(shown) == len(expected) > 0
    for sample, (name, image, mask), (_, crop, _) in zip(shown, expected, crops, strict=True):
        assert sample.name == name
        assert np.array_equal(sample.original, crop)
        assert np.array_equal(sample.changed, image)
        assert np.array_equal(sample.image, image)
        ((own, share),) = sample.masks
        assert np.array_equal(own, mask)
        assert share == 1
        assert bool(sample.ops) >= (not np.array_equal(crop, image))


def test_no_other_samples_are_read_than_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    one = pipeline(*TINY)
    read = []
    examples: Any = one.source.splits["train"]
    before = type(examples).read
    monkeypatch.setattr(type(examples), "read", lambda *a: read.append(a[1]) or before(*a))
    assert len(list(one.samples(6))) == 6
    assert len(read) == 12  # the crop as it is, and what augmentation looks at


def holds(picture: np.ndarray, part: np.ndarray) -> bool:
    """Whether a picture shows another one somewhere, pixel by pixel."""
    height, width = part.shape[:2]
    corners = np.argwhere((picture[: 1 - height or None, : 1 - width or None] == part[0, 0]).all(-1))
    return any(np.array_equal(picture[y : y + height, x : x + width], part) for y, x in corners)


def test_the_picture_shows_the_samples_pixel_by_pixel(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data.size=128", "data.train=10", "data.val=1", "data.test=0", "aug=heavy", "batch_size=4"]
    # crops of 128 pixels in 8 columns are shown as they are
    assert main(["preview", *words, "rows=1", "columns=8"]) == 0
    picture = np.asarray(Image.open("preview_synthetic_heavy.png"))
    names, task = [], open_source(compose("train", words)[0]).task
    for name, image, mask in trained(0, *words)[:8]:
        assert holds(picture, image)
        overlay = draw.overlay(image, mask, task, views.STRENGTH)
        stripes = np.add(*np.indices(mask.shape)) % views.STRIPES < 2
        overlay[(mask == 255) & stripes] = views.LIGHT
        assert holds(picture, overlay)
        names.append(name)
    said = capsys.readouterr().out
    assert "aug=heavy, of 8 samples: d4 8, " in said
    assert f"to train: segtrain train {' '.join(words)}\n" in said
    assert len(set(names)) == 8


def captured(monkeypatch: pytest.MonkeyPatch) -> list[Sheet]:
    """The sheets that are drawn from now on."""
    sheets: list[Sheet] = []
    monkeypatch.setattr(views, "draw_sheet", lambda sheet, side: sheets.append(sheet) or draw_sheet(sheet, side))
    return sheets


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "titles", "file"),
    [
        pytest.param(
            ["aug=none,light,heavy"],
            ["aug=none", "aug=light", "aug=heavy"],
            "none,light,heavy",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["aug=none,light", "aug.train.affine.degrees=10,45"],
            ["aug=none", "aug=light aug.train.affine.degrees=10", "aug=light aug.train.affine.degrees=45"],
            "none,light",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["aug=none,light,medium", "aug.train.hflip.p=1", "aug.train.gamma.p=0,1"],
            [
                "aug=none",
                "aug=light aug.train.hflip.p=1",
                "aug=medium aug.train.gamma.p=0",
                "aug=medium aug.train.gamma.p=1",
            ],
            "none,light,medium",
            marks=pytest.mark.slow,
        ),
        (["aug=light", "aug.train.hflip.p=0,1"], ["aug.train.hflip.p=0", "aug.train.hflip.p=1"], "light"),
        (["aug=light,light+noise"], ["aug=light", "aug=light+noise"], "light,light+noise"),
    ],
)
def test_pipelines_side_by_side(
    words: list[str], titles: list[str], file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheets = captured(monkeypatch)
    assert main(["preview", "--compare", *TINY, *words, "rows=5"]) == 0
    (sheet,) = sheets
    assert sheet.heads == ["original", *titles]
    assert [len(row) for row in sheet.rows] == [1 + len(titles)] * 5
    names = [name for name, _, _ in trained(0, *TINY)[:5]]
    assert [row[0].name for row in sheet.rows] == names
    for column, title in enumerate(titles, 1):
        alone = pipeline(*TINY, *(words[:1] if words[0] == "aug=light" else []), *title.split())
        for row, sample in zip(sheet.rows, alone.samples(5), strict=True):
            assert row[column].words == (sample.ops or ["unchanged"])
            expected = sample_cell(sample, alone.source.task, views.side_of(1 + len(titles)))
            assert np.array_equal(row[0].pictures[0], expected.pictures[0])
            assert np.array_equal(row[column].pictures[0], expected.pictures[2])
    assert Path(f"preview_synthetic_{file}_compared.png").is_file()
    assert [line.partition(", of 5 ")[0] for line in capsys.readouterr().out.splitlines()[:-1]] == titles


@pytest.mark.parametrize(
    ("words", "parts"),
    tiny.every(
        3,
        [
            (["aug=havy"], ["did you mean heavy?"]),
            (["aug=light,heavy"], ["aug=light,heavy: several values need --compare"]),
            (["--compare", "aug=light"], ["--compare needs several values"]),
            (["--compare", "aug=light,light"], ["--compare needs several values"]),
            (["--compare", "seed=1,2"], ["seed=1,2: only aug and mix and their settings"]),
            (["--compare", "aug=light,heavy", "aug.train.fgo.p=1"], ["aug.train.fgo.p=1: aug.train has no fgo"]),
            (["--compare", "aug=light,heavy", "columns=2"], ["columns has no use with --compare"]),
            (["--compare", "aug=light,medium,heavy", "seed=3", "aug.train.affine.p=0,.5,1"], ["at most 8 pipelines"]),
            (["aug=color", "data.channels=1"], ["three colours needed"]),
            (["output=a.jpg"], ["output: the ending must be one of .png"]),
            (["output=/dev/null/a.png"], ["output=/dev/null/a.png cannot be written"]),
            (["rows=0"], ["rows must be a whole number in [1, 32]"]),
            (["rows=33"], ["rows must be a whole number in [1, 32]"]),
            (["columns=9"], ["columns must be a whole number in [1, 8]"]),
            (["epoch=16"], ["epoch must be a whole number in [0, 15]"]),
            (["batch_size=0"], ["batch_size must be a whole number >= 1"]),
            (["data.size=0"], ["size"]),
            (["-m", "aug=light,heavy"], ["-m is for train"]),
        ],
    ),
)
def test_what_is_refused(words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", *TINY, *words]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert all(part in said.err for part in parts), said.err
    assert list(Path().rglob("*.png")) == []
    assert said.out == ""


def test_other_commands_do_not_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--compare", "aug=light,heavy"]) == 1
    assert "--compare has no use with train" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "channels"), [("uint8", 1), ("uint8", 4), ("uint16", 6), ("float32", 3)])
def test_images_of_any_depth_and_channels(depth: str, channels: int, tmp_path: Path) -> None:
    root = make_depths(tmp_path / "data", depth, channels)
    reading = [*tiny.folder(root), f"data.channels={'native' if channels > 3 else {1: 'grey', 3: 'rgb'}[channels]}"]
    reading += ["data.value_range=[0,1]"] if depth == "float32" else []
    assert main(["preview", *reading, "crop=24", "aug=[geometric,grey]", "rows=2", "output=sub/shown.png"]) == 0
    picture = np.asarray(Image.open("sub/shown.png"))
    assert picture.shape[2] == 3
    # six samples in two rows of four and two
    assert len(np.unique(picture)) > 50


def test_nothing_of_lightning_is_loaded(tmp_path: Path) -> None:
    words = ["preview", *TINY, "aug=heavy"]
    code = f"import sys; from segtrain.cli import main; print(main({words}), 'lightning' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "0 False"


def one_stage(original: Any, changed: Any, mask: Any, **more: Any) -> Stages:
    return Stages("a", original, changed, more.get("image", changed), more.get("masks", [(mask, 1.0)]), ["gamma 2"])


def test_floats_of_a_sample_share_one_scale() -> None:
    original = np.full((4, 4, 4), 0.2, np.float32)
    original[..., 3] = 0.9
    cell = sample_cell(one_stage(original, original / 2, np.zeros((4, 4), np.uint8)), BINARY, 4)
    assert [int(picture.max()) for picture in cell.pictures] == [255, 127, 127]


@pytest.mark.parametrize(("size", "expected"), [((64, 64), (96, 96)), ((32, 64), (48, 96)), ((640, 64), (144, 14))])
def test_pictures_keep_their_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    cell = sample_cell(one_stage(image, image, np.zeros(size, np.uint8)), BINARY, 96)
    assert {picture.shape[:2] for picture in cell.pictures} == {expected}


@pytest.mark.parametrize("planes", [(), (3,)])
@pytest.mark.parametrize("side", [7, 64, 200])
def test_masks_are_resized_without_new_ids(planes: tuple[int, ...], side: int) -> None:
    ids = np.random.default_rng(0).integers(0, 3, (*planes, 64, 48)).astype(np.uint8)
    shown = views.nearest(ids, (side, side))
    for row, column in [(0, 0), (side // 2, side - 1), (side - 1, side // 3)]:
        there = (int((row + 0.5) * 64 / side), int((column + 0.5) * 48 / side))
        assert np.array_equal(shown[..., row, column], ids[(..., *there)])


def test_the_legend_has_what_is_seen() -> None:
    task = Task("multiclass", 4, ignore_index=-1, names=["a", "b", "c", "d"])
    image, ids = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.int16)
    ids[:2], ids[2:4] = 2, -1
    cell = sample_cell(one_stage(image, image, ids), task, 8)
    entries = views.legend([cell], task)
    assert [entry.name for entry in entries] == ["a", "c", "ignored"]
    assert [tuple(entry.picture[8, 8]) for entry in entries[:2]] == [task.palette[0], task.palette[2]]
    layers = np.stack([np.zeros((8, 8)), np.ones((8, 8)), np.full((8, 8), 255), np.zeros((8, 8))]).astype(np.uint8)
    multilabel = Task("multilabel", 4, names=["a", "b", "c", "d"])
    cell = sample_cell(one_stage(image, image, layers), multilabel, 8)
    assert [entry.name for entry in views.legend([cell], multilabel)] == ["b"]


def sample(seed: int, dtype: Any = np.uint8) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    image = image if dtype == np.uint8 else (image / 255).astype(dtype)
    mask = random.integers(0, 2, (8, 8)).astype(np.uint8)
    return {"image": image, "mask": mask, "id": str(seed), "forced": False, "original": image, "ops": ["hflip"]}


@pytest.mark.parametrize("what", ["image", "mask"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_mixed_images_are_told_from_the_others(dtype: Any, what: str) -> None:
    samples = [sample(seed, dtype) for seed in range(3)]
    batch: Any = collate(samples)
    batch[what] = batch[what].clone()
    batch[what][1] = batch[what][2]
    shown = stages(samples, batch, "cutmix")
    assert [one.ops for one in shown] == [["hflip"], ["hflip", "cutmix"], ["hflip"]]
    assert np.array_equal(shown[1].changed, samples[1]["image"])
    assert np.array_equal(shown[1].image, samples[2 if what == "image" else 1]["image"])
    assert np.array_equal(shown[1].masks[0][0], samples[2 if what == "mask" else 1]["mask"])


def test_blended_images_show_both_masks_by_their_shares() -> None:
    samples = [sample(seed) for seed in range(2)]
    batch: Any = collate(samples)
    floats, swapped = batch["image"].float() / 255, [1, 0]
    lam = torch.tensor(0.75)
    batch["image"] = torch.stack([torch.lerp(floats[1], floats[0], lam), floats[1]])
    batch["second"] = SimpleNamespace(mask=torch.stack([batch["mask"][1], batch["mask"][1]]), lam=lam)
    first, second = stages(samples, batch, "mixup")
    assert first.ops == ["hflip", "mixup 0.75 + 0.25"]
    assert second.ops == ["hflip"]
    assert [share for _, share in second.masks] == [1.0]
    for (mask, share), place, expected in zip(first.masks, [0, *swapped[:1]], [0.75, 0.25], strict=True):
        assert np.array_equal(mask, samples[place]["mask"])
        assert share == expected
    mixed = 0.75 * samples[0]["image"].astype(float) + 0.25 * samples[1]["image"]
    assert first.image.dtype == np.uint8
    assert np.abs(first.image - mixed).max() <= 0.51
    cell = sample_cell(first, BINARY, 8)
    parts = [0.75, 0.25] @ np.stack(
        [draw.overlay(first.image, one["mask"], BINARY, views.STRENGTH).reshape(-1) for one in samples]
    )
    assert np.abs(cell.pictures[2].reshape(-1) - parts).max() <= 0.51


@given(st.lists(st.text("abW 01°", max_size=30).map(str.strip).filter(bool)), st.integers(20, 400))
def test_text_stays_within_its_width(words: Sequence[str], width: int) -> None:
    lines = wrap(words, width)
    assert all(_width(line, 18) <= width or len(line) == 1 for line in lines)
    written = "".join(lines).replace("·", "").replace(" ", "")
    assert written == "".join(words).replace(" ", "")
    for word in words:
        clipped = clip(word, width)
        assert _width(clipped, 18) <= width or len(clipped.replace("...", "")) == 1
        if clipped != word:
            assert _width(word, 18) > width
            start, end = clipped.split("...")
            assert word.startswith(start)
            assert word.endswith(end)
            # as much as fits
            kept = len(start) + len(end) + 1
            assert kept == len(word) or _width(f"{word[: kept - kept // 2]}...{word[-(kept // 2) :]}", 18) > width


@pytest.mark.slow
@pytest.mark.parametrize("mix", ["cutmix", "mixup", "copy_paste"])
def test_mixed_as_in_a_training(mix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*TINY, "aug=light", f"mix={mix}", "task=multiclass", "epochs=2", "mix.off_epochs=1"]
    batches: list[Any] = []
    step = SegmentationModule.training_step
    monkeypatch.setattr(SegmentationModule, "training_step", lambda *a: batches.append(a[1]) or step(*a))
    tiny.train(tmp_path / "run", *words)
    assert len(batches) == 4
    for epoch in (0, 1):
        shown = list(pipeline(*words, f"epoch={epoch}").samples(100))
        trained = [(batch, place) for batch in batches[2 * epoch : 2 * epoch + 2] for place in range(4)]
        assert any(mix in word for one in shown for word in one.ops) == (epoch == 0)
        for sample, (batch, place) in zip(shown, trained, strict=True):
            image = batch["image"][place].permute(1, 2, 0)
            image = (image * 255).round().byte() if image.is_floating_point() else image
            assert np.array_equal(sample.image, image.numpy())
            assert np.array_equal(sample.masks[0][0], batch["mask"][place].numpy())
            blended = any(word.startswith("mixup") for word in sample.ops)
            assert len(sample.masks) == 1 + blended
            if blended:
                assert np.array_equal(sample.masks[1][0], batch["second"].mask[place].numpy())
                assert sample.masks[0][1] == float(batch["second"].lam)


def test_without_the_mask_the_input_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sheets = captured(monkeypatch)
    assert main(["preview", *TINY, "aug=medium", "rows=1", "columns=2", "mask=false"]) == 0
    (sheet,) = sheets
    assert list(sheet.heads) == ["original", "augmented", "input"] * 2
    assert not sheet.legend
    for cell in sheet.rows[0]:
        assert np.array_equal(cell.pictures[1], cell.pictures[2])


def test_words_that_all_pipelines_share_stand_in_the_title(monkeypatch: pytest.MonkeyPatch) -> None:
    sheets = captured(monkeypatch)
    assert main(["preview", "--compare", *TINY, "aug=light", "aug.train.hflip.p=0,1", "rows=1"]) == 0
    assert sheets[0].title.endswith(", aug=light")


def test_pipelines_of_which_only_a_later_one_pastes(tmp_path: Path) -> None:
    root = tiny.make_folder(tmp_path / "data", ids=(0, 1, 2))
    words = [*tiny.folder(root), "crop=32", f"output_dir={tmp_path / 'out'}"]
    assert main(["preview", "--compare", *words, "mix=none,copy_paste", "rows=1"]) == 0

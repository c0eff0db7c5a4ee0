"""Large images: scored and written by tiles they are as the whole, where the margin is as wide as the net
sees; and nothing is decoded as a whole that is too large for it.
"""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import nn

from segtrain.assemble import check_tiles
from segtrain.callbacks.images import ScoredImage, image_row
from segtrain.callbacks.pictures import prediction_row, shown
from segtrain.cli import main
from segtrain.data import EvaluationBatches
from segtrain.data.sampler import Part
from segtrain.decode.reading import Reading
from segtrain.draw import IGNORED
from segtrain.errors import UserError
from segtrain.inference import Predictor, load_predictor
from segtrain.inference.opened import OpenedImage
from segtrain.inference.write import predict_files
from segtrain.metrics import SegmentationMetrics
from segtrain.models import SegmentationNet, build_model
from segtrain.runs import Run
from segtrain.task import Task
from segtrain.windows import Tile, Tiling, Window
from tests import tiny
from tests.conftest import TASKS
from tests.test_evaluate import evaluate, iou, masks, table

SIZES = ((150, 130), (97, 161), (40, 36))
TILES = Tiling(96, 32)  # a net of depth 2 sees 23 pixels far
CUT, WHOLE = ("tile=96", "tile_margin=32"), ("tile=null",)
IDS = {"binary": (0, 255), "multiclass": (0, 1, 2), "multilabel": (0, 1, 2)}


def net(task: Task, depth: int = 2, channels: int = 3) -> SegmentationNet:
    """Random weights and random batch statistics."""
    built = build_model(task, channels, [0.4] * channels, [0.2] * channels, arch="plain_unet", width=4, depth=depth)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(module.bias, std=0.3)
    built.eval()
    with torch.no_grad():  # no class everywhere
        logits = built(torch.randint(0, 256, (1, channels, 96, 96), dtype=torch.uint8))
        built.net.head.bias -= logits.flatten(2).median(-1).values[0]  # type: ignore[union-attr]
    return built


# ---- the net ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(150, 130), (97, 161), (33, 500), (224, 96)])
def test_logits_and_masks_in_tiles_are_those_of_the_whole(task: Task, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    whole = Predictor(net(task), task, tiling=Tiling(None))
    tiled = Predictor(whole.net, task, tiling=TILES)
    logits, tiles = whole.logits(image), TILES.tiles(size)
    assert len(tiles) > 1
    for tile in tiles:
        part = tiled.logits(image[tile.window.slices])[(..., *tile.inner.slices)]
        torch.testing.assert_close(part, logits[(..., *tile.core.slices)], rtol=0, atol=1e-5)
    first, second = logits.topk(2, 1).values.unbind(1) if task.exclusive else (logits, torch.zeros(()))
    sure = ((first - second).abs() > 1e-5).squeeze(0 if task.exclusive else (0, 1)).numpy()
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(tiled(image)[sure], whole(image)[sure])
    assert tiled(image).dtype == np.uint8
    short = Predictor(whole.net, task, tiling=Tiling(64, 0))
    assert (short(image) != whole(image))[sure].any()  # a margin is needed, so this test can fail


def test_without_a_word_large_images_go_in_tiles_that_begin_at_the_nets_stride() -> None:
    predictor = Predictor(net(TASKS["binary"], depth=6), TASKS["binary"])
    assert predictor.tiling == Tiling(2048, 128, 64)


# ---- scores ----------------------------------------------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[mode if mode == "multiclass" else pytest.param(mode, marks=pytest.mark.slow) for mode in IDS],
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run on images of which two in three are larger than a tile, and its data."""
    root = tiny.make_folder(tmp_path_factory.mktemp("squares"), IDS[request.param], (48, 3, 6), SIZES)
    words = ["loss=ce", "epochs=3", "lr=.03", "aug=none", f"task={request.param}", *CUT]
    return tiny.train(tmp_path_factory.mktemp("outputs"), *words, data=tiny.folder(root)), root


def scores(folder: Path) -> dict[str, Any]:
    """scores.json as one level."""
    content = json.loads((folder / "scores.json").read_text())
    classes = content.pop("class")
    return content | {f"{name} {key}": value for name, found in classes.items() for key, value in found.items()}


def agree(one: Any, other: Any, key: str) -> None:
    """Counts and outlines exactly, sums of logarithms to what float32 leaves of them."""
    inexact = any(part in key for part in ("nll", "brier", "ece", "loss"))
    assert one == (pytest.approx(other, rel=2e-5, abs=2e-6) if inexact and other else other), key


@pytest.mark.parametrize("batch", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_scores_in_tiles_are_those_of_whole_images(run: tuple[Run, Path], tmp_path: Path, batch: int) -> None:
    run, _ = run
    for name, words in (("whole", WHOLE), ("cut", (*CUT, f"batch_size={batch}"))):
        evaluate(run, tmp_path / name, *words)
    rows, cut = (table(tmp_path / name / "per_image.csv") for name in ("whole", "cut"))
    assert [row["id"] for row in rows] == [f"test{i}" for i in range(6)]
    for row, other in zip(rows, cut, strict=True):
        for key in row:
            inexact = key == "nll"
            agree(float(other[key]) if inexact else other[key], float(row[key]) if inexact else row[key], key)
    whole, tiled = scores(tmp_path / "whole"), scores(tmp_path / "cut")
    assert whole.keys() == tiled.keys()
    for key in whole:
        agree(tiled[key], whole[key], key)


@pytest.mark.slow
def test_validation_of_the_training_was_that_of_whole_images(run: tuple[Run, Path], tmp_path: Path) -> None:
    run, _ = run
    evaluate(run, tmp_path, *WHOLE, "split=val", "surface=false")
    best = json.loads((run.folder / "summary.json").read_text())["val_best"]
    found = scores(tmp_path)
    for key in ("iou", "dice", "image_iou", "image_dice", "probe_nll"):
        assert best[key] == pytest.approx(found[key], rel=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["binary"], indirect=True)
def test_predicted_masks_have_the_scores_of_the_evaluation(run: tuple[Run, Path], tmp_path: Path) -> None:
    run, root = run
    words = ("tile=64", "tile_margin=0")  # so that the margin shows
    rows = evaluate(run, tmp_path / "tables", *words)
    pairs = masks(run, root, tmp_path / "masks", *words)
    whole = masks(run, root, tmp_path / "whole", *WHOLE)
    for row, (truth, found) in zip(rows, pairs, strict=True):
        assert float(row["iou"]) == pytest.approx(iou(truth, found), abs=1e-6)
    assert any((one != other).any() for (_, one), (_, other) in zip(pairs, whole, strict=True))
    trained = masks(run, root, tmp_path / "trained")  # as in training, where no tile is named
    assert all((one == other).all() for (_, one), (_, other) in zip(trained, whole, strict=True))
    margin = masks(run, root, tmp_path / "margin", "tile_margin=0")
    assert any((one != other).any() for (_, one), (_, other) in zip(margin, whole, strict=True))


@pytest.mark.parametrize("run", ["binary"], indirect=True)
def test_an_image_that_a_limit_cuts_short_has_a_row(run: tuple[Run, Path], tmp_path: Path) -> None:
    run, _ = run
    rows = evaluate(run, tmp_path, *CUT, "trainer.limit_test=3", "batch_size=1")
    assert [row["id"] for row in rows] == ["test0", "test2", "test5"]
    assert rows[0]["nll"] != ""  # of its first tile; whole images come before it


def test_an_unlabelled_tile_changes_no_nll() -> None:
    image, metrics = ScoredImage("x", (4, 4)), SegmentationMetrics(TASKS["binary"])
    counts = torch.zeros(1, 2, 2, dtype=torch.int64)
    image.add(counts, float("nan"))
    assert np.isnan(image.nll)
    assert np.isnan(float(image_row(image, metrics)["iou"]))
    image.add(counts + 2, 0.5)
    image.add(counts, float("nan"))
    image.add(counts + 1, 0.2)
    assert image.nll == pytest.approx(0.4)
    image.add(counts + 1, float("nan"))  # of labelled pixels: it does not disappear
    assert np.isnan(image.nll)


# ---- files that are too large to be decoded --------------------------------------------------------------------------


def make_large(root: Path, sizes: tuple[tuple[int, int], ...] = ((300, 200), (290, 213))) -> Path:
    """TIFFs in tiles: bright squares on a dark ground."""
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for index, (height, width) in enumerate(sizes):
            image, mask = random.integers(0, 60, (height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
            for top, left in random.integers(0, (height - 30, width - 30), (8, 2)):
                image[top : top + 30, left : left + 30, 0], mask[top : top + 30, left : left + 30] = 180, 255
            for kind, array in (("images", image), ("masks", mask)):
                path = root / kind / split / f"{split}{index}.tif"
                tifffile.imwrite(path, array, tile=(32, 32), compression="zlib")
    return root


@pytest.mark.slow
def test_no_image_of_a_data_set_need_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, limits = make_large(tmp_path / "data"), ["data.max_pixels=10000", "data.cache=ram"]
    words = [*limits, *CUT, "loss=ce", "epochs=2", "batch_size=1", "lr=.02", "aug=none"]
    run = tiny.train(tmp_path / "out", *words, data=tiny.folder(root), fast=tiny.BARE)
    assert (run.folder / "plots" / "predictions.png").is_file()
    rows = evaluate(run, tmp_path / "cut")
    whole = evaluate(run, tmp_path / "whole", *WHOLE, "data.max_pixels=100000000")
    for row, other in zip(rows, whole, strict=True):
        assert {k: v for k, v in row.items() if k != "nll"} == {k: v for k, v in other.items() if k != "nll"}
    source = root / "images" / "test"
    for name, more in (("masks", []), ("all", ["tile=null", "max_pixels=100000000"])):
        assert main(["predict", f"run={run.folder}", f"input={source}", f"output={tmp_path / name}", *more]) == 0
    for row in rows:
        with Image.open(tmp_path / "masks" / f"{row['id']}.png") as image:
            found = np.asarray(image) == 1
        with Image.open(tmp_path / "all" / f"{row['id']}.png") as image:
            np.testing.assert_array_equal(found, np.asarray(image) == 1)
        truth = tifffile.imread(root / "masks" / "test" / f"{row['id']}.tif") == 255
        assert float(row["iou"]) == pytest.approx(iou(truth, found), abs=1e-6)
        overlays = [Image.open(tmp_path / name / f"{row['id']}_overlay.png") for name in ("masks", "all")]
        few, every = (np.asarray(overlay) for overlay in overlays)
        np.testing.assert_array_equal(few, every[::3, ::3])  # of 60,000 pixels, with at most 10,000
    capsys.readouterr()
    assert main(["predict", f"run={run.folder}", f"input={source}", f"output={tmp_path / 'no'}", "tile=null"]) == 1
    assert "200 x 300 pixels, more than 10,000" in capsys.readouterr().err
    assert main(["evaluate", f"run={run.folder}", "tile=null"]) == 1
    assert "val0 of the val images has 200 x 300 pixels, and with tile=None 60,000 of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "tiling", "limit", "fine"),
    [((300, 200), TILES, 10_000, True), ((300, 200), TILES, 9000, False), ((80, 90), TILES, 7200, True)],
)
def test_images_that_no_validation_could_read_are_refused_at_the_start(
    size: tuple[int, int], tiling: Tiling, limit: int, fine: bool
) -> None:
    class Sized:
        ids, sizes = ["a"], [size]

    source: Any = type("Source", (), {"splits": {"train": None, "val": Sized()}})
    check_tiles(source, tiling, None)
    if fine:
        check_tiles(source, tiling, limit)
        return
    with pytest.raises(UserError, match=r"a of the val images .* lower tile or raise data.max_pixels"):
        check_tiles(source, tiling, limit)


class Brightest(nn.Module):
    """The channel's values as logits: a net that sees no further than one pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1]


@pytest.mark.slow
def test_a_large_file_is_predicted_in_little_memory(tmp_path: Path) -> None:
    """4000 x 3000 pixels: 36 MB as an image, 12 MB as a mask."""
    image = np.zeros((4000, 3000, 3), np.uint8)
    image[1000:3001, 500:2000] = 255
    tifffile.imwrite(tmp_path / "large.tif", image, photometric="rgb", tile=(256, 256), compression="zlib")
    reading, tiling = Reading(max_pixels=1_000_000), Tiling(512, 64)
    task = TASKS["binary"]
    predictor = Predictor(SegmentationNet(Brightest(), [0.5] * 3, [1.0] * 3, 1), task, reading=reading, tiling=tiling)
    expected, failures = image[..., 0] // 255, list[str]()
    del image
    tracemalloc.start()
    assert list(predict_files(predictor, [tmp_path / "large.tif"], tmp_path, False, failures.append))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 12e6 + 6e6
    list(predict_files(predictor, [tmp_path / "large.tif"], tmp_path, True, failures.append))
    assert not failures
    with Image.open(tmp_path / "large.png") as written, Image.open(tmp_path / "large_overlay.png") as drawn:
        np.testing.assert_array_equal(np.asarray(written), expected)
        assert drawn.size == (750, 1000)


def test_damage_within_a_file_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    paths = [tmp_path / f"{name}.tif" for name in "ab"]
    for path in paths:
        tifffile.imwrite(path, image, photometric="rgb", tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(paths[0]) as tif:
        place = tif.pages[0].dataoffsets[-1]
    content = bytearray(paths[0].read_bytes())
    content[place : place + 40] = bytes(40)  # of the last tile
    paths[0].write_bytes(content)
    predictor, failures = Predictor(net(TASKS["binary"]), TASKS["binary"], tiling=TILES), list[str]()
    assert list(predict_files(predictor, paths, tmp_path, True, failures.append)) == [paths[1]]
    assert [failure.partition(": ")[0] for failure in failures] == [str(paths[0])]
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_what_overlays_show_is_each_so_manieth_pixel(tmp_path: Path, step: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (150, 130, 5), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", image, tile=(32, 32), planarconfig="contig", photometric="minisblack")
    reading = Reading(channels="native", max_pixels=-(-150 * 130 // step**2))
    tiling = Tiling(32, 0)
    opened = OpenedImage(tmp_path / "x.tif", reading, tiling)
    assert (opened.size, opened.step) == ((150, 130), step)
    for tile in tiling.tiles(opened.size):
        np.testing.assert_array_equal(opened.read(tile.window), image[tile.window.slices])
    np.testing.assert_array_equal(opened.shown, image[::step, ::step, :3])


# ---- settings, pictures, processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tile=256", "tile_margin=128"], "tile_margin, with tile=256, must be a whole number in [0, 112], got 128"),
        (["tile=big"], "tile must be null or a whole number >= 32, got 'big'"),
    ],
)
def test_wrong_words(words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, f"output_dir={tmp_path}", *words]) == 1
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_runs_of_before_there_were_tiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny.train(tmp_path, "epochs=1")
    for path in (run.last, run.best):
        checkpoint = torch.load(path, weights_only=True)
        for key in ("tile", "tile_margin"):
            del checkpoint["segtrain"]["config"][key]
        torch.save(checkpoint, path)
    assert load_predictor(run.best).tiling == Tiling(stride=4)
    assert main(["train", f"resume={run.folder}", "epochs=2", "tile=512"]) == 0
    assert load_predictor(run.last).tiling == Tiling(512, stride=4)
    capsys.readouterr()
    assert main(["predict", f"run={run.folder}", f"input={tmp_path}", f"output={tmp_path / 'x'}", "tile=33"]) == 1


def test_the_picture_shows_the_middle_of_a_large_image_without_its_margin() -> None:
    sizes = [(40, 36), (300, 300), (300, 300), (30, 30)]
    batches = EvaluationBatches(sizes, 1, tiling=TILES)
    chosen = shown([part for batch in batches for part in batch], 3)
    assert [part.image for part in chosen] == [0, 2, 3]
    assert [part.tile is None for part in chosen] == [True, False, True]
    core = chosen[1].tile.core if chosen[1].tile else Window(0, 0, 0, 0)
    assert core.top <= 150 < core.top + core.height
    assert core.left <= 150 < core.left + core.width
    tile = Tile(Window(32, 0, 96, 96), Window(64, 0, 48, 64), (300, 300))
    task, image = TASKS["binary"], torch.full((1, 3, 96, 96), 50, dtype=torch.uint8)
    mask = torch.full((1, 96, 96), task.ignore_index, dtype=torch.uint8)
    mask[(..., *tile.inner.slices)] = 1
    row = prediction_row(
        {"image": image, "mask": mask, "id": ["x"], "forced": [False], "tiles": [tile]},
        torch.ones(1, 1, 96, 96), 0, task,
    )  # fmt: skip
    assert not (row == IGNORED).all(-1).any()
    assert row.shape[1] == 4 * (192 * 64 // 48 + 4)


def test_of_an_image_cut_short_the_nearest_tile_is_shown() -> None:
    first = [Part(0, tile) for tile in Tiling(64, 0).tiles((320, 320))][:4]  # of the five in the first row
    assert shown(first, 1) == [first[2]]

"""data=folder: what a good folder gives, every fault of a bad one, and the findings kept between runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segtrain.data import DataSource
from segtrain.data import scan as scan_module
from segtrain.data.classes import Declared, FileClass, build_class_map
from segtrain.data.files import FileData
from segtrain.data.finding import Finding
from segtrain.data.listing import Item, MaskFile
from segtrain.data.scan import SHOWN, refuse
from segtrain.decode.masks import MaskRules
from segtrain.decode.reading import Reading
from segtrain.errors import UserError
from segtrain.layouts.folder import FolderLayout
from tests.data.files import REQUEST, make_folder, noise, save_ids, truncate

STREET = {
    "classes": [{"id": 0, "name": "road"}, {"id": 3, "name": "car"}, {"id": 5, "name": "bus"}],
    "ignore_index": 11,
}
IGNORED = 11


def opened(root: Path, **options: Any) -> DataSource:
    request = REQUEST | {"mode": options.pop("mode", "auto")}
    return FileData(str(root), FolderLayout(), **options).open(request)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_folder(tmp_path / "Bilder, 1")
    return tmp_path / "Bilder, 1"


# ---- a good folder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["opencv", "pillow", "skimage", "matplotlib"])
@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_gives_what_was_written(tmp_path: Path, reader: str, cache: str) -> None:
    written = make_folder(tmp_path / "Dätä set", (0, 3, 5, 11), declared=STREET)
    kept = str(tmp_path / "kept")
    source = opened(tmp_path / "Dätä set", reader=reader, cache=cache, cache_dir=kept)
    assert (source.name, source.channels, source.task.names) == ("Dätä set", 3, ("road", "car", "bus"))
    assert list(source.splits) == ["train", "val", "test"]
    for split, examples in source.splits.items():
        assert list(examples.ids) == sorted(key.split("/")[1] for key in written if key.startswith(split))
        for index, stem in enumerate(examples.ids):
            image, ids = written[f"{split}/{stem}"]
            given, mask = examples.read(index)
            np.testing.assert_array_equal(given, image)
            np.testing.assert_array_equal(mask, np.select([ids == 3, ids == 5, ids == 11], [1, 2, 255], 0))
            assert mask.dtype == np.uint8
            assert tuple(examples.sizes[index]) == ids.shape


def test_name_notes_and_missing_test(root: Path) -> None:
    shutil.rmtree(root / "images" / "test")
    source = opened(root, name="cells")
    assert (source.name, list(source.splits)) == ("cells", ["train", "val"])
    assert source.notes == [
        "images in images/{split}, masks in masks/{split}",
        "no test split: images/test is missing",
        "classes from the ids of the training masks: 0 = background, 1 = foreground, 255 = ignored",
    ]
    (root / "images" / "train" / ".hidden.png").write_bytes(b"")
    (root / "images" / "train" / "notes.txt").write_text("not an image")
    assert opened(root).splits["train"].ids == source.splits["train"].ids


@pytest.mark.parametrize("mode", ["multiclass", "multilabel", "binary"])
def test_statistics_against_slow_ones(tmp_path: Path, mode: str) -> None:
    written = make_folder(tmp_path, (0, 3, 5, 11), declared=STREET)
    first = tmp_path / "masks" / "train" / "bïld 0.png"  # one image without a bus
    without = np.where(written["train/bïld 0"][1] == 5, 0, written["train/bïld 0"][1])
    save_ids(first, without)
    images = [image for key, (image, _) in written.items() if key.startswith("train")]
    masks = [without, *(written[f"train/bïld {i}"][1] for i in (1, 2))]
    source = opened(tmp_path, mode=mode, classes={5: "bus"} if mode == "binary" else None)
    classes = [5] if mode == "binary" else [0, 3, 5]
    valid = sum(int((mask != IGNORED).sum()) for mask in masks)
    assert list(source.stats.positives) == [sum(int((mask == c).sum()) for mask in masks) for c in classes]
    assert list(source.stats.valid) == [valid] * len(classes)
    assert list(source.stats.present) == [
        sum(int((mask != IGNORED).sum()) for mask in masks if (mask == c).any()) for c in classes
    ]
    assert source.stats.images == 3
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    np.testing.assert_allclose(source.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(source.std, pixels.std(0), rtol=1e-9)


def test_blank_images_have_a_deviation_to_divide_by() -> None:
    finding = Finding((2, 2), [0.0, 2.0, 4.0], [0.0, 1.0, 4.0])
    mean, std = scan_module.mean_and_std([finding, finding])
    np.testing.assert_allclose(mean, [0, 0.5, 1])
    np.testing.assert_allclose(std, [1 / 255] * 3)


@pytest.mark.parametrize("change", ["size", "unknown id"])
def test_a_mask_that_changes_after_the_start(root: Path, change: str) -> None:
    examples = opened(root).splits["train"]
    path = root / "masks" / "train" / "bïld 0.png"
    ids = np.zeros((9, 9) if change == "size" else examples.sizes[0], np.uint8)
    ids[1, 1] = 1 if change == "size" else 100  # between the known ids 1 and 255
    ids[0, 0] = 255
    save_ids(path, ids)
    with pytest.raises(UserError, match=f"{path}: .*changed since the start"):
        examples.read(0)


# ---- bad folders ---------------------------------------------------------------------------------------------------


def faults_of(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    return str(caught.value)


@pytest.mark.parametrize("missing", ["", "images/train", "images/val", "masks/train", "masks/val"])
def test_missing_folder(root: Path, missing: str) -> None:
    shutil.rmtree(root / missing)
    assert f"{root / missing}: no such folder" in faults_of(lambda: opened(root)).replace("data.root=", "")


def test_empty_split(root: Path) -> None:
    for path in [*(root / "images" / "val").iterdir(), *(root / "masks" / "val").iterdir()]:
        path.unlink()
    assert faults_of(lambda: opened(root)).startswith(f"{root / 'images' / 'val'}: no images (.png, .jpg")


def test_unmatched_files_are_all_listed(root: Path) -> None:
    images, masks = root / "images", root / "masks"
    (masks / "train" / "bïld 1.png").unlink()
    (images / "val" / "bïld 0.png").unlink()
    Image.new("RGB", (3, 3)).save(images / "train" / "bïld 0.JPG")
    message = faults_of(lambda: opened(root))
    assert message.startswith(f"{root}: 3 faults:\n")
    for fault in (
        f"{images / 'train' / 'bïld 1.png'}: no mask {masks / 'train' / 'bïld 1.png'}",
        f"{masks / 'val' / 'bïld 0.png'}: no image {images / 'val' / 'bïld 0.*'}",
        f"{images / 'train' / 'bïld 0.JPG'}: stands there twice, as bïld 0.png too",
    ):
        assert fault in message


def test_unreadable_files_are_all_listed(root: Path) -> None:
    images, masks = root / "images", root / "masks"
    save_ids(masks / "train" / "bïld 0.png", np.zeros((9, 8), np.uint8))
    truncate(images / "train" / "bïld 1.png", 0.5)
    save_ids(masks / "train" / "bïld 2.png", noise(0, 11, 12))
    for place, make in ((images / "val" / "bïld 0.png", Path.mkdir), (images / "test" / "bïld 0.png", link_to_nothing)):
        place.unlink()
        make(place)
    message = faults_of(lambda: opened(root))
    assert message.startswith(f"{root}: 5 faults:\n")
    for fault in (
        f"{masks / 'train' / 'bïld 0.png'}: 8 x 9 pixels, but its image has 11 x 7",
        f"{images / 'train' / 'bïld 1.png'}: damaged",
        f"{masks / 'train' / 'bïld 2.png'}: a mask of colours",
        f"{images / 'val' / 'bïld 0.png'}: not a readable image (a folder)",
        f"{images / 'test' / 'bïld 0.png'}: no such file",
    ):
        assert fault in message


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("gone.png"))


def test_a_jpeg_mask_is_named(root: Path) -> None:
    path = root / "masks" / "train" / "bïld 0.png"
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()
    assert faults_of(lambda: opened(root)).startswith(f"{path.with_suffix('.jpg')}: JPEG blurs")


@pytest.mark.parametrize("split", ["train", "val"])
def test_unknown_ids_are_named_in_every_split(tmp_path: Path, split: str) -> None:
    make_folder(tmp_path, (0, 3, 5, 11), declared=STREET)
    for index, wrong in ((0, 77), (1, 88)):
        path = tmp_path / "masks" / split / f"bïld {index}.png"
        ids = np.array(Image.open(path))
        ids[0, 0] = wrong
        save_ids(path, ids)
    message = faults_of(lambda: opened(tmp_path))
    for index, wrong in ((0, 77), (1, 88)):
        assert f"{split}/bïld {index}.png: ids [{wrong}] are none of the classes (dataset.json)" in message
    assert opened(tmp_path, ignore_ids=[77, 88]).task.num_classes == 3


def test_ignored_ids_take_no_part_in_the_union(tmp_path: Path) -> None:
    make_folder(tmp_path, (0, 7, 255))
    source = opened(tmp_path, ignore_ids=[7])  # {0, 255} is left: background and foreground
    masks = [source.splits["train"].read(index)[1] for index in range(3)]
    assert {int(i) for mask in masks for i in np.unique(mask)} == {0, 1, 255}
    assert list(source.stats.positives) == [sum(int((mask == 1).sum()) for mask in masks)]


def test_twenty_faults_are_shown() -> None:
    refuse("x", [])
    assert faults_of(lambda: refuse("x", ["one"])) == "one"
    message = faults_of(lambda: refuse("x", [f"fault {i};" for i in range(SHOWN + 5)]))
    assert message.startswith(f"x: {SHOWN + 5} faults:")
    assert f"fault {SHOWN - 1};" in message
    assert f"fault {SHOWN};" not in message
    assert message.endswith("and 5 more")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reader": "opencvv"}, r"data.reader .*did you mean opencv\?"),
        ({"cache": "disc"}, r"data.cache must be one of ram, disk, none.*did you mean disk\?"),
        ({"cache": "disk"}, "data.cache=disk needs data.cache_dir"),
        ({"cache_gb": -1}, "data.cache_gb must be"),
        ({"classes": {9: "x"}}, "data.classes: 9 is not a class"),
        ({"mode": "panoptic"}, "task.mode must be"),
    ],
)
def test_bad_options(root: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        opened(root, **options)


# ---- findings kept between runs ------------------------------------------------------------------------------------


class Look:
    """Counts the items that are looked at; None in `answer` means the true findings."""

    def __init__(self) -> None:
        self.true, self.seen, self.answer = scan_module.look, [], None

    def __call__(self, item: Item, rules: MaskRules, reading: Reading) -> Finding:
        self.seen.append(item.id)
        return self.answer or self.true(item, rules, reading)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Look:
    look = Look()
    monkeypatch.setattr(scan_module, "look", look)
    return look


def described(source: DataSource) -> list[Any]:
    sizes = [list(map(tuple, examples.sizes)) for examples in source.splits.values()]
    return [source.task, source.stats, source.mean, source.std, source.fingerprint, sizes]


def test_second_start_looks_at_nothing(root: Path, tmp_path: Path, looked: Look) -> None:
    fresh = opened(root, scan_dir=str(tmp_path / "a" / "scans"))
    assert len(looked.seen) == 6
    kept = opened(root, scan_dir=str(tmp_path / "a" / "scans"))
    assert len(looked.seen) == 6
    assert described(fresh) == described(kept)
    assert [p.suffix for p in (tmp_path / "a" / "scans").iterdir()] == [".json"]  # no temporary file is left
    opened(root)
    assert len(looked.seen) == 12


@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_changed_file_is_looked_at_again(root: Path, tmp_path: Path, looked: Look, part: str) -> None:
    before = opened(root, scan_dir=str(tmp_path / "scans"))
    looked.seen.clear()
    path = root / part / "train" / "bïld 1.png"
    changed = np.array(Image.open(path))
    changed[2:4, 2:4] = 1
    save_ids(path, changed)
    os.utime(path, ns=(1, 1))
    after = opened(root, scan_dir=str(tmp_path / "scans"))
    assert looked.seen == ["bïld 1"]
    assert described(after) == described(opened(root))
    assert (after.mean, after.stats) != (before.mean, before.stats)


def test_faults_are_not_kept(root: Path, tmp_path: Path, looked: Look) -> None:
    """What only looked like a fault (rights, a network drive) is looked at again at the next start."""
    looked.answer = Finding(fault="no permission")
    assert "no permission" in faults_of(lambda: opened(root, scan_dir=str(tmp_path / "scans")))
    looked.answer = None
    assert opened(root, scan_dir=str(tmp_path / "scans")).stats.images == 3


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"KEY": 3}', b'{"KEY": {"size": [1]}}'])
def test_damaged_findings_cost_a_new_scan(root: Path, tmp_path: Path, looked: Look, content: bytes) -> None:
    fresh = opened(root, scan_dir=str(tmp_path / "scans"))
    (kept,) = (tmp_path / "scans").iterdir()
    kept.write_bytes(content.replace(b"KEY", next(iter(json.loads(kept.read_bytes()))).encode()))
    assert described(opened(root, scan_dir=str(tmp_path / "scans"))) == described(fresh)
    assert len(looked.seen) == 12
    opened(root, scan_dir=str(tmp_path / "scans"))
    assert len(looked.seen) == 12


def test_no_place_for_findings_costs_speed_only(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert opened(root, scan_dir=str(tmp_path / "file" / "scans")).stats.images == 3


# ---- the fingerprint -----------------------------------------------------------------------------------------------


def test_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    for place in ("a", "b/c", "other"):
        make_folder(tmp_path / place, seed=int(place == "other"))
    first = opened(tmp_path / "a")
    assert opened(tmp_path / "b" / "c", name="else", cache="none").fingerprint == first.fingerprint
    prints = [
        first.fingerprint,
        opened(tmp_path / "other").fingerprint,
        opened(tmp_path / "a", reader="pillow").fingerprint,
        opened(tmp_path / "a", classes={0: "x", 1: "y"}).fingerprint,
        opened(tmp_path / "a", mode="multilabel").fingerprint,
    ]
    for part in ("images", "masks"):
        path = tmp_path / "a" / part / "val" / "bïld 0.png"
        array = np.array(Image.open(path))
        array.flat[-1] = 1 - min(array.flat[-1], 1)
        save_ids(path, array)
        prints.append(opened(tmp_path / "a").fingerprint)
    assert len(set(prints)) == len(prints)


def test_items_are_in_the_order_of_their_names(root: Path) -> None:
    items = FolderLayout().find(root).items
    for split in ("train", "val", "test"):
        ids = [item.id for item in items if item.split == split]
        assert ids == sorted(ids)
    for item in items:
        assert isinstance(item.label, MaskFile)
        assert item.image.stem == item.label.path.stem == item.id


def test_every_mask_id_outside_the_table_is_unknown() -> None:
    mapped = build_class_map(Declared([FileClass(0, "a"), FileClass(1, "b")]), REQUEST)
    assert mapped.unknown([-1, 0, 1, 2, 65535, 65536, 2**31]) == [-1, 2, 65535, 65536, 2**31]


def test_faults_of_every_kind_are_listed_at_once(root: Path) -> None:
    masks = {split: sorted((root / "masks" / split).iterdir()) for split in ("train", "val")}
    masks["train"][0].unlink()
    Image.new("L", (5, 5)).save(masks["train"][1])
    Image.fromarray(np.full_like(np.asarray(Image.open(masks["val"][0])), 77)).save(masks["val"][0])
    with pytest.raises(UserError) as caught:
        opened(root)
    for part in ("no mask", "one size", "ids [77]"):
        assert part in str(caught.value)

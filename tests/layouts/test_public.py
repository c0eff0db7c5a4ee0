"""data=voc, cityscapes and pet: what torchvision reads from the same folders is what we read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import Cityscapes, OxfordIIITPet, VOCSegmentation

from segtrain.data import DataSource
from segtrain.data.files import FileData
from segtrain.data.listing import Layout
from segtrain.errors import UserError
from segtrain.layouts.cityscapes import CityscapesLayout
from segtrain.layouts.pet import PetLayout
from segtrain.layouts.voc import VocLayout
from tests import tiny
from tests.data.files import REQUEST
from tests.data.trees import SIDE, TREES, cityscapes, pet, voc

IGNORED = 255


def opened(root: Path, layout: Layout) -> DataSource:
    return FileData(str(root), layout).open(REQUEST)


def masks(source: DataSource, split: str) -> dict[str, np.ndarray]:
    examples = source.splits[split]
    return {name: examples.read(index)[1] for index, name in enumerate(examples.ids)}


def images(source: DataSource, split: str) -> dict[str, np.ndarray]:
    examples = source.splits[split]
    return {name: examples.read(index)[0] for index, name in enumerate(examples.ids)}


# ---- VOC -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_is_read_as_torchvision_reads_it(tmp_path: Path, inside: str) -> None:
    voc(tmp_path)
    source = opened(tmp_path / inside, VocLayout())
    assert (len(source.splits), source.task.mode, source.task.num_classes) == (3, "multiclass", 21)
    for split in ("train", "val"):
        theirs = VOCSegmentation(str(tmp_path), "2012", split)
        names = [Path(path).stem for path in theirs.images]
        assert sorted(names) == list(source.splits[split].ids)
        for name, (image, mask) in zip(names, theirs, strict=True):
            np.testing.assert_array_equal(images(source, split)[name], np.asarray(image))
            np.testing.assert_array_equal(masks(source, split)[name], np.asarray(mask))  # 255 is ignored in both
    assert {int(i) for mask in masks(source, "train").values() for i in np.unique(mask)} == {*range(21), IGNORED}


def test_voc_names_and_colours(tmp_path: Path) -> None:
    voc(tmp_path)
    task = opened(tmp_path, VocLayout()).task
    colours = dict(zip(task.names, task.palette, strict=True))
    known = {"background": (0, 0, 0), "aeroplane": (128, 0, 0), "bus": (0, 128, 128), "cat": (64, 0, 0)}
    known |= {"person": (192, 128, 128), "pottedplant": (0, 64, 0), "tvmonitor": (0, 64, 128)}
    assert known.items() <= colours.items()
    assert len(set(task.palette)) == 21


def test_voc_faults(tmp_path: Path) -> None:
    voc(tmp_path)
    base = tmp_path / "VOCdevkit" / "VOC2012"
    lists = base / "ImageSets" / "Segmentation"
    (lists / "val.txt").write_text("2007_vale\n2007_traina\n\nnowhere\n")
    lost = base / "SegmentationClass" / "2007_trainb.png"
    lost.unlink()
    assert VocLayout().find(tmp_path).faults == [
        f"{lists / 'train.txt'} line 2: no file {lost}; restore it or remove the line",
        f"{lists / 'val.txt'} line 2: '2007_traina' stands already in {lists / 'train.txt'} line 1; keep one of them",
        f"{lists / 'val.txt'} line 4: no file {base / 'JPEGImages' / 'nowhere.jpg'}; restore it or remove the line",
    ]
    shutil.copytree(base, tmp_path / "VOCdevkit" / "VOC2007")
    with pytest.raises(UserError, match=r"several years are there; choose one with data.root=.*VOC2007"):
        VocLayout().find(tmp_path)


# ---- Cityscapes ----------------------------------------------------------------------------------------------------


def test_cityscapes_classes_are_those_of_torchvision(tmp_path: Path) -> None:
    written = cityscapes(tmp_path)
    source = opened(tmp_path, CityscapesLayout())
    evaluated = sorted((c for c in Cityscapes.classes if not c.ignore_in_eval), key=lambda c: c.train_id)
    evaluated = [c for c in evaluated if c.id >= 0]
    assert list(source.task.names) == [c.name for c in evaluated]
    assert list(source.task.palette) == [c.color for c in evaluated]
    train_id = np.array([c.train_id for c in sorted(Cityscapes.classes, key=lambda c: c.id) if c.id >= 0])
    for split in ("train", "val"):
        for name, mask in masks(source, split).items():
            np.testing.assert_array_equal(mask, train_id[written[f"{split}/{name}"][1]])
            np.testing.assert_array_equal(images(source, split)[name], written[f"{split}/{name}"][0])


def test_both_kinds_of_labels_give_the_same(tmp_path: Path) -> None:
    cityscapes(tmp_path, "labelTrainIds", [*range(19), IGNORED])
    written = cityscapes(tmp_path / "again", "labelTrainIds", [*range(19), IGNORED])
    source = opened(tmp_path, CityscapesLayout())
    assert source.notes[0].startswith("Cityscapes, labelTrainIds; without test")
    for name, mask in masks(source, "val").items():
        np.testing.assert_array_equal(mask, written[f"val/{name}"][1])
    cityscapes(tmp_path)  # both are there
    assert "Cityscapes, labelIds;" in opened(tmp_path, CityscapesLayout()).notes[0]
    assert "labelTrainIds;" in opened(tmp_path, CityscapesLayout(labels="labelTrainIds")).notes[0]


def test_cities_are_groups_and_test_is_asked_for(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    items = CityscapesLayout().find(tmp_path).items
    assert [(i.split, i.group, i.id) for i in items] == [
        ("train", "aachen", "aachen_000000_000019"),
        ("train", "bochum", "bochum_000000_000600"),
        ("val", "munster", "munster_1_2"),
    ]
    found = CityscapesLayout(test=True).find(tmp_path)
    assert [i.group for i in found.items] == ["aachen", "bochum", "munster", "bonn"]
    assert found.notes == ["Cityscapes, labelIds"]


def test_cityscapes_faults(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    lost = tmp_path / "gtFine" / "train" / "aachen" / "aachen_000000_000019_gtFine_labelIds.png"
    lost.unlink()
    shutil.rmtree(tmp_path / "leftImg8bit" / "val" / "munster")
    image = tmp_path / "leftImg8bit" / "train" / "aachen" / "aachen_000000_000019_leftImg8bit.png"
    assert CityscapesLayout().find(tmp_path).faults == [
        f"{image}: no mask {lost}",
        f"{tmp_path / 'leftImg8bit' / 'val'}: no images (*/*_leftImg8bit.png)",
    ]


# ---- Oxford-IIIT Pet -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "oxford-iiit-pet"])
def test_pets_are_read_as_torchvision_reads_them(tmp_path: Path, inside: str) -> None:
    pet(tmp_path)
    source = opened(tmp_path / inside, PetLayout())
    assert (source.task.mode, source.task.names) == ("binary", ("pet",))
    ours = {split: masks(source, split) for split in ("train", "val", "test")}
    assert not ours["train"].keys() & ours["val"].keys()
    for split, mine in (("trainval", ours["train"] | ours["val"]), ("test", ours["test"])):
        theirs = OxfordIIITPet(str(tmp_path), split, target_types="segmentation")
        names = [path.stem for path in theirs._images]
        assert sorted(names) == sorted(mine)
        for name, (_, trimap) in zip(names, theirs, strict=True):
            expected = np.array([0, 1, 0, IGNORED])[np.asarray(trimap)]  # 1 pet, 2 background, 3 border
            np.testing.assert_array_equal(mine[name], expected)


def test_three_classes_and_the_border_as_pet(tmp_path: Path) -> None:
    written = pet(tmp_path)
    source = opened(tmp_path, PetLayout(border="class"))
    assert (source.task.mode, source.task.names) == ("multiclass", ("background", "pet", "border"))
    for name, mask in masks(source, "test").items():
        np.testing.assert_array_equal(mask, np.array([9, 1, 0, 2])[written[f"test/{name}"][1]])
    whole = FileData(str(tmp_path), PetLayout(border="class"), classes={"pet": "pet", "border": "pet"}).open(REQUEST)
    assert whole.task.names == ("pet",)
    for name, mask in masks(whole, "test").items():
        np.testing.assert_array_equal(mask, np.array([9, 1, 0, 1])[written[f"test/{name}"][1]])


def test_val_is_every_fifth_of_each_breed(tmp_path: Path) -> None:
    pet(tmp_path)
    splits = {item.id: item.split for item in PetLayout().find(tmp_path).items}
    # by name: 1, 10, 2, 3, 4, 5
    assert [name for name, split in splits.items() if split == "val"] == ["Abyssinian_4", "great_pyrenees_4"]
    third = {item.id: item.split for item in PetLayout(val_every=3).find(tmp_path).items}
    assert [name for name, split in third.items() if split == "val"] == [
        "Abyssinian_2", "Abyssinian_5", "great_pyrenees_2", "great_pyrenees_5"
    ]  # fmt: skip
    path = tmp_path / "oxford-iiit-pet" / "annotations" / "trainval.txt"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert {item.id: item.split for item in PetLayout().find(tmp_path).items} == splits


def test_pet_faults(tmp_path: Path) -> None:
    pet(tmp_path)
    base = tmp_path / "oxford-iiit-pet"
    (base / "images" / "Abyssinian_6.jpg").unlink()
    with (base / "annotations" / "test.txt").open("a") as file:
        file.write("Abyssinian_1 1 1 1\n")
    faults = PetLayout().find(tmp_path).faults
    assert len(faults) == 2
    assert any(f"test.txt line 1: no file {base / 'images' / 'Abyssinian_6.jpg'}" in fault for fault in faults)
    assert any("'Abyssinian_1' stands already in" in fault for fault in faults)


# ---- what is missing names what downloads it -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "makes", "missing", "says"),
    [
        (VocLayout(), voc, "", "torchvision.datasets.VOCSegmentation('{root}', year='2012', download=True)"),
        (VocLayout(), voc, "VOCdevkit/VOC2012/ImageSets", "torchvision.datasets.VOCSegmentation('{root}'"),
        (
            PetLayout(),
            pet,
            "",
            "torchvision.datasets.OxfordIIITPet('{root}', target_types='segmentation', download=True)",
        ),
        (PetLayout(), pet, "oxford-iiit-pet/images", "torchvision.datasets.OxfordIIITPet('{root}'"),
        (CityscapesLayout(), cityscapes, "", "register at cityscapes-dataset.com"),
        (CityscapesLayout(), cityscapes, "gtFine/val", "gtFine/val: no such folder"),
    ],
)
def test_missing_parts(
    layout: Layout, makes: Callable[[Path], object], missing: str, says: str, tmp_path: Path
) -> None:
    makes(tmp_path)
    shutil.rmtree(tmp_path / missing)
    tmp_path.mkdir(exist_ok=True)
    with pytest.raises(UserError) as caught:
        layout.find(tmp_path)
    assert says.format(root=tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (PetLayout(border="pet"), "data.layout.border must be one of ignore, class"),
        (PetLayout(val_every=1), "data.layout.val_every must be a whole number >= 2"),
        (CityscapesLayout(labels="color"), "data.layout.labels must be one of labelIds, labelTrainIds"),
        (CityscapesLayout(test="no"), "data.layout.test must be true or false"),  # type: ignore[arg-type]
    ],
)
def test_bad_settings(layout: Layout, says: str, tmp_path: Path) -> None:
    pet(tmp_path)
    cityscapes(tmp_path)
    with pytest.raises(UserError, match=says):
        layout.find(tmp_path)


@pytest.mark.parametrize("option", tiny.every(2, [option for option in TREES if option != "folder"]))
def test_each_trains_through_the_command_line(option: str, tmp_path: Path) -> None:
    TREES[option](tmp_path / "data")
    data = [f"data={option}", f"data.root={tmp_path / 'data'}"]
    run = tiny.train(tmp_path / "out", "epochs=1", f"crop={SIDE}", "batch_size=2", "debug=fast", data=data)
    assert tiny.summary(run)["status"] == "done"


@pytest.mark.parametrize("name", ["../JPEGImages/2007_traina", "/tmp/x", "..\\x", "a/../../x"])
def test_a_list_that_leads_out_of_its_folder(name: str, tmp_path: Path) -> None:
    voc(tmp_path)
    path = next(tmp_path.rglob("Segmentation/val.txt"))
    path.write_text(f"{path.read_text()}{name}\n")
    (fault,) = VocLayout().find(tmp_path).faults
    assert fault.startswith(f"{path} line 3: {name!r} leads out of")


def test_a_name_that_no_system_takes(tmp_path: Path) -> None:
    voc(tmp_path)
    path = next(tmp_path.rglob("Segmentation/val.txt"))
    path.write_text(f"{path.read_text()}{'x' * 5000}\n")
    (fault,) = VocLayout().find(tmp_path).faults
    assert fault.startswith(f"{path} line 3: no file ")

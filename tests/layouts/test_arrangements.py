"""data=folder finds the arrangements that people have, says what it took, and asks where there are two."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtrain.cli.compose import compose
from segtrain.data.files import FileData
from segtrain.data.listing import Listing
from segtrain.errors import UserError
from segtrain.layouts.folder import FolderLayout
from segtrain.layouts.naming import MASK_ENDINGS
from tests import tiny
from tests.data.files import REQUEST
from tests.data.trees import NAMES, SIDE, Written, array_pair, save, write

FLAT = [name for members in NAMES.values() for name in members]
Place = Callable[[str, str], tuple[str, str]]
OTHER = {"train": "Training", "val": "valid", "test": "testing"}


def check(root: Path, written: Written, layout: FolderLayout | None = None) -> Sequence[str]:
    """What is read must be what was written, in each split; the notes."""
    source = FileData(str(root), layout or FolderLayout()).open(REQUEST)
    found = {f"{split}/{name}": (e, i) for split, e in source.splits.items() for i, name in enumerate(e.ids)}
    assert set(found) == set(written)
    for key, (examples, index) in found.items():
        image, mask = examples.read(index)
        np.testing.assert_array_equal(image, written[key][0])
        np.testing.assert_array_equal(mask, written[key][1] > 0)
    return source.notes


def listing(root: Path, **settings: Any) -> Listing:
    return FolderLayout(**settings).find(root)


def refused(root: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        listing(root, **settings)
    return str(caught.value)


# ---- what is found without a setting -------------------------------------------------------------------------------

# image, mask, what the note says; {s} is the split, {o} another name of it, {n} the name
FOUND = {
    "images+masks": ("images/{s}/{n}.jpg", "masks/{s}/{n}.png", "images/{split}, masks in masks/{split}"),
    "Images+labels": ("Images/{s}/{n}.jpg", "labels/{s}/{n}.png", "Images/{split}, masks in labels/{split}"),
    "img+annots": ("img/{s}/{n}.jpg", "annots/{s}/{n}.tif", "img/{split}, masks in annots/{split}"),
    "imgs+gt": ("imgs/{o}/{n}.png", "gt/{s}/{n}.png", "imgs/{split}, masks in gt/{split}"),
    "img_dir": (
        "img_dir/{s}/{n}_leftImg8bit.png",
        "ann_dir/{s}/{n}_gtFine_labelTrainIds.png",
        "img_dir/{split} (*_leftImg8bit), masks in ann_dir/{split} (*_gtFine_labelTrainIds)",
    ),
    "outermost": ("{s}/images/{n}.jpg", "{s}/masks/{n}.png", "{split}/images, masks in {split}/masks"),
    "outermost, other names": ("{o}/image/{n}.jpg", "{o}/label/{n}.png", "{split}/image, masks in {split}/label"),
    "trainannot": ("{s}/{n}.png", "{s}annot/{n}.png", "{split}, masks in {split}annot"),
    "train_labels": ("{s}/{n}.png", "{s}_labels/{n}_L.png", "{split}, masks in {split}_labels (*_L)"),
    "train_masks": ("{s}/{n}.jpg", "{s}_masks/{n}_mask.png", "{split}, masks in {split}_masks (*_mask)"),
    "train_images": ("{s}_images/{n}.jpg", "{s}_masks/{n}.png", "{split}_images, masks in {split}_masks"),
    "images_train": ("images_{s}/{n}.jpg", "masks_{s}/{n}.png", "images_{split}, masks in masks_{split}"),
    "an ending": ("images/{s}/{n}.png", "masks/{s}/{n}_segmentation.png", "masks in masks/{split} (*_segmentation)"),
    "one folder of masks": ("images/{s}/{n}.jpg", "masks/{n}.png", "images/{split}, masks in masks"),
    "_sat and _mask": ("{s}/{n}_sat.jpg", "{s}/{n}_mask.png", "masks (*_mask) in {split}"),
    "same stem": ("{s}/{n}.jpg", "{s}/{n}.png", "images and masks in {split}"),
    "same stem in images": ("images/{s}/{n}.jpg", "images/{s}/{n}.png", "images and masks in images/{split}"),
    "_mask": ("{s}/{n}.png", "{s}/{n}_mask.png", "masks (*_mask) in {split}"),
    "_gt": ("{s}/{n}.png", "{s}/{n}_gt.png", "masks (*_gt) in {split}"),
    "_label": ("{s}/{n}.png", "{s}/{n}_label.png", "masks (*_label) in {split}"),
    "_seg": ("{s}/{n}.png", "{s}/{n}_seg.png", "masks (*_seg) in {split}"),
    "_annot": ("{s}/{n}.png", "{s}/{n}_annot.png", "masks (*_annot) in {split}"),
}


def named(image: str, mask: str) -> Place:
    def place(split: str, name: str) -> tuple[str, str]:
        fields = {"s": split, "o": OTHER.get(split), "n": name}
        return image.format_map(fields), mask.format_map(fields)

    return place


@pytest.mark.parametrize("name", FOUND)
def test_is_found(name: str, tmp_path: Path) -> None:
    image, mask, said = FOUND[name]
    notes = check(tmp_path, write(tmp_path, named(image, mask)))
    assert said in notes[0]
    assert ("val from " in "; ".join(notes)) == ("{o}" in image)


@pytest.mark.parametrize("ending", MASK_ENDINGS[1:])
@pytest.mark.parametrize("beside", [False, True])
def test_every_known_ending(ending: str, beside: bool, tmp_path: Path) -> None:
    masks = "images" if beside else "masks"
    write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"{masks}/{s}/{n}{ending}.png"))
    found = listing(tmp_path)
    assert [item.id for item in found.items] == FLAT
    assert not found.faults


def test_folders_in_folders_and_a_circle(tmp_path: Path) -> None:
    written = write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"masks/{s}/{n}.png"), names={
        "train": ["cologne/a", "bonn/a"], "val": ["cologne/b"]})  # fmt: skip
    (tmp_path / "images" / "train" / "again").symlink_to(tmp_path / "images", target_is_directory=True)
    outside = tmp_path.with_name(f"{tmp_path.name} elsewhere")
    for kind in ("images", "masks"):
        (outside / kind).mkdir(parents=True)
        (tmp_path / kind / "train" / "bonn").rename(outside / kind / "bonn")
        (tmp_path / kind / "train" / "bonn").symlink_to(outside / kind / "bonn", target_is_directory=True)
    check(tmp_path, written)


def test_test_images_without_labels_are_said(tmp_path: Path) -> None:
    written = write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"masks/{s}/{n}.png"))
    (tmp_path / "masks" / "test" / "g.png").unlink()
    (tmp_path / "masks" / "test").rmdir()
    del written["test/g"]
    assert "no test split: masks/test is missing" in check(tmp_path, written)


def test_one_mask_for_two_images(tmp_path: Path) -> None:
    names = {"train": ["a", "b"], "val": ["a"]}
    write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"masks/{n}.png"), names=names)
    (fault,) = listing(tmp_path).faults
    images, masks = tmp_path / "images", tmp_path / "masks"
    assert fault == f"{images / 'val' / 'a.png'}: {masks / 'a.png'} is the mask of {images / 'train' / 'a.png'}"


@pytest.mark.parametrize("declared", [False, True])
def test_without_training_images(declared: bool, tmp_path: Path) -> None:
    write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"masks/{s}/{n}.png"), names={"val": ["a"], "test": ["b"]})
    if declared:
        (tmp_path / "classes.txt").write_text("0\tground\n255\tcell\n")
    with pytest.raises(UserError, match=r"no train images; data\.split=random"):
        FileData(str(tmp_path), FolderLayout()).open(REQUEST)


# ---- lists of splits -----------------------------------------------------------------------------------------------


def write_lists(root: Path, pattern: str = "splits/{split}.txt", line: str = "{name}\n") -> None:
    for split, members in NAMES.items():
        path = root / pattern.replace("{split}", split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(line.replace("{name}", name) for name in members))


@pytest.mark.parametrize("pattern", ["splits/{split}.txt", "ImageSets/Segmentation/{split}.txt", "{split}.txt"])
@pytest.mark.parametrize("line", ["{name}\n", "{name}.jpg\r\n", "\n images/{name}.jpg \n"])
def test_lists(pattern: str, line: str, tmp_path: Path) -> None:
    written = write(tmp_path, lambda _, n: (f"images/{n}.jpg", f"masks/{n}.png"))
    save(tmp_path / "images" / "unlabelled.jpg", array_pair(0, (0, 255))[0])
    write_lists(tmp_path, pattern, line)
    *_, note, _ = check(tmp_path, written)
    assert note.startswith("splits from ")
    assert note.endswith("which leave out 1 images")


def test_lists_with_masks_beside(tmp_path: Path) -> None:
    written = write(tmp_path, lambda _, n: (f"{n}.jpg", f"{n}_mask.png"))
    write_lists(tmp_path)
    check(tmp_path, written)


def test_faults_of_lists(tmp_path: Path) -> None:
    write(tmp_path, lambda _, n: (f"images/{n}.jpg", f"masks/{n}.png"))
    write_lists(tmp_path)
    train, val = (tmp_path / "splits" / f"{split}.txt" for split in ("train", "val"))
    train.write_text("a\nnowhere\nb c\na.jpg\n/images/a.jpg /masks/a.png\n")
    val.write_text("e\na\nf\n")
    (tmp_path / "masks" / "e.png").unlink()
    assert set(listing(tmp_path).faults) == {
        f"{train} line 2: no images are called 'nowhere'",
        f"{train} line 4: 'a.jpg' stands already in {train} line 1; keep one of them",
        f"{train} line 5: no images are called '/images/a.jpg /masks/a.png'; pairs of files are read by data=csv",
        f"{val} line 2: 'a' stands already in {train} line 1; keep one of them",
        f"{tmp_path / 'images' / 'e.jpg'}: no mask {tmp_path / 'masks' / 'e.png'}",
    }
    val.write_bytes(b"\xff\xfea")
    assert refused(tmp_path).startswith(f"{val}: cannot be read as text")


def test_one_name_for_two_images(tmp_path: Path) -> None:
    write(tmp_path, lambda _, n: (f"images/{n}.jpg", f"masks/{n}.png"), names={"train": ["x/a", "y/a"], "val": ["b"]})
    for split, text in (("train", "a\n"), ("val", "b\n")):
        (tmp_path / f"{split}.txt").write_text(text)
    assert listing(tmp_path).faults == [f"{tmp_path / 'train.txt'} line 1: 2 images are called 'a'"]


def test_lists_in_two_places_and_elsewhere(tmp_path: Path) -> None:
    written = write(tmp_path, lambda _, n: (f"images/{n}.jpg", f"masks/{n}.png"))
    write_lists(tmp_path)
    write_lists(tmp_path, "{split}.txt")
    assert "data.layout.lists=splits/{split}.txt" in refused(tmp_path)
    write_lists(tmp_path, "mine/{split}_1.txt")
    check(tmp_path, written, FolderLayout(lists="mine/{split}_1.txt"))
    assert "data.layout.lists=no/{split}.txt: no such files" in refused(tmp_path, lists="no/{split}.txt")


def test_lists_beside_split_folders(tmp_path: Path) -> None:
    written = write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"masks/{s}/{n}.png"))
    write_lists(tmp_path)
    check(tmp_path, written)  # the folders say the same
    assert "says the splits already" in refused(tmp_path, lists="splits/{split}.txt")


@pytest.mark.parametrize(
    "place", [("images/{}.png", "masks/{}.png"), ("{}.jpg", "{}.png"), ("image/{}.png", "image/{}_gt.png")]
)
def test_without_splits(place: tuple[str, str], tmp_path: Path) -> None:
    write(tmp_path, lambda _, n: (place[0].format(n), place[1].format(n)))
    found = listing(tmp_path)
    assert [(item.id, item.split) for item in found.items] == [(name, "") for name in FLAT]
    with pytest.raises(UserError, match=r"no split is given for 6 images .*data\.split=random"):
        FileData(str(tmp_path), FolderLayout()).open(REQUEST)


# ---- settings ------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, tuple[str, str, dict[str, str]]] = {
    "folders": ("pics/{s}/x/{n}.png", "ids/{s}/x/{n}.png", {"images": "pics/{split}/x", "masks": "ids/{split}/x"}),
    "stars": (
        "left/{s}/c1/{n}_rgb.png",
        "fine/c1/{s}_{n}_ids.png",
        {"images": "left/{split}/*/*_rgb.png", "masks": "fine/*/{split}_*_ids.png"},
    ),
    "one folder": ("d/{s}-{n}.png", "d/{s}-{n}.tif", {"images": "d/{split}-*.png", "masks": "d/{split}-*.tif"}),
    "among images": ("{s}/{n}.png", "{s}/{n}_Y.png", {"images": "{split}/*.png", "masks": "{split}/*_Y.png"}),
    "suffix": ("images/{s}/{n}.png", "masks/{s}/{n}-ids.png", {"suffix": "-ids"}),
    "suffix beside": ("{s}/{n}.png", "{s}/{n}-ids.png", {"suffix": "-ids"}),
    "images alone": ("pics/{s}/{n}.png", "masks/{s}/{n}.png", {"images": "pics/{split}"}),
    "images alone, beside": ("pics/{s}/{n}.png", "pics/{s}/{n}_gt.png", {"images": "pics/{split}"}),
    "masks alone": ("images/{s}/{n}.png", "ids/{s}/{n}.png", {"masks": "ids/{split}"}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str, tmp_path: Path) -> None:
    image, mask, settings = SETTINGS[name]
    written = write(tmp_path, named(image, mask))
    layout = FolderLayout(**settings)
    if name == "stars":
        written = {key.replace("/", "/c1/"): pair for key, pair in written.items()}
    check(tmp_path, written, layout)
    words = [f"data.layout.{key}={value}" for key, value in settings.items()]  # as typed, without quotes for Hydra
    config, _ = compose("train", ["data=folder", f"data.root={tmp_path}", *words])
    assert {key: config.data.layout[key] for key in settings} == settings


def test_absolute_paths_in_settings(tmp_path: Path) -> None:
    written = write(tmp_path, lambda s, n: (f"one/{s}/{n}.png", f"other disk/{s}/{n}.png"))
    check(tmp_path / "one", written, FolderLayout(images="{split}", masks=f"{tmp_path}/other disk/{{split}}"))


def test_a_suffix_leaves_out_other_labels(tmp_path: Path) -> None:
    place = lambda s, n: (f"images/{s}/{n}.png", f"masks/{s}/{n}_gtFine_labelIds.png")  # noqa: E731
    written = write(tmp_path, place)
    assert not listing(tmp_path).faults
    for key in written:
        save(tmp_path / "masks" / f"{key}_gtFine_color.png", written[key][0])
    assert "no image" in listing(tmp_path).faults[0]
    assert "data.layout.suffix=_gtFine_labelIds leaves out" in listing(tmp_path).faults[0]
    for key in written:
        save(tmp_path / "masks" / f"{key}_gtFine_labelTrainIds.png", written[key][1])
    message = refused(tmp_path)
    assert "_gtFine_labelIds (6), _gtFine_labelTrainIds (6); choose with data.layout.suffix=" in message
    check(tmp_path, written, FolderLayout(suffix="_gtFine_labelIds"))


def test_a_suffix_beside_leaves_out_other_labels(tmp_path: Path) -> None:
    written = write(tmp_path, lambda s, n: (f"{s}/{n}.png", f"{s}/{n}_mask.png"))
    for key, (_, mask) in written.items():
        save(tmp_path / f"{key}_seg.png", mask * 0)
    assert "_mask (6), _seg (6)" in refused(tmp_path)
    check(tmp_path, written, FolderLayout(suffix="_mask"))


def test_names_that_only_look_like_endings(tmp_path: Path) -> None:
    """Where all names are equal, an image may be called a_mask."""
    names = {"train": ["a", "a_mask", "b"], "val": ["a_img", "a_0000"]}
    check(tmp_path, write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"masks/{s}/{n}.png"), names=names))


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_names_that_are_not_read_are_said(tmp_path: Path) -> None:
    write(tmp_path, lambda s, n: (f"images/{s}/{n}.jpg", f"masks/{s}/{n}.png"))
    (tmp_path / "data.yaml").write_text("names: [ground, cell]\n")
    assert "data.yaml is not read: give ids and names in classes.txt" in listing(tmp_path).notes
    (tmp_path / "classes.txt").write_text("0 ground\n255 cell\n")
    assert len(listing(tmp_path).notes) == 1


def test_masks_that_are_gifs(tmp_path: Path) -> None:
    """As the Carvana set has them."""
    written = write(tmp_path, lambda s, n: (f"{s}/{n}.jpg", f"{s}_masks/{n}_mask.gif"))
    check(tmp_path, written)


def test_two_arrangements_are_listed(tmp_path: Path) -> None:
    written = write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"masks/{s}/{n}.png"))
    for key, (_, mask) in written.items():
        save(tmp_path / "labels" / f"{key}.png", mask)
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path}: 2 arrangements")
    for masks in ("labels", "masks"):
        assert f"data.layout.images=images/{{split}} data.layout.masks={masks}/{{split}}" in message
    check(tmp_path, written, FolderLayout(masks="masks/{split}"))


def test_two_names_of_a_split(tmp_path: Path) -> None:
    write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"masks/{s}/{n}.png"))
    save(tmp_path / "images" / "valid" / "x.png", array_pair(0, (0, 1))[0])
    assert "val and valid are both there" in refused(tmp_path)


def test_formats_that_could_both_be_masks(tmp_path: Path) -> None:
    write(tmp_path, lambda s, n: (f"{s}/{n}.tif", f"{s}/{n}.png"))
    assert "data.layout.images='*.tif' data.layout.masks='*.png'" in refused(tmp_path).replace("{split}/", "")


@pytest.mark.parametrize(
    "makes", [[], ["readme.txt"], ["images/train/a.png"], ["masks/train/a.png"], ["a.png", "b.png"]]
)
def test_nothing_is_found(makes: list[str], tmp_path: Path) -> None:
    for name in makes:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / name, array_pair(0, (0, 1))[0]) if "png" in name else (tmp_path / name).write_text("x")
    message = refused(tmp_path)
    assert "no images with masks are found there" in message
    assert (makes[0].split("/")[0] if makes else "it holds nothing") in message


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"images": "imgs/{split}", "masks": "masks/{split}"}, "nothing of imgs/{split} is there"),
        ({"images": "images/{split}", "masks": "nowhere"}, "nothing of nowhere is there"),
        ({"images": "images", "masks": "masks/{split}"}, "give it to both"),
        ({"images": "images/**/*.png"}, "** is not read"),
        ({"images": "images/{split}/*.png", "masks": "masks/*/*.png"}, "need equally many *"),
        ({"images": 3}, "data.layout.images must be a text such as imgs/{split}, got 3"),
        ({"lists": ""}, "data.layout.lists must be a text"),
    ],
)
def test_bad_settings(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"masks/{s}/{n}.png"))
    assert says in refused(tmp_path, **settings)


def test_unmatched_files_with_stars_and_endings(tmp_path: Path) -> None:
    write(tmp_path, lambda s, n: (f"{s}/{n}_x.png", f"{s}/{n}_y.png"))
    (tmp_path / "train" / "a_y.png").unlink()
    (tmp_path / "val" / "e_x.png").unlink()
    assert listing(tmp_path, images="{split}/*_x.png", masks="{split}/*_y.png").faults == [
        f"{tmp_path / 'train' / 'a_x.png'}: no mask of the same * that fits train/*_y.png",
        f"{tmp_path / 'val' / 'e_y.png'}: no image of the same * that fits val/*_x.png",
    ]


def test_an_image_without_its_mask_beside_it(tmp_path: Path) -> None:
    write(tmp_path, lambda s, n: (f"{s}/{n}.png", f"{s}/{n}_mask.png"))
    (tmp_path / "train" / "a_mask.png").unlink()
    assert listing(tmp_path).faults == [f"{tmp_path / 'train' / 'a.png'}: no mask {tmp_path / 'train' / 'a_mask.png'}"]


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, lambda s, n: (f"images/{s}/{n}.png", f"masks/{s}/{n}.png"))

    def iterdir(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert "cannot be listed (Permission denied)" in refused(tmp_path)


# ---- nnU-Net -------------------------------------------------------------------------------------------------------


def nnunet(root: Path, labels: Any, ids: Sequence[int] = (0, 1, 2)) -> Written:
    names = {"": ["case_1", "case_2"], "test": ["case_9"]}
    folders = {"": "Tr", "test": "Ts"}
    place = lambda s, n: (f"images{folders[s]}/{n}_0000.png", f"labels{folders[s]}/{n}.png")  # noqa: E731
    (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": "rgb"}, "labels": labels, "numTraining": 2}))
    return write(root, place, ids, names)


@pytest.mark.parametrize(
    "labels", [{"background": 0, "tumour": 1, "ignore": 2}, {"0": "background", "1": "tumour", "2": "ignore"}]
)
def test_nnunet(labels: Any, tmp_path: Path) -> None:
    nnunet(tmp_path, labels)
    found = listing(tmp_path)
    assert [(item.split, item.id) for item in found.items] == [("test", "case_9"), ("", "case_1"), ("", "case_2")]
    assert found.notes[:2] == ["images in imagesTr (*_0000), masks in labelsTr", "nnU-Net's layout"]
    data = FileData(str(tmp_path), FolderLayout())
    class_map = data.class_map(data.survey(), {}, REQUEST)
    assert (class_map.task.mode, class_map.task.names, class_map.origin) == ("binary", ("tumour",), "dataset.json")
    np.testing.assert_array_equal(class_map.apply(np.array([[0, 1, 2]])), [[0, 1, 255]])


def test_nnunet_trains_with_lists(tmp_path: Path) -> None:
    """As splits of one's own: nnU-Net makes its folds itself."""
    nnunet(tmp_path, {"background": 0, "a": 1, "b": 2})
    for split, name in (("train", "case_1"), ("val", "case_2")):
        (tmp_path / f"{split}.txt").write_text(name)
    layout = FolderLayout(images="imagesTr", masks="labelsTr")
    assert [(i.split, i.id) for i in layout.find(tmp_path).items] == [("train", "case_1"), ("val", "case_2")]


def test_nnunet_refusals(tmp_path: Path) -> None:
    nnunet(tmp_path, {"background": 0, "whole": [1, 2], "core": 2})
    data = FileData(str(tmp_path), FolderLayout())
    with pytest.raises(UserError, match="whole is a region of several ids"):
        data.class_map(data.survey(), {}, REQUEST)
    extra = tmp_path / "imagesTr" / "case_1_0001.png"
    save(extra, array_pair(0, (0, 1))[0])
    assert refused(tmp_path).startswith(f"{extra}: a second channel in a file of its own is not read")
    for path in (tmp_path / "imagesTr").iterdir():
        path.rename(path.with_suffix(".nii.gz"))
    assert "is no image that is read here" in refused(tmp_path)


# ---- through the command line --------------------------------------------------------------------------------------


def test_training_on_masks_beside_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "data", lambda s, n: (f"{s}/{n}.png", f"{s}/{n}_ids.png"))
    data = ["data=folder", f"data.root={tmp_path / 'data'}", "data.layout.images={split}", "data.layout.suffix=_ids"]
    run = tiny.train(tmp_path / "out", "epochs=1", f"crop={SIDE}", "batch_size=2", data=data)
    assert tiny.summary(run)["status"] == "done"
    assert "images and masks (*_ids) in {split}" in capsys.readouterr().out

"""segtrain check on data as people have it: what is said, how often, and that the printed commands help."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segtrain.audit.check import Report, check_files
from segtrain.audit.trouble import Trouble, kind_of
from segtrain.cli import main
from segtrain.cli.remedies import replaced
from segtrain.cli.screen import troubles
from segtrain.data.files import FileData
from segtrain.errors import UserError
from segtrain.layouts.folder import FolderLayout
from tests import tiny
from tests.data.defects import SIDE, good_mask, scene
from tests.data.files import REQUEST, Bytes, save_ids

NUMBERS: Mapping[str, int] = {"train": 8, "val": 3, "test": 2}


def checked(root: Path, **settings: object) -> Report:
    data = FileData(str(root), FolderLayout(), **settings)  # type: ignore[arg-type]
    return check_files(data, REQUEST, (32, 32), lambda what: lambda done, whole: None)


def kinds(found: Sequence[Trouble]) -> list[str]:
    return sorted({trouble.kind for trouble in found})


def pairs(root: Path) -> list[tuple[Path, Path]]:
    """A good binary data set of ids 0 and 1; its images and masks."""
    made = []
    for split, number in NUMBERS.items():
        for index in range(number):
            image, mask = (root / what / split / f"{index}.png" for what in ("images", "masks"))
            save_ids(image, scene(100 * len(split) + 10 * index + (split == "test")))
            save_ids(mask, (good_mask(len(made)) == 1).astype(np.uint8))
            made.append((image, mask))
    return made


def ids_of(mask: Path) -> Bytes:
    return np.asarray(Image.open(mask))


def said_by(capsys: pytest.CaptureFixture[str], *words: object, rc: int = 1) -> str:
    assert main(["check", "data=folder", *map(str, words)]) == rc
    return capsys.readouterr().out


def command(said: str, before: str) -> list[str]:
    (line,) = [line for line in said.splitlines() if line.startswith(before)]
    return shlex.split(line.removeprefix(before))[1:]


# ---- what training refuses ----------------------------------------------------------------------------------------


def test_an_image_of_another_depth_is_an_error_as_in_training(tmp_path: Path) -> None:
    deep, _ = pairs(tmp_path)[1]
    Image.fromarray(np.asarray(Image.open(deep))[..., 0].astype(np.uint16) * 200).save(deep)
    report = checked(tmp_path)
    assert [trouble.file for trouble in report.errors] == [deep]
    assert "8 bits" in report.errors[0].text
    assert "data.channels" not in report.errors[0].text
    assert report.warnings == []
    assert report.facts is not None
    assert len(report.facts.sizes) == NUMBERS["train"] - 1
    with pytest.raises(UserError, match="save it with 8 bits"):
        FileData(str(tmp_path), FolderLayout()).open(REQUEST)


def test_several_modes_of_which_none_is_usual_are_one_warning(tmp_path: Path) -> None:
    for place, (image, _) in enumerate(pairs(tmp_path)):
        if place % 3:
            Image.open(image).convert("LP"[place % 3 - 1]).save(image)
    (found,) = checked(tmp_path).warnings
    assert found.text == "the modes of the images are RGB (5), P (4), L (4)"


def test_training_lists_faults_and_says_where_to_see_all(tmp_path: Path) -> None:
    for image, _ in pairs(tmp_path)[:2]:
        image.write_bytes(b"")
    with pytest.raises(UserError, match=r"segtrain check.*exclude=bad.txt"):
        FileData(str(tmp_path), FolderLayout()).open(REQUEST)


# ---- one error, once ----------------------------------------------------------------------------------------------


def test_a_folder_without_splits_is_one_error_and_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place, (image, mask) in enumerate(pairs(tmp_path / "made")):
        (tmp_path / "data" / "images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "masks").mkdir(parents=True, exist_ok=True)
        image.rename(tmp_path / "data" / "images" / f"{place}.png")
        mask.rename(tmp_path / "data" / "masks" / f"{place}.png")
    said = said_by(capsys, f"data.root={tmp_path / 'data'}")
    assert "1 error\n" in said
    assert "no warnings" in said
    assert "13 undivided images" in said
    assert main(command(said, "to mend it: ")) == 0
    assert "data.split=kfold data.fold=0" in said


def test_what_follows_from_an_error_is_not_said(tmp_path: Path) -> None:
    """A class that stands only in masks with an undeclared id beside occurs all the same."""
    for _, mask in pairs(tmp_path):
        ids = np.where(good_mask(1) == 1, 1, 0).astype(np.uint8)
        if mask.stem != "0":
            ids[-4:], ids[:2] = 2, 9
        save_ids(mask, ids)
    (tmp_path / "classes.txt").write_text("0\tground\n1\tcell\n2\tfibre\n")
    report = checked(tmp_path)
    assert kinds(report.errors) == ["ids outside the classes"]
    assert report.warnings == []


def test_the_screen_says_of_how_many_images_it_speaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs(tmp_path)[0][0].write_bytes(b"")
    said = said_by(capsys, f"data.root={tmp_path}")
    assert "7 train, 3 val, 2 test images without errors (of 13)" in said
    assert "diagnosis, from the 7 training images without errors" in said


def test_a_remedy_is_said_once(tmp_path: Path) -> None:
    found = [Trouble("odd", f"file {i}: is odd; mend it with data.x=1") for i in range(3)]
    text = troubles("error", found)
    assert text.count("mend it with") == 1
    assert "odd: 3; mend it with data.x=1" in text
    assert troubles("error", [*found, Trouble("odd", "file 9: is odd; burn it")]).count("mend it with") == 3


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("/a b/pairs.csv line 5: image scans/07fb37aafa66.png: no such file in /a b; correct it", "no such file"),
        ("/a b/pairs.csv line 12: split must be one of train, val or empty, got 'trian'", "wrong split"),
        ("/a b/pairs.csv line 4: weight must be a number > 0, got -1.0", "wrong weight"),
        ("/a b/m/07fb37aafa66.png: no mask /a b/masks/07fb37aafa66.png", "no mask"),
        ("/a b/x.json: annotation 3 (a.png): a polygon of 2 points [1, 2]; at least 3 are needed", "less than 3"),
        ("data.exclude: x.png is not in the data", "not in the data"),
    ],
)
def test_headings_are_words(sentence: str, kind: str) -> None:
    heading = kind_of(sentence, Path("/a b"))
    assert kind in heading
    assert not any(character.isdigit() and character != "3" for character in heading)


# ---- to go on -----------------------------------------------------------------------------------------------------


def test_exclude_and_write_give_a_file_that_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for image, _ in pairs(tmp_path / "data")[:2]:
        image.write_bytes(b"")
    said = said_by(capsys, "data.root=data", "exclude=bad.txt", "write=mine")
    assert f"exclude: {tmp_path / 'bad.txt'}\n" in (tmp_path / "mine" / "experiment" / "data.yaml").read_text()
    assert "images/train/0.png\t# not a readable image" in (tmp_path / "bad.txt").read_text()
    assert main([*command(said, "to train: "), *tiny.NET, "epochs=1", "callbacks.pictures.samples=1"]) == 0


def test_exclude_is_not_offered_where_it_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _, mask in pairs(tmp_path):
        if mask.parent.name == "val":
            mask.write_bytes(b"")
    said = said_by(capsys, f"data.root={tmp_path}")
    assert "without the faulty files val would be empty" in said
    assert "to go on without" not in said
    assert "to train" not in said
    for _, mask in pairs(tmp_path):
        ids = ids_of(mask).copy()
        ids[0, 0] = 9 if mask.stem != "0" else 0
        save_ids(mask, ids)
    (tmp_path / "classes.txt").write_text("0\tground\n1\tcell\n")
    (tmp_path / "masks" / "train" / "0.png").write_bytes((tmp_path / "masks" / "train" / "1.png").read_bytes())
    said = said_by(capsys, f"data.root={tmp_path}", "write=mine")
    assert "2 of 13 images would be left" in said
    assert "nothing is written" in said
    again = command(said, "to mend them all: ")
    assert again[-1] == "data.ignore_ids=[9]"
    assert main(again) == 0


def test_one_bad_annotation_does_not_exclude_all_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ring = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[4, 4, 30, 4, 30, 30, 4, 30]]}
    for split in ("train", "val"):
        names = [f"{split}{index}.png" for index in range(4)]
        images = [{"id": i, "file_name": name, "width": SIDE, "height": SIDE} for i, name in enumerate(names)]
        for index, name in enumerate(names):
            save_ids(tmp_path / "images" / split / name, scene(len(split) * 10 + index))
        rings = [ring | {"id": index, "image_id": index} for index in range(4)]
        content = {"images": images, "annotations": rings, "categories": [{"id": 1, "name": "cell"}]}
        if split == "train":
            rings.append(ring | {"id": 9, "segmentation": []})
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    assert main(["check", "data=coco", f"data.root={tmp_path}"]) == 1
    said = capsys.readouterr().out
    assert "exclude" not in said
    assert "not those of single files" in said
    (tmp_path / "annotations" / "instances_val.json").write_text("{")
    assert main(["check", "data=coco", f"data.root={tmp_path}"]) == 1
    assert "exclude" not in capsys.readouterr().out


def test_settings_take_the_place_of_words() -> None:
    words = ["data=folder", "data.root=x y", "crop=64"]
    assert replaced(words, "data=stack") == ["data=stack", "data.root=x y", "crop=64"]
    assert replaced(words, "data.split=kfold data.fold=0", "crop=32")[2:] == [
        "crop=32",
        "data.split=kfold",
        "data.fold=0",
    ]
    sentence = "x: y; read with data.pages=NUMBER, data.classes='{ID: NAME}', data.classes='{1: a, 0: b}' or data=stack"
    assert Trouble("", sentence).settings == ["data.classes='{1: a, 0: b}'", "data=stack"]


# ---- what ids mean ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [1, 254])
def test_masks_of_two_conventions(tmp_path: Path, capsys: pytest.CaptureFixture[str], other: int) -> None:
    for place, (_, mask) in enumerate(pairs(tmp_path)):
        save_ids(mask, ids_of(mask) * np.uint8(255 if place % 3 else other))
    report = checked(tmp_path)
    assert kinds(report.errors) == ["masks of two conventions"]
    assert "8 of 13 masks (62%)" in report.errors[0].text
    assert (report.warnings, report.facts) == ([], None)
    with pytest.raises(UserError, match="8 of 13 masks"):
        FileData(str(tmp_path), FolderLayout()).open(REQUEST)
    again = command(said_by(capsys, f"data.root={tmp_path}"), "to mend it: ")
    assert main(again) == 0
    assert kinds(checked(tmp_path, ignore_ids=255).errors) == []  # said to be so


def test_much_that_is_ignored_by_rule_alone(tmp_path: Path) -> None:
    for _, mask in pairs(tmp_path):
        ids = ids_of(mask) * np.uint8(128)
        ids[:12] = 255
        save_ids(mask, ids)
    (found,) = checked(tmp_path).warnings
    assert found.text.startswith("255 (25% of the pixels, in 13 of 13 masks) is taken as ignored, 128 as foreground")
    assert checked(tmp_path, ignore_ids=255).warnings == []
    source = FileData(str(tmp_path), FolderLayout()).open(REQUEST)
    assert "0 = background, 128 = foreground, 255 = ignored" in source.notes[-1]


@pytest.mark.parametrize("most", [6, 70])
def test_numbers_of_objects_are_not_taken_for_classes(tmp_path: Path, most: int) -> None:
    for place, (_, mask) in enumerate(pairs(tmp_path)):
        number = most - place % 4
        ids = np.zeros((SIDE, SIDE), np.uint8)
        ids[: 9 * 4 : 4, : 9 * 4 : 4].flat[:number] = np.arange(1, number + 1)
        save_ids(mask, ids)
    report = checked(tmp_path)
    (found,) = [*report.errors, *(trouble for trouble in report.warnings if "number" in trouble.kind)]
    assert "numbers of objects" in found.text
    assert f"masks/train/0.png has {most}" in found.text
    assert found.settings == ["data.mask_threshold=0"]
    assert checked(tmp_path, mask_threshold=0).errors == []


# ---- palettes -----------------------------------------------------------------------------------------------------


def paint(mask: Path, palette: Sequence[int]) -> None:
    image = Image.open(mask)
    image.putpalette(list(palette))
    image.save(mask)


def test_a_palette_against_the_declared_colours(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("0\tground\t0,0,0\n1\tcell\t255,0,0\n")
    made = pairs(tmp_path)
    for _, mask in made:
        paint(mask, (0, 0, 0, 255, 0, 0))
    assert [*checked(tmp_path).errors, *checked(tmp_path).warnings] == []
    paint(made[0][1], (255, 0, 0, 0, 0, 0))
    (found,) = checked(tmp_path).errors
    assert found.text.startswith(f"{made[0][1]}: its palette shows the id 0 in the declared colour of 1, and 1 more")
    assert checked(tmp_path, colors="ids").errors == []
    paint(made[0][1], [level for level in range(256) for _ in range(3)])  # greys, as many programs write
    (tmp_path / "classes.txt").write_text("0\tground\t255,0,0\n1\tcell\t0,0,0\n")
    assert made[0][0] not in [trouble.file for trouble in checked(tmp_path).errors]


def test_palettes_that_differ_or_are_bright_where_the_background_is(tmp_path: Path) -> None:
    made = pairs(tmp_path)
    for _, mask in made:
        paint(mask, (255, 255, 255, 0, 0, 0))
    (found,) = checked(tmp_path).warnings
    assert found.kind == "palette with a bright background"
    assert checked(tmp_path, classes={1: "background", 0: "foreground"}).errors == []
    paint(made[3][1], (0, 0, 0, 255, 255, 255))
    assert kinds(checked(tmp_path).warnings) == ["palettes of different order"]


# ---- images of more than 8 bits -----------------------------------------------------------------------------------


def test_twelve_bits_in_files_of_sixteen(tmp_path: Path) -> None:
    for image, _ in pairs(tmp_path):
        grey = np.asarray(Image.open(image).convert("L")).astype(np.uint16) * 2
        tifffile.imwrite(image.with_suffix(".tif"), grey)
        image.unlink()
    twin = tmp_path / "images" / "val" / "0.tif"
    twin.write_bytes((tmp_path / "images" / "train" / "0.tif").read_bytes())
    report = checked(tmp_path)
    assert kinds(report.errors) == ["one image in two splits"]
    (found,) = report.warnings
    assert found.text.endswith("of 65535; set data.value_range=1023")
    assert checked(tmp_path, value_range=1023).warnings == []
    tifffile.imwrite(twin, np.full((SIDE, SIDE), 700, np.uint16))
    assert "image of one colour" in kinds(checked(tmp_path).warnings)


# ---- small things -------------------------------------------------------------------------------------------------


def test_a_link_keeps_the_name_that_was_typed(tmp_path: Path) -> None:
    pairs(tmp_path / "store")
    (tmp_path / "mine").symlink_to(tmp_path / "store")
    assert checked(tmp_path / "mine").name == "mine"
    assert FileData(str(tmp_path / "mine"), FolderLayout()).open(REQUEST).name == "mine"


def test_a_multiclass_set_without_background_has_no_empty_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, (_, mask) in enumerate(pairs(tmp_path)):
        save_ids(mask, good_mask(place))
    for name, number in (("sky", 0), ("background", 1)):
        (tmp_path / "classes.txt").write_text(f"0\t{name}\n1\tcell\n2\tfibre\n")
        assert said_by(capsys, f"data.root={tmp_path}", rc=0).count("have no foreground") == number


def test_a_list_that_names_no_file_has_its_own_heading(tmp_path: Path) -> None:
    pairs(tmp_path / "data")
    (tmp_path / "bad.txt").write_text("gone.png\n")
    (found,) = checked(tmp_path / "data", exclude=str(tmp_path / "bad.txt")).warnings
    assert "not in the data" in found.kind

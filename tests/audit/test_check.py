"""segtrain check: every planted defect is named, nothing else is, and there is a way to go on."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtrain.audit.check import Report, check_files
from segtrain.audit.trouble import Trouble, kind_of
from segtrain.cli import main
from segtrain.cli.screen import MOST, troubles
from segtrain.data.exclude import leave_out, read_excluded, write_excluded
from segtrain.data.files import FileData
from segtrain.errors import UserError
from segtrain.layouts.folder import FolderLayout
from tests import tiny
from tests.data.defects import Defect, plant
from tests.data.files import REQUEST, make_folder, save_ids

DATA = Path(os.environ.get("SEGTRAIN_DATA", Path(__file__).parents[2] / "data"))


def checked(root: Path, exclude: Path | None = None) -> Report:
    data = FileData(str(root), FolderLayout(), exclude=None if exclude is None else str(exclude))
    return check_files(data, REQUEST, (32, 32), lambda what: lambda done, whole: None)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Defect]]:
    """The root of a data set with a defect of each kind, and these."""
    root = tmp_path_factory.mktemp("bad data")
    return root, plant(root)


def names(trouble: Trouble, defect: Defect, root: Path) -> bool:
    """Whether a sentence is about a planted defect."""
    file = str(root / defect.file) if defect.file != "." else ""
    return trouble.text.startswith(file) and defect.says in trouble.text and defect.kind in trouble.kind


def test_every_planted_defect_is_named_and_nothing_else(bad: tuple[Path, list[Defect]]) -> None:
    root, planted = bad
    report = checked(root)
    assert len(planted) >= 30
    for found, error in ((report.errors, True), (report.warnings, False)):
        wanted = [defect for defect in planted if defect.error == error]
        assert [d for d in wanted if not any(names(t, d, root) for t in found)] == []
        others = [t.text for t in found if not any(names(t, d, root) for d in wanted)]
        # a consequence of `rare` and of `only_val` being where they are
        assert [text for text in others if not re.match(r"(rare|only_val|never) ", text)] == []


@pytest.mark.filterwarnings("ignore:ce. class_weights=auto. no training pixel")  # two of the planted defects
def test_the_command_names_them_and_goes_on_without(
    bad: tuple[Path, list[Defect]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a broken folder to a training, by the commands that are printed."""
    root, planted = bad
    monkeypatch.chdir(tmp_path)
    words = ["check", "data=folder", f"data.root={root}"]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert [d for d in planted if str(root / d.file) not in said or d.says not in said] == []
    assert "to train:" not in said
    assert main(typed(said, "to go on without these files: ")) == 1
    said = capsys.readouterr().out
    listed = read_excluded(tmp_path / "bad.txt")
    assert "images/train/cut_png.png" in listed
    assert "masks/train/no_image.png" in listed
    again = typed(said, "without them: ")
    assert main([*again, "write=myconf"]) == 0
    said = capsys.readouterr().out
    assert "no errors" in said
    assert main([*typed(said, "to train: "), *tiny.NET, "epochs=1", "callbacks.pictures.samples=1"]) == 0
    assert main(["evaluate", "run=latest", "split=val", "surface=false"]) == 0


def typed(said: str, before: str) -> list[str]:
    """The words of the command that stands behind a text."""
    (line,) = [line for line in said.splitlines() if before in line]
    return shlex.split(line.partition(before)[2])[1:]


def test_a_good_folder_has_no_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.make_folder(tmp_path / "data", sizes=((48, 48), (56, 40)))
    assert main(["check", "data=folder", f"data.root={tmp_path / 'data'}"]) == 0
    said = capsys.readouterr().out
    assert "6 train, 2 val, 3 test images" in said
    assert "0 = background, 255 = foreground" in said
    assert "no errors" in said
    assert "no warnings" in said
    assert main(["check", "task=multilabel", *tiny.SYNTHETIC]) == 0
    assert "10 train, 3 val, 3 test images" in capsys.readouterr().out


def test_masks_of_0_and_255_in_a_set_where_255_is_ignored(tmp_path: Path) -> None:
    make_folder(tmp_path, (0, 1, 255))
    path = tmp_path / "masks" / "train" / "bïld 0.png"
    ids = np.asarray(Image.open(path))
    save_ids(path, np.where(ids == 1, 255, ids).astype(np.uint8))
    found = [trouble for trouble in checked(tmp_path).warnings if trouble.kind == "0 / 255 mask among ids"]
    assert [trouble.text.partition(":")[0] for trouble in found] == [str(path)]


def test_most_labels_missing(tmp_path: Path) -> None:
    make_folder(tmp_path, (0, 1, *(255,) * 9))
    assert [t.text for t in checked(tmp_path).warnings if t.kind == "few labels"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_usable_images(tmp_path: Path, split: str) -> None:
    make_folder(tmp_path)
    for path in (tmp_path / "masks" / split).iterdir():
        path.write_bytes(b"")
    errors = checked(tmp_path).errors
    assert any(split in t.text for t in errors if t.kind == "empty split")


def test_images_in_two_splits_are_said_before_a_training(tmp_path: Path) -> None:
    make_folder(tmp_path)
    assert FileData(str(tmp_path), FolderLayout()).open(REQUEST).warnings  # of one seed in each split
    tiny.make_folder(tmp_path / "other")
    assert not FileData(str(tmp_path / "other"), FolderLayout()).open(REQUEST).warnings


# ---- sentences ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("/a b/images/x y.png: no mask /a b/masks/x y.png", "no mask"),
        ("/a b/m/x.png: 8 x 9 pixels, but its image has 7 x 8; mend", "mask of another size than its image"),
        ("/a b/m/x.png: ids [1, 2] are none (of (two)); or", "ids are none"),
        ("/a b/m: damaged (image file is truncated); replace", "damaged"),
    ],
)
def test_sentences_of_one_kind_fall_together(sentence: str, kind: str) -> None:
    assert kind_of(sentence, Path("/a b")) == kind


def test_at_most_twenty_of_a_kind_are_listed() -> None:
    text = troubles("error", [Trouble("damaged", f"file {i}") for i in range(MOST + 5)] + [Trouble("gone", "file x")])
    assert text.count("\n    file") == MOST + 1
    assert "... and 5 more" in text
    assert f"damaged: {MOST + 5}" in text


# ---- data.exclude -------------------------------------------------------------------------------------------------


def test_files_and_folders_are_left_out(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "masks" / "train" / "bïld 1.png").unlink()
    listing = FolderLayout().find(tmp_path)
    kept = leave_out(listing, tmp_path, ["images/train/bïld 1.png", "./masks/train/bïld 0.png", "images/val", "x.png"])
    assert [(item.split, item.id) for item in kept.items] == [("train", "bïld 2"), ("test", "bïld 0")]
    assert kept.faults == []
    assert [warning for warning in kept.warnings if "x.png is not in the data" in warning]
    assert leave_out(listing, tmp_path, []).items == listing.items


def test_a_list_survives_writing_and_reading(tmp_path: Path) -> None:
    paths = ["images/a b.png", "masks/ü.png"]
    assert write_excluded(tmp_path / "new" / "bad.txt", tmp_path, {tmp_path / path: path[:6] for path in paths}) == 2
    assert "\t# images\n" in (tmp_path / "new" / "bad.txt").read_text()
    assert read_excluded(tmp_path / "new" / "bad.txt") == paths
    (tmp_path / "bad.txt").write_text("# why\n\n a.png \n")
    assert read_excluded(tmp_path / "bad.txt") == ["a.png"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_list_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    make_folder(tmp_path)
    if content is not None:
        (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"data.exclude=.*bad.txt: cannot be read"):
        checked(tmp_path, tmp_path / "bad.txt")


# ---- real images --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "images"), [("nuclei", 664), ("camvid_small", 701)])
def test_real_data_has_no_fault_that_is_not_there(name: str, images: int) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not there; set SEGTRAIN_DATA to the folder that holds {name}")
    report = checked(DATA / name)
    assert sum(report.counts.values()) == images
    assert [*report.errors, *report.warnings] == []

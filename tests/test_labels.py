"""Training masks without what is to be learned: an error, or a warning that names the classes, before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtrain.cli import main
from segtrain.data import DataSource
from segtrain.errors import UserError
from segtrain.labels import absence, check_labels
from segtrain.task import ClassStats, Task
from tests import tiny

CLASSES = {0: "ground", 1: "one", 2: "two", 3: "three"}


class Images:
    """So many images that are never read."""

    def __init__(self, count: int) -> None:
        self.ids: Sequence[str] = [str(i) for i in range(count)]
        self.sizes: Sequence[tuple[int, int]] = [(1, 1)] * count

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError


def source(mode: str, positives: Sequence[int], valid: Sequence[int], counted: int = 6, images: int = 6) -> DataSource:
    """A data set of any origin, as far as the counts of its training masks go."""
    stats = ClassStats(positives, valid, valid, counted)
    task = Task(mode, len(positives), names=["fg"] if mode == "binary" else ["a", "b", "c"])
    return DataSource("mine", task, 3, {"train": Images(images)}, stats, [0.5] * 3, [0.2] * 3, "", ["a note"])


@pytest.mark.parametrize(
    ("mode", "positives", "valid", "sentence"),
    [
        ("binary", [0], [90], "no pixel of the 6 training masks is fg"),
        ("binary", [90], [90], "no pixel of the 6 training masks is background"),
        ("multiclass", [0, 90, 0], [90] * 3, "no pixel of the 6 training masks is a, c"),
        ("multilabel", [0, 0, 0], [90] * 3, "no pixel of the 6 training masks is a, b, c"),
        ("binary", [0], [0], "all pixels of the 6 training masks are ignored"),
        ("multiclass", [0] * 3, [0] * 3, "all pixels of the 6 training masks are ignored"),
        ("multilabel", [0] * 3, [0] * 3, "all pixels of the 6 training masks are ignored"),
    ],
)
def test_masks_with_nothing_to_tell_apart_are_refused(
    mode: str, positives: list[int], valid: list[int], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        check_labels(source(mode, positives, valid))
    assert str(caught.value).startswith(f"data mine (a note): {sentence}, so there is nothing to learn; ")
    # of masks that were not all counted, nothing is known for sure
    check_labels(source(mode, positives, valid, images=7))
    assert absence(source(mode, positives, valid, images=7)).startswith("warning: ")


@pytest.mark.parametrize(
    ("mode", "positives", "valid", "names"),
    [
        ("binary", [1], [90], None),
        ("binary", [89], [90], None),
        ("multiclass", [40, 40, 10], [90] * 3, None),
        ("multiclass", [0, 89, 1], [90] * 3, "a"),
        ("multilabel", [90, 1, 90], [90] * 3, None),
        ("multilabel", [0, 1, 0], [90, 90, 0], "a, c"),
    ],
)
def test_classes_that_never_occur_are_named(
    mode: str, positives: list[int], valid: list[int], names: str | None
) -> None:
    data = source(mode, positives, valid)
    check_labels(data)
    expected = f"warning: no pixel of the 6 training masks is {names}; "
    assert absence(data) == "" if names is None else absence(data).startswith(expected)


def without(root: Path, lost: dict[int, int], listed: str = "classes.txt") -> list[str]:
    """A folder of four classes whose training masks have lost some ids to others."""
    tiny.make_folder(root, ids=list(CLASSES))
    (root / listed).write_text("".join(f"{i}\t{name}\n" for i, name in CLASSES.items()) + "9\tnothing\tignore\n")
    for path in (root / "masks" / "train").iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.vectorize(lambda i: lost.get(i, i), otypes=[np.uint8])(mask)).save(path)
    return tiny.folder(root)


@pytest.mark.parametrize(
    ("lost", "more", "parts"),
    [
        # the objects have an id that is said to be ignored: the usual way to lose them all
        ({1: 9, 2: 9, 3: 9}, ["data.classes={2: two}"], ["is two, so", "classes from classes.txt", "the ids 0, 9"]),
        ({1: 0, 3: 0}, ["data.classes={1: one}"], ["is one, so", "the ids 0, 2"]),
        (dict.fromkeys(range(4), 9), [], ["are ignored, so", "the ids 9"]),
        (dict.fromkeys(range(4), 0), [], ["is one, two, three, so", "the ids 0"]),
    ],
)
def test_a_training_without_foreground_does_not_begin(
    lost: dict[int, int], more: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*without(tmp_path / "squares", lost), *more, *tiny.FAST, f"output_dir={tmp_path / 'out'}"]
    assert main(["train", *words]) == 1
    error = capsys.readouterr().err
    assert all(part in error for part in ["error: data squares (", "of the 6 training masks", *parts]), error
    assert error.count("\n") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".scan"}  # no run


def test_a_class_that_never_occurs_is_a_warning_on_the_terminal_and_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = without(tmp_path / "squares", {1: 0, 3: 0})
    run = tiny.train(tmp_path / "out", "epochs=1", data=data)
    said = capsys.readouterr().out
    for text in (said, (run.folder / "train.log").read_text()):
        before, warning, _ = text.partition("warning: no pixel of the 6 training masks is one, three; ")
        assert warning
        assert "epoch 1/1" not in before
    # an evaluation trains nothing
    assert main(["evaluate", f"run={run.folder}"]) == 0
    assert "warning" not in capsys.readouterr().out


def test_sound_masks_are_passed_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.train(tmp_path / "out", "epochs=1", data=without(tmp_path / "squares", {}))
    assert "warning" not in "".join(capsys.readouterr())


def test_synthetic_data_of_which_only_a_part_is_counted_is_not_refused() -> None:
    """Of images of 2048 x 2048 only the first is counted, and it may be one without foreground."""
    from segtrain.data.synthetic import SyntheticData

    wanted = {"mode": "binary"}
    size = {"size": 2048, "train": 4, "val": 0, "test": 0}
    seeds = (SyntheticData(**size, foreground=0.001, empty=0.9, seed=seed).open(wanted) for seed in range(9))
    data = next(data for data in seeds if data.stats.positives == [0])
    check_labels(data)
    found = "no pixel of the 1 training masks that were counted (of 4) is foreground"
    assert absence(data).startswith(f"warning: {found}; ")

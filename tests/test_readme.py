"""Every command in README and docs does what it says: it is run, in small, in the order it stands there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from segtrain.cli import main
from segtrain.cli.compose import compose
from segtrain.contract import processes
from tests import tiny
from tests.data.annotated import MAKERS
from tests.data.test_stack import make_stacks
from tests.data.trees import TREES, listed_folder, write

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# the folders that docs/data.md shows
FOLDERS: Mapping[str, Callable[[Path], object]] = {
    "my_frames": lambda root: write(root, lambda split, name: (f"{split}/{name}.png", f"{split}annot/{name}.png")),
    "my_scans": lambda root: write(root, lambda split, name: (f"{split}/{name}.jpg", f"{split}/{name}_mask.png")),
    "my_list": listed_folder,
    "my_table": TREES["csv"],
    "my_voc": TREES["voc"],
    "my_pets": TREES["pet"],
    "my_cities": TREES["cityscapes"],
    "photos_of_the_new_place": tiny.make_folder,
}
SMALL = ["epochs=1", "crop=32", "batch_size=4"]


def commands(page: Path) -> list[str]:
    """The indented lines that begin with python train.py or segtrain."""
    lines = [line.strip() for line in page.read_text().splitlines() if line.startswith("    ")]
    return [line for line in lines if re.match(r"(python train\.py|segtrain )", line)]


def test_the_two_commands_do_all_set_up_by_themselves() -> None:
    text = (ROOT / "README.md").read_text()
    setup = "python3 -m venv .venv && . .venv/bin/activate && pip install -e "
    assert f"    {setup}. && python train.py\n" in text
    assert f"    {setup}'.[dev]' && pytest\n" in text


def small(command: str, folder: Path) -> list[str]:
    """The words of a command, on tiny data and a tiny net."""
    words = shlex.split(command.replace("python train.py", "segtrain train"))[1:]
    if words[0] == "test-loss" and not any(word.startswith("modes=") for word in words):
        return [*words, "modes=binary"]
    if words[0] not in ("train", "evaluate", "predict"):
        return words
    if words[0] == "train" and not any(word.startswith(("resume=", "--help")) for word in words):
        in_files = any(word.startswith(("data=", "experiment=my_")) for word in words)
        words += SMALL + ([] if in_files else tiny.SYNTHETIC)
        if not any(word.startswith("model=") for word in words):
            words += tiny.NET[: 1 if "experiment=cpu_quick" in words else None]  # whose coarser levels are supervised
        words = [word.replace("tu-convnext_tiny", "resnet18") for word in words]
        words += [] if any("pictures" in word for word in words) else ["~callbacks.pictures"]
    return words


def own_loss() -> str:
    """The loss that docs/own-loss.md shows."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own-loss.md").read_text(), flags=re.DOTALL)
    return str(code)


# run by hand: minutes together
LONG = ("augmentation.md", "data.md", "losses.md", "metrics.md", "own-loss.md", "reproduce.md", "training.md")


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow) if p.name in LONG else p for p in PAGES], ids=lambda p: str(p.name)
)
def test_every_command_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processes, "examine_processes", lambda *_: [])  # seconds for each; tests/contract has it
    tiny.make_folder(tmp_path / "my_images", ids=(0, 8, 9, 10, 11))
    (tmp_path / "my_images" / "classes.txt").write_text("0\troad\n8\tcar\n9\tpedestrian\n10\tbicyclist\n11\tvoid\n")
    for name, make in FOLDERS.items():
        make(tmp_path / name)
    for layout, name in {"coco": "coco", "labelme": "labelme", "yolo": "yolo", "objects": "nuclei"}.items():
        MAKERS[layout](tmp_path / f"my_{name}")
    make_stacks(tmp_path / "my_stacks", {"train": 6, "val": 2})
    (tmp_path / "my_pkg.py").write_text(own_loss())
    monkeypatch.syspath_prepend(str(tmp_path))
    own = tmp_path / "myconf" / "loss" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("_target_: my_pkg.MyLoss\ntask: ${task}\nscale: 2.0\n")
    tiny.train(tmp_path / "outputs", "epochs=1")  # the run that resume=latest speaks of
    for command in commands(page):
        if "data.classes" not in command and "data=folder" in command:
            command = command.replace("loss=dice_bce", "loss=dice_ce")  # my_images has several classes here
        assert main(small(command, tmp_path)) == 0, command


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.name == "data.md")) for p in PAGES],
    ids=lambda p: str(p.name),
)
def test_every_setting_in_a_table_composes(page: Path) -> None:
    cells = re.findall(r"^\| (`[^|]*`)", page.read_text(), flags=re.MULTILINE)
    for words in (re.findall(r"`([^`]+)`", cell) for cell in cells):
        for word in words:
            for setting in shlex.split(word) if re.match(r"[\w.]+=[^<]*$", word) else []:
                needs = (
                    ["data=folder", "data.root=x"]
                    if setting.startswith("data.") and "synthetic" not in page.name
                    else []
                )
                needs = [] if re.match(r"data\.(foreground|size|train)", setting) else needs
                compose("train", [*needs, setting])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_link_and_path_exists(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target
    for path in re.findall(r"`((?:segtrain|conf|tests|docs)/[\w/]+\.(?:py|md|yaml))", text):
        assert (ROOT / path).exists(), path

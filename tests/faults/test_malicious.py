"""Files made to do harm: nothing in them runs, nothing outside is written, nothing outside passes for data."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segtrain.cli import main
from segtrain.decode.readers import read_image
from segtrain.errors import UserError
from tests import tiny
from tests.data import annotated, trees
from tests.data.files import bomb, picture
from tests.test_checkpoint import Payload

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder beside the one that commands run in; it must stay as it is."""
    folder, inside = tmp_path / "outside", tmp_path / "inside"
    for path in (folder, inside):
        path.mkdir()
    Image.fromarray(picture(34, 34)).save(folder / "secret.png")
    (folder / "notes").write_text("not for others")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.chdir(inside)
    yield folder
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(tmp_path.iterdir()) == [inside, folder]


def error_of(capsys: Capture, *words: str) -> str:
    """What a command that fails says."""
    capsys.readouterr()
    assert main(list(words)) == 1, words
    said = capsys.readouterr()
    assert "--traceback" not in said.err, said.err
    return said.err + said.out


@pytest.mark.fault(
    "Security",
    "a checkpoint or run folder that holds code",
    "it is never unpickled beyond plain tensors, and parts of the archive are never unpacked: one sentence, exit 1",
)
def test_malicious_checkpoint(outside: Path, capsys: Capture) -> None:
    run = tiny.train(Path("outputs"), "epochs=1")
    sound, canary = torch.load(run.last, weights_only=True), outside / "touched"
    for path in (run.best, run.last):
        torch.save(sound | {"evil": Payload(canary)}, path)
    commands = (
        ["predict", f"run={run.folder}", f"input={outside}", "output=masks"],
        ["evaluate", f"run={run.folder}"],
        ["train", f"resume={run.folder}"],
        ["train", *tiny.SYNTHETIC, *tiny.FAST, f"init_from={run.last}"],
    )
    for command in commands:
        assert str(run.folder) in error_of(capsys, *command)
    run.last.write_bytes(pickle.dumps(sound | {"evil": Payload(canary)}, protocol=2))  # as torch wrote them once
    assert "damaged" in error_of(capsys, "evaluate", f"run={run.last}")

    torch.save(sound, run.best)
    with zipfile.ZipFile(run.best) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(run.last, "w") as archive:
        for name, content in parts.items():
            archive.writestr(f"../../../../outside/{name}" if "/data/" in name else name, content)
    assert "damaged" in error_of(capsys, "train", f"resume={run.last}")

    (run.folder / "overrides.yaml").write_text(f"- !!python/object/apply:pathlib.Path.touch ['{canary}']\n")
    assert "overrides.yaml" in error_of(capsys, "evaluate", f"run={run.folder}")
    (run.folder / "overrides.yaml").write_text(f"- '+callbacks.x={{_target_: os.system, command: touch {canary}}}'\n")
    assert "is not allowed to run" in error_of(capsys, "train", f"resume={run.folder}")


@pytest.mark.fault(
    "Security",
    "a configuration whose _target_ names code",
    "only our builders and known kinds of library classes are built, by what a name resolves to: one sentence, exit 1",
)
def test_malicious_configuration(outside: Path, capsys: Capture) -> None:
    canary, victim = outside / "touched", outside / "notes"
    torch.save(Payload(canary), "evil.pt")
    touch = f"touch {canary}"
    nodes: dict[str, Any] = {
        "os.system": {"command": touch},
        "lightning.pytorch.callbacks.model_checkpoint.os.system": {"command": touch},
        "segtrain.runs.os.system": {"command": touch},
        "torch.nn.os.system": {"command": touch},
        "subprocess.run": {"args": ["touch", str(canary)]},
        "builtins.exec": {"_args_": [f"open({str(canary)!r}, 'w')"]},
        "hydra.utils.call": {"config": {"_target_": "os.system", "command": touch}},
        "hydra.utils.get_method": {"path": "os.system"},
        "torch.load": {"f": "evil.pt", "weights_only": False},
        "pathlib.Path.unlink": {"self": {"_target_": "pathlib.Path", "_args_": [str(victim)]}},
        "${name}": {"command": touch},
    }
    options = Path("mine", "callbacks")
    options.mkdir(parents=True)
    command = ["train", "--config-dir", "mine", *tiny.SYNTHETIC, *tiny.BARE, "callbacks=evil"]
    for target, parameters in nodes.items():
        (options / "evil.yaml").write_text(f"evil: { {'_target_': target, **parameters} }\n")
        words, meant = (["name=os.system"], "os.system") if target == "${name}" else ([], target)
        assert f"_target_={meant}" in error_of(capsys, *command, *words)
    hook = {"_target_": "lightning.pytorch.callbacks.LambdaCallback", "on_fit_start": {"_target_": "os.system"}}
    (options / "evil.yaml").write_text(f"evil: {hook}\n")
    assert "callbacks.evil.on_fit_start._target_=os.system" in error_of(capsys, *command)
    (options / "evil.yaml").write_text(f"evil: !!python/object/apply:os.system ['{touch}']\n")
    assert "evil.yaml" in error_of(capsys, *command)
    letters = "abcdefghi"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise(letters)]
    (options / "evil.yaml").write_text("\n".join(lines) + "\n")  # a billion values
    assert "its aliases (*name) make more than" in error_of(capsys, *command)
    assert not Path("outputs").exists()


@pytest.mark.fault(
    "Security",
    "a manifest with ../, absolute paths or links that lead out of the data's folder",
    "names that lead out are faults with file and line (a table can allow them); a link to no image is named",
)
def test_malicious_manifest(outside: Path, capsys: Capture) -> None:
    def refused(option: str, file: str, old: str, new: str) -> None:
        """With another name in the file, check refuses it and names the file."""
        root = Path(option)
        for way in (f"{'../' * 20}{str(outside).lstrip('/')}", str(outside)):
            shutil.rmtree(root, ignore_errors=True)
            (trees.TREES | annotated.MAKERS)[option](root)
            text = (root / file).read_text()
            assert old in text
            (root / file).write_text(text.replace(old, f"{way}/{new}", 1))
            said = error_of(capsys, "check", f"data={option}", f"data.root={root}", "crop=16")
            assert Path(file).name in said, said
            assert "leads out of" in said, said

    refused("csv", "pairs.csv", "scans/train/a.jpg", "secret.png")
    refused("voc", "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt", "2007_traina", "secret")
    refused("pet", "oxford-iiit-pet/annotations/trainval.txt", "Abyssinian_1 ", "secret ")
    refused("coco", "annotations/instances_train2017.json", "a.png", "secret.png")
    refused("labelme", "train/a.json", "a.png", "secret.png")

    trees.folder(Path("linked"))
    link = next(Path("linked", "masks", "train").iterdir())
    link.unlink()
    link.symlink_to(outside / "notes")
    assert f"{link}: " in error_of(capsys, "check", "data=folder", "data.root=linked", "crop=16")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touched) (w) file closefile\nshowpage\n"
OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="34" SizeY="34" SizeC="1" SizeZ="1" SizeT="2">'
    '<TiffData IFD="0" FirstT="0"/><TiffData IFD="0" FirstT="1"><UUID FileName="../../outside/secret.tif">urn:uuid:1'
    "</UUID></TiffData></Pixels></Image></OME>"
)


@pytest.mark.fault(
    "Security",
    "an image that is a bomb, a pickle, a program, or names another file",
    "formats by their content, pixels by the header before decoding, no pickles, one file: a sentence that names it",
)
def test_malicious_image(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **_: started.append(args))  # as Pillow calls Ghostscript
    canary = outside / "touched"
    bomb(Path("bomb.png"), 50_000)
    np.save("array.npy", np.array([Payload(canary)], dtype=object), allow_pickle=True)
    Path("array.npy").rename("pickled.png")
    Path("bare.tif").write_bytes(pickle.dumps(Payload(canary)))
    for name in ("program.png", "program.tif"):
        Path(name).write_bytes(EPS)
    for path in sorted(Path().iterdir()):
        with pytest.raises(UserError, match=rf"^{path.name}: "):
            read_image(path)
    assert not started

    opened, own = list[str](), open
    monkeypatch.setattr("builtins.open", lambda name, *more, **_: (opened.append(str(name)), own(name, *more))[1])
    values = picture(34, 34)[..., 0].astype(np.uint16)
    tifffile.imwrite("ome.tif", values, description=OME, metadata=None)
    assert read_image(Path("ome.tif"), verify=True).shape == (34, 34, 3)
    assert {Path(name).name for name in opened} == {"ome.tif"}

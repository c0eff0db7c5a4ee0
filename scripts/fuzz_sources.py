"""Sound data sets, configurations and a trained run, and commands that read a damaged copy of one of them."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_commands import said
from fuzz_damage import INSIDE, changed, damaged, odd, twisted

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for the data sets of the tests

from tests.data import annotated, trees  # noqa: E402

SPLIT_FILE = "splits.tsv"
RUN = "outputs/x/run"  # of the sound training
# what makes a training of a sound configuration take .3 s
SMALL = {
    "train.yaml": {"epochs: 16": "epochs: 1", "batch_size: 8 ": "batch_size: 4 ", "crop: 128 ": "crop: 32 "}
    | {"num_workers: auto": "num_workers: 0"},
    "data/synthetic.yaml": {
        "size: 128": "size: 32",
        "train: 128": "train: 8",
        "val: 32": "val: 2",
        "test: 64": "test: 2",
    },
    "model/unet_tiny.yaml": {"width: 16": "width: 2", "depth: 4": "depth: 2"},
    "callbacks/default.yaml": {"samples: 4": "samples: 1"},
}
TRAINING = ["crop=32", "batch_size=4", "epochs=1", "num_workers=0", "model.width=2", "model.depth=2"]
SYNTHETIC = ["data.size=32", "data.train=8", "data.val=2", "data.test=2"]
KEPT = ["name=x", "~callbacks.pictures", "checkpoint.every_steps=1"]
# words of each command, to damage
WORDS: dict[str, list[str]] = {
    "train": [
        *TRAINING, *SYNTHETIC, "lr=.01", "seed=2", "loss=focal", "loss=dice_bce", "aug=light+noise", "aug=none",
        "aug=heavy", "mix=cutmix", "mix=copy_paste", "model=unet_tiny", "optim=sgd", "optim.weight_decay=.1",
        "optim.warmup=.1", "trainer=cpu", "trainer.clip=1", "trainer.accumulate=2", "trainer.precision=32-true",
        "trainer.limit_train=1", "trainer.devices=1", "task=binary", "task.num_classes=1", "task.names=[a]",
        "monitor=val/dice", "monitor_mode=max", "tile=64", "tile_margin=8", "checkpoint.every_steps=1", "debug=fast",
        "checkpoint.every_minutes=1", "metrics.empty_score=1", "callbacks=early_stop", "deterministic=true",
        "callbacks.pictures.samples=1", "data.foreground=.2", "data.empty=.5", "data.channels=1", "data.seed=3",
        "data.oversample=.3", "data.repeat=.1", "name=a", "trainer.log_every=1", "trainer.sync_batchnorm=false",
        "+aug.train.fog={op: hflip, p: .5}", "~callbacks.pictures", "+loss@loss.terms.focal=focal",
        "trainer.check=step",
    ],
    "check": ["crop=32", "exclude=bad.txt", "write=mine", "task=multiclass"],
    "predict": [f"run={RUN}", "threshold=.4", "overlay=false", "tile=32", "tile_margin=4", "channels=rgb", "pages=0"],
    "evaluate": [f"run={RUN}", "split=val", "threshold=.3", "surface=false", "output=tables", "batch_size=2"],
    "preview": [*TRAINING[:2], *SYNTHETIC, "rows=1", "columns=1", "mask=false", "epoch=1", "aug=heavy", "output=a.png"],
    "explain": ["loss=focal", "share=.2", "others=.7", "epochs=2", "output=b.png", "loss.gamma=3"],
    "test-loss": ["loss=bce"],
}  # fmt: skip


@dataclass(frozen=True)
class Manifests:
    """A data set with a file that says what is in it.

    Args:
        option: of the group data.
        make: writes it.
        names: globs of the files to damage.
        texts: more files, by name.
        words: more words of the command.
    """

    option: str
    make: Callable[[Path], Any]
    names: Sequence[str]
    texts: dict[str, str] = field(default_factory=dict)
    words: Sequence[str] = ()


def _plain(root: Path) -> None:
    trees.write(root, lambda split, name: (f"images/{split}/{name}.png", f"masks/{split}/{name}.png"), (0, 1, 2))


def _undivided(root: Path) -> None:
    keys = [f"images/{name}.png" for name in "abcde"]
    trees.write(root, lambda _, name: (f"images/{name}.png", f"masks/{name}.png"), (0, 1), {"train": list("abcde")})
    parts = zip(keys, ("train", "train", "train", "val", "test"), strict=True)
    (root / SPLIT_FILE).write_text("# made by hand\n" + "".join(f"{key}\t{part}\n" for key, part in parts))


CLASSES = [{"id": i, "name": name, "palette": [i, 9, 9]} for i, name in enumerate(("ground", "car", "road"))]
NNUNET = {"labels": {"background": 0, "car": 1, "road": 2}, "channel_names": {"0": "R"}, "numTraining": 3}
LABELMAP = "# label:color_rgb:parts:actions\nground:0,0,0::\ncar:255,0,0::\nroad:0,255,0::\n"
ROBOFLOW = "Pixel Value, Class\n0, ground\n1, car\n2, road\n"
CLASSES_TXT = "0\tground\t0,0,0\n1\tcar\t255,0,0\n2\troad\t0,255,0\tignore\n"
MANIFESTS = {
    "csv": Manifests("csv", trees.table, ["pairs.csv"]),
    "lists": Manifests("folder", trees.listed_folder, ["splits/*.txt"]),
    "voc": Manifests("voc", trees.voc, ["VOCdevkit/VOC2012/ImageSets/Segmentation/*.txt"]),
    "pet": Manifests("pet", trees.pet, ["oxford-iiit-pet/annotations/*.txt"]),
    "coco": Manifests("coco", annotated.make_coco, ["annotations/*.json"]),
    "labelme": Manifests("labelme", annotated.make_labelme, ["*/*.json"]),
    "yolo": Manifests("yolo", annotated.make_yolo, ["data.yaml", "labels/*/*.txt"]),
    "classes": Manifests("folder", _plain, ["classes.txt"], {"classes.txt": CLASSES_TXT}),
    "numbered": Manifests("folder", _plain, ["classes.txt"], {"classes.txt": "0 ground\n1 car\n2 road\n"}),
    "named": Manifests("folder", _plain, ["classes.txt"], {"classes.txt": "ground\ncar\nroad\n"}),
    "dataset": Manifests("folder", _plain, ["dataset.json"], {"dataset.json": json.dumps({"classes": CLASSES})}),
    "nnunet": Manifests("folder", _plain, ["dataset.json"], {"dataset.json": json.dumps(NNUNET)}),
    "cvat": Manifests("folder", _plain, ["labelmap.txt"], {"labelmap.txt": LABELMAP}),
    "roboflow": Manifests("folder", _plain, ["train/_classes.csv"], {"train/_classes.csv": ROBOFLOW}),
    "splits": Manifests(
        "folder", _undivided, [SPLIT_FILE], words=["data.split=random", f"data.split_file=data/{SPLIT_FILE}"]
    ),
    "exclude": Manifests(
        *("folder", _plain, ["out.txt"]),
        {"out.txt": "# left out\nimages/train/b c.png\t# damaged\nmasks/test\n"},
        ["data.exclude=data/out.txt"],
    ),
}


def make_data(root: Path, each: Manifests) -> None:
    """Write a sound data set."""
    each.make(root)
    for path, text in each.texts.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)


def make_sound(folder: Path) -> None:
    """Write everything that is damaged later."""
    for name, each in MANIFESTS.items():
        make_data(folder / "data" / name, each)
    shutil.copytree(ROOT / "conf", folder / "conf")
    for name, changes in SMALL.items():
        path = folder / "conf" / name
        text = path.read_text()
        for before, after in changes.items():
            assert before in text, f"{path}: {before}"
            text = text.replace(before, after)
        path.write_text(text)
    code, _, err = said(["train", *TRAINING, *SYNTHETIC, *KEPT], folder)
    assert code == 0, err
    (made,) = (path.parent for path in folder.glob("outputs/x/*/env.json"))
    made.rename(folder / RUN)
    latest = folder / "outputs" / "latest"
    latest.unlink()
    latest.symlink_to("x/run")


def manifest(sound: Path, place: Path, random: np.random.Generator) -> list[str]:
    """A data set with one damaged file."""
    names = list(MANIFESTS)
    name = names[int(random.integers(len(names)))]
    each = MANIFESTS[name]
    shutil.copytree(sound / "data" / name, place / "data")
    found = sorted(path for pattern in each.names for path in (place / "data").glob(pattern))
    path = found[int(random.integers(len(found)))]
    path.write_bytes(twisted(path.read_bytes(), path.suffix, random, str(place.parent / "outside")))
    return ["check", f"data={each.option}", "data.root=data", "crop=16", *each.words]


def configuration(sound: Path, place: Path, random: np.random.Generator) -> list[str]:
    """A damaged file of a --config-dir, or damaged words."""
    if random.random() < 0.4:
        return _words(sound, place, random)
    shutil.copytree(sound / "conf", place / "conf")
    found = sorted((place / "conf").rglob("*.yaml"))
    path = found[int(random.integers(len(found)))]
    path.write_bytes(twisted(path.read_bytes(), path.suffix, random, "", INSIDE))
    group, option = path.parent.name, path.stem
    if group == "conf":  # the file of a command itself
        words = {"predict": [f"input={sound}/data/folder/images", "output=masks"]}
        return [option, "--config-dir", "conf", *words.get(option, [])]
    words = [f"{group}={option}", *([f"data.root={sound}/data/{option}"] if group == "data" else [])]
    return ["train", "--config-dir", "conf", *words, "++epochs=1"]


def _words(sound: Path, place: Path, random: np.random.Generator) -> list[str]:
    commands = list(WORDS)
    command = commands[int(random.integers(len(commands)))] if random.random() < 0.6 else "train"
    shutil.copytree(sound / "outputs", place / "outputs", symlinks=True)
    base = {"train": [*TRAINING, *SYNTHETIC], "predict": [f"input={sound}/data/classes/images", "output=masks"]}
    base["preview"] = base["train"]
    words = {word.partition("=")[0]: word for word in base.get(command, [])}
    known = WORDS[command] if random.random() < 0.9 else WORDS["train"]
    for _ in range(random.integers(1, 4)):
        word = known[int(random.integers(len(known)))]
        words[word.partition("=")[0]] = word
    key = list(words)[int(random.integers(len(words)))]
    value, how = odd(random, INSIDE), random.random()
    if how < 0.6 and (key, value) != ("epochs", 1):
        text = value if isinstance(value, str) else json.dumps(value)
        words[key] = f"{key}={text}"
    elif how < 0.9:
        words[key] = damaged(words[key].encode(), random).decode(errors="replace").replace("\0", "")
    else:
        words[f"--{key}"] = f"--{words[key]}"
    return [command, *(word.replace("\0", "") for word in words.values())]  # no system passes a NUL on


def trained(sound: Path, place: Path, random: np.random.Generator) -> list[str]:
    """A run with a damaged checkpoint or another damaged file."""
    shutil.copytree(sound / "outputs", place / "outputs", symlinks=True)
    folder = place / RUN
    if random.random() < 0.6:
        path = folder / "checkpoints" / ("last.ckpt" if random.random() < 0.5 else "best.ckpt")
        if random.random() < 0.9:  # the other one would stand in for it
            (folder / "checkpoints" / {"last.ckpt": "best.ckpt"}.get(path.name, "last.ckpt")).unlink()
        _damage_checkpoint(path, random, str(place.parent / "outside"))
    else:
        names = ["overrides.yaml", "config.yaml", "env.json", "status", "summary.json", "metrics.csv", "train.log"]
        events = [path.name for path in folder.glob("events.*")]
        path = folder / str(random.choice([*names, *events]))
        content = path.read_bytes()
        text = path.name in names
        new = twisted(content, path.suffix, random, str(place.parent / "outside")) if text else damaged(content, random)
        path.write_bytes(new)
    words = ["train", *TRAINING, *SYNTHETIC, *KEPT]
    commands = [
        ["predict", f"run={RUN}", f"input={sound}/data/classes/images/train", "output=masks", "trainer=cpu"],
        ["evaluate", f"run={RUN}"],
        ["train", f"resume={RUN}"],
        ["train", f"resume={RUN}", "epochs=2"],
        [*words, "resume=auto", "epochs=1"],
        [*words, f"init_from={RUN}"],
    ]
    return commands[int(random.integers(len(commands)))]


def _damage_checkpoint(path: Path, random: np.random.Generator, outside: str) -> None:
    """Bytes of the file or of one of its parts, a part's name, or a value of what it holds."""
    import torch

    share = random.random()
    if share < 0.25:
        path.write_bytes(damaged(path.read_bytes(), random))
    elif share < 0.45:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        name = list(parts)[int(random.integers(len(parts)))] if random.random() < 0.5 else next(iter(parts))
        content = parts.pop(name)
        if random.random() < 0.7:
            parts[name] = damaged(content, random)
        else:
            parts[str(odd(random)).replace("OUTSIDE", outside)[:200] or "a"] = content
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
    else:
        content = torch.load(path, weights_only=True)
        tensors = [torch.zeros(0), torch.full((3,), torch.nan), torch.zeros(2, 2, dtype=torch.int8), torch.tensor(7)]
        huge = torch.zeros(1).expand(2**20, 2**20)  # takes no room in the file
        values = [99, "99", [1], None, *tensors, huge, torch.zeros(2).to_sparse(), -1, 2**70, float("nan"), {}, "x"]
        for _ in range(random.integers(1, 3)):
            part = content if random.random() < 0.3 else content[str(random.choice(list(content)))]
            changed(part if isinstance(part, (dict, list)) else content, random, values)
        torch.save(content, path)

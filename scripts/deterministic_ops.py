"""Which operations torch cannot make deterministic on a device: of each loss in each mode, each net, the metrics.

    python scripts/deterministic_ops.py            # on a GPU where there is one
    python scripts/deterministic_ops.py --device cpu

It is what `deterministic=true` finds before a training. Nets of segmentation-models-pytorch are left out where that is
not installed. Half a minute.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator

import torch

from segtrain.determinism import of_loss, of_metrics, of_net, random_batch
from segtrain.errors import UserError
from segtrain.losses import LOSSES, build_loss
from segtrain.models import build_model
from segtrain.task import ClassStats, Task

TASKS = {"binary": Task("binary"), "multiclass": Task("multiclass", 4), "multilabel": Task("multilabel", 3)}
SIZE = 128  # pixels of a side: what every net takes
PLAIN = {"unet_tiny": {"width": 16}, "unet": {"width": 64}}
ENCODER = "resnet34"  # of the nets of the library, as in conf/model/unet_resnet34.yaml
MEAN, STD = (0.5,) * 3, (0.25,) * 3

Row = tuple[str, str, str]


def statistics(task: Task) -> ClassStats:
    """Of a training set with equal shares, which some losses want."""
    number = task.num_classes
    return ClassStats(positives=[100] * number, valid=[100 * max(2, number)] * number, present=[80] * number, images=10)


def rows(device: torch.device) -> Iterator[Row]:
    """(what, mode, operations)."""
    for mode, task in TASKS.items():
        _, logits, target = random_batch(task, (3, SIZE, SIZE), "uint8", device)
        yield "metrics", mode, _listed(of_metrics(task, logits, target))
        for name in LOSSES:
            try:
                loss = build_loss(name, task, statistics(task))
            except UserError:
                yield f"loss={name}", mode, "not for this mode"
                continue
            yield f"loss={name}", mode, _listed(of_loss(loss, logits, target))
    yield from _nets(device)


def _nets(device: torch.device) -> Iterator[Row]:
    task = TASKS["multiclass"]
    for half in (False, True):
        precision = "bf16" if half else "float32"
        for name, params in PLAIN.items():
            image, _, _ = random_batch(task, (3, SIZE, SIZE), "uint8", device)
            net = build_model(task, 3, MEAN, STD, "plain_unet", **params)
            yield f"model={name}", precision, _listed(of_net(net, image, half))
        for arch in _library():
            image, _, _ = random_batch(task, (3, SIZE, SIZE), "uint8", device)
            try:
                found = _listed(of_net(build_model(task, 3, MEAN, STD, arch, ENCODER), image, half))
            except (UserError, ValueError, RuntimeError) as error:  # an architecture that wants another encoder
                found = f"not tried: {' '.join(str(error).split())[:60]}"
            yield f"model.arch={arch}", precision, found


def _library() -> list[str]:
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        return []
    from segtrain.models.smp import ARCHITECTURES

    return list(ARCHITECTURES)


def _listed(operations: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in operations) or "-"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(parser.parse_args().device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}; operations without a deterministic implementation\n")
    print("| what | mode | operations |\n|---|---|---|")
    for row in rows(device):
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()

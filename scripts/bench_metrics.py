"""Times one update of our metrics against those of other libraries, and writes the table into docs/benchmarks.md.

    python scripts/bench_metrics.py

Wants torchmetrics, segmentation-models-pytorch and, where it is installed, monai. About two minutes on one core.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from measure import Call, host_waits, interleaved, markdown, peak_memory, setting, write_section
from torch import Tensor

from segtrain.metrics import CalibrationProbe, SegmentationMetrics
from segtrain.task import Task

SIZES = {"multiclass": (8, 12, 512, 512), "binary": (16, 1, 512, 512)}
IGNORED = 0.1
PACKAGES = ("torch", "torchmetrics", "segmentation-models-pytorch", "monai")
INTRODUCTION = """## Metrics

One update with a batch of logits and int64 ids, {share:.0%} of them ignored; "waits": operations in it that make the
host wait for a GPU; memory: beyond the inputs. The bare count is `logits.max(1).indices` (binary: `logits > 0`) and a
confusion matrix of the batch, which gives no scores per image. MeanIoU, DiceScore, MONAI and, in binary, SMP cannot
ignore: they get ids in which ignored pixels are background. The probe comes on top in validation. In binary the bare
count takes up to twice as long, and ratios halve, where the allocator gets the pages of its 32 MiB tensors anew."""


def make_batch(mode: str, device: str) -> tuple[Task, Tensor, Tensor]:
    """Normal logits and random ids."""
    number, classes, height, width = SIZES[mode]
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(SIZES[mode], generator=random)
    target = torch.randint(0, max(2, classes), (number, height, width), generator=random)
    target[torch.rand(target.shape, generator=random) < IGNORED] = 255
    return Task(mode, classes), logits.to(device), target.to(device)


def bare_count(logits: Tensor, target: Tensor) -> Tensor:
    """A confusion matrix and nothing else."""
    classes = max(2, logits.shape[1])
    predicted = logits.max(1).indices if logits.shape[1] > 1 else (logits > 0).squeeze(1)
    valid = target != 255
    cell = (target.masked_fill(~valid, 0) * classes + predicted).flatten()
    counts = torch.zeros(classes**2, dtype=torch.int64, device=logits.device)
    return counts.index_add_(0, cell, valid.flatten().long())


def ours(task: Task, logits: Tensor, target: Tensor) -> dict[str, Call]:
    """What a training's validation step does: counts, and the probe with the ids that the counts have found."""
    counts, probe = SegmentationMetrics(task).to(logits.device), CalibrationProbe(task).to(logits.device)
    predicted = counts.predict(logits)
    return {
        "bare count": lambda: bare_count(logits, target),
        "segtrain counts": lambda: counts.update(logits, target),
        "segtrain probe": lambda: probe.update(logits, target, predicted),
    }


def torchmetrics_updates(task: Task, logits: Tensor, target: Tensor) -> dict[str, Call]:
    """Fresh metrics for each update: DiceScore keeps a list that grows."""
    from torchmetrics import JaccardIndex
    from torchmetrics.segmentation import DiceScore, MeanIoU

    number = max(2, task.num_classes)
    filled = target.masked_fill(target == 255, 0)
    kind: dict[str, Any] = {"task": task.mode} | ({"num_classes": number} if task.exclusive else {})

    def ids() -> Tensor:
        return logits.argmax(1) if task.exclusive else (logits > 0).long().squeeze(1)

    def jaccard() -> None:
        JaccardIndex(ignore_index=255, **kind).to(logits.device).update(
            logits if task.exclusive else logits.squeeze(1), target
        )

    def segmentation(metric: Callable[..., Any]) -> Call:
        return lambda: metric(num_classes=number, input_format="index").to(logits.device).update(ids(), filled)

    dice = segmentation(DiceScore)
    return {
        "torchmetrics JaccardIndex": jaccard,
        "torchmetrics JaccardIndex + DiceScore": lambda: (jaccard(), dice()),
        "torchmetrics MeanIoU": segmentation(MeanIoU),
    }


def smp_update(task: Task, logits: Tensor, target: Tensor) -> dict[str, Call]:
    """tp, fp, fn, tn of each image and class."""
    from segmentation_models_pytorch.metrics import get_stats

    if task.exclusive:
        return {
            "SMP get_stats": lambda: get_stats(
                logits.argmax(1), target, mode="multiclass", num_classes=task.num_classes, ignore_index=255
            )
        }
    return {
        "SMP get_stats": lambda: get_stats(
            logits.sigmoid().squeeze(1), target.masked_fill(target == 255, 0), mode="binary", threshold=0.5
        )
    }


def monai_update(task: Task, logits: Tensor, target: Tensor) -> dict[str, Call]:
    """DiceMetric of ids; a fresh one for each update, it keeps a list."""
    from monai.metrics import DiceMetric

    filled = target.masked_fill(target == 255, 0).unsqueeze(1)
    if task.exclusive:
        return {
            "MONAI DiceMetric": lambda: DiceMetric(num_classes=task.num_classes)(logits.argmax(1, keepdim=True), filled)
        }
    return {"MONAI DiceMetric": lambda: DiceMetric()((logits > 0).float(), filled)}


def section(mode: str, device: str) -> str:
    """The table of one mode on one device."""
    batch = make_batch(mode, device)
    variants = ours(*batch) | torchmetrics_updates(*batch) | smp_update(*batch)
    if importlib.util.find_spec("monai"):
        variants |= monai_update(*batch)
    times = interleaved(variants, device=device)
    rows = [
        [name, f"{times[name]:.1f}", f"{times[name] / times['bare count']:.2f}", f"{memory:.0f}", str(waits)]
        for name, (memory, waits) in ((n, (peak_memory(c, device), host_waits(c))) for n, c in variants.items())
    ]
    title = f"{mode} {list(SIZES[mode])} on {device}"
    return markdown([title, "CPU ms" if device == "cpu" else "ms", "ratio", "peak MiB", "waits"], rows)


def main() -> None:
    """Measure on the CPU, and on a GPU where there is one."""
    torch.set_num_threads(1)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    tables = [section(mode, device) for device in devices for mode in SIZES]
    left_out = [] if importlib.util.find_spec("monai") else ["Left out: MONAI, which is not installed."]
    where = setting(PACKAGES, "python scripts/bench_metrics.py", devices[-1])
    text = "\n\n".join([INTRODUCTION.format(share=IGNORED), *tables, where, *left_out])
    write_section("metrics", text)
    print(text)


if __name__ == "__main__":
    main()

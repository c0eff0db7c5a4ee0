"""Times our losses, forward and backward, against those of other libraries; writes docs/benchmarks.md.

    python scripts/bench_losses.py

Wants segmentation-models-pytorch, torchvision and, where they are installed, monai and kornia. Ten minutes on one core.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from measure import Call, interleaved, markdown, peak_memory, setting, write_section
from torch import Tensor
from torch.nn import functional as F

from segtrain.losses import LOSSES, Combo, build_loss
from segtrain.task import ClassStats, Task

SIZES = {"binary": (8, 1, 512, 512), "multiclass": (8, 19, 512, 512)}
IGNORED = 0.1
ROUNDS = 3
PACKAGES = ("torch", "torchvision", "segmentation-models-pytorch", "monai", "kornia")
Value = Callable[[Tensor, Tensor], Tensor]
INTRODUCTION = """## Losses

Forward and backward from the same batch of normal logits and int64 ids, {share:.0%} of the pixels ignored. Memory: at
most allocated beyond logits and ids, in multiples of the logits; the gradient is 1.0 of it. What a library needs in
another form (floats, one-hot, a mask) is made inside the time. "cannot ignore": it gets ids in which ignored pixels are
background."""


def make_batch(mode: str, device: str) -> tuple[Task, Tensor, Tensor]:
    """Normal logits and random ids."""
    number, classes, height, width = SIZES[mode]
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(SIZES[mode], generator=random)
    target = torch.randint(0, max(2, classes), (number, height, width), generator=random)
    target[torch.rand(target.shape, generator=random) < IGNORED] = 255
    return Task(mode, classes), logits.to(device).requires_grad_(), target.to(device)


def ours(task: Task) -> dict[str, Value]:
    """Every registered loss that the mode has, and Dice with cross entropy."""
    stats = ClassStats([1] * task.num_classes, [max(2, task.num_classes)] * task.num_classes, [1] * task.num_classes, 1)
    names = [name for name in LOSSES if not (task.exclusive and name in ("bce", "balanced_bce"))]
    found: dict[str, Value] = {f"segtrain {name}": build_loss(name, task, stats) for name in names}
    found["segtrain dice + ce"] = Combo({name: build_loss(name, task) for name in ("dice", "ce")})
    return found


def one_hot(target: Tensor, classes: int) -> Tensor:
    """Float [N, C, H, W]; ignored pixels become class 0."""
    ids = target.masked_fill(target == 255, 0)
    return ids.unsqueeze(1).float() if classes == 1 else F.one_hot(ids, classes).movedim(-1, 1).float()


def torchs(task: Task) -> dict[str, Value]:
    """torch and torchvision."""
    from torchvision.ops import sigmoid_focal_loss

    if task.exclusive:
        return {"torch ce": lambda z, t: F.cross_entropy(z, t, ignore_index=255)}
    return {
        "torch bce, cannot ignore": lambda z, t: F.binary_cross_entropy_with_logits(z, one_hot(t, 1)),
        "torchvision focal, cannot ignore": lambda z, t: sigmoid_focal_loss(z, one_hot(t, 1), reduction="mean"),
    }


def smps(task: Task) -> dict[str, Value]:
    """segmentation-models-pytorch."""
    from segmentation_models_pytorch import losses

    ignore = {"ignore_index": 255}
    soft, bce = losses.SoftCrossEntropyLoss(smooth_factor=0, **ignore), losses.SoftBCEWithLogitsLoss(**ignore)
    dice, tversky = (each(task.mode, smooth=0.5, **ignore) for each in (losses.DiceLoss, losses.TverskyLoss))
    found: dict[str, Value] = {
        "SMP ce": soft if task.exclusive else lambda z, t: bce(z, t.unsqueeze(1).float()),
        "SMP focal": losses.FocalLoss(task.mode, **ignore),
        "SMP dice": dice,
        "SMP tversky": tversky,
        "SMP jaccard, cannot ignore": _filled(losses.JaccardLoss(task.mode)),
        "SMP lovasz": losses.LovaszLoss(task.mode, **ignore),
    }
    found["SMP dice + ce"] = lambda z, t: found["SMP dice"](z, t) + found["SMP ce"](z, t)
    return found


def _filled(loss: Value) -> Value:
    return lambda z, t: loss(z, t.masked_fill(t == 255, 0))


def monais(task: Task) -> dict[str, Value]:
    """MONAI; none of them can ignore."""
    from monai import losses

    activation = {"softmax" if task.exclusive else "sigmoid": True, "batch": True}
    made = {
        "dice": losses.DiceLoss(**activation),
        "tversky": losses.TverskyLoss(alpha=0.3, beta=0.7, **activation),
        "generalized_dice": losses.GeneralizedDiceLoss(**activation),
        "focal": losses.FocalLoss(use_softmax=task.exclusive),
        "dice + ce": losses.DiceCELoss(**activation),
    }
    return {
        f"MONAI {name}, cannot ignore": lambda z, t, loss=loss: loss(z, one_hot(t, task.num_classes))
        for name, loss in made.items()
    }


def kornias(task: Task) -> dict[str, Value]:
    """kornia; its focal loss and Tversky can ignore, Dice too."""
    from kornia import losses

    if not task.exclusive:
        return {
            "kornia focal, cannot ignore": lambda z, t: losses.binary_focal_loss_with_logits(
                z, one_hot(t, 1), alpha=None, reduction="mean"
            ),
            "kornia lovasz, cannot ignore": lambda z, t: losses.lovasz_hinge_loss(z, t.masked_fill(t == 255, 0)),
        }
    return {
        "kornia focal": lambda z, t: losses.focal_loss(z, t, alpha=None, reduction="mean", ignore_index=255),
        "kornia dice": lambda z, t: losses.dice_loss(z, t, ignore_index=255),
        "kornia tversky": lambda z, t: losses.tversky_loss(z, t, 0.3, 0.7, ignore_index=255),
        "kornia lovasz, cannot ignore": _filled(losses.lovasz_softmax_loss),
    }


def section(mode: str, device: str) -> str:
    """The table of one mode on one device; the ratio is to torch's cross entropy."""
    task, logits, target = make_batch(mode, device)
    losses = torchs(task) | ours(task) | smps(task)
    for package, made in (("monai", monais), ("kornia", kornias)):
        losses |= made(task) if importlib.util.find_spec(package) else {}
    base = next(iter(losses))

    def step(loss: Value) -> Call:
        def call() -> None:
            logits.grad = None
            loss(logits, target).backward()

        return call

    steps = {name: step(loss) for name, loss in losses.items()}
    times = interleaved(steps, ROUNDS, device)
    unit = logits.numel() * logits.element_size() / 2**20

    def memory(call: Call) -> float:
        logits.grad = None
        return peak_memory(call, device) / unit

    order = sorted(steps, key=lambda name: (name.partition(" ")[2].partition(",")[0], name))
    rows = [[n, f"{times[n]:.0f}", f"{times[n] / times[base]:.2f}", f"{memory(steps[n]):.1f}"] for n in order]
    return markdown([f"{mode} {list(SIZES[mode])} on {device}", "ms", f"ratio to {base}", "memory"], rows)


def main() -> None:
    """Measure on the CPU, and on a GPU where there is one."""
    torch.set_num_threads(1)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    tables = [section(mode, device) for device in devices for mode in SIZES]
    missing = [package for package in ("monai", "kornia") if not importlib.util.find_spec(package)]
    left_out = [f"Left out, not installed: {', '.join(missing)}."] if missing else []
    where = setting(PACKAGES, "python scripts/bench_losses.py", devices[-1])
    text = "\n\n".join([INTRODUCTION.format(share=IGNORED), *tables, where, *left_out])
    write_section("losses", text)
    print(text)


if __name__ == "__main__":
    main()

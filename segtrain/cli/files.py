"""`segtrain ls`, `segtrain cp` and `segtrain env`: look around, copy to edit, report."""

from __future__ import annotations

import platform
import shlex
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from segtrain import checks
from segtrain.cli import Arguments
from segtrain.cli.conf import CONF, groups, options, purpose
from segtrain.errors import UserError

SHOWN_PACKAGES = (
    "segtrain", "torch", "torchvision", "lightning", "torchmetrics", "albumentations", "segmentation-models-pytorch",
    "timm", "hydra-core", "omegaconf", "tensorboard", "numpy", "opencv-python-headless", "pillow",
)  # fmt: skip
ENCODERS, OPS = "encoders", "ops"  # lists that are no groups


def ls(arguments: Arguments) -> int:
    """List the groups, the options of a group with their purpose, the encoders, or the ops of augmentation."""
    if not arguments.overrides:
        print("\n".join(f"{group:10} {', '.join(options(group))}" for group in groups()))
        print(f"{ENCODERS:10} (of segmentation-models-pytorch: segtrain ls {ENCODERS})")
        print(f"{OPS:10} (of augmentation: segtrain ls {OPS})")
        return 0
    for group in arguments.overrides:
        checks.choice("ls", group, [*groups(), ENCODERS, OPS])
        if group == ENCODERS:
            from segmentation_models_pytorch.encoders import encoders

            print("\n".join(sorted(encoders)) + "\ntu-<name> for every encoder of timm")
            continue
        if group == OPS:
            print("\n".join(op_lines()))
            continue
        width = max(map(len, options(group)))
        print("\n".join(f"{name:{width}}  {purpose(CONF / group / f'{name}.yaml')}" for name in options(group)))
    return 0


def op_lines() -> list[str]:
    """What each op of augmentation does, its parameters and their defaults, and what it needs."""
    from segtrain.augment.ops import OPS as OF_AUGMENTATION

    lines = []
    for name, op in OF_AUGMENTATION.items():
        needs = f" (needs {', '.join(op.needs)})" if op.needs else ""
        lines += [f"{name:15}  {op.about}{needs}"] + ([f"{'':15}  {op.settings}"] if op.settings else [])
    return lines


def cp(arguments: Arguments) -> int:
    """Copy conf/<group>/<option>.yaml into a folder of the user's own.

    Raises:
        UserError: no such file, one that would be overwritten, or a folder that cannot be made.
    """
    if len(arguments.overrides) != 2:
        raise UserError("cp takes what and where: segtrain cp loss/focal myconf")
    name, folder = arguments.overrides
    group, _, option = name.removesuffix(".yaml").partition("/")
    checks.choice("cp: the group", group, groups())
    checks.choice(f"cp: the option of {group}", option, options(group))
    target = Path(folder).expanduser() / group / f"{option}.yaml"
    if target.exists():
        raise UserError(f"{target} is there already; remove it, or choose another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CONF / group / f"{option}.yaml", target)
    except OSError as error:
        raise UserError(f"{target} cannot be made ({error.strerror}); choose another folder") from error
    print(f"{target}: edit it, then add --config-dir {shlex.quote(folder)} {group}={option}")
    return 0


def env(arguments: Arguments) -> int:
    """Print versions and devices.

    Raises:
        UserError: words, of which it takes none.
    """
    if arguments.overrides:
        raise UserError(f"env takes no words, got {arguments.overrides[0]!r}")
    print(f"python {platform.python_version()}, {platform.platform()}\nconfiguration {CONF}")
    for package in SHOWN_PACKAGES:
        print(f"{package:28} {_version(package)}")
    import torch

    from segtrain.hardware import choose_accelerator, choose_precision

    accelerator = choose_accelerator("auto")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"device {accelerator} {', '.join(names)}".rstrip() + f", {torch.get_num_threads()} threads")
    print(f"precision {choose_precision('auto', accelerator)}")
    if _version("albumentationsx") != "-":
        print("albumentationsx is installed: it is AGPL and not used here")
    return 0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"

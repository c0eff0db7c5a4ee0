"""compile=auto|true|false: torch.compile for the steps of a training, where it wins back what it costs.

It takes one to two minutes before the first step and makes the steps that follow 5 to 20 % shorter
(docs/benchmarks.md), so `auto` takes it for trainings of an hour and more, by the arithmetic they need: a rule that
measured time would decide otherwise on a busy day, and the same command would give other last bits.
"""

from __future__ import annotations

import copy
import os
import shutil
import sys
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segtrain import checks
from segtrain.errors import UserError

AUTO = "auto"
MINUTES = 60  # of a training from which on it is worth it
BACKWARD = 2  # times as much arithmetic as forward
# floating-point operations a second that convolutions reach, of a core or of a GPU; rough: what is decided by them are
# trainings of minutes and of hours
CPU_RATES = {True: 1.5e11, False: 3e10}  # by whether bfloat16 is multiplied by the hardware
GPU_RATE = 5e13


def missing(device: torch.device) -> str:
    """What torch.compile lacks on a device; "" where it lacks nothing."""
    if device.type == "cuda":
        return "" if find_spec("triton") is not None else "the package triton"
    if device.type != "cpu":
        return f"support of {device.type}"
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "cl" if os.name == "nt" else "g++")
    return "" if shutil.which(compiler) else f"a C++ compiler ({compiler})"


def require_compiler(wanted: object, device: torch.device) -> None:
    """Refuse what cannot be.

    Raises:
        UserError: neither auto, true nor false; or true, and there is no compiler.
    """
    if wanted != AUTO and checks.flag("compile", wanted, word="auto") and (lacking := missing(device)):
        raise UserError(f"compile=true, but torch.compile needs {lacking} here; install it, or set compile=false")


def operations(net: nn.Module, image: Tensor) -> int:
    """Floating-point operations of one image, forward.

    Args:
        net: of which a copy is tried.
        image: [1, C, H, W], on the CPU.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(net).eval()(image)
    return int(counter.get_total_flops())


def minutes(operations: int, images: int, device: torch.device, half: bool, threads: int) -> float:
    """What a training takes about, at the speed that convolutions reach.

    Args:
        operations: of one image, forward.
        images: that a process trains on, epochs counted.
        device: of the training.
        half: whether it computes in bfloat16.
        threads: of the CPU.
    """
    rate = GPU_RATE if device.type == "cuda" else CPU_RATES[half] * threads
    return operations * (1 + BACKWARD) * images / rate / 60


def choose(wanted: object, device: torch.device, estimate: float) -> tuple[bool, str]:
    """Whether to compile, and why.

    Args:
        wanted: "auto", True or False.
        device: of the training.
        estimate: minutes of its arithmetic.
    """
    if wanted != AUTO:
        return bool(wanted), "as asked for"
    if lacking := missing(device):
        return False, f"it needs {lacking}"
    about = f"about {estimate:.0f} minutes" if estimate >= 1 else "less than a minute"
    return estimate >= MINUTES, f"the net's arithmetic takes {about}, and compiling pays from {MINUTES} on"

"""What a training uses of this machine: device, numbers it computes in, threads; chosen here, and said in words."""

from __future__ import annotations

import torch

from segtrain import checks
from segtrain.errors import UserError
from segtrain.loading import usable_cores

FLOAT16, BFLOAT16, FLOAT32 = "16-mixed", "bf16-mixed", "32-true"
PRECISIONS = ("auto", FLOAT32, BFLOAT16, FLOAT16)
ACCELERATORS = ("auto", "cpu", "gpu", "mps")


def choose_accelerator(requested: str) -> str:
    """ "cpu", "gpu" or "mps": what was asked for, or the best there is.

    Raises:
        UserError: a GPU was asked for and there is none.
    """
    checks.choice("trainer.accelerator", requested, ACCELERATORS)
    available = {"cpu": True, "gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if requested == "auto":
        return next(name for name in ("gpu", "mps", "cpu") if available[name])
    if not available[requested]:
        raise UserError(f"trainer.accelerator={requested}, but torch finds no such device here; use trainer=cpu")
    return requested


def choose_precision(requested: str, accelerator: str) -> str:
    """bf16 where the hardware has it (elsewhere it is emulated, three times slower than float32), else float32.

    Raises:
        UserError: unknown precision, or float16 on a CPU.
    """
    checks.choice("trainer.precision", requested, PRECISIONS)
    if requested == FLOAT16 and accelerator == "cpu":
        raise UserError(f"trainer.precision={FLOAT16} is for GPUs; use auto, bf16-mixed or 32-true")
    if requested != "auto":
        return requested
    return BFLOAT16 if has_native_bf16(accelerator) else FLOAT32


def has_native_bf16(accelerator: str) -> bool:
    """Whether the hardware multiplies bfloat16 itself."""
    if accelerator == "gpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if accelerator == "cpu":
        known = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, bool)() for name in known)
    return False


def limit_threads(wanted: int | str) -> int:
    """Let torch use so many threads from now on in this process; how many those are.

    Args:
        wanted: a number, or "auto": as many as it would, but no more than there are cores for this process (torch
            counts the machine's, of which a container may have few; threads in turn on one core are many times slower).

    Raises:
        UserError: no such number.
    """
    found = torch.get_num_threads()
    number = min(found, usable_cores()) if wanted == "auto" else checks.whole("trainer.threads", wanted, 1, word="auto")
    if number != found:
        torch.set_num_threads(number)
    return number


def in_words(device: torch.device, precision: str, threads: int, given: bool) -> str:
    """Device, precision and threads, each with its reason.

    Args:
        device: of the training.
        precision: in which it computes.
        threads: of torch on the CPU.
        given: whether the precision was asked for.
    """
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}, fed from pinned memory"
    else:
        where = f"{device.type}, {threads} thread{'s' * (threads > 1)} on {usable_cores()} cores"
    if given:
        why = "as asked for"
    elif precision == BFLOAT16:
        why = "the hardware has it, and the first step is compared with float32"
    else:
        why = "bfloat16 would be emulated here, three times as slow"
    return f"{where}; channels_last; {precision}: {why}"

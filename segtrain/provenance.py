"""What a run was made with: versions, machine, threads, and the state of the code in git. No name of a user or host."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch

import segtrain
from segtrain.loading import usable_cores

# they change how sums are ordered, and with that the last bits of results
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "KMP_AFFINITY")
GIT_SECONDS = 10
CODE = (
    ".py",
    ".ipynb",
    ".sh",
    ".yaml",
    ".yml",
    ".toml",
    ".cfg",
    ".ini",
)  # of files that git does not know, these count
READ_WHOLE = 1_000_000  # bytes; of larger ones the size counts alone
STATUS = ("status", "--porcelain=v2", "--branch", "--untracked-files=all", "-z")


def environment() -> dict[str, Any]:
    """Versions, machine and code, as env.json has them."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": packages(),
        "machine": machine(),
        "threads": threads(),
        "segtrain": own_code(),
        "git": repository(Path.cwd()),
    }


def packages() -> dict[str, str | None]:
    """Versions of segtrain and of all that it requires, and of what torch was built for."""
    try:
        required = requires("segtrain") or []
    except PackageNotFoundError:  # a copy that was never installed
        required = ["torch", "lightning", "torchmetrics", "numpy"]
    # a requirement begins with the name; those of extras (dev, readers) say so behind a semicolon
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in required if "extra ==" not in line]
    found = {"segtrain": segtrain.__version__, **{name: _version(name) for name in sorted(names)}}
    cuda: Any = torch.version
    return found | {"cuda": cuda.cuda, "cudnn": _cudnn(), "gpu driver": _driver()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cudnn() -> str | None:
    number = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None  # type: ignore[no-untyped-call]
    return None if number is None else str(number)


def _driver() -> str | None:
    if not torch.cuda.is_available():
        return None
    return _first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])


def _first_line(command: list[str]) -> str | None:
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return said.strip().partition("\n")[0] or None


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, memory and GPUs."""
    return {
        "cpu": _cpu(),
        "cores": usable_cores(),
        "ram_gb": _memory(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def _cpu() -> str:
    """The processor's name where the system tells it, else its kind; with the instructions that torch uses."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(names, None) or platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):  # not on this system
        return None


def threads() -> dict[str, Any]:
    """What decides in which order sums are taken: threads, and how precise products of matrices are."""
    found: dict[str, Any] = {"torch": torch.get_num_threads(), "matmul": torch.get_float32_matmul_precision()}
    return found | {name: os.environ[name] for name in VARIABLES if name in os.environ}


def own_code() -> dict[str, Any]:
    """The version of segtrain and, where it runs from a git checkout, the state of that."""
    folder = Path(segtrain.__file__).resolve().parent
    known = _git(folder, "ls-files", "--error-unmatch", "__init__.py")  # a venv may lie in another repository
    return {"version": segtrain.__version__, "git": repository(folder) if known else None}


def repository(folder: Path) -> dict[str, Any] | None:
    """Commit, branch and changes of the git repository around a folder; None outside of one.

    Returns:
        commit and branch ("" where none is checked out), dirty, and for a dirty one a digest of what was changed: of
        the difference to the commit and of code that git does not know. Data and what runs leave behind do not count.
    """
    status = _git(folder, *STATUS)
    if status is None:
        return None
    lines = status.split("\0")
    branch = dict(line.removeprefix("# branch.").split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, head = branch.get("oid", ""), branch.get("head", "")
    changed = [line for line in lines if line and line[:2] not in ("# ", "? ")]
    unknown = [line[2:] for line in lines if line.startswith("? ") and line.endswith(CODE)]
    if changed or unknown:
        top = Path(_git(folder, "rev-parse", "--show-toplevel") or folder)
        unknown = [name for name in unknown if not ((top / name).parent / "env.json").is_file()]  # of a run
    found = {"commit": commit, "branch": "" if head.startswith("(") else head, "dirty": bool(changed or unknown)}
    return found | ({"changes": _changes(top, unknown)} if found["dirty"] else {})


def _changes(top: Path, unknown: list[str]) -> str:
    digest = hashlib.sha256((_git(top, "diff", "HEAD", "--full-index") or "").encode(errors="surrogateescape"))
    for name in sorted(unknown):
        digest.update(f"\0{name}\0".encode(errors="surrogateescape"))
        with suppress(OSError):  # gone meanwhile, or not to be read
            size = (top / name).stat().st_size
            digest.update(f"{size}\0".encode())
            digest.update((top / name).read_bytes() if size <= READ_WHOLE else b"")
    return digest.hexdigest()[:16]


def git_commit(folder: Path | None = None) -> str | None:
    """Commit of the folder one stands in, with "+changes" where it has any; None outside git."""
    found = repository(folder or Path.cwd())
    return None if found is None else found["commit"] + ("+changes" if found["dirty"] else "")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it refuses, is slow or is not there."""
    # without the lock that `status` takes to refresh its index: a kill would leave it there, in the user's way
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return os.fsdecode(done.stdout).strip()

"""What torch and Lightning set for the whole process: left as it was found, since the next run in it has its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # without it products of matrices on GPUs are not deterministic
THREADS = "OMP_NUM_THREADS"  # Lightning sets it for strategies of several processes; sums then have other last bits
VARIABLES = (WORKSPACE, THREADS, "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE")


def _is_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextmanager
def restored() -> Iterator[None]:
    """Put back the choice of algorithms, the threads and the variables; end a group that has this process alone."""
    enabled, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, threads = torch.backends.cudnn.benchmark, torch.get_num_threads()
    variables = {name: os.environ.get(name) for name in VARIABLES}
    grouped = _is_group()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(threads)
        if _is_group() and not grouped and distributed.get_world_size() == 1:
            distributed.destroy_process_group()
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

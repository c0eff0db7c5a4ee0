"""Operations that make the host wait for the device, seen without a GPU.

Within `NoSync` every operation is watched for those whose result the host must know; under torch's
`FakeTensorMode` tensors claim to be on "cuda", so that mixing devices raises and copies to the host are seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# the result, or its size, is known only after the device has finished
WAITING = {
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
COPIES = {"_to_copy", "copy_"}


class HostWaits(Exception):  # noqa: N818 - an event, not a mistake
    """An operation whose result the host has to wait for."""


class NoSync(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises HostWaits at the first operation that makes the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Look at one operation, then do it."""
        name = func.overloadpacket.__name__
        if name in WAITING or (name in INDEXING and any(_is_mask(index) for index in args[1])):
            raise HostWaits(name)
        result = func(*args, **(kwargs or {}))
        if name in COPIES and result.device.type == "cpu" and any(_is_on_gpu(value) for value in args):
            raise HostWaits(f"{name} to the host")
        return result


def without_data(tensor: Tensor) -> Tensor:
    """The like of a tensor, on the fake GPU: moves buffers and states there."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _is_on_gpu(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cuda"

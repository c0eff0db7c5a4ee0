"""Activation checkpointing: what is inside a net's blocks is computed again in backward instead of kept.

    recompute_blocks(net)       # in place; the names of its weights stay as they are

Of each block its input alone is kept (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"), which costs
about one forward pass more per step. Weights and statistics are, bit for bit, those of a training without it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import MethodType
from typing import Any

from torch import Tensor, is_grad_enabled, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from segtrain.errors import UserError

SETTING = "trainer.activation_checkpointing"
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
STAGE = "blocks"  # timm's name for the blocks of a stage, such as ConvNeXt's


def recompute_blocks(net: nn.Module) -> list[str]:
    """Let a net compute the activations of its blocks twice instead of keeping them.

    Args:
        net: changed in place, and so are its copies.

    Returns:
        Names of the blocks.

    Raises:
        UserError: it has none.
    """
    found = dict(blocks(net))
    if not found:
        raise UserError(f"{SETTING}=true: this net has no blocks that could be computed again; set it to false")
    for block in found.values():
        # bound to the block as a method is, so that a copy of the net, such as the average of its weights, has its own
        block.forward = MethodType(_twice, block)
    return list(found)


def blocks(module: nn.Module, name: str = "", listed: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """What is computed again: members of a list, sequence or dictionary of modules that have members of their own.

    Of a sequence of stages those are not the stages but the residual blocks in them; none is within another.

    Args:
        module: in which they are looked for.
        name: of the module.
        listed: whether it is itself a member of a list, sequence or dictionary.
    """
    members = [(f"{name}.{key}".lstrip("."), child) for key, child in module.named_children()]
    inner = module if isinstance(module, CONTAINERS) else getattr(module, STAGE, None)
    holds_blocks = isinstance(inner, CONTAINERS) and any(_is_composed(child) for child in inner.children())
    if listed and _is_composed(module) and not holds_blocks:
        yield name, module
        return
    for key, child in members:
        yield from blocks(child, key, listed=inner is module)


def _is_composed(module: nn.Module) -> bool:
    """Whether it has members and weights; a list has no forward pass that could be made again."""
    has_forward = type(module) not in (nn.ModuleList, nn.ModuleDict)
    return has_forward and any(True for _ in module.children()) and any(True for _ in module.parameters())


def _twice(block: nn.Module, *given: Any, **named: Any) -> Any:
    """Forward of a block, whose class has the one that computes."""
    if not (block.training and is_grad_enabled()):
        return type(block).forward(block, *given, **named)

    def compute(*given: Any, **named: Any) -> Any:
        # again copies: HRNet's blocks write into the list that they are given
        return type(block).forward(block, *map(_own, given), **{name: _own(each) for name, each in named.items()})

    # DenseNet's list of features goes on growing behind the block
    given, named = tuple(map(_own, given)), {name: _own(each) for name, each in named.items()}
    contexts = partial(_contexts, block)
    return checkpoint(compute, *given, use_reentrant=False, preserve_rng_state=True, context_fn=contexts, **named)


def _own(given: Any) -> Any:
    """A list or dictionary of its own, which nobody else changes; its tensors are shared."""
    return copy.copy(given) if isinstance(given, (list, dict)) else given


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the first and of the second computation."""
    return nullcontext(), KeptStatistics(block)


class KeptStatistics:
    """Within, the norms of a module count on copies of their statistics; what was counted there is forgotten.

    Not by switching the statistics off: then a norm would keep other tensors for backward than the first time, and
    torch compares the two.

    Args:
        module: with norms, of any kind that torch has.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._own: list[tuple[nn.Module, dict[str, Tensor | None]]] = []

    def __enter__(self) -> None:
        for norm in self.module.modules():
            if isinstance(norm, _NormBase) and norm.training:
                self._own.append((norm, dict(norm._buffers)))
                for name, buffer in norm._buffers.items():
                    norm._buffers[name] = None if buffer is None else buffer.clone()

    def __exit__(self, *_: object) -> None:
        while self._own:
            norm, buffers = self._own.pop()
            norm._buffers.update(buffers)

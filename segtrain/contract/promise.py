"""What a promise of a loss is, and how one that is broken is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from segtrain.contract.examples import Example
from segtrain.task import Task

Loss = Callable[[Tensor, Tensor], Tensor]
Outcome = tuple[Tensor, Tensor]  # value, and gradient with respect to the logits


class Broken(AssertionError):  # noqa: N818 - of the loss, not of the program
    """A promise that does not hold on an example.

    Args:
        kind: what is wrong, the same words for every example of the same mistake.
        got: what the loss gave.
        expected: what it had to give.
        detail: what is particular to this example.
    """

    def __init__(self, kind: str, got: Any = None, expected: Any = None, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind, self.got, self.expected, self.detail = kind, got, expected, detail


class Unexamined(Exception):  # noqa: N818 - says nothing about the loss
    """A promise that cannot be tried on an example, and why."""


@dataclass(frozen=True)
class Subject:
    """A loss under examination.

    Args:
        task: what it was built for.
        build: builds it, for this task or one that is slightly different.
    """

    task: Task
    build: Callable[[Task], Loss]
    loss: Loss = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", self.build(self.task))


@dataclass(frozen=True)
class Promise:
    """Something that a loss must do, or a property that it may have.

    Args:
        name: short, for tables.
        judge: raises Broken where the loss breaks the promise on an example; passes where the example says
            nothing about it, raises Unexamined where it cannot tell. The first line of its docstring is the promise.
        examples: of a task, tried in turn.
        advice: how such a mistake is usually mended.
        must: whether every loss must keep it; a property otherwise.
        simplify: which parts of a counterexample may be made simpler: "shape", "target", "logits".
    """

    name: str
    judge: Callable[[Subject, Example], None]
    examples: Callable[[Task], Iterable[Example]]
    advice: str = ""
    must: bool = True
    simplify: tuple[str, ...] = ("shape", "target", "logits")

    @property
    def sentence(self) -> str:
        """The promise in words."""
        return (self.judge.__doc__ or self.name).splitlines()[0].rstrip(".")

    def breach(self, subject: Subject, example: Example) -> Broken | None:
        """How the promise is broken on an example, None where it is kept; the example is not touched.

        Raises:
            Unexamined: neither can be found out.
        """
        try:
            self.judge(subject, Example(*(tensor.clone() for tensor in example)))
        except Broken as broken:
            return broken
        except Unexamined:
            raise
        except Exception as error:
            return Broken(f"it raises {type(error).__name__}", detail=" ".join(str(error).split())[:300])
        return None

    def check(self, subject: Subject) -> None:
        """Raise Broken where the promise is broken on one of its examples."""
        for example in self.examples(subject.task):
            broken = self.breach(subject, example)
            if broken is not None:
                raise broken


def run(loss: Loss, logits: Tensor, target: Tensor) -> Outcome:
    """Value, and gradient with respect to the logits.

    Raises:
        Broken: the value is not a tensor that depends on the logits.
    """
    leaf = logits.detach().requires_grad_()
    value = loss(leaf, target)
    if not isinstance(value, Tensor):
        raise Broken("it does not return a tensor", type(value).__name__, "Tensor")
    gradient = torch.autograd.grad(value.sum(), leaf, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None:
        raise Broken("the value is not connected to the graph: nothing is learned", value)
    return value.detach(), gradient


def same(
    given: Outcome,
    expected: Outcome,
    rtol: float = 0.0,
    atol: float = 0.0,
    *,
    kind: str = "is another",
    detail: str = "",
) -> None:
    """Demand that two values and gradients agree, bit by bit where no tolerance is given.

    Raises:
        Broken: they do not; the sentence begins with "the value" or "the gradient".
    """
    for word, a, b in zip(("value", "gradient"), given, expected, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype or not torch.isclose(a, b, rtol, atol).all():
            raise Broken(f"the {word} {kind}", given, expected, detail)


def demand(condition: Tensor | bool, kind: str, got: Any = None, expected: Any = None, detail: str = "") -> None:
    """Demand a condition.

    Raises:
        Broken: it does not hold.
    """
    if not bool(condition):
        raise Broken(kind, got, expected, detail)

"""The budgets that keep the code small; a limit that would make it worse is lifted here, with the reason."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "segtrain").rglob("*.py"))
LONGEST_MODULE, LONGEST_BODY, USUAL_BODY, MEDIAN_BODY = 300, 50, 30, 8
# the builders, whose parameters are those of what they build, the library call below one of them, and what stands for
# the forward pass of any block
MAY_TAKE_ANY = {"build_loss", "build_model", "build_mixing", "smp_net", "_twice"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[tuple[str, Function, bool]]:
    """(name, function, whether it is public) of a file."""
    tree = ast.parse(path.read_text())
    for owner in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]:
        hidden = isinstance(owner, ast.ClassDef) and owner.name.startswith("_")
        for node in owner.body:
            if isinstance(node, Function):
                yield node.name, node, not node.name.startswith("_") and not hidden


def body_length(function: Function) -> int:
    """Lines of the body, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_MODULE
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_functions_are_short_typed_and_documented(path: Path) -> None:
    for name, function, public in functions(path):
        where = f"{path}:{function.lineno} {name}"
        assert body_length(function) <= LONGEST_BODY, where
        assert function.args.kwarg is None or name in MAY_TAKE_ANY, f"{where} takes **kwargs"
        arguments = [a for a in (*function.args.args, *function.args.kwonlyargs) if a.arg not in ("self", "cls")]
        if public:
            assert all(a.annotation for a in arguments), f"{where}: arguments without types"
            assert function.returns is not None, f"{where}: no return type"
            assert ast.get_docstring(function) or name == "forward" or _is_property_stub(function), (
                f"{where}: no docstring"
            )


def _is_property_stub(function: Function) -> bool:
    """A property of a protocol, which the class's docstring describes."""
    return len(function.body) == 1 and isinstance(function.body[0], ast.Expr)


def test_most_functions_are_a_few_lines() -> None:
    lengths = sorted(body_length(function) for path in FILES for _, function, _ in functions(path))
    assert statistics.median(lengths) <= MEDIAN_BODY
    assert lengths[int(0.9 * len(lengths))] <= USUAL_BODY


def test_our_classes_do_not_inherit_from_each_other() -> None:
    classes = {n.name: n for p in FILES for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.ClassDef)}
    for name, node in classes.items():
        bases = {ast.unparse(base).partition("[")[0] for base in node.bases}
        assert not bases & classes.keys(), f"{name} inherits from {bases & classes.keys()}"


def test_no_module_is_named_after_nothing() -> None:
    assert not [path for path in FILES if path.stem in ("utils", "helpers", "common", "misc")]


def test_no_value_is_averaged_over_processes_of_unequal_shares() -> None:
    assert not [path for path in FILES if "sync_dist=True" in path.read_text()]

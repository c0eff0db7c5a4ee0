"""Imports point only downwards, and the libraries stay where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "segtrain"
# A module may import modules of lower layers and its own package; layer 1 packages never import each other.
LAYERS = {
    "errors": 0, "secrets": 0, "signals": 0, "bits": 0, "process": 0,
    "checks": 0.02, "windows": 0.05, "task": 0.1, "seeds": 0.1, "lock": 0.1,
    "draw": 0.2, "runs": 0.2, "provenance": 0.2, "decode": 0.3,
    "losses": 1, "contract": 1.1, "metrics": 1, "models": 1, "data": 1, "augment": 1, "mixing": 1,
    "layouts": 1.1, "audit": 1.1, "optim": 1.1, "preview": 1.2, "mixed": 1.2, "determinism": 1.3,
    "loading": 0.1, "hardware": 0.2, "compilation": 1.3,
    "checkpoint": 2, "module": 2.1, "datamodule": 2.1, "trainer": 2.1, "callbacks": 2.2,
    "inference": 3, "console": 3, "record": 3, "resume": 3, "repro": 3.1,
    "evaluation": 3.1, "labels": 3.1,
    "causes": 3.1, "build": 4, "net": 4.05, "assemble": 4.1,
    "explain": 4.1, "tuning": 4.12, "headline": 4.15, "session": 4.15, "speed": 4.15, "run": 4.2,
    "cli": 6, "__main__": 7, "__init__": 7,
}  # fmt: skip
# library -> the lowest layer that may import it
LIBRARIES = {"hydra": 4, "omegaconf": 4, "lightning": 2}
FILES = sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    """The part of the package that a file belongs to."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Modules that a file imports, with the line; those for type checking alone are left out."""
    tree = ast.parse(path.read_text())
    skipped = {n for node in ast.walk(tree) if isinstance(node, ast.If) and _is_typing(node) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom):
            names = (
                [f"{node.module}.{a.name}" for a in node.names] if node.module == "segtrain" else [node.module or ""]
            )
            yield from ((name, node.lineno) for name in names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)


def _is_typing(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_every_part_has_a_layer() -> None:
    assert {unit(path) for path in FILES} == set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_downwards(path: Path) -> None:
    own = unit(path)
    for name, line in imports(path):
        library = name.partition(".")[0]
        if library != "segtrain":
            assert LAYERS[own] >= LIBRARIES.get(library, 0), f"{path}:{line} imports {name}"
            continue
        part = name.split(".")[1] if "." in name else "__init__"
        if part in LAYERS and part not in (own, "__init__"):
            assert LAYERS[part] < LAYERS[own], f"{path}:{line}: {own} imports {part}"


def test_nothing_lies_deeper_than_one_folder() -> None:
    assert {len(path.relative_to(PACKAGE).parts) for path in FILES} <= {1, 2}

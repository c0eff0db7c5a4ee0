"""Threats that are no file: releases that are malware, names that lead elsewhere, decoders that are not wanted."""

from __future__ import annotations

import ast
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

import segtrain
from segtrain.cli import main
from segtrain.decode.readers import read_image
from segtrain.errors import UserError
from segtrain.runs import clean_name
from tests import tiny

PACKAGE = Path(segtrain.__file__).parent
# first releases without a hole that matters here, and releases that were malware
FLOORS = {"lightning": "2.6.6", "torch": "2.10", "pillow": "12.3"}
MALWARE = {"lightning": ("2.6.2", "2.6.3")}
BEFORE = {"lightning": "2.6.5", "torch": "2.9.1", "pillow": "12.2.0"}


@pytest.mark.fault("Security", "malicious and vulnerable releases", "excluded by the floors of the requirements")
def test_floors() -> None:
    required = {r.name: r.specifier for r in map(Requirement, requires("segtrain") or []) if r.marker is None}
    for name, floor in FLOORS.items():
        assert required[name].contains(floor), name
        assert not required[name].contains(BEFORE[name]), name
        assert not any(required[name].contains(bad) for bad in MALWARE.get(name, ()))


@pytest.mark.parametrize(
    "name", tiny.every(3, ["../../up", "/etc/x", "a/b", "..", "x" * 300, "a\x00b", "-rf", "nl\nnl"])
)
@pytest.mark.fault("Security", "names of runs that are paths", "made harmless and short; all stays in output_dir")
def test_names_of_runs(tmp_path: Path, name: str) -> None:
    cleaned = clean_name(name)
    assert cleaned == Path(cleaned).name
    assert not cleaned.startswith((".", "-"))
    assert 0 < len(cleaned) <= 60
    if "\x00" not in name and "\n" not in name:
        out = tmp_path / "a" / "b" / "out"
        assert main(["train", *tiny.SYNTHETIC, *tiny.FAST, "epochs=1", f"output_dir={out}", f"name='{name}'"]) == 0
        assert {path.name for path in tmp_path.iterdir()} == {"a"}
        assert {path.name for path in (tmp_path / "a").iterdir()} == {"b"}
        assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"out"}


@pytest.mark.fault("Security", "shell, pickle, eval in our own code", "there is none")
def test_nothing_runs_what_it_reads() -> None:
    forbidden = {"eval", "exec", "compile", "system", "popen", "__import__"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword):
                assert node.arg not in ("allow_pickle", "shell"), f"{path}:{node.value.lineno}"
            if not isinstance(node, ast.Call):
                continue
            owner, name = _called(node.func)
            assert not (name in forbidden and owner in ("", "os", "builtins")), f"{path}:{node.lineno}"
            assert (owner, name) not in (("pickle", "load"), ("pickle", "loads"), ("yaml", "load")), path
            if (owner, name) == ("torch", "load"):
                safe = [k.value for k in node.keywords if k.arg == "weights_only"]
                assert [ast.literal_eval(value) for value in safe] == [True], f"{path}:{node.lineno}"


def _called(function: ast.expr) -> tuple[str, str]:
    if isinstance(function, ast.Attribute):
        return (function.value.id if isinstance(function.value, ast.Name) else "?"), function.attr
    return "", function.id if isinstance(function, ast.Name) else "?"


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO", "EPS", "PDF", "PCX", "TGA"])
@pytest.mark.fault("Security", "formats that are not wanted, whatever they are called", "refused, no decoder sees them")
def test_formats_that_are_not_wanted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (16, 16), (255, 0, 0)).save(path, kind)
    with pytest.raises(UserError, match=r"x\.png: not a readable image|x\.png: "):
        read_image(path)

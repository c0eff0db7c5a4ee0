"""Every op has its function, and stands in the documentation as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from segtrain.augment import OPS
from segtrain.augment.backends import BACKENDS
from segtrain.augment.holes import HOLES as HOLE_FUNCTIONS
from segtrain.augment.moves import MOVES
from segtrain.augment.style import STYLES
from segtrain.cli.files import op_lines
from tests.augment.samples import HOLES, PIXELS, PRESETS, SHAPES, STYLE

PAGE = (Path(__file__).parents[2] / "docs" / "augmentation.md").read_text(encoding="utf-8")


def test_every_op_has_its_function_and_none_is_left_over() -> None:
    backends = {name: set(make().pixels) for name, make in BACKENDS.items()}
    assert set(MOVES) == set(SHAPES)
    assert set(HOLE_FUNCTIONS) == set(HOLES)
    assert set(STYLES) == set(STYLE)
    assert backends["albumentations"] == set(PIXELS)
    assert backends["torchvision"] < set(PIXELS)
    assert len(OPS) == len(SHAPES) + len(PIXELS) + len(HOLES) + len(STYLE)


@pytest.mark.parametrize("name", OPS)
def test_every_op_is_documented_as_it_is(name: str) -> None:
    op, torchvision = OPS[name], BACKENDS["torchvision"]().pixels
    backend = "both" if name not in PIXELS or name in torchvision else "albumentations"
    row = f"| `{name}` | {op.about} | {op.settings} | {', '.join(op.needs)} | {backend} |"
    assert row in PAGE.splitlines()
    assert any(line.startswith(f"{name} ") and op.about in line for line in op_lines())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_documented_with_its_ops(name: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))  # presets come first
    if PRESETS[name].get("policy"):
        return
    said = [part.strip().split(" ")[0] for part in row.split("|")[2].split(";")]
    assert said == ([op["op"] for op in PRESETS[name]["train"].values()] or ["nothing"])


@pytest.mark.parametrize("name", PRESETS)
def test_values_of_presets_stand_in_the_documentation(name: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))  # presets come first
    for op in PRESETS[name]["train"].values() if not PRESETS[name].get("policy") else ():
        for key, value in op.items():
            if key not in ("op", "p", "spacing") and isinstance(value, list):
                assert f"{key} {value[0]:g} to {value[1]:g}" in row
        assert op["p"] == 1 or f"({op['p']:g})" in row

"""How fuzz_inputs.py damages a sound file: its bytes, its text as a whole, its lines, and the values in it."""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import yaml

OUTSIDE = "OUTSIDE"  # in a value: stands for the folder beside the input, which nothing may touch
LONG = 20_000
# values of other types, out of range, or that mean something to whoever reads them
ODD: list[Any] = [
    None, True, False, -1, 0, 1, 3, 0.5, 2**63, 2**70, 10**20, 1e308, -1e308, 1e-320, float("nan"), float("inf"), "",
    " ", "x", "3", "nan", "1e999", "-1", "é\0", "\x1b[31m", "\u202e", "x" * LONG, [], [[]], [[[1]]], [1, "a"],
    [None] * 6, [1, 2, 3, 4, 5, 6], {}, {"a": 1}, {"": {}}, {"1": [2]}, "..", "/", "~", ".", "../../outside/image.png",
    "../../../../../outside/image", "OUTSIDE/image.png", "OUTSIDE/mask", "OUTSIDE/new",
    "..\\..\\outside\\image.png", "/dev/zero", "/etc/passwd", "C:\\x.png", "a\\b",
    "${a}", "${.}", "${oc.env:HOME}", "${oc.env:", "${now:%Y}", "???", "null", "[1,2", "{a: b}", "*", "@", "://", "#",
    {"_target_": "os.system"}, {"_target_": "pathlib.Path.touch"}, {"_target_": 3}, {"_target_": "torch.nn.ReLU"},
]  # fmt: skip


# those that name no place outside of the folder that a command runs in, as users may in their own settings
INSIDE = [each for each in ODD if not (isinstance(each, str) and each.startswith(("/", "..", "~", OUTSIDE)))]


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """A few bytes cut, flipped, replaced or inserted; every second time near the head, where it hurts most."""
    data = bytearray(content)
    for _ in range(random.integers(1, 6)):
        if not data:
            break
        end = min(len(data), 256) if random.random() < 0.5 else len(data)
        place, how = int(random.integers(0, end)), int(random.integers(0, 5))
        if how == 0:
            data[place] ^= 1 << int(random.integers(0, 8))
        elif how == 1:
            data[place] = int(random.choice([0, 1, 127, 128, 255, int(random.integers(0, 256))]))
        elif how == 2:
            data[place:place] = random.bytes(int(random.integers(1, 9)))
        elif how == 3:
            del data[place : place + int(random.integers(1, 33))]
        elif random.random() < 0.3:
            del data[place:]
    return bytes(data)


def twisted(
    content: bytes, suffix: str, random: np.random.Generator, outside: str, values: Sequence[Any] = ODD
) -> bytes:
    """A text with a value, a line or all of it changed, or with damaged bytes.

    Args:
        content: sound.
        suffix: of its file: .json and .yaml have values by their places, all others have lines of fields.
        random: decides how.
        outside: what OUTSIDE stands for.
        values: to put in place of others.
    """
    share = random.random()
    if share < 0.2:
        return damaged(content, random)
    if share < 0.35:
        return _as_a_whole(content, random)
    if suffix in (".json", ".yaml"):
        text = content.decode()
        changed = _document(text, suffix, random, values)
    else:
        changed = _fields(content.decode(), random, values)
    return changed.replace(OUTSIDE, outside).encode(errors="surrogatepass")


def _as_a_whole(content: bytes, random: np.random.Generator) -> bytes:
    """What editors, other systems and broken exports make of a text."""
    middle = len(content) // 2
    text = content.decode()
    ways: list[bytes] = [
        b"",
        b" \n\n",
        b"\xef\xbb\xbf" + content,
        text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\r").encode(),
        text.encode("utf-16"),
        content[:middle] + b"\0" + content[middle:],
        content[:middle] + b"\xff\xfe\x80" + content[middle:],
        content + content,
        b"[" * LONG + content,
        content[:middle],
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%b]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 107)),
        b"!!python/object/apply:os.system ['touch evil']\n" + content,
        b"- a\n- b\n",
        b"3",
        b'"text"',
        b"null",
    ]
    return ways[int(random.integers(len(ways)))]


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to all values of nested mappings and lists."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []
    for key in keys:
        yield (*path, key)
        yield from places(content[key], (*path, key))


def odd(random: np.random.Generator, values: Sequence[Any] = ODD) -> Any:
    """A value that belongs nowhere."""
    return values[int(random.integers(len(values)))]


def changed(content: Any, random: np.random.Generator, values: Sequence[Any]) -> None:
    """Replace, remove, rename, double or bury one value of nested mappings and lists, in place.

    Args:
        content: with at least one value.
        random: decides.
        values: to replace by.
    """
    ways = list(places(content))
    if not ways:
        return
    *path, key = ways[int(random.integers(len(ways)))]
    owner = _at(content, path)
    value = copy.deepcopy(odd(random, values))
    how = random.random()
    if how < 0.65:
        owner[key] = value
    elif how < 0.75:
        del owner[key]
    elif how < 0.8:
        buried: Any = owner[key]
        for _ in range(int(random.choice([1, 5, 60]))):
            buried = [buried] if random.random() < 0.5 else {"a": buried}
        owner[key] = buried
    elif how < 0.9 and isinstance(owner, dict):
        owner[str(value) if random.random() < 0.5 else f"{key}x"] = owner.pop(key)
    elif isinstance(owner, list):
        owner.insert(key, owner[key])
    else:
        owner[key] = copy.deepcopy(_at(content, ways[int(random.integers(len(ways)))]))


def _at(content: Any, path: Sequence[Any]) -> Any:
    for key in path:
        content = content[key]
    return content


def _document(text: str, suffix: str, random: np.random.Generator, values: Sequence[Any]) -> str:
    content = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
    if random.random() < 0.05:  # a key twice
        head, colon, tail = text.partition(":")
        return f"{head}{colon}{tail}\n{head}{colon} 3\n" if suffix == ".yaml" else text.replace("{", '{"a": 1, "a": 2,')
    for _ in range(random.integers(1, 3)):
        changed(content, random, values)
    if suffix == ".json":
        return json.dumps(content)
    comments = "".join(line for line in text.splitlines(keepends=True) if line.startswith("# @"))
    return comments + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _fields(text: str, random: np.random.Generator, values: Sequence[Any]) -> str:
    """A field or a line of a table or list changed."""
    lines = text.splitlines()
    delimiter = next((d for d in "\t,:" if d in text), " ")
    number = int(random.integers(max(1, len(lines))))
    cells = lines[number].split(delimiter) if lines else [""]
    cell, how = int(random.integers(len(cells))), random.random()
    value = odd(random, values)
    if how < 0.6:
        cells[cell] = value if isinstance(value, str) else json.dumps(value)
    elif how < 0.7:
        del cells[cell]
    elif how < 0.8:
        cells.insert(cell, "extra")
    elif how < 0.85:
        cells = cells[::-1]
    lines[number : number + 1] = [delimiter.join(cells)]
    if 0.85 <= how < 0.9:
        lines.insert(number, lines[number])
    elif 0.9 <= how < 0.95:
        del lines[number]
    elif how >= 0.95:
        buffer = io.StringIO()
        csv.writer(buffer).writerow(['a"b', "c,d", "e\nf", "\0"])
        lines.insert(number, buffer.getvalue() + '"open')
    return "\n".join(lines) + "\n"

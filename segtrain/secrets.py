"""Secrets stay out of what a run saves and says: which settings are secret, and text and containers without them.

A setting is known by the last part of its key (callbacks.notify.token, +callbacks.x={api_key: ...}); a URL by what
stands before its @ and by the names in its query. What a process was given is remembered, so that it is also found
in messages of other libraries. Something that is hidden in an odd place, under a name that says nothing, is not.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MASK = "*masked*"  # Hydra and shells-in-quotes take these characters as they are
NAMES = (
    *("token", "secret", "secrets", "password", "passwords", "passwd", "passphrase", "pwd", "pw", "dsn", "apikey"),
    *("credential", "credentials", "auth", "authorization", "bearer", "cookie", "webhook", "signature", "sig"),
)
AFTER_NAMES = ("url", "uri", "value", "string", "str", "hash", "base64")  # token_value is a token
# what a key may be of without being secret; any other is taken for a secret, as api_key and comet_key
HARMLESS_KEYS = (
    *("batch", "class", "column", "data", "dict", "feature", "foreign", "group", "image", "index", "input", "item"),
    *("label", "log", "logits", "loss", "mask", "metric", "monitor", "output", "primary", "sample", "score", "sort"),
    *("split", "state", "tag", "target", "task", "value"),
)
LEAST, LEAST_OF_LETTERS = 4, 8  # characters of what is looked for in messages: "train" would be found everywhere

_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_VALUE = r"""(?P<value>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[\[{]|(?:\\.|[^,}\]\\])+?(?=\s*(?:[,}\]]|$)))"""
# a name is looked for where one begins, or a long word would be read once for each of its letters
_PAIR = re.compile(rf"(?<![\w.-])(?P<name>[\w.-]+)['\"]?\s*:(?!//)\s*{_VALUE}")
_USER = re.compile(r"(?<=://)(?P<value>[^\s/'\"]+)(?=@)")
_QUERY = re.compile(r"[?&;](?P<name>[\w.-]+)=(?P<value>[^&\s'\"#,}\]]+)")
_QUOTED_OR_BRACKET = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[\[{}\]]""")
_known: dict[str, str] = {}  # what this process was given, and what is said instead

Span = tuple[int, int]


def is_secret(key: str) -> bool:
    """Whether the value of a setting is a secret, by the last part of its key.

    Args:
        key: such as callbacks.notify.api_key, with or without Hydra's + or ~ before it and @package behind it.
    """
    name = key.lstrip("+~").partition("@")[0].rpartition(".")[2]
    words = [word.lower() for word in _PARTS.findall(name) if not word.isdigit()]
    while len(words) > 1 and words[-1] in AFTER_NAMES:
        words.pop()
    if not words:
        return False
    return words[-1] in NAMES or (words[-1] == "key" and (len(words) == 1 or words[-2] not in HARMLESS_KEYS))


def masked(node: Any, key: str = "") -> Any:
    """Nested containers with MASK in the place of each secret.

    Args:
        node: of a configuration, resolved; mappings and lists are copied.
        key: of the node; all that lies below a secret key is secret.
    """
    if isinstance(node, Mapping):
        return {name: masked(value, key if is_secret(key) else str(name)) for name, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [masked(value, key) for value in node]
    if is_secret(key) and _can_be_secret(node):
        return MASK
    return _replaced(node, _in_urls(node)) if isinstance(node, str) else node


def _can_be_secret(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""


def masked_word(word: str) -> str:
    """A key=value word with MASK in the place of each secret; others as they are."""
    return _replaced(word, _in_word(word))


def masked_words(words: Iterable[str]) -> list[str]:
    """See masked_word."""
    return [masked_word(word) for word in words]


def masked_command(words: Sequence[str]) -> str:
    """A command as it could be typed, but for its secrets; the program without the folder that it lies in."""
    program = Path(words[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *masked_words(words[1:])])


def remember(node: Any, words: Iterable[str] = ()) -> None:
    """Keep in mind what is secret, so that `hidden` finds it.

    Args:
        node: of a configuration, resolved.
        words: key=value.
    """
    for key, value in _leaves(node):
        if is_secret(key):
            _keep(str(value), key)
        for start, end in _in_urls(value) if isinstance(value, str) else ():
            _keep(value[start:end])
    for word in words:
        if (without := masked_word(word)) != word:
            _known[word.lstrip("+~")] = without.lstrip("+~")
        for start, end in _in_word(word):
            _keep(word[start:end].strip("'\""), word.partition("=")[0])


def hidden(text: str) -> str:
    """Text for people or files, such as an error message or a line of a log, without the secrets in it."""
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, _known[value])
    return _replaced(text, _in_urls(text))


def _keep(value: str, key: str = "") -> None:
    """Remember a value, unless it is a word that messages hold anyway, such as `callbacks.mine.key=val/iou`."""
    bare = key.lstrip("+~").rpartition(".")[2] == "key"
    odd = any(c.isdigit() for c in value) if bare else not value.isalpha()
    if value != MASK and len(value) >= (LEAST if odd else LEAST_OF_LETTERS) and (odd or not bare):
        _known[value] = MASK
    if password := value.partition(":")[2]:  # of user:password
        _keep(password)


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, key if is_secret(key) else str(name))
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _leaves(value, key)
    elif _can_be_secret(node):
        yield key, node


def _in_word(word: str) -> list[Span]:
    """Where secrets stand in a key=value word, whose value may be a mapping as Hydra writes it."""
    key, sign, value = word.partition("=")
    if sign and "://" not in key and is_secret(key):
        return [] if value.strip("'\"") in ("", "null", "???") else [(len(key) + 1, len(word))]
    spans: list[Span] = []
    at = 0
    while found := _PAIR.search(word, at):
        start, end = found.span("value")
        secret = is_secret(found["name"])
        if secret:
            end = _closing(word, start) if found["value"] in ("{", "[") else end
            spans.append((start, end))
        at = end if secret or found["value"] not in ("{", "[") else start
    return _apart(spans + _in_urls(word))


def _in_urls(text: str) -> list[Span]:
    if "://" not in text:
        return []
    users = [found.span("value") for found in _USER.finditer(text)]
    return _apart(users + [found.span("value") for found in _QUERY.finditer(text) if is_secret(found["name"])])


def _apart(spans: Sequence[Span]) -> list[Span]:
    """In order, those left out that lie within another."""
    kept: list[Span] = []
    for start, end in sorted(spans):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


def _replaced(text: str, spans: Sequence[Span]) -> str:
    for start, end in reversed(spans):
        text = f"{text[:start]}{MASK}{text[end:]}"
    return text


def _closing(text: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`; the end of the text where none does."""
    depth = 0
    for found in _QUOTED_OR_BRACKET.finditer(text, start):
        depth += (found[0] in "{[") - (found[0] in "}]")
        if depth == 0:
            return found.end()
    return len(text)

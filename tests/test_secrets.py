"""Which settings are secret, and words, containers and messages without them."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from segtrain.cli.compose import compose
from segtrain.cli.conf import groups, options
from segtrain.cli.shape import NO_KEY
from segtrain.cli.words import parse_overrides
from segtrain.secrets import MASK, hidden, is_secret, masked, masked_command, masked_word, remember
from tests import tiny

SECRET = (
    *(
        "token",
        "callbacks.x.token",
        "hf_token",
        "apiKey",
        "APIKey",
        "APIKEY",
        "api-key",
        "callbacks.x.key",
        "comet_key",
    ),
    *(
        "secret",
        "client_secret",
        "secret_access_key",
        "private_key",
        "password",
        "passwd",
        "pwd",
        "db_password2",
        "dsn",
    ),
    *("sentry_dsn", "credentials", "webhook_url", "+callbacks.x.token", "~callbacks.x.token", "token_value"),
)
PLAIN = (
    *("monkey", "keys", "key_points", "keypoints", "keyword", "image_key", "sort_key", "tokens", "max_tokens"),
    *("tokenizer", "compass", "author", "secretary", "password_file", "seed", "data.root", "token.length", "loss"),
)


@pytest.mark.parametrize("key", SECRET)
def test_secret(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize("key", PLAIN)
def test_not_secret(key: str) -> None:
    assert not is_secret(key)


def leaves(node: Any, key: str = "") -> list[str]:
    if isinstance(node, dict):
        return [leaf for name, value in node.items() for leaf in leaves(value, f"{key}.{name}")]
    return [key]


@pytest.mark.parametrize("group", tiny.every(4, [group for group in groups() if group not in NO_KEY]))
def test_no_setting_of_ours_is_taken_for_a_secret(group: str) -> None:
    for option in options(group):
        needs = [f"data.{key}=x" for key in ("root", "layout.table") if group == "data" and option != "synthetic"]
        needs = needs if option == "csv" else needs[:1]
        needs += ["aug.references=x"] if option == "style" else []
        config, _ = compose("train", [f"{group}={option}", *needs])
        plain = OmegaConf.to_container(config, resolve=True)
        assert [leaf for leaf in leaves(plain) if is_secret(leaf)] == []
        assert masked(plain) == plain


@pytest.mark.parametrize(
    ("word", "without"),
    [
        ("callbacks.x.token=abc", f"callbacks.x.token={MASK}"),
        ("+callbacks.x.token='a, b'", f"+callbacks.x.token={MASK}"),
        ("+callbacks.x.pin={token:abc,n:3}", f"+callbacks.x.pin={{token:{MASK},n:3}}"),
        ("+c.x={_target_:a.B,api_key: 'a\\'}b' ,n:3}", f"+c.x={{_target_:a.B,api_key: {MASK} ,n:3}}"),
        ("+c.x={auth:{user:a,pw:'b}c'},n:[1]}", f"+c.x={{auth:{MASK},n:[1]}}"),
        ("+c.x={a:{password:[b,{c:d}]},n:1}", f"+c.x={{a:{{password:{MASK}}},n:1}}"),
        ("+c.x.url=https://user:word@host/path", f"+c.x.url=https://{MASK}@host/path"),
        ("+c.x.url=https://abc@host/path", f"+c.x.url=https://{MASK}@host/path"),
        ("+c.x.url='https://host/?a=1&token=b&c=2'", f"+c.x.url='https://host/?a=1&token={MASK}&c=2'"),
        ("+c.x={url:https://user:word@host,n:3}", f"+c.x={{url:https://{MASK}@host,n:3}}"),
    ],
)
def test_words_lose_their_secrets_and_nothing_else(word: str, without: str) -> None:
    assert masked_word(word) == without
    assert masked_word(without) == without
    if "?" not in word:  # quotes within braces
        parse_overrides([without])


@pytest.mark.parametrize(
    "word",
    [
        *("callbacks.x.token=", "callbacks.x.token=null", "~callbacks.x", "data.root=/a/b@c", "loss.weights={dice:1}"),
        *("resume=latest", "latest", "name='a: b'", "aug.train.affine={op:affine,p:.5}", "data.layout.images=a://b"),
    ],
)
def test_other_words_stay_as_they_are(word: str) -> None:
    assert masked_word(word) == word


def test_containers_lose_their_secrets_and_nothing_else() -> None:
    node = {
        "token": "abc",
        "pin": {"password": 1234, "on": True},
        "credentials": {"user": "a", "more": ["b", None, False]},
        "url": "https://a:b@host",
        "list": [{"key": "c", "keys": ["d"]}],
        "secret": None,
        7: "e",
    }
    assert masked(node) == {
        "token": MASK,
        "pin": {"password": MASK, "on": True},
        "credentials": {"user": MASK, "more": [MASK, None, False]},
        "url": f"https://{MASK}@host",
        "list": [{"key": MASK, "keys": ["d"]}],
        "secret": None,
        7: "e",
    }
    assert node["token"] == "abc"
    assert masked(masked(node)) == masked(node)


@pytest.mark.parametrize(
    "long", ["x" * 10**6, "x9" * 10**6, "token: " + " " * 10**6 + "y", "a:" * 10**5, "{a: " + "y " * 10**6]
)
def test_a_long_word_takes_no_longer_than_to_read_it(long: str) -> None:
    """Once for each of its letters would be an hour."""
    assert masked_word(f"key_of_nothing={long}") != ""


def test_a_command_can_be_read_but_for_its_secrets() -> None:
    words = ["/home/me/bin/segtrain", "train", "+callbacks.x.token=abc", "name=my run"]
    assert masked_command(words) == f"segtrain train '+callbacks.x.token={MASK}' 'name=my run'"


def test_messages_lose_what_the_process_was_given() -> None:
    remember(
        {"x": {"token": "tk-4711", "url": "https://me:zebra-9@host", "key": "val/iou", "pwd": "train"}},
        ["+callbacks.y.token=cat", "callbacks.z.password=giraffes"],
    )
    assert hidden("no tk-4711 at https://you:other@host") == f"no {MASK} at https://{MASK}@host"
    assert hidden("401: zebra-9, giraffes") == f"401: {MASK}, {MASK}"
    assert hidden("callbacks.y.token=cat: no such key") == f"callbacks.y.token={MASK}: no such key"
    # words that messages hold anyway
    assert hidden("train/loss 1, val/iou 2, cat") == "train/loss 1, val/iou 2, cat"

"""Seeds by hash: the same on every machine, different for every purpose."""

from __future__ import annotations

import hashlib
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segtrain.seeds import derive, seed_torch


@pytest.mark.parametrize("parts", [(1,), (1, "aug", 3, 17), (0, "order", 0), ("ü", -5)])
def test_derive_is_the_hash_of_its_parts(parts: tuple[int | str, ...]) -> None:
    digest = hashlib.blake2b("/".join(map(str, parts)).encode("utf-8"), digest_size=8).hexdigest()
    assert derive(*parts) == int(digest, 16) // 2


def test_known_values() -> None:
    """Written down once: if they change, no interrupted run continues as it began."""
    assert derive(1, "aug", 3, 17) == KNOWN


KNOWN = 2965254111532071105  # int.from_bytes(hashlib.blake2b(b"1/aug/3/17", digest_size=8).digest(), "big") >> 1


@given(st.lists(st.integers() | st.text(), max_size=4))
def test_any_parts_give_a_seed_that_torch_takes(parts: list[int | str]) -> None:
    assert 0 <= derive(*parts) < 2**63
    torch.Generator().manual_seed(derive(*parts))


def test_no_two_purposes_share_a_seed() -> None:
    keys = list(itertools.product((1, 2), ("aug", "order", "step"), range(12), range(12)))
    assert len({derive(*key) for key in keys}) == len(keys)


def test_seed_torch_is_manual_seed() -> None:
    torch.manual_seed(123)
    expected = torch.rand(5)
    torch.rand(3)
    seed_torch(123)
    assert torch.equal(torch.rand(5), expected)
    seed_torch(derive(0))
    assert not torch.equal(torch.rand(5), expected)


def test_the_generator_of_mps_is_seeded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "manual_seed", seeds.append)
    seed_torch(7)
    assert seeds == [7]

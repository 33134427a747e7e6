"""Codes of users against RFC 2104 written out, and matching against sets."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.errors import FederationError
from landbridge.data.vocabulary import Vocabulary
from landbridge.federation.user_codes import PURPOSE, SECRET, KeyedHash, in_several, places, sorted_order

KEY = bytes(range(32))
IDS = st.sets(st.integers(0, 30))


def written_out(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA-256 of RFC 2104."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + text).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


def codes(ids: set[int]) -> np.ndarray:
    found = KeyedHash(KEY).of(Vocabulary.of(sorted(ids)).ids)
    return found[sorted_order(found)]


def test_codes_are_keyed_hashes() -> None:
    names = Vocabulary.of(["anna", "bert", "čeněk"]).ids
    for code, name in zip(KeyedHash(KEY).of(names), names.tolist(), strict=True):
        assert code.astype(">u8").tobytes() == written_out(KEY, PURPOSE + name.encode())


def test_another_secret_gives_other_codes_and_the_secret_is_not_shown() -> None:
    names = Vocabulary.of(["anna"]).ids
    assert not (KeyedHash(KEY).of(names) == KeyedHash(KEY[::-1]).of(names)).any()
    assert "secret" not in repr(KeyedHash(KEY))


def test_a_number_is_the_same_id_as_text() -> None:
    numbers, texts = Vocabulary.of([7, 17]).ids, Vocabulary.of(["17", "7"]).ids
    assert np.array_equal(KeyedHash(KEY).of(numbers), KeyedHash(KEY).of(texts)[::-1])


@given(IDS, IDS, IDS)
def test_matching_is_that_of_sets(a: set[int], b: set[int], c: set[int]) -> None:
    joint = in_several([codes(a), codes(b), codes(c)])
    assert np.array_equal(joint, codes((a & b) | (a & c) | (b & c)))
    listed = [tuple(row) for row in joint.tolist()]
    for own in (a, b, c):
        wanted = [listed.index(tuple(row)) if tuple(row) in listed else -1 for row in codes(own).tolist()]
        assert places(codes(own), joint).tolist() == wanted


@pytest.mark.parametrize("content", [None, "", "abc", "00" * 31, "zz" * 32])
def test_a_wrong_secret_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / SECRET).write_text(content)
    with pytest.raises(FederationError, match="64 hexadecimal digits"):
        KeyedHash.read(tmp_path)

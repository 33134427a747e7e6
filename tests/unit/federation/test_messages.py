"""Frames: what is encoded is decoded, and any other bytes are one sentence without a value in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landbridge.core.errors import FederationError
from landbridge.federation import messages as msg

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
MESSAGE = msg.encode(msg.Message(round=3, rho=0.1, rows=2, factors=3), ROWS)
finite = st.floats(0, allow_nan=False, allow_infinity=False)


def frame_of(header: str, body: bytes = b"", magic: bytes = msg.MAGIC, version: int = msg.VERSION) -> bytes:
    text = header.encode()
    return msg.PREFIX.pack(magic, version, len(text)) + text + body


@given(st.integers(0, 2**31 - 1), finite, st.integers(0, 20), st.integers(1, 8), st.randoms())
def test_a_message_survives(number: int, rho: float, rows: int, factors: int, random: Any) -> None:
    sent = np.random.default_rng(random.getrandbits(32)).standard_normal((rows, factors), np.float32)
    header = msg.Message(round=number, rho=rho, rows=rows, factors=factors)
    received = msg.decode(msg.encode(header, sent), msg.FROM_PARTY)
    assert received.header == header
    assert np.array_equal(received.array, sent)
    assert received.array.dtype == np.float32


@given(finite, finite, finite, finite)
def test_sums_survive_to_the_last_bit(apart: float, tied: float, moved: float, norm: float) -> None:
    sums = msg.Sums(round=0, apart=apart, tied=tied, moved=moved, norm=norm)
    assert msg.decode(msg.encode(sums), msg.FROM_COORDINATOR).header == sums


def test_ten_thousand_random_byte_strings_are_refused() -> None:
    rng = np.random.default_rng(0)
    for number in range(10_000):
        data = rng.bytes(int(rng.integers(0, 200)))
        # every second one begins as a frame does
        start = msg.PREFIX.pack(msg.MAGIC, msg.VERSION, int(rng.integers(0, 100))) if number % 2 else b""
        with pytest.raises(FederationError):
            msg.decode(start + data, msg.FROM_PARTY)


@settings(max_examples=300)
@given(st.integers(0, len(MESSAGE) - 1), st.integers(1, 255), st.integers(0, len(MESSAGE)))
def test_a_tampered_message_is_refused_or_has_its_shape(place: int, flip: int, end: int) -> None:
    damaged = bytearray(MESSAGE)
    damaged[place] ^= flip
    for data in (bytes(damaged), MESSAGE[:end] + b"\0" * (end % 3)):
        try:
            frame = msg.decode(data, msg.FROM_PARTY)
        except FederationError:
            continue
        assert isinstance(frame.header, msg.Message)
        assert frame.array.shape == (frame.header.rows, frame.header.factors)


@pytest.mark.parametrize(
    "data",
    [
        frame_of('{"kind":"finished"}', magic=b"GET"),
        frame_of('{"kind":"finished"}', version=242),
        frame_of('{"kind":"finished"}', b"x"),
        frame_of('{"kind":"finished","secret":4242}'),
        frame_of('{"kind":"consensus","round":0,"rows":0,"factors":1}'),  # of the other side
        frame_of('{"kind":"message","round":0,"rho":NaN,"rows":0,"factors":1}'),
        frame_of('{"kind":"message","round":0,"rho":1e999,"rows":0,"factors":1}'),
        frame_of('{"kind":"message","round":-1,"rho":0.1,"rows":0,"factors":1}'),
        frame_of('{"kind":"message","round":"4242","rho":0.1,"rows":0,"factors":1}'),
        frame_of('{"kind":"message","round":4242.5,"rho":0.1,"rows":0,"factors":1}'),
        frame_of('{"kind":"message","round":0,"rho":0.1,"rows":2147483647,"factors":4096}'),
        frame_of('{"kind":"report","round":0,"apart":-4242.0,"tied":1.0}'),
        frame_of("[" * 60_000),
        msg.PREFIX.pack(msg.MAGIC, msg.VERSION, 2**32 - 1) + b"{}",
    ],
)
def test_a_wrong_frame_is_refused_in_a_sentence_without_its_values(data: bytes) -> None:
    with pytest.raises(FederationError) as refused:
        msg.decode(data, msg.FROM_PARTY)
    assert "242" not in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 1001.0])
def test_rows_are_finite_and_bounded(value: float) -> None:
    rows_MF = ROWS.copy()
    msg.check_rows(rows_MF, 1000.0)
    rows_MF[1, 2] = value
    with pytest.raises(FederationError, match="norm bound"):
        msg.check_rows(rows_MF, 1000.0)


def test_hashes_are_sorted_and_unique() -> None:
    good = np.array([[0, 0, 0, 1], [0, 0, 1, 0], [2**63, 0, 0, 0]], np.uint64)
    msg.check_codes(good)
    msg.check_codes(good[:0])
    for bad in (good[::-1], good[[0, 0, 1]], good[[0, 2, 1]]):
        with pytest.raises(FederationError, match="sorted"):
            msg.check_codes(bad)

"""Connections that ask a server again as soon as they are answered, at as little cost as Python allows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np

WARM_UP = 1.0  # seconds not counted


@dataclass(frozen=True)
class Figures:
    """Answers per second, how long half and all but one in a hundred of them took, in ms, and how many there
    were, those of the warm-up included."""

    per_second: float
    p50: float
    p99: float
    answers: int


class _Asking(asyncio.Protocol):
    """One connection. HTTP/1.1 is read only as far as needed: the length of each answer, and its status."""

    def __init__(self, requests: Sequence[bytes], took: list[tuple[float, float]]) -> None:
        self._requests, self._took, self._number = requests, took, 0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or len(rest) < _length(head):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"Refused: {self._received.decode()}")
        self._took.append((perf_counter(), perf_counter() - self._begun))
        self._received = b""
        self._ask()

    def _ask(self) -> None:
        self._begun = perf_counter()
        self._transport.write(self._requests[self._number % len(self._requests)])
        self._number += 1


def load(port: int, bodies: Sequence[bytes], connections: int, seconds: float) -> Figures:
    """Ask for so long; every connection goes through the bodies from a place of its own."""
    return asyncio.run(_load(port, [_request(body) for body in bodies], connections, seconds))


async def _load(port: int, requests: list[bytes], connections: int, seconds: float) -> Figures:
    loop, took = asyncio.get_running_loop(), list[tuple[float, float]]()
    transports = []
    for number in range(connections):
        start = number * len(requests) // connections
        own = requests[start:] + requests[:start]
        transports.append((await loop.create_connection(partial(_Asking, own, took), "127.0.0.1", port))[0])
    begun = perf_counter() + WARM_UP
    await asyncio.sleep(WARM_UP + seconds)
    for transport in transports:
        transport.abort()
    counted = np.array([length for when, length in took if when >= begun]) * 1000
    p50, p99 = np.percentile(counted, [50, 99])
    return Figures(len(counted) / seconds, float(p50), float(p99), len(took))


def _request(body: bytes) -> bytes:
    lines = ("POST /v1/recommend HTTP/1.1", "host: 127.0.0.1", "content-type: application/json")
    return "\r\n".join((*lines, f"content-length: {len(body)}", "", "")).encode() + body


def _length(head: bytes) -> int:
    return int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])

"""A coordinator on the loopback under attack: what is wrong is refused, and the honest parties go on."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parties import JOINT, MATCHED, METHOD, NAMES, mean_of, message_of, plan_of, report_of, users_of

from landbridge.core.errors import FederationError, SettingsError
from landbridge.federation import keys
from landbridge.federation import messages as msg
from landbridge.federation.coordinator import Coordinator
from landbridge.federation.session import Session
from landbridge.federation.wire import LENGTH, Wire, address

HONEST = ("books", "movies")
SECRET_NUMBER = 4242.4242


@dataclass
class Loopback:
    """A coordinator in a thread: its keys, port and log."""

    folder: Path
    session: Session
    lines: list[str]
    port: int

    def wire(self, name: str, patience: float = 30.0) -> Wire:
        context = keys.client_context(self.folder / "keys" / name)
        return Wire("127.0.0.1", self.port, context, patience, lambda line: None)

    def raw(self, name: str = "food") -> ssl.SSLSocket:
        """A connection with a valid certificate and nothing of the protocol."""
        plain = socket.create_connection(("127.0.0.1", self.port), 30)
        return keys.client_context(self.folder / "keys" / name).wrap_socket(
            plain, server_hostname="127.0.0.1"
        )


@contextmanager
def listening(folder: Path, **limits: float) -> Iterator[Loopback]:
    keys.make(folder / "keys", NAMES, ["127.0.0.1"])
    lines: list[str] = []
    session = Session(plan_of(2, **{"round_seconds": 2.0, **limits}), folder / "session", note=lines.append)
    coordinator = Coordinator(session, lines.append, linger=0.0)
    loop = asyncio.new_event_loop()
    serving = coordinator.serve("127.0.0.1", 0, keys.server_context(folder / "keys/coordinator"))
    task = loop.create_task(serving)
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])))
    thread.start()
    try:
        while not lines:
            pass
        yield Loopback(folder, session, lines, int(lines[0].split(":")[1].split()[0]))
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def join(wire: Wire, name: str) -> None:
    frame = users_of(name)
    wire.request(msg.Match, frame.header, frame.array)


def take_part(wire: Wire, name: str, number: int) -> Any:
    """One round of a party; returns what it received."""
    frame = message_of(name, number)
    _, z_MF = wire.request(msg.Consensus, frame.header, frame.array)
    wire.request(msg.Sums, report_of(name, number).header)
    return z_MF


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Several parties at once."""
    results: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n, job=job: results.update({n: job()})) for n, job in enumerate(jobs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(jobs))]


def framed(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


def poisoned(value: float) -> bytes:
    frame = message_of("food", 0)
    rows_MF = np.full_like(frame.array, SECRET_NUMBER)
    rows_MF[0, 0] = value
    return framed(msg.encode(frame.header, rows_MF))


def random_frames() -> bytes:
    return framed(np.random.default_rng(1).bytes(300))


ATTACKS: dict[str, bytes] = {
    "random bytes": random_frames(),
    "a length without end": LENGTH.pack(2**32 - 1) + b"x" * 100,
    "web": b"GET / HTTP/1.1\r\n\r\n",
    "NaN": poisoned(np.nan),
    "huge": poisoned(3e38),
    "a wrong shape": framed(msg.encode(msg.Message(round=0, rho=0.0, rows=1, factors=2), np.ones((1, 2)))),
    "the other side's kind": framed(msg.encode(msg.Sums(round=0, apart=0, tied=0, moved=0, norm=0))),
    "half a message": framed(msg.encode(*[message_of("food", 0).header, message_of("food", 0).array]))[:-3],
}


def test_every_attack_is_refused_and_the_honest_parties_get_their_consensus(tmp_path: Path) -> None:
    with listening(tmp_path) as site:
        wires = {name: site.wire(name) for name in NAMES}
        together(*(partial(join, wires[name], name) for name in NAMES))
        wires["food"].close()
        for attack in ATTACKS.values():
            with closing(site.raw()) as connection:
                connection.sendall(attack)
                connection.settimeout(10)
                replies = b""
                while part := connection.recv(1 << 16):
                    replies += part
                assert b'"kind":"consensus"' not in replies
        connections_without_certificate(site)
        for number in range(3):
            received = together(*(partial(take_part, wires[name], name, number) for name in HONEST))
            wanted = mean_of(set(HONEST), number)
            for name, z_MF in zip(HONEST, received, strict=True):
                assert np.allclose(z_MF, [wanted[user] for user in MATCHED[name]])
        for wire in wires.values():
            wire.close()
    log = "\n".join(site.lines)
    # the half message is not refused: its sender is only late
    assert log.count("food: refused.") == len(ATTACKS) - 1
    assert "food is late in round 0" in log
    assert "4242" not in log
    assert "GET" not in log


def connections_without_certificate(site: Loopback) -> None:
    """Connections without TLS, without a certificate, and with one of another authority."""
    keys.make(site.folder / "other", ["books"], ["127.0.0.1"])
    (site.folder / "other/books" / keys.CA).write_bytes((site.folder / "keys/books" / keys.CA).read_bytes())
    forged = keys.client_context(site.folder / "other/books")
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(site.folder / "keys/books" / keys.CA)
    for context in (forged, bare):
        wire = Wire("127.0.0.1", site.port, context, 0.3, lambda line: None)
        with pytest.raises(FederationError, match="not accept this certificate"):
            wire.request(msg.Match, users_of("books").header, users_of("books").array)
    with closing(socket.create_connection(("127.0.0.1", site.port), 30)) as plain:
        plain.sendall(b"\x00" * 64)
        assert b"LBP" not in plain.recv(1000)


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    with listening(tmp_path) as site:
        keys.make(tmp_path / "keys", ["mallory"], [])
        with closing(site.wire("mallory")) as wire, pytest.raises(FederationError, match="names no party"):
            _ = wire.terms
    assert any("unknown party: refused" in line for line in site.lines)


def test_a_replayed_round_is_refused_and_the_party_comes_back(tmp_path: Path) -> None:
    with listening(tmp_path) as site:
        wires = {name: site.wire(name) for name in NAMES}
        together(*(partial(join, wires[name], name) for name in NAMES))
        for number in range(2):
            together(*(partial(take_part, wires[name], name, number) for name in NAMES))
        old = message_of("food", 0)
        with pytest.raises(FederationError, match="round is over"):
            wires["food"].request(msg.Consensus, old.header, old.array)
        # on a new connection, in the next round
        received = together(*(partial(take_part, wires[name], name, 2) for name in NAMES))
        wanted = mean_of(set(NAMES), 2)
        assert np.allclose(received[2], [wanted[user] for user in MATCHED["food"]])
        for name in NAMES:
            wires[name].request(msg.Finished, msg.Finished())
            wires[name].close()
    assert np.allclose(site.session.z_MF, [wanted[user] for user in JOINT])


def test_a_coordinator_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    keys.make(tmp_path, ["books"], ["127.0.0.1"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines: list[str] = []
    wire = Wire("127.0.0.1", port, keys.client_context(tmp_path / "books"), 0.3, lines.append)
    with pytest.raises(FederationError, match="cannot be reached"):
        _ = wire.terms
    assert len(lines) == 1


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":80", "host:0", "host:99999", "http://host:80/x", "a:٣"]
)
def test_a_wrong_address_is_one_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match="host:port"):
        address(text)


def test_addresses() -> None:
    assert address("coordinator.example:8443") == ("coordinator.example", 8443)
    assert address("tls://[::1]:8443/") == ("::1", 8443)


def test_the_scripted_parties_send_the_penalties_of_the_method() -> None:
    sums: list[Any] = []
    for number in range(3):
        header = message_of("books", number).header
        assert isinstance(header, msg.Message)
        assert header.rho == METHOD.round_after([*sums, *[None] * number]).rho

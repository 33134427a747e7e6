"""The coordinator on the network: one TLS connection per party, frames with their length in front.

A party sends one message and waits for its answer; while others are waited for, it gets a ``wait`` every
few seconds, so that each side notices when the other is gone. All rules are in
:mod:`landbridge.federation.session`; this module reads, refuses and writes. A refused message ends its
connection and touches nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from landbridge.core.errors import FederationError, SettingsError, StoreError
from landbridge.core.files import exclusive_lock
from landbridge.federation import keys
from landbridge.federation import messages as msg
from landbridge.federation.session import Session
from landbridge.federation.terms import Plan
from landbridge.federation.transcript import Transcript
from landbridge.federation.wire import HANDSHAKE_SECONDS, LENGTH, WAIT_SECONDS

TICK_SECONDS = 0.2
CLOSING_SECONDS = 1.0
Note = Callable[[str], None]


@dataclass
class Coordinator:
    """Serves one session until all parties that are there have finished. ``traffic`` counts the bytes to and
    from every party, by direction and name."""

    session: Session
    note: Note
    linger: float
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    connections: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # the last one of each party
    handling: set[asyncio.Task[None]] = field(default_factory=set)
    traffic: Counter[str] = field(default_factory=Counter)
    latest: float = field(default_factory=time.monotonic)  # when a party last sent something
    unproven: int = 0  # connections that ended, or still are, before the end of their handshake

    async def serve(self, host: str, port: int, context: ssl.SSLContext) -> None:
        """Listen until the session is complete. OSError where the address cannot be used."""
        server = await asyncio.get_running_loop().create_server(
            self._accepted, host, port, ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
        async with server:
            name = server.sockets[0].getsockname()
            self.note(f"Listening on {name[0]}:{name[1]} for {', '.join(self.session.plan.parties)}.")
            try:
                await self._until_complete()
            finally:
                for task in self.handling:
                    task.cancel()
                await asyncio.gather(*self.handling, return_exceptions=True)
        if self.unproven:
            self.note(f"{self.unproven} connections without a valid certificate were refused.")
        for line in sorted(f"{way}: {size} bytes." for way, size in self.traffic.items()):
            self.note(line)

    async def _until_complete(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            async with self.changed:
                self.session.expire(time.monotonic())
                self.changed.notify_all()
            quiet = time.monotonic() - self.latest > self.linger
            # a party that is late or absent may come back for a while
            if self.session.complete and (not self.session.missing or quiet):
                return

    def _accepted(self) -> asyncio.StreamReaderProtocol:
        """The protocol of a connection, before the handshake."""
        self.unproven += 1
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._begin)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection after its handshake, in a task that may be cancelled."""
        self.unproven -= 1
        task = asyncio.ensure_future(self._handle(reader, writer))
        self.handling.add(task)
        task.add_done_callback(self.handling.discard)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from the terms to its end."""
        task = asyncio.current_task()
        assert task is not None
        party = keys.common_name(writer.get_extra_info("peercert"))
        if party not in self.session.plan.parties:
            party = ""
        elif previous := self.connections.get(party):
            previous.cancel()  # a party that comes again has lost its connection
        self.connections[party] = task
        try:
            await self._talk(party, reader, writer)
        except FederationError as error:
            self.note(f"{party or 'An unknown party'}: refused. {error}")
            with contextlib.suppress(OSError, TimeoutError):
                await self._send(party, writer, msg.encode(msg.Refusal(reason=str(error))))
        except (OSError, EOFError, TimeoutError):
            pass  # gone; it comes again, or is late
        finally:
            if self.connections.get(party) is task:
                del self.connections[party]
            await _closed(writer)

    async def _talk(self, party: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not party:
            raise FederationError("The certificate names no party of this session.")
        await self._send(party, writer, msg.encode(self.session.terms()))
        while True:
            frame = msg.decode(await self._read(party, reader), msg.FROM_PARTY)
            async with self.changed:
                self.latest = time.monotonic()
                self.session.receive(party, frame, self.latest)
                self.changed.notify_all()
            await self._answer(party, frame.header, writer)

    async def _answer(self, party: str, request: msg.Header, writer: asyncio.StreamWriter) -> None:
        wait = msg.encode(msg.Wait())
        sent = time.monotonic()
        while True:
            async with self.changed:
                answer = self.session.answer(party, request)
                if answer is None:
                    await self.changed.wait()
            if answer is not None:
                return await self._send(party, writer, msg.encode(*answer))
            if time.monotonic() - sent >= WAIT_SECONDS:
                await self._send(party, writer, wait)
                sent = time.monotonic()

    async def _read(self, party: str, reader: asyncio.StreamReader) -> bytes:
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        # before a byte of it is read
        if length > self.session.limit(party):
            raise FederationError("The message is longer than a party of this size can send.")
        async with asyncio.timeout(self.session.plan.limits.round_seconds):
            data = await reader.readexactly(length)
        self.traffic[f"from {party}"] += LENGTH.size + length
        return data

    async def _send(self, party: str, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(LENGTH.pack(len(data)) + data)
        async with asyncio.timeout(self.session.plan.limits.round_seconds):
            await writer.drain()
        self.traffic[f"to {party or 'unknown parties'}"] += LENGTH.size + len(data)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """End a connection, whether or not the other side agrees in time."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSING_SECONDS):
            await writer.wait_closed()
    writer.transport.abort()


def coordinate(
    plan: Plan,
    folder: Path,
    cert: Path,
    host: str,
    port: int,
    *,
    note: Note,
    linger: float = 600.0,
    record: Path | None = None,
) -> None:
    """Run a session in ``folder``, or go on with the one that is there, until the parties have their models.

    ``linger``: seconds without a message after which it ends without those that are absent.
    FederationError for keys that cannot be read, StoreError where another coordinator uses the folder,
    SettingsError where there are only sums to record.
    """
    if plan.masks and record is not None:
        raise SettingsError("With --masks the coordinator sees no message; give --record to the parties.")
    context = keys.server_context(cert)
    try:
        with exclusive_lock(folder):
            session = Session(plan, folder, Transcript(record), note=note)
            coordinator = Coordinator(session, note, linger)
            asyncio.run(_stoppable(coordinator.serve(host, port, context)))
    except BlockingIOError:
        raise StoreError(f"Another coordinator uses {folder}; choose another folder.") from None
    for name in session.missing:
        note(f"{name} has no model; run the same command again, and let it come back.")


async def _stoppable(serving: Coroutine[object, object, None]) -> None:
    """Until it is done, or a SIGTERM comes; nothing is lost by that."""
    task = asyncio.ensure_future(serving)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task

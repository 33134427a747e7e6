"""A party's connection to the coordinator: request and answer over TLS, again and again until it works."""

from __future__ import annotations

import random
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from landbridge.core.errors import FederationError, SettingsError
from landbridge.core.types import AnyArray
from landbridge.federation import messages as msg

LENGTH = struct.Struct("<I")  # in front of every frame: its length in bytes
WAIT_SECONDS = 2.0  # between two signs of life from the coordinator
SILENCE_SECONDS = 20.0  # after which a connection is taken to be dead
HANDSHAKE_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 15.0  # seconds between attempts; doubled from one to the next
PIECE = 1 << 16  # bytes of one call
T = TypeVar("T")
H = TypeVar("H", bound=msg.Header)


@dataclass
class Wire:
    """One connection at a time. ``patience``: seconds of failures after which a request fails; ``traffic``
    counts bytes. The terms are those of the first connection: a coordinator with others is refused."""

    host: str
    port: int
    context: ssl.SSLContext = field(repr=False)
    patience: float
    note: Callable[[str], None]
    traffic: Counter[str] = field(default_factory=Counter)
    _socket: ssl.SSLSocket | None = None
    _terms: msg.Terms | None = None

    @property
    def terms(self) -> msg.Terms:
        """What is trained, and with whom."""
        return self._terms or self._retried(self._connected_terms)

    def request(
        self, wanted: type[H] | tuple[type[H], ...], header: msg.Header, array: AnyArray | None = None
    ) -> tuple[H, AnyArray]:
        """Send a message and wait for its answer, which must be ``wanted``. FederationError for a refusal,
        for an answer of another kind, and for a coordinator that cannot be reached."""
        data = msg.encode(header, array)
        frame = self._retried(lambda: self._exchanged(data))
        if not isinstance(frame.header, wanted):
            raise FederationError("The coordinator sent an answer of another kind; use equal versions.")
        return frame.header, frame.array

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _retried(self, attempt: Callable[[], T]) -> T:
        pause, failing_since = FIRST_PAUSE, None
        while True:
            try:
                return attempt()
            except (OSError, EOFError) as error:
                self.close()
                if _is_refusal(error):
                    raise FederationError(
                        f"{self.host}:{self.port} and this party do not trust each other's certificates, or "
                        "the certificate is not for this host; make both with one authority."
                    ) from None
                # a server refuses a certificate by ending the connection
                failure = (
                    f"The coordinator at {self.host}:{self.port} cannot be reached or does not accept this "
                    f"certificate ({type(error).__name__})"
                )
                now = time.monotonic()
                failing_since = failing_since or now
                if now - failing_since > self.patience:
                    raise FederationError(f"{failure}; run the same command again to go on.") from None
                if pause == FIRST_PAUSE:
                    self.note(f"{failure}; trying again.")
            # a random part, so that parties do not all come back at once
            time.sleep(pause * (0.5 + random.random() / 2))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _connected_terms(self) -> msg.Terms:
        self._connect()
        assert self._terms is not None
        return self._terms

    def _exchanged(self, data: bytes) -> msg.Frame:
        channel = self._connect()
        framed = LENGTH.pack(len(data)) + data
        for start in range(0, len(framed), PIECE):  # the time-out is that of one call
            channel.sendall(framed[start : start + PIECE])
        self.traffic["sent"] += LENGTH.size + len(data)
        while True:
            frame = self._read(channel)
            match frame.header:
                case msg.Wait():
                    continue
                case msg.Refusal(reason=reason):
                    raise FederationError(f"The coordinator refuses: {reason}")
            return frame

    def _connect(self) -> ssl.SSLSocket:
        if self._socket is not None:
            return self._socket
        plain = socket.create_connection((self.host, self.port), HANDSHAKE_SECONDS)
        try:
            self._socket = self.context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        self._socket.settimeout(SILENCE_SECONDS)
        frame = self._read(self._socket)
        match frame.header:
            case msg.Refusal(reason=reason):
                raise FederationError(f"The coordinator refuses: {reason}")
            case msg.Terms() as terms if self._terms in (None, terms):
                self._terms = terms
                return self._socket
        raise FederationError("The coordinator now has another session or other terms; join again.")

    def _read(self, channel: ssl.SSLSocket) -> msg.Frame:
        (length,) = LENGTH.unpack(_exactly(channel, LENGTH.size))
        data = _exactly(channel, length)
        self.traffic["received"] += LENGTH.size + length
        return msg.decode(data, msg.FROM_COORDINATOR)


def address(text: str) -> tuple[str, int]:
    """Host and port of ``tls://host:port`` or ``host:port``; SettingsError for another text."""
    host, colon, port = text.removeprefix("tls://").rstrip("/").rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536) or "/" in host:
        raise SettingsError(f"{text!r} is no address; write host:port, such as coordinator.example:8443.")
    return host.strip("[]"), int(port)


def _exactly(channel: ssl.SSLSocket, length: int) -> bytes:
    """The next bytes; memory grows with what comes, not with what is announced."""
    parts, missing = [], length
    while missing:
        part = channel.recv(min(missing, PIECE))
        if not part:
            raise EOFError
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _is_refusal(error: Exception) -> bool:
    """Whether one side does not accept the other's certificate: trying again would not help."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    reason = getattr(error, "reason", None) or ""
    return isinstance(error, ssl.SSLError) and "ALERT" in reason and ("CERT" in reason or "CA" in reason)

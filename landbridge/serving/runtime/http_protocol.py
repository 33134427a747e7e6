"""uvicorn's HTTP protocol with bounds: connections, bytes and seconds of a request's head, seconds without
progress.

What exceeds a bound is refused while it arrives, and refused alone: connections that stand go on. uvicorn's
own limit of concurrency refuses every request once there are too many connections.
"""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle
from http import HTTPStatus

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from landbridge.serving.runtime.logging import request_id_of
from landbridge.serving.runtime.metrics import OTHER, Metrics

CONNECTIONS = 1024  # further ones are refused
MAX_URL = 8 * 1024  # bytes
MAX_HEAD = 32 * 1024  # bytes of the request line and all headers
MAX_HEADERS = 100
MAX_PIPELINED = 16  # requests that a connection may send ahead of their answers
HEAD_SECONDS = 10.0  # for the head of a request to arrive, and for what is left of a body after its answer
READ_SECONDS = 10.0  # in which a client must take what was sent
METRICS = "metrics"  # the key of the lifespan's state


class HeadError(Exception):
    """Raised in a callback of the parser, to end the parsing of a head."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    _refusal: tuple[HTTPStatus, str] | None = None
    _late: TimerHandle | None = None
    _stalled: TimerHandle | None = None
    _in_head = True
    _ended = False  # whether the latest read has the end of a request, and not only the head of the next one
    _head_bytes = 0  # of whole reads, which the parser may still hold
    _parsed_bytes = 0  # of the URL and of complete headers
    _answering: RequestResponseCycle | None = (
        None  # of several requests sent ahead, ``cycle`` is the last one
    )

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or refuse it at once."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The server has too many connections; try again.")
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers, and tell the request that is being answered that its client has gone."""
        self._head_arrived()
        if self._stalled is not None:
            self._stalled.cancel()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Go on with the next request that was sent ahead, if there is one."""
        if self.pipeline:
            self._answering = self.pipeline[-1][0]
        super().on_response_complete()
        if not self._in_head and self.cycle.response_complete and self._late is None:
            # the rest of a body that is never read would keep the connection, and nothing else would end it
            self._expect_head()
        if self.transport.is_closing():
            self._expect_reader()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        super().timeout_keep_alive_handler()
        self._expect_reader()

    def pause_writing(self) -> None:
        """The client does not take its answers as fast as they come."""
        super().pause_writing()
        self._expect_reader()

    def resume_writing(self) -> None:
        """The client has taken enough."""
        super().resume_writing()
        if self._stalled is not None and not self.transport.is_closing():
            self._stalled.cancel()
            self._stalled = None

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the head has become too large."""
        if self.transport.is_closing():
            return
        if self._in_head and self._late is None:
            self._expect_head()
        self._ended = False
        super().data_received(data)
        # what the parser has not reported yet, such as half of a header, is in no other count
        if self._in_head and not self._ended:
            self._head_bytes += len(data)
        if self._in_head and self._head_bytes > MAX_HEAD and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A head has at most {MAX_HEAD:,} bytes."
            )

    def on_message_begin(self) -> None:
        """A head begins, perhaps in the middle of what was read."""
        super().on_message_begin()
        self._parsed_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Count the URL's bytes before they are kept."""
        if len(self.url) + len(url) > MAX_URL:
            self._stop(HTTPStatus.REQUEST_URI_TOO_LONG, f"A URL has at most {MAX_URL:,} bytes.")
        self._parsed_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header's bytes; trailers after a chunked body come this way, too."""
        self._parsed_bytes += len(name) + len(value)
        if self._parsed_bytes > MAX_HEAD or len(self.headers) >= MAX_HEADERS:
            self._stop(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"A head has at most {MAX_HEAD:,} bytes and {MAX_HEADERS} headers.",
            )
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is within its bounds."""
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(HTTPStatus.TOO_MANY_REQUESTS, "Wait for answers before sending more requests.")
        self._in_head = False
        self._head_arrived()
        waits = self.cycle is not None and not self.cycle.response_complete
        super().on_headers_complete()
        if not waits:
            self._answering = self.cycle

    def on_message_complete(self) -> None:
        """What comes next is another head."""
        self._in_head, self._ended, self._head_bytes = True, True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser refuses, for the reason that a bound gave it, if one did."""
        self._refuse(
            *(self._refusal or (HTTPStatus.BAD_REQUEST, "This is not HTTP; send an HTTP/1.1 request."))
        )

    def _stop(self, status: HTTPStatus, sentence: str) -> None:
        self._refusal = status, sentence
        raise HeadError

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer and close; only close where the answer to a previous request is still to be sent."""
        metrics: Metrics = self.app_state[METRICS]
        metrics.observe_request(OTHER, status, 0.0)
        if self.cycle is None or self.cycle.response_complete:
            request_id = request_id_of([])  # that of the client may not have arrived
            body = orjson.dumps({"error": sentence, "request_id": request_id})
            head = [
                f"HTTP/1.1 {status.value} {status.phrase}",
                "content-type: application/json",
                f"content-length: {len(body)}",
                "connection: close",
                f"x-request-id: {request_id}",
                "retry-after: 1" if status == HTTPStatus.SERVICE_UNAVAILABLE else "cache-control: no-store",
            ]
            self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()
        self._expect_reader()

    def _expect_head(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _head_arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _expect_reader(self) -> None:
        """Give up a client that does not take its answers in time: closing would wait for it for good."""
        self._stalled = self._stalled or self.loop.call_later(READ_SECONDS, self.transport.abort)

    def _give_up(self) -> None:
        if self._in_head and self._head_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"No whole head within {HEAD_SECONDS:g} seconds.")
        else:
            self.transport.close()
            self._expect_reader()

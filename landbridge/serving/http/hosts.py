"""Which names a server answers to, so that no web page reaches it by a name of its own (DNS rebinding).

A page of ``evil.example`` may let that name point to 127.0.0.1; its browser then sends requests with
``Host: evil.example`` to a server on the user's own machine, and lets the page read the answers. Addresses
cannot be pointed elsewhere, so only names are dangerous.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from landbridge.serving.http.responses import error_response

LOCAL = "localhost"
CLOSE = {"connection": "close"}


@dataclass(frozen=True)
class HostPolicy:
    """``names``: further names that are answered, None for all. ``loopback``: no addresses of others."""

    names: Collection[str] | None = None
    loopback: bool = False

    @classmethod
    def of(cls, listening: str, names: Collection[str], has_key: bool) -> HostPolicy:
        """Of a server that listens on an address: a key keeps pages out by itself, unless names are given."""
        if has_key and not names:
            return cls()
        return cls(frozenset(name.lower() for name in (*names, listening)), is_loopback(listening))

    def allows(self, host: str) -> bool:
        """Whether a Host header names this server."""
        name = _without_port(host.lower())
        if self.names is None or name in self.names or name == LOCAL or name.endswith(f".{LOCAL}"):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.loopback


class HostMiddleware:
    """Refuses requests without a Host, with several (RFC 9112, 3.2), and with one that is not allowed."""

    def __init__(self, app: ASGIApp, policy: HostPolicy) -> None:
        self._app, self._policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        hosts = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
        if scope["type"] != "http" or (not hosts and scope["http_version"] == "1.0"):
            await self._app(scope, receive, send)
        elif len(hosts) != 1:
            answer = error_response(400, "A request needs one Host header.", CLOSE)
            await answer(scope, receive, send)
        elif not self._policy.allows(hosts[0]):
            sentence = "This server does not answer to that Host; name it with --allow-host or use a key."
            await error_response(421, sentence)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def is_loopback(address: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == LOCAL


def _without_port(host: str) -> str:
    """``[::1]:8000`` as ``::1``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")

"""User histories in the event store: events received since the fit, read outside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from fastapi import HTTPException

from landbridge.core.types import Id
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.engine.service import Service
from landbridge.serving.events.store import EventStore
from landbridge.serving.http.schemas import MAX_EVENTS


class UserHistory:
    """An event store, or none. Who is to be forgotten is kept at hand and read again by ``refresh``."""

    def __init__(self, store: EventStore | None) -> None:
        self._store = store
        self._forgotten: frozenset[Id] = frozenset() if store is None else store.forgotten()

    async def with_history(self, requests: Sequence[Request], service: Service) -> list[Request]:
        """The requests, the stored events of their users before their own.

        Stored events of items that are new since the model was fitted are left to the next fit. A forgotten
        user is served as a new one, although the model may still know them.
        """
        if self._store is None or all(request.user is None for request in requests):
            return list(requests)
        return await asyncio.to_thread(self._complete, self._store, requests, service)

    async def append(self, user: str | int, events: Sequence[Event]) -> int:
        """Store events for good and say how many."""
        return await asyncio.to_thread(self._kept().append, user, events)

    async def forget(self, user: str) -> int:
        """Delete a user's events and return how many."""
        deleted = await asyncio.to_thread(self._kept().forget, user)
        # at once on this server; others see it at their next refresh
        await self.refresh()
        return deleted

    async def refresh(self) -> None:
        """Read which users any server has to forget."""
        if self._store is not None:
            self._forgotten = await asyncio.to_thread(self._store.forgotten)

    def _kept(self) -> EventStore:
        if self._store is None:
            raise HTTPException(404, "This server keeps no events; start it with --events.")
        return self._store

    def _complete(self, store: EventStore, requests: Sequence[Request], service: Service) -> list[Request]:
        return [
            replace(
                request,
                user=None if request.user in self._forgotten else request.user,
                events=(*_stored(store, request.user, service), *request.events),
            )
            for request in requests
        ]


def _stored(store: EventStore, user: Id | None, service: Service) -> tuple[Event, ...]:
    """The latest events of a user that the model understands."""
    return () if user is None else service.understood(store.of(user)[-MAX_EVENTS:])

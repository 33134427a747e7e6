"""User histories in the event store: events received since the fit, read outside the event loop.

Lists do not depend on the store: where it fails or is slow, known users get the model's lists, and the
answers say that they are degraded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Thread
from typing import NamedTuple, TypeVar

from fastapi import HTTPException

from landbridge.core.errors import StoreError
from landbridge.core.types import Id
from landbridge.data.item_patches import ItemPatches
from landbridge.serving.engine.cancellation import checkpoint
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.engine.service import Service
from landbridge.serving.events.store import EventStore
from landbridge.serving.http.schemas.bounds import MAX_EVENTS
from landbridge.serving.runtime.logging import log
from landbridge.serving.runtime.metrics import Metrics
from landbridge.serving.runtime.work_pool import PoolFull, WorkPool

T = TypeVar("T")
READ_PATIENCE = 0.5  # seconds that a list waits for the store
READ_EACH = 0.05  # seconds more for each further list of a batch
CLOSING = 2.0  # seconds that the store has to end its calls when the server stops
PATCH_PATIENCE = 10.0  # seconds for reading what was said of items
PAUSE = 1.0  # seconds after a failure in which the store is not read
UNREADABLE = "The event store cannot be read: lists leave out the events stored since the fit."
UNWRITABLE = "The event store could not be written when it was last tried: events were refused."


class CompleteRequests(NamedTuple):
    """Requests with the stored events of their users; ``degraded``: without, where the store failed."""

    requests: list[Request]
    degraded: bool


class UserHistory:
    """An event store, or none. Who is to be forgotten is kept at hand and read again by ``refresh``."""

    def __init__(self, store: EventStore | None, metrics: Metrics) -> None:
        self._store, self._metrics = store, metrics
        self._forgotten: frozenset[Id] = frozenset() if store is None else store.forgotten()
        self._failing, self._refusing, self._read_again = False, False, 0.0
        self.reading = WorkPool("reading events", threads=4, waiting=60)
        # threads that append at once share a transaction, so many waiting appends cost little
        self.writing = WorkPool("storing events", threads=8, waiting=248)
        metrics.store_answers(True)

    @property
    def problems(self) -> list[str]:
        """Why lists are degraded, and why events were refused, if they were."""
        return [*([UNREADABLE] if self._failing else []), *([UNWRITABLE] if self._refusing else [])]

    async def with_history(self, requests: Sequence[Request], service: Service) -> CompleteRequests:
        """The requests, the stored events of their users before their own.

        Stored events of items that are new since the model was fitted are left to the next fit. A forgotten
        user is served as a new one, although the model may still know them.
        """
        if self._store is None or all(request.user is None for request in requests):
            return CompleteRequests(list(requests), False)
        allowed = [self._without_forgotten(_spelled(request, service)) for request in requests]
        # a batch that takes longer than one list is no failure of the store
        within = READ_PATIENCE + READ_EACH * (len(requests) - 1)
        try:
            return CompleteRequests(await self._read(within, _complete, self._store, allowed, service), False)
        except (StoreError, PoolFull):
            return CompleteRequests(allowed, True)

    async def append(self, events: Sequence[tuple[Id, Event]], within: float) -> int:
        """Store events, each with its user, for good, or within so many seconds not at all, and say how
        many."""
        return await self._write(self._kept().append_all, events, within)

    async def delete(self, user: Id, event: Event) -> int:
        """Delete one event of a user, and say whether there was one: 1 or 0."""
        return await self._write(self._kept().delete, user, event)

    async def forget(self, user: str, known: bool) -> int:
        """Delete a user's events and return how many. ``known``: the model was fitted with the user."""
        deleted = await self._write(self._kept().forget, user, known)
        # at once on this server; others see it at their next refresh
        await self.refresh()
        return deleted

    async def patch_items(self, rows: Sequence[tuple[str, Id, str, str]]) -> None:
        """Store what is said of items for good."""
        await self._write(self._kept().patch_items, rows)

    async def item_patches(self, known: ItemPatches) -> ItemPatches:
        """What any server was said of items; ``known`` itself where there is nothing new.

        StoreError where the store fails or hangs; lists do not wait for this, so it does not degrade them.
        """
        if self._store is None:
            return known
        try:
            async with asyncio.timeout(PATCH_PATIENCE):
                return await self.writing.run(self._store.item_patches, known)
        except TimeoutError:
            raise StoreError("The event store does not say what is known of items.") from None

    async def refresh(self) -> frozenset[Id]:
        """Read which users any server has to forget, and say which of them are new."""
        before = self._forgotten
        if self._store is not None:
            self._forgotten = await self._read(READ_PATIENCE, self._store.forgotten)
        return self._forgotten - before

    async def close(self) -> None:
        """Let go of the threads and of the store, whose calls have ``CLOSING`` seconds to end."""
        self.reading.close()
        self.writing.close()
        if self._store is not None:
            # a daemon: no call of a database that hangs may keep the process
            closing = Thread(target=self._store.close, daemon=True)
            closing.start()
            await asyncio.to_thread(closing.join, CLOSING)
            if closing.is_alive():
                log(logging.WARNING, "store hangs", why=f"its calls do not end within {CLOSING:g} seconds")

    async def _read(self, within: float, read: Callable[..., T], *given: object) -> T:
        """What the store holds; StoreError where it fails, takes more than ``within`` seconds, or has just
        failed."""
        if time.monotonic() < self._read_again:
            raise StoreError(UNREADABLE)
        try:
            async with asyncio.timeout(within):
                result = await self.reading.run(read, *given)
        except TimeoutError:
            error = StoreError(f"The event store does not answer within {within:g} seconds.")
            self._fail(error)
            raise error from None
        except StoreError as error:
            self._fail(error)
            raise
        if self._failing:
            self._failing = False
            self._metrics.store_answers(True)
            log(logging.INFO, "store answers")
        return result

    async def _write(self, write: Callable[..., T], *given: object) -> T:
        try:
            written = await self.writing.run(write, *given)
        except StoreError:
            self._refusing = True
            self._metrics.store_failed()
            raise
        self._refusing = False
        return written

    def _fail(self, error: StoreError) -> None:
        """A request must not wait for a store that has just failed another one."""
        self._read_again = time.monotonic() + PAUSE
        self._metrics.store_failed()
        if not self._failing:
            self._failing = True
            self._metrics.store_answers(False)
            log(logging.ERROR, "store failed", why=str(error))

    def _kept(self) -> EventStore:
        if self._store is None:
            raise HTTPException(404, "This server keeps no events; start it with --events.")
        return self._store

    def _without_forgotten(self, request: Request) -> Request:
        return replace(request, user=None) if request.user in self._forgotten else request


def _spelled(request: Request, service: Service) -> Request:
    return request if request.user is None else replace(request, user=service.user_id(request.user))


def _complete(store: EventStore, requests: Sequence[Request], service: Service) -> list[Request]:
    return [
        replace(request, events=(*_stored(store, request.user, service), *request.events))
        for request in requests
    ]


def _stored(store: EventStore, user: Id | None, service: Service) -> tuple[Event, ...]:
    """The latest events of a user that the model understands."""
    checkpoint()  # between the users of a batch
    return () if user is None else service.understood(store.of(user, latest=MAX_EVENTS))

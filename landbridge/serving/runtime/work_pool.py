"""Threads for one kind of work each, with bounded queues.

Work of one kind never waits for work of another, and a request that finds its queue full is refused at once
(503 with Retry-After) rather than after its time-out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore, Event
from typing import ParamSpec, Protocol, TypeVar

from fastapi import HTTPException

from landbridge.serving.engine.cancellation import cancellable

P = ParamSpec("P")
T = TypeVar("T")
RETRY_AFTER = {"retry-after": "1"}  # seconds


class Bounded(Protocol):
    """What refuses work once it has too much of it; ``kind`` names the work in messages."""

    kind: str

    def is_full(self) -> bool:
        """Whether work would be refused now."""


class PoolFull(HTTPException):
    """The server has more work of one kind than it takes on."""

    def __init__(self, kind: str) -> None:
        super().__init__(503, f"The server is busy with {kind}; try again.", RETRY_AFTER)


class WorkPool:
    """``threads`` that work, and room for ``waiting`` more calls; ``kind`` names the work in messages."""

    def __init__(self, kind: str, threads: int, waiting: int) -> None:
        self.kind = kind
        self._executor = ThreadPoolExecutor(threads, kind.replace(" ", "-"))
        self._places = BoundedSemaphore(threads + waiting)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call in a thread; PoolFull where there is no room.

        Cancelled while it waits for a thread, the call is not made; cancelled while it runs, it ends at its
        next :func:`~landbridge.serving.engine.cancellation.checkpoint`.
        """
        if not self._places.acquire(blocking=False):
            raise PoolFull(self.kind)
        given_up = Event()

        def call() -> T:
            with cancellable(given_up.is_set):
                return work(*args, **kwargs)

        job = self._executor.submit(call)
        # when the thread is free again, which may be after the request has been given up
        job.add_done_callback(lambda _: self._places.release())
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            given_up.set()
            raise

    def is_full(self) -> bool:
        """Whether a call would be refused now."""
        if self._places.acquire(blocking=False):
            self._places.release()
            return False
        return True

    def close(self) -> None:
        """Take no more work; what runs ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)

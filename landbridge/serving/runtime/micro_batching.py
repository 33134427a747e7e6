"""Dynamic batching: requests that arrive while one batch runs form the next batch.

A request that finds a thread idle goes at once, alone; under load the batches grow by themselves, so no
request waits for others. Measured against waiting some milliseconds for more, that is as fast at full load
and faster below it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from landbridge.serving.engine.messages import Recommendations, Request

MAX_BATCH = 64  # requests of one call, which bounds the wait of the first of them


class Recommends(Protocol):
    """A service."""

    def recommend(self, requests: Sequence[Request]) -> list[Recommendations]:
        """An answer for each."""


class MicroBatcher:
    """Belongs to one event loop. ``limit``: requests of one call; ``threads``: calls at a time."""

    def __init__(self, service: Recommends, limit: int = MAX_BATCH, threads: int = 1) -> None:
        self._service, self._limit, self._idle = service, limit, threads
        # a thread, so that the event loop can take requests while the model computes
        self._pool = ThreadPoolExecutor(threads, "recommend")
        self._waiting: deque[tuple[Request, asyncio.Future[Recommendations]]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    async def recommend(self, request: Request) -> Recommendations:
        """The answer to one request; the error it causes is raised here and nowhere else."""
        if self._closed:
            raise RuntimeError("This service is closed; ask the one that took its place.")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Recommendations] = loop.create_future()
        self._waiting.append((request, answer))
        if self._idle:
            loop.call_soon(self._start)  # after all that the loop has ready: they go together
        return await answer

    async def close(self) -> None:
        """Answer all that wait, and take no more."""
        self._closed = True
        # requests may still queue behind the batch that runs
        while self._waiting or self._running:
            self._start()
            if self._running:
                await asyncio.wait(self._running)
        self._pool.shutdown()

    def _start(self) -> None:
        """Give a thread what waits, as far as there is both."""
        while self._idle and self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
            if wanted := [entry for entry in taken if not entry[1].done()]:  # done: cancelled
                self._idle -= 1
                task = asyncio.create_task(self._answer(wanted))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _answer(self, wanted: list[tuple[Request, asyncio.Future[Recommendations]]]) -> None:
        loop, requests = asyncio.get_running_loop(), [request for request, _ in wanted]
        try:
            answers = await loop.run_in_executor(self._pool, _answers, self._service, requests)
        finally:
            self._idle += 1
        self._start()
        for (_, answer), result in zip(wanted, answers, strict=True):
            # the client has gone while its batch was computed
            if answer.done():
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)


def _answers(service: Recommends, requests: list[Request]) -> list[Recommendations | Exception]:
    """Together or, where one of them is refused, by halves until it stands alone."""
    try:
        return [*service.recommend(requests)]
    except Exception as error:
        if len(requests) == 1:
            return [error]
        middle = len(requests) // 2
        # one bad request must not fail the others: it is found in log₂(n) steps
        return _answers(service, requests[:middle]) + _answers(service, requests[middle:])

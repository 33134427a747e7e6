"""Dynamic batching: requests that arrive while one batch runs form the next batch.

A request that finds a thread idle goes at once, alone; under load the batches grow by themselves, so no
request waits for others. Measured against waiting some milliseconds for more, that is as fast at full load
and faster below it. The queue is bounded, and a batch stops once all its requests have been given up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeAlias

from landbridge.serving.engine.cancellation import WorkCancelledError, cancellable
from landbridge.serving.engine.messages import Recommendations, Request
from landbridge.serving.runtime.work_pool import PoolFull

MAX_BATCH = 64  # requests of one call, which bounds the wait of the first of them
MAX_WAITING = 8 * MAX_BATCH  # requests; further ones are refused

Answer: TypeAlias = "asyncio.Future[Recommendations]"


class Recommends(Protocol):
    """A service."""

    def recommend(self, requests: Sequence[Request]) -> list[Recommendations]:
        """An answer for each."""


class MicroBatcher:
    """Belongs to one event loop. ``limit``: requests of one call; ``threads``: calls at a time; ``waiting``:
    requests that may wait for one."""

    kind = "lists"

    def __init__(
        self, service: Recommends, limit: int = MAX_BATCH, threads: int = 1, waiting: int = MAX_WAITING
    ) -> None:
        self._service, self._limit, self._idle, self._room = service, limit, threads, waiting
        # a thread, so that the event loop can take requests while the model computes
        self._pool = ThreadPoolExecutor(threads, "recommend")
        self._waiting: deque[tuple[Request, Answer]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    async def recommend(self, request: Request) -> Recommendations:
        """The answer to one request; the error it causes is raised here and nowhere else. PoolFull where too
        many wait."""
        if self._closed:
            raise RuntimeError("This service is closed; ask the one that took its place.")
        if self.is_full():
            raise PoolFull(self.kind)
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()
        self._waiting.append((request, answer))
        if self._idle:
            loop.call_soon(self._start)  # after all that the loop has ready: they go together
        return await answer

    def is_full(self) -> bool:
        """Whether a request would be refused now; those that were given up do not count."""
        if len(self._waiting) >= self._room:
            self._waiting = deque(entry for entry in self._waiting if not entry[1].done())
        return len(self._waiting) >= self._room

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

    async def _answer(self, wanted: list[tuple[Request, Answer]]) -> None:
        loop, requests = asyncio.get_running_loop(), [request for request, _ in wanted]

        def given_up() -> bool:
            return all(answer.done() for _, answer in wanted)

        def work() -> list[Recommendations | Exception]:
            with cancellable(given_up):
                return answers_each(self._service, requests)

        try:
            answers = await loop.run_in_executor(self._pool, work)
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


def answers_each(service: Recommends, requests: list[Request]) -> list[Recommendations | Exception]:
    """Together or, where one of them is refused, by halves until it stands alone; its error is its answer."""
    if not requests:
        return []
    try:
        return [*service.recommend(requests)]
    except Exception as error:
        if len(requests) == 1 or isinstance(error, WorkCancelledError):
            return [error] * len(requests)
        middle = len(requests) // 2
        # one bad request must not fail the others: it is found in log₂(n) steps
        return answers_each(service, requests[:middle]) + answers_each(service, requests[middle:])

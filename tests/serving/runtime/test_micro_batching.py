"""Requests that wait together: who goes with whom, whose error it is, who left, and the end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from landbridge.serving.engine.cancellation import WorkCancelledError, checkpoint
from landbridge.serving.engine.messages import Recommendations, Request
from landbridge.serving.runtime.micro_batching import MicroBatcher
from landbridge.serving.runtime.work_pool import PoolFull


class Counter:
    """Answers with the request's user, remembers its calls and waits in each until it may go on."""

    def __init__(self, open_at_once: bool = True) -> None:
        self.calls: list[list[Any]] = []
        self.running = self.most = 0
        self.gate, self.begun = threading.Event(), threading.Semaphore(0)
        self._lock = threading.Lock()
        if open_at_once:
            self.gate.set()

    def recommend(self, requests: Sequence[Request]) -> list[Recommendations]:
        with self._lock:
            self.calls.append([request.user for request in requests])
            self.running += 1
            self.most = max(self.most, self.running)
        self.begun.release()
        assert self.gate.wait(20)
        with self._lock:
            self.running -= 1
        if bad := [request.user for request in requests if str(request.user).startswith("bad")]:
            raise ValueError(bad[0])
        return [Recommendations((), str(request.user), False, "m") for request in requests]


def asked(user: Any) -> Request:
    return Request(("books",), user)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))


async def begun(service: Counter) -> None:
    """Wait for a call to begin."""
    assert await asyncio.to_thread(service.begun.acquire, True, 20)


async def all_of(together: MicroBatcher, users: Sequence[Any]) -> list[Any]:
    found = await asyncio.gather(*(together.recommend(asked(user)) for user in users), return_exceptions=True)
    return [answer.source if isinstance(answer, Recommendations) else answer for answer in found]


def test_a_single_request_goes_at_once_and_alone() -> None:
    async def work() -> None:
        service = Counter()
        together = MicroBatcher(service)
        for user in range(3):
            assert (await together.recommend(asked(user))).source == str(user)
        assert service.calls == [[0], [1], [2]]
        await together.close()

    run(work)


def test_all_that_came_during_a_call_go_together() -> None:
    async def work() -> None:
        service = Counter(open_at_once=False)
        together = MicroBatcher(service, limit=4)
        first = asyncio.create_task(all_of(together, ["first"]))
        await begun(service)
        rest = asyncio.create_task(all_of(together, list(range(10))))
        await asyncio.sleep(0)
        service.gate.set()
        assert await first == ["first"]
        assert await rest == [str(n) for n in range(10)]
        assert service.calls == [["first"], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        await together.close()

    run(work)


def test_those_that_come_at_one_moment_go_together() -> None:
    async def work() -> None:
        service = Counter()
        together = MicroBatcher(service)
        assert await all_of(together, list(range(9))) == [str(n) for n in range(9)]
        assert service.calls == [list(range(9))]
        await together.close()

    run(work)


@pytest.mark.parametrize("threads", [1, 2])
def test_so_many_calls_at_a_time(threads: int) -> None:
    async def work() -> None:
        service = Counter(open_at_once=False)
        together = MicroBatcher(service, limit=2, threads=threads)
        found = asyncio.create_task(all_of(together, list(range(8))))
        for _ in range(threads):
            await begun(service)
        await asyncio.sleep(0.05)
        assert len(service.calls) == threads
        service.gate.set()
        assert await found == [str(n) for n in range(8)]
        assert service.most == threads
        await together.close()

    run(work)


@pytest.mark.parametrize("bad", [[0], [6], [2, 3], [0, 1, 2, 3, 4, 5, 6]])
def test_an_error_reaches_only_the_request_that_caused_it(bad: list[int]) -> None:
    async def work() -> None:
        together = MicroBatcher(Counter())
        users = [f"bad {n}" if n in bad else f"good {n}" for n in range(7)]
        for user, answer in zip(users, await all_of(together, users), strict=True):
            if user.startswith("bad"):
                assert isinstance(answer, ValueError)
                assert str(answer) == user
            else:
                assert answer == user
        await together.close()

    run(work)


def test_who_left_is_not_computed_for() -> None:
    async def work() -> None:
        service = Counter(open_at_once=False)
        together = MicroBatcher(service)
        first = asyncio.create_task(together.recommend(asked("first")))
        await begun(service)
        leaving, staying = (asyncio.create_task(together.recommend(asked(u))) for u in ("leaves", "stays"))
        await asyncio.sleep(0)
        leaving.cancel()
        first.cancel()
        await asyncio.sleep(0)
        service.gate.set()
        assert (await staying).source == "stays"
        assert service.calls == [["first"], ["stays"]]
        assert first.cancelled()
        assert leaving.cancelled()
        await together.close()

    run(work)


def test_closing_answers_all_that_wait_and_takes_no_more() -> None:
    async def work() -> None:
        service = Counter(open_at_once=False)
        together = MicroBatcher(service, limit=3)
        found = asyncio.create_task(all_of(together, list(range(7))))
        await begun(service)
        closing = [asyncio.create_task(together.close()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="is closed"):
            await together.recommend(asked("late"))
        service.gate.set()
        await asyncio.gather(*closing)
        assert await found == [str(n) for n in range(7)]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("recommend")]

    run(work)


def test_closing_when_all_have_left() -> None:
    async def work() -> None:
        service = Counter()
        together = MicroBatcher(service)
        leaving = asyncio.create_task(together.recommend(asked("leaves")))
        await asyncio.sleep(0)
        leaving.cancel()
        await together.close()
        await together.close()
        assert service.calls == []

    run(work)


def test_a_full_queue_refuses_at_once_and_takes_requests_again_later() -> None:
    async def work() -> None:
        service = Counter(open_at_once=False)
        together = MicroBatcher(service, waiting=2)
        first = asyncio.create_task(together.recommend(asked("first")))
        await begun(service)
        waiting = [asyncio.create_task(together.recommend(asked(user))) for user in ("leaves", "stays")]
        await asyncio.sleep(0)
        assert together.is_full()
        with pytest.raises(PoolFull) as refused:
            await together.recommend(asked("late"))
        assert (refused.value.status_code, refused.value.headers) == (503, {"retry-after": "1"})
        waiting[0].cancel()
        await asyncio.sleep(0)
        assert not together.is_full()  # who left takes no place
        service.gate.set()
        assert (await first).source == "first"
        assert (await waiting[1]).source == "stays"
        await together.close()

    run(work)


def test_a_batch_that_all_have_left_stops() -> None:
    ended = threading.Event()

    class Long(Counter):
        def recommend(self, requests: Sequence[Request]) -> list[Recommendations]:
            try:
                for _ in range(1000):
                    time.sleep(0.01)
                    checkpoint()
            except WorkCancelledError:
                self.calls.append([request.user for request in requests])
                ended.set()
                raise
            return super().recommend(requests)

    async def work() -> None:
        service = Long()
        together = MicroBatcher(service)
        leaving = [asyncio.create_task(together.recommend(asked(user))) for user in range(3)]
        await asyncio.sleep(0.05)
        for each in leaving[:2]:
            each.cancel()
        await asyncio.sleep(0.1)
        assert not ended.is_set()  # one still waits
        leaving[2].cancel()
        assert await asyncio.to_thread(ended.wait, 5)
        await together.close()
        assert service.calls == [[0, 1, 2]]  # once, and not by halves

    run(work)

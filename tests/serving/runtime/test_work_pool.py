"""Bounded pools: full ones refuse, and what is given up stops."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from landbridge.serving.engine.cancellation import WorkCancelledError, checkpoint
from landbridge.serving.runtime.work_pool import PoolFull, WorkPool


def test_a_full_pool_refuses_and_takes_work_again_later() -> None:
    may_end = threading.Event()

    async def play() -> None:
        pool = WorkPool("sums", threads=1, waiting=2)
        taken = [asyncio.create_task(pool.run(may_end.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert pool.is_full()
        with pytest.raises(PoolFull) as refused:
            await pool.run(sum, [1])
        assert (refused.value.status_code, refused.value.headers) == (503, {"retry-after": "1"})
        may_end.set()
        assert await asyncio.gather(*taken) == [True] * 3
        assert not pool.is_full()
        assert await pool.run(sum, [1, 2]) == 3
        pool.close()

    asyncio.run(play())


def test_a_call_given_up_while_it_waits_is_not_made() -> None:
    may_end, calls = threading.Event(), []

    async def play() -> None:
        pool = WorkPool("sums", threads=1, waiting=1)
        running = asyncio.create_task(pool.run(may_end.wait, 10))
        waiting = asyncio.create_task(pool.run(calls.append, 1))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        may_end.set()
        await running
        assert await pool.run(sum, [1, 2]) == 3
        pool.close()

    asyncio.run(play())
    assert calls == []


def test_work_that_is_given_up_stops_at_its_next_checkpoint() -> None:
    ended = threading.Event()

    def work() -> None:
        try:
            for _ in range(1000):
                time.sleep(0.01)
                checkpoint()
        except WorkCancelledError:
            ended.set()
            raise

    async def play() -> None:
        pool = WorkPool("sums", threads=1, waiting=0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.run(work)
        # the thread is free for others in a moment, not after all of the work
        assert await asyncio.to_thread(ended.wait, 2)
        await asyncio.sleep(0.05)
        assert await pool.run(sum, [1, 2]) == 3
        pool.close()

    asyncio.run(play())


def test_work_outside_of_a_pool_has_no_end() -> None:
    checkpoint()

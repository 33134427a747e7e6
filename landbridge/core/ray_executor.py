"""An executor on a Ray cluster: on this machine, or at an address.

What a function holds goes to the object store once, in blocks of at most ``BLOCK`` bytes, and each worker
loads it once; items and results are messages. Ray repeats the item of a worker or node that was lost, so that
a loss costs the items at work there. Nothing is sent to Ray's makers, and there is no dashboard.
"""

from __future__ import annotations

import os
import pickle
import sys
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast

from landbridge.core.errors import LandbridgeError, MissingExtraError
from landbridge.core.parallel import THREAD_VARIABLES, Executor, attempt, check_numbers, environment, outcome
from landbridge.core.types import blocks

A = TypeVar("A")
T = TypeVar("T")
R = TypeVar("R")

BLOCK = 256 << 20  # bytes of an object of the store
STARTS = 3  # attempts: Ray gives its node 30 seconds, which are too few beside much other work
# read when Ray is loaded and started: no report to its makers; workers of the priority of this process, as in
# other executors; and no warning about devices that no task uses
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Ray:
    """Executor with up to ``jobs`` items at work on a Ray cluster.

    ``address``: of a running cluster; None starts one on this machine, which ends with the process. ``fn``,
    the items and the results must be picklable, and ``fn`` importable on every node. ``retries``: how often
    an item is repeated whose worker or node is lost.
    """

    jobs: int
    threads_each: int
    address: str | None = None
    retries: int = 3

    def __post_init__(self) -> None:
        check_numbers(self.jobs, self.threads_each)

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Yield results as they finish; LandbridgeError for an item that lost its worker and
        all those in its place."""
        ray = self._connected()
        remaining = iter(items)
        key, function = uuid.uuid4().hex, _stored(ray, pickle.dumps(fn))
        # a task that asks for more than any node has would wait for ever
        most = max(node["Resources"].get("CPU", 1.0) for node in ray.nodes() if node["Alive"])
        task = ray.remote(_task).options(num_cpus=min(self.threads_each, most), max_retries=self.retries)
        busy: dict[Any, T] = {}

        def submit(places: int) -> None:
            for item in islice(remaining, places):
                busy[task.remote(key, function, pickle.dumps(item))] = item

        try:
            submit(self.jobs)
            while busy:
                (done,), _ = ray.wait(list(busy), num_returns=1)
                item = busy.pop(done)
                try:
                    answer = ray.get(done)
                except ray.exceptions.RayError as error:
                    raise LandbridgeError(self._death_message(item, error)) from None
                submit(1)  # before the yield: the caller may take long
                yield outcome(answer, item)
        finally:
            for left in busy:
                ray.cancel(left, force=True)

    def started(self) -> AbstractContextManager[Executor]:
        """Itself: the workers of a cluster stay."""
        return nullcontext(self)

    @contextmanager
    def shared(self, make: Callable[[], A], callers: int) -> Iterator[tuple[A, Executor] | None]:
        """A stand-in for the value, which is in a process of its own (an actor) on the node of this one, so
        that it finds the same files."""
        ray = self._connected()
        if callers > self.jobs or callers * self.threads_each > ray.cluster_resources().get("CPU", 0):
            yield None
            return
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        name = f"landbridge-{uuid.uuid4().hex}"
        actor = (
            ray.remote(_Actor)
            .options(
                name=name,
                namespace=name,
                num_cpus=0,
                max_concurrency=callers + 1,
                scheduling_strategy=NodeAffinitySchedulingStrategy(
                    ray.get_runtime_context().get_node_id(), soft=False
                ),
            )
            .remote(pickle.dumps(make))
        )
        try:
            # what the others share with one that is lost would wait for ever
            yield cast(A, _StandIn(name)), replace(self, retries=0)
        finally:
            ray.kill(actor)

    def _death_message(self, item: object, error: Exception) -> str:
        more = f", {self.retries} more in its place" if self.retries else ""
        return (
            f"The Ray worker at {item} was lost{more} ({type(error).__name__}): if memory ran out, use fewer "
            "jobs."
        )

    def _connected(self) -> Any:
        """Ray, connected to a cluster; that of an earlier call is used again."""
        with environment(variables(self.threads_each)):
            ray = _ray()
            if not ray.is_initialized():
                _start(ray, self.address, self.jobs * self.threads_each)
        return ray


def variables(threads_each: int) -> dict[str, str]:
    """The environment in which Ray and its nodes are started on this machine."""
    # workers import from where this process does
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return VARIABLES | path | dict.fromkeys(THREAD_VARIABLES, str(threads_each))


def _start(ray: Any, address: str | None, processors: int) -> None:
    """Connect to the cluster at an address, or start one here with so many processors."""
    local = {"num_cpus": processors, "include_dashboard": False} if address is None else {}
    for left in reversed(range(STARTS if address is None else 1)):
        try:
            ray.init(address or "local", log_to_driver=False, logging_level="error", **local)
            return
        except Exception as error:  # it raises every kind, a bare Exception where its node was too slow
            ray.shutdown()
            if not left:
                where = "could be started here" if address is None else f"answers at {address}"
                said = str(error).strip().partition("\n")[0]
                raise LandbridgeError(f"No Ray cluster {where}: {said}") from error


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingExtraError("A Ray cluster needs ray: pip install 'landbridge[ray]'.") from None
    return ray


def _stored(ray: Any, value: bytes) -> tuple[Any, ...]:
    """The objects of the store that hold the value."""
    return tuple(ray.put(value[part]) for part in blocks(len(value), BLOCK))


class _Actor:
    """A value in a process of its own; calls and answers are pickled as those of tasks are."""

    def __init__(self, make: bytes) -> None:
        self.value = pickle.loads(make)()

    def call(self, name: str, words: bytes) -> bytes:
        method = getattr(self.value, name)
        return attempt(lambda: lambda each: method(*each), words)


@dataclass(frozen=True)
class _StandIn:
    """Calls the methods of a value at an actor."""

    actor: str

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(self._call, name)

    def _call(self, name: str, *words: object) -> Any:
        ray = _ray()
        actor = ray.get_actor(self.actor, namespace=self.actor)
        return outcome(ray.get(actor.call.remote(name, pickle.dumps(words))), name)


_LAST: dict[str, Callable[[Any], object]] = {}  # the function of the map that this worker is at


def _task(key: str, function: Sequence[Any], item: bytes) -> bytes:
    """One item, in a worker."""

    def loaded() -> Callable[[Any], object]:
        if key not in _LAST:
            _LAST.clear()
            _LAST[key] = pickle.loads(b"".join(_ray().get(list(function))))
        return _LAST[key]

    return attempt(loaded, item)

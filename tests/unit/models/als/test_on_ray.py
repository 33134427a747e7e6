"""ALS on two Ray nodes: the bits of one process, also where a node is killed in the middle of a sweep."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from placements import fitted, sha256, two_domains

import landbridge as lb
from landbridge.core.parallel import Executor, environment
from landbridge.core.ray_executor import Ray, variables
from landbridge.models.als import sharded, solver

T = TypeVar("T")
R = TypeVar("R")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each."""
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'landbridge[ray]' brings it.")
    from ray.cluster_utils import Cluster

    with environment(variables(1)):
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes.add_node(num_cpus=1)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@dataclass
class LosesANode:
    """Ray, which loses a node after some blocks."""

    ray: Ray
    lose: Callable[[], None]
    after: int
    threads_each: int = 1
    done: list[object] = field(default_factory=list)

    def map(self, fn: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        for result in self.ray.map(fn, items):
            self.done.append(result)
            if len(self.done) == self.after:
                self.lose()
            yield result

    def started(self) -> AbstractContextManager[Executor]:
        return nullcontext(self)

    def shared(self, make: Callable[[], R], callers: int) -> AbstractContextManager[R | None]:
        return self.ray.shared(make, callers)


def test_domains_of_cdimf_are_actors_with_the_bits_of_one_process(cluster: Any) -> None:
    data = two_domains()
    method = lb.CDIMF(factors=8, epochs=2).with_settings({"admm.tolerance": 0.01})
    alone = method.fit(data, lb.FitOptions(threads=1))
    apart = method.fit(data, lb.FitOptions(threads=1, executor=Ray(2, 1, cluster.address)))
    assert sha256(apart) == sha256(alone)
    assert apart.log == alone.log


def test_two_nodes_and_one_that_is_killed(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "ROWS", solver.BLOCK_ROWS)
    data = two_domains()
    alone = fitted(data, None)
    ray = Ray(2, 1, cluster.address)
    assert fitted(data, ray) == alone
    assert alive() == 2
    (worker,) = (node for node in cluster.list_all_nodes() if not node.head)
    losing = LosesANode(ray, lambda: cluster.remove_node(worker, allow_graceful=False), 8)
    assert fitted(data, losing) == alone  # in the second sweep's half step of the users
    assert len(losing.done) == 23  # six blocks in each of three sweeps, five of the users at last
    for _ in range(300):  # the cluster notes a death after some seconds
        if alive() == 1:
            break
        time.sleep(0.1)
    assert alive() == 1


def alive() -> int:
    """Nodes of the cluster."""
    import ray

    return sum(node["Alive"] for node in ray.nodes())

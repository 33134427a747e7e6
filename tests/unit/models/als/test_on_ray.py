"""ALS on two Ray nodes: the bits of one process, also where a node is killed in the middle of a sweep."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from placements import fitted, sha256, two_domains

import landbridge as lb
from landbridge.core.errors import LandbridgeError
from landbridge.core.files import read_arrays
from landbridge.core.parallel import Executor, environment
from landbridge.core.progress import Silent
from landbridge.core.ray_executor import Ray, variables
from landbridge.models.als import sharded, solver
from landbridge.training.epochs import FILE

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

    def shared(
        self, make: Callable[[], R], callers: int
    ) -> AbstractContextManager[tuple[R, Executor] | None]:
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


def test_a_node_that_is_killed_costs_cdimf_an_epoch_at_most(cluster: Any, tmp_path: Path) -> None:
    """The fit ends with a sentence, and goes on in one process."""
    data, method = two_domains(), lb.CDIMF(factors=8, epochs=40)
    ray = Ray(2, 1, cluster.address)
    left = [node for node in cluster.list_all_nodes() if not node.head]
    node = left[0] if left else cluster.add_node(num_cpus=1)
    wait_for(lambda: alive() == 2)
    watch = threading.Thread(target=lambda: (wait_for((tmp_path / FILE).exists), remove(cluster, node)))
    watch.start()
    with pytest.raises(LandbridgeError, match=r"The Ray worker at (books|films) was lost"):
        method.fit(data, lb.FitOptions(threads=1, executor=ray, work_dir=tmp_path))
    watch.join()
    kept = len(read_arrays(tmp_path / FILE)[1]["log"])
    assert 0 < kept < 40
    counted = Epochs()
    resumed = method.fit(data, lb.FitOptions(threads=1, work_dir=tmp_path, progress=counted))
    assert sha256(resumed) == sha256(method.fit(data, lb.FitOptions(threads=1)))
    assert counted.begun == 40 - kept


class Epochs(Silent):
    """Counts the epochs of a fit."""

    def __init__(self) -> None:
        self.begun = 0

    @contextmanager
    def task(self, title: str, total: int, seconds: float | None = None) -> Iterator[Any]:
        yield self

    def step(self, done: int, facts: Any) -> None:
        self.begun += 1


def remove(cluster: Any, node: Any) -> None:
    cluster.remove_node(node, allow_graceful=False)


def wait_for(done: Callable[[], bool]) -> None:
    for _ in range(15_000):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError


def alive() -> int:
    """Nodes of the cluster."""
    import ray

    return sum(node["Alive"] for node in ray.nodes())

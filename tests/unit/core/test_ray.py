"""Ray: the same results, a lost worker or node costs its items alone, and errors are one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from errands import bad_data, killed, killed_once, slower_first, square, who

from landbridge.core import ray_executor
from landbridge.core.errors import DataError, LandbridgeError, MissingExtraError
from landbridge.core.parallel import THREAD_VARIABLES, in_order
from landbridge.core.ray_executor import Ray

WITHOUT = "Ray is an extra: pip install 'landbridge[ray]' brings it."


@pytest.fixture(scope="module")
def here() -> Iterator[Ray]:
    """A cluster on this machine, which the first map starts."""
    ray = pytest.importorskip("ray", reason=WITHOUT)
    yield Ray(2, 1)
    ray.shutdown()


def test_every_item_is_done_once_in_workers_with_few_threads(here: Ray) -> None:
    assert sorted(here.map(square, range(7))) == [square(number) for number in range(7)]
    assert list(here.map(square, [])) == []
    for process, limits, _ in here.map(who, range(2)):
        assert process != os.getpid()
        assert limits == dict.fromkeys(THREAD_VARIABLES, "1")
    assert os.environ.get("RAY_USAGE_STATS_ENABLED") is None  # put back


def test_results_wait_and_errors_name_their_item(here: Ray) -> None:
    assert list(in_order(here, slower_first, range(5))) == list(range(5))
    with pytest.raises(DataError, match=r"^7: There is no column 'user'\.$"):
        list(here.map(bad_data, [7]))


def test_what_a_function_holds_is_stored_in_blocks(here: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    sizes: list[int] = []
    put = ray.put
    monkeypatch.setattr(ray_executor, "BLOCK", 1000)

    def counted(value: bytes) -> object:
        sizes.append(len(value))
        return put(value)

    monkeypatch.setattr(ray, "put", counted)
    assert list(here.map(b"0123456789".__mul__, [1])) == [b"0123456789"]
    assert list(here.map(bytes(2500).startswith, [b"\0"])) == [True]
    assert sizes[1:-1] == [1000, 1000]
    assert sizes[-1] < 1000


def test_a_killed_worker_costs_its_item_and_one_that_always_dies_is_a_sentence(
    here: Ray, tmp_path: Path
) -> None:
    assert list(here.map(killed_once, [(str(tmp_path), 3)])) == [3]
    assert [mark.name for mark in tmp_path.iterdir()] == ["3"]
    for retries, more in ((0, r" \("), (1, ", 1 more in its place")):
        with pytest.raises(LandbridgeError, match=f"^The Ray worker at 4 was lost{more}"):
            list(replace(here, retries=retries).map(killed, [4]))


def test_without_ray_or_without_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'landbridge\[ray\]'"):
        list(Ray(1, 1).map(square, [1]))

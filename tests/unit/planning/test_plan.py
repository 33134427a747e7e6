"""Plans: on one node they are estimates, on more they divide by what a method says, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.core.errors import SettingsError
from landbridge.data.counts import Counts
from landbridge.models import registry
from landbridge.models.cost import Division, Work
from landbridge.planning import machine
from landbridge.planning.estimate import estimate
from landbridge.planning.plan import Cluster, methods_of, plans

COUNTS = Counts.of_totals(100_000, 30_000, 3_000_000, 3)
HERE = machine.DEFAULT
FREE = Cluster(network=inf)  # messages take no time


@pytest.mark.parametrize("name", ["ials", "cdimf", "ease", "itemknn", "bprmf", "lightgcn"])
def test_one_node_of_one_thread_is_the_estimate(name: str) -> None:
    method = registry.method(name)()
    (alone,) = plans([method], COUNTS, HERE, [1], Cluster())
    found = estimate(method, COUNTS, HERE)
    assert alone.fit == pytest.approx(found.fit)
    assert alone.epoch == pytest.approx(found.epoch)
    assert alone.total == pytest.approx(found.total)
    assert (alone.node, alone.first) == pytest.approx((found.memory, found.memory))
    assert (alone.disk, alone.moved) == (pytest.approx(found.disk), 0)


def test_rows_divide_among_nodes_but_for_the_basis() -> None:
    method = registry.method("ials")()
    rows = 3 * 100_000 + 30_000  # users of three tables, items
    # the eigenproblems of both half steps of three domains, and YQ of all rows
    basis = HERE.unit.eigen * 2 * 3 * 64**3 + HERE.unit.product * 2 * rows * 64**2
    one, two, many = plans([method], COUNTS, HERE, [1, 2, 10**6], FREE)
    assert two.epoch - basis == pytest.approx((one.epoch - basis) / 2)
    assert many.epoch == pytest.approx(basis, rel=0.01)
    fixed = 4 * 64 * 100_000  # the users while items are solved
    assert many.node == pytest.approx(HERE.process.bytes + fixed, rel=0.001)
    assert one.first == two.first == many.first > two.node > many.node


def test_domains_do_not_divide() -> None:
    method = registry.method("cdimf")()
    one, two, three, more = plans([method], COUNTS, HERE, [1, 2, 3, 50], FREE)
    assert two.epoch == pytest.approx(one.epoch * 2 / 3)  # three equal domains on two nodes
    assert three.epoch == pytest.approx(one.epoch / 3)
    assert more.epoch == three.epoch


def test_the_network_takes_its_time() -> None:
    method = registry.method("ials")()
    (free,), (slow,) = (plans([method], COUNTS, HERE, [4], each) for each in (FREE, Cluster(network=1e6)))
    # users of three tables and items; the events of each half step
    assert slow.moved == pytest.approx(4 * 64 * (3 * 100_000 + 30_000) + 2 * 4 * 3_000_000)
    assert slow.epoch - free.epoch == pytest.approx(2 * slow.moved / 1e6)
    assert slow.fit - free.fit == pytest.approx(12 * 2 * slow.moved / 1e6)


def test_threads_divide_the_work_of_a_node() -> None:
    method = registry.method("ease")()
    (one,), (four,) = (plans([method], COUNTS, HERE, [1], Cluster(threads=each)) for each in (1, 4))
    assert four.fit == pytest.approx(one.fit / 4)
    assert four.node == one.node


def test_memory_is_enough_or_not() -> None:
    method = registry.method("ials")()
    (known,) = plans([method], COUNTS, HERE, [1], Cluster())
    assert known.fits is None
    for room, enough in ((1.01, True), (0.99, False)):
        (found,) = plans([method], COUNTS, HERE, [1], Cluster(memory=known.first * room))
        assert found.fits is enough


def test_a_method_that_does_not_divide_is_on_one_node() -> None:
    assert [each.nodes for each in plans([registry.method("bprmf")()], COUNTS, HERE, [2, 4], FREE)] == [1]


def test_methods_by_default_divide_and_factors_are_tried() -> None:
    found = methods_of((), {}, [32, 64], COUNTS)
    assert {each.name for each in found} == {"ials", "cdimf", "ease", "itemknn"}
    assert [each.flat().get("factors") for each in found if each.name == "ials"] == [32, 64]
    assert len([each for each in found if each.name == "ease"]) == 1
    (named,) = methods_of(["cdimf"], {"reg": 3.0}, [16], COUNTS)
    assert (named.flat()["reg"], named.flat()["factors"]) == (3.0, 16)


def test_impossible_plans() -> None:
    method = registry.method("ials")()
    with pytest.raises(SettingsError, match="nodes must be 1 or more, not 0"):
        plans([method], COUNTS, HERE, [1, 0], FREE)
    with pytest.raises(SettingsError, match="threads must be above 0, not 0"):
        Cluster(threads=0)
    with pytest.raises(SettingsError, match="neumf does not say what a fit costs"):
        plans([registry.method("neumf")()], COUNTS, HERE, [1], FREE)
    with pytest.raises(SettingsError, match="Name the method"):
        methods_of((), {"reg": 3.0}, [64], COUNTS)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_parts_are_shared_nearly_as_well_as_they_can_be(sizes: list[int], nodes: int) -> None:
    division = Division(parts=tuple(Work(row=float(size)) for size in sizes))
    share = division.share(nodes, Work(row=0.5))
    best = min(
        max(
            sum(size for size, node in zip(sizes, places, strict=True) if node == each)
            for each in range(nodes)
        )
        for places in product(range(nodes), repeat=len(sizes))
    ) / sum(sizes)
    # Graham 1969: the longest first is within 4/3 - 1/3N of the best
    assert best - 1e-12 <= share <= best * (4 / 3 - 1 / (3 * nodes)) + 1e-12


def test_work_without_a_constant_has_a_share() -> None:
    assert replace(Division(), parts=(Work(row=1.0),)).share(2, Work()) == 0

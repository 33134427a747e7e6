"""Costs: equations against operations counted one by one, and against the arrays of fitted models."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import timed, uneven

from landbridge.core.types import Record
from landbridge.data.counts import Counts, RowLengths, TableCounts
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling import sequences
from landbridge.data.sampling.domain_batches import DomainBatches
from landbridge.data.sampling.sequences import Windows
from landbridge.models import registry
from landbridge.models.als import cost as als_cost
from landbridge.models.als import solver as als
from landbridge.models.base import Method
from landbridge.models.cost import Work
from landbridge.models.linear import cost as linear_cost
from landbridge.models.pairwise import cost as pairwise_cost
from landbridge.models.towers.cost import JointSteps, dense_work
from landbridge.training.options import FitOptions

COSTED = [name for name in registry.names() if registry.method(name).cost is not Method.cost]
BASE = (2000, 1000, 20_000)  # users, items, events
SMALL: dict[str, Record] = {
    "bitgcf": {"factors": 4, "epochs": 1},
    "bprmf": {"factors": 4, "epochs": 1},
    "catart": {"factors": 4, "epochs": 1, "adaptation.epochs": 1},
    "cdimf": {"factors": 4, "epochs": 1},
    "emcdr": {"factors": 4, "epochs": 1},
    "gamtcdr": {"factors": 4, "epochs": 1},
    "herograph": {"factors": 4, "epochs": 1},
    "ials": {"factors": 4, "epochs": 1},
    "itemknn": {"neighbours": 1000},
    "ease": {"neighbours": 1000},
    "lightgcn": {"factors": 4, "epochs": 1},
    "mvdnn": {"factors": 4, "layers": [4], "epochs": 1},
    "recsysdan": {"factors": 4, "epochs": 1},
    "unicdr": {"factors": 4, "epochs": 1},
    "sasrec": {"encoder.factors": 4, "encoder.hidden": 8, "epochs": 1},
    "seqrules": {"neighbours": 1000},
}


def row(length: int) -> RowLengths:
    return RowLengths.of(np.array([length]))


def counted_gramian(rows: int, size: int) -> int:
    """Operations of the lower triangle of tiles of 4 × 4, one by one."""
    return sum(2 * size for i in range(0, rows, 4) for j in range(0, i + 1, 4) for _ in range(16))


def counted_cholesky(n: int) -> int:
    """Multiplications and subtractions below the diagonal and on it."""
    return sum(2 for i in range(n) for j in range(i + 1) for _ in range(j))


@pytest.mark.parametrize(("length", "factors"), [(8, 32), (12, 64), (16, 32), (40, 32), (128, 64)])
def test_a_row_of_als_by_counting(length: int, factors: int) -> None:
    work = als_cost.rows_work(row(length), factors)
    rows, size = (length, factors) if length < factors else (factors, length)
    assert work.tile == counted_gramian(rows, size)
    assert work.cholesky == pytest.approx(counted_cholesky(rows), rel=0.05 + 1.5 / rows)
    assert work.triangle == rows**2
    assert work.find == length


def test_conjugate_gradients_pass_over_the_row_once_per_step() -> None:
    work, factors, length = als_cost.rows_work(row(200), 64, als.AUTO), 64, 200
    # a product and a sum per number, for the residual and for each step
    assert work.step == sum(
        2 for _ in range(als_cost.STEPS + 1) for _ in range(length) for _ in range(factors)
    )
    assert work.tile == work.cholesky == 0
    assert als_cost.rows_work(row(8), 64, als.AUTO) == als_cost.rows_work(row(8), 64)


def test_additions_of_co_occurrences_by_counting() -> None:
    data = uneven()
    (table, _), counts = data.joined(), Counts.of(data)
    additions = sum(
        1
        for item in range(table.n_items)
        for user in table.user_idx[table.item_idx == item]
        for _ in table.item_idx[table.user_idx == user]
    )
    method = registry.method("itemknn")()
    assert _work(method, counts).scatter == additions
    assert _work(method.with_settings({"sharing": "separate"}), counts).scatter == sum(
        int((events.user_counts**2).sum()) for events in data.domains.values()
    )


@pytest.mark.parametrize("sharing", ["cross", "separate"])
def test_additions_of_sequential_rules_by_counting(sharing: str) -> None:
    data = timed(uneven())
    method = registry.method("seqrules").from_settings({"sharing": sharing, "window": 3})
    worlds = [data] if sharing == "cross" else [data.select([name]) for name in data.domain_names]
    additions = sum(
        min(place, 3)
        for world in worlds
        for length in sequences.user_histories(world).lengths
        for place in range(length)
    )
    assert _work(method, Counts.of(data)).scatter == additions


def test_touched_items_of_independent_events() -> None:
    rng = np.random.default_rng(0)
    popularity_I = 1 / np.arange(1, 301)
    user_idx = np.repeat(np.arange(400), 12)
    item_idx = rng.choice(300, len(user_idx), p=popularity_I / popularity_I.sum())
    seen_UI = np.zeros((400, 300), bool)
    seen_UI[user_idx, item_idx] = True
    table = TableCounts(RowLengths.of(seen_UI.sum(axis=1)), RowLengths.of(seen_UI.sum(axis=0)))
    found = linear_cost.neighbours(table, table.items, 20)
    together_II = seen_UI.T.astype(int) @ seen_UI
    touched_I = (together_II > 0).sum(axis=1)
    # within a user no item occurs twice, which the formula does not know
    assert found.total(found.touched_KQ) == pytest.approx(touched_I.sum(), rel=0.15)
    assert found.total(found.kept_KQ) == pytest.approx(np.minimum(touched_I, 20).sum(), rel=0.05)


def test_touched_rows_of_a_batch_by_drawing() -> None:
    rng = np.random.default_rng(0)
    lengths_U, lengths_I = np.full(50, 6), np.full(30, 10)
    table = TableCounts(RowLengths.of(lengths_U), RowLengths.of(lengths_I))
    drawn = [
        len(np.unique(rng.integers(0, 50, 40)))
        + len(np.unique(np.append(rng.integers(0, 30, 40), rng.integers(0, 30, 40))))
        for _ in range(500)
    ]
    assert pairwise_cost.touched_rows(table, 40) == pytest.approx(np.mean(drawn), rel=0.01)


@pytest.mark.parametrize("mixed", [True, False])
def test_windows_of_sequences_by_making_them(mixed: bool) -> None:
    data = timed(uneven(users=80))
    rows = sequences.user_histories(data) if mixed else sequences.domain_histories(data)
    own = {} if mixed else {"cross_domain.own_history": True, "cross_domain.mixed_history": False}
    method = registry.method("sasrec").from_settings({"encoder.max_length": 4, "batch_size": 1} | own)
    cost = method.cost(Counts.of(data))
    assert cost is not None
    windows = Windows(rows, 4, 1)
    steps = np.mean([sum(1 for _ in windows.epoch(number)) for number in range(20)])
    calls = cost.epoch.call / (150 + 60 * 2)
    assert calls == pytest.approx(steps, rel=0.05)
    targets = int(np.maximum(rows.lengths - 1, 0).sum())
    assert cost.epoch.exponential == targets * Counts.of(data).joined.n_items


def test_a_second_reading_costs_the_blocks_once_more() -> None:
    counts = Counts.of(timed(uneven(users=80)))
    one, two = (
        registry.method("sasrec").from_settings({"cross_domain.own_history": own, **blocks}).cost(counts)
        for own, blocks in ((False, {"encoder.blocks": 2}), (True, {"encoder.blocks": 1}))
    )
    assert one is not None
    assert two is not None
    assert one.epoch.network == two.epoch.network


def test_rows_that_steps_touch_are_those_of_batches() -> None:
    """Distinct users and items of the batches that a fit takes, a user of several domains once."""
    data = uneven({"a": (40, 60), "b": (30, 50)}, users=50)
    steps = JointSteps(Counts.of(data), 8, 30, 2)
    batches = DomainBatches(data, 30, "domain", 2, seed=0)
    taken = [step for epoch in range(40) for step in batches.steps(epoch)]
    assert steps.number == pytest.approx(len(taken) / 40)
    items = [sum(len(np.unique(batch.item_NJ)) for batch in step.values()) for step in taken]
    users = [len(np.unique(np.concatenate([batch.user_N for batch in step.values()]))) for step in taken]
    # a user's events in a shuffled epoch are drawn without replacement, which the formula does not know
    assert steps.touched_in_all() == pytest.approx(np.mean(items) + np.mean(users), rel=0.1)


def test_layers_by_counting() -> None:
    work = dense_work(3, (4, 5, 2))
    one_pass = sum(2 for _ in range(3) for a, b in ((4, 5), (5, 2)) for _ in range(a) for _ in range(b))
    assert work.network == 3 * one_pass
    assert work.pointwise == 3 * 3 * (5 + 2)


@pytest.mark.parametrize("name", COSTED)
def test_the_model_has_as_many_bytes_as_its_arrays(name: str) -> None:
    data = timed(uneven())
    method = registry.method(name).from_settings(SMALL.get(name, {}))
    if "neural" in method.needs:
        pytest.importorskip("torch")
    arrays = method.fit(data, FitOptions(threads=1)).state()[0].values()
    different = {array.__array_interface__["data"][0]: array.nbytes for array in arrays}
    cost = method.cost(Counts.of(data))
    assert cost is not None
    assert cost.model == pytest.approx(sum(different.values()), rel=0.25)


@pytest.mark.parametrize("name", COSTED)
@settings(max_examples=40, deadline=None)
@given(
    users=st.integers(2, 3000), items=st.integers(2, 3000), each=st.integers(1, 30), more=st.integers(1, 20),
    domains=st.integers(1, 2),
)  # fmt: skip
def test_more_events_and_more_users_cost_more(
    name: str, users: int, items: int, each: int, more: int, domains: int
) -> None:
    method = registry.method(name)()
    events = min(users * each, users * items)
    fewer = method.cost(Counts.of_totals(users, items, events, domains))
    denser = method.cost(Counts.of_totals(users, items, min(events + more * users, users * items), domains))
    # each new user with as many events as the others
    larger = method.cost(Counts.of_totals(users * (1 + more), items, events * (1 + more), domains))
    assert fewer is not None
    assert denser is not None
    assert larger is not None
    unit = Work(*(1e-9 for _ in asdict(Work())))
    for other in (denser, larger):
        assert other.work.seconds(unit) >= 0.999 * fewer.work.seconds(unit)
        assert other.peak >= 0.999 * fewer.peak
        assert other.model >= 0.999 * fewer.model


@pytest.mark.parametrize("grown", [(2000, 1000, 40_000), (4000, 1000, 40_000), (2000, 2000, 20_000)])
@pytest.mark.parametrize("name", COSTED)
def test_peak_memory_grows_with_events_users_and_items(name: str, grown: tuple[int, int, int]) -> None:
    base, more = (registry.method(name)().cost(Counts.of_totals(*totals)) for totals in (BASE, grown))
    assert base is not None
    assert more is not None
    assert more.peak > base.peak


def test_work_adds_and_scales() -> None:
    one, two = Work(product=2, sort=3), Work(sort=4, call=1)
    assert one + two == Work(product=2, sort=7, call=1)
    assert one * 2 == Work(product=4, sort=6)
    assert (one + two).seconds(Work(product=10, sort=1, call=100)) == 20 + 7 + 100


def test_a_method_may_say_nothing() -> None:
    data: MultiDomain = uneven()
    assert registry.method("neumf")().cost(Counts.of(data)) is None


def _work(method: Method, counts: Counts) -> Work:
    cost = method.cost(counts)
    assert cost is not None
    return replace(cost.work)

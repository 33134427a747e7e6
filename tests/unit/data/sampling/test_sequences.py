"""Sequences in time, and the windows cut from them, against slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import timed, uneven

from landbridge.core.errors import DataError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.data.sampling import sequences
from landbridge.data.sampling.sequences import Windows


def slow_history(data: MultiDomain, user: int) -> list[tuple[int, int]]:
    """(time, joined item) of a user's events, oldest first."""
    found, start = [], 0
    for table in data.domains.values():
        assert table.time is not None
        own = table.user_idx == user
        found += list(zip(table.time[own].tolist(), (table.item_idx[own] + start).tolist(), strict=True))
        start += table.n_items
    return sorted(found)


def row(rows: Ragged, number: int) -> list[int]:
    return rows.columns[rows.offsets[number] : rows.offsets[number + 1]].tolist()


def ragged(lengths: list[int]) -> Ragged:
    """Items are numbered through, so that an item's row and place are known."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ragged(offsets, np.arange(offsets[-1], dtype=np.int32), None)


def test_events_of_all_domains_stand_in_the_order_of_time() -> None:
    data = uneven()
    rows = sequences.user_histories(data)
    for user in range(data.n_users):
        assert row(rows, user) == [item for _, item in slow_history(data, user)]


def test_equal_times_are_shuffled_alike_in_any_history() -> None:
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(50), 20), np.concatenate([rng.permutation(40)[:20] for _ in range(50)])
    whole = of_one(Interactions.from_events(users, items, 50, 40, time=np.zeros(1000)))
    some = whole.with_events({"a": whole["a"].take(np.arange(1000) % 3 > 0)})
    rows, part = sequences.user_histories(whole), sequences.user_histories(some)
    assert any(row(rows, user) != sorted(row(rows, user)) for user in range(50))
    for user in range(50):
        assert row(part, user) == [item for item in row(rows, user) if item in row(part, user)]


def of_one(table: Interactions) -> MultiDomain:
    from worlds import of_tables

    return of_tables({"a": table})


def test_without_time_stamps_there_is_no_sequence() -> None:
    table = Interactions.from_events([0, 0], [0, 1], 1, 2)
    with pytest.raises(DataError, match="Domain 'a' has no time stamps"):
        sequences.user_histories(of_one(table))


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=12),
    st.integers(1, 8),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_every_event_but_the_last_is_an_input_once(
    lengths: list[int], length: int, size: int, horizon: int, number: int
) -> None:
    rows = ragged(lengths)
    inputs: list[int] = []
    for window in Windows(rows, length, size, horizon, seed=5).epoch(number):
        assert window.input_BL.shape[1] <= length
        assert len(window.row_B) <= size
        for input_L, target_L, user, gap_L in zip(*window, strict=True):
            count = int((input_L >= 0).sum())
            assert (input_L[count:] == -1).all()
            assert (target_L[count:] == -1).all()
            assert (gap_L == (input_L >= 0)).all()  # rows without times have weights of 1
            assert (np.diff(input_L[:count]) == 1).all()
            ahead = target_L[:count] - input_L[:count]
            assert (ahead >= 1).all()
            assert (ahead <= horizon).all()
            assert (target_L[:count] < rows.offsets[user + 1]).all()
            assert (input_L[:count] >= rows.offsets[user]).all()
            inputs += input_L[:count].tolist()
    wanted = [x for r in range(len(lengths)) for x in range(rows.offsets[r], rows.offsets[r + 1] - 1)]
    assert sorted(inputs) == wanted


def test_an_epoch_is_a_function_of_its_number_and_cuts_at_other_places_than_the_next() -> None:
    windows = Windows(ragged([40] * 20), 7, 4, seed=1)
    first, again, next_one = (
        [tuple(map(bytes, (w.input_BL, w.target_BL))) for w in windows.epoch(n)] for n in (0, 0, 1)
    )
    assert first == again
    assert first != next_one
    begins = {int(b) for w in windows.epoch(0) for b in w.input_BL[:, 0] % 40}
    assert len(begins) > 20


def test_all_of_the_next_events_are_targets() -> None:
    windows = Windows(ragged([50]), 50, 1, horizon=3)
    ahead = [w.target_BL - w.input_BL for n in range(200) for w in windows.epoch(n)]
    counts = np.bincount(np.concatenate(ahead)[:, :40].ravel(), minlength=4)
    assert counts[0] == 0
    assert np.allclose(counts[1:] / counts.sum(), 1 / 3, atol=0.02)


def test_the_number_of_batches_is_a_lower_bound() -> None:
    windows = Windows(ragged([3, 17, 40, 1, 0]), 7, 2)
    assert 0 < len(windows) <= min(sum(1 for _ in windows.epoch(n)) for n in range(20))


def test_the_latest_events_of_a_row() -> None:
    items_RL, _, count_R = sequences.last_items(ragged([5, 0, 2]), 3)
    assert items_RL.tolist() == [[2, 3, 4], [-1, -1, -1], [5, 6, -1]]
    assert count_R.tolist() == [3, 0, 2]


def test_the_gap_of_an_event_is_the_time_since_the_one_before_in_powers_of_two() -> None:
    time = np.array([100, 100, 101, 108, 108 + 2**20, 5, 7])
    table = Interactions.from_events([0, 0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 4, 0, 1], 2, 5, time=time)
    rows = sequences.user_histories(of_one(table))
    assert rows.weights.tolist() == [0, 1, 2, 4, 21, 0, 2]
    _, gap_RL, _ = sequences.last_items(rows, 3)
    assert gap_RL.tolist() == [[2, 4, 21], [0, 2, 0]]
    own = Queries(np.array([-1], np.int32), {"a": Ragged.from_rows([[0, 1, 2]])}, {"a": np.array([9, 5, 6])})
    assert sequences.query_histories(of_one(table), ("a",), rows, own).weights.tolist() == [0, 2, 3]
    untimed = Queries(np.array([-1], np.int32), {"a": Ragged.from_rows([[0, 1, 2]])})
    assert sequences.query_histories(of_one(table), ("a",), rows, untimed).weights.tolist() == [0, 0, 0]


def test_a_query_is_what_it_brings_or_what_is_known() -> None:
    data = uneven()
    history = sequences.user_histories(data)
    events = {
        "b": Ragged(np.array([0, 2, 2, 2]), np.array([3, 9], np.int32), None),
        "a": Ragged(np.array([0, 1, 1, 2]), np.array([7, 8], np.int32), None),
    }
    times = {"b": np.array([50, 10]), "a": np.array([20, 5])}
    queries = Queries(np.array([4, 5, -1], np.int32), events, times)
    found = sequences.query_histories(data, data.domain_names, history, queries)
    start = data["a"].n_items
    assert row(found, 0) == [start + 9, 7, start + 3]
    assert row(found, 1) == row(history, 5)
    assert row(found, 2) == [8]
    turned = sequences.query_histories(data, data.domain_names, history, queries.take(np.array([2, 0])))
    assert [row(turned, 0), row(turned, 1)] == [[8], [start + 9, 7, start + 3]]


def test_sequences_of_one_domain_are_those_of_the_domain_alone() -> None:
    data = timed(uneven())
    rows, users = sequences.domain_histories(data), data.n_users
    assert len(rows) == 3 * users
    queries = Queries.of_users([4, -1, 7])
    for number, (name, items) in enumerate(data.item_slices.items()):
        alone = sequences.user_histories(data.select([name]))
        own = rows.block(slice(number * users, (number + 1) * users))
        assert np.array_equal(own.offsets, alone.offsets)
        assert np.array_equal(own.columns, alone.columns + items.start)
        assert np.array_equal(own.weights, alone.weights)
        found = sequences.query_histories(data, (name,), own, queries)
        assert np.array_equal(found.columns, own.take([4, -1, 7]).columns)


def test_a_query_is_read_in_the_named_domains() -> None:
    data = uneven()
    events = {"b": Ragged.from_rows([[3, 9]]), "a": Ragged.from_rows([[7]])}
    queries = Queries(np.array([-1], np.int32), events, {"b": np.array([50, 10])})
    none = Ragged.empty(data.n_users)
    found = sequences.query_histories(data, ("b",), none, queries)
    assert row(found, 0) == [data["a"].n_items + 9, data["a"].n_items + 3]
    assert found.weights.tolist() == [0, 6]  # of b all times are known


def test_events_without_times_come_domain_by_domain_as_they_are_given() -> None:
    data = uneven()
    events = {
        "b": Ragged.from_rows([[9, 3]]),
        "a": Ragged.from_rows([[7]]),
    }
    found = sequences.query_histories(
        data, data.domain_names, sequences.user_histories(data), Queries(np.array([-1], np.int32), events)
    )
    assert row(found, 0) == [7, data["a"].n_items + 9, data["a"].n_items + 3]

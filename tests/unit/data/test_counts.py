"""Counts: histograms of rows, of data that are there and of totals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import uneven

from landbridge.core.errors import SettingsError
from landbridge.data.counts import Counts, RowLengths

TOTALS = st.tuples(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 100_000)).filter(
    lambda totals: totals[2] <= totals[0] * totals[1]
)


def test_a_histogram_has_the_sums_of_its_rows() -> None:
    lengths_R = np.array([0, 3, 1, 3, 7, 0])
    rows = RowLengths.of(lengths_R)
    assert rows.n_rows == 6
    assert rows.filled == 4
    assert rows.events == 14
    assert rows.squares == (lengths_R**2).sum()
    assert rows.longest == 7
    assert rows.total(lambda n_K: n_K**3) == (lengths_R**3).sum()


def test_rows_of_several_tables_together() -> None:
    parts = [np.array([0, 3, 1]), np.array([3, 7]), np.array([0])]
    together, whole = RowLengths.together(map(RowLengths.of, parts)), RowLengths.of(np.concatenate(parts))
    assert together.length_K.tolist() == whole.length_K.tolist()
    assert together.rows_K.tolist() == whole.rows_K.tolist()
    assert together.n_rows == whole.n_rows


def test_rows_of_drawn_events_by_enumeration() -> None:
    lengths_R = np.array([1, 2, 5, 0])
    rows = RowLengths.of(lengths_R)
    expected = sum(1 - (1 - n / 8) ** 3 for n in lengths_R)
    assert float(rows.drawn(3)) == pytest.approx(expected)
    assert rows.drawn(np.array([0.0, 3.0])) == pytest.approx([0, expected])


def test_counts_of_data() -> None:
    data = uneven()
    counts, (table, _) = Counts.of(data), data.joined()
    assert counts.joined.users.squares == (table.user_counts**2).sum()
    assert counts.joined.items.squares == (table.item_counts**2).sum()
    assert counts.events == data.n_events
    for name, events in data.domains.items():
        assert counts.domains[name].users.squares == (events.user_counts**2).sum()
        assert (counts.domains[name].n_users, counts.domains[name].n_items) == (
            events.n_users,
            events.n_items,
        )
    assert [len(counts.tables(sharing)) for sharing in ("separate", "joined", "cross")] == [3, 1, 1]


@given(TOTALS, st.integers(1, 4))
def test_assumed_rows_have_the_given_totals(totals: tuple[int, int, int], domains: int) -> None:
    users, items, events = totals
    counts = Counts.of_totals(users, items, events, min(domains, items))
    assert counts.assumed
    for rows, most in ((counts.joined.users, items), (counts.joined.items, users)):
        assert rows.events == pytest.approx(events, rel=1e-6)
        assert rows.longest <= most * (1 + 1e-9)
        assert (np.diff(rows.length_K) >= 0).all()
    assert (counts.joined.n_users, counts.joined.n_items) == (users, items)
    assert counts.events == pytest.approx(events, rel=1e-6)


@given(TOTALS)
def test_rows_of_more_events_are_longer(totals: tuple[int, int, int]) -> None:
    users, items, events = totals
    fewer, more = (Counts.of_totals(users, items, n).joined.users for n in (max(events // 2, 1), events))
    assert more.squares >= fewer.squares * (1 - 1e-9)


@pytest.mark.parametrize(
    ("totals", "sentence"),
    [
        ((0, 3, 1, 1), "users must be 1 or more, not 0"),
        ((2, 3, 7, 1), "2 users and 3 items make 6 pairs, fewer than 7 events"),
        ((9, 3, 7, 4), "4 domains need as many items"),
    ],
)
def test_impossible_totals(totals: tuple[int, int, int, int], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Counts.of_totals(*totals)

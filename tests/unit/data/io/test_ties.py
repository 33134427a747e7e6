"""Events of equal time: in the order of the rows where `ties` says so, else in none."""

from __future__ import annotations

from math import floor
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import landbridge as lb
from landbridge.core.errors import DataError, SettingsError
from landbridge.data.io.ties import in_file_order

SECONDS = st.sampled_from([1.5e9, 1.5e9 + 0.25, 1.5e9 + 0.5, 1.5e9 + 1, 1.5e9 + 2])
ROWS = st.lists(st.tuples(st.integers(0, 2), SECONDS), min_size=1, max_size=40)


@given(ROWS)
def test_times_sort_users_as_a_stable_sort_sorts_the_rows(rows: list[tuple[int, float]]) -> None:
    user, time = (pl.Series(values) for values in zip(*rows, strict=True))
    placed = in_file_order(user, time).to_list()
    for one in range(3):
        own = [place for place, (user_of, _) in enumerate(rows) if user_of == one]
        assert sorted(own, key=lambda place: placed[place]) == sorted(own, key=lambda place: rows[place][1])
        assert len({placed[place] for place in own}) == len(own)
    assert all(floor(new) == floor(old) for new, (_, old) in zip(placed, rows, strict=True))
    assert all(new >= old for new, (_, old) in zip(placed, rows, strict=True))


def test_without_ties_whole_seconds_stay_whole() -> None:
    time = in_file_order(pl.Series([1, 1, 2]), pl.Series([5, 6, 5]))
    assert time.to_list() == [5, 6, 5]
    assert time.dtype == pl.Int64


def clicks(**options: Any) -> lb.MultiDomain:
    """Each user's three clicks of one second; the last row of a user is item c."""
    rows = [(f"u{user}", f"{item}{user}", 1_700_000_000) for user in range(60) for item in "abc"]
    table = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return lb.read({"shop": table}, **options)


def test_the_last_row_is_the_last_event() -> None:
    ids = clicks().items["shop"].ids

    def held_out(data: lb.MultiDomain) -> set[str]:
        return {str(ids[item])[0] for item in lb.leave_last_out(data, seed=0).test.targets["shop"].item_idx}

    assert held_out(clicks(ties="file")) == {"c"}
    assert held_out(clicks()) == {"a", "b", "c"}


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="Unknown order of ties 'files'"):
        clicks(ties="files")
    with pytest.raises(SettingsError, match="leave out ties or memory"):
        clicks(ties="file", memory="1GB")
    timeless = pl.DataFrame({"user": [1, 2], "item": [1, 1]})
    with pytest.raises(DataError, match="no time column"):
        lb.read({"shop": timeless}, ties="file")


def test_pairs_that_were_seen_need_no_times() -> None:
    data = clicks(ties="file", seen=pl.DataFrame({"user": ["u0"], "item": ["a1"]}))
    assert len(data.seen["shop"]) == 1

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from landbridge.core.errors import SettingsError
from landbridge.evaluation.metrics import Metric
from landbridge.evaluation.segments import (
    LABELS,
    USUAL,
    adds_to_domains,
    head_items,
    user_table,
    with_segment,
)


def rows(**columns: list[object]) -> pl.DataFrame:
    size = len(next(iter(columns.values())))
    return pl.DataFrame({"domain": ["d"] * size, "candidates": [99] * size, **columns})


def test_activity_groups_at_their_edges() -> None:
    events = [0, 1, 2, 3, 5, 6, 10, 11, 30, 31, 900]
    labels = with_segment(rows(activity=events), "activity")["segment"].to_list()
    assert labels == ["0", "1-2", "1-2", "3-5", "3-5", "6-10", "6-10", "11-30", "11-30", "31+", "31+"]


def test_other_domain_events_and_duplicates() -> None:
    table = rows(other_domain_events=[0, 1, 9], is_duplicate=[True, False, True])
    assert with_segment(table, "other_domain_events")["segment"].to_list() == ["0", "1+", "1+"]
    assert with_segment(table, "duplicate")["segment"].to_list() == [
        "duplicate",
        "no duplicate",
        "duplicate",
    ]


def test_shares_of_a_user_s_events_at_their_edges() -> None:
    """Of ten, a thousand and three events, and of none at all."""
    here = [0, 1, 2, 3, 4, 5, 6, 10, 100, 101, 399, 400, 0, 1, 2, 0]
    elsewhere = [10, 9, 8, 7, 6, 5, 4, 0, 900, 899, 601, 600, 3, 2, 1, 0]
    low, some, forty, fifty, home = LABELS["event_share"]
    expected = [low, low, some, some, forty, fifty, home, home, low, some, some, forty, low, some, home, low]
    table = rows(activity=here, other_domain_events=elsewhere)
    assert with_segment(table, "event_share")["segment"].to_list() == expected


def test_shares_are_computed_only_on_request() -> None:
    assert set(LABELS) - set(USUAL) == {"event_share"}


def test_later_events_tell_something_only_where_some_are_known() -> None:
    known = rows(later_in_other_domains=[True, False])
    assert with_segment(known, "later_in_other_domains")["segment"].to_list() == [
        "later events elsewhere are known",
        "no later events known",
    ]
    assert adds_to_domains(known, "later_in_other_domains")
    assert not adds_to_domains(rows(later_in_other_domains=[False]), "later_in_other_domains")
    assert adds_to_domains(rows(activity=[1]), "activity")


def test_rows_that_were_divided_before_can_be_divided_again() -> None:
    table = rows(activity=[1, 9], is_duplicate=[True, False])
    again = with_segment(with_segment(table, "activity").drop("segment"), "duplicate")
    assert again["segment"].to_list() == ["duplicate", "no duplicate"]


def test_popularity_prefers_head_to_tail() -> None:
    table = rows(popularity=[50, 5, 6, 5], head=[True, True, False, False])
    assert with_segment(table, "popularity")["segment"].to_list() == ["head", "head", "torso", "tail"]


@pytest.mark.parametrize(
    ("counts", "head"),
    [
        ([1, 5, 2, 2], [1]),  # 5 of 10 events: half
        ([4, 1, 3, 2], [0, 2]),
        ([2, 2, 2, 0], [0, 1, 2]),  # equally popular: all or none
        ([0, 0], []),
    ],
)
def test_the_head_holds_half_of_the_events(counts: list[int], head: list[int]) -> None:
    assert np.flatnonzero(head_items(np.array(counts))).tolist() == head


def test_segments_keep_their_natural_order() -> None:
    table = pl.DataFrame(
        {
            "domain": ["z", "a", "z", "z"],
            "user": [1, 1, 2, 3],
            "item": [0, 0, 1, 2],
            "above": [0, 0, 0, 0],
            "candidates": 99,
            "ties": [0, 0, 0, 0],
            "activity": [31, 6, 11, 2],
        }
    )
    found = user_table(table, Metric("hr", 1), "activity", sampled=False)
    assert found.select("domain", "segment").rows() == [
        ("z", "1-2"),
        ("z", "11-30"),
        ("z", "31+"),
        ("a", "6-10"),
    ]


def test_a_list_of_several_or_pairs_one_by_one() -> None:
    table = rows(user=[4, 4, 7], item=[1, 2, 1], above=[0, 1, 5], ties=[0, 0, 0])
    whole = user_table(table, Metric("precision", 2), "domain", sampled=False)
    assert whole.select("user", "total", "count", "rows").rows() == [(4, 1.0, 1, 2), (7, 0.0, 1, 1)]
    pairs = user_table(table, Metric("precision", 2), "domain", sampled=True)
    assert pairs.select("user", "total", "count", "rows").rows() == [(4, 1.0, 2, 2), (7, 0.0, 1, 1)]


def test_an_unknown_segment_is_refused() -> None:
    with pytest.raises(SettingsError, match="did you mean 'activity'"):
        with_segment(rows(activity=[1]), "activty")


def test_a_former_name_of_a_segment_works_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="'twin' is now 'duplicate'"):
        former = with_segment(rows(is_duplicate=[True, False, True]), "twin")
    assert former["segment"].to_list() == ["duplicate", "no duplicate", "duplicate"]

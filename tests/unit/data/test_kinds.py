"""What events of several kinds say of a pair: learned from, seen, or disliked."""

from __future__ import annotations

import polars as pl
import pytest

import landbridge as lb
from landbridge.core.errors import DataError
from landbridge.data.interactions import DAY
from landbridge.data.kinds import LEAST_WEIGHT, EventKinds

SHOP = pl.DataFrame(
    {
        "user": ["ann", "ann", "ann", "ann", "bob", "bob", "cid", "ann"],
        "item": ["lamp", "lamp", "desk", "sofa", "lamp", "sofa", "desk", "sofa"],
        "kind": ["buy", "view", "view", "like", "view", "buy", "impression", "dislike"],
        "time": [1, 2, 3, 4, 5, 6, 7, 8],
    }
)


def learned(data: lb.MultiDomain, domain: str = "events") -> dict[tuple[object, object], float]:
    table = data[domain]
    users, items = data.users.ids[table.user_idx].tolist(), data.items[domain].ids[table.item_idx].tolist()
    weights = table.by_user.weights.tolist()
    return {
        pair: round(weight, 4) for pair, weight in zip(zip(users, items, strict=True), weights, strict=True)
    }


def seen(data: lb.MultiDomain, domain: str = "events") -> dict[tuple[object, object], bool]:
    if domain not in data.seen:
        return {}
    pairs = data.seen[domain].pairs
    users, items = data.users.ids[pairs.user_idx].tolist(), data.items[domain].ids[pairs.item_idx].tolist()
    return dict(zip(zip(users, items, strict=True), data.seen[domain].disliked_N.tolist(), strict=True))


def test_a_pair_weighs_what_its_strongest_kind_does_and_the_last_word_decides() -> None:
    data = lb.read(SHOP)
    assert learned(data) == {
        ("ann", "lamp"): 1.0,
        ("ann", "desk"): 0.2,
        ("bob", "lamp"): 0.2,
        ("bob", "sofa"): 1.0,
    }
    # liked first, disliked later; an impression is no interest
    assert seen(data) == {("ann", "sofa"): True, ("cid", "desk"): False}


def test_a_like_after_a_dislike_is_a_like() -> None:
    later = SHOP.with_columns(time=-pl.col("time"))
    assert learned(lb.read(later))["ann", "sofa"] == 1.0
    assert seen(lb.read(later)) == {("cid", "desk"): False}


def test_given_kinds_take_the_place_of_the_usual_ones() -> None:
    data = lb.read(SHOP, kinds={"view": "seen", "buy": 3, "dislike": "seen"})
    assert learned(data) == {("ann", "lamp"): 3.0, ("ann", "sofa"): 1.0, ("bob", "sofa"): 3.0}
    # desk has only been viewed: no list can hold what no model knows
    assert seen(data) == {("bob", "lamp"): False}
    assert data.users.ids.tolist() == ["ann", "bob"]


def test_weights_of_events_and_of_kinds_multiply_and_sum_adds_them() -> None:
    weighted = SHOP.with_columns(weight=pl.lit(2.0))
    assert learned(lb.read(weighted))["ann", "desk"] == 0.4
    assert learned(lb.read(weighted, duplicates="sum"))["ann", "lamp"] == 2.4


def test_the_kinds_of_a_pair_are_kept() -> None:
    data = lb.read(SHOP)
    table, bits = data["events"], data.kinds
    assert table.kinds is not None
    kinds = {
        (int(u), int(i)): {name for name in bits.names if k & bits.bit(name)}
        for u, i, k in zip(table.user_idx, table.item_idx, table.kinds, strict=True)
    }
    assert kinds[0, 1] == {"buy", "view"}
    assert kinds[0, 0] == {"view"}


def test_an_event_counts_half_after_the_half_life_and_never_nothing() -> None:
    frame = pl.DataFrame(
        {"user": [1, 1, 1], "item": [1, 2, 3], "time": [10**9 - 10**5 * DAY, 10**9 - DAY, 10**9]}
    )
    data = lb.read(frame.with_columns(time=pl.col("time").clip(-(10**10))), half_life_days=1)
    assert learned(data) == {(1, 1): round(LEAST_WEIGHT, 4), (1, 2): 0.5, (1, 3): 1.0}
    assert data["events"].weight is not None
    assert data["events"].weight.min() > 0
    with pytest.raises(DataError, match="half_life_days needs times"):
        lb.read(frame.drop("time"), half_life_days=1)


def test_low_ratings_are_dislikes_and_known_users_stay_known() -> None:
    frame = pl.DataFrame({"user": [1, 1, 2, 3, 3], "item": [1, 2, 2, 1, 9], "rating": [5, 2, 4, 1, 1]})
    data = lb.read(frame, min_rating=4)
    assert learned(data) == {(1, 1): 1.0, (2, 2): 1.0}
    assert seen(data) == {(1, 2): True, (3, 1): True}
    assert data.users.ids.tolist() == [1, 2, 3]
    assert data.items["events"].ids.tolist() == [1, 2]
    assert repr(data).endswith("2 pairs seen)")
    assert not lb.read(frame).seen


def test_the_last_rating_of_a_pair_decides() -> None:
    frame = pl.DataFrame({"user": [1, 1, 2], "item": [1, 1, 1], "rating": [5, 2, 5], "time": [1, 2, 3]})
    assert learned(lb.read(frame, min_rating=4)) == {(2, 1): 1.0}
    assert learned(lb.read(frame.with_columns(time=-pl.col("time")), min_rating=4)) == {
        (1, 1): 1.0,
        (2, 1): 1.0,
    }


EVENTS = {
    "books": pl.DataFrame({"user": [1, 2], "item": ["a", "b"], "time": [5, 6]}),
    "films": pl.DataFrame({"user": [1, 3], "item": ["a", "c"], "time": [7, 8]}),
}


def test_seen_tables_come_in_every_form_of_a_source(tmp_path: object) -> None:
    own = pl.DataFrame({"user": [2, 9], "item": ["a", "b"]})
    by_name = lb.read(EVENTS, users="shared", seen={"books": own})
    with_column = lb.read(EVENTS, users="shared", seen=own.with_columns(domain=pl.lit("books")))
    for data in (by_name, with_column):
        assert seen(data, "books") == {(2, "a"): False, (9, "b"): False}
        assert data.users.ids.tolist() == [1, 2, 3, 9]
        assert seen(data, "films") == {}
    one = lb.read(EVENTS["books"], seen=own)
    assert seen(one) == {(2, "a"): False, (9, "b"): False}


def test_a_dislike_of_a_seen_table_revokes_an_event_and_a_mere_mark_does_not() -> None:
    marks = pl.DataFrame({"user": [1, 2], "item": ["a", "b"], "kind": ["dislike", "view"]})
    more = EVENTS["books"].vstack(pl.DataFrame({"user": [4], "item": ["a"], "time": [9]}))
    data = lb.read(more, seen=marks)
    assert learned(data) == {(2, "b"): 1.0, (4, "a"): 1.0}
    assert seen(data) == {(1, "a"): True}


def of_kind(kind: str | None) -> pl.DataFrame:
    return SHOP.with_columns(kind=pl.lit(kind, pl.String))


NUMBERED = pl.DataFrame({"user": [1], "item": ["lamp"]})
WRONG: dict[str, dict[str, object]] = {
    "'kind' of the table.*Unknown kind of event 'gaze'.*--kind gaze": {"source": of_kind("gaze")},
    "'kind' of the table is missing in row 1": {"source": of_kind(None)},
    "Kind 'view' has the value 0; give a weight above 0": {"source": SHOP, "kinds": {"view": 0}},
    "'seen' or 'against'": {"source": SHOP, "kinds": {"view": "never"}},
    "No event of the table is learned from": {"source": of_kind("view"), "kinds": {"view": "seen"}},
    "half_life_days must be 0 or more": {"source": SHOP, "half_life_days": -1.0},
    "The seen tables: Unknown domain 'toys'": {"source": SHOP, "seen": {"toys": SHOP}},
    "give the same kind of ids": {"source": SHOP, "seen": NUMBERED},
    "no domain column, and there are several": {
        "source": EVENTS, "users": "shared", "seen": EVENTS["books"]
    },
}  # fmt: skip


@pytest.mark.parametrize("said", WRONG)
def test_a_wrong_kind_or_table_is_one_sentence(said: str) -> None:
    with pytest.raises(DataError, match=said):
        lb.read(**WRONG[said])


def test_no_more_kinds_than_bits() -> None:
    with pytest.raises(DataError, match="At most 63 kinds"):
        EventKinds({f"kind {n}": 1.0 for n in range(64)})


def test_filters_keep_the_seen_pairs_of_what_they_keep() -> None:
    from landbridge.data.filters import min_events

    frame = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": [1, 2, 1, 3, 1], "rating": [5, 2, 5, 1, 5]})
    data = min_events(lb.read(frame, min_rating=4, seen=pl.DataFrame({"user": [1], "item": [1]})), per_item=2)
    assert learned(data) == {(1, 1): 1.0, (2, 1): 1.0, (3, 1): 1.0}
    assert seen(data) == {}

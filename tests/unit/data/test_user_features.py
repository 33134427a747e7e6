"""User features: how a table of them is read, and that nothing loses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import landbridge as lb
from landbridge import store
from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain
from landbridge.data.filters import min_events
from landbridge.models.popularity import Popularity
from landbridge.serving.events.merge import merge_events

A = pl.DataFrame({"user": [1, 1, 2, 3], "item": ["x", "y", "x", "x"]})
B = pl.DataFrame({"user": [1, 2, 3], "item": [10, 20, 10]})
TABLE = pl.DataFrame({"user": [1, 2, 9, 8], "region": ["north", "south", "north", "south"]})
NORTH, SOUTH = "north", "south"


def read(table: object = TABLE, users: object = "shared", **settings: Any) -> MultiDomain:
    return lb.read({"a": A, "b": B}, users=users, user_features=table, **settings)


def region(data: MultiDomain, user: str | int) -> list[str]:
    features = data.user_features
    assert features is not None
    own = features.rows.take(data.users.index([user]))
    return [str(features.values_V[feature]) for feature in own.columns]


def test_users_whom_only_the_table_names_are_users() -> None:
    data = read()
    assert data.users.ids.tolist() == [1, 2, 3, 8, 9]
    assert [region(data, user) for user in (1, 2, 3, 8, 9)] == [[NORTH], [SOUTH], [], [SOUTH], [NORTH]]
    assert data.new_users_U.tolist() == [False, False, False, True, True]
    assert data["a"].user_counts.tolist() == [2, 1, 1, 0, 0]
    assert "User features: 2 users are in no table of events." in data.provenance.remarks
    assert data.fingerprint != lb.read({"a": A, "b": B}, users="shared").fingerprint


def test_ids_of_a_domain_are_linked_as_those_of_events() -> None:
    table = pl.DataFrame({"domain": ["a", "b", "b"], "user": [1, 1, 9], "region": [NORTH, SOUTH, SOUTH]})
    table = pl.concat([table, pl.DataFrame({"domain": ["a"], "user": [2], "region": [NORTH]})])
    data = read(table, users="local")
    assert [region(data, user) for user in ("a:1", "b:1", "b:9", "b:2")] == [[NORTH], [SOUTH], [SOUTH], []]
    assert data.users.ids.tolist() == ["a:1", "a:2", "a:3", "b:1", "b:2", "b:3", "b:9"]


def test_nothing_loses_them(tmp_path: Path) -> None:
    data = read()
    assert region(data.select(["b"]), 9) == [NORTH]
    assert region(min_events(data, per_item=2), 9) == [NORTH]
    store.save(Popularity().fit(data), tmp_path / "run")
    assert store.load(tmp_path / "run").history.fingerprint == data.fingerprint
    heard = pl.DataFrame({"user": ["5"], "domain": ["a"], "item": ["x"], "timestamp": [5.0]})
    heard = heard.with_columns(kind=pl.lit(None, pl.String), weight=pl.lit(None, pl.Float64))
    merged, _ = merge_events(data, heard, [8])
    assert merged.users.ids.tolist() == [1, 2, 3, 5, 9]
    assert [region(merged, user) for user in (2, 5, 9)] == [[SOUTH], [], [NORTH]]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (TABLE.rename({"user": "who"}), "No column user in the table of user features"),
        (TABLE.select("user"), "no column beside user"),
        (TABLE.with_columns(user=pl.lit("ann")), "Users are whole numbers, but the table of user features"),
        (TABLE.with_columns(region=pl.Series(list("abcd"))), "of two users or more"),
        (TABLE.with_columns(domain=pl.lit("c")), "In the table of user features: "),
    ],
)
def test_what_cannot_be_used_is_refused(table: pl.DataFrame, why: str) -> None:
    with pytest.raises(DataError, match=why):
        read(table)

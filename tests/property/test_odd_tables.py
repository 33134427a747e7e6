"""Reading an event table of any types gives exactly its events, or refuses it in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from outcomes import is_sentence, outcome
from strategies import EventTable, event_tables

import landbridge as lb
from landbridge.core.errors import DataError
from landbridge.data.dataset import MultiDomain


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def last_of_pairs(rows: list[tuple[Any, ...]]) -> dict[tuple[str, str], tuple[Any, Any]]:
    """(user, item) -> time and weight of the last event, by time, else by position."""
    timed = rows[0][2] != "-"
    return {row[:2]: row[2:] for row in (sorted(rows, key=lambda row: row[2]) if timed else rows)}


def as_read(data: MultiDomain) -> dict[tuple[str, str], tuple[Any, Any]]:
    ((name, events),) = data.domains.items()
    size = len(events)
    users = map(str, data.users.ids[events.user_idx].tolist())
    items = map(str, data.items[name].ids[events.item_idx].tolist())
    times = ["-"] * size if events.time is None else events.time.tolist()
    weights = ["-"] * size if events.weight is None else events.weight.tolist()
    return {(u, i): (t, w) for u, i, t, w in zip(users, items, times, weights, strict=True)}


@settings(max_examples=200)
@given(table=event_tables())
def test_a_table_is_read_exactly_or_refused(table: EventTable, folder: Path) -> None:
    data, sentence = outcome(lambda: lb.read(table.source(folder)), DataError)
    assert (data is None) == (table.events is None), sentence
    if data is None or table.events is None:
        assert is_sentence(sentence)
        return
    found, expected = as_read(data), last_of_pairs(table.events)
    assert found.keys() == expected.keys()
    for pair, (time, weight) in expected.items():
        if time != "-":
            assert found[pair][0] == pytest.approx(time, abs=1e-4)
        if weight != "-":
            assert found[pair][1] == pytest.approx(weight, rel=1e-6)

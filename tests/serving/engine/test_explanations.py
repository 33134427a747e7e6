"""Why an item has its score: the closed form for known and new users, and what a score loses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shops import (
    ALS,
    MODELS,
    POLICIES,
    SIZES,
    events_of,
    fit,
    opened,
    world,
)

from landbridge.core.types import Float32, Int32
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.inference import explain
from landbridge.models import registry
from landbridge.serving.engine import explanations
from landbridge.serving.engine.cancellation import WorkCancelledError, cancellable
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.engine.service import Service


def test_contributions_of_known_users_are_the_librarys(joint: Service) -> None:
    for user in ("u00", "u21", "u23"):
        told = joint.explain("films", "f33", user)
        theirs = explain(joint.fitted, "films", user, "f33")
        assert told.exact
        assert told.score == pytest.approx(theirs["contribution"].sum(), abs=1e-4)
        ours = {(part.domain, str(part.item)): part.value for part in told.parts if part.item is not None}
        for domain, item, _, value in theirs.filter(pl.col("item").is_not_null()).rows():
            assert ours.pop((domain, item), 0.0) == pytest.approx(value, abs=1e-5)
        assert not ours


@pytest.mark.parametrize("name", ALS)
@pytest.mark.parametrize("policy", POLICIES)
def test_brought_events_are_explained_as_known_ones(name: str, policy: str, tmp_path: Path) -> None:
    """For users with and without films; other users's weights do not matter, theirs are 1."""
    data, people = world(weighted=True), (0, 20)
    tables = {domain: with_weight_1(table, people) for domain, table in data.domains.items()}
    service = opened(fit(replace(ALS[name], cold_policy=policy), data.with_events(tables)), tmp_path)
    for user in people:
        events = events_of(service.fitted.history, user)
        for domain in SIZES:
            item = service.popular(domain, 1)[0].item
            own = service.explain(domain, item, f"u{user:02d}")
            new = service.explain(domain, item, None, events)
            assert own.exact
            assert new.exact
            assert new.score == pytest.approx(own.score, abs=1e-4)
            values = [{(p.domain, p.item, p.title): p.value for p in each.parts} for each in (own, new)]
            for key in set(values[0]) | set(values[1]):
                assert values[0].get(key, 0) == pytest.approx(values[1].get(key, 0), abs=2e-4)


def with_weight_1(table: Interactions, people: tuple[int, ...]) -> Interactions:
    return replace(table, weight=np.where(np.isin(table.user_idx, people), np.float32(1), table.weight))


def test_parts_sum_to_the_score_of_the_list(service: Service) -> None:
    """For a user known, a user known with news, a user new and nobody."""
    events = (Event("films", "f07", 2_000_000), Event("books", 20, 2_000_001))
    for user, brought in (("u04", ()), ("u22", events), (None, events), (None, ())):
        (answer,) = service.recommend([Request(("books",), user, brought, k=100)])
        for entry in (answer.items[0], answer.items[-1]):
            told = service.explain("books", entry.item, user, brought)
            assert told.score == pytest.approx(entry.score, rel=1e-4, abs=1e-5)
            scale = max(abs(part.value) for part in told.parts)
            assert sum(part.value for part in told.parts) == pytest.approx(told.score, abs=1e-4 * scale)
            assert [part.value for part in told.parts] == sorted((p.value for p in told.parts), reverse=True)
            assert told.model == service.model


@pytest.mark.parametrize("name", ["bprmf", "sasrec"])
def test_an_approximation_is_what_the_score_loses(name: str, tmp_path: Path) -> None:
    service = opened(fit(registry.method(name).from_settings(MODELS[name])), tmp_path)
    events = tuple(Event("films", f"f{n:02d}", n) for n in (3, 1, 2))
    told = service.explain("films", "f50", None, events)
    assert not told.exact
    parts = {part.item: part.value for part in told.parts}
    for event in events:
        without = tuple(other for other in events if other != event)
        lost = told.score - service.explain("films", "f50", None, without).score
        assert parts[event.item] == pytest.approx(lost, rel=1e-3, abs=1e-7)


def test_items_explained_together_are_explained_as_alone(service: Service) -> None:
    events = (Event("films", "f07", 2_000_000), Event("books", 20, 2_000_001))
    items = [entry.item for entry in service.popular("books", 6)]
    for user, brought in (("u04", ()), ("u22", events), (None, ())):
        together = service.explain_all("books", items, user, brought)
        for item, ours in zip(items, together, strict=True):
            alone = service.explain("books", item, user, brought)
            assert ours.score == pytest.approx(alone.score, rel=1e-4, abs=1e-5)
            values = {(part.domain, part.item, part.title): part.value for part in ours.parts}
            for part in alone.parts:
                key = part.domain, part.item, part.title
                assert values.get(key, 0) == pytest.approx(part.value, rel=1e-3, abs=1e-4)


def test_reasons_of_a_list_score_each_history_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of an explanation is bounded by events, whatever the number of items."""
    service = opened(fit(registry.method("bprmf").from_settings(MODELS["bprmf"])), tmp_path)
    scored: list[int] = []
    score = type(service.ranker).score

    def counted(ranker: Any, domain: str, queries: Queries, item_N: Int32) -> Float32:
        scored.append(sum(len(rows.columns) for rows in (queries.events or {}).values()))
        return score(ranker, domain, queries, item_N)

    monkeypatch.setattr(type(service.ranker), "score", counted)
    monkeypatch.setattr(explanations, "LEFT_OUT_EVENTS", 900)
    events = tuple(Event("films", f"f{n:02d}", n) for n in range(90))
    items = [entry.item for entry in service.popular("books", 15)]
    explained = service.explain_all("books", items, None, events)
    assert len(scored) == 2
    assert sum(scored) <= 900 + 2 * 90
    latest = {f"f{n:02d}" for n in range(80, 90)}
    assert all(part.item in latest for each in explained for part in each.parts if part.item is not None)


def test_work_for_a_request_that_is_given_up_stops(tmp_path: Path) -> None:
    service = opened(fit(registry.method("bprmf").from_settings(MODELS["bprmf"])), tmp_path)
    events = (Event("films", "f01", 1),)
    with cancellable(lambda: True):
        with pytest.raises(WorkCancelledError):
            service.explain("films", "f50", None, events)
        with pytest.raises(WorkCancelledError):
            service.recommend([Request(("books",), None, events)])
        with pytest.raises(WorkCancelledError):
            service.search("films", "no such")
    assert service.explain("films", "f50", None, events).parts


def test_what_is_not_explained(joint: Service) -> None:
    (first,) = joint.popular("films", 1)
    told = joint.explain("films", first.item)
    (part,) = told.parts
    assert (part.domain, part.item, part.title) == ("films", None, "popular in this domain")
    assert part.value == told.score > 0

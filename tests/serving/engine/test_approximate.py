"""Approximate search: the exact lists where every cell is looked into, and told recall where not."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi import asking
from shops import FEW, USERS, by_hand, events_of, fit, lists, opened, pairs, scores, world

from landbridge.core.errors import MissingExtraError
from landbridge.core.types import Float32, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.ials import IALS
from landbridge.models.popularity import Popularity
from landbridge.serving.engine.approximate import (
    LARGE,
    MOST,
    AnnPolicy,
    IvfRanker,
    approximate_ranker,
    recall_of,
)
from landbridge.serving.engine.ivf_index import IvfIndex, cell_count
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.engine.rankers import DotProductRanker
from landbridge.serving.engine.service import Service
from landbridge.serving.http.app import create_app
from landbridge.serving.runtime.logging import FIELDS
from landbridge.serving.runtime.settings import serve_settings

pytest.importorskip("faiss", reason="faiss is not installed")

ALWAYS = AnnPolicy(large=0, relative_cost=0.0)  # cells in every domain, whatever the exact search costs


def with_cells(service: Service, terms: AnnPolicy = ALWAYS) -> Service:
    """The same service with cells in its domains."""
    ranker, recalls = approximate_ranker(service.ranker, terms)
    return replace(service, ranker=ranker, approximate=recalls)


def taste(n_items: int, n_users: int = 60, spread: float = 0.0, topics: int = 40, seed: int = 0) -> ALSModel:
    """Items and users around the same topics, one user per topic and item in turn; 5 events each."""
    rng = np.random.default_rng(seed)
    topic_TF = rng.standard_normal((topics, 8))
    item_IF = topic_TF[np.arange(n_items) % topics] + 0.3 * rng.standard_normal((n_items, 8))
    item_IF /= np.linalg.norm(item_IF, axis=1, keepdims=True)
    item_IF *= rng.lognormal(0, spread, (n_items, 1))
    user_UF = topic_TF[np.arange(n_users) % topics] + 0.3 * rng.standard_normal((n_users, 8))
    user_idx = np.repeat(np.arange(n_users), 5)
    events = Interactions.from_events(user_idx, rng.integers(0, n_items, len(user_idx)), n_users, n_items)
    ids = Vocabulary.of(np.arange(n_users)), {"shop": Vocabulary.of(np.arange(n_items))}
    return by_hand(MultiDomain(*ids, {"shop": events}), {"shop": (user_UF, item_IF)}, factors=8)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return opened(fit(IALS(**FEW)), tmp_path_factory.mktemp("exact"))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What is logged from here on."""
    found: list[dict[str, Any]] = []
    logger = logging.getLogger("landbridge.serving")
    caplog.set_level(logging.INFO, logger.name)
    monkeypatch.setattr(
        logger, "handle", lambda record: found.append({"event": record.msg, **getattr(record, FIELDS)})
    )
    return found


class Nowhere:
    """Cells that find nothing they may be asked for."""

    def best(self, *_: Any) -> Any:
        raise AssertionError("the cells were asked")


def test_with_every_cell_looked_into_lists_are_exact(exact: Service) -> None:
    """Known and new users, with and without what they have, short lists and the longest."""
    cells = with_cells(exact)
    assert isinstance(cells.ranker, IvfRanker)
    assert cells.about()["approximate"] == {"books": 1.0, "films": 1.0}
    people = exact.fitted.history.users.ids.tolist()
    brought = events_of(exact.fitted.history, 3)
    for domain in ("books", "films"):
        asked = [Request((domain,), user, k=k, seen=k == 9) for user in people for k in (1, 9, 90)]
        asked += [
            Request((domain,), None, brought),
            Request((domain,), "u04", brought, deny={"films": ["f03"]}),
        ]
        for one, other in zip(exact.recommend(asked), cells.recommend(asked), strict=True):
            assert pairs(one.items) == pairs(other.items)
            np.testing.assert_allclose(scores(one), scores(other), rtol=1e-5, atol=1e-6)
            assert (one.source, one.known) == (other.source, other.known)


def test_known_users_are_searched_in_the_cells(exact: Service) -> None:
    """Otherwise the test above would hold whatever they find."""
    assert isinstance(exact.ranker, DotProductRanker)
    service = replace(exact, ranker=IvfRanker(exact.ranker, {"films": Nowhere()}))
    with pytest.raises(AssertionError, match="the cells were asked"):
        service.recommend([Request(("films",), "u01")])


def test_new_users_and_masks_go_the_exact_way(tmp_path: Path) -> None:
    """Rows for all domains: a new user to films has one, and is offered popular ones besides."""
    exact = opened(fit(IALS(**FEW, sharing="joined")), tmp_path)
    assert isinstance(exact.ranker, DotProductRanker)
    service = replace(exact, ranker=IvfRanker(exact.ranker, {"films": Nowhere()}))
    few = ["f01", "f02", "f03", "f05"]
    asked = [
        Request(("films",)),
        Request(("films",), "u20"),
        Request(("films",), None, (Event("books", 10),)),
        Request(("films",), "u01", allow={"films": few}),
        Request(("books",), "u01"),
    ]
    assert lists(service, *asked) == lists(exact, *asked)


def test_very_long_lists_go_the_exact_way(tmp_path: Path) -> None:
    """The items that a user has count as places."""
    exact = opened(taste(4000), tmp_path)
    assert isinstance(exact.ranker, DotProductRanker)
    service = replace(exact, ranker=IvfRanker(exact.ranker, {"shop": Nowhere()}))
    asked = [Request(("shop",), 1, k=MOST + 1), Request(("shop",), 2, deny={"shop": list(range(MOST - 9))})]
    assert lists(service, *asked) == lists(exact, *asked)


def test_a_row_of_zeros_goes_the_exact_way(tmp_path: Path) -> None:
    """All items are alike to it: the lower ones come first, in no cell in particular."""
    fitted = taste(4000)
    fitted.user_UF["shop"][7] = 0
    service = with_cells(opened(fitted, tmp_path), replace(ALWAYS, probes=2, recall=0.0))
    (answer,) = service.recommend([Request(("shop",), 7, k=4, seen=True)])
    assert pairs(answer.items) == [("shop", n) for n in range(4)]


def test_hidden_items_are_never_listed_and_lists_are_full(tmp_path: Path) -> None:
    """Few cells, long lists, the best denied: the exact way fills what the cells cannot."""
    exact = opened(taste(4000), tmp_path)
    service = with_cells(exact, replace(ALWAYS, probes=2, recall=0.0))
    assert isinstance(service.ranker, IvfRanker)
    history = exact.fitted.history["shop"].by_user
    for k in (10, 300, 3990):
        (first,) = exact.recommend([Request(("shop",), 11, k=k)])
        denied = [entry.item for entry in first.items][:5]
        (one,) = exact.recommend([Request(("shop",), 11, k=k, deny={"shop": denied})])
        (other,) = service.recommend([Request(("shop",), 11, k=k, deny={"shop": denied})])
        own = history.columns[history.offsets[11] : history.offsets[12]].tolist()
        assert len(other.items) == len(one.items)
        assert not {entry.item for entry in other.items} & {*own, *denied}
        if k > 10:
            assert pairs(other.items) == pairs(one.items)


def test_what_is_listed_is_scored_exactly_and_in_order(tmp_path: Path) -> None:
    fitted = taste(4000)
    service = with_cells(opened(fitted, tmp_path), replace(ALWAYS, probes=1, recall=0.0))
    for answer in service.recommend([Request(("shop",), user, seen=True) for user in range(60)]):
        assert scores(answer) == sorted(scores(answer), reverse=True)
    for user, answer in enumerate(service.recommend([Request(("shop",), user) for user in range(60)])):
        items = [entry.item for entry in answer.items]
        theirs = fitted.item_IF["shop"][items] @ fitted.user_UF["shop"][user]
        np.testing.assert_allclose(scores(answer), theirs, rtol=1e-5)


def test_places_beyond_a_list_are_empty() -> None:
    """Those of a shorter list, and those for which the cells hold too little, whatever is hidden."""
    fitted = taste(4000)
    cells, rows_BF = IvfIndex.of(fitted.item_IF["shop"], 2), fitted.user_UF["shop"][:2]
    whole_BK, _ = cells.best(rows_BF, Ragged.empty(2), np.array([2, 1000]))
    assert (whole_BK[0] >= 0).sum() == 2
    n_found = int((whole_BK[1] >= 0).sum())
    assert 60 < n_found < 1000
    hidden = Ragged.empty(2).append([np.zeros(0, np.int32), np.sort(whole_BK[1, :50])])
    item_BK, _ = cells.best(rows_BF, hidden, np.array([2, 10]))
    assert item_BK[1].tolist() == whole_BK[1, 50:60].tolist()
    longer_BK, score_BK = cells.best(rows_BF, hidden, np.array([2, 1000]))
    assert ((longer_BK == -1) == (score_BK == -np.inf)).all()
    assert (longer_BK[0] >= 0).tolist() == [True] * 2 + [False] * (longer_BK.shape[1] - 2)
    assert (longer_BK[1, : n_found - 50] >= 0).all()
    assert (longer_BK[1, n_found - 50 :] == -1).all()


def test_equal_scores_stand_by_the_lower_item() -> None:
    """Every row twice."""
    item_IF: Float32 = np.repeat(taste(500).item_IF["shop"], 2, axis=0)[::-1].copy()
    item_IF[0::2] = item_IF[1::2]
    cells = IvfIndex.of(item_IF, 1000)
    query_BF = np.random.default_rng(1).standard_normal((6, 8)).astype(np.float32)
    item_BK, _ = cells.best(query_BF, Ragged.empty(6), np.full(6, 8))
    assert (item_BK[:, 1::2] == item_BK[:, 0::2] + 1).all()
    assert (item_BK[:, 0::2] % 2 == 0).all()


def test_a_list_does_not_depend_on_who_else_asks(tmp_path: Path) -> None:
    """To the last bit, though others want longer lists and have more to hide."""
    service = with_cells(opened(taste(4000), tmp_path), replace(ALWAYS, probes=4, recall=0.0))
    asked = [Request(("shop",), user, k=5 + user) for user in range(60)]
    asked += [Request(("shop",), user, k=3, deny={"shop": list(range(400))}) for user in range(30)]
    for request, answer in zip(asked, service.recommend(asked), strict=True):
        (alone,) = service.recommend([request])
        assert (pairs(alone.items), scores(alone)) == (pairs(answer.items), scores(answer))


def test_recall_is_the_share_of_the_exact_lists_that_was_found() -> None:
    found_BK = np.array([[3, 1, 2], [5, 6, 7], [9, -1, -1]], np.int32)
    exact_BK = np.array([[1, 2, 4], [5, 6, 7], [9, 8, -1]], np.int32)
    assert recall_of(found_BK, exact_BK) == pytest.approx((2 + 3 + 1) / (3 + 3 + 2))


def test_recall_is_that_of_a_users_lists(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    """All 60 users are measured, so asking for their lists by hand gives the same share."""
    exact = opened(taste(4000, spread=0.2), tmp_path)
    service = with_cells(exact, replace(ALWAYS, probes=2, recall=0.2))
    asked = [Request(("shop",), user) for user in range(60)]
    both = zip(lists(exact, *asked), lists(service, *asked), strict=True)
    recall = np.mean([len({*one} & {*other}) / 10 for one, other in both])
    assert 0.2 < recall < 0.999
    assert service.about()["approximate"] == {"shop": pytest.approx(recall)}
    assert lines == [
        {"event": "approximate search", "domain": "shop", "recall": pytest.approx(recall), "why": None}
    ]


def test_low_recall_means_exact_search(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    exact = opened(taste(4000, spread=0.2), tmp_path)
    service = with_cells(exact, replace(ALWAYS, probes=1, recall=0.99))
    assert service.ranker is exact.ranker
    assert service.about()["approximate"] == {}
    assert [line["event"] for line in lines] == ["exact search"]
    assert 0 < lines[0]["recall"] < 0.99
    assert lines[0]["why"] == "approximate search finds less than 99%"


@pytest.mark.parametrize(("spread", "faster"), [(0.0, False), (1.5, True)])
def test_where_the_exact_search_ends_early_it_stays(
    tmp_path: Path, lines: list[dict[str, Any]], spread: float, faster: bool
) -> None:
    """Rows of one length make it look at all items."""
    exact = opened(taste(20_000, spread=spread), tmp_path)
    ranker, recalls = approximate_ranker(exact.ranker, AnnPolicy(large=20_000, probes=10, recall=0.0))
    assert (ranker is exact.ranker) == faster == (recalls == {})
    assert ("it is faster" in str(lines[0]["why"])) == faster


def test_small_catalogues_and_other_models_stay_exact(
    tmp_path: Path, exact: Service, lines: list[dict[str, Any]]
) -> None:
    assert approximate_ranker(exact.ranker, AnnPolicy(large=91)) == (exact.ranker, {})
    assert lines == []
    other = opened(fit(Popularity()), tmp_path)
    assert approximate_ranker(other.ranker, ALWAYS) == (other.ranker, {})
    assert lines == [{"event": "exact search", "why": "the model is not a product of rows"}]


def test_a_domain_without_users_stays_exact(tmp_path: Path) -> None:
    history = world()
    none = np.zeros(0, np.int64)
    empty = Interactions.from_events(none, none, USERS, history["films"].n_items)
    data = MultiDomain(
        history.users, history.items, {"books": history["books"], "films": empty}, history.titles
    )
    rows = {name: (np.ones((USERS, 2)), np.ones((len(data.items[name]), 2))) for name in data.domain_names}
    service = with_cells(opened(by_hand(data, rows, factors=2), tmp_path))
    assert "films" not in service.approximate


def test_cells_are_the_same_every_time() -> None:
    item_IF = taste(4000).item_IF["shop"]
    one, other = (IvfIndex.of(item_IF, 3) for _ in range(2))
    assert one.centres.tile_TFJ.tobytes() == other.centres.tile_TFJ.tobytes()
    assert cell_count(1) == 1
    assert cell_count(4000) == 94
    assert len(IvfIndex.of(item_IF[:1], 3).centres.order_I) == 1


def test_faiss_goes_on_with_its_threads() -> None:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        cells = IvfIndex.of(taste(400).item_IF["shop"], 3)
        cells.best(
            np.ones((2, 8), np.float32),
            Ragged.empty(2).append([np.zeros(1, np.int32)] * 2),
            np.ones(2, int),
        )
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


def test_without_faiss_the_extra_is_named(
    exact: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    opened(exact.fitted, tmp_path)
    with pytest.raises(MissingExtraError, match=r"pip install 'landbridge\[ann\]'"):
        Service.open(tmp_path / "run", approximate=True)
    assert Service.open(tmp_path / "run").about()["approximate"] == {}


def test_a_large_catalogue_from_the_setting_to_the_route(tmp_path: Path) -> None:
    """By the terms of a server."""
    exact = opened(taste(LARGE, n_users=300), tmp_path)
    settings = serve_settings({"approximate": True})
    with asking(create_app(tmp_path / "run", settings)) as client:
        told = client.get("/v1/model").json["approximate"]["shop"]
        reply = client.post("/v1/recommend", {"domains": ["shop"], "user": 5, "k": 3})
    assert 0.95 <= told <= 1
    assert len(reply.json["items"]) == 3
    assert exact.about()["approximate"] == {}

"""A run folder as a service: the answers of the library, for known users and new ones, one and many."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shops import (
    ALS,
    FEW,
    MIXTURE,
    POLICIES,
    SIZES,
    USERS,
    by_hand,
    events_of,
    fit,
    lists,
    opened,
    pairs,
    scores,
    unlike_others,
    world,
)

from landbridge import store
from landbridge.core.errors import DataError
from landbridge.data.splitting.splits import leave_one_out
from landbridge.evaluation.evaluate import evaluate
from landbridge.inference import recommend
from landbridge.models import registry
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Queries
from landbridge.models.mixture import Mixture
from landbridge.serving.engine.catalog import ItemCatalog
from landbridge.serving.engine.messages import Event, Request
from landbridge.serving.engine.query_builder import QueryBatch
from landbridge.serving.engine.service import Service


def test_known_users_get_the_librarys_lists(service: Service) -> None:
    """All of them together, over all domains."""
    people = service.fitted.history.users.ids.tolist()
    for domain, size in SIZES.items():
        for k, seen in ((5, False), (2 * size, True)):
            answers = service.recommend([Request((domain,), user, k=k, seen=seen) for user in people])
            theirs = recommend(service.fitted, domain, people, k=k, seen=seen)
            for user, answer in zip(people, answers, strict=True):
                hers = theirs.filter(pl.col("user") == user)
                if answer.source == "fallback" or not unlike_others(hers["score"].to_list()):
                    continue
                assert [item for _, item in pairs(answer.items)] == hers["item"].to_list()
                np.testing.assert_allclose(scores(answer), hers["score"], rtol=1e-4, atol=1e-5)
                titles = [entry.title for entry in answer.items]
                assert titles == (hers["title"].to_list() if domain == "films" else [None] * len(titles))
                assert answer.known
                assert answer.model == service.model


def test_a_repeated_event_keeps_the_weight_that_is_known_of_its_pair() -> None:
    """As a refit keeps it; an event of a new pair weighs 1."""
    history = world(weighted=True)
    known, weight = history["films"].by_user.take(np.array([4], np.int32)), history["films"].weight
    assert weight is not None
    catalogues = {name: ItemCatalog.of(history, name) for name in SIZES}
    ids = history.items["films"].ids
    new = next(item for item in range(SIZES["films"]) if item not in known.columns)
    events = (Event("films", str(ids[known.columns[0]]), 2_000_000), Event("films", str(ids[new]), 2_000_001))
    for user, expected in (("u04", known.weight), (None, None)):
        (part,) = QueryBatch.of(history, catalogues, [Request(("films",), user, events)]).parts()
        rows = (part.queries.events or {})["films"]
        weights = dict(zip(rows.columns.tolist(), np.asarray(rows.weight).tolist(), strict=True))
        assert weights[new] == 1
        assert weights[int(known.columns[0])] == (1 if expected is None else expected[0])


@pytest.mark.parametrize("name", ALS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_training_user_given_by_their_events_gets_their_own_list(
    name: str, policy: str, tmp_path: Path
) -> None:
    service = opened(fit(replace(ALS[name], cold_policy=policy)), tmp_path)
    history = service.fitted.history
    for domain in SIZES:
        own = service.recommend([Request((domain,), user) for user in history.users.ids.tolist()])
        new = service.recommend([Request((domain,), None, events_of(history, user)) for user in range(USERS)])
        for hers, anew in zip(own, new, strict=True):
            assert hers.source == anew.source
            assert not anew.known
            np.testing.assert_allclose(scores(hers), scores(anew), atol=1e-4)
            if unlike_others(scores(hers)):
                assert pairs(hers.items) == pairs(anew.items)


def test_live_events_are_added_to_what_is_known(service: Service) -> None:
    """A known user with news is a new user with all of it; the news alone are another."""
    history = service.fitted.history
    news = (Event("films", "f07"), Event("books", 20))
    untimed = tuple(Event(event.domain, event.item) for event in events_of(history, 5))
    both, whole = service.recommend(
        [Request(("books",), "u05", news), Request(("books",), None, untimed + news)]
    )
    assert scores(both) == pytest.approx(scores(whole), abs=1e-4)
    assert both.known
    assert not whole.known
    assert ("books", 20) not in pairs(both.items)
    assert not set(pairs(both.items)) & {(event.domain, event.item) for event in events_of(history, 5)}


def test_requests_that_come_together_are_answered_as_alone(service: Service) -> None:
    history = service.fitted.history
    asked = [
        Request(("films",), "u01"),
        Request(("books", "films"), None, events_of(history, 2), k=7),
        Request(("books",)),
        Request(("films", "books"), "u20", (Event("films", "f01"),), k=3, seen=True),
        Request(("films",), "nobody", deny={"films": ("f00", "f01")}),
    ]
    for request, answer in zip(asked, service.recommend(asked), strict=True):
        (alone,) = service.recommend([request])
        assert pairs(alone.items) == pairs(answer.items)
        assert scores(alone) == pytest.approx(scores(answer), rel=1e-5, abs=1e-6)
        assert (alone.source, alone.known) == (answer.source, answer.known)
    assert service.recommend([]) == []


@pytest.mark.parametrize("policy", POLICIES)
def test_unknown_users_get_what_the_cold_policy_says(policy: str, tmp_path: Path) -> None:
    """And the popular items rather than all alike."""
    service = opened(fit(IALS(**FEW, cold_policy=policy, popularity_weight=2)), tmp_path)
    table = service.fitted.history["films"]
    share_I = table.item_counts / (table.user_counts > 0).sum()
    strangers = service.recommend(
        [Request(("films",)), Request(("films",), "nobody"), Request(("films",), "u20")]
    )
    assert [answer.source for answer in strangers] == ["fallback"] * 3
    assert [answer.known for answer in strangers] == [False, False, True]
    assert pairs(strangers[0].items) == pairs(strangers[1].items) == pairs(strangers[2].items)
    if policy == "mean":
        expected = service.fitted.score("films", Queries.of_users([-1]))[0]
    else:
        expected = {"blend": 2, "popularity": 1, "zero": 1}[policy] * share_I
    order = np.argsort(-expected, kind="stable")[:10]
    np.testing.assert_allclose(scores(strangers[0]), expected[order], rtol=1e-5)
    if policy != "mean":
        assert pairs(strangers[0].items) == [("films", f"f{n:02d}") for n in order]


def test_models_of_other_kinds_fall_back_on_popularity(tmp_path: Path) -> None:
    service = opened(fit(registry.method("sasrec")(epochs=1, cold_policy="zero")), tmp_path)
    (answer,) = service.recommend([Request(("books",))])
    assert answer.source == "fallback"
    assert pairs(answer.items) == pairs(service.popular("books", 10))


def test_one_list_over_several_domains(service: Service) -> None:
    """The domains' own lists side by side, by score."""
    asked = [Request(("films", "books"), "u03", k=12), Request(("books", "films", "books"), "u03", k=200)]
    mixed, everything = service.recommend(asked)
    apart = service.recommend([Request((domain,), "u03", k=12) for domain in ("films", "books")])
    expected = sorted([entry for answer in apart for entry in answer.items], key=lambda entry: -entry.score)
    assert scores(mixed) == pytest.approx([entry.score for entry in expected[:12]], rel=1e-5)
    assert {domain for domain, _ in pairs(everything.items)} == set(SIZES)
    assert len(everything.items) == len(set(pairs(everything.items))) == sum(SIZES.values()) - 10


def test_weights_multiply_the_odds_of_a_domain(tmp_path: Path) -> None:
    service = opened(fit(registry.method("sasrec")(epochs=1)), tmp_path)
    plain, raised = service.recommend(
        [
            Request(("films", "books"), "u03", k=200),
            Request(("films", "books"), "u03", k=200, weights={"books": 3}),
        ]
    )
    ahead = {"books": math.log(3), "films": 0.0}
    expected = sorted(plain.items, key=lambda entry: -entry.score - ahead[entry.domain])
    assert raised.items == tuple(expected) != plain.items
    alone, same = service.recommend(
        [Request(("books",), "u03"), Request(("books",), "u03", weights={"books": 3})]
    )
    assert alone == same


@pytest.mark.parametrize(
    ("method", "weights", "told"),
    [
        ("ials", {"books": 2.0}, "log-odds"),
        ("sasrec", {"boks": 2.0}, "did you mean 'books'"),
        ("sasrec", {"books": 0.0}, "above 0"),
        ("sasrec", {"books": math.inf}, "above 0"),
        ("sasrec", {"books": math.nan}, "above 0"),
    ],
)
def test_weights_that_cannot_be(tmp_path: Path, method: str, weights: dict[str, float], told: str) -> None:
    service = opened(fit(registry.method(method)(epochs=1)), tmp_path)
    with pytest.raises(DataError, match=told):
        service.recommend([Request(("films", "books"), "u03", weights=weights)])


def test_what_is_said_of_the_model(tmp_path: Path) -> None:
    service = opened(fit(Mixture(**MIXTURE)), tmp_path)
    about = service.about()
    assert about["method"] == about["kind"] == "mixture"
    assert about["domains"]["books"] == {
        "items": 15,
        "users": 22,
        "events": len(service.fitted.history["books"]),
    }
    assert 0 <= about["age"] < 600
    assert about["quality"] is None
    assert about["settings"]["weights"]["books"]["0"] == {"popularity": 1.0}
    assert len(service.model) == 12


def test_the_values_of_the_test_part_are_reported(tmp_path: Path) -> None:

    split = leave_one_out(world(), seed=0)
    fitted = fit(IALS(**FEW), split.test.history)
    store.save(fitted, tmp_path / "run")
    before = Service.open(tmp_path / "run").model
    evaluation = evaluate(fitted, split.test, threads=1)
    store.attach(tmp_path / "run", "evaluation", "parquet", evaluation.write)
    service = Service.open(tmp_path / "run")
    assert service.about()["quality"] == {
        "protocol": "full",
        "ndcg@10": evaluation.means("ndcg@10"),
        "hr@10": evaluation.means("hr@10"),
    }
    assert service.model != before


def test_the_quality_of_the_single_domain_baseline_is_reported(tmp_path: Path) -> None:
    """As the demo attaches it; the page shows the gain over it."""
    split = leave_one_out(world(), seed=0)
    fitted, alone = fit(CDIMF(**FEW), split.test.history), fit(IALS(**FEW), split.test.history)
    store.save(fitted, tmp_path / "run")
    for role, model in (("evaluation", fitted), ("baseline", alone)):
        store.attach(tmp_path / "run", role, "parquet", evaluate(model, split.test, threads=1).write)
    quality = Service.open(tmp_path / "run").quality
    assert quality is not None
    means = evaluate(alone, split.test, threads=1).means("ndcg@10")
    assert quality["single_domain"]["ndcg@10"] == means != quality["ndcg@10"]
    assert quality["single_domain"]["models"] == dict.fromkeys(means, "ials")


def test_equal_scores_in_one_list_stand_in_the_datas_order(tmp_path: Path) -> None:
    """Whatever order the request names the domains in, and whoever else asks."""
    rows = {name: (np.ones((USERS, 1)), np.ones((size, 1))) for name, size in SIZES.items()}
    service = opened(by_hand(world(), rows, factors=1), tmp_path)
    asked = [Request(domains, "u00", k=13, seen=True) for domains in (("films", "books"), ("books", "films"))]
    expected = [("books", 10 * n) for n in range(13)]
    assert lists(service, *asked) == lists(service, asked[0]) * 2 == [expected] * 2


def test_decisions_of_a_mixture_are_served(tmp_path: Path) -> None:
    """In books users without a book get popularity, others a blend: as the model scores."""
    service = opened(fit(Mixture(**MIXTURE)), tmp_path)
    fitted = service.fitted
    known_I = fitted.history["books"].item_counts.astype(np.float32)
    (newcomer, reader) = service.recommend(
        [Request(("books",), "u22", k=15), Request(("books",), "u00", k=15)]
    )
    assert pairs(newcomer.items) == [("books", 10 * n) for n in np.argsort(-known_I, kind="stable")]
    score_I = fitted.score("books", Queries.of_users([0]))[0]
    for entry in reader.items:
        assert entry.score == pytest.approx(score_I[entry.item // 10], rel=1e-5)


BAD = {
    "Unknown domain 'book': did you mean 'books'": Request(("book",)),
    "Unknown domain 7": Request((7,)),
    "names no domain": Request(()),
    "'films' has no item 'f90'": Request(("books",), None, (Event("films", "f90"),)),
    "Unknown domain 'game'": Request(("books",), None, (Event("game", "f90"),)),
    "An id is text or a whole number, not True": Request(("books",), True),
    "An id is text or a whole number, not None": Request(("books",), None, (Event("films", None),)),
    "An id is text or a whole number, not 1.5": Request(("books",), None, deny={"books": (1.5,)}),
    r"An id is text or a whole number, not \[\]": Request(("books",), None, allow={"books": ([],)}),
    "Unknown domain 'c'": Request(("books",), allow={"c": ()}),
    "Unknown domain 'd'": Request(("books",), deny={"d": ()}),
    "1 place or more, not 0": Request(("books",), k=0),
    "1 place or more, not 2.0": Request(("books",), k=2.0),
    "not 'now'": Request(("books",), None, (Event("books", 10, "now"),)),
    "give seconds since 1970": Request(("books",), None, (Event("books", 10, 10**30),)),
    "nanoseconds, divide by 1,000,000,000": Request(("books",), None, (Event("books", 10, 10**18),)),
    "without a table of its items": Request(("books",), where={"genre": "noir"}),
}  # fmt: skip


@pytest.mark.parametrize("sentence", BAD)
def test_a_bad_request_is_refused_in_one_sentence(joint: Service, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as refused:
        joint.recommend([Request(("books",)), BAD[sentence]])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("user", ["", "u", "u000", "\ud800", "u\0", "9" * 5000, 10**40, -1, 17])
def test_any_text_or_number_may_be_a_strangers_id(joint: Service, user: Any) -> None:
    (answer,) = joint.recommend([Request(("books",), user)])
    assert (answer.source, answer.known) == ("fallback", False)


def test_events_the_model_understands(joint: Service) -> None:
    history = (Event("films", "f01", 3), Event("books", 20))
    assert joint.understood((Event("films", "new"), history[0], Event("games", 1), history[1])) == history


def test_many_threads_get_the_same_answers(service: Service) -> None:
    history = service.fitted.history
    asked = [Request(("films", "books"), None, events_of(history, user)) for user in range(8)]
    expected = lists(service, *asked)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda request: lists(service, request)[0], asked * 5))
    assert found == expected * 5


ALONE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from landbridge.serving.engine.service import Service
from landbridge.serving.engine.messages import Event, Request
service = Service.open(sys.argv[1])
asked = [Request(("books",), None, (Event("films", f"f{n:02d}"),)) for n in range(60)]
with ThreadPoolExecutor(4) as pool:
    answers = list(pool.map(lambda request: service.recommend([request]), asked))
print(len(answers))
"""


def test_threads_where_numba_has_no_safe_ones(tmp_path: Path) -> None:
    """Its own threading layer ends the process when two threads use it at a time: nothing may use it here."""
    opened(fit(IALS(**FEW)), tmp_path)
    command = [sys.executable, "-c", ALONE, str(tmp_path / "run")]
    environment = os.environ | {"NUMBA_THREADING_LAYER": "workqueue"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert (done.stdout.split(), done.returncode) == (["60"], 0), done.stderr


def test_every_kind_of_model_passes_its_check(service: Service) -> None:
    service.check()

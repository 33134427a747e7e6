"""New items: listed by methods that use features, for what these say, marked, and by no other method."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from worlds import shelves

import landbridge as lb
from landbridge.core.errors import DataError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.feature_table import with_new_items
from landbridge.data.products import equal_ids, products_of
from landbridge.data.splitting.holdout import Holdout, Targets
from landbridge.evaluation.protocols import ranking_tasks, recommended_items
from landbridge.models import registry
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method, Queries
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.item_knn import ItemKNN
from landbridge.models.linear.method import LinearMethod
from landbridge.models.mixture import Mixture, standardised
from landbridge.models.popularity import Popularity
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
MAPPED = [IALS(8, "separate"), IALS(8, "joined"), CDIMF(8)]
FEATURED = [*MAPPED, EASE(), EASE("joined", form="exact"), ItemKNN()]
KINDS, NEW = 4, 20  # of the world's items the last 20 are new


@pytest.mark.parametrize("method", FEATURED, ids=str)
def test_new_items_of_the_users_kind_come_first(method: Method) -> None:
    data = shelves()
    fitted = method.fit(data, ONE)
    users = np.arange(data.n_users)
    for name in data.domain_names:
        scores_UI = fitted.score(name, Queries.of_users(users))[:, -NEW:]
        best_U5 = np.argsort(-scores_UI, axis=1, kind="stable")[:, :5]
        right = (best_U5 % KINDS == users[:, None] % KINDS).mean()
        assert right > 0.9  # by chance a quarter


def test_a_domain_without_events_of_the_user_is_served_by_the_shared_map() -> None:
    data = shelves()
    cold = data["kitchen"].user_idx < 20
    data = data.with_events({"food": data["food"], "kitchen": data["kitchen"].take(~cold)})
    fitted = CDIMF(8, cold_policy="blend").fit(data, ONE)
    users = np.arange(20)
    best_U5 = np.argsort(-fitted.score("kitchen", Queries.of_users(users))[:, -NEW:], axis=1)[:, :5]
    assert (best_U5 % KINDS == users[:, None] % KINDS).mean() > 0.9


@pytest.mark.parametrize("method", FEATURED, ids=str)
def test_lists_mark_them(method: Method) -> None:
    fitted = method.fit(shelves(), ONE)
    lists = lb.recommend(fitted, "food", k=40)
    assert lists["cold"].to_list() == (lists["item"] >= 20).to_list()
    assert lists["cold"].any()
    new = lb.fold_in(fitted, {"food": [0, 4]}, "food", k=40)
    assert new["cold"].to_list() == (new["item"] >= 20).to_list()
    assert new.filter("cold")["item"].head(3).to_numpy().tolist() != []
    assert (new.filter("cold")["item"].head(3) % KINDS == 0).all()


@pytest.mark.parametrize(
    "method",
    [Popularity(), EASE(feature_weight=0), *(each.with_settings({"feature_reg": 1e9}) for each in MAPPED)],
)
def test_methods_that_ignore_features_list_none(method: Method) -> None:
    fitted = method.fit(shelves(), ONE)
    lists = lb.recommend(fitted, "food", k=40)
    assert not lists["cold"].any()
    assert lists["item"].max() < 20
    assert lists.group_by("user").len()["len"].max() <= 20
    assert lb.fold_in(fitted, {"food": [0, 4]}, "food", k=40).height <= 20


def test_without_features_lists_have_no_mark() -> None:
    data = shelves()
    plain = lb.MultiDomain(data.users, data.items, data.domains)
    lists = lb.recommend(IALS(8).fit(plain, ONE), "food", k=40)
    assert lists.columns == ["user", "rank", "item", "score"]
    # as before: what nobody has is in the catalogue
    assert lists["item"].max() == 39


def test_an_evaluation_ranks_them() -> None:
    """Held out: an item of the user's kind that nobody has."""
    data = shelves()
    user_T = np.arange(data.n_users, dtype=np.int32)
    item_T = (20 + user_T % KINDS).astype(np.int32)
    holdout = Holdout(data, {name: Targets(user_T, item_T) for name in data.domain_names})
    featured, plain = (
        lb.evaluate(method.fit(data, ONE), holdout).means("ndcg@10")
        for method in (CDIMF(8), CDIMF(8, feature_reg=1e9))
    )
    assert all(featured[name] > 2 * plain[name] for name in data.domain_names)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize(
    "method", [IALS(8, "joined"), IALS(8, "joined", feature_reg=1e9), Popularity()], ids=str
)
def test_an_evaluation_ranks_what_lists_hold(method: Method, across: bool) -> None:
    """Held out: items that users have and new ones, by turns. What no list holds is missed."""
    data = shelves()
    user_T = np.arange(data.n_users, dtype=np.int32)
    item_T = np.where(user_T % 2, 20 + user_T % 20, (user_T * 7) % 20).astype(np.int32)
    held = {name: Targets(user_T, item_T) for name in data.domain_names}
    fitted = method.fit(data, ONE)
    rows = lb.evaluate(fitted, Holdout(data, held, across=across)).rows
    for (name,), own in rows.group_by("domain"):
        unlisted_T = fitted.unlisted(str(name))[item_T]
        assert (own["above"].to_numpy()[unlisted_T] == own["candidates"].to_numpy()[unlisted_T]).all()
        assert (own["ties"].to_numpy()[unlisted_T] == 0).all()
        if not across:
            lists = lb.recommend(fitted, str(name), k=40)
            for user, item, above, ties, lost in zip(
                user_T, item_T, own["above"], own["ties"], unlisted_T, strict=True
            ):
                ranks = lists.filter(user=int(user), item=int(item))["rank"].to_list()
                seen = data[str(name)].contains(np.array([user]), np.array([item]))[0]
                assert seen or (not ranks if lost else above < ranks[0] <= above + ties + 1)


def test_the_share_of_the_catalogue_counts_lists_without_what_is_unlisted() -> None:
    data = shelves()
    users = np.arange(data.n_users, dtype=np.int32)
    (within,) = ranking_tasks(Holdout(data, {"food": Targets(users, users % 20)})).values()
    for method, new in ((IALS(8), True), (IALS(8, feature_reg=1e9), False)):
        (items_BK,) = recommended_items(method.fit(data, ONE), within, 40)
        assert (items_BK >= 20).any() == new
        assert (items_BK == -1).any()  # seen items leave places empty


def test_the_words_and_the_settings_agree() -> None:
    uses = [name for name in registry.names() if registry.method(name).item_features]
    assert {"ials", "cdimf", "ease", "itemknn", "mixture"} <= set(uses)
    assert not Popularity().uses_features


def test_a_mixture_uses_what_its_members_use() -> None:
    data = shelves()
    kind = registry.method("mixture")
    one = kind.from_settings({"members": {"a": {"method": "ials"}}})
    none = kind.from_settings({"members": {"a": {"method": "popularity"}}})
    assert (one.uses_features, none.uses_features) == (True, False)
    assert lb.recommend(one.fit(data, ONE), "food", k=40)["cold"].any()
    assert isinstance(lb.recommend(none.fit(data, ONE), "food", k=40), pl.DataFrame)


def with_kinds(data: MultiDomain) -> MultiDomain:
    """The world with what a table of features would have said of it."""
    assert data.item_features is not None
    weights = np.ones(KINDS, np.float32)
    return replace(data, item_features=replace(data.item_features, weight_V=weights))


def later() -> pl.DataFrame:
    """Items 40 to 43 of both domains, of the four kinds."""
    rows = [(name, 40 + kind, letter) for name in ("food", "kitchen") for kind, letter in enumerate("abcd")]
    return pl.DataFrame(rows, schema=["domain", "item", "kind"], orient="row")


@pytest.mark.parametrize("method", MAPPED, ids=str)
def test_items_that_are_new_since_the_fit_are_listed(method: Method) -> None:
    fitted = method.fit(with_kinds(shelves()), ONE)
    grown = fitted.with_new_items(with_new_items(fitted.history, later()))
    for name in grown.history.domain_names:
        before, after = (each.score(name, Queries.of_users(np.arange(60))) for each in (fitted, grown))
        assert np.allclose(before, after[:, :40], atol=1e-6)
        # as an item of the same features that was there
        assert np.allclose(before[:, 20:24], after[:, 40:], atol=1e-6)
    lists = lb.recommend(grown, "food", k=44)
    assert lists.filter("cold")["item"].max() == 43
    # an event of theirs counts as any other's
    new = lb.fold_in(grown, {"food": [41]}, "food", k=5)
    assert (new["item"] % KINDS == 1).all()
    # and a table without them takes them away
    again = fitted.with_new_items(with_new_items(fitted.history, later()[:1]))
    assert again.history.items["food"].ids.tolist() == [*range(41)]


LINEAR = [
    EASE(reg=5.0, neighbours=30),
    EASE("separate", denoise=0.2),
    EASE(form="exact"),
    EASE("joined", form="dual"),
    ItemKNN(neighbours=30),
    ItemKNN("joined", shrinkage=1.0, target_exponent=0.3, power=1.5),
]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("method", LINEAR, ids=str)
def test_items_that_are_new_since_the_fit_have_the_columns_of_another_fit(
    method: LinearMethod, shared: bool
) -> None:
    """Of EASE, of the local form; and those of the others stay."""
    data = with_kinds(shelves())
    if shared:
        data = replace(data, products=products_of(data.items, equal_ids(data.items), by_id=True))
    fitted = method.fit(data, ONE)
    grown = fitted.with_new_items(with_new_items(fitted.history, later()))
    grown.check_arrays()
    local = method.with_settings({"form": "local"}) if method.name == "ease" else method
    again = local.fit(grown.history, ONE)
    queries = Queries.of_users(np.arange(60))
    for name in data.domain_names:
        before, after, expected = (each.score(name, queries) for each in (fitted, grown, again))
        assert np.array_equal(before[:, :20], after[:, :20])
        assert np.allclose(after[:, 20:], expected[:, 20:], rtol=1e-3, atol=1e-5)
        assert np.ptp(after[:, 40:], axis=1).min() > 0
    lists = lb.recommend(grown, "food", k=44)
    assert lists.filter("cold")["item"].max() == 43
    # an event of theirs counts among them
    new = lb.fold_in(grown, {"food": [41]}, "food", k=5)
    assert (new["item"] % KINDS == 1).all()
    about = lb.explain_features(grown, "food", grown.history.users.ids[1], 41)
    assert about.height


def test_a_table_without_new_items_changes_nothing() -> None:
    data = with_kinds(shelves())
    assert data.item_features is not None
    plain = replace(data, item_features=replace(data.item_features, rows=nothing_new(data)))
    fitted = ItemKNN().fit(plain, ONE)
    grown = fitted.with_new_items(with_new_items(fitted.history, later()[:1].with_columns(item=0)))
    queries = Queries.of_users(np.arange(60))
    assert np.array_equal(fitted.score("food", queries), grown.score("food", queries))


def nothing_new(data: MultiDomain) -> dict[str, Ragged]:
    """The features of the items that have events."""
    assert data.item_features is not None
    old = np.where(np.arange(40) < 20, np.arange(40), -1)
    return {name: rows.take(old) for name, rows in data.item_features.rows.items()}


@pytest.mark.parametrize(
    "others", [{"ease": {"method": "ease"}}, {"ials": {"method": "ials"}, "itemknn": {"method": "itemknn"}}]
)
def test_a_blend_lists_them_by_the_members_that_use_features(others: dict[str, Any]) -> None:
    plain = {"method": "ials", "settings": {"feature_reg": 1e9}}
    members = {"popularity": {"method": "popularity"}, "plain": plain, **others}
    fitted = Mixture(members).fit(with_kinds(shelves()), ONE)
    grown = fitted.with_new_items(with_new_items(fitted.history, later()))
    queries = Queries.of_users(np.arange(60))
    scores_UI = grown.score("food", queries)
    own = [standardised(member.score("food", queries)) for member in grown.members.values()]
    assert np.allclose(scores_UI, np.mean(own, axis=0), atol=1e-5)
    # what is known of an item without events and features is what a fit would know of it
    refitted = IALS(feature_reg=1e9).fit(grown.history, ONE)
    assert np.allclose(refitted.score("food", queries)[:, 40:], 0)
    assert np.allclose(grown.members["plain"].score("food", queries)[:, 40:], 0)
    assert (np.argmax(scores_UI[:, 40:], axis=1) == np.arange(60) % KINDS).mean() > 0.9
    assert lb.recommend(grown, "food", k=44).filter("cold")["item"].max() == 43


@pytest.mark.parametrize(
    "method",
    [
        EASE(feature_weight=0),
        Popularity(),
        IALS(8, feature_reg=1e9),
        registry.method("mixture").from_settings({"members": {"a": {"method": "popularity"}}}),
        registry.method("mixture").from_settings(
            {"members": {"a": {"method": "ials"}, "b": {"method": "bprmf", "settings": {"epochs": 1}}}}
        ),
    ],
    ids=str,
)
def test_other_methods_say_that_they_need_a_refit(method: Method) -> None:
    fitted = method.fit(with_kinds(shelves()), ONE)
    with pytest.raises(DataError, match="cannot list new items without a refit"):
        fitted.with_new_items(with_new_items(fitted.history, later()))


def test_a_known_product_of_another_domain_waits_for_the_refit() -> None:
    data = with_kinds(shelves())
    data = replace(data, products=products_of(data.items, equal_ids(data.items), by_id=True))
    fitted = IALS(8, "joined").fit(data, ONE)
    only_food = later().filter(pl.col("domain") == "food")
    once = fitted.with_new_items(with_new_items(fitted.history, only_food))
    twice = once.with_new_items(with_new_items(once.history, later()))
    assert [len(twice.history.items[name]) for name in ("food", "kitchen")] == [44, 40]

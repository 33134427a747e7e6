from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import explained, uneven

import landbridge as lb
from landbridge.core.errors import DataError, SettingsError
from landbridge.core.types import Ragged
from landbridge.data.activity import ACTIVITY, activity_group
from landbridge.models.base import Queries
from landbridge.models.mixture import BlendModel, Mixture, standardised
from landbridge.models.mixture_kernels import add_standardised
from landbridge.serving.engine.service import Service
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
MEMBERS = {
    "popularity": {"method": "popularity", "settings": {}},
    "alone": {"method": "ials", "settings": {"factors": 4, "epochs": 2}},
    "joint": {"method": "cdimf", "settings": {"factors": 4, "epochs": 2}},
}


def blended(weights: Any) -> BlendModel:
    return Mixture(MEMBERS, weights).fit(uneven(), ONE)


def everybody(blend: BlendModel) -> Queries:
    return Queries.of_users(np.arange(-1, blend.history.n_users))


def test_groups_begin_where_their_labels_say() -> None:
    counts = [0, 1, 2, 3, 5, 6, 10, 11, 30, 31, 1000]
    labels = [list(ACTIVITY)[group] for group in activity_group(counts)]
    assert labels == ["0", "1-2", "1-2", "3-5", "3-5", "6-10", "6-10", "11-30", "11-30", "31+", "31+"]


def test_scores_are_the_weighted_standardised_ones_of_each_group() -> None:
    weights = {
        "a": {
            "3-5": {"popularity": 0.25, "alone": 0.25, "joint": 0.5},
            "6-10": {"joint": 1.0},
            "11-30": {"popularity": 0.5, "alone": 0.5},
        }
    }
    blend = blended(weights)
    scores_BI = blend.score("a", everybody(blend))
    own = {label: member.score("a", everybody(blend)) for label, member in blend.members.items()}
    count_U = np.append(0, blend.history["a"].user_counts)
    for row, count in enumerate(count_U):
        group = next(label for label, fewest in reversed(ACTIVITY.items()) if count >= fewest)
        expected = np.zeros(scores_BI.shape[1])
        for label, weight in weights["a"].get(group, dict.fromkeys(MEMBERS, 1 / 3)).items():
            s = own[label][row].astype(float)
            expected += weight * (s - s.mean()) / s.std()
        np.testing.assert_allclose(scores_BI[row], expected, rtol=1e-4, atol=1e-4)
    assert len({next(g for g, n in reversed(ACTIVITY.items()) if c >= n) for c in count_U}) >= 4


def test_events_brought_along_decide_the_group() -> None:
    blend = blended({"a": {"0": {"popularity": 1.0}, "3-5": {"joint": 1.0}}})
    items = np.array([1, 5, 7], np.int32)
    events = {
        "a": Ragged(np.array([0, 3, 3]), items, None),
        "b": Ragged(np.array([0, 0, 2]), items[:2], None),
    }
    queries = Queries(np.array([-1, -1], np.int32), events)
    assert queries.counts_in(blend.history, "a").tolist() == [3, 0]
    scores_BI = blend.score("a", queries)
    joint, popular = (blend.members[label].score("a", queries) for label in ("joint", "popularity"))
    np.testing.assert_allclose(scores_BI[0], standardised(joint)[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores_BI[1], standardised(popular)[1], rtol=1e-5, atol=1e-5)


@given(st.integers(1, 5000), st.integers(0, 99), st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e30]))
def test_scores_are_standardised_and_added_as_by_their_formula(items: int, seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    scores_NI = (unit * (rng.normal(size=(3, items)) + 5)).astype(np.float32)
    start_BI = rng.normal(size=(7, items)).astype(np.float32)
    weight_N, row_N = np.array([0.2, 0.0, 1.0], np.float32), np.array([4, 0, 3])
    wide_NI = scores_NI.astype(np.float64)
    spread_N1 = wide_NI.std(axis=1, keepdims=True)
    z_NI = (wide_NI - wide_NI.mean(axis=1, keepdims=True)) / np.where(spread_N1 > 0, spread_N1, 1)
    expected_BI = start_BI.astype(np.float64)
    expected_BI[row_N] += weight_N[:, None] * z_NI
    add_standardised(len(row_N), scores_NI, weight_N, row_N, start_BI)
    np.testing.assert_allclose(start_BI, expected_BI, atol=2e-4)


def test_who_likes_all_items_alike_has_no_say() -> None:
    flat_BI = np.full((2, 5), 0.1, np.float32)
    assert np.array_equal(standardised(flat_BI), np.zeros((2, 5), np.float32))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": {"3-6": {"joint": 1.0}}}, "did you mean '3-5'"),
        ({"a": {"0": {"joined": 1.0}}}, "did you mean 'joint'"),
        ({"a": {"0": {"joint": 0.4}}}, "must add up to 1, not 0.4"),
        ({"a": {"0": {"joint": 1.5, "alone": -0.5}}}, "a number, 0 or more"),
    ],
)
def test_weights_are_checked(weights: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Mixture(MEMBERS, weights)


def test_a_mixture_needs_a_member() -> None:
    with pytest.raises(SettingsError, match="members is empty"):
        Mixture({})


@pytest.mark.parametrize(
    "member", [None, "ials", {}, {"settings": {}}, {"method": ["ials"]}, {"method": "ials", "settings": 3}]
)
def test_what_is_no_member_is_refused(member: Any) -> None:
    for make in (Mixture, lambda members: Mixture.from_settings({"members": members})):
        with pytest.raises(
            SettingsError, match=r"mixture\.members(: 'odd' must be a table of|.* each value a table.*'odd')"
        ):
            make({"odd": member})


def test_members_are_made_with_the_mixture() -> None:
    """A wrong setting is found at once, and not after the other members are fitted; none may be given."""
    with pytest.raises(SettingsError, match="setting of ials 'factor': did you mean 'factors'"):
        Mixture({"odd": {"method": "ials", "settings": {"factor": 3}}})
    assert Mixture({"all": {"method": "popularity"}}).methods().keys() == {"all"}


def test_reasons_add_up_to_the_score_and_name_the_events() -> None:
    weights = {"popularity": 0.3, "alone": 0.3, "joint": 0.4}
    blend = blended({"a": dict.fromkeys(ACTIVITY, weights)})
    for user, item in ((3, 5), (17, 30)):
        found = explained(blend, "a", Queries.of_users([user]), item)
        total = found.popularity + found.rest + sum(float(part.sum()) for part in found.events.values())
        assert total == pytest.approx(float(blend.score("a", Queries.of_users([user]))[0, item]), abs=1e-5)
        own = Queries.of_users([user])
        scales = {
            label: weights[label] / member.score("a", own)[0].std() for label, member in blend.members.items()
        }
        for name in blend.history.domain_names:
            parts = (
                scales[label] * explained(blend.members[label], "a", own, item).events[name]
                for label in ("alone", "joint")
            )
            np.testing.assert_allclose(found.events[name], sum(parts), rtol=1e-4, atol=1e-5)
        averages = (
            scales[label] * blend.members[label].score("a", own)[0].mean() for label in ("alone", "joint")
        )
        assert found.rest == pytest.approx(-sum(averages), abs=2e-3)


def test_a_list_of_reasons_costs_as_many_scorings_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All scores of a member are computed for the query, not again for every item that is explained."""
    blend, query = blended({}), Queries.of_users([3])
    calls: list[str] = []
    for member in blend.members.values():
        kind, scores = type(member), type(member).score

        def counted(self: Any, domain: str, queries: Queries, scores: Any = scores) -> Any:
            calls.append(domain)
            return scores(self, domain, queries)

        monkeypatch.setattr(kind, "score", counted)
    blend.explain("a", query, np.array([5], np.int32))
    once = len(calls)
    many = blend.explain("a", query, np.arange(20, dtype=np.int32))
    assert len(calls) == 2 * once
    alone = explained(blend, "a", query, 5)
    assert many[5].rest == pytest.approx(alone.rest)
    for name, part_E in alone.events.items():
        np.testing.assert_allclose(many[5].events[name], part_E, rtol=1e-6)


class TestAMemberWithoutExplanations:
    MEMBERS = MappingProxyType(
        {
            "popularity": {"method": "popularity", "settings": {}},
            "alone": {"method": "ials", "settings": {"factors": 4, "epochs": 1}},
            "pairs": {"method": "bprmf", "settings": {"factors": 4, "epochs": 1}},
        }
    )

    def test_the_blend_has_none_and_names_the_member(self) -> None:
        blend = Mixture(self.MEMBERS).fit(uneven(), ONE)
        assert not blend.explains
        with pytest.raises(DataError, match="the scores of pairs do not split"):
            explained(blend, "a", Queries.of_users([3]), 5)

    def test_popularity_does_not_count(self) -> None:
        assert blended({}).explains
        assert blended({}).personal

    def test_a_served_explanation_is_not_exact(self, tmp_path: Path) -> None:
        lb.save(Mixture(self.MEMBERS).fit(uneven(), ONE), tmp_path / "run")
        service = Service.open(tmp_path / "run")
        history = service.fitted.history
        user, item = str(history.users.ids[3]), str(history.items["a"].ids[5])
        assert not service.explain("a", item, user).exact


def test_a_blend_of_popularity_alone_is_not_personal() -> None:
    only = Mixture({"popularity": MEMBERS["popularity"]}).fit(uneven(), ONE)
    assert not only.personal
    assert not only.shares_user_space("a", "b")


@pytest.mark.parametrize(("labels", "shared"), [(["joint"], True), (["joint", "alone"], False)])
def test_domains_compare_where_all_personal_members_share_users(labels: list[str], shared: bool) -> None:
    members = {label: dict(MEMBERS[label]) for label in labels}
    if "alone" in members:
        members["alone"]["settings"] = {"factors": 4, "epochs": 1, "sharing": "separate"}
    blend = Mixture(members).fit(uneven(), ONE)
    assert blend.shares_user_space("a", "b") is shared

"""Lists over several domains: calibration is a probability, and it finds what was planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import uneven

from landbridge.data.queries import Queries
from landbridge.data.splitting.splits import leave_latest_out
from landbridge.evaluation.evaluate import evaluate
from landbridge.models.als.ials import IALS
from landbridge.models.mixture import BlendModel, Mixture
from landbridge.models.popularity import Popularity
from landbridge.selection.calibration import calibrated
from landbridge.selection.guard import guarded
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
MEMBERS = {"popularity": {"method": "popularity", "settings": {}}}


@pytest.fixture(scope="module")
def blend() -> BlendModel:
    split = leave_latest_out(uneven(users=200), seed=1)
    return guarded({"popularity": Popularity(), "alone": IALS(4, epochs=2)}, split, ONE)


def test_scores_of_all_domains_are_logarithms_of_one_probability(blend: BlendModel) -> None:
    queries = Queries.of_users([0, 5, 9, -1])
    total_B = sum(
        np.exp(blend.list_scores(name, queries).astype(np.float64)).sum(axis=1)
        for name in blend.history.domain_names
    )
    np.testing.assert_allclose(total_B, 1, rtol=1e-4)


def test_the_order_within_a_domain_stays(blend: BlendModel) -> None:
    queries = Queries.of_users(np.arange(20))
    for name in blend.history.domain_names:
        plain, listed = blend.score(name, queries), blend.list_scores(name, queries)
        assert np.array_equal(np.argsort(-plain, axis=1, kind="stable")[:, 0], listed.argmax(axis=1))


def test_a_sharp_member_gets_a_steeper_slope_than_a_dull_one() -> None:
    split = leave_latest_out(uneven(users=200), seed=1)
    fitted = Popularity().fit(split.train)
    wanted = {
        name: np.bincount(each.item_idx, minlength=split.train[name].n_items).astype(np.float32)
        for name, each in split.valid.targets.items()
    }
    fitted = replace(fitted, score_I=wanted)  # a member that knows what is held out
    mixture = Mixture(MEMBERS)
    honest = calibrated(BlendModel(split.train, mixture, (), {"popularity": fitted}), split.valid, 0)
    rng = np.random.default_rng(0)
    shuffled = {name: rng.permutation(score_I) for name, score_I in fitted.score_I.items()}
    noise = BlendModel(split.train, mixture, (), {"popularity": replace(fitted, score_I=shuffled)})
    dull = calibrated(noise, split.valid, 0)
    assert np.mean(list(honest.slopes.values())) > np.mean(list(dull.slopes.values()))


def test_users_of_one_domain_get_its_items_first(blend: BlendModel) -> None:
    counts_UD = blend.history.activity_UD
    only_a = np.flatnonzero((counts_UD[:, 0] > 3) & (counts_UD[:, 1:].sum(axis=1) == 0))[:5]
    share_BD = blend.domain_shares(Queries.of_users(only_a))
    assert (share_BD.argmax(axis=1) == 0).all()


def test_one_list_over_all_domains_is_evaluated_on_it(blend: BlendModel) -> None:
    split = leave_latest_out(uneven(users=200), seed=1).across()
    raw = replace(blend, method=replace(blend.method, slopes={}))
    with_slopes, without = (evaluate(model, split.test, threads=1).rows["above"] for model in (blend, raw))
    assert not with_slopes.equals(without)


def test_a_factor_model_adds_popularity_only_for_users_without_any_event() -> None:
    data = uneven({"a": (30, 50), "b": (20, 10)})
    fitted = IALS(4, "joined", epochs=2).fit(data)
    elsewhere = int(np.flatnonzero((data.activity_UD[:, 0] > 0) & (data.activity_UD[:, 1] == 0))[0])
    queries = Queries.of_users([elsewhere, -1])
    listed, plain = fitted.list_scores("b", queries), fitted.score("b", queries)
    np.testing.assert_allclose(listed[0], fitted.warm_scores("b", queries)[0], rtol=1e-5)
    assert not np.allclose(listed[0], plain[0])
    assert np.array_equal(listed[1], plain[1])

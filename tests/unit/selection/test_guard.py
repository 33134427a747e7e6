from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge import store
from landbridge.core.errors import DivergenceError, SettingsError
from landbridge.core.progress import Silent
from landbridge.data.activity import ACTIVITY
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.splitting.holdout import Holdout, Split, Targets
from landbridge.data.synthetic import planted_transfer
from landbridge.evaluation.evaluate import evaluate
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Method
from landbridge.models.mixture import BlendModel
from landbridge.models.popularity import Popularity
from landbridge.selection import blend as blend_module
from landbridge.selection.auto import Tuning, candidates, tuned_candidates
from landbridge.selection.guard import (
    _domain_decisions,
    _Evidence,
    decision_table,
    guarded,
    single_domain_of,
    with_single_domain,
)
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
JOINED = IALS(8, "joined", epochs=8)


def with_strangers() -> Split:
    """``sparse`` gains from the dense domains; in ``stranger`` the ids are other people's, so it is hurt."""
    world, other = planted_transfer(users=800), planted_transfer(users=800, seed=5)
    moved_U = np.random.default_rng(0).permutation(800).astype(np.int32)
    parts = [
        _joined(one, two, moved_U)
        for one, two in ((world.split.valid, other.split.valid), (world.split.test, other.split.test))
    ]
    return Split(*parts)


def _joined(one: Holdout, two: Holdout, moved_U: Any) -> Holdout:
    events, targets = two.history["dense_0"], two.targets["dense_0"]
    table = Interactions.from_events(moved_U[events.user_idx], events.item_idx, 800, events.n_items)
    order = np.argsort(moved_U[targets.user_idx], kind="stable")
    moved = Targets(moved_U[targets.user_idx][order], targets.item_idx[order])
    history = MultiDomain(
        one.history.users,
        {**one.history.items, "stranger": two.history.items["dense_0"]},
        {**one.history.domains, "stranger": table},
    )
    return Holdout(history, {**one.targets, "stranger": moved})


@pytest.fixture(scope="module")
def split() -> Split:
    return with_strangers()


@pytest.fixture(scope="module")
def blend(split: Split) -> BlendModel:
    return guarded(with_single_domain(JOINED), split, ONE)


def means(method: Any, split: Split) -> dict[str, float]:
    fitted = method if isinstance(method, BlendModel) else method.fit(split.test.history, ONE)
    return evaluate(fitted, split.test, threads=1).means("ndcg@10")


def test_who_gains_is_joined_and_who_is_hurt_is_protected(split: Split, blend: BlendModel) -> None:
    alone, joined, served = (means(m, split) for m in (single_domain_of(JOINED), JOINED, blend))
    assert joined["sparse"] > 2 * alone["sparse"]
    assert joined["stranger"] < 0.9 * alone["stranger"]
    assert served["sparse"] > 0.9 * joined["sparse"]
    assert served["stranger"] > 0.99 * alone["stranger"]


def test_the_decisions_say_what_is_served(blend: BlendModel) -> None:
    assert len(blend.decisions) == 4 * len(ACTIVITY)
    for decision in blend.decisions:
        assert decision["weights"] == blend.method.weights[decision["domain"]][decision["group"]]


def test_groups_without_users_borrow_from_the_nearest_group(blend: BlendModel) -> None:
    pairs = {group: sum(d["pairs"] for d in blend.decisions if d["group"] == group) for group in ACTIVITY}
    groups = list(ACTIVITY)
    seen = [place for place, group in enumerate(groups) if pairs[group]]
    assert len(seen) < len(groups)
    weights = {(d["domain"], d["group"]): d["weights"] for d in blend.decisions}
    for place, group in enumerate(groups):
        nearest = groups[min(seen, key=lambda other: (abs(other - place), other))]
        for domain in blend.history.domain_names:
            assert weights[domain, group] == weights[domain, nearest]


def test_a_stored_mixture_serves_the_same(blend: BlendModel, tmp_path: Path) -> None:
    from landbridge.models.base import Queries

    store.save(blend, tmp_path / "run")
    again = store.load(tmp_path / "run")
    users = Queries.of_users(np.arange(-1, 50))
    for domain in blend.history.domain_names:
        assert np.array_equal(again.score(domain, users), blend.score(domain, users))
    assert again.decisions == tuple(blend.decisions)


def test_the_single_domain_baseline_has_the_methods_own_settings() -> None:
    assert single_domain_of(CDIMF(factors=12, alpha0=0.3, reg=0.5, epochs=3)) == IALS(
        12, "separate", 0.3, 0.5, epochs=3
    )
    assert single_domain_of(Popularity()) == IALS()


def test_a_method_that_is_its_own_single_domain_baseline_is_no_third_member() -> None:
    assert list(with_single_domain(IALS(4))) == ["popularity", "alone"]
    assert list(with_single_domain(CDIMF(4))) == ["popularity", "alone", "cdimf"]


class _StopError(Exception):
    pass


def test_a_guarded_fit_that_was_killed_goes_on(split: Split, tmp_path: Path) -> None:
    methods: Mapping[str, Any] = {
        "popularity": Popularity(),
        "alone": IALS(4, epochs=3),
        "joined": replace(JOINED, epochs=3),
    }
    whole = guarded(methods, split, ONE)
    for after in (2, 5):
        with pytest.raises(_StopError):
            guarded(methods, split, replace(ONE, work_dir=tmp_path, progress=_Killer(after)))
    resumed = guarded(methods, split, replace(ONE, work_dir=tmp_path))
    arrays, again = whole.state()[0], resumed.state()[0]
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)
    assert whole.decisions == resumed.decisions


class _Killer(Silent):
    """Progress that ends everything at the given step."""

    def __init__(self, after: int) -> None:
        object.__setattr__(self, "left", [after])

    def task(self, title: str, total: int, seconds: float | None = None) -> Any:
        killer = self

        class Task:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *error: object) -> None:
                pass

            def step(self, done: int, facts: Mapping[str, float]) -> None:
                killer.left[0] -= 1  # type: ignore[attr-defined]
                if killer.left[0] < 0:  # type: ignore[attr-defined]
                    raise _StopError

        return Task()


@pytest.mark.parametrize(("noise", "refused"), [(0.9, True), (0.01, False)])
def test_a_better_choice_is_taken_only_where_it_is_sure(noise: float, refused: bool) -> None:
    """200 pairs of one group: ``joint`` is a little better than ``alone``, surely or by luck."""
    around_T = np.tile([noise, -noise], 100)
    value_TR = np.stack([np.zeros(200), np.full(200, 0.1), 0.12 + around_T], axis=1).astype(np.float32)
    same_T, user_T = np.zeros(200, np.int64), np.arange(200)
    weight_RCM = np.repeat(np.eye(3, dtype=np.float32)[:, None], len(ACTIVITY), axis=1)
    tried = blend_module.BlendTrials(
        value_TR, weight_RCM, same_T, same_T + 2, user_T, ("a",), ("popularity", "alone", "joint")
    )
    decision = list(_domain_decisions(_Evidence.of(tried, ("popularity", "alone"), 0), 0))[2]
    assert decision.simple == "alone"
    assert decision.protected == refused
    assert decision.weights == ({"alone": 1.0} if refused else {"joint": 1.0})
    assert decision.members["joint"] == pytest.approx(0.12, abs=0.02)


def test_a_candidate_whose_trials_all_diverge_is_left_out(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(self: Tuning, method: Method, *rest: object) -> tuple[Method, None]:
        if method.name == "ials":
            raise DivergenceError("all trials")
        return method, None

    monkeypatch.setattr(Tuning, "search", search)
    proposed = {"popularity": Popularity(), "alone": IALS(4)}
    members, fitted = tuned_candidates(proposed, split, ONE, Tuning())
    assert list(members) == ["popularity"]
    assert fitted == {}
    with pytest.raises(DivergenceError, match="every candidate"):
        tuned_candidates({"alone": IALS(4)}, split, ONE, Tuning())


def test_families_are_named_by_candidate_or_method(split: Split) -> None:
    assert list(candidates(split.train, ["ease cross", "ials"])) == ["ease cross", "alone", "joined"]
    with pytest.raises(SettingsError, match="did you mean 'ials'"):
        candidates(split.train, ["ial"])


def test_groups_served_alike_share_a_row_of_the_table() -> None:
    def decision(group: str, pairs: int, **weights: float) -> dict[str, Any]:
        values = {"estimate": 0.2, "simple_estimate": 0.1, "simple": "alone"}
        return {"domain": "a", "group": group, "pairs": pairs, "weights": weights, **values}

    many = {"x": 0.4, "y": 0.3, "z": 0.2, "v": 0.06, "w": 0.04}
    rows = decision_table(
        [
            decision("0", 0, x=1.0),
            decision("1-2", 9, x=1.0),
            decision("3-5", 4, **many),
            decision("31+", 2, **many),
        ]
    ).to_dicts()
    assert [(row["events"], row["pairs"]) for row in rows] == [("0-2", 9), ("3+", 6)]
    assert [row["served by"] for row in rows] == ["x", "0.4 x + 0.3 y + 0.2 z + 2 more"]

"""The contract of every method, as tests of pytest."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import landbridge as lb
from landbridge.core import mapped, row_blocks
from landbridge.core.errors import DataError, SettingsError
from landbridge.core.settings import schema
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.event_cache import open_mapped, write_mapped
from landbridge.data.seen import Seen
from landbridge.data.splitting.holdout import Holdout
from landbridge.data.synthetic import checkerboard
from landbridge.data.vocabulary import Vocabulary
from landbridge.models import registry
from landbridge.models.base import Fitted, Method, Queries, StoredState
from landbridge.testing.worlds import countries, of_tables, shelves, timed, uneven
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)


def small(name: str, **settings: Any) -> Method:
    """The method with few factors and epochs, and steps that suit a few events, as far as it has them."""
    kind = registry.method(name)
    suited = {
        "factors": 4,
        "encoder.factors": 4,
        "epochs": 3,
        "warmup": 1,
        "adaptation.epochs": 2,
        "lr": 0.03,
        "batch_size": 64,
        **settings,
    }
    return kind.from_settings({k: v for k, v in suited.items() if k in schema(kind)})


@cache
def fitted_once(name: str) -> Fitted:
    """The small method fitted on the uneven world, for all tests that only read it."""
    return small(name).fit(uneven(), ONE)


def everyone(data: MultiDomain) -> Queries:
    return Queries.of_users(np.arange(-1, data.n_users))


def scores(fitted: Fitted, data: MultiDomain) -> dict[str, np.ndarray]:
    return {name: fitted.score(name, everyone(data)) for name in data.domain_names}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def check(fitted: Fitted, data: MultiDomain) -> None:
    for name, scores_BI in scores(fitted, data).items():
        assert scores_BI.shape == (data.n_users + 1, data[name].n_items)
        assert scores_BI.dtype == np.float32
        assert np.isfinite(scores_BI).all()


def times_of(data: MultiDomain) -> dict[str, Any]:
    return {name: table.time for name, table in data.domains.items() if table.time is not None}


def of_kinds(data: MultiDomain) -> MultiDomain:
    """Half of the events are views; the first user's first events, and others, are disliked or only seen."""
    domains, seen = {}, {}
    for name, table in data.domains.items():
        standing_N = np.arange(len(table)) % 5
        standing_N[table.user_idx == 0] = 2
        bits_N = np.where(np.arange(len(table)) % 2, data.kinds.bit("view"), data.kinds.bit("buy"))
        weight_N = np.where(np.arange(len(table)) % 2, 0.2, 1).astype(np.float32)
        domains[name] = replace(table, weight=weight_N, kinds=bits_N).take(standing_N > 2)
        pairs = table.take(standing_N <= 2)
        seen[name] = Seen(pairs, standing_N[standing_N <= 2] > 0)
    return replace(data, domains=domains, seen=seen)


def hits(fitted: Fitted, holdout: Holdout, domain: str, k: int) -> float:
    """The share of targets with fewer than ``k`` unseen items at or above them."""
    targets, history = holdout.targets[domain], holdout.history[domain]
    scores_TI = fitted.score(domain, Queries.of_users(targets.user_idx)).copy()
    own_T = scores_TI[np.arange(len(targets)), targets.item_idx]
    for row, user in enumerate(targets.user_idx):
        scores_TI[row, history.item_idx[history.user_idx == user]] = -np.inf
    return float(np.mean((scores_TI >= own_T[:, None]).sum(axis=1) <= k))


class MethodContract:
    """What every method must do, for a method under its name in the registry.

    A package outside tests its method by

        class TestMine(MethodContract):
            method = "itemmean"
    """

    method: ClassVar[str]

    @pytest.fixture
    def name(self) -> str:
        """The name of the method."""
        return self.method

    def test_settings_make_the_same_method(self, name: str) -> None:
        method = small(name)
        assert registry.method(name).from_settings(asdict(method)) == method
        assert registry.method(name).from_settings(method.flat()) == method

    def test_an_unknown_setting_names_the_nearest(self, name: str) -> None:
        kind = registry.method(name)
        key = (*schema(kind), "anything")[0]
        with pytest.raises(SettingsError, match=f"Unknown setting of {name}") as caught:
            kind.from_settings({f"{key}x": 1})
        if schema(kind):
            assert f"did you mean {key.rpartition('.')[2]!r}" in str(caught.value)

    def test_memory_mapped_events_change_nothing(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither of a split, of the model fitted on it, nor of its evaluation, in blocks of few events."""
        data = timed(of_kinds(uneven()))
        write_mapped(data, tmp_path)
        models, rows = [], []
        with monkeypatch.context() as small_blocks:
            for world in (data, open_mapped(tmp_path)):
                split = lb.leave_latest_out(world)
                models.append(small(name).fit(split.train, ONE))
                rows.append(lb.evaluate(models[-1], split.valid, threads=1).rows)
                small_blocks.setattr(row_blocks, "AT_ONCE", 30)
                small_blocks.setattr(mapped, "IN_MEMORY", 0)
        assert isinstance(models[1].history["a"].user_idx.base, np.memmap)
        assert same(*(scores(fitted, data) for fitted in models))
        assert rows[0].equals(rows[1])

    def test_fitting_twice_gives_the_same_model(self, name: str) -> None:
        data = uneven()
        assert same(*(scores(fitted, data) for fitted in (fitted_once(name), small(name).fit(data, ONE))))

    def test_threads_change_nothing(self, name: str) -> None:
        if not registry.method(name).thread_invariant:
            pytest.skip("torch's sums depend on the number of threads")
        data = uneven(users=300)
        one, two = (scores(small(name).fit(data, FitOptions(threads=n)), data) for n in (1, 2))
        assert same(one, two)

    def test_state_is_the_whole_model(self, name: str) -> None:
        data, fitted = uneven(), fitted_once(name)
        arrays, about = fitted.state()
        kind = registry.kind(fitted.kind)
        again = kind.from_state(StoredState(data, fitted.method, fitted.log, arrays, about))
        assert same(scores(fitted, data), scores(again, data))

    def test_scores_are_finite_float32_rows_over_the_catalogue(self, name: str) -> None:
        check(fitted_once(name), uneven())

    def test_fitting_leaves_the_data_alone(self, name: str) -> None:
        data = uneven()
        small(name).fit(data, ONE)
        assert data.fingerprint == uneven().fingerprint

    def test_no_query_no_row(self, name: str) -> None:
        assert fitted_once(name).score("a", Queries.of_users([])).shape == (0, 40)

    def test_a_query_of_no_events_is_a_cold_one(self, name: str) -> None:
        fitted = fitted_once(name)
        none = Ragged.empty(1)
        queries = Queries(np.array([-1], np.int32), {"a": none})
        assert np.array_equal(fitted.score("b", queries), fitted.score("b", Queries.of_users([-1])))

    def test_an_unknown_domain_is_an_error(self, name: str) -> None:
        with pytest.raises(DataError, match="Unknown domain"):
            fitted_once(name).score("aa", Queries.of_users([0]))

    def test_users_known_in_no_domain_are_all_alike(self, name: str) -> None:
        data = uneven()
        data = data.with_events({n: t.take(t.user_idx > 1) for n, t in data.domains.items()})
        fitted = small(name).fit(data, ONE)
        for domain in data.domain_names:
            unknown, first, second = fitted.score(domain, Queries.of_users([-1, 0, 1]))
            assert np.array_equal(unknown, first)
            assert np.array_equal(unknown, second)

    def test_users_known_only_elsewhere_get_scores(self, name: str) -> None:
        data = uneven({"a": (30, 50), "b": (20, 10)})
        check(small(name).fit(data, ONE), data)

    def test_one_domain_is_enough(self, name: str) -> None:
        data = uneven({"only": (20, 60)})
        check(small(name).fit(data, ONE), data)

    def test_domains_without_common_users(self, name: str) -> None:
        data = uneven()
        half = {"a": data["a"].take(data["a"].user_idx < 30), "b": data["b"].take(data["b"].user_idx >= 30)}
        apart = of_tables(half)
        check(small(name).fit(apart, ONE), apart)

    def test_kinds_seen_pairs_and_dislikes_are_taken(self, name: str) -> None:
        """Weights and kinds of events, pairs that are seen or disliked, and a user who has no other."""
        data = of_kinds(uneven())
        fitted = small(name).fit(data, ONE)
        check(fitted, data)
        marks = {name: data.excluded(name, seen=True).by_user for name in data.domain_names}
        events = {name: table.by_user for name, table in data.domains.items()}
        queries = Queries(np.full(data.n_users, -1, np.int32), events, times_of(data), marks)
        assert np.isfinite(fitted.score("b", queries)).all()
        for frame in (lb.recommend(fitted, "a", [0], k=40), lb.recommend(fitted, "a", [0], k=40, seen=True)):
            assert not set(frame["item"].to_list()) & set(
                data.excluded("a", seen=True).by_user.take([0]).columns
            )

    def test_seen_pairs_alone_change_no_fit(self, name: str) -> None:
        data = uneven()
        marked = replace(data, seen=of_kinds(data).seen)
        assert same(scores(fitted_once(name), data), scores(small(name).fit(marked, ONE), data))

    def test_shared_items_are_used_or_ignored_as_the_method_says(self, name: str) -> None:
        """Shared items change a model that uses products, in no other any bit; both are stored whole."""
        data = timed(countries())
        joined = {"sharing": "joined", "pooling": 10.0} if registry.method(name).shared_items else {}
        for settings in ({}, joined):
            method = small(name, **settings)
            apart, fitted = (method.fit(world, ONE) for world in (replace(data, products=None), data))
            check(fitted, data)
            assert same(scores(apart, data), scores(fitted, data)) != method.uses_products
            kept = StoredState(data, fitted.method, fitted.log, *fitted.state())
            assert same(scores(fitted, data), scores(registry.kind(fitted.kind).from_state(kept), data))

    def test_item_features_are_used_or_ignored_as_the_method_says(self, name: str) -> None:
        """Features change a model that uses them, in no other any bit; new ones are listed by the former
        alone, and both are stored whole."""
        data, method = timed(shelves()), small(name)
        apart, fitted = (method.fit(world, ONE) for world in (replace(data, item_features=None), data))
        check(fitted, data)
        assert same(scores(apart, data), scores(fitted, data)) != method.uses_features
        assert lb.recommend(fitted, "food", k=40)["cold"].any() == method.uses_features
        kept = StoredState(data, fitted.method, fitted.log, *fitted.state())
        assert same(scores(fitted, data), scores(registry.kind(fitted.kind).from_state(kept), data))

    @pytest.mark.parametrize("events", [0, 1])
    def test_a_domain_of_hardly_any_events(self, name: str, events: int) -> None:
        data = uneven()
        data = data.with_events({**data.domains, "b": data["b"].take(np.arange(len(data["b"])) < events)})
        check(small(name).fit(data, ONE), data)

    def test_item_ids_belong_to_their_domain(self, name: str) -> None:
        """Equal ids in two domains are two items: the model is that of disjoint ids."""
        data = uneven()
        disjoint = MultiDomain(
            data.users,
            {n: Vocabulary.of(np.arange(len(v)) + 1000 * k) for k, (n, v) in enumerate(data.items.items())},
            data.domains,
        )
        assert same(scores(fitted_once(name), data), scores(small(name).fit(disjoint, ONE), disjoint))

    def test_learns_a_checkerboard(self, name: str) -> None:
        world = checkerboard(domains=2)
        fitted = small(name, factors=4, epochs=10).fit(timed(world.split.test.history), ONE)
        floor = 0.9 if registry.method(name).space and fitted.personal else 0.0
        assert all(hits(fitted, world.split.test, domain, 1) >= floor for domain in world.data.domain_names)

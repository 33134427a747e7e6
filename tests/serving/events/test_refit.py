"""Refits: nothing new changes nothing, the new are served, the forgotten gone, bad models not published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import far, uneven

from landbridge import store
from landbridge.core.errors import DivergenceError, SettingsError, StoreError
from landbridge.core.files import exclusive_lock
from landbridge.data.activity import ACTIVITY
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.synthetic import planted_transfer
from landbridge.inference import recommend
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted, Method
from landbridge.models.mixture import BlendModel, Mixture
from landbridge.models.popularity import Popularity
from landbridge.serving.engine.messages import Event
from landbridge.serving.events.refit import refit
from landbridge.serving.events.store import EventStore
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)
SMALL = {"factors": 4, "alpha0": 0.1, "reg": 1.0}
LONG = 60  # epochs after which nothing moves
METHODS = {
    "separate": IALS(**SMALL),
    "joined": IALS(sharing="joined", **SMALL),
    "auto solver": IALS(solver="auto", **SMALL),
    "consensus": CDIMF(**SMALL),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def events(tmp_path: Path) -> Iterator[EventStore]:
    with closing(EventStore.open(str(tmp_path / "events.sqlite"))) as opened:
        yield opened


def planted() -> MultiDomain:
    """Clear tastes, so that a fit ends where it must; three domains, all users in each."""
    return planted_transfer(users=80, items=40, groups=4, seed=1).split.train


def saved(run: Path, method: Method, data: MultiDomain | None = None) -> Fitted:
    fitted = method.fit(data or planted(), ONE)
    store.save(fitted, run)
    return fitted


def scores(fitted: Fitted, domain: str) -> Any:
    """Of the users and items of the planted world, by their raw ids."""
    history = fitted.history
    item_idx = history.items[domain].index(np.arange(40))
    return fitted.score(domain, Queries.of_users(history.users.index(np.arange(80))))[:, item_idx]


@pytest.mark.parametrize("name", METHODS)
def test_a_refit_of_nothing_new_recommends_the_same(name: str, run: Path, events: EventStore) -> None:
    method = METHODS[name]
    first = saved(run, method.from_settings({**vars(method), "epochs": LONG}))
    refit(run, events, options=replace(ONE, seed=5))
    again = store.load(run)
    assert again.history.fingerprint == first.history.fingerprint
    for domain in first.history.domain_names:
        assert far(scores(again, domain), scores(first, domain)) < 1e-3
        one, other = (recommend(fitted, domain, k=5)["item"].to_list() for fitted in (again, first))
        assert one == other


@pytest.mark.parametrize("name", METHODS)
def test_a_refit_goes_on_from_the_last_rows_although_indices_moved(
    name: str, run: Path, events: EventStore
) -> None:
    """After one epoch it is where the first fit was, while an epoch from the beginning is far from it."""
    method = METHODS[name]
    first = saved(run, method.from_settings({**vars(method), "epochs": LONG}))
    home = first.history.domain_names[0]
    events.append(-1, [Event(home, -7), Event(first.history.domain_names[1], 3)])
    refit(run, events, epochs=1, options=ONE)
    warm = store.load(run)
    cold = method.from_settings({**vars(method), "epochs": 1}).fit(warm.history, ONE)
    assert warm.history.users.ids[0] == -1
    assert warm.history.items[home].ids[0] == -7
    for domain in first.history.domain_names:
        assert far(scores(warm, domain), scores(first, domain)) < 0.05
    assert far(scores(cold, home), scores(first, home)) > 0.3
    assert warm.method == first.method  # the run's settings, not the one epoch
    assert sum("epoch" in record for record in warm.log) == 1


def test_a_consensus_that_goes_on_is_not_first_undone(run: Path, events: EventStore) -> None:
    """With an epoch without penalty, as at the beginning, the scores are three times as far away."""
    first = saved(run, CDIMF(admm=ADMM(rho=1.0), epochs=LONG, **SMALL), uneven())
    refit(run, events, epochs=1, options=ONE)
    again, asked = store.load(run), everybody(first)
    assert all(
        far(again.score(name, asked), first.score(name, asked)) < 0.1 for name in first.history.domain_names
    )


def test_a_new_user_is_served_like_one_with_the_same_events(run: Path, events: EventStore) -> None:
    first = saved(run, IALS(sharing="joined", **SMALL), uneven())
    twin = int(np.argmax(first.history.activity_UD.sum(axis=1)))
    for name, table in first.history.domains.items():
        items = table.item_idx[table.user_idx == twin].tolist()
        events.append("1000", [Event(name, item) for item in items])
    growth = refit(run, events, options=ONE).growth
    fitted = store.load(run)
    assert growth.users == 1
    assert growth.events == first.history.activity_UD[twin].sum()
    one, other = (recommend(fitted, "a", [user], k=5)["item"].to_list() for user in (1000, twin))
    assert one == other


@pytest.mark.parametrize("name", METHODS)
def test_new_users_and_items_that_know_only_each_other_are_learned(
    name: str, run: Path, events: EventStore
) -> None:
    """Rows of zero on both sides would stay zero."""
    saved(run, METHODS[name])
    home = planted().domain_names[0]
    for user in range(100, 120):
        events.append(user, [Event(home, 200 + user % 2 + 2 * n) for n in range(8) if n != user % 8])
    refit(run, events, options=ONE)
    fitted = store.load(run)
    for user in range(100, 120):
        (best,) = recommend(fitted, home, [user], k=1)["item"].to_list()
        assert best == 200 + user % 2 + 2 * (user % 8)


def test_a_forgotten_user_is_gone_without_a_trace(run: Path, events: EventStore) -> None:
    data = named(uneven())
    saved(run, CDIMF(epochs=3, **SMALL), data)
    events.append("person-7", [Event("a", 1)])
    events.append("person-8", [Event("a", 1)])
    events.forget("person-7")
    assert refit(run, events, options=ONE).growth.forgotten == 1
    assert store.load(run).history.users.index(["person-7", "person-8"]).tolist() == [-1, 57]
    everything = b"".join(file.read_bytes() for file in run.iterdir())
    assert b"person-8" in everything
    assert b"person-7" not in everything


def test_a_forgotten_id_is_kept_until_a_refit_starts_without_her(
    run: Path, events: EventStore, tmp_path: Path
) -> None:
    saved(run, IALS(epochs=2, **SMALL))
    events.forget(3)
    events.forget("a passer-by")
    refit(run, events, tmp_path / "other", options=ONE)
    assert events.forgotten() == {3, "3"}  # the run still knows her; of the other nothing was left
    refit(run, events, options=ONE)
    assert events.forgotten() == {3, "3"}  # a server may still have the old state
    refit(run, events, options=ONE)
    assert events.forgotten() == frozenset()
    assert store.load(run).history.users.index([3]).tolist() == [-1]


def test_a_model_of_no_numbers_is_not_published(
    run: Path, events: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(run, IALS(epochs=2, **SMALL))
    before = (run / "manifest.json").read_bytes()
    fit = IALS.fit

    def spoilt(method: IALS, train: MultiDomain, options: FitOptions | None = None) -> Fitted:
        fitted = fit(method, train, options)
        fitted.user_UF[train.domain_names[1]][-1, 0] = np.nan
        return fitted

    monkeypatch.setattr(IALS, "fit", spoilt)
    events.forget(3)
    with pytest.raises(DivergenceError, match="stays as it was"):
        refit(run, events, options=ONE)
    assert (run / "manifest.json").read_bytes() == before
    assert events.forgotten() == {3, "3"}
    assert [path.name for path in run.parent.iterdir() if path.is_dir()] == ["run"]


def test_a_mixture_keeps_its_decisions_and_its_members_go_on(run: Path, events: EventStore) -> None:
    members = {
        label: {"method": method.name, "settings": vars(method)}
        for label, method in (("popularity", Popularity()), ("joint", IALS(epochs=LONG, **SMALL)))
    }
    home = planted().domain_names[0]
    weights = {home: {group: {"popularity": 0.25, "joint": 0.75} for group in ACTIVITY}}
    log = ({"domain": home, "why": "measured"},)
    decided = replace(Mixture(members, weights).fit(planted(), ONE), log=log)
    store.save(decided, run)
    events.append(-1, [Event(home, 3)])
    refit(run, events, epochs=1, options=ONE)
    again = store.load(run)
    assert isinstance(again, BlendModel)
    assert again.method == decided.method
    assert again.decisions == decided.decisions
    assert json.loads((run / "manifest.json").read_text())["decisions"] == list(decided.decisions)
    assert far(scores(again.members["joint"], home), scores(decided.members["joint"], home)) < 0.05


def test_other_methods_are_fitted_anew_with_their_own_epochs(run: Path, events: EventStore) -> None:
    saved(run, Popularity(), uneven())
    events.append(1000, [Event("b", item) for item in (1, 2)])
    growth = refit(run, events, options=ONE).growth
    fitted = store.load(run)
    plain = Popularity().fit(fitted.history)
    assert growth.events == 2
    assert np.array_equal(fitted.score("b", everybody(fitted)), plain.score("b", everybody(plain)))
    with pytest.raises(SettingsError, match="leave out --epochs"):
        refit(run, events, epochs=2)


def test_what_cannot_be_refitted_is_refused(run: Path, events: EventStore) -> None:
    saved(run, IALS(epochs=2, **SMALL))
    with pytest.raises(SettingsError, match="1 or more"):
        refit(run, events, epochs=0)
    with exclusive_lock(run.with_name("run.checkpoint")), pytest.raises(StoreError, match="Another fit"):
        refit(run, events)
    with pytest.raises(StoreError, match="no run folder"):
        refit(run.with_name("typo"), events)


def test_going_on_pays_for_planted_transfer(run: Path, events: EventStore) -> None:
    """Two epochs after new events are as good as twelve from the beginning."""
    world = planted_transfer(users=200, items=80, seed=1)
    method = CDIMF(factors=8, alpha0=0.1, reg=0.1)
    saved(run, method, world.split.train)
    for name, valid in world.split.valid.targets.items():
        users, items = world.data.users.ids[valid.user_idx], world.data.items[name].ids[valid.item_idx]
        for user, item in zip(users.tolist(), items.tolist(), strict=True):
            events.append(user, [Event(name, item)])
    refit(run, events, epochs=2, options=ONE)
    warm, cold = store.load(run), method.fit(world.split.test.history, ONE)
    assert warm.history.n_events == world.split.test.history.n_events
    assert hits(warm, world.split.test) >= 0.97 * hits(cold, world.split.test) > 0


@pytest.fixture
def grown(run: Path, events: EventStore) -> Path:
    """A run of planted tastes, and 60 new events in the store that these predict."""
    world = planted_transfer(users=80, items=40, groups=4, seed=1)
    saved(run, IALS(sharing="joined", epochs=5, **SMALL), world.split.train)
    for name, valid in world.split.valid.targets.items():
        for user, item in zip(valid.user_idx.tolist(), valid.item_idx.tolist(), strict=True):
            events.append(user, [Event(name, item)])
    return run


def scrambled(method: IALS, train: MultiDomain, options: FitOptions | None = None) -> Fitted:
    """A fit whose items have each other's embeddings."""
    fitted = FIT(method, train, options)
    for items_IF in fitted.item_IF.values():
        items_IF[:] = np.roll(items_IF, 1, axis=0)
    return fitted


FIT = IALS.fit


def test_a_refit_that_passes_the_gate_keeps_its_figures(grown: Path, events: EventStore) -> None:
    result = refit(grown, events, options=ONE)
    assert result.gate is not None
    assert (result.gate.decision, result.gate.pairs) == ("passed", 60)
    kept = json.loads((grown / "manifest.json").read_text())["gate"]
    assert kept["decision"] == "passed"
    assert [each["domain"] for each in kept["domains"]] == list(planted().domain_names)
    # the pairs were held out of the candidate only
    assert store.load(grown).history.n_events == planted().n_events + 60


def test_a_model_that_is_worse_than_the_present_one_is_not_saved(
    grown: Path, events: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (grown / "manifest.json").read_bytes()
    events.forget("a user of old")
    monkeypatch.setattr(IALS, "fit", scrambled)
    result = refit(grown, events, options=ONE)
    assert result.is_refused
    assert (grown / "manifest.json").read_bytes() == before
    assert events.forgotten() == {"a user of old"}
    assert not refit(grown, events, options=ONE, gated=False).is_refused
    assert "gate" not in json.loads((grown / "manifest.json").read_text())


@pytest.fixture
def shop(run: Path, tmp_path: Path) -> Path:
    """A versions folder with one version."""
    saved(tmp_path / "shop" / "first", IALS(epochs=2, **SMALL))
    store.rollback(tmp_path / "shop", "first")
    return tmp_path / "shop"


def test_in_a_versions_folder_a_refit_is_a_new_version(shop: Path, events: EventStore) -> None:
    events.append(1000, [Event(planted().domain_names[0], 1)])
    refit(shop, events, options=ONE)
    assert store.load(shop).history.users.index([1000]).tolist() != [-1]
    assert store.load(shop / "first").history.users.index([1000]).tolist() == [-1]
    store.rollback(shop)
    refit(shop, events, options=ONE)  # from what is current now
    assert store.load(shop).history.users.index([1000]).tolist() != [-1]
    assert len(store.versions(shop)) == 3
    with pytest.raises(StoreError, match="is a version, and versions stay as they are"):
        refit(shop / "first", events, options=ONE)


def test_only_one_refit_at_a_time_makes_a_version(shop: Path, events: EventStore) -> None:
    with exclusive_lock(shop.with_name("shop.checkpoint")), pytest.raises(StoreError, match="Another fit"):
        refit(shop, events, options=ONE)
    assert [path.name for path in shop.iterdir() if path.is_dir()] == ["first"]


def test_a_refused_version_is_noted_and_not_made(
    grown: Path, events: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = grown.with_name("shop")
    folder.mkdir()
    grown.rename(folder / "first")
    store.rollback(folder, "first")
    monkeypatch.setattr(IALS, "fit", scrambled)
    assert refit(folder, events, options=ONE).is_refused
    assert sorted(path.name for path in folder.iterdir()) == ["current.json", "first"]
    refused = store.last_refusal(folder)
    assert refused is not None
    assert refused["why"].startswith("The gate refused the refitted model")


def test_a_forgotten_id_is_kept_while_a_version_knows_the_user(shop: Path, events: EventStore) -> None:
    """Else a rollback would serve them as before."""
    events.forget(3)
    for _ in range(3):
        refit(shop, events, options=ONE)
        assert events.forgotten() == {3, "3"}
    (damaged,) = (shop / "first").glob("data-*")
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1])
    refit(shop, events, options=ONE)
    assert events.forgotten() == {3, "3"}  # what it knows cannot be read
    shutil.rmtree(shop / "first")
    refit(shop, events, options=ONE)
    assert events.forgotten() == frozenset()


def hits(fitted: Fitted, holdout: Any) -> float:
    from landbridge.evaluation.evaluate import Validator

    return float(Validator(holdout, "ndcg@10", 1)(fitted))


def everybody(fitted: Fitted) -> Queries:
    return Queries.of_users(np.arange(fitted.history.n_users))


def named(data: MultiDomain) -> MultiDomain:
    """Users with texts as ids, in the same order."""
    ids = np.array([f"person-{n}" for n in range(data.n_users)], np.dtypes.StringDType())
    order = np.argsort(ids)
    place_U = np.argsort(order).astype(np.int32)
    tables = {
        name: type(table).from_events(
            place_U[table.user_idx], table.item_idx, table.n_users, table.n_items, table.weight, table.time
        )
        for name, table in data.domains.items()
    }
    return MultiDomain(type(data.users)(ids[order]), data.items, tables)

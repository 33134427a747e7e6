"""EMCDR: maps in closed form and by steps, whom they serve, and what a cold user gains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resuming import Kill
from worlds import of_tables, uneven

from landbridge.core.errors import SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.synthetic import World, planted_transfer
from landbridge.models.base import Fitted
from landbridge.models.common.pretraining import Pretraining
from landbridge.models.mapping.emcdr import EMCDR, CommonUsers, MapSettings
from landbridge.models.mapping.fitted import apply
from landbridge.models.popularity import Popularity
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1, device="cpu")
METHOD = EMCDR(4)
MLP = replace(METHOD, map=MapSettings("mlp", 8), lr=0.01, epochs=5, batch_size=10)
ROWS = np.random.default_rng(0).standard_normal((2, 50, 4)).astype(np.float32)
TURN, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))


def common(source_BF: Any, target_BF: Any) -> CommonUsers:
    return CommonUsers(source_BF, target_BF.astype(np.float32), np.float32(1), np.float32(1))


def all_scores(fitted: Fitted, domain: str) -> np.ndarray[Any, Any]:
    return fitted.score(domain, Queries.of_users(np.arange(-1, fitted.history.n_users)))


@pytest.mark.parametrize("reg", [0.0, 0.01, 2.0])
def test_the_linear_map_is_the_least_squares_solution(reg: float) -> None:
    """Ridge as plain least squares with F more rows, √(λ B) on the diagonal and 0 as their target."""
    source_BF, target_BF = ROWS.astype(float)
    more_FF = np.sqrt(reg * len(source_BF)) * np.eye(4)
    expected_FF, *_ = np.linalg.lstsq(
        np.concatenate([source_BF, more_FF]), np.concatenate([target_BF, np.zeros((4, 4))])
    )
    found = common(*ROWS).closed_form(reg)["w1"]
    np.testing.assert_allclose(found, expected_FF.T, atol=1e-5)


def test_a_rotated_source_is_mapped_without_error() -> None:
    layers = common(ROWS[0], ROWS[0] @ TURN).closed_form(0.0)
    np.testing.assert_allclose(apply(layers, ROWS[1]), ROWS[1] @ TURN, atol=1e-5)


def test_maps_are_between_embeddings_of_any_length() -> None:
    data = uneven()
    base: Any = METHOD.pretrainer().fit(data, ONE)
    turned = replace(base, user_UF={**base.user_UF, "b": 7 * base.user_UF["a"] @ TURN.astype(np.float32)})
    users = CommonUsers.of(turned, "a", "b")
    np.testing.assert_allclose(np.mean(users.source_BF**2), 1, rtol=1e-4)
    layers = users.unscaled(users.closed_form(0.0))
    np.testing.assert_allclose(apply(layers, base.user_UF["a"]), turned.user_UF["b"], atol=1e-4)


def test_of_several_optima_the_smallest() -> None:
    one_BF, other_BF = ROWS[0][:1], ROWS[1][:1]
    found_FF = common(one_BF, other_BF).closed_form(0.0)["w1"]
    np.testing.assert_allclose(found_FF, (np.linalg.pinv(one_BF) @ other_BF).T, atol=1e-5)


def test_users_with_events_keep_their_scores() -> None:
    data = uneven()
    fitted = METHOD.fit(data, ONE)
    for name, events in data.domains.items():
        known = np.flatnonzero(events.user_counts)
        scores = [model.score(name, Queries.of_users(known)) for model in (fitted, fitted.base)]
        assert np.array_equal(*scores)


@pytest.mark.parametrize("method", [METHOD, MLP], ids=["linear", "mlp"])
def test_others_have_the_mean_of_their_maps_by_events(method: EMCDR) -> None:
    if method is MLP:
        pytest.importorskip("torch")
    data = uneven()
    fitted, counts_UD = method.fit(data, ONE), data.activity_UD
    cold = np.flatnonzero((counts_UD[:, 1] == 0) & (counts_UD[:, [0, 2]] > 0).all(axis=1))
    assert len(cold)
    for user in cold:
        parts = [
            counts_UD[user, column] * apply(fitted.maps[name, "b"], fitted.base.user_UF[name][[user]])[0]
            for column, name in ((0, "a"), (2, "c"))
        ]
        expected_F = sum(parts) / counts_UD[user, [0, 2]].sum()
        np.testing.assert_allclose(fitted.user_UF["b"][user], expected_F, rtol=1e-4, atol=1e-6)


def test_the_network_learns_a_rotation() -> None:
    pytest.importorskip("torch")
    from landbridge.models.mapping.emcdr import Networks

    data = uneven()
    base: Any = METHOD.pretrainer().fit(data, ONE)
    turned = replace(base, user_UF={**base.user_UF, "b": base.user_UF["a"] @ TURN.astype(np.float32)})
    method = replace(MLP, map=MapSettings("mlp", 32, reg=0.0), epochs=300)
    networks = Networks.start(method, {("a", "b"): CommonUsers.of(turned, "a", "b")}, ONE)
    log = networks.train(turned, ONE, lambda: METHOD.fit(data, ONE))
    error = apply(networks.maps()["a", "b"], turned.user_UF["a"]) - turned.user_UF["b"]
    assert np.mean(error**2) < 0.02 * np.mean(turned.user_UF["b"] ** 2)
    assert log[-1]["loss:b"] < 0.05 * log[0]["loss:b"]


def cold_world() -> tuple[World, MultiDomain, np.ndarray[Any, Any]]:
    """Tastes in two dense domains; the last 60 of 240 users have no event in the second."""
    world = planted_transfer(users=240, items=120, groups=6)
    history, cold = world.split.test.history.select(["dense_0", "dense_1"]), np.arange(180, 240)
    kept = history["dense_1"].take(history["dense_1"].user_idx < 180)
    return world, history.with_events({"dense_0": history["dense_0"], "dense_1": kept}), cold


def own_group(world: World, scores_BI: Any, users: Any) -> float:
    best_B10 = np.argsort(-scores_BI, axis=1, kind="stable")[:, :10]
    return float(np.take_along_axis(world.likes["dense_1"][users], best_B10, axis=1).mean())


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_cold_users_get_their_taste(kind: Any) -> None:
    if kind == "mlp":
        pytest.importorskip("torch")
    world, history, cold = cold_world()
    fitted = EMCDR(8, map=MapSettings(kind), lr=0.01, epochs=60).fit(history, ONE)
    queries = Queries.of_users(cold)
    mapped = own_group(world, fitted.score("dense_1", queries), cold)
    alone = own_group(world, fitted.base.score("dense_1", queries), cold)
    popular = own_group(world, Popularity().fit(history).score("dense_1", queries), cold)
    assert mapped > 0.9 > 0.4 > max(alone, popular)
    new = Queries(np.full(60, -1, np.int32), {"dense_0": history["dense_0"].by_user.take(cold)})
    assert own_group(world, fitted.score("dense_1", new), cold) > 0.9


def test_two_domains_may_change_places() -> None:
    data = uneven()
    one, other = (METHOD.fit(data.select(names), ONE) for names in (["a", "b"], ["b", "a"]))
    for name in ("a", "b"):
        np.testing.assert_allclose(all_scores(one, name), all_scores(other, name), atol=1e-5)


def test_domains_without_common_users_have_no_map() -> None:
    data = uneven()
    parts = {
        "a": data["a"].take(data["a"].user_idx < 20),
        "b": data["b"].take(data["b"].user_idx >= 20),
        "c": data["c"],
    }
    apart = of_tables(parts)
    for method in (METHOD, MLP):
        fitted = method.fit(apart, ONE)
        assert set(fitted.maps) == {("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")}
        only_a = np.array([[3, 0, 0]])
        assert not fitted.uses("b", only_a).any()
        assert fitted.uses("c", only_a).all()


def test_five_domains() -> None:
    data = uneven({name: (15, 6 + 4 * n) for n, name in enumerate("abcde")}, users=40)
    fitted = METHOD.fit(data, ONE)
    assert all(np.isfinite(all_scores(fitted, name)).all() for name in data.domain_names)
    assert not fitted.comparable


@pytest.mark.parametrize("at", [2, 6], ids=["first", "map"])
def test_a_fit_that_broke_off_goes_on_bit_for_bit(tmp_path: Path, at: int) -> None:
    pytest.importorskip("torch")
    data, method = uneven(), replace(MLP, pretrain=Pretraining("bprmf", {"epochs": 3}))
    with pytest.raises(KeyboardInterrupt):
        method.fit(data, replace(ONE, validate=Kill(at), work_dir=tmp_path))
    resumed = method.fit(data, replace(ONE, validate=Kill(), work_dir=tmp_path))
    whole = method.fit(data, replace(ONE, validate=Kill()))
    for name in data.domain_names:
        assert np.array_equal(all_scores(resumed, name), all_scores(whole, name))
    assert [record["epoch"] for record in resumed.log] == list(range(8))


def test_epochs_that_a_validated_fit_found_best() -> None:
    log = [{"phase": "first", "epoch": 0, "valid": 0.1}, {"phase": "first", "epoch": 1, "valid": 0.2}]
    log += [{"phase": "map", "epoch": 2, "valid": 0.3}, {"phase": "map", "epoch": 3, "valid": 0.1}]
    stopped: Any = MLP.stopped(log)
    assert (stopped.pretrain.settings["epochs"], stopped.epochs) == (2, 1)


@pytest.mark.parametrize(
    ("name", "settings"), [("pepnet", {}), ("ials", {"sharing": "joined"}), ("popularity", {})]
)
def test_a_first_method_must_learn_domains_apart(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="pretrain"):
        EMCDR(pretrain=Pretraining(name, settings))

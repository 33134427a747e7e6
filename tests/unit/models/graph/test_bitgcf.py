"""BiTGCF: layers and transfer against a naive twin, and the one-domain networks as its special case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graphs import ONE, all_scores, close, own_group, resumes
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import dense, uneven

from landbridge.data.dataset import MultiDomain
from landbridge.data.synthetic import planted_transfer
from landbridge.models.graph.bitgcf import BiTGCF, Places
from landbridge.models.graph.products import SparseMatrix, on_device
from landbridge.models.popularity import Popularity

METHOD = BiTGCF(4, lr=0.03, epochs=3, batch_size=100, init_std=0.3, layers=2)
WHOLE = replace(METHOD, dropout=0.0, batch_size=10**6)  # one step per epoch, for any set of domains


def twin(data: MultiDomain, method: BiTGCF, weights: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Eqs. (1) to (5) user by user, float64: domain -> users (U, G) and items (I, G)."""
    start, scaled = {}, {}
    for name, events in data.domains.items():
        user_UF = np.zeros((data.n_users, method.factors))
        user_UF[events.user_counts > 0] = weights[f"user.{name}"]
        start[name] = user_UF, np.array(weights[f"item.{name}"], float)
        own_UI = dense(events)
        degrees = np.maximum(own_UI.sum(1), 1)[:, None] * np.maximum(own_UI.sum(0), 1)
        scaled[name] = own_UI / np.sqrt(degrees)
    now, layers = dict(start), {name: [pair] for name, pair in start.items()}
    for _ in range(method.layers):
        side = {n: (scaled[n] @ items, scaled[n].T @ users) for n, (users, items) in now.items()}
        z = {n: tuple(s + s * x for s, x in zip(side[n], now[n], strict=True)) for n in now}
        for name in data.domain_names:
            mixed_UF = np.zeros_like(z[name][0])
            for user in range(data.n_users):
                counts = {n: int((t.user_idx == user).sum()) for n, t in data.domains.items()}
                at = [n for n in counts if counts[n]]
                if not at:
                    continue
                common = sum(counts[n] * z[n][0][user] for n in at) / sum(counts[n] for n in at)
                others = [z[n][0][user] for n in at if n != name]
                mean = np.mean(others, axis=0) if others else 0
                share = method.own_share if others else 1.0
                own = share * z[name][0][user] + (1 - share) * mean if counts[name] else mean
                mixed_UF[user] = method.common_share * common + (1 - method.common_share) * own
            layers[name].append((mixed_UF, z[name][1]))
        now = {
            name: (np.where((data[name].user_counts > 0)[:, None], layers[name][-1][0], 0), z[name][1])
            for name in data.domain_names
        }
    result = {}
    for name, own in layers.items():
        sides = []
        for side_of in (0, 1):
            unit = [
                x[side_of] / np.maximum(np.linalg.norm(x[side_of], axis=1), 1e-12)[:, None] for x in own[1:]
            ]
            sides.append(np.concatenate([own[0][side_of], *unit], axis=1))
        result[name] = sides[0], sides[1]
    return result


@pytest.mark.parametrize("shares", [(0.8, 0.5), (0.3, 1.0), (1.0, 0.0)])
def test_embeddings_are_those_of_a_naive_reference(shares: tuple[float, float]) -> None:
    data, method = uneven(), replace(METHOD, own_share=shares[0], common_share=shares[1])
    network = method.network(data, 0)
    expected = twin(data, method, {n: w.detach().double().numpy() for n, w in network.weights.items()})
    users, items = network.embeddings()
    for name, (user_UG, item_IG) in expected.items():
        np.testing.assert_allclose(users[name], user_UG, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(items[name], item_IG, atol=1e-5, err_msg=name)


def test_a_step_is_scored_as_the_fitted_model_scores() -> None:
    data = uneven()
    network = METHOD.network(data, 0)
    plain = replace(network, method=replace(METHOD, dropout=0.0))
    users, items = plain.embeddings()
    for step in METHOD.batches(data, 0).steps(0):
        for name, scored in plain.scores(step).items():
            user_NG, item_NJG = users[name][step[name].user_N], items[name][step[name].item_NJ]
            expected_NJ = np.einsum("ng,njg->nj", user_NG, item_NJG)
            np.testing.assert_allclose(scored.score_NJ.detach(), expected_NJ, atol=1e-5)
            assert [len(rows) for rows in scored.rows] == [len(expected_NJ)] * 2


def test_gradients_are_those_of_dense_products() -> None:
    places = Places(uneven())
    for matrix in (places.adjacency, places.transfer(0.7, 0.4)):
        one = torch.randn(matrix.shape[1], 3, requires_grad=True)
        other = one.detach().clone().requires_grad_()
        weight = torch.randn(matrix.shape[0], 3)
        (weight * (SparseMatrix(matrix, "cpu") @ one)).sum().backward()
        (weight * (torch.from_numpy(matrix.toarray()) @ other)).sum().backward()
        torch.testing.assert_close(one.grad, other.grad)
        anywhere = on_device(matrix, "cpu")(one.detach())
        torch.testing.assert_close(anywhere, torch.from_numpy(matrix.toarray()) @ one.detach())


def test_all_of_the_own_domain_is_one_network_per_domain() -> None:
    data, method = uneven(), replace(WHOLE, own_share=1.0, common_share=0.0)
    joint = method.fit(data, ONE)
    mixed = WHOLE.fit(data, ONE)
    for name, events in data.domains.items():
        alone, known = method.fit(data.select([name]), ONE), events.user_counts > 0
        np.testing.assert_allclose(joint.item_IF[name], alone.item_IF[name], atol=1e-5)
        np.testing.assert_allclose(joint.user_UF[name][known], alone.user_UF[name][known], atol=1e-5)
        assert np.abs(mixed.item_IF[name] - alone.item_IF[name]).max() > 1e-2


def test_without_common_users_it_is_one_network_per_domain() -> None:
    data = uneven()
    halves = {"a": data["a"].user_idx < 30, "b": data["b"].user_idx >= 30}
    apart = data.select(halves).with_events({n: data[n].take(chosen) for n, chosen in halves.items()})
    joint = WHOLE.fit(apart, ONE)
    for name in apart.domain_names:
        alone, known = WHOLE.fit(apart.select([name]), ONE), apart[name].user_counts > 0
        np.testing.assert_allclose(joint.item_IF[name], alone.item_IF[name], atol=1e-5)
        np.testing.assert_allclose(joint.user_UF[name][known], alone.user_UF[name][known], atol=1e-5)


def test_two_domains_may_change_places() -> None:
    data = uneven()
    close(*(WHOLE.fit(data.select(names), ONE) for names in (["a", "b"], ["b", "a"])), atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_a_mix_is_a_mean_over_the_users_domains(seed: int, own_share: float, common_share: float) -> None:
    data = uneven({"a": (5, 8), "b": (4, 6), "c": (6, 3)}, users=12, seed=seed)
    places, known = Places(data), (data.activity_UD > 0).any(axis=1)
    for name in data.domain_names:
        mix_UP = places.mix(name, own_share, common_share).toarray()
        assert (mix_UP >= 0).all()
        np.testing.assert_allclose(mix_UP.sum(axis=1), known, atol=1e-6)


def test_a_taste_reaches_the_sparse_domain() -> None:
    world = planted_transfer(users=240, items=120, groups=6)
    method = BiTGCF(8, lr=0.03, epochs=15, batch_size=512, own_share=0.5)
    joint, alone, popular = (
        own_group(one.fit(world.split.test.history, ONE), world)
        for one in (method, replace(method, own_share=1.0, common_share=0.0), Popularity())
    )
    assert joint > 0.9 > 0.4 > max(alone, popular)


def test_five_domains_and_users_of_one_alone() -> None:
    data = uneven({name: (15, 6 + 4 * n) for n, name in enumerate("abcde")}, users=40)
    fitted = METHOD.fit(data, ONE)
    only = np.flatnonzero((data.activity_UD > 0).sum(axis=1) == 1)
    assert len(only)
    assert all(np.isfinite(scores_BI).all() for scores_BI in all_scores(fitted).values())
    for column, name in enumerate(data.domain_names):
        absent = data.activity_UD[:, column] == 0
        assert not fitted.user_UF[name][absent, : METHOD.factors].any()
        # of one other domain: the mix there is that domain's row
        for home, other in enumerate(data.domain_names):
            at_home = only[data.activity_UD[only, home] > 0]
            shared = [fitted.user_UF[each][at_home, METHOD.factors :] for each in (name, other)]
            np.testing.assert_allclose(*shared, atol=1e-6)


def test_a_fit_that_broke_off_goes_on_bit_for_bit(tmp_path: Path) -> None:
    resumes(replace(METHOD, epochs=4), uneven(), tmp_path)


def test_dropout_is_for_training_alone() -> None:
    data = uneven()
    one, again, without = (replace(METHOD, dropout=p).fit(data, ONE) for p in (0.5, 0.5, 0.0))
    assert np.array_equal(one.user_UF["a"], again.user_UF["a"])
    assert not np.array_equal(one.user_UF["a"], without.user_UF["a"])
    network = METHOD.network(data, 0)
    assert np.array_equal(network.embeddings()[0]["a"], network.embeddings()[0]["a"])

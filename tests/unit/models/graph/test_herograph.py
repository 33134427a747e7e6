"""HeroGRAPH: the attention against a naive twin, and matrix factorisation as its special case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graphs import ONE, all_scores, close, own_group, resumes
from worlds import uneven

from landbridge.core.types import Ragged
from landbridge.data.synthetic import planted_transfer
from landbridge.models.common.graph import neighbours
from landbridge.models.graph.herograph import SHARED, HeroGRAPH, HeroNetwork
from landbridge.models.popularity import Popularity
from landbridge.training.loop import run_phase

METHOD = HeroGRAPH(4, lr=0.03, epochs=3, batch_size=100, init_std=0.3)
ALL = replace(METHOD, neighbours=200)  # more than any node has: nothing is drawn


def twin(edges: Ragged, table_RF: Any, rounds: int) -> np.ndarray[Any, Any]:
    """Eqs. (1) and (2) node by node, float64."""
    out = []
    for node in range(len(edges)):
        own = [node, *edges.columns[edges.offsets[node] : edges.offsets[node + 1]]]
        rows, query = table_RF[own].astype(float), table_RF[node].astype(float)
        for _ in range(rounds):
            exponent = np.exp(rows @ query / np.sqrt(table_RF.shape[1]))
            query = (exponent[:, None] * rows).sum(axis=0) / exponent.sum()
        out.append(query)
    return np.array(out)


def sharp(method: HeroGRAPH) -> HeroNetwork:
    """A network whose attention is far from even."""
    return replace(method, init_std=3.0).network(uneven(), 0)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_attention_is_that_of_a_naive_reference(rounds: int) -> None:
    network = sharp(replace(ALL, rounds=rounds))
    table_RF = network.weights[SHARED].detach().numpy()
    expected_RF = twin(network.edges, table_RF, rounds)
    users, items = network.embeddings()
    n_users = network.data.n_users
    np.testing.assert_allclose(users["b"][:, 4:], expected_RF[:n_users], rtol=1e-4, atol=1e-5)
    shared_IF = np.concatenate([items[name][:, 4:] for name in network.data.domain_names])
    np.testing.assert_allclose(shared_IF, expected_RF[n_users:], rtol=1e-4, atol=1e-5)
    in_training_RF = network.attend(torch.arange(len(table_RF)), torch.empty(0, dtype=torch.long)).detach()
    np.testing.assert_allclose(in_training_RF, expected_RF, rtol=1e-4, atol=1e-5)


def test_a_node_without_neighbours_keeps_its_row() -> None:
    data = uneven()
    bare = data.with_events({n: t.take(t.user_idx > 0) for n, t in data.domains.items()})
    network = METHOD.network(bare, 0)
    np.testing.assert_allclose(
        network.embeddings()[0]["a"][0, 4:], network.weights[SHARED][0].detach(), rtol=1e-6
    )


def test_a_step_is_scored_without_its_own_events() -> None:
    network = sharp(ALL)
    for step in ALL.batches(network.data, 0).steps(0):
        kept = {}
        for name, events in network.data.domains.items():
            own = set(zip(step[name].user_N, step[name].item_NJ[:, 0], strict=True))
            pairs = zip(events.user_idx, events.item_idx, strict=True)
            kept[name] = events.take(np.array([pair not in own for pair in pairs]))
        rest = neighbours(network.data.with_events(kept).joined()[0])
        assert len(rest.columns) < len(network.edges.columns)
        users, items = replace(network, edges=rest).embeddings()
        for name, scored in network.scores(step).items():
            expected_NJ = np.einsum(
                "ng,njg->nj", users[name][step[name].user_N], items[name][step[name].item_NJ]
            )
            np.testing.assert_allclose(scored.score_NJ.detach(), expected_NJ, rtol=1e-3, atol=1e-4)


def test_neighbours_are_drawn_once_each_and_evenly() -> None:
    data, size = uneven(), 5
    network = replace(METHOD, neighbours=size).network(data, 0)
    edges = neighbours(data.joined()[0])
    counts = {node: np.zeros(edges.lengths[node]) for node in range(data.n_users)}
    draws = 400
    for _ in range(draws):
        other_MS, has_MS = network._sampled(torch.arange(data.n_users))
        for node, count_N in counts.items():
            own_N = edges.columns[edges.offsets[node] : edges.offsets[node + 1]]
            drawn = other_MS[node][has_MS[node]].numpy()
            assert len(set(drawn)) == len(drawn) == min(size, len(own_N))
            assert set(drawn) <= set(own_N)
            assert (other_MS[node][~has_MS[node]] == node).all()
            count_N[np.searchsorted(own_N, drawn)] += 1
    for count_N in counts.values():
        share = min(size / max(len(count_N), 1), 1)
        # five standard deviations of a share
        assert (np.abs(count_N / draws - share) <= 5 * np.sqrt(share * (1 - share) / draws) + 1e-9).all()


def test_without_its_graph_it_is_bprmf_in_every_domain() -> None:
    data, method = uneven(), replace(METHOD, reg=0.02)
    network = method.network(data, 0)
    with torch.no_grad():
        network.weights[SHARED].zero_()
    step = next(method.batches(data, 0).steps(0))
    rows = {name: weight.detach().double().numpy() for name, weight in network.weights.items()}
    losses = method.steps(network, method.batches(data, 0)).losses(step)
    sum(losses.values()).backward()
    for name, batch in step.items():
        x_NF, y_NJF = rows[f"user.{name}"][batch.user_N], rows[f"item.{name}"][batch.item_NJ]
        x_N = np.einsum("nf,nf->n", x_NF, y_NJF[:, 0] - y_NJF[:, 1])
        penalty_N = 0.01 * ((x_NF**2).sum(1) + (y_NJF**2).sum((1, 2)))
        np.testing.assert_allclose(
            losses[name].item(), np.mean(np.log1p(np.exp(-x_N)) + penalty_N), rtol=1e-5
        )
        c_N1 = (-1 / (1 + np.exp(x_N)))[:, None]
        gradient_UF = np.zeros_like(rows[f"user.{name}"])
        np.add.at(gradient_UF, batch.user_N, c_N1 * (y_NJF[:, 0] - y_NJF[:, 1]) + 0.02 * x_NF)
        grad = network.weights[f"user.{name}"].grad.to_dense()
        np.testing.assert_allclose(grad, gradient_UF / len(batch.user_N), atol=1e-6)
    run_phase(method.steps(network, method.batches(data, 0)), ONE, {})
    assert not network.weights[SHARED].any()
    assert np.abs(network.weights["user.a"].detach().numpy() - rows["user.a"]).max() > 0.01


def test_one_domain_has_both_parts() -> None:
    data = uneven({"only": (20, 60)})
    network = METHOD.network(data, 0)
    before = {name: weight.detach().clone() for name, weight in network.weights.items()}
    run_phase(METHOD.steps(network, METHOD.batches(data, 0)), ONE, {})
    assert set(before) == {"user.only", "item.only", SHARED}
    assert all((weight.detach() - before[n]).abs().max() > 0.01 for n, weight in network.weights.items())


def test_two_domains_may_change_places() -> None:
    data, method = uneven(), replace(ALL, batch_size=10**6)
    close(*(method.fit(data.select(names), ONE) for names in (["a", "b"], ["b", "a"])), atol=1e-3)


def test_a_taste_reaches_the_sparse_domain() -> None:
    world = planted_transfer(users=240, items=120, groups=6)
    method, history = HeroGRAPH(8, lr=0.03, epochs=20, batch_size=512), world.split.test.history
    joint = own_group(method.fit(history, ONE), world)
    alone = own_group(method.fit(history.select(["sparse"]), ONE), world)
    assert joint > 0.9 > 0.4 > max(alone, own_group(Popularity().fit(history), world))


def test_five_domains_and_users_of_one_alone() -> None:
    data = uneven({name: (15, 6 + 4 * n) for n, name in enumerate("abcde")}, users=40)
    fitted = METHOD.fit(data, ONE)
    assert ((data.activity_UD > 0).sum(axis=1) == 1).any()
    assert all(np.isfinite(scores_BI).all() for scores_BI in all_scores(fitted).values())
    for column, name in enumerate(data.domain_names):
        absent = data.activity_UD[:, column] == 0
        assert not fitted.user_UF[name][absent, :4].any()
        assert fitted.user_UF[name][~absent, :4].any(axis=1).all()
        assert np.array_equal(fitted.user_UF[name][:, 4:], fitted.user_UF["a"][:, 4:])


def test_a_fit_that_broke_off_goes_on_bit_for_bit(tmp_path: Path) -> None:
    resumes(replace(METHOD, epochs=4, neighbours=3), uneven(), tmp_path)

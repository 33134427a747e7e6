"""PEPNet: gates, what is learned through them, and BPRMF where they are one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import of_tables, uneven

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.data.sampling.pairwise import Pairwise
from landbridge.data.synthetic import World, checkerboard
from landbridge.models.pairwise.bprmf import BPRMF
from landbridge.models.pairwise.fitted import EmbeddingModel
from landbridge.models.popularity import Popularity
from landbridge.models.towers.pepnet import GAMMA, GatedNetwork, PEPNet
from landbridge.training.loop import run_phase
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, device="cpu")
METHOD = PEPNet(4, hidden=6, prior=3, lr=0.03, reg=0.05, epochs=3, batch_size=64)


def pairs_of(data: MultiDomain, **settings: Any) -> Pairwise:
    """The pairs a fit with seed 0 draws."""
    return Pairwise(*data.joined(), **{"seed": 0, "label": "all", **settings})


def alive(method: PEPNet, pairs: Pairwise, size: float = 1.0) -> GatedNetwork:
    """A network whose gates and rows are anything."""
    network, rng = method.start(pairs), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in network.weights.values():
            tensor.copy_(torch.randn(tensor.shape, generator=rng) * size)
    return network


def tables(fitted: EmbeddingModel) -> dict[str, np.ndarray]:
    arrays, _ = fitted.state()
    return arrays


def same(one: EmbeddingModel, other: EmbeddingModel) -> bool:
    first, second = tables(one), tables(other)
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_gates_are_one_before_the_first_step() -> None:
    pairs = pairs_of(uneven())
    network = METHOD.start(pairs)
    for domain in range(len(pairs.slices)):
        assert np.array_equal(network.all_gated_users(domain), network.weights["users"].detach().numpy())


def test_a_fit_starts_where_joined_bprmf_starts() -> None:
    data = uneven()
    own = replace(METHOD, epochs=1, lr=1e-30).fit(data, ONE)
    peer = BPRMF(METHOD.factors, sharing="joined", epochs=1, lr=1e-30).fit(data, ONE)
    for name in data.domain_names:
        assert np.array_equal(own.user_UF[name], peer.user_UF[name])
        assert np.array_equal(own.item_IF[name], peer.item_IF[name])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("negatives", ["domain", "all", "popularity"])
def test_with_its_gates_held_at_one_it_is_joined_bprmf(weighted: bool, negatives: str) -> None:
    """BPRMF's objective is a sum over the batch, hence the longer steps on the mean."""
    data = uneven(weighted=weighted)
    pairs = pairs_of(data, negatives=negatives)
    size = len(pairs.epoch(0).user_N)
    method = replace(METHOD, negatives=negatives, init_std=0.3, batch_size=size)
    network = method.start(pairs)
    rows = {name: network.weights[name] for name in ("users", "items")}
    descent = Optimizer("sgd", method.lr * size)
    run_phase(replace(method.phase(network, pairs), parameters=rows, optimizer=descent), ONE, {})
    shared = {k: v for k, v in asdict(method).items() if k not in ("hidden", "prior")}
    peer = BPRMF(**shared, sharing="joined", optimizer="sgd").fit(data, ONE)
    np.testing.assert_allclose(rows["users"].detach(), peer.user_UF["a"], atol=1e-5)
    items_IF = np.concatenate([peer.item_IF[name] for name in data.domain_names])
    np.testing.assert_allclose(rows["items"].detach(), items_IF, atol=1e-5)


def twin(start: dict[str, Any], pairs: Pairwise, method: PEPNet) -> dict[str, Any]:
    """Plain descent by whole float64 tables, pair after pair, without the code under test."""
    weights = {name: value.detach().double().requires_grad_() for name, value in start.items()}
    starts = [here.start for here in pairs.slices.values()]

    def gate(name: str, prior: Any, row: Any) -> Any:
        seen = torch.cat([prior, row.detach()])
        hidden = (weights[f"{name}.w1"] @ seen + weights[f"{name}.b1"]).clamp(min=0)
        return 2 / (1 + torch.exp(-(weights[f"{name}.w2"] @ hidden + weights[f"{name}.b2"])))

    def loss(user: int, positive: int, negative: int, weight: float) -> Any:
        row, prior = weights["users"][user], weights["user_prior"][user]
        chosen = gate("ep", weights["domain_prior"][sum(s <= positive for s in starts) - 1], row) * row
        gated = gate("pp", prior, chosen) * chosen
        have, lack = weights["items"][positive], weights["items"][negative]
        squares = sum((x**2).sum() for x in (gated, prior, have, lack))
        return -weight * torch.log(torch.sigmoid(gated @ (have - lack))) + method.reg / 2 * squares

    for epoch in range(method.epochs):
        for user_B, positive_B, negative_B, weight_B in pairs.batches(epoch, method.batch_size):
            ones_B = np.ones(len(user_B)) if weight_B is None else weight_B
            batch = [
                loss(*pair) for pair in zip(user_B, positive_B, negative_B, ones_B.tolist(), strict=True)
            ]
            last = sum((weights[f"{gate}.{key}"] ** 2).sum() for gate in ("ep", "pp") for key in ("w2", "b2"))
            mean = sum(batch) / len(batch) + method.reg / 2 * last
            gradients = torch.autograd.grad(mean, list(weights.values()))
            with torch.no_grad():
                for value, gradient in zip(weights.values(), gradients, strict=True):
                    value -= method.lr * gradient
    return weights


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_are_those_of_a_naive_reference(still: bool, weighted: bool) -> None:
    """``still``: from the start of a fit, whose last layers are zero."""
    pairs = pairs_of(uneven({"a": (12, 20), "b": (9, 15)}, users=25, weighted=weighted))
    method = replace(METHOD, lr=0.5, epochs=2, batch_size=30, init_std=0.5)
    network = method.start(pairs) if still else alive(method, pairs)
    expected = twin(dict(network.weights), pairs, method)
    run_phase(replace(method.phase(network, pairs), optimizer=Optimizer("sgd", method.lr)), ONE, {})
    for name, value in network.weights.items():
        np.testing.assert_allclose(value.detach(), expected[name].detach(), atol=1e-5, err_msg=name)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_gates_lie_between_nothing_and_gamma(size: float) -> None:
    network = alive(METHOD, pairs_of(uneven()), size)
    rows_BF, prior_BP = torch.randn(500, 4) * 3, torch.randn(500, 3)
    gate_BF = network.gate("ep", prior_BP, rows_BF).detach()
    assert GAMMA == 2
    assert gate_BF.min() >= 0
    assert gate_BF.max() <= GAMMA
    if size == 1.0:
        assert gate_BF.min() < 0.1
        assert gate_BF.max() > 1.9


def test_no_gradient_flows_through_what_a_gate_looks_at() -> None:
    """With the gates as constants the derivative by a row is their product, and no more."""
    network = alive(METHOD, pairs_of(uneven()))
    user_B, domain_B = torch.tensor([3, 7, 9]), torch.tensor([0, 2, 1])
    gated_BF, prior_BP = network.gated_users(user_B, domain_B)
    own_UF, own_DP = network.weights["users"], network.weights["domain_prior"]
    slope_UF, slope_DP, slope_BP = torch.autograd.grad(gated_BF.sum(), (own_UF, own_DP, prior_BP))
    product_BF = (gated_BF / own_UF[user_B]).detach()
    np.testing.assert_allclose(slope_UF.to_dense()[user_B], product_BF, rtol=1e-4)
    assert slope_BP.any()
    # p_d moves h through its own gate alone: the user's gate does not look at what p_d chose
    chosen_BF = network.gate("ep", own_DP[domain_B], own_UF[user_B]) * own_UF[user_B]
    held_BF = network.gate("pp", prior_BP, chosen_BF).detach()
    (alone_DP,) = torch.autograd.grad((held_BF * chosen_BF).sum(), own_DP)
    np.testing.assert_allclose(slope_DP.to_dense(), alone_DP, rtol=1e-4, atol=1e-6)


def test_a_batch_is_split_by_the_domains_of_its_positives() -> None:
    data = uneven(weighted=True)
    pairs = pairs_of(data)
    network = alive(METHOD, pairs)
    batch = next(pairs.batches(0, 50))
    parts = METHOD.phase(network, pairs).losses(batch)
    domain_B = np.searchsorted([here.stop for here in pairs.slices.values()], batch.positive_N, side="right")
    index_3B = torch.tensor(np.stack(batch[:3])).long()
    loss_B = network.pair_losses(index_3B, torch.tensor(domain_B), torch.tensor(batch.weight_N), 0.05)
    loss_B = loss_B + network.gate_penalty(0.05)
    assert list(parts) == list(data.domain_names)
    assert float(sum(parts.values()).detach()) == pytest.approx(float(loss_B.detach().mean()), rel=1e-5)
    for number, part in enumerate(parts.values()):
        own = float(loss_B.detach()[torch.tensor(domain_B == number)].sum()) / 50
        assert float(part.detach()) == pytest.approx(own, rel=1e-5)


def test_a_step_touches_only_the_rows_of_its_batch() -> None:
    pairs = pairs_of(uneven())
    network = alive(METHOD, pairs)
    before = {name: value.detach().clone() for name, value in network.weights.items()}
    user_B, positive_B, negative_B, _ = batch = next(pairs.batches(0, 5))
    phase = METHOD.phase(network, pairs)
    sum(phase.losses(batch).values()).backward()
    named = ("users", "items", "user_prior", "domain_prior")
    assert all(network.weights[name].grad.is_sparse for name in named)
    network.weights["users"].grad = None
    run_phase(replace(phase, epochs=1, batches=lambda epoch: [batch]), ONE, {})
    for name, rows in {
        "users": user_B,
        "user_prior": user_B,
        "items": np.concatenate([positive_B, negative_B]),
    }.items():
        moved = (network.weights[name].detach() != before[name]).any(dim=1)
        assert set(np.flatnonzero(moved)) == set(rows.tolist())


def taste_and_chance() -> MultiDomain:
    """Users's taste decides in "a" and nothing does in "b"."""
    rng = np.random.default_rng(0)
    liked_UI = np.arange(80)[:, None] % 2 == np.arange(20) % 2
    found = {"a": liked_UI & (rng.random((80, 20)) < 0.6), "b": rng.random((80, 20)) < 0.3}
    return of_tables(
        {name: Interactions.from_events(*np.nonzero(own), *own.shape) for name, own in found.items()}
    )


def test_gates_close_where_rows_say_nothing() -> None:
    fitted = replace(METHOD, factors=2, reg=0.02, epochs=10, batch_size=16).fit(taste_and_chance(), ONE)
    length = {name: np.linalg.norm(rows_UF) for name, rows_UF in fitted.user_UF.items()}
    assert length["a"] > 1.4 * length["b"]


def hits(fitted: Any, world: World, domain: str) -> float:
    """The share of test items that come first among the unseen ones."""
    history, targets = world.split.test.history[domain], world.split.test.targets[domain]
    scores_UI = fitted.score(domain, Queries.of_users(np.arange(world.data.n_users))).copy()
    scores_UI[history.user_idx, history.item_idx] = -np.inf
    return float(np.mean(scores_UI[targets.user_idx].argmax(axis=1) == targets.item_idx))


def test_it_learns_what_popularity_does_not_see() -> None:
    world = checkerboard(domains=2)
    method = replace(METHOD, epochs=10, batch_size=16)
    fitted, floor = (one.fit(world.split.test.history, ONE) for one in (method, Popularity()))
    for domain in world.data.domain_names:
        assert hits(fitted, world, domain) > 0.9 > 0.7 > hits(floor, world, domain)
    assert sum(v for k, v in fitted.log[-1].items() if k.startswith("loss:")) < np.log(2) / 2


def test_the_seed_decides() -> None:
    data = uneven()
    one, again, other = (METHOD.fit(data, replace(ONE, seed=seed)) for seed in (1, 1, 2))
    assert same(one, again)
    assert one.log == again.log
    assert not same(one, other)


def test_all_users_rows_do_not_depend_on_torchs_threads() -> None:
    network = alive(PEPNet(37, hidden=19, prior=5), pairs_of(uneven(users=1000)))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(network.all_gated_users(0))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0], found[1])


def test_all_users_rows_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    network = alive(METHOD, pairs_of(uneven()))
    whole_UF = network.all_gated_users(1)
    monkeypatch.setattr("landbridge.models.towers.pepnet.CHUNK", 7)
    np.testing.assert_allclose(network.all_gated_users(1), whole_UF, rtol=1e-5)


def test_a_fit_that_broke_off_goes_on_bit_for_bit(tmp_path: Path) -> None:
    data, seen = uneven(), []

    def validate(fitted: EmbeddingModel) -> float:
        seen.append(fitted)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return float(len(seen))

    method = replace(METHOD, epochs=5)
    options = replace(ONE, validate=validate, work_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        method.fit(data, options)
    resumed = method.fit(data, options)
    assert len(seen) == 6  # two epochs, the broken one, and three more
    whole = method.fit(data, replace(ONE, validate=lambda fitted: 0.0))
    assert same(resumed, whole)
    assert [{**record, "valid": 0.0} for record in resumed.log] == list(whole.log)


def test_a_model_that_was_validated_stays_as_it_was() -> None:
    """Training goes on in place; with patience the best rows are given."""
    seen: list[tuple[EmbeddingModel, dict[str, np.ndarray]]] = []

    def validate(fitted: EmbeddingModel) -> float:
        seen.append((fitted, {name: array.copy() for name, array in tables(fitted).items()}))
        return -abs(len(seen) - 2.0)

    best = replace(METHOD, epochs=9).fit(uneven(), replace(ONE, validate=validate, patience=2))
    assert len(seen) == len(best.log) == 4
    for fitted, then in seen:
        assert all(np.array_equal(array, then[name]) for name, array in tables(fitted).items())
    assert same(best, seen[1][0])
    assert not same(best, seen[3][0])


def test_who_is_cold() -> None:
    """A user with events in another domain has a row here, one without any has none."""
    data = uneven({"a": (30, 50), "b": (20, 10)})
    fitted = replace(METHOD, cold_policy="zero").fit(data, ONE)
    counts_a, counts_b = data["a"].user_counts, data["b"].user_counts
    elsewhere = int(np.flatnonzero((counts_b == 0) & (counts_a > 0))[0])
    nowhere = int(np.flatnonzero((counts_b == 0) & (counts_a == 0))[0])
    scores_2I = fitted.score("b", Queries.of_users([elsewhere, nowhere]))
    assert scores_2I[0].any()
    assert not scores_2I[1].any()


def test_a_new_user_is_folded_in_from_any_domain() -> None:
    data = checkerboard(domains=2).split.test.history
    fitted = replace(METHOD, epochs=12, batch_size=16).fit(data, ONE)
    rows = data["board_1"].by_user.take(np.arange(6))
    scores_BI = fitted.score("board_0", Queries(np.full(6, -1, np.int32), {"board_1": rows}))
    for user in range(6):
        liked = np.arange(20) % 2 == user % 2
        assert scores_BI[user, liked].min() > scores_BI[user, ~liked].max()

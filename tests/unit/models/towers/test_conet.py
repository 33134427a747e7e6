"""CoNet: cross units between any number of domains, and full catalogues against the torch network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worlds import of_tables, own_events, uneven

from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.data.synthetic import checkerboard
from landbridge.models.common import pointwise_losses
from landbridge.models.towers.adc import ADC, Balance
from landbridge.models.towers.conet import CoNet
from landbridge.models.towers.fitted import TowerModel
from landbridge.models.towers.fold_in import FoldInQueries, SideInputs, backward, forward, optimise_users
from landbridge.models.towers.network import TowerNetwork
from landbridge.models.towers.neumf import NeuMF
from landbridge.models.towers.tower_method import Layers, TowerMethod
from landbridge.training.loop import run_phase
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, device="cpu")
METHOD = CoNet(4, network=Layers((7, 5, 4), (4,)), lr=0.03, epochs=2, batch_size=100, init_std=0.5)
NETWORKS: list[TowerMethod] = [
    METHOD,
    CoNet(3, network=Layers((6,), ()), lr=0.03, epochs=2, init_std=0.5),
    ADC(3, network=Layers((9, 5)), lr=0.03, epochs=2, init_std=0.5),
    ADC(3, sharing="user", lr=0.03, epochs=2, init_std=0.5),
    ADC(3, sharing="cross", network=Layers(head=(4, 3)), lr=0.03, epochs=2, init_std=0.5),
    ADC(4, sharing="cross_stitch", network=Layers((7, 5, 4), (4,)), lr=0.03, epochs=2, init_std=0.5),
    ADC(3, sharing="cross_stitch", network=Layers((6,), ()), lr=0.03, epochs=2, init_std=0.5),
    NeuMF(5, network=Layers((9, 4), ()), lr=0.03, epochs=2, init_std=0.5),
    NeuMF(5, network=Layers((4,), ()), sharing="joined", lr=0.03, epochs=2, init_std=0.5),
]


def label(method: TowerMethod) -> str:
    return f"{method.name} {getattr(method, 'sharing', '')} {method.network.tower}"


def naive(fitted: TowerModel, domain: str, user: int, item: int, m: int) -> float:
    """One score in float64: all towers side by side, on the means of her items in the other domains."""
    w = {name: array.astype(float) for name, array in fitted.weights.items()}
    towers, history = fitted.towers, fitted.history
    row, own = w[towers.users(domain)][user], w[f"item.{domain}"][item]
    x = {domain: np.concatenate([row[:m], own[:m]])}
    for other in towers.others(domain):
        table = history[other]
        if len(items := table.item_idx[table.user_idx == user]):
            x[other] = np.concatenate([row[:m], w[f"item.{other}"][items, :m].mean(axis=0)])
    for level in range(len(towers.tower) + len(towers.head)):
        above = {}
        for name, value in x.items():
            layer = towers.layers(name)[level]
            above[name] = w[f"{layer}.weight"] @ value + w[f"{layer}.bias"]
            if level < len(towers.tower) and len(x) > 1:
                rest = np.mean([x[other] for other in x if other != name], axis=0)
                if f"cross.{level}.weight" in w:
                    above[name] += w[f"cross.{level}.weight"] @ rest
            if f"stitch.{name}.{level}" in w:
                alpha, beta = w[f"stitch.{name}.{level}"]
                mixed = alpha * value + (beta * rest if len(x) > 1 else 0)
                above[name] = w[f"{layer}.weight"] @ mixed + w[f"{layer}.bias"]
        x = {name: np.maximum(value, 0) for name, value in above.items()}
    return float(w[towers.out(domain)] @ np.concatenate([x[domain], row[m:] * own[m:]]))


def anything(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Any]:
    """Weights that are anything, but for biases that let most units see something."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(0, 0.6, shape) + 0.5 * name.endswith(".bias")).astype(np.float32)
        for name, shape in shapes.items()
    }


def lively(fitted: TowerModel) -> TowerModel:
    """The same with other weights, so that towers and cross units matter."""
    return replace(fitted, weights=anything({n: a.shape for n, a in fitted.weights.items()}, 1))


@pytest.mark.parametrize("method", NETWORKS, ids=label)
def test_scores_are_those_of_a_naive_reference(method: TowerMethod) -> None:
    """Of users with events in all, some, and one of the domains."""
    data = uneven({"a": (70, 50), "b": (20, 30), "c": (30, 15)})
    fitted = lively(replace(method, popularity_weight=0.0).fit(data, ONE))
    users = np.array([0, 7, 13, 29, 44, 58])
    assert len(np.unique((data.activity_UD[users] > 0).sum(axis=1))) >= 2
    for domain in data.domain_names:
        known_B = fitted._trained_U[domain][users]
        scores_BI = fitted.score(domain, Queries.of_users(users))
        assert scores_BI[known_B].std() > 0.02
        for row, user in enumerate(users):
            for item in (0, data[domain].n_items // 2, data[domain].n_items - 1) if known_B[row] else ():
                expected = naive(fitted, domain, int(user), item, fitted.towers.width)
                assert scores_BI[row, item] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("method", NETWORKS, ids=label)
def test_scores_are_those_of_the_torch_network(method: TowerMethod) -> None:
    """Given one item in every other domain, of which the mean is itself."""
    data = uneven({"a": (70, 50), "b": (20, 30), "c": (30, 15)})
    rng = np.random.default_rng(0)
    one_each = {
        name: Interactions.from_events(np.arange(60), rng.integers(0, t.n_items, 60), 60, t.n_items)
        for name, t in data.domains.items()
    }
    single = of_tables(one_each)
    fitted = lively(replace(method, popularity_weight=0.0).fit(single, ONE))
    weights = {name: torch.from_numpy(array) for name, array in fitted.weights.items()}
    for domain in data.domain_names:
        user_N, item_N1 = rng.integers(0, 60, 40), rng.integers(0, data[domain].n_items, (40, 1))
        others = fitted.towers.others(domain)
        sides = [one_each[name].by_user.columns[user_N] for name in others]
        side_NS = np.stack(sides, axis=1) if sides else np.empty((40, 0), np.int64)
        index = (torch.from_numpy(array).long() for array in (user_N, item_N1, side_NS))
        expected = fitted.towers.logits(weights, domain, fitted.towers.embed(weights, domain, *index))
        scores_NI = fitted.score(domain, Queries.of_users(user_N))
        np.testing.assert_allclose(
            np.take_along_axis(scores_NI, item_N1, axis=1), expected, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("method", NETWORKS[:4], ids=label)
def test_the_other_users_of_a_batch_change_no_bit(method: TowerMethod) -> None:
    data = uneven(users=60)
    fitted = method.fit(data, ONE)
    whole_UI = fitted.score("a", Queries.of_users(np.arange(60)))
    for size in (1, 7, 33):
        parts = [fitted.score("a", Queries.of_users(np.arange(60)[s : s + size])) for s in range(0, 60, size)]
        assert np.array_equal(np.concatenate(parts), whole_UI)


def test_known_events_given_anew_are_the_same_sides() -> None:
    data = uneven()
    fitted = METHOD.fit(data, ONE)
    users = np.arange(10)
    events = {name: rows.take(users) for name, rows in own_events(data).items()}
    history, given = (
        fitted._sides("a", queries)
        for queries in (Queries.of_users(users), Queries(np.full(10, -1, np.int32), events))
    )
    assert history.has_BS.any()
    assert not history.has_BS.all()
    np.testing.assert_array_equal(history.has_BS, given.has_BS)
    np.testing.assert_allclose(history.mean_BSM, given.mean_BSM, rtol=1e-6)
    # a user known who brings events in one domain is who these say she is
    moved = fitted._sides("a", Queries(users.astype(np.int32), {"b": events["b"]}))
    brings_B = np.diff(events["b"].offsets) > 0
    assert not moved.has_BS[brings_B, 1].any()
    np.testing.assert_array_equal(moved.has_BS[~brings_B], history.has_BS[~brings_B])


def test_without_cross_units_it_is_mlp_pp_bit_for_bit() -> None:
    """H = 0 that stays 0, against towers on shared rows; by plain descent, as Adam counts a side item's row
    as touched, and with CoNet's clipping far above what occurs here."""
    data, descent = uneven(), Optimizer("sgd", 0.3)
    peer = ADC(
        4,
        sharing="user",
        balance=Balance("none"),
        network=METHOD.network,
        epochs=2,
        batch_size=100,
        init_std=0.5,
    )
    found = []
    for method in (METHOD, peer):
        towers = method.towers(data)
        batches = method.batches(data, 0, sides=method is METHOD)
        weights = towers.initial(data, 0, method.init_std)
        for name in weights:
            if name.startswith("cross"):
                weights[name].detach().zero_()
        rest = {name: value for name, value in weights.items() if not name.startswith("cross")}
        before = {name: value.detach().clone() for name, value in rest.items()}
        phase = method.steps(towers, weights, batches)
        run_phase(replace(phase, parameters=rest, optimizer=descent), ONE, {})
        assert all(not torch.equal(value, before[name]) for name, value in rest.items())
        found.append({name: value.detach().numpy() for name, value in weights.items()})
    crossed, plain = found
    assert len(crossed) == len(plain) + 3
    for name, value in plain.items():
        assert np.array_equal(value, crossed[name]), name
    fitted = [
        replace(method.fit(data, ONE), weights=weights)
        for method, weights in ((METHOD, crossed), (peer, plain))
    ]
    for domain in data.domain_names:
        one, other = (f.score(domain, Queries.of_users(np.arange(data.n_users))) for f in fitted)
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_two_domains_may_change_places() -> None:
    """The same H in both directions: what is said of one domain is said of the other."""
    data = uneven({"a": (30, 50), "b": (30, 40)})
    swapped = MultiDomain(data.users, dict(data.items), {"a": data["b"], "b": data["a"]})
    fitted = lively(METHOD.fit(data, ONE))
    places = str.maketrans("ab", "ba")
    renamed = {
        ".".join(p.translate(places) if p in ("a", "b") else p for p in name.split(".")): array
        for name, array in fitted.weights.items()
    }
    other = replace(fitted, history=swapped, weights=renamed)
    asked = Queries.of_users(np.arange(data.n_users))
    assert np.array_equal(fitted.score("a", asked), other.score("b", asked))
    assert np.array_equal(fitted.score("b", asked), other.score("a", asked))
    weights = {name: torch.from_numpy(array) for name, array in fitted.weights.items()}
    turned = {name: torch.from_numpy(array) for name, array in renamed.items()}
    index = torch.tensor([1, 2]), torch.tensor([[3], [4]]), torch.tensor([[5], [-1]])
    towers = fitted.towers
    one, two = (
        towers.logits(w, domain, towers.embed(w, domain, *index))
        for w, domain in ((weights, "a"), (turned, "b"))
    )
    assert torch.equal(one, two)


def test_a_step_touches_only_the_rows_of_its_batch() -> None:
    """Its items', and those of the side items; -1 is nobody's."""
    data = uneven()
    method = replace(METHOD, batch_size=12)
    towers, batches = method.towers(data), method.batches(data, 0, sides=True)
    weights = towers.initial(data, 0, 0.5)
    before = {name: value.detach().clone() for name, value in weights.items()}
    step = next(iter(batches.steps(0)))
    expected: dict[str, set[int]] = {"user": set(), **{f"item.{name}": set() for name in data.domain_names}}
    for domain, batch in step.items():
        expected["user"] |= set(batch.user_N.tolist())
        expected[f"item.{domain}"] |= set(batch.item_NJ.ravel().tolist())
        for column, other in enumerate(towers.others(domain)):
            expected[f"item.{other}"] |= set(batch.side_NS[:, column].tolist()) - {-1}
    phase = replace(method.steps(towers, weights, batches), epochs=1, batches=lambda epoch: [step])
    run_phase(phase, ONE, {})
    assert any((batch.side_NS < 0).any() for batch in step.values())
    for name, rows in expected.items():
        moved = (weights[name].detach() != before[name]).any(dim=1)
        assert set(np.flatnonzero(moved)) <= rows
        assert moved.sum() > len(rows) / 2  # a unit that is off everywhere moves nothing


def test_cross_units_carry_something_over() -> None:
    data = uneven()
    fitted = lively(METHOD.fit(data, ONE))
    none = {n: array * (not n.startswith("cross")) for n, array in fitted.weights.items()}
    asked = Queries.of_users(np.arange(60))
    both, alone = (f.score("a", asked) for f in (fitted, replace(fitted, weights=none)))
    elsewhere_U = (data.activity_UD[:, 1:] > 0).any(axis=1) & (data.activity_UD[:, 0] > 0)
    only_U = ~(data.activity_UD[:, 1:] > 0).any(axis=1) & (data.activity_UD[:, 0] > 0)
    assert (both[elsewhere_U] != alone[elsewhere_U]).any(axis=1).all()
    assert only_U.any()
    assert np.array_equal(both[only_U], alone[only_U])


@pytest.mark.parametrize("sparsity", [0.0, 5.0])
def test_the_penalty_is_added_once_per_step(sparsity: float) -> None:
    data = uneven()
    method = replace(METHOD, sparsity=sparsity)
    towers, batches = method.towers(data), method.batches(data, 0, sides=True)
    weights = towers.initial(data, 0, 0.5)
    step = next(iter(batches.steps(0)))
    plain, found = (
        float(sum(m.steps(towers, weights, batches).losses(step).values()).detach()) for m in (METHOD, method)
    )
    absolute = sum(float(v.detach().abs().sum()) for n, v in weights.items() if n.startswith("cross"))
    events = sum(len(batch.user_N) for batch in step.values())
    assert found - plain == pytest.approx(sparsity * absolute / events, rel=1e-3, abs=1e-6)


def test_sparsity_shrinks_h() -> None:
    data = checkerboard(domains=2).split.test.history
    sizes = []
    for sparsity in (0.0, 1.0):
        fitted = CoNet(4, lr=0.01, epochs=8, batch_size=64, sparsity=sparsity, init_std=0.1).fit(data, ONE)
        sizes.append(np.abs(np.concatenate([fitted.weights[f"cross.{k}.weight"].ravel() for k in (0, 1)])))
    assert sizes[1].mean() < sizes[0].mean() / 3
    assert np.mean(sizes[1] < 0.02) > 0.8 > np.mean(sizes[0] < 0.02)


@pytest.mark.parametrize("method", NETWORKS, ids=label)
def test_the_way_back_is_that_of_autograd(method: TowerMethod) -> None:
    data = uneven()
    towers = method.towers(data)
    rng, arrays = np.random.default_rng(2), anything(towers.shapes(data), 2)
    n_towers = 1 + len(towers.others("a"))
    x_TNI = rng.normal(0, 1, (n_towers, 9, 2 * towers.width)).astype(np.float32)
    x_TNI[1:, :, : towers.width] = x_TNI[0, :, : towers.width]
    mask_TN = rng.random((n_towers, 9)) < 0.6
    mask_TN[0] = True
    cache = forward(towers, arrays, "a", x_TNI, mask_TN)
    slope_1NH = rng.normal(0, 1, cache.levels[-1].shape).astype(np.float32)
    found = backward(towers, arrays, "a", cache, slope_1NH)[..., : towers.width].sum(axis=0)
    assert found.any(axis=1).mean() > 0.5
    user_NM = torch.from_numpy(x_TNI[0, :, : towers.width]).requires_grad_()
    expected = _last_layer(towers, arrays, user_NM, x_TNI, mask_TN)
    np.testing.assert_allclose(cache.levels[-1][0], expected.detach(), rtol=1e-4, atol=1e-5)
    expected.backward(torch.from_numpy(slope_1NH[0]))
    np.testing.assert_allclose(found, user_NM.grad, rtol=1e-3, atol=1e-4)


def _last_layer(towers: TowerNetwork, arrays: dict[str, Any], user_NM: Any, x_TNI: Any, mask_TN: Any) -> Any:
    """The last activations by the torch network: an h that picks one unit at a time."""
    from landbridge.models.towers.network import EmbeddedBatch

    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    width, n = towers.width, len(user_NM)
    empty = torch.zeros(n, towers.product)
    item_N1F = torch.cat([torch.from_numpy(x_TNI[0, :, width:]), empty], dim=1)[:, None]
    side_NSF = torch.from_numpy(x_TNI[1:, :, width:].swapaxes(0, 1).copy())
    has_NS = torch.from_numpy(mask_TN[1:].T.astype(np.float32))
    read = EmbeddedBatch(torch.cat([user_NM, empty], dim=1), item_N1F, side_NSF, has_NS)
    units = []
    for unit in range(len(weights[towers.out("a")]) - towers.product):
        one = torch.zeros_like(weights[towers.out("a")])
        one[unit] = 1
        units.append(towers.logits({**weights, towers.out("a"): one}, "a", read)[:, 0])
    return torch.stack(units, dim=1)


def test_new_users_rows_make_the_objective_small() -> None:
    data = uneven()
    fitted = lively(METHOD.fit(data, ONE))
    before_BF = np.tile(fitted._mean_F["a"], (60, 1))
    rows_BF = before_BF.copy()
    sides = SideInputs(np.zeros((60, 2, 4), np.float32), np.zeros((60, 2), bool))
    asked = {"a": FoldInQueries.of(data["a"].by_user, sides, data["a"].n_items)}
    weights = {name: array.copy() for name, array in fitted.weights.items()}
    optimise_users(fitted.towers, fitted.weights, fitted.rule, data, asked, rows_BF)
    assert all(np.array_equal(array, weights[name]) for name, array in fitted.weights.items())
    has_B = data["a"].user_counts > 0
    assert np.array_equal((rows_BF != before_BF).any(axis=1), has_B)
    losses = [_mean_loss(fitted, data, rows) for rows in (before_BF, rows_BF)]
    assert losses[1] < losses[0] - 0.1


def _mean_loss(fitted: TowerModel, data: MultiDomain, rows_BF: Any) -> float:
    sides = SideInputs(np.zeros((60, 2, 4), np.float32), np.zeros((60, 2), bool))
    scores_UI = torch.from_numpy(fitted._through("a", rows_BF, sides))
    has_UI = torch.zeros(scores_UI.shape, dtype=torch.bool)
    has_UI[data["a"].user_idx.copy(), data["a"].item_idx.copy()] = True
    lost = [
        float(pointwise_losses.event_losses("bce", torch.stack([s, o], dim=-1).reshape(1, 2)))
        for u in range(60)
        for s, o in zip(scores_UI[u][has_UI[u]], scores_UI[u][~has_UI[u]], strict=False)
    ]
    return float(np.mean(lost))


def test_cross_stitch_units_are_cross_units_of_scaled_weights() -> None:
    """Eq. (5) as (4): H = β W and α W in place of W, where a domain's numbers are those of all."""
    data, alpha, beta = uneven(), 0.8, 0.3
    shape = {"domains": data.domain_names, "width": 4, "tower": (6, 6), "head": (5,)}
    stitch, cross = (TowerNetwork(sharing=sharing, **shape) for sharing in ("cross_stitch", "cross"))
    weights = {name: torch.from_numpy(array) for name, array in anything(stitch.shapes(data), 4).items()}
    common = weights["tower.a.1.weight"]
    for name in data.domain_names:
        weights |= {f"tower.{name}.1.weight": common, f"stitch.{name}.1": torch.tensor([alpha, beta])}
    scaled = {f"tower.{name}.1.weight": alpha * common for name in data.domain_names}
    none = torch.zeros(cross.shapes(data)["cross.0.weight"])
    as_cross = weights | scaled | {"cross.0.weight": none, "cross.1.weight": beta * common}
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 60, 30), rng.integers(0, data["a"].n_items, (30, 2))
    sides = np.stack([rng.integers(-1, data[name].n_items, 30) for name in ("b", "c")], axis=1)
    index = [torch.from_numpy(array).long() for array in (users, items, sides)]
    found, expected = (
        towers.logits(own, "a", towers.embed(own, "a", *index))
        for towers, own in ((stitch, weights), (cross, as_cross))
    )
    assert found.std() > 0.1
    torch.testing.assert_close(found, expected)
    idle = weights | {f"stitch.{name}.1": torch.tensor([1.0, 0.0]) for name in data.domain_names}
    apart = TowerNetwork(sharing="user", **shape)
    alone = apart.logits(idle, "a", apart.embed(idle, "a", *index))
    torch.testing.assert_close(stitch.logits(idle, "a", stitch.embed(idle, "a", *index)), alone)
    assert not torch.allclose(found, alone)

"""NeuMF, the steps that all joint networks take, and what a network knows of new users."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import of_tables, uneven

from landbridge.core.errors import SettingsError, StoreError
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.data.sampling.domain_batches import DomainBatches
from landbridge.data.synthetic import checkerboard
from landbridge.models.common import pointwise_losses
from landbridge.models.towers.fitted import TowerModel
from landbridge.models.towers.neumf import NeuMF
from landbridge.models.towers.tower_method import Layers, TowerLoss
from landbridge.training.loop import run_phase
from landbridge.training.optimizers import Optimizer
from landbridge.training.options import FitOptions

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, device="cpu")
METHOD = NeuMF(4, network=Layers((6, 3), ()), lr=0.03, reg=0.02, epochs=2, batch_size=100, init_std=0.5)


def dropping(share: float) -> NeuMF:
    return replace(METHOD, epochs=1, network=replace(METHOD.network, dropout=share))


def same(one: TowerModel, other: TowerModel) -> bool:
    return all(np.array_equal(array, other.weights[name]) for name, array in one.weights.items())


def naive(weights: dict[str, Any], domain: str, user: int, item: int, m: int, separate: bool) -> Any:
    """One score in float64, by the paper's drawing."""
    row, own = weights[f"user.{domain}" if separate else "user"][user], weights[f"item.{domain}"][item]
    x, tower = torch.cat([row[:m], own[:m]]), f"tower.{domain}" if separate else "shared"
    level = 0
    while f"{tower}.{level}.weight" in weights:
        x = (weights[f"{tower}.{level}.weight"] @ x + weights[f"{tower}.{level}.bias"]).relu()
        level += 1
    return weights[f"head.{domain}.out" if separate else "head.out"] @ torch.cat([x, row[m:] * own[m:]])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sharing", ["separate", "joined"])
@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_steps_are_those_of_a_naive_reference(sharing: str, loss: str, weighted: bool) -> None:
    """Plain descent by whole float64 tables, pair after pair, without the code under test."""
    data = uneven({"a": (12, 20), "b": (9, 15)}, users=25, weighted=weighted)
    method = replace(METHOD, sharing=sharing, loss=TowerLoss(loss, 4), batch_size=60)
    towers, batches = method.towers(data), method.batches(data, seed=0)
    weights = towers.initial(data, 0, method.init_std)
    twin = {name: value.detach().double().requires_grad_() for name, value in weights.items()}
    phase = method.steps(towers, weights, batches)
    run_phase(replace(phase, optimizer=Optimizer("sgd", method.lr)), ONE, {})
    for epoch in range(method.epochs):
        for step in batches.steps(epoch):
            total: Any = 0.0
            for domain, batch in step.items():
                weight_N = np.ones(len(batch.user_N)) if batch.weight_N is None else batch.weight_N
                own: Any = 0.0
                for user, items, weight in zip(batch.user_N, batch.item_NJ, weight_N.tolist(), strict=True):
                    s = [naive(twin, domain, user, item, 4, sharing == "separate") for item in items]
                    if loss == "bce":
                        terms = [-torch.log(torch.sigmoid(s[0]))]
                        terms += [-torch.log(1 - torch.sigmoid(x)) for x in s[1:]]
                    else:
                        terms = [-torch.log(torch.sigmoid(s[0] - x)) for x in s[1:]]
                    user_row = twin[towers.users(domain)][user]
                    squares = (user_row**2).sum() + sum((twin[f"item.{domain}"][i] ** 2).sum() for i in items)
                    own = own + weight * (sum(terms) / len(terms) + method.reg / 2 * squares)
                share = 1.0 if sharing == "separate" else len(data[domain]) / data.n_events
                total = total + share * own / weight_N.sum()
            gradients = torch.autograd.grad(total, list(twin.values()), allow_unused=True)
            with torch.no_grad():
                for value, gradient in zip(twin.values(), gradients, strict=True):
                    value -= 0 if gradient is None else method.lr * gradient
    for name, value in weights.items():
        np.testing.assert_allclose(value.detach(), twin[name].detach(), atol=1e-5, err_msg=name)


@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_at_zero_weights_the_loss_is_ln_2(loss: str) -> None:
    data = uneven(weighted=True)
    method = replace(METHOD, loss=TowerLoss(loss, 4))
    towers = method.towers(data)
    weights = towers.initial(data, 0, 0.1)
    for weight in weights.values():
        weight.detach().zero_()
    phase = method.steps(towers, weights, method.batches(data, 0))
    for step in phase.batches(0):
        for value in phase.losses(step).values():
            assert float(value.detach()) == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("name", pointwise_losses.OBJECTIVES)
def test_slopes_are_those_of_autograd(name: str) -> None:
    score_NJ = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)) * 3
    leaf = score_NJ.clone().requires_grad_()
    pointwise_losses.event_losses(name, leaf).sum().backward()
    np.testing.assert_allclose(pointwise_losses.score_gradients(name, score_NJ.numpy()), leaf.grad, atol=1e-6)


def test_an_epoch_goes_once_through_every_domain() -> None:
    data = uneven({"a": (40, 55), "b": (25, 40), "c": (60, 1)})
    batches = DomainBatches(data, 50, "domain", 3, seed=1, sides=True)
    steps = list(batches.steps(0))
    assert len(steps) == -(-data.n_events // 50)
    for name in data.domain_names:
        parts = [step[name] for step in steps if name in step]
        sizes = [len(part.user_N) for part in parts]
        pairs = {(u, i) for part in parts for u, i in zip(part.user_N, part.item_NJ[:, 0], strict=True)}
        assert pairs == set(zip(data[name].user_idx, data[name].item_idx, strict=True))
        assert sum(sizes) == len(data[name])
        assert max(sizes) - min(sizes) <= 1
        for part in parts:
            assert not data[name].contains(np.repeat(part.user_N, 3), part.item_NJ[:, 1:].ravel()).any()


def test_every_negative_is_a_draw_of_its_own() -> None:
    whole = DomainBatches(uneven(), 50, "domain", 4, seed=1).whole("a", 0)
    for one in range(1, 5):
        for other in range(1, one):
            assert np.mean(whole.item_NJ[:, one] == whole.item_NJ[:, other]) < 0.1
    again = DomainBatches(uneven(), 50, "domain", 4, seed=1).whole("a", 1)
    assert not np.array_equal(again.item_NJ, whole.item_NJ)


def test_a_side_item_is_one_the_user_has() -> None:
    data = uneven()
    whole = DomainBatches(data, 50, "domain", 1, seed=1, sides=True).whole("a", 0)
    for column, name in enumerate(("b", "c")):
        side_N, count_N = whole.side_NS[:, column], data[name].user_counts[whole.user_N]
        assert np.array_equal(side_N < 0, count_N == 0)
        has = side_N >= 0
        assert data[name].contains(whole.user_N[has], side_N[has]).all()
        assert len(np.unique(side_N)) > 10


def test_a_step_touches_only_the_rows_of_its_batch() -> None:
    data = uneven()
    method = replace(METHOD, batch_size=20, epochs=1)
    towers, batches = method.towers(data), method.batches(data, 0)
    weights = towers.initial(data, 0, 0.1)
    before = {name: value.detach().clone() for name, value in weights.items()}
    step = next(iter(batches.steps(0)))
    phase = method.steps(towers, weights, batches)
    run_phase(replace(phase, batches=lambda epoch: [step]), ONE, {})
    for domain, batch in step.items():
        for name, rows in {f"user.{domain}": batch.user_N, f"item.{domain}": batch.item_NJ}.items():
            moved = (weights[name].detach() != before[name]).any(dim=1)
            assert set(np.flatnonzero(moved)) == set(rows.ravel().tolist())


def test_separate_domains_know_nothing_of_each_other() -> None:
    """Other events in one domain, as many, leave the other domain's model as it is."""
    data = uneven({"a": (30, 50), "b": (20, 40)})
    turned = {**data.domains, "b": _turned(data["b"])}
    one, other = (METHOD.fit(d, ONE) for d in (data, of_tables(turned)))
    mine = {name for name in one.weights if ".a" in name}
    assert all(np.array_equal(one.weights[name], other.weights[name]) for name in mine)
    assert not same(one, other)


def _turned(table: Interactions) -> Interactions:
    items = (table.item_idx + 1) % table.n_items
    return Interactions.from_events(table.user_idx, items, table.n_users, table.n_items)


def test_dropout_is_for_learning_alone() -> None:
    data = uneven()
    plain, noisy = (dropping(share).fit(data, ONE) for share in (0.0, 0.5))
    again = dropping(0.5).fit(data, ONE)
    assert not same(plain, noisy)
    assert same(noisy, again)
    asked = Queries.of_users(np.arange(data.n_users))
    assert np.array_equal(noisy.score("a", asked), noisy.score("a", asked))


def test_a_fit_that_broke_off_goes_on_bit_for_bit(tmp_path: Path) -> None:
    data, seen = uneven(), []

    def validate(fitted: TowerModel) -> float:
        seen.append(fitted)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return float(len(seen))

    method = replace(dropping(0.3), epochs=4)
    options = replace(ONE, validate=validate, work_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        method.fit(data, options)
    resumed = method.fit(data, options)
    assert len(seen) == 5  # one epoch, the broken one, and three more
    whole = method.fit(data, replace(ONE, validate=lambda fitted: 0.0))
    assert same(resumed, whole)
    assert [{**record, "valid": 0.0} for record in resumed.log] == list(whole.log)


@pytest.mark.parametrize("change", [{"network": Layers((6, 4), ())}, {"lr": 0.02}])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    options = replace(ONE, work_dir=tmp_path)
    METHOD.fit(uneven(), options)
    with pytest.raises(StoreError, match="belongs to another fit"):
        replace(METHOD, **change).fit(uneven(), options)


def test_a_model_that_was_validated_stays_as_it_was() -> None:
    seen: list[tuple[TowerModel, dict[str, np.ndarray]]] = []

    def validate(fitted: TowerModel) -> float:
        seen.append((fitted, {name: array.copy() for name, array in fitted.weights.items()}))
        return -abs(len(seen) - 2.0)

    best = replace(METHOD, epochs=9).fit(uneven(), replace(ONE, validate=validate, patience=2))
    assert len(best.log) == 4
    for fitted, then in seen:
        assert all(np.array_equal(array, then[name]) for name, array in fitted.weights.items())
    assert same(best, seen[1][0])


def half_new() -> tuple[MultiDomain, MultiDomain]:
    """A checkerboard's known events, and the same without those of the last ten users."""
    history = checkerboard(domains=2).split.test.history
    kept = {name: table.take(table.user_idx < 30) for name, table in history.domains.items()}
    return history, history.with_events(kept)


@pytest.mark.parametrize("sharing", ["separate", "joined"])
def test_new_users_are_taken_in_by_their_events(sharing: str) -> None:
    history, fewer = half_new()
    fitted = replace(METHOD, sharing=sharing, reg=0.03, epochs=12, batch_size=16).fit(fewer, ONE)
    new_B = np.arange(30, 40)
    brought = "board_1" if sharing == "joined" else "board_0"
    events = {brought: history[brought].by_user.take(new_B)}
    scores_BI = fitted.score("board_0", Queries(np.full(10, -1, np.int32), events))
    for user, scores_I in zip(new_B, scores_BI, strict=True):
        liked = np.arange(20) % 2 == user % 2
        assert scores_I[liked].mean() > scores_I[~liked].mean() + 1
    other = fitted.score("board_1" if sharing == "separate" else "board_0", Queries.of_users([35]))
    assert np.array_equal(other[0], fitted.score("board_0", Queries.of_users([-1]))[0]) == (
        sharing == "joined"
    )


def test_who_is_folded_in_does_not_depend_on_company(monkeypatch: pytest.MonkeyPatch) -> None:
    history, fewer = half_new()
    fitted = METHOD.fit(fewer, ONE)
    asked = Queries(
        np.full(10, -1, np.int32), {"board_0": history["board_0"].by_user.take(np.arange(30, 40))}
    )
    together = fitted.score("board_0", asked)
    for person in (0, 7):
        alone = fitted.score("board_0", asked.take(np.array([person])))
        np.testing.assert_allclose(alone[0], together[person], rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("landbridge.models.towers.fitted.PAIRS", 100)
    np.testing.assert_allclose(fitted.score("board_0", asked), together, rtol=1e-4, atol=1e-5)


def test_a_user_with_everything_has_the_mean_row() -> None:
    """There is nothing that her items could be better than."""
    fitted = METHOD.fit(uneven({"a": (30, 50)}), ONE)
    everything = Interactions.from_events([0] * 30, np.arange(30), 1, 30).by_user.take([0])
    asked = Queries(np.array([-1], np.int32), {"a": everything})
    rows_BF = fitted.query_rows("a", asked)
    np.testing.assert_allclose(rows_BF[0], fitted.query_rows("a", Queries.of_users([-1]))[0])


def test_a_tower_has_a_layer() -> None:
    with pytest.raises(SettingsError, match=r"neumf\.network\.tower must have one layer or more"):
        NeuMF(network=Layers(()))


def test_layers_from_a_settings_file_are_lists() -> None:
    assert NeuMF.from_settings({"network": {"tower": [8, 4], "head": []}}) == NeuMF(
        network=Layers((8, 4), ())
    )

"""DisenCDR: codes, divergences and losses against naive twins, its limits, and any number of domains."""

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
from worlds import dense, of_tables, uneven

from landbridge.data.dataset import MultiDomain
from landbridge.data.synthetic import planted_transfer
from landbridge.models.common.pointwise_losses import event_losses
from landbridge.models.graph.disencdr import DisenCDR, DisenNetwork
from landbridge.models.graph.variational import Normal, divergence
from landbridge.models.popularity import Popularity
from landbridge.training.optimizers import Optimizer

METHOD = DisenCDR(4, lr=0.03, epochs=3, batch_size=100, init_std=0.5, warmup=2, dropout=0.0)


def plain(data: MultiDomain, method: DisenCDR, network: DisenNetwork) -> dict[str, Any]:
    """Eqs. (1) to (4) of the encoders and (2) of the method, user by user in float64: means and deviations
    of all users and items by what they are and domain; 0 and no number for users without events there."""
    w = {name: weight.detach().double().numpy() for name, weight in network.weights.items()}
    names, factors = data.domain_names, method.factors
    tables = {name: dense(events) > 0 for name, events in data.domains.items()}

    def whole(label: str, name: str) -> Any:
        rows = w[f"{label}.{name}"]
        if label == "item":
            return rows
        out = np.zeros((data.n_users, factors))
        out[tables[name].any(axis=1)] = rows
        return out

    def mean_of(rows: Any, chosen: Any) -> Any:
        return rows[chosen].mean(axis=0) if chosen.any() else np.zeros(factors)

    def layer(label: str, part: str, table: Any, x: Any) -> Any:
        def leaky(y: Any) -> Any:
            return np.where(y > 0, y, 0.1 * y)

        inner = x @ w[f"{label}.there.weight"].T
        there = leaky(np.array([mean_of(inner, column) for column in table.T]) + w[f"{label}.there.bias"])
        outer = there @ w[f"{label}.back{part}.weight"].T
        back = leaky(np.array([mean_of(outer, row) for row in table]) + w[f"{label}.back{part}.bias"])
        both = np.concatenate([back, x], axis=1)
        return both @ w[f"{label}.join{part}.weight"].T + w[f"{label}.join{part}.bias"]

    def deviation(raw: Any) -> Any:
        return 0.1 + 0.9 * np.log1p(np.exp(raw))

    found: dict[str, Any] = {}
    for kind, reads in (("specific", "user"), ("item", "item"), ("alone", "user")):
        for name in names:
            table = tables[name].T if reads == "item" else tables[name]
            x = whole(reads, name)
            for level in range(method.layers - 1):
                x = np.maximum(layer(f"{kind}.{name}.encoder.{level}", "", table, x), 0)
                x[~table.any(axis=1)] *= reads == "item"
            last = f"{kind}.{name}.encoder.{method.layers - 1}"
            found[f"{kind}.{name}"] = (
                layer(last, ".mean", table, x),
                deviation(layer(last, ".scale", table, x)),
            )
    counts = np.stack([tables[name].sum(axis=1) for name in names], axis=1)
    share = counts / np.maximum(counts.sum(axis=1), 1)[:, None]
    rows = {name: whole("common", name) for name in names}
    for level in range(method.layers):
        parts = ("",) if level < method.layers - 1 else (".mean", ".scale")
        mixed = []
        for part in parts:
            own = [layer(f"common.{n}.encoder.{level}", part, tables[n], rows[n]) for n in names]
            own = [np.maximum(each, 0) for each in own] if not part else own
            mixed.append(sum(share[:, [d]] * each for d, each in enumerate(own)))
        rows = {name: mixed[0] * tables[name].any(axis=1)[:, None] for name in names}
    found["common"] = mixed[0], deviation(mixed[1])
    return found


def as_normal(pair: Any) -> Any:
    return torch.distributions.Normal(*(torch.from_numpy(each) for each in pair))


@pytest.mark.parametrize("layers", [1, 2])
def test_codes_are_those_of_a_naive_reference(layers: int) -> None:
    data, method = uneven(), replace(METHOD, layers=layers)
    network = method.network(data, 0)
    wanted = plain(data, method, network)
    common = network.common_code()
    for one, other in zip(common, wanted["common"], strict=True):
        np.testing.assert_allclose(one.detach(), other, atol=1e-5)
    users, items = network.embeddings()
    for name, user_P in network.graphs.users.items():
        for kind, rows in (("specific", user_P), ("alone", user_P), ("item", slice(None))):
            for one, other in zip(network.encoded(kind, name), wanted[f"{kind}.{name}"], strict=True):
                np.testing.assert_allclose(one.detach(), other[rows], atol=1e-5, err_msg=f"{kind} {name}")
        own_UF = wanted[f"specific.{name}"][0] * (data[name].user_counts > 0)[:, None]
        np.testing.assert_allclose(users[name], own_UF + wanted["common"][0], atol=1e-5)
        np.testing.assert_allclose(items[name], wanted[f"item.{name}"][0], atol=1e-5)


@pytest.mark.parametrize("warm", [True, False])
def test_the_losses_of_a_step_are_those_of_the_equations(warm: bool) -> None:
    """With deviations that add nothing to the scores: the draws are all 0."""
    data, method = uneven(), replace(METHOD, divergence_weight=0.3, domain_weight=0.7, reg=0.0)
    network = method.network(data, 0)
    wanted, kl = plain(data, method, network), torch.distributions.kl_divergence
    (step, *_) = method.batches(data, 0).steps(0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "randn_like", torch.zeros_like)
        losses = method.losses(network.own_scores if warm else network.scores, step)
    unit = torch.distributions.Normal(0.0, 1.0)
    for name, batch in step.items():
        at = np.flatnonzero(data[name].user_counts)
        mean_UF, item_IF = wanted[f"specific.{name}"][0], wanted[f"item.{name}"][0]
        user_UF = mean_UF if warm else mean_UF + wanted["common"][0]
        score_NJ = np.einsum("nf,njf->nj", user_UF[batch.user_N], item_IF[batch.item_NJ])
        total = event_losses("bce", torch.from_numpy(score_NJ)).mean()
        own, alone = (as_normal([each[at] for each in wanted[f"{k}.{name}"]]) for k in ("specific", "alone"))
        total = total + 0.3 * kl(own, unit).sum(dim=1).mean()
        total = total + 0.3 * kl(as_normal(wanted[f"item.{name}"]), unit).sum(dim=1).mean()
        common = as_normal([each[at] for each in wanted["common"]])
        if not warm:
            total = total + 0.3 * 0.7 * kl(common, alone).sum(dim=1).mean()
            total = total + 0.3 * 0.3 / 3 * kl(common, unit).sum(dim=1).mean()
        assert float(losses[name].detach()) == pytest.approx(float(total), rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_a_divergence_is_that_of_torch_and_0_between_equals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (
        Normal(*(torch.from_numpy(a) for a in (rng.normal(size=(3, 4)), rng.uniform(0.1, 3, (3, 4)))))
        for _ in range(2)
    )
    wanted = torch.distributions.kl_divergence(*(torch.distributions.Normal(*each) for each in (one, other)))
    torch.testing.assert_close(divergence(one, other), wanted.sum(dim=1))
    unit = Normal(torch.zeros_like(one.mean_RF), torch.ones_like(one.mean_RF))
    torch.testing.assert_close(divergence(one), divergence(one, unit))
    assert (divergence(one, other) > 0).all()
    assert not divergence(one, one).any()


def test_a_draw_has_the_mean_and_the_deviation_and_passes_gradients() -> None:
    torch.manual_seed(0)
    mean, scale = torch.full((20000, 1), 2.0), torch.full((20000, 1), 0.5)
    drawn = Normal(mean.requires_grad_(), scale.requires_grad_()).sample()
    assert float(drawn.detach().mean()) == pytest.approx(2, abs=0.02)
    assert float(drawn.detach().std()) == pytest.approx(0.5, abs=0.02)
    drawn.sum().backward()
    assert mean.grad is not None
    assert (mean.grad == 1).all()
    assert scale.grad is not None
    assert float(scale.grad.std()) == pytest.approx(1, abs=0.02)


def test_the_warm_up_leaves_the_common_code_as_it_is() -> None:
    data = uneven()
    network = METHOD.network(data, 0)
    (step, *_) = METHOD.batches(data, 0).steps(0)
    torch.stack(list(METHOD.losses(network.own_scores, step).values())).sum().backward()
    moved = {name for name, weight in network.weights.items() if weight.grad is not None}
    assert moved == {name for name in network.weights if name.startswith(("user.", "item.", "specific."))}
    torch.stack(list(METHOD.losses(network.scores, step).values())).sum().backward()
    assert all(weight.grad is not None for weight in network.weights.values())


def test_a_fit_warms_up_and_then_runs_its_epochs() -> None:
    fitted = METHOD.fit(uneven(), ONE)
    assert [record["phase"] for record in fitted.log] == ["warmup"] * 2 + ["disencdr"] * 3
    assert [record["epoch"] for record in fitted.log] == list(range(5))
    log: list[dict[str, Any]] = [
        {"phase": "warmup"}, {"phase": "disencdr", "valid": 0.2}, {"phase": "disencdr", "valid": 0.1},
    ]  # fmt: skip
    assert METHOD.stopped(log) == replace(METHOD, epochs=1)
    assert METHOD.stopped(()) == METHOD


def test_without_common_users_every_domain_is_encoded_as_if_alone() -> None:
    data = uneven()
    apart = of_tables(
        {"a": data["a"].take(data["a"].user_idx < 30), "b": data["b"].take(data["b"].user_idx >= 30)}
    )
    users, items = METHOD.network(apart, 0).embeddings()
    for name in apart.domain_names:
        (own_UF,), (own_IF,) = (
            each.values() for each in METHOD.network(apart.select([name]), 0).embeddings()
        )
        known = apart[name].user_counts > 0
        np.testing.assert_allclose(users[name][known], own_UF[known], atol=1e-6)
        np.testing.assert_allclose(items[name], own_IF, atol=1e-6)


def test_two_domains_may_change_places() -> None:
    data = uneven()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "randn_like", torch.zeros_like)  # noise is drawn in the order of the domains
        method = replace(METHOD, batch_size=10**6)
        close(*(method.fit(data.select(names), ONE) for names in (["a", "b"], ["b", "a"])), atol=1e-3)


@pytest.mark.parametrize("domains", [1, 5])
def test_one_domain_and_five(domains: int) -> None:
    data = uneven({name: (15, 6 + 4 * n) for n, name in enumerate("abcde"[:domains])}, users=40)
    fitted = METHOD.fit(data, ONE)
    assert all(np.isfinite(scores_BI).all() for scores_BI in all_scores(fitted).values())
    assert (np.array([rows_UF.shape for rows_UF in fitted.user_UF.values()]) == (40, 4)).all()
    nowhere = ~data.activity_UD.any(axis=1)
    assert all(not rows_UF[nowhere].any() for rows_UF in fitted.user_UF.values())
    if domains == 5:  # without events in two domains a user has the common code alone in both
        elsewhere = (data["a"].user_counts == 0) & (data["b"].user_counts == 0)
        assert fitted.user_UF["a"][elsewhere].any()
        np.testing.assert_array_equal(fitted.user_UF["a"][elsewhere], fitted.user_UF["b"][elsewhere])


def test_a_fit_that_broke_off_goes_on_bit_for_bit(tmp_path: Path) -> None:
    resumes(replace(METHOD, epochs=4, dropout=0.3), uneven(), tmp_path)


def test_a_fit_that_broke_off_in_the_warm_up(tmp_path: Path) -> None:
    data, calls, step = uneven(), [0], Optimizer.step

    def breaks(self: Optimizer, *arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == 60:
            raise KeyboardInterrupt
        step(self, *arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Optimizer, "step", breaks)
        with pytest.raises(KeyboardInterrupt):
            METHOD.fit(data, replace(ONE, work_dir=tmp_path))
    resumed, whole = METHOD.fit(data, replace(ONE, work_dir=tmp_path)), METHOD.fit(data, ONE)
    for name, scores_BI in all_scores(resumed).items():
        assert np.array_equal(scores_BI, all_scores(whole)[name])


def test_a_taste_reaches_the_sparse_domain() -> None:
    world = planted_transfer(users=240, items=120, groups=6)
    train = world.split.test.history
    method = DisenCDR(
        8, lr=0.05, epochs=24, batch_size=512, layers=1, warmup=0, divergence_weight=3e-4, init_std=1.0
    )
    joint = own_group(method.fit(train, ONE), world)
    popular = own_group(Popularity().fit(train, ONE), world)
    assert joint > 0.5 > 0.2 > popular

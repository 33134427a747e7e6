"""UCLR: every stage from its parts, one epoch against plain torch, and what must come out the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from resuming import Kill, same_state
from worlds import uneven

from landbridge.core.errors import SettingsError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.sampling.pairwise import Pairwise
from landbridge.data.synthetic import planted_transfer
from landbridge.models.base import Queries
from landbridge.models.common.dot_product import DotProductModel
from landbridge.models.uclr.fitted import encode_users, over_domains
from landbridge.models.uclr.method import PUBLISHED, UCLR, Scope
from landbridge.training.options import FitOptions

torch = pytest.importorskip("torch")
from crowds import divergence, gaps, log_mean  # noqa: E402

ONE = FitOptions(threads=1, seed=3)
SMALL: dict[str, Any] = {
    "factors": 6, "pretrain.settings": {"epochs": 5, "lr": 0.03, "batch_size": 16}, "lr": 0.01,
    "batch_size": 25,
    "epochs": 3, "adaptation.epochs": 2, "contrast.alpha": 0.1,
}  # fmt: skip


def small(settings: Mapping[str, Any] = MappingProxyType({})) -> UCLR:
    return UCLR.from_settings({**SMALL, **settings})


def pretrained(data: MultiDomain, settings: Mapping[str, Any] = MappingProxyType({})) -> DotProductModel:
    base = small(settings).pretrainer().fit(data, ONE)
    assert isinstance(base, DotProductModel)
    return base


OTHERWISE: dict[str, Any] = {  # every choice that is not the default
    "optimizer.kind": "momentum", "optimizer.gradient_ema": 0.3, "lr": 0.003, "encoder.sharing": "separate",
    "adaptation.reduction": "sum", "adaptation.reg": 0.01, "adaptation.reg_power": 1,
}  # fmt: skip


class TestStages:
    def test_pge_scores_like_the_model_it_is(self) -> None:
        data = uneven()
        base, everybody = pretrained(data), Queries.of_users(np.arange(data.n_users))
        fitted = small({"stage": "pge"}).fit(data, ONE)
        for name in data.domain_names:
            known_U = data.activity_UD.any(axis=1)
            wanted_UI = base.user_UF[name] @ base.item_IF[name].T
            np.testing.assert_allclose(fitted.score(name, everybody)[known_U], wanted_UI[known_U], rtol=1e-5)

    @pytest.mark.parametrize("stage", ["ae", "cl", "ucl"])
    def test_domains_share_layers_and_rows_until_they_are_adapted(self, stage: str) -> None:
        fitted = small({"stage": stage}).fit(uneven(), ONE)
        assert len({id(rows_UF) for rows_UF in fitted.user_UF.values()}) == 1
        assert len({id(layers) for layers in fitted.layers.values()}) == 1

    def test_full_is_ucl_until_something_is_adapted(self) -> None:
        data = uneven()
        base = pretrained(data)
        ucl = small({"stage": "ucl"}).fit_on(base, ONE)
        for unchanged in (small({"adaptation.epochs": 0}), small({"adaptation.lora_targets": "none"})):
            assert same_state(replace(unchanged.fit_on(base, ONE), method=ucl.method), ucl)
        adapted = small().fit_on(base, ONE)
        assert not np.array_equal(adapted.user_UF["a"], ucl.user_UF["a"])
        only_a = small({"adaptation.epochs": 0, "adaptation.domain_epochs": {"a": 2}}).fit_on(base, ONE)
        assert np.array_equal(only_a.user_UF["a"], adapted.user_UF["a"])
        assert only_a.user_UF["b"] is only_a.user_UF["c"]

    @pytest.mark.parametrize("scope", ["users", "all", "items_free", "full"])
    def test_what_a_scope_may_change(self, scope: str) -> None:
        base = pretrained(uneven())
        before = small({"stage": "ucl"}).fit_on(base, ONE)
        after = small({"adaptation.lora_targets": scope}).fit_on(base, ONE)
        assert not np.array_equal(before.user_UF["a"], after.user_UF["a"])
        assert np.array_equal(before.item_IF["a"], after.item_IF["a"]) == (scope == "users")
        same_layers = all(
            np.array_equal(before.layers["a"][k], after.layers["a"][k]) for k in after.layers["a"]
        )
        assert same_layers == (scope == "users")

    @pytest.mark.parametrize("pretrain", ["bprmf", "ials", "lightgcn", "pepnet"])
    def test_every_pretrainer_serves(self, pretrain: str) -> None:
        data = uneven()
        fitted = small({"pretrain.method": pretrain, "pretrain.settings": {"epochs": 2}}).fit(data, ONE)
        assert fitted.base.method.name == pretrain
        assert np.isfinite(fitted.score("b", Queries.of_users([-1, 0, 1]))).all()

    def test_rows_of_several_domains_are_weighed_by_events(self) -> None:
        data = uneven()
        base = (
            small({"pretrain.method": "pepnet", "pretrain.settings": {"epochs": 3}})
            .pretrainer()
            .fit(data, ONE)
        )
        assert isinstance(base, DotProductModel)
        rows_UF = over_domains(base)
        user = int(np.argmax(data.activity_UD.min(axis=1)))
        counts = data.activity_UD[user]
        wanted_F = sum(
            n * base.user_UF[name][user] for n, name in zip(counts, data.domain_names, strict=True)
        )
        np.testing.assert_allclose(rows_UF[user], wanted_F / counts.sum(), rtol=1e-5)


class MovingAverage:
    """Algorithm 2, lines 11 and 12, written plainly."""

    def __init__(self, weights: list[Any], lr: float, newest: float) -> None:
        self.weights, self.lr, self.newest = weights, lr, newest
        self.average = [torch.zeros_like(weight) for weight in weights]

    def zero_grad(self) -> None:
        for weight in self.weights:
            weight.grad = None

    def step(self) -> None:
        for weight, average in zip(self.weights, self.average, strict=True):
            average.copy_((1 - self.newest) * average + self.newest * weight.grad)
            weight.data -= self.lr * average


def plain_steps(method: UCLR, weights: list[Any]) -> Any:
    if method.optimizer.kind == "momentum":
        return MovingAverage(weights, method.lr, method.optimizer.gradient_ema)
    return torch.optim.Adam(weights, lr=method.lr)


def plain_streams(wide: Mapping[str, Any], whole_BF: Any, kept: Any) -> tuple[Any, Any, Any]:
    """Ê of the plain stream, the distances of both streams, and the gaps h, from two passes."""

    def part(name: str, x: Any) -> Any:
        x = torch.relu(x @ wide[f"{name}.0.weight"].T + wide[f"{name}.0.bias"])
        return x @ wide[f"{name}.1.weight"].T + wide[f"{name}.1.bias"]

    blanked_BF = whole_BF * torch.tensor(kept).unsqueeze(1)
    code_BL, other_BL = part("encoder", whole_BF), part("encoder", blanked_BF)
    rebuilt = [part("decoder", code) for code in (code_BL, other_BL)]
    return rebuilt[0], sum(((each - whole_BF) ** 2).sum(dim=1) for each in rebuilt), gaps(code_BL, other_BL)


def plain_epoch(method: UCLR, rows_UF: Any, layers: dict[str, Any], batches: Any, tau: float | None) -> Any:
    """One epoch of Eq. (2) in float64 with torch's own Adam; own temperatures where ``tau`` is None."""
    wide = {name: layer.detach().double().requires_grad_() for name, layer in layers.items()}
    rows_UF, rule = torch.tensor(rows_UF).double(), method.contrast.temperature
    tau_U = torch.full((len(rows_UF),), rule.start, dtype=torch.float64)
    average_U = torch.zeros_like(tau_U)
    steps = plain_steps(method, list(wide.values()))
    for users, kept in batches:
        users_B = torch.tensor(users)
        _, distance_B, h_BN = plain_streams(wide, rows_UF[users_B], kept)
        tau_B = tau_U[users_B] if tau is None else torch.full((len(users),), tau, dtype=torch.float64)
        rho = rule.rho(len(users) - 1) if tau is None else np.log(len(users) - 1)
        loss = (tau_B * (log_mean(h_BN, tau_B) + rho) + method.contrast.alpha * distance_B).mean()
        slope_B = rho - divergence(h_BN, tau_B).detach()
        average_U[users_B] = (1 - rule.gradient_ema) * average_U[users_B] + rule.gradient_ema * slope_B
        tau_U[users_B] = (tau_B - rule.lr * average_U[users_B]).clamp(rule.low, rule.high)
        steps.zero_grad()
        loss.backward()
        steps.step()
    return wide, tau_U


@pytest.mark.parametrize(
    ("stage", "steps"),
    [
        ("cl", {}),
        ("ucl", {}),
        ("ucl", {"optimizer.kind": "momentum", "optimizer.gradient_ema": 0.3, "lr": 0.5}),
    ],
)
def test_an_epoch_is_the_published_one_in_plain_torch(stage: str, steps: dict[str, Any]) -> None:
    data = uneven()
    base, method = pretrained(data), small({"stage": stage, "epochs": 1, **steps})
    fitted = method.fit_on(base, ONE)
    start = small({"stage": stage, "epochs": 1, "lr": 1e-30}).fit_on(base, ONE)
    layers = {name: torch.tensor(layer) for name, layer in start.layers["a"].items()}
    batches = list(method._batches(np.flatnonzero(data.activity_UD.any(axis=1)), ONE.seed, 0))
    assert len(batches) > 1
    assert any(not np.array_equal(start.layers["a"][name], fitted.layers["a"][name]) for name in layers)
    tau = 0.1 if stage == "cl" else None
    wanted, tau_U = plain_epoch(method, over_domains(base), layers, batches, tau)
    for name, layer in fitted.layers["a"].items():
        np.testing.assert_allclose(layer, wanted[name].detach(), atol=2e-5)
    if stage == "ucl":
        told = fitted.log[-1]["temperature_by_activity"]
        people = {label: group["users"] for label, group in told.items()}
        active_U = data.activity_UD.sum(axis=1) > 0
        mean = sum(group["mean"] * people[label] for label, group in told.items()) / sum(people.values())
        assert mean == pytest.approx(float(tau_U.numpy()[active_U].mean()), abs=1e-6)
        assert sum(people.values()) == active_U.sum()


def test_a_batch_of_a_domain_is_ranked_by_its_rebuilt_rows() -> None:
    """The first loss of Eq. (3), written out: nothing is adapted yet."""
    data = uneven()
    base, method = (
        pretrained(data),
        small({"batch_size": 10_000, "adaptation.epochs": 1, "encoder.mask_ratio": 0.0}),
    )
    fitted = method.fit_on(base, ONE)
    ucl = small({"stage": "ucl", "batch_size": 10_000, "encoder.mask_ratio": 0.0}).fit_on(base, ONE)
    source = Pairwise(data["a"], {"a": slice(0, data["a"].n_items)}, "domain", ONE.seed, "a")
    ((pairs, *_),) = method._triples(source, 0)
    x_NF = ucl.user_UF["a"][pairs.user_N].astype(float)
    score_N = (x_NF * (ucl.item_IF["a"][pairs.positive_N] - ucl.item_IF["a"][pairs.negative_N])).sum(axis=1)
    told = next(record for record in fitted.log if record.get("phase") == "adapt a")
    assert told["adapt a loss:ranking"] == pytest.approx(np.log1p(np.exp(-score_N)).mean(), rel=1e-5)
    rows_UF = over_domains(base)[np.unique(pairs.user_N)]
    distance = 2 * ((ucl.user_UF["a"][np.unique(pairs.user_N)] - rows_UF) ** 2).sum(axis=1).mean()
    assert told["adapt a loss:rebuilt"] == pytest.approx(method.contrast.alpha * distance, rel=1e-4)


PLAIN_PENALTY = {
    1: lambda rows_NF: rows_NF.square().sum(dim=1).sqrt(),
    2: lambda rows_NF: rows_NF.square().sum(dim=1) / 2,
}


@pytest.mark.parametrize(("reduction", "power"), [("mean", 2), ("sum", 1), ("mean", 1)])
def test_a_step_of_the_adaptation_is_eq_6_and_7_in_plain_torch(reduction: str, power: int) -> None:
    """One batch and one step of momentum, whose length is that of the gradient; all weights are free."""
    data, reg = uneven(), 0.7
    method = small(
        {
            "batch_size": 10_000, "optimizer.kind": "momentum", "optimizer.gradient_ema": 0.3, "lr": 0.05,
            "contrast.temperature.lr": 0.0, "adaptation.epochs": 0, "adaptation.domain_epochs": {"a": 1},
            "adaptation.lora_targets": "full", "adaptation.reduction": reduction,
            "adaptation.reg": reg, "adaptation.reg_power": power,
        }
    )  # fmt: skip
    base = pretrained(data)
    fitted = method.fit_on(base, ONE)
    before = method.with_settings({"adaptation.domain_epochs": {}}).fit_on(base, ONE)
    wide = {name: torch.tensor(layer).double().requires_grad_() for name, layer in before.layers["a"].items()}
    users_UF, items_IF = (
        torch.tensor(table).double().requires_grad_() for table in (over_domains(base), before.item_IF["a"])
    )
    source = Pairwise(data["a"], {"a": slice(0, data["a"].n_items)}, "domain", ONE.seed, "a")
    ((pairs, users, place, kept),) = method._triples(source, 0)
    reduced, rule = {"mean": torch.mean, "sum": torch.sum}[reduction], method.contrast.temperature
    rows_BF = users_UF[torch.tensor(users)]
    rebuilt_BF, distance_B, h_BN = plain_streams(wide, rows_BF, kept)
    tau_B = torch.full((len(users),), rule.start, dtype=torch.float64)
    user_NF, positive_NF, negative_NF = (
        rows_BF[torch.tensor(place)], items_IF[torch.tensor(pairs.positive_N)],
        items_IF[torch.tensor(pairs.negative_N)],
    )  # fmt: skip
    gap_N = (rebuilt_BF[torch.tensor(place)] * (positive_NF - negative_NF)).sum(dim=1)
    penalty_N = sum(PLAIN_PENALTY[power](rows_NF) for rows_NF in (user_NF, positive_NF, negative_NF))
    wanted = {
        "ranking": reduced(-torch.log(torch.sigmoid(gap_N))),
        "penalty": reg * reduced(penalty_N),
        "contrast": reduced(tau_B * (log_mean(h_BN, tau_B) + rule.rho(len(users) - 1))),
        "rebuilt": method.contrast.alpha * reduced(distance_B),
    }
    record = next(record for record in fitted.log if record.get("phase") == "adapt a")
    for name, loss in wanted.items():
        assert record[f"adapt a loss:{name}"] == pytest.approx(loss.item(), rel=1e-4)
    sum(wanted.values()).backward()
    stepped = {
        name: layer.detach() - method.lr * 0.3 * layer.grad
        for name, layer in {**wide, "users": users_UF, "items": items_IF}.items()
    }
    for name, layer in fitted.layers["a"].items():
        np.testing.assert_allclose(layer, stepped[name], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(fitted.item_IF["a"], stepped["items"], rtol=1e-4, atol=2e-5)
    encoded_UF = encode_users(fitted.layers["a"], "rebuilt", stepped["users"].float().numpy())
    np.testing.assert_allclose(fitted.user_UF["a"], encoded_UF, rtol=1e-3, atol=1e-4)


def test_without_a_penalty_there_is_none() -> None:
    record = next(r for r in small().fit(uneven(), ONE).log if r.get("phase") == "adapt a")
    losses = {name for name in record if "loss:" in name}
    assert losses == {f"adapt a loss:{name}" for name in ("ranking", "contrast", "rebuilt")}


class TestSeparateAutoEncoders:
    """Appendix B.3: the method applied to each domain."""

    def test_each_is_the_one_auto_encoder_of_a_model_of_that_domain(self) -> None:
        base = pretrained(uneven())
        separate = small({"encoder.sharing": "separate"}).fit_on(base, ONE)
        for name in base.history.domain_names:
            history = base.history.select([name])
            table = {"user_UF": {name: base.user_UF[name]}, "item_IF": {name: base.item_IF[name]}}
            alone = small().fit_on(replace(base, history=history, **table), ONE)
            for layer, weight in alone.layers[name].items():
                np.testing.assert_array_equal(separate.layers[name][layer], weight)
            np.testing.assert_array_equal(separate.item_IF[name], alone.item_IF[name])
            active_U = history.activity_UD[:, 0] > 0
            np.testing.assert_allclose(
                separate.user_UF[name][active_U], alone.user_UF[name][active_U], atol=1e-5
            )
            key = "temperature_by_activity"
            assert separate.log[-1][f"{name} {key}"] == alone.log[-1][key]

    def test_of_one_domain_it_is_the_shared_one(self) -> None:
        base = pretrained(uneven({"a": (40, 55)}))
        shared, separate = (small({"encoder.sharing": s}).fit_on(base, ONE) for s in ("joined", "separate"))
        assert same_state(replace(separate, method=shared.method), shared)

    def test_a_domain_with_one_user_learns_from_all(self) -> None:
        data = uneven({"a": (40, 55), "b": (25, 1)})
        assert (data["b"].user_counts > 0).sum() == 1
        known_N = np.flatnonzero(data.activity_UD.any(axis=1))
        np.testing.assert_array_equal(Scope("b", ("b",)).learners(data), known_N)
        own_N = np.flatnonzero(data["a"].user_counts)
        np.testing.assert_array_equal(Scope("a", ("a",)).learners(data), own_N)

    def test_each_stops_at_its_own_best_epoch(self) -> None:
        log = [
            {"phase": "ucl a", "valid": 0.3}, {"phase": "ucl a", "valid": 0.2},
            {"phase": "ucl b", "valid": 0.3}, {"phase": "ucl b", "valid": 0.4},
        ]  # fmt: skip
        separate = {"encoder.sharing": "separate", "encoder.domain_epochs": {"c": 7}}
        found = small(separate).stopped(log)
        assert found.flat()["encoder.domain_epochs"] == {"a": 1, "b": 2, "c": 7}
        assert found == small({**separate, "encoder.domain_epochs": {"a": 1, "b": 2, "c": 7}})

    def test_epochs_of_a_domain(self) -> None:
        once = small({"encoder.sharing": "separate", "stage": "ucl", "encoder.domain_epochs": {"b": 1}})
        phases = [record.get("phase") for record in once.fit(uneven(), ONE).log]
        assert [phases.count(f"ucl {name}") for name in ("a", "b", "c")] == [3, 1, 3]


class TestServing:
    def test_an_unknown_user_is_what_nothing_is_rebuilt_to(self) -> None:
        fitted = small().fit(uneven(), ONE)
        for name, layers in fitted.layers.items():
            row_F = fitted.query_vectors(name, Queries.of_users([-1]))[0]
            wanted_F = encode_users(layers, "rebuilt", np.zeros((1, 6), np.float32))[0]
            np.testing.assert_array_equal(row_F, wanted_F)
            assert np.abs(row_F).max() > 0

    def test_new_users_are_folded_in_and_then_rebuilt(self) -> None:
        data = uneven()
        fitted = small().fit(data, ONE)
        own = {name: table.by_user for name, table in data.domains.items()}
        found_BF = fitted.fold_in("b", own, data.n_users)
        folded_BF = fitted.base.fold_in("b", own, data.n_users)
        np.testing.assert_array_equal(found_BF, encode_users(fitted.layers["b"], "rebuilt", folded_BF))
        only_a = {"a": Ragged.from_rows([[3, 9]])}
        scores_BI = fitted.score("b", Queries(np.array([-1], np.int32), only_a))
        assert not np.array_equal(scores_BI, fitted.score("b", Queries.of_users([-1])))

    def test_the_literal_score_is_that_of_the_pretrained_embedding(self) -> None:
        data = uneven()
        base = pretrained(data)
        fitted = small({"stage": "ae", "score_from": "pretrained"}).fit_on(base, ONE)
        np.testing.assert_array_equal(fitted.user_UF["a"], over_domains(base))
        full = small({"score_from": "pretrained"}).fit_on(base, ONE)
        assert not np.array_equal(full.user_UF["a"], over_domains(base))  # adapted by domain

    def test_the_mean_with_the_row_itself(self) -> None:
        data = uneven()
        base = pretrained(data)
        rebuilt, mean = (
            small({"stage": "ae", "score_from": s}).fit_on(base, ONE) for s in ("rebuilt", "mean")
        )
        wanted_UF = (rebuilt.user_UF["a"] + over_domains(base)) / 2
        np.testing.assert_allclose(mean.user_UF["a"], wanted_UF, atol=1e-6)


def test_the_published_settings() -> None:
    """Yang et al., WWW 2024: Section 4.2, Eqs. 6 and 7, and Algorithm 2."""
    contrast, adaptation = PUBLISHED.contrast, PUBLISHED.adaptation
    assert (PUBLISHED.factors, PUBLISHED.batch_size, PUBLISHED.lr) == (128, 2048, 1e-3)
    assert PUBLISHED.pretrain.settings == {"reg": 1e-5, "reg_power": 1}
    assert (contrast.alpha, contrast.temperature.objective) == (1e-3, "uco")
    assert (contrast.temperature.lr, contrast.temperature.grad_scale) == (1e-3, "literal")
    assert (contrast.temperature.low, contrast.temperature.high) == (1e-5, 1.0)
    assert (PUBLISHED.stage, adaptation.lora_targets) == ("full", "all")
    assert (adaptation.reduction, adaptation.reg, adaptation.reg_power) == ("sum", 1e-5, 1)
    assert (PUBLISHED.optimizer.kind, PUBLISHED.encoder.sharing) == ("adam", "joined")


@pytest.mark.parametrize(
    ("settings", "at"),
    [({}, 3), ({}, 7), ({}, 10), (OTHERWISE, 10), (OTHERWISE, 16)],
    ids=["pretraining", "encoding", "adapting", "encoding b", "adapting a"],
)
def test_a_fit_that_broke_off_goes_on_bit_for_bit(
    tmp_path: Path, settings: Mapping[str, Any], at: int
) -> None:
    data, method = uneven(), small(settings)
    with pytest.raises(KeyboardInterrupt):
        method.fit(data, replace(ONE, validate=Kill(at), work_dir=tmp_path))
    resumed = method.fit(data, replace(ONE, validate=Kill(), work_dir=tmp_path))
    whole = method.fit(data, replace(ONE, validate=Kill()))
    assert same_state(resumed, whole)


def test_an_adaptation_that_is_never_better_is_dropped() -> None:
    data = uneven()
    base = pretrained(data)
    fitted = small().fit_on(base, replace(ONE, validate=Kill(), patience=5))
    once = small({"stage": "ucl", "epochs": 1}).fit_on(base, ONE)
    assert fitted.user_UF["a"] is fitted.user_UF["b"]
    np.testing.assert_array_equal(fitted.user_UF["a"], once.user_UF["a"])  # the first epoch was the best


def test_the_best_epochs_of_every_phase() -> None:
    log: list[dict[str, Any]] = [
        {"phase": "pge", "valid": 0.1}, {"phase": "pge", "valid": 0.3}, {"phase": "pge", "valid": 0.2},
        {"phase": "ucl"}, {"phase": "ucl", "valid": 0.25}, {"phase": "ucl"},
        {"phase": "adapt a", "valid": 0.24}, {"phase": "adapt b", "valid": 0.2},
        {"phase": "adapt b", "valid": 0.4}, {"temperature_by_activity": {}},
    ]  # fmt: skip
    found = small({"pretrain.settings": {"lr": 0.1}}).stopped(log)
    assert found == small(
        {
            "pretrain.settings": {"lr": 0.1, "epochs": 2},
            "epochs": 2,
            "adaptation.domain_epochs": {"a": 0, "b": 2},
        }
    )
    assert small().stopped(()) == small()


def test_quiet_users_gain_from_what_is_planted_elsewhere() -> None:
    """All users has a taste; the sparse domain knows little of it, the dense ones all."""
    world = planted_transfer(users=240, items=120, groups=6)
    method = UCLR.from_settings(
        {
            "factors": 8,
            "lr": 0.01,
            "epochs": 40,
            "adaptation.epochs": 2,
            "contrast.alpha": 1.0,
            "batch_size": 256,
            "pretrain.settings": {"epochs": 30, "lr": 0.03},
        }
    )
    fitted = method.fit(world.split.test.history, ONE)
    history = world.split.test.history["sparse"]
    users = np.arange(world.data.n_users)
    scores_UI = fitted.score("sparse", Queries.of_users(users)).copy()
    scores_UI[history.user_idx, history.item_idx] = -np.inf
    best_U10 = np.argsort(-scores_UI, axis=1, kind="stable")[:, :10]
    likes_U = np.take_along_axis(world.likes["sparse"], best_U10, axis=1).mean(axis=1)
    assert likes_U[history.user_counts <= 2].mean() > 0.8


def test_values_of_a_run_are_in_its_log() -> None:
    fitted = small().fit(uneven(), replace(ONE, validate=Kill()))
    assert [record["epoch"] for record in fitted.log[:-1]] == list(range(len(fitted.log) - 1))
    ucl = [record for record in fitted.log if record.get("phase") == "ucl"]
    assert {"ucl loss:contrast", "ucl loss:rebuilt", "ucl gradient_norm", "ucl temperature", "valid"} <= set(
        ucl[0]
    )
    assert {"mean", "sd"} == set(ucl[0]["ucl temperature"])
    adapted = next(record for record in fitted.log if record.get("phase") == "adapt a")
    shapes = [(60, 6), (40, 6), (128, 6), (32, 128), (128, 32), (6, 128)]
    assert adapted["adapt a trainable"] == sum((r + c) * min(8, r, c) for r, c in shapes)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"stage": "uclr"}, "did you mean 'ucl'"),
        ({"pretrain.method": "bprmff"}, r"did you mean 'bprmf'\? Valid are bprmf, ials, lightgcn, pepnet"),
        ({"pretrain.method": "sasrec"}, "Valid are bprmf, ials, lightgcn, pepnet"),
        ({"adaptation.lora_targets": "user"}, "did you mean 'users'"),
        ({"score_from": "rebuild"}, "did you mean 'rebuilt'"),
        ({"pretrain.settings": {"epoch": 3}}, "did you mean 'epochs'"),
        ({"contrast.temperature.objective": "uc"}, "did you mean 'uco'"),
        ({"encoder.mask_ratio": 1.5}, "from 0 to 1"),
        ({"adaptation.lora_rank": 0}, "1 or more"),
        ({"adaptation.reduction": "sums"}, "did you mean 'sum'"),
        ({"adaptation.reg": -1.0}, "from 0 to"),
        ({"adaptation.reg_power": 3}, "from 1 to 2"),
        ({"encoder.sharing": "shared"}, "Valid are joined, separate"),
        ({"optimizer.kind": "sgd"}, "Valid are adam, momentum"),
        ({"optimizer.gradient_ema": 0.0}, "above 0 and at most 1"),
        ({"lr": -1.0}, "lr must be a number, above 0"),
    ],
)
def test_impossible_settings(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        UCLR.from_settings({**wrong})


def test_settings_survive_their_way_through_text() -> None:
    method = small({"adaptation.domain_epochs": {"Food & Drink": 3}})
    assert UCLR.from_settings(asdict(method)) == method

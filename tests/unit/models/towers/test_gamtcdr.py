"""GA-MTCDR: attention over domains, its loss against plain torch, its limits, and what it carries over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import own_group
from resuming import Kill, same_state
from worlds import of_tables, uneven

from landbridge.core.errors import SettingsError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.sampling.domain_batches import DomainBatches
from landbridge.data.synthetic import planted_transfer
from landbridge.models.common.attention import presence
from landbridge.models.popularity import Popularity
from landbridge.models.towers.combination import (
    CombinationNetwork,
    CombinedModel,
    UserInputs,
    attention_rows,
    unit_length,
    user_vectors,
)
from landbridge.models.towers.gamtcdr import GAMTCDR, Alignment, _logits
from landbridge.models.towers.network import EmbeddedBatch
from landbridge.training.options import FitOptions

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, seed=3, device="cpu")
SMALL: dict[str, Any] = {
    "factors": 6, "pretrain.method": "bprmf", "network.tower": [2, 1], "lr": 0.01, "epochs": 3,
    "pretrain.settings": {"epochs": 5, "lr": 0.03, "batch_size": 16, "init_std": 0.3}, "batch_size": 100,
    "init_std": 0.5,
}  # fmt: skip


def small(**settings: Any) -> GAMTCDR:
    return GAMTCDR.from_settings({**SMALL, **{key.replace("__", "."): v for key, v in settings.items()}})


def base_of(data: MultiDomain) -> Any:
    return small().pretrainer().fit(data, ONE)


def scores(fitted: Any) -> dict[str, Any]:
    all_users = Queries.of_users(np.arange(-1, fitted.history.n_users))
    return {name: fitted.score(name, all_users) for name in fitted.history.domain_names}


def network_of(data: MultiDomain, attention: str = "user") -> tuple[CombinationNetwork, dict[str, Any]]:
    """A network and its weights, maps included, at random."""
    network, rng = CombinationNetwork(data.domain_names, 6, attention, (2, 1)), np.random.default_rng(0)
    arrays = network.initial(data, 0, 1.0)
    for name in data.domain_names:
        arrays[f"map.{name}"] = rng.standard_normal((6, 6)).astype(np.float32)
    return network, arrays


def plain_user(fitted: CombinedModel, domain: str, user: int, users: Any) -> Any:
    """Eqs. (1) and (2) for one user, element after element, in float64."""
    names, w = fitted.history.domain_names, fitted.weights
    here = [n for n, name in enumerate(names) if fitted.history[name].user_counts[user]]
    row = attention_rows(fitted.history)[user]
    mapped = {n: w[f"map.{names[n]}"].astype(float) @ users[names[n]][user] for n in here}
    x = np.zeros(6)
    for f in range(6 if here else 0):
        logit = np.array([w[f"attention.{domain}"][row, n * 6 + f] for n in here], float)
        share = np.exp(logit) / np.exp(logit).sum()
        x[f] = sum(s * mapped[n][f] for s, n in zip(share, here, strict=True))
    for level in range(len(fitted.network.tower)):
        layer = f"users.{domain}.{level}"
        x = w[f"{layer}.weight"] @ x + w[f"{layer}.bias"]
        x = (x + np.sqrt(x**2 + 0.1)) / 2 if level == len(fitted.network.tower) - 1 else np.maximum(x, 0)
    return x / max(np.sqrt((x**2).sum()), 1e-6)


class TestAttention:
    def test_a_users_vector_is_that_of_the_equations(self) -> None:
        data = uneven()
        fitted = small().fit(data, ONE)
        for name in data.domain_names:
            wanted = [plain_user(fitted, name, u, fitted.base.user_UF) for u in range(data.n_users)]
            np.testing.assert_allclose(fitted.user_UF[name], wanted, atol=1e-5)

    def test_the_attention_of_a_fit_has_moved(self) -> None:
        data = uneven()
        for attention, rows in (("user", int(attention_rows(data).max()) + 1), ("domain", 1)):
            fitted = small(network__attention=attention).fit(data, ONE)
            start = fitted.network.initial(data, ONE.seed, 0.5)
            assert fitted.weights["attention.a"].shape == (rows, 18)
            assert not np.array_equal(start["attention.a"], fitted.weights["attention.a"])

    @pytest.mark.parametrize("attention", ["user", "domain"])
    def test_all_weight_on_the_own_domain_is_the_single_domain_network(self, attention: str) -> None:
        data = uneven()
        network, arrays = network_of(data, attention)
        one_hot = arrays["attention.a"].reshape(-1, 3, 6)
        one_hot[:] = -1e4
        one_hot[:, 0] = 1e4
        base, present = base_of(data), presence(data)
        logits = arrays["attention.a"][np.zeros(data.n_users, int)]
        single = replace(network, attention="own")
        known_U = present["a"][:, 0] > 0
        both = user_vectors(network, arrays, "a", base.user_UF, present, logits)
        alone = user_vectors(single, arrays, "a", base.user_UF, present, None)
        np.testing.assert_array_equal(both[known_U], alone[known_U])
        assert not np.array_equal(both[~known_U], alone[~known_U])

    def test_weights_sum_to_one_and_an_absent_domain_has_none(self) -> None:
        """With equal embeddings in all domains the combination is that embedding, of whoever is in one."""
        data = uneven()
        network, arrays = network_of(data)
        rng = np.random.default_rng(1)
        row_UF = rng.standard_normal((data.n_users, 6)).astype(np.float32)
        for name in data.domain_names:
            arrays[f"map.{name}"] = np.eye(6, dtype=np.float32)
        present = presence(data)
        rows = {name: np.where(here_U1 > 0, row_UF, 1e6) for name, here_U1 in present.items()}
        logits = rng.standard_normal((data.n_users, 18)).astype(np.float32)
        combined = network.combined(arrays, "a", rows, present, logits)
        np.testing.assert_allclose(combined, row_UF * data.activity_UD.any(axis=1)[:, None], atol=1e-5)

    def test_own_attention_trains_every_domain_as_if_alone(self) -> None:
        data = uneven()
        method = small(network__attention="own", batch_size=100_000)
        joint = method.fit(data, ONE)
        for name in data.domain_names:
            alone = method.fit(data.select([name]), ONE)
            np.testing.assert_array_equal(joint.user_UF[name], alone.user_UF[name])
            np.testing.assert_array_equal(joint.item_IF[name], alone.item_IF[name])
            assert joint.uses(name, (np.array(data.domain_names) != name)[None].astype(int)).tolist() == [
                False
            ]
        assert method.single_domain
        assert not small().single_domain


@pytest.mark.parametrize("embeddings", ["frozen", "free"])
def test_a_step_is_that_of_plain_torch(embeddings: str) -> None:
    """One step of Adam on all events in one batch: cosines of towers, cross-entropy, penalty and pull."""
    data = uneven({"a": (12, 20), "b": (9, 15)}, users=25, weighted=True)
    method = small(
        epochs=1, batch_size=10_000, reg=0.1, network__embeddings=embeddings, network__alignment=0.3,
        loss__negatives_per_positive=2,
    )  # fmt: skip
    base = base_of(data)
    fitted = method.fit_on(base, ONE)
    tables: dict[str, Any] = fitted.network.initial(data, ONE.seed, method.init_std)
    tables |= {f"user.{d}": r for d, r in base.user_UF.items()} | {
        f"item.{d}": r for d, r in base.item_IF.items()
    }
    wide = {k: torch.tensor(t, dtype=torch.float64, requires_grad=True) for k, t in tables.items()}
    row_U, (poor, rich) = attention_rows(data), sorted(data.domain_names, key=lambda d: len(data[d]))

    def combined(domain: str, user: int) -> Any:
        here = [n for n, name in enumerate(data.domain_names) if data[name].user_counts[user]]
        mapped = [
            wide[f"map.{data.domain_names[n]}"] @ wide[f"user.{data.domain_names[n]}"][user] for n in here
        ]
        if len(here) == 1:
            return mapped[0]
        logits = torch.stack([wide[f"attention.{domain}"][row_U[user], n * 6 : n * 6 + 6] for n in here])
        return (logits.softmax(dim=0) * torch.stack(mapped)).sum(dim=0)

    def tower(side: str, domain: str, x: Any) -> Any:
        for level in range(2):
            x = wide[f"{side}.{domain}.{level}.weight"] @ x + wide[f"{side}.{domain}.{level}.bias"]
            x = x.relu() if level == 0 else (x + (x**2 + 0.1).sqrt()) / 2
        return x

    total: Any = 0.0
    (step,) = DomainBatches(data, 10_000, "domain", 2, ONE.seed).steps(0)
    for domain, batch in step.items():
        losses: Any = 0.0
        for user, items, weight in zip(batch.user_N, batch.item_NJ, batch.weight_N, strict=True):
            x = tower("users", domain, combined(domain, user))
            ys = [tower("items", domain, wide[f"item.{domain}"][i]) for i in items]
            ps = [
                torch.nn.functional.cosine_similarity(x, y, dim=0, eps=1e-6).clip(1e-6, 1 - 1e-6) for y in ys
            ]
            own = -(ps[0].log() + (1 - ps[1]).log() + (1 - ps[2]).log()) / 3
            own = own + 0.05 * sum((v**2).sum() for v in (x, *ys))
            losses = losses + float(weight) * own
            if domain == poor and data[rich].user_counts[user]:
                gap = combined(poor, user) - combined(rich, user).detach()
                total = total + 0.3 * (gap**2).sum() / len(batch.user_N)
        total = total + losses / float(batch.weight_N.sum())
    total.backward()
    gradients = {
        k: t.grad for k, t in wide.items() if embeddings == "free" or not k.startswith(("user.", "item."))
    }
    torch.optim.Adam([wide[k] for k in gradients], lr=method.lr).step()
    checked = 0
    for key in fitted.weights:
        clear = gradients[key].abs().numpy() > 1e-6
        wanted = wide[key].detach().numpy()
        np.testing.assert_allclose(fitted.weights[key][clear], wanted[clear], atol=1e-4, err_msg=key)
        checked += int(clear.sum())
    assert checked > 500
    item_NF = wide["item.a"].detach().float()
    float32 = {k: t.detach().float() for k, t in wide.items()}
    outputs = unit_length(fitted.network.through(float32, "items", "a", item_NF))
    np.testing.assert_allclose(fitted.item_IF["a"], outputs, atol=2e-3)


def test_scores_are_cosines_and_their_logits_are_bounded() -> None:
    user_NF = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    item_NJF = torch.tensor([[[4.0, 3.0]], [[1.0, 1.0]], [[2.0, 0.0]]])
    none = torch.zeros(3, 0)
    logit_NJ = _logits({}, "a", EmbeddedBatch(user_NF, item_NJF, none[..., None], none))
    wanted = [np.log(0.96 / 0.04), np.log(1e-6 / (1 - 1e-6)), np.log((1 - 1e-6) / 1e-6)]
    np.testing.assert_allclose(logit_NJ[:, 0], wanted, rtol=5e-3)


class TestAlignment:
    def test_only_the_poorer_side_moves(self) -> None:
        data = uneven({"a": (12, 20), "b": (30, 60)})
        network, arrays = network_of(data, "own")
        base = base_of(data)
        arrays |= {f"user.{name}": rows_UF for name, rows_UF in base.user_UF.items()}
        weights = {name: torch.from_numpy(array).requires_grad_() for name, array in arrays.items()}
        align = Alignment(network, UserInputs.of(data), weights, data, 2.0)
        (step,) = DomainBatches(data, 10_000, "domain", 1, 0).steps(0)
        assert align.penalty("b", step["b"]) == 0
        penalty = align.penalty("a", step["a"])
        assert isinstance(penalty, torch.Tensor)
        penalty.backward()
        assert weights["user.b"].grad is None or not weights["user.b"].grad.to_dense().any()
        assert weights["user.a"].grad is not None
        both = [u for u in step["a"].user_N if data["b"].user_counts[u]]
        gap = [arrays["map.a"] @ base.user_UF["a"][u] - arrays["map.b"] @ base.user_UF["b"][u] for u in both]
        assert float(penalty.detach()) == pytest.approx(
            2 * (np.array(gap) ** 2).sum() / len(step["a"].user_N), rel=1e-4
        )

    def test_it_changes_a_fit_and_is_part_of_its_loss(self) -> None:
        data = uneven()
        with_pull, without = (
            small(network__alignment=g, batch_size=100_000).fit(data, ONE) for g in (1.0, 0.0)
        )
        assert not same_state(with_pull, without)
        poor, _, rich = sorted(data.domain_names, key=lambda d: len(data[d]))
        # of the first epoch's only step: before it the networks are the same
        first, plain = (next(r for r in f.log if r["phase"] == "network") for f in (with_pull, without))
        assert first[f"network loss:{poor}"] > plain[f"network loss:{poor}"]
        assert first[f"network loss:{rich}"] == plain[f"network loss:{rich}"]


class TestAnyNumberOfDomains:
    def test_the_order_of_two_domains_makes_no_difference(self) -> None:
        data = uneven({"a": (40, 50), "b": (25, 40)})
        method = small(network__alignment=0.1)
        one, other = (method.fit(data.select(names), ONE) for names in (["a", "b"], ["b", "a"]))
        for name in data.domain_names:
            np.testing.assert_allclose(scores(one)[name], scores(other)[name], atol=1e-3)

    def test_five_domains_and_users_of_one(self) -> None:
        data = uneven({name: (20 + 5 * n, 50 - 8 * n) for n, name in enumerate("abcde")})
        assert ((data.activity_UD > 0).sum(axis=1) == 1).sum() >= 3
        fitted = small(network__alignment=0.1).fit(data, ONE)
        assert fitted.weights["attention.c"].shape[1] == 5 * 6
        assert all(np.isfinite(s).all() for s in scores(fitted).values())
        assert not fitted.comparable

    def test_one_domain_has_nothing_to_attend_to(self) -> None:
        data = uneven({"only": (20, 60)})
        attended, own = (small(network__attention=a).fit(data, ONE) for a in ("user", "own"))
        assert all(np.array_equal(s, scores(own)[name]) for name, s in scores(attended).items())

    def test_domains_without_common_users(self) -> None:
        data = uneven()
        apart = of_tables(
            {"a": data["a"].take(data["a"].user_idx < 30), "b": data["b"].take(data["b"].user_idx >= 30)}
        )
        assert (attention_rows(apart) == -1).all()
        assert all(np.isfinite(s).all() for s in scores(small().fit(apart, ONE)).values())


class TestServing:
    def test_new_users_are_folded_in_and_get_the_mean_attention(self) -> None:
        data = uneven()
        fitted = small(network__attention="domain").fit(data, ONE)
        own = {name: table.by_user for name, table in data.domains.items()}
        rows = {name: fitted.base.fold_in(name, own, data.n_users) for name in data.domain_names}
        logits = np.tile(fitted.weights["attention.b"], (data.n_users, 1))
        wanted = user_vectors(fitted.network, fitted.weights, "b", rows, presence(data), logits)
        np.testing.assert_array_equal(fitted.fold_in("b", own, data.n_users), wanted)
        only_a = Queries(np.array([-1], np.int32), {"a": Ragged.from_rows([[3, 9]])})
        for each in (fitted, small().fit(data, ONE)):
            assert not np.array_equal(each.score("b", only_a), each.score("b", Queries.of_users([-1])))


@pytest.mark.parametrize("at", [3, 7], ids=["pretraining", "network"])
def test_a_fit_that_broke_off_goes_on_bit_for_bit(tmp_path: Path, at: int) -> None:
    data, method = uneven(), small(network__embeddings="free", network__alignment=0.1)
    with pytest.raises(KeyboardInterrupt):
        method.fit(data, replace(ONE, validate=Kill(at), work_dir=tmp_path))
    resumed = method.fit(data, replace(ONE, validate=Kill(), work_dir=tmp_path))
    assert same_state(resumed, method.fit(data, replace(ONE, validate=Kill())))


def test_the_best_epochs_of_both_phases() -> None:
    log: list[dict[str, Any]] = [
        {"phase": "pretrain", "valid": 0.1}, {"phase": "pretrain", "valid": 0.9},
        {"phase": "network", "valid": 0.2}, {"phase": "network", "valid": 0.4},
        {"phase": "network", "valid": 0.3},
    ]  # fmt: skip
    settings = {**SMALL["pretrain.settings"], "epochs": 2}
    assert small().stopped(log) == GAMTCDR.from_settings(
        {**SMALL, "pretrain.settings": settings, "epochs": 2}
    )
    assert small().stopped(()) == small()


def test_what_is_planted_elsewhere_reaches_the_sparse_domain() -> None:
    world = planted_transfer(users=240, items=120, groups=6)
    train = world.split.test.history
    method = GAMTCDR.from_settings(
        {
            "factors": 8, "lr": 0.003, "epochs": 20, "batch_size": 256, "network.tower": [2, 1],
            "network.embeddings": "free",
            "pretrain.method": "bprmf", "pretrain.settings": {"epochs": 30, "lr": 0.03, "batch_size": 256},
        }
    )  # fmt: skip
    joint, alone = (
        own_group(method.with_settings({"network.attention": a}).fit(train, ONE), world)
        for a in ("user", "own")
    )
    assert joint > alone + 0.1
    assert joint > own_group(Popularity().fit(train, ONE), world) + 0.1


def test_impossible_settings() -> None:
    for wrong, says in (
        ({"network.attention": "users"}, "user"), ({"pretrain.method": "ease"}, "pretrain.method"),
        ({"network.tower": [2, 2]}, "end with 1"), ({"network.alignment": -1}, "0 or more"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=says):
            GAMTCDR.from_settings(wrong)

"""UniCDR: histories without their target, the network event by event, and what it carries over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import all_scores, close, own_group, resumes
from worlds import own_events, uneven

from landbridge.core.errors import SettingsError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.sampling.kernels import histories
from landbridge.data.synthetic import planted_transfer
from landbridge.models.towers.aggregation import all_user_vectors
from landbridge.models.towers.unicdr import UniCDR, UniNetwork
from landbridge.training import tensors
from landbridge.training.options import FitOptions

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, seed=3, device="cpu")
SMALL: dict[str, Any] = {
    "factors": 5, "lr": 0.01, "epochs": 3, "batch_size": 60, "init_std": 0.5, "reg": 0.01, "contrast": 0.3,
    "loss.negatives_per_positive": 2, "histories.own_share": 0.3,
}  # fmt: skip
WHOLE: dict[str, Any] = {"dropout": 0.0, "histories__mask": 0.0, "histories__max_length": 1000}
POOLINGS = ("mean", "attention")


def small(**settings: Any) -> UniCDR:
    return UniCDR.from_settings({**SMALL, **{key.replace("__", "."): v for key, v in settings.items()}})


def network_of(method: UniCDR, data: MultiDomain) -> UniNetwork:
    """The network before the first step, with biases that matter."""
    network = UniNetwork(method, data, method.initial(data, ONE))
    for number, (name, weight) in enumerate(sorted(network.weights.items())):
        if name.endswith(".bias"):
            weight.data += 0.1 * (number + 1)
    return network


def first_step(method: UniCDR, data: MultiDomain) -> Any:
    return next(iter(method.masked_batches(data, ONE.seed).steps(0)))


def wide(arrays: Any) -> dict[str, Any]:
    return {k: torch.tensor(a, dtype=torch.float64, requires_grad=True) for k, a in arrays.items()}


def pooled(method: UniCDR, w: dict[str, Any], part: str, user: Any, items: list[Any]) -> Any:
    """A vector of Eqs. (1) to (4) of the aggregators, item after item."""
    total = torch.zeros_like(user)
    if items:
        if method.histories.pooling == "mean":
            share = [1 / len(items)] * len(items)
        else:
            keys = [torch.tanh(w[f"{part}.key.weight"] @ q + w[f"{part}.key.bias"]) for q in items]
            power = [torch.exp(user @ key) for key in keys]
            share = [each / sum(power) for each in power]
        total = sum(s * q for s, q in zip(share, items, strict=True))
    rho = method.histories.own_share
    return rho * user + (1 - rho) * (w[f"{part}.pool"] @ total)


def own_row(w: dict[str, Any], data: MultiDomain, domain: str, user: int) -> Any:
    users = sorted(set(data[domain].user_idx.tolist()))
    return w[f"own.{domain}.user"][users.index(user)]


class TestHistories:
    def drawn(self, most: int, mask: float, events: int = 400, first: int = 0) -> Any:
        rows = Ragged.from_rows([[2, 5, 7, 8, 11], [3], []])
        user_N = np.arange(first, first + events, dtype=np.int32) % 3
        without_N = np.array([7, 3, 1], np.int32)[user_N]
        out_NL = np.empty((events, most), np.int32)
        histories(np.uint64(9), first, user_N, without_N, rows.offsets, rows.columns, mask, out_NL)
        return user_N, out_NL

    def test_all_items_but_the_one_that_is_left_out(self) -> None:
        user_N, out_NL = self.drawn(6, 0.0)
        found = [sorted(row[row >= 0].tolist()) for row in out_NL[:3]]
        assert found == [[2, 5, 8, 11], [], []]
        assert not (out_NL[user_N > 0] >= 0).any()

    def test_a_user_without_the_item_loses_none(self) -> None:
        rows = Ragged.from_rows([[2, 5]])
        for absent in (-1, 3, 9):
            out_NL = np.empty((1, 3), np.int32)
            one, none = np.zeros(1, np.int32), np.array([absent], np.int32)
            histories(np.uint64(1), 0, one, none, rows.offsets, rows.columns, 0.0, out_NL)
            assert sorted(out_NL[0].tolist()) == [-1, 2, 5]

    def test_few_of_many_are_drawn_evenly_and_once(self) -> None:
        user_N, out_NL = self.drawn(2, 0.0, events=6000)
        mine_N2 = out_NL[user_N == 0]
        assert (mine_N2 >= 0).all()
        assert (mine_N2[:, 0] != mine_N2[:, 1]).all()
        counts = np.bincount(mine_N2.ravel(), minlength=12)[[2, 5, 8, 11]]
        assert counts.sum() == mine_N2.size
        assert counts == pytest.approx(1000, rel=0.12)

    def test_the_mask_leaves_out_its_share(self) -> None:
        user_N, out_NL = self.drawn(4, 0.3, events=3000)
        assert (out_NL[user_N == 0] < 0).mean() == pytest.approx(0.3, abs=0.03)

    def test_parts_are_drawn_as_the_whole(self) -> None:
        whole = self.drawn(2, 0.3, 30)[1]
        parts = [self.drawn(2, 0.3, 12)[1], self.drawn(2, 0.3, 18, first=12)[1]]
        assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("domain_mask", [0.0, 1.0])
def test_the_target_is_never_in_its_users_history(domain_mask: float) -> None:
    """The published program has it there, so that it is learned from itself."""
    data = uneven()
    method = small(**WHOLE | {"histories__domain_mask": domain_mask})
    batches = method.masked_batches(data, 0)
    for epoch in range(2):
        for step in batches.steps(epoch):
            for domain, (batch, own_NL, every) in step.items():
                for n, (user, target) in enumerate(zip(batch.user_N, batch.item_NJ[:, 0], strict=True)):
                    known = {name: set(data[name].by_user.take([user]).columns) for name in every}
                    assert target in known[domain]
                    assert set(own_NL[n]) - {-1} == known[domain] - {target}
                    expected = {**known, domain: known[domain] - {target} if domain_mask == 0 else set()}
                    assert {name: set(item_NL[n]) - {-1} for name, item_NL in every.items()} == expected


def test_a_users_only_event_is_not_learned_from_itself() -> None:
    """Both vectors of such a user are their own embeddings, whatever the item's is."""
    data = uneven()
    only_N = data["a"].user_idx == 0
    only_N[np.flatnonzero(only_N)[1:]] = False
    masks = {name: table.user_idx != 0 for name, table in data.domains.items()}
    data = data.with_events(
        {
            name: t.take(masks[name] | only_N if name == "a" else masks[name])
            for name, t in data.domains.items()
        }
    )
    method = small(**WHOLE, batch_size=10_000, histories__domain_mask=0.0)
    network, masked = network_of(method, data), first_step(method, data)["a"]
    ((n,), e_1F) = np.flatnonzero(masked.batch.user_N == 0), torch.ones(1, 5)
    for history in (
        {"a": masked.own_NL[[n]]},
        {name: item_NL[[n]] for name, item_NL in masked.every.items()},
    ):
        assert torch.equal(network.aggregated("shared", e_1F, history), 0.3 * e_1F)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("domain_mask", [0.0, 1.0])
def test_a_step_is_that_of_plain_torch(pooling: str, domain_mask: float) -> None:
    """Losses and gradients by events, from users' items less the target."""
    data = uneven({"a": (12, 20), "b": (9, 35), "c": (7, 15)}, users=25)
    method = small(**WHOLE, histories__pooling=pooling, histories__domain_mask=domain_mask)
    network, step = network_of(method, data), first_step(method, data)
    w = wide(tensors.arrays(network.weights))
    torch.manual_seed(5)
    found = network.losses(step)
    torch.manual_seed(5)
    for domain, (batch, _, _) in step.items():
        shift, vectors, losses = int(torch.randint(1, len(batch.user_N), ())), [], []
        for user, (target, *negatives) in zip(batch.user_N, batch.item_NJ, strict=True):
            items = {
                k: [
                    w[f"item.{k}"][i]
                    for i in data[k].by_user.take([user]).columns
                    if (k, i) != (domain, target)
                ]
                for k in data.domain_names
            }
            e, c = own_row(w, data, domain, int(user)), w["shared.user"][user]
            every = [q for k in items if not (domain_mask and k == domain) for q in items[k]]
            a, g = pooled(method, w, f"own.{domain}", e, items[domain]), pooled(method, w, "shared", c, every)
            vectors.append((a, g))
            q, others = w[f"item.{domain}"][target], [w[f"item.{domain}"][j] for j in negatives]
            own = -torch.sigmoid((a + g) @ q).log() - sum(
                (1 - torch.sigmoid((a + g) @ o)).log() for o in others
            )
            losses.append(own / 3 + 0.005 * sum((v**2).sum() for v in (e, c, q, *others)))
        critic = w[f"critic.{domain}.weight"], w[f"critic.{domain}.bias"][0]
        true, false = [], []
        for n, (a, g) in enumerate(vectors):
            other = vectors[n - shift][0]
            true.append(-torch.sigmoid(a @ critic[0] @ g + critic[1]).log())
            if batch.user_N[n - shift] != batch.user_N[n]:
                false.append(-(1 - torch.sigmoid(other @ critic[0] @ g + critic[1])).log())
        expected = sum(losses) / len(losses) + 0.3 * (sum(true) / len(true) + sum(false) / len(false))
        assert float(found[domain].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
        expected.backward(retain_graph=True)
    sum(found.values()).backward()
    for name, weight in network.weights.items():
        gradient = weight.grad.to_dense() if weight.grad.is_sparse else weight.grad
        assert gradient.any(), name
        np.testing.assert_allclose(gradient, w[name].grad, rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_scores_are_those_of_a_naive_reference(pooling: str) -> None:
    """Users of all, some and no domains, and new users, from whole histories."""
    data = uneven({"a": (30, 50), "b": (20, 10), "c": (15, 20)})
    method = small(histories__pooling=pooling, popularity_weight=0.0)
    network = network_of(method, data)
    weights = tensors.arrays(network.weights)
    fitted = method._fitted(network, ())
    w = wide(weights)
    mean = {
        "shared": w["shared.user"][torch.from_numpy(data.activity_UD.any(axis=1))].mean(dim=0),
        **{name: w[f"own.{name}.user"].mean(dim=0) for name in data.domain_names},
    }
    known, given = Queries.of_users(np.arange(60)), Queries(np.full(60, -1, np.int32), own_events(data))
    for domain in data.domain_names:
        known_UI, new_UI = fitted.score(domain, known), fitted.score(domain, given)
        for user in np.flatnonzero(data.activity_UD.any(axis=1)):
            rows = {
                k: [w[f"item.{k}"][i] for i in data[k].by_user.take([user]).columns]
                for k in data.domain_names
            }
            for scores_UI, new in ((known_UI, False), (new_UI, True)):
                c = mean["shared"] if new else w["shared.user"][user]
                vector = pooled(method, w, "shared", c, [q for k in rows for q in rows[k]])
                if rows[domain]:
                    e = mean[domain] if new else own_row(w, data, domain, int(user))
                    vector = vector + pooled(method, w, f"own.{domain}", e, rows[domain])
                expected = (w[f"item.{domain}"] @ vector).detach().numpy()
                np.testing.assert_allclose(scores_UI[user], expected, rtol=1e-4, atol=1e-4)


def test_an_item_that_is_given_twice_counts_once() -> None:
    fitted = small(epochs=1).fit(uneven(), ONE)
    once, twice = (
        Queries(np.array([-1], np.int32), {"a": Ragged.from_rows([r])}) for r in ([1, 5], [5, 1, 5])
    )
    for domain in ("a", "b"):
        assert np.array_equal(fitted.score(domain, once), fitted.score(domain, twice))


def test_without_pooled_histories_it_is_matrix_factorisation_of_two_tables() -> None:
    data = uneven()
    method = small(histories__own_share=1.0, epochs=1, popularity_weight=0.0)
    network = network_of(method, data)
    weights = tensors.arrays(network.weights)
    users = all_user_vectors(method._fitted(network, ()).aggregator, weights, data)
    active = np.flatnonzero(data["b"].user_counts)
    expected_UF = weights["shared.user"].copy()
    expected_UF[active] += weights["own.b.user"]
    np.testing.assert_allclose(users["b"], expected_UF, atol=1e-6)


def test_a_batch_of_one_user_has_no_false_pair() -> None:
    network = network_of(small(), uneven())
    vector_2F = torch.ones(2, 5)
    assert network.contrast("a", vector_2F, vector_2F, np.array([4, 4], np.int32)) == 0
    assert float(network.contrast("a", vector_2F, vector_2F, np.array([4, 3], np.int32)).detach()) > 0


class TestAnyNumberOfDomains:
    def test_the_order_of_domains_makes_no_difference(self) -> None:
        """Without dropout, whose draws follow the order."""
        data = uneven({"a": (40, 50), "b": (25, 40)})
        method = small(dropout=0.0, contrast=0.0)
        close(*(method.fit(data.select(names), ONE) for names in (["a", "b"], ["b", "a"])), atol=1e-3)

    def test_five_domains_in_one_space(self) -> None:
        data = uneven({name: (20 + 5 * n, 50 - 8 * n) for n, name in enumerate("abcde")})
        fitted = small(epochs=1).fit(data, ONE)
        assert fitted.comparable
        assert all(np.isfinite(scores_BI).all() for scores_BI in all_scores(fitted).values())

    def test_a_domain_that_is_missing_from_a_step(self) -> None:
        fitted = small(batch_size=8, epochs=1).fit(uneven({"a": (12, 3), "b": (30, 60)}), ONE)
        assert all(np.isfinite(scores_BI).all() for scores_BI in all_scores(fitted).values())


def test_a_fit_that_broke_off_goes_on_bit_for_bit(tmp_path: Path) -> None:
    resumes(small(epochs=5), uneven(), tmp_path)


def test_what_is_planted_elsewhere_reaches_the_sparse_domain() -> None:
    world = planted_transfer(users=160, items=80, groups=4)
    train = world.split.test.history
    method = UniCDR(8, lr=0.03, epochs=20, batch_size=512)
    joint, alone = (own_group(method.fit(part, ONE), world) for part in (train, train.select(["sparse"])))
    assert joint > 0.6
    assert joint > alone + 0.3


def test_impossible_settings() -> None:
    for wrong, says in (
        ({"histories.pooling": "sum"}, "attention"), ({"histories.mask": 1}, "below 1"),
        ({"histories.domain_mask": 1.1}, "from 0 to 1"), ({"histories.max_length": 0}, "1 or more"),
        ({"histories.own_share": -0.1}, "from 0 to 1"), ({"contrast": -1}, "from 0"),
        ({"dropout": 1}, "below 1"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=says):
            UniCDR.from_settings(wrong)

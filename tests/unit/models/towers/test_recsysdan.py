"""RecSys-DAN: its losses against plain torch, its limits, who moves, and what it carries over."""

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
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.sampling.domain_batches import DomainBatches
from landbridge.data.synthetic import planted_transfer
from landbridge.models.popularity import Popularity
from landbridge.models.towers.cmf import CMF
from landbridge.models.towers.recsysdan import Discriminator, RecSysDAN
from landbridge.training.options import FitOptions

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, seed=3, device="cpu")
SMALL: dict[str, Any] = {
    "factors": 6, "lr": 0.01, "epochs": 3, "batch_size": 100, "init_std": 0.5, "reg": 0.01,
    "adversary.layers": [5], "adversary.strength": 0.7,
}  # fmt: skip
FORMS = [(d, f) for d in ("bilateral", "unilateral") for f in ("adversarial", "reversal")]


def small(**settings: Any) -> RecSysDAN:
    return RecSysDAN.from_settings({**SMALL, **{key.replace("__", "."): v for key, v in settings.items()}})


def rows(fitted: Any) -> dict[str, Any]:
    return {"user": fitted.user_UF["a"], **{f"item.{n}": fitted.item_IF[n] for n in fitted.item_IF}}


def start_of(method: RecSysDAN, data: MultiDomain) -> dict[str, Any]:
    """All weights before the first step."""
    still = replace(method, epochs=1, lr=1e-30).fit(data, ONE)
    return rows(still) | Discriminator(data, method.adversary).initial(method.factors, ONE.seed)


def wide(arrays: dict[str, Any]) -> dict[str, Any]:
    return {k: torch.tensor(a, dtype=torch.float64, requires_grad=True) for k, a in arrays.items()}


def shares(weights: dict[str, Any], z: Any) -> Any:
    """C of Eq. (2) for one interaction."""
    hidden = (weights["discriminator.0.weight"] @ z + weights["discriminator.0.bias"]).relu()
    return torch.softmax(weights["discriminator.out.weight"] @ hidden + weights["discriminator.out.bias"], 0)


def nothing(step: Any) -> dict[str, Any]:
    """The losses of a step whose scores count for nothing."""
    return {domain: torch.zeros(()) for domain in step}


@pytest.mark.parametrize(("direction", "form"), FORMS)
def test_a_step_is_that_of_plain_torch(direction: str, form: str) -> None:
    """One step of Adam on all events: two objectives with the parameters of each, event after event."""
    data = uneven({"a": (12, 20), "b": (9, 35), "c": (7, 15)}, users=25)
    method = small(epochs=1, batch_size=10_000, adversary__direction=direction, adversary__form=form)
    weights = wide(start_of(method, data))
    (step,) = DomainBatches(data, 10_000, "domain", 1, ONE.seed).steps(0)
    rich = max(data.domain_names, key=lambda name: len(data[name]))
    for_embeddings: Any = 0.0
    for_discriminator: Any = 0.0
    for number, domain in enumerate(data.domain_names):
        batch = step[domain]
        for user, (item, negative) in zip(batch.user_N, batch.item_NJ, strict=True):
            p, y, other = (
                weights["user"][user],
                weights[f"item.{domain}"][item],
                weights[f"item.{domain}"][negative],
            )
            own = -torch.sigmoid(p @ y - p @ other).log() + 0.005 * sum((v**2).sum() for v in (p, y, other))
            if direction == "bilateral" or domain != rich:
                p = p.detach() if direction == "unilateral" else p
                right = shares(weights, p * y)[number]
                own = own + 0.7 * (right.log() if form == "reversal" else -(1 - right).log())
            for_embeddings = for_embeddings + own / len(batch.user_N)
            named = shares(weights, (weights["user"][user] * y).detach())[number]
            for_discriminator = for_discriminator - named.log() / len(batch.user_N)
    embeddings = [name for name in weights if not name.startswith("discriminator")]
    layers = [name for name in weights if name.startswith("discriminator")]
    gradient = dict(
        zip(embeddings, torch.autograd.grad(for_embeddings, [weights[k] for k in embeddings]), strict=True)
    ) | dict(zip(layers, torch.autograd.grad(for_discriminator, [weights[k] for k in layers]), strict=True))
    fitted = method.fit(data, replace(ONE, work_dir=None))
    for name, array in rows(fitted).items():
        clear = gradient[name].abs().numpy() > 1e-6
        assert clear.sum() > 20
        # the first step of Adam is lr times the sign of the gradient
        moved = array - weights[name].detach().numpy()
        np.testing.assert_allclose(moved[clear], -0.01 * np.sign(gradient[name].numpy()[clear]), atol=1e-4)
    losses = sum(fitted.log[0][f"loss:{domain}"] for domain in data.domain_names)
    assert losses == pytest.approx(float((for_embeddings + for_discriminator).detach()), rel=1e-4)
    # the discriminator, which is not kept, by the gradients of one backward pass
    again = {k: torch.tensor(a, requires_grad=True) for k, a in start_of(method, data).items()}
    discriminator = Discriminator(data, method.adversary)
    sum(discriminator.added(again, nothing, step).values()).backward()
    for name in layers:
        np.testing.assert_allclose(again[name].grad, gradient[name], atol=1e-5, err_msg=name)


def test_without_an_adversary_it_is_matrix_factorisation_of_common_users() -> None:
    data = uneven()
    settings = {"factors": 6, "lr": 0.01, "reg": 0.01, "epochs": 3, "batch_size": 100, "init_std": 0.5}
    mf = CMF.from_settings(settings).fit(data, ONE)
    without, with_one = (
        small(loss__kind="bce", adversary__strength=strength).fit(data, ONE) for strength in (0.0, 1.0)
    )
    assert same_state(without, mf)
    assert not same_state(with_one, mf)


def test_in_the_unilateral_form_neither_the_source_nor_users_feel_the_adversary() -> None:
    data = uneven({"a": (12, 20), "b": (30, 60), "c": (9, 15)})
    for direction, moving in (
        ("unilateral", {"item.a", "item.c"}),
        ("bilateral", {"user", *map("item.{}".format, "abc")}),
    ):
        method = small(adversary__direction=direction)
        weights = {k: torch.tensor(a, requires_grad=True) for k, a in start_of(method, data).items()}
        (step,) = DomainBatches(data, 10_000, "domain", 1, 0).steps(0)
        sum(Discriminator(data, method.adversary).added(weights, nothing, step).values()).backward()
        with_gradient = {k for k, w in weights.items() if w.grad is not None and w.grad.to_dense().any()}
        assert {k for k in with_gradient if not k.startswith("discriminator")} == moving


def copied(table: Any, other: Any) -> MultiDomain:
    return of_tables({"a": table, "b": other})


def test_domains_that_are_alike_cannot_be_told_apart() -> None:
    """With equal embeddings the discriminator is at chance; where items differ it names the domain."""
    data = uneven({"a": (20, 60), "b": (20, 60)})
    alike = copied(data["a"], data["a"])
    discriminator = Discriminator(alike, small().adversary)
    weights = {k: torch.from_numpy(a) for k, a in start_of(small(), alike).items()}
    weights["item.b"] = weights["item.a"].clone()
    assert discriminator.accuracy(weights) == 0.5
    logs = [small(adversary__strength=s, epochs=40, init_std=0.1).fit(data, ONE).log for s in (0.0, 1.0)]
    apart, hidden = (np.mean([record["discriminator"] for record in log[-10:]]) for log in logs)
    assert apart > 0.6
    assert hidden < apart - 0.1


class TestAnyNumberOfDomains:
    def test_the_order_of_domains_makes_no_difference(self) -> None:
        data = uneven({"a": (40, 50), "b": (25, 40)})
        for direction, form in FORMS:
            method = small(adversary__direction=direction, adversary__form=form)
            one, other = (rows(method.fit(data.select(names), ONE)) for names in (["a", "b"], ["b", "a"]))
            for name, array in one.items():
                np.testing.assert_allclose(array, other[name], atol=1e-3)

    def test_five_domains_in_one_space(self) -> None:
        data = uneven({name: (20 + 5 * n, 50 - 8 * n) for n, name in enumerate("abcde")})
        fitted = small().fit(data, ONE)
        assert fitted.comparable
        assert 0 <= fitted.log[-1]["discriminator"] <= 1

    def test_one_domain_has_nothing_to_be_told_from(self) -> None:
        data = uneven({"only": (20, 60)})
        strong, none = (small(adversary__strength=s).fit(data, ONE) for s in (1.0, 0.0))
        assert same_state(strong, none)
        assert "discriminator" not in strong.log[0]

    def test_a_domain_that_is_missing_from_a_step(self) -> None:
        data = uneven({"a": (12, 3), "b": (30, 60)})
        fitted = small(batch_size=8).fit(data, ONE)
        assert np.isfinite(fitted.score("a", Queries.of_users(np.arange(data.n_users)))).all()


@pytest.mark.parametrize("form", ["adversarial", "reversal"])
def test_a_fit_that_broke_off_goes_on_bit_for_bit(tmp_path: Path, form: str) -> None:
    data, method = uneven(), small(adversary__form=form)
    with pytest.raises(KeyboardInterrupt):
        method.fit(data, replace(ONE, validate=Kill(2), work_dir=tmp_path))
    resumed = method.fit(data, replace(ONE, validate=Kill(), work_dir=tmp_path))
    whole = method.fit(data, replace(ONE, validate=Kill()))
    assert same_state(resumed, whole)
    assert [r["discriminator"] for r in resumed.log] == [r["discriminator"] for r in whole.log]


def test_what_is_planted_elsewhere_reaches_the_sparse_domain() -> None:
    world = planted_transfer(users=240, items=120, groups=6)
    train = world.split.test.history
    popular = own_group(Popularity().fit(train, ONE), world)
    for direction, form in FORMS:
        method = small(
            factors=8, lr=0.03, epochs=30, batch_size=512, init_std=0.1, adversary__strength=0.1,
            adversary__direction=direction, adversary__form=form,
        )  # fmt: skip
        joint = own_group(method.fit(train, ONE), world)
        alone = own_group(method.fit(train.select(["sparse"]), ONE), world)
        assert joint > alone + 0.1
        assert joint > popular + 0.1


def test_impossible_settings() -> None:
    for wrong, says in (
        ({"adversary.direction": "both"}, "bilateral"), ({"adversary.form": "wgan"}, "adversarial"),
        ({"adversary.strength": -1}, "0 or more"), ({"adversary.layers": [0]}, "layers"),
        ({"loss.kind": "squared"}, "bce"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=says):
            RecSysDAN.from_settings(wrong)

"""CMF: shared rows, weights of domains, and a single domain's factorisation as its special case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worlds import uneven

from landbridge.core.errors import SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.sampling.domain_batches import DomainBatches
from landbridge.data.synthetic import planted_transfer
from landbridge.models.pairwise.fitted import EmbeddingModel
from landbridge.models.towers.cmf import CMF, ProductLoss
from landbridge.training.options import FitOptions

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, device="cpu")
METHOD = CMF(4, lr=0.03, reg=0.01, epochs=3, batch_size=100, init_std=0.3)


def rows(fitted: EmbeddingModel) -> dict[str, Any]:
    return {"user": fitted.user_UF["a"], **{f"item {n}": fitted.item_IF[n] for n in fitted.item_IF}}


@pytest.mark.parametrize("loss", ["bce", "squared"])
def test_without_weight_on_the_others_it_is_one_domains_factorisation(loss: str) -> None:
    data = uneven()
    method = replace(METHOD, loss=ProductLoss(loss))
    joint = replace(method, weights={"b": 0.0, "c": 0.0}).fit(data, ONE)
    alone = method.fit(data.select(["a"]), ONE)
    start = replace(method, epochs=1, lr=1e-30).fit(data, ONE)
    assert np.array_equal(joint.user_UF["a"], alone.user_UF["a"])
    assert np.array_equal(joint.item_IF["a"], alone.item_IF["a"])
    assert not np.array_equal(joint.item_IF["a"], start.item_IF["a"])
    assert np.array_equal(joint.item_IF["b"], start.item_IF["b"])
    assert [{k: v for k, v in r.items() if "weight" not in k} for r in joint.log] == [
        {k: v for k, v in r.items() if "weight" not in k} for r in alone.log
    ]


def adam_twin(data: MultiDomain, method: CMF, start: EmbeddingModel) -> dict[str, Any]:
    """Row-wise Adam on whole float64 tables, event after event."""
    tables = {name: torch.tensor(array, dtype=torch.float64) for name, array in rows(start).items()}
    slots = {n: (torch.zeros_like(t), torch.zeros_like(t), torch.zeros(len(t), 1)) for n, t in tables.items()}
    batches = DomainBatches(data, method.batch_size, "domain", method.loss.negatives_per_positive, 0)
    for epoch in range(method.epochs):
        for step in batches.steps(epoch):
            for table in tables.values():
                table.requires_grad_()
            total: Any = 0.0
            touched: dict[str, set[int]] = {name: set() for name in tables}
            for domain, batch in step.items():
                alpha = method.weights.get(domain, 1.0)
                for user, items in zip(batch.user_N, batch.item_NJ, strict=True):
                    x = tables["user"][user]
                    squares, terms = (x**2).sum(), []
                    for place, item in enumerate(items):
                        y = tables[f"item {domain}"][item]
                        target, score = float(place == 0), x @ y
                        squares = squares + (y**2).sum()
                        if method.loss.kind == "squared":
                            terms.append((target - score) ** 2)
                        else:
                            p = 1 / (1 + torch.exp(-score))
                            terms.append(-torch.log(p if target else 1 - p))
                        touched[f"item {domain}"].add(int(item))
                    touched["user"].add(int(user))
                    own = sum(terms) / len(terms) + method.reg / 2 * squares
                    total = total + alpha * own / len(batch.user_N)
            gradients = dict(zip(tables, torch.autograd.grad(total, list(tables.values())), strict=True))
            for name, table in tables.items():
                table, at = table.detach(), sorted(touched[name])
                m, v, n = slots[name]
                g = gradients[name][at]
                n[at] += 1
                m[at], v[at] = 0.9 * m[at] + 0.1 * g, 0.999 * v[at] + 0.001 * g**2
                table[at] -= (
                    method.lr * (m[at] / (1 - 0.9 ** n[at])) / ((v[at] / (1 - 0.999 ** n[at])).sqrt() + 1e-8)
                )
                tables[name] = table
    return tables


@pytest.mark.parametrize("loss", ["bce", "squared"])
def test_steps_are_those_of_a_naive_reference(loss: str) -> None:
    data = uneven({"a": (12, 20), "b": (9, 15)}, users=25)
    method = replace(METHOD, loss=ProductLoss(loss, 2), epochs=2, batch_size=30, weights={"b": 0.3})
    expected = adam_twin(data, method, replace(method, epochs=1, lr=1e-30).fit(data, ONE))
    for name, array in rows(method.fit(data, ONE)).items():
        np.testing.assert_allclose(array, expected[name], atol=2e-4, err_msg=name)


def test_a_domains_weight_decides_who_forms_the_user_embeddings() -> None:
    """Weights scale gradients of shared rows alone; Adam makes nothing of it for items."""
    data = uneven()
    even, tilted = (replace(METHOD, weights=w).fit(data, ONE) for w in ({}, {"a": 5.0}))
    assert not np.array_equal(even.user_UF["a"], tilted.user_UF["a"])
    assert even.log[0]["weight"] == {"a": 1.0, "b": 1.0, "c": 1.0}
    assert tilted.log[0]["weight"]["a"] == 5


def test_a_taste_reaches_the_sparse_domain() -> None:
    world = planted_transfer(users=240, items=120, groups=6)
    fitted = CMF(8, lr=0.03, epochs=30, batch_size=512).fit(world.split.test.history, ONE)
    history = world.split.test.history["sparse"]
    scores_UI = fitted.score("sparse", Queries.of_users(np.arange(240))).copy()
    scores_UI[history.user_idx, history.item_idx] = -np.inf
    best_U10 = np.argsort(-scores_UI, axis=1, kind="stable")[:, :10]
    assert np.take_along_axis(world.likes["sparse"], best_U10, axis=1).mean() > 0.9


def test_weights_are_those_of_domains() -> None:
    data = uneven()
    with pytest.raises(SettingsError, match="Unknown domain in weights 'd'"):
        CMF(weights={"d": 1.0}).fit(data, ONE)
    with pytest.raises(SettingsError, match="above 0 for one domain"):
        CMF(weights=dict.fromkeys(data.domain_names, 0.0)).fit(data, ONE)

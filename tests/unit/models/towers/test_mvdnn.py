"""MV-DNN: its steps event by event, its scores, and what the user's tower carries over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import close, own_group
from worlds import uneven

from landbridge.core.errors import SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.queries import Queries
from landbridge.data.sampling.domain_batches import DomainBatches
from landbridge.data.synthetic import planted_transfer
from landbridge.models.popularity import Popularity
from landbridge.models.towers.mvdnn import MVDNN
from landbridge.models.towers.network import TowerNetwork
from landbridge.training.options import FitOptions

torch = pytest.importorskip("torch")
ONE = FitOptions(threads=1, seed=3, device="cpu")
SMALL: dict[str, Any] = {
    "factors": 5, "layers": [6, 4], "lr": 0.01, "epochs": 1, "batch_size": 100, "init_std": 0.5, "reg": 0.01,
    "scale": 3.0, "loss.negatives_per_positive": 2,
}  # fmt: skip


def small(**settings: Any) -> MVDNN:
    return MVDNN.from_settings({**SMALL, **settings})


def start_of(method: MVDNN, data: MultiDomain) -> dict[str, Any]:
    """All weights before the first step."""
    plain = TowerNetwork(data.domain_names, "user", 0, (), (), method.factors)
    drawn = plain.initial(data, ONE.seed, method.init_std)
    rows = {name: w for name, w in drawn.items() if name.startswith(("user", "item."))}
    layers = method.initial_layers(data, ONE.seed)
    return rows | {name: torch.from_numpy(array).requires_grad_() for name, array in layers.items()}


def through(w: dict[str, Any], tower: str, row: Any) -> Any:
    """A row of Eq. (1), of unit length."""
    for level in (0, 1):
        row = torch.tanh(w[f"{tower}.{level}.weight"] @ row + w[f"{tower}.{level}.bias"])
    return row / row.norm()


def test_a_step_is_that_of_plain_torch() -> None:
    """One step of Adam on all events, event after event."""
    data = uneven({"a": (12, 20), "b": (9, 35), "c": (7, 15)}, users=25)
    method = small(batch_size=10_000)
    weights = start_of(method, data)
    w = {k: v.detach().double().requires_grad_() for k, v in weights.items()}
    (step,) = DomainBatches(data, 10_000, "domain", 2, ONE.seed).steps(0)
    total: Any = 0.0
    for domain, batch in step.items():
        for user, items in zip(batch.user_N, batch.item_NJ, strict=True):
            p, qs = w["user"][user], [w[f"item.{domain}"][j] for j in items]
            x = through(w, "users", p)
            scores = torch.stack([3 * x @ through(w, f"items.{domain}", q) for q in qs])
            loss = -torch.softmax(scores, 0)[0].log() + 0.005 * sum((v**2).sum() for v in (p, *qs))
            total = total + loss / len(batch.user_N)
    total.backward()
    plain = TowerNetwork(data.domain_names, "user", 0, (), (), method.factors)
    phase = method.phase(method.batches(data, ONE.seed), weights, plain.embed, method.scores)
    losses = phase.losses(next(iter(phase.batches(0))))
    sum(losses.values()).backward()
    assert float(sum(losses.values()).detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    for name, weight in weights.items():
        gradient = weight.grad.to_dense() if weight.grad.is_sparse else weight.grad
        assert gradient.any(), name
        np.testing.assert_allclose(gradient, w[name].grad, rtol=1e-3, atol=1e-6, err_msg=name)


def test_scores_are_cosines_of_the_towers_times_the_scale() -> None:
    data, method = uneven(), small(popularity_weight=0.0)
    weights = {k: v.detach() for k, v in start_of(method, data).items()}
    fitted = method._fitted(data, weights, ())
    for domain in data.domain_names:
        users = np.flatnonzero(data.activity_UD.any(axis=1))[:9]
        scores_BI = fitted.score(domain, Queries.of_users(users))
        for row, user in enumerate(users):
            x = through(weights, "users", weights["user"][user])
            ys = [through(weights, f"items.{domain}", q) for q in weights[f"item.{domain}"]]
            np.testing.assert_allclose(scores_BI[row], [float(3 * x @ y) for y in ys], atol=1e-5)


def test_the_order_of_domains_makes_no_difference() -> None:
    data = uneven({"a": (40, 50), "b": (25, 40)})
    close(*(small(epochs=2).fit(data.select(names), ONE) for names in (["a", "b"], ["b", "a"])), atol=1e-3)


def test_what_is_planted_elsewhere_reaches_the_sparse_domain() -> None:
    world = planted_transfer(users=160, items=80, groups=4)
    train = world.split.test.history
    method = MVDNN(8, layers=(8, 8), lr=0.03, epochs=20, batch_size=512)
    joint, alone = (own_group(method.fit(part, ONE), world) for part in (train, train.select(["sparse"])))
    assert joint > alone + 0.3
    assert joint > own_group(Popularity().fit(train, ONE), world) + 0.3


def test_impossible_settings() -> None:
    for wrong, says in (
        ({"layers": [0]}, "layers"), ({"scale": 0}, "above 0"), ({"loss.kind": "bce"}, "softmax"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=says):
            MVDNN.from_settings(wrong)

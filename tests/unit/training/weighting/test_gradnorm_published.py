"""GradNorm as printed against a slow twin: autograd through the objective of the weights, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landbridge.training.gradients import Losses
from landbridge.training.weighting.gradnorm import GradNorm

torch = pytest.importorskip("torch")
DOMAINS, STEPS, RATE, ALPHA, ETA = ("a", "b", "c"), 24, 0.05, 1.5, 0.01


class Network:
    """A shared matrix, a head per domain, and squared errors of very different sizes."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)

        def numbers(*shape: int) -> Any:
            return torch.from_numpy(rng.standard_normal(shape))

        self.shared = numbers(3, 4).requires_grad_()
        self.heads = {name: numbers(3) for name in DOMAINS}
        self.rows = {name: (numbers(STEPS, 5, 4), numbers(STEPS, 5)) for name in DOMAINS}
        self.sizes = dict(zip(DOMAINS, (0.3, 1.0, 5.0), strict=True))

    def losses(self, step: int) -> dict[str, Any]:
        """The mean loss of each domain's part of a batch."""
        found = {}
        for name, (x_SN4, y_SN) in self.rows.items():
            error_N = torch.tanh(x_SN4[step] @ self.shared.T) @ self.heads[name] - y_SN[step]
            found[name] = self.sizes[name] * (error_N**2).mean()
        return found

    def descend(self, gradient: Any) -> None:
        """A step of gradient descent."""
        with torch.no_grad():
            self.shared -= RATE * gradient


def averaged(values: list[float], decay: float) -> float:
    """The moving average, from its definition."""
    average = 0.0
    for number, value in enumerate(values, 1):
        average += max(1 - decay, 1 / number) * (value - average)
    return average


def twin(order: str, start: float | None, decay: float) -> tuple[list[Any], Any]:
    """The weights of every step and the network at the end, one line of the paper after the other."""
    network = Network()
    w_D = torch.ones(len(DOMAINS), dtype=torch.float64)
    seen: list[list[float]] = [[] for _ in DOMAINS]
    norms: list[list[float]] = [[] for _ in DOMAINS]
    history = []
    for step in range(STEPS):
        losses = list(network.losses(step).values())
        for d, loss in enumerate(losses):
            seen[d].append(loss.item())
            norms[d].append(torch.autograd.grad(loss, network.shared, retain_graph=True)[0].norm().item())
        first = [np.mean(own[:20]) if start is None else start for own in seen]
        ratio_D = torch.tensor(
            [averaged(own, decay) / first[d] for d, own in enumerate(seen)], dtype=w_D.dtype
        )
        weight_D = w_D.clone().requires_grad_()
        norm_D = weight_D * torch.tensor([averaged(own, decay) for own in norms], dtype=w_D.dtype)
        target_D = (norm_D.mean() * (ratio_D / ratio_D.mean()) ** ALPHA).detach()
        (slope_D,) = torch.autograd.grad((norm_D - target_D).abs().sum(), weight_D)
        moved_D = (w_D - ETA * slope_D).clamp(min=1e-4)
        moved_D = moved_D * len(DOMAINS) / moved_D.sum()
        used_D = w_D if order == "before" else moved_D
        total = sum(w * loss for w, loss in zip(used_D, losses, strict=True))
        history.append(used_D.numpy().copy())
        network.descend(torch.autograd.grad(total, network.shared)[0])
        w_D = moved_D
    return history, network.shared.detach().numpy()


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize(("start", "decay"), [(0.7, 0.0), (None, 0.0), (0.7, 0.9), (None, 0.5)])
def test_weights_and_network_follow_the_published_rule(order: str, start: float | None, decay: float) -> None:
    expected, expected_shared = twin(order, start, decay)
    weighting = GradNorm("W", ALPHA, ETA, rule="literal", order=order, start=start, decay=decay)
    network, state, history = Network(), {}, []
    for step in range(STEPS):
        losses = Losses(network.losses(step), {"W": network.shared})
        weights, state = weighting.weights(losses, {"W": network.shared}, state)
        losses.backward(weights)
        network.descend(network.shared.grad)
        network.shared.grad = None
        history.append([weights[name] for name in DOMAINS])
    np.testing.assert_allclose(history, expected, rtol=1e-9)
    np.testing.assert_allclose(network.shared.detach().numpy(), expected_shared, rtol=1e-9, atol=1e-12)
    assert np.ptp(history, axis=0).min() > 0.05  # the weights did move

"""DWL: the moving average of the weights, and what its momentum does to losses and gradients.

    w_k = c + μ^k (w_0 - c)                                                                            (1)
    L = Σ_d D f_d w_d L_d,   L_d the mean softmax loss of domain d's events                            (2)

The network of Eq. (2) has an embedding per user, one layer W that all domains share, and an embedding per
item. What is measured is ‖D f_d w_d ∇_W L_d‖ of every domain over all of its events.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from experiments.theory_cells import Rows
from landbridge.core.rng import generator
from landbridge.training.epochs import State
from landbridge.training.weighting.schedule import DynamicSparsity, WeightSchedule
from landbridge.training.weighting.sparsity import DomainCounts, SparsityScore

EVENTS = {"dense": 6000, "middle": 2000, "rare": 600, "sparse": 200}
USERS, ITEMS, FACTORS, GROUPS = 300, 60, 16, 6
EPOCHS, STEPS = 10, 20  # 20 steps of batches of a 20th of every domain


def average(momentum: float, epochs: int, period: int, target: float) -> dict[str, float]:
    """The weight that the schedule has in the last epoch, from 1, and how much of the way it has gone."""
    schedule = WeightSchedule(momentum=momentum, update_every=period, renorm=False)
    # Eq. (1) is the same for every target, so that of the schedule's own map is scaled to the target
    state = schedule.begin(_counts())
    start_D, wanted_D = schedule.weights(state), schedule.weight_map.weights(state["score_D"], None)
    for epoch in range(epochs):
        state = schedule.at_epoch(state, epoch)
    way = (schedule.weights(state) - start_D) / (wanted_D - start_D)
    share = float(way[-1])
    updates = int(state["updates_1"][0])
    return {
        "updates": updates,
        "way": share,
        "closed form": 1 - momentum**updates,
        "weight": 1 + share * (target - 1),
    }


def training(momentum: float, seed: int) -> Rows:
    """Mean loss, weight and gradient norm by domain and epoch."""
    rng = generator(seed, "theory", "dwl")
    events = {name: _drawn(rng, number) for name, number in EVENTS.items()}
    weights = _initial(rng)
    schedule = WeightSchedule(SparsityScore(beta=0.0, gamma=0.0), momentum=momentum)
    share_D = np.array(list(EVENTS.values())) / sum(EVENTS.values())
    weighting = DynamicSparsity(schedule, _counts(), STEPS, share_D=share_D)
    adam, rows = torch.optim.Adam(list(weights.values()), lr=0.01), []
    state: State = {}
    for epoch in range(EPOCHS):
        order = {name: torch.from_numpy(rng.permutation(number)) for name, number in EVENTS.items()}
        for step in range(STEPS):
            losses = {
                name: _loss(weights, name, events[name][:, order[name][step::STEPS]]) for name in EVENTS
            }
            weight_of, state = weighting.weights(losses, weights, state)
            adam.zero_grad()
            torch.stack([weight_of[name] * loss for name, loss in losses.items()]).sum().backward()  # Eq. (2)
            adam.step()
        sample = dict(zip(EVENTS, schedule.weights(state).tolist(), strict=True))
        for name in EVENTS:
            loss = _loss(weights, name, events[name])
            (grad_FF,) = torch.autograd.grad(weight_of[name] * loss, weights["shared"])
            norm = float(grad_FF.norm())
            rows.append(
                {
                    "epoch": epoch + 1,
                    "domain": name,
                    "weight": sample[name],
                    "loss": loss.item(),
                    "norm": norm,
                }
            )
    return rows


def _counts() -> DomainCounts:
    events_D = np.array(list(EVENTS.values()), np.float64)
    total, even_D = float(events_D.sum()), np.ones(len(events_D))
    return DomainCounts(
        tuple(EVENTS),
        events_D,
        ITEMS * even_D,
        USERS * even_D,
        total,
        ITEMS * len(events_D),
        USERS,
        events_D / total,
        even_D,
        even_D,
    )


def _drawn(rng: np.random.Generator, number: int) -> Tensor:
    """Users and items of events, (2, N): four in five of the user's own group of items."""
    user_N, any_N = rng.integers(0, USERS, number), rng.integers(0, ITEMS, number)
    own_N = any_N // GROUPS * GROUPS + user_N % GROUPS
    return torch.from_numpy(np.stack([user_N, np.where(rng.random(number) < 0.8, own_N, any_N)]))


def _initial(rng: np.random.Generator) -> dict[str, Tensor]:
    shapes = {"user": (USERS, FACTORS), "shared": (FACTORS, FACTORS)} | dict.fromkeys(
        EVENTS, (ITEMS, FACTORS)
    )
    return {
        name: torch.tensor(0.3 * rng.standard_normal(shape, np.float32), requires_grad=True)
        for name, shape in shapes.items()
    }


def _loss(weights: dict[str, Tensor], domain: str, events_2N: Tensor) -> Tensor:
    """L_d."""
    state_NF = torch.relu(weights["user"][events_2N[0]] @ weights["shared"])
    return torch.nn.functional.cross_entropy(state_NF @ weights[domain].T, events_2N[1])

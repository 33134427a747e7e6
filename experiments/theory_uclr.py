"""UCLR's Theorem 1, measured on the contrastive objective alone (Eq. 9 of the submitted version).

F is the objective over all |U| users, F_B that of a batch; masks stay fixed, so that F is one function:

    F = 1/|U| Σ_i τ_i log g_i,   g_i = 1/(|U|-1) Σ_{k≠i} exp(h_i(k)/τ_i)                               (1)
    dist² = ‖∇_w F‖² + Σ_i π_i²,   π_i = ∂F/∂τ_i, 0 at a bound that it points across                   (2)
    bias = ‖E_B ∇F_B - ∇F‖ / ‖∇F‖                                                                      (3)
    P_ik = exp(h_i(k)/τ) / Σ_k exp(h_i(k)/τ);   ∇F = 1/|U| Σ_ik P_ik ∇h_i(k)                           (4)
    tracked   P_ik = exp(h_i(k)/τ) / (n s_i),   s_i ← (1-γ) s_i + γ g_i                                (5)
    v ← (1-β₁) v + β₁ ∇F_B,   w ← w - η v            (Algorithm 2, lines 11 and 12)                    (6)

Letters: U users, B users of a batch, G batches, F factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.theory_cells import Rows
from landbridge.core.rng import generator
from landbridge.core.types import Float32, Float64
from landbridge.models.common import losses
from landbridge.models.uclr.autoencoder import AutoEncoder, keep_mask
from landbridge.models.uclr.contrastive import log_partition_and_kl
from landbridge.models.uclr.temperature import TemperatureRule, Temperatures

FACTORS, GROUPS, MASK = 32, 32, 0.3
MEASURED = (1, 4, 16, 64, 256)  # steps after which the exact gradient is taken
LR = {"momentum": 0.1, "Adam": 1e-3}
MOMENTUM = 0.1  # β₁
BATCHES = (4, 8, 16, 32, 64)
TRACKING = 0.1  # γ
ROUNDS = 32
SHOWN = (0, 10, 30, 100, 300, 3000)  # visits after which temperatures are reported


@dataclass(frozen=True, eq=False)
class Problem:
    """Users in groups of taste, some of them masked, and an auto-encoder of random weights."""

    rows_UF: Tensor
    kept_U: Tensor
    encoder: AutoEncoder
    weights: dict[str, Tensor]

    @classmethod
    def drawn(cls, users: int, seed: int) -> Problem:
        """A problem of this size."""
        rng = generator(seed, "theory", "uclr")
        center_GF = rng.standard_normal((GROUPS, FACTORS))
        rows_UF = center_GF[rng.integers(0, GROUPS, users)] + 0.7 * rng.standard_normal((users, FACTORS))
        encoder = AutoEncoder.of(FACTORS)
        weights = {name: w for name, w in encoder.initial(rng).items() if name.startswith("encoder")}
        kept_U = torch.from_numpy(keep_mask(users, MASK, rng))
        return cls(torch.from_numpy(rows_UF.astype(np.float32)), kept_U, encoder, weights)

    def codes(self, users_B: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of both streams, each (B, L)."""
        code_BL = self.encoder.encode(self.weights, self.rows_UF[users_B])
        blank_1L = self.encoder.encode(self.weights, torch.zeros(1, FACTORS))
        return code_BL, code_BL.where(self.kept_U[users_B].unsqueeze(1), blank_1L)

    def flat(self, value: Tensor) -> Tensor:
        """The gradient of a value by all weights in one row."""
        return torch.cat([g.ravel() for g in torch.autograd.grad(value, list(self.weights.values()))])


def descent(users: int, batch: int, steps: int, optimizer: str, seed: int) -> Rows:
    """The parts of the exact gradient, Eq. (2), after the steps ``MEASURED`` of Algorithm 2."""
    problem = Problem.drawn(users, seed)
    rule = TemperatureRule(objective="uco", lr=1.0, grad_scale="literal")
    temperatures = Temperatures.start(rule, users)
    stepped = list(problem.weights.values())
    average = [torch.zeros_like(w) for w in stepped]
    adam = torch.optim.Adam(stepped, lr=LR["Adam"])
    rng, rows = generator(seed, "theory", "batches"), []
    for step in range(1, steps + 1):
        users_B = torch.from_numpy(rng.permutation(users)[:batch])
        log_g_B, kl_B = log_partition_and_kl(*problem.codes(users_B), temperatures.tau_U[users_B])
        tau_B, _ = temperatures.advance(users_B, log_g_B, kl_B, batch - 1)
        grads = torch.autograd.grad(losses.contrastive(log_g_B, tau_B, 0.0).mean(), stepped)
        with torch.no_grad():
            for w, v, grad in zip(stepped, average, grads, strict=True):
                v.lerp_(grad, 1.0 if step == 1 else MOMENTUM)  # Eq. (6)
                w.grad = grad
                if optimizer == "momentum":
                    w -= LR["momentum"] * v
        if optimizer == "Adam":
            adam.step()
        if step in MEASURED:
            rows.append({"step": step, **exact(problem, temperatures.tau_U, rule)})
    return rows


def rest(batch: int, seed: int, users: int = 256) -> Rows:
    """‖∇F‖ and ‖E_B ∇F_B‖ on the way to where the latter vanishes, at a fixed τ.

    A step takes the mean over the batches of ``ROUNDS`` shuffles, so that next to no noise is left.
    """
    problem, rule = Problem.drawn(users, seed), TemperatureRule()
    tau_U = torch.full((users,), rule.start)
    adam = torch.optim.Adam(list(problem.weights.values()), lr=3 * LR["Adam"])
    decay = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: (step + 1) ** -0.5)
    rng, rows = generator(seed, "theory", "rest", str(batch)), []
    rounds = ROUNDS if batch < users else 1  # shuffles of one batch of all users are one
    for step in range(1, MEASURED[-1] + 1):
        users_GB = torch.from_numpy(rng.permuted(np.tile(np.arange(users), (rounds, 1)), axis=1)).view(
            -1, batch
        )
        cosine_GBB = _cosines(problem, users)[users_GB[:, :, None], users_GB[:, None, :]]
        gap_GBB = cosine_GBB - cosine_GBB.diagonal(dim1=1, dim2=2).unsqueeze(2)
        gap_GBB = gap_GBB.masked_fill(torch.eye(batch, dtype=torch.bool), -math.inf)
        log_g_GB = (gap_GBB / rule.start).logsumexp(dim=2) - math.log(batch - 1)
        grad = problem.flat(rule.start * log_g_GB.mean())
        for w, part in zip(
            problem.weights.values(), grad.split([w.numel() for w in problem.weights.values()]), strict=True
        ):
            w.grad = part.view_as(w)
        adam.step()
        decay.step()
        if step in MEASURED:
            rows.append(
                {"step": step, "E_B ∇F_B": float(grad.norm()), "∇F": exact(problem, tau_U, rule)["weights"]}
            )
    return rows


def exact(problem: Problem, tau_U: Tensor, rule: TemperatureRule) -> dict[str, float]:
    """F of Eq. (1) and the parts of Eq. (2)."""
    users = len(tau_U)
    log_g_U, kl_U = log_partition_and_kl(*problem.codes(torch.arange(users)), tau_U)
    value = losses.contrastive(log_g_U, tau_U, 0.0).mean()
    by_tau_U = -kl_U / users
    outside_U = (tau_U >= rule.high) & (by_tau_U < 0) | (tau_U <= rule.low) & (by_tau_U > 0)
    by_weights = float(problem.flat(value).norm())
    projected = float(by_tau_U.masked_fill(outside_U, 0).norm())
    return {
        "value": float(value.detach()),
        "weights": by_weights,
        "full": math.hypot(by_weights, float(by_tau_U.norm())),
        "projected": math.hypot(by_weights, projected),
        "tau": float(tau_U.mean()),
    }


def bias(users: int, tau: float, seed: int, rounds: int) -> Rows:
    """Eq. (3) by batch size, plain and tracked, in the gradient by the encoder's weights.

    The expectation is linear in P, so P is averaged over batches and the gradient is taken once. Two halves
    of the batches give an estimate of the squared norm whose noise has mean 0.
    """
    problem = Problem.drawn(users, seed)
    cosine_UU = _cosines(problem, users)
    own_UU = cosine_UU.detach().numpy().astype(np.float64)
    gap_UU = own_UU - own_UU.diagonal()[:, None]
    np.fill_diagonal(gap_UU, -np.inf)
    weight_UU = np.exp(gap_UU / tau)
    exact_UU = weight_UU / weight_UU.sum(axis=1, keepdims=True)
    rows = []
    for batch in BATCHES:
        for name, gamma in (("plain", 1.0), ("tracked", TRACKING)):
            rng = generator(seed, "theory", "bias", str(batch))
            halves = _mean_p(weight_UU, batch, gamma, rng, rounds)
            one, two = (_by_weights(problem, half_UU - exact_UU) for half_UU in halves)
            norm = float(_by_weights(problem, exact_UU).norm())
            square = float(one @ two)
            rows.append({"B": batch, "estimator": name, "bias": math.sqrt(max(square, 0)) / norm})
    return rows


def _cosines(problem: Problem, users: int) -> Tensor:
    from torch.nn.functional import normalize

    code_UL, blanked_UL = problem.codes(torch.arange(users))
    return normalize(code_UL) @ normalize(blanked_UL).T


def _by_weights(problem: Problem, p_UU: Float64) -> Tensor:
    """1/|U| Σ_ik P_ik ∇h_i(k), Eq. (4)."""
    cosine_UU = _cosines(problem, len(p_UU))
    gap_UU = cosine_UU - cosine_UU.diagonal().unsqueeze(1)
    return problem.flat((torch.from_numpy(p_UU).float() * gap_UU).sum() / len(p_UU))


def _mean_p(
    weight_UU: Float64, batch: int, gamma: float, rng: np.random.Generator, rounds: int
) -> tuple[Float64, Float64]:
    """The mean of P over random batches that cover all users once per round, in two halves of the "
    "rounds."""
    users, burn_in = len(weight_UU), 0 if gamma == 1 else rounds // 4
    sum_2UU = np.zeros((2, users, users))
    # the moving average starts at the first batch's g
    s_U: Float64 = np.full(users, np.nan)
    for number in range(burn_in + rounds):
        users_GB = rng.permutation(users)[: users // batch * batch].reshape(-1, batch)
        block_GBB = weight_UU[users_GB[:, :, None], users_GB[:, None, :]]
        g_GB = block_GBB.sum(axis=2) / (batch - 1)
        old_GB = s_U[users_GB]
        s_GB = np.where(np.isnan(old_GB), g_GB, (1 - gamma) * old_GB + gamma * g_GB)  # Eq. (5)
        s_U[users_GB] = s_GB
        if number >= burn_in:
            half_UU = sum_2UU[number % 2]
            half_UU[users_GB[:, :, None], users_GB[:, None, :]] += block_GBB / ((batch - 1) * s_GB[..., None])
    return sum_2UU[0] / (rounds / 2), sum_2UU[1] / (rounds / 2)


def trajectories(objective: str, radius: float, visits: int, seed: int, users: int = 256) -> Rows:
    """Quartiles of τ and the median KL / log n over visits at fixed codes, in batches of all users."""
    problem = Problem.drawn(users, seed)
    rule = TemperatureRule(objective=objective, radius=radius)
    temperatures = Temperatures.start(rule, users)
    with torch.no_grad():
        code_UL, blanked_UL = problem.codes(torch.arange(users))
        rows = []
        for visit in range(visits + 1):
            if visit in SHOWN:
                _, kl_U = log_partition_and_kl(code_UL, blanked_UL, temperatures.tau_U)
                tau_U, share_U = temperatures.tau_U.numpy(), kl_U.numpy() / math.log(users - 1)
                rows.append({"visit": visit, **_quartiles(tau_U), "KL share": float(np.median(share_U))})
            pair = log_partition_and_kl(code_UL, blanked_UL, temperatures.tau_U)
            temperatures.advance(torch.arange(users), *pair, users - 1)
    return rows


def _quartiles(tau_U: Float32) -> Mapping[str, float]:
    low, mid, high = np.quantile(tau_U, (0.25, 0.5, 0.75))
    return {"τ 25 %": float(low), "τ median": float(mid), "τ 75 %": float(high)}

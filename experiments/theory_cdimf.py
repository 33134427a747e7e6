"""CDIMF's ADMM: residuals, the optimum for any ρ at fixed items, and where the whole fit is stable.

At fixed items Y_d every domain's objective is a quadratic in its users. With the events S of u in d,
A_u^d = α₀ Y_dᵀY_d + Y_SᵀY_S + λ_u^d I and b_u^d = Σ_{i∈S} y_i:

    F_d(x) = xᵀ A_u^d x - 2 b_u^d·x;   joint optimum x_u* = (Σ_d A_u^d)⁻¹ Σ_d b_u^d                    (1)
    x_d = (A_d + ρI)⁻¹ (b_d + ρ (z - t_d)),   z = mean_d (x_d + t_d),   t_d ← t_d + x_d - z            (2)
    primal² = Σ_d ‖x_d - z‖²,   dual² = D ρ² ‖z - z_before‖²,   off = ‖z - x*‖ / ‖x*‖                  (3)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from experiments.theory_cells import Rows
from landbridge.core.errors import DivergenceError
from landbridge.core.types import Float64
from landbridge.data.dataset import MultiDomain
from landbridge.data.synthetic import World, planted_transfer
from landbridge.evaluation.evaluate import evaluate
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.consensus import ADMM, Consensus
from landbridge.models.als.fitted import ALSModel
from landbridge.models.als.solver import FrequencyRidge
from landbridge.training.options import FitOptions

METHOD = CDIMF(factors=8, alpha0=0.1, reg=0.1, popularity_weight=0.0)
ROUNDS, SHOWN = 256, (1, 4, 16, 64, 256)


def world(seed: int) -> World:
    """Three domains with common users."""
    return planted_transfer(users=200, items=80, domains=3, seed=seed)


def residuals(rho: float, seed: int) -> Rows:
    """Eq. (3) over rounds of Eq. (2), at the items of a fit."""
    data = world(seed).split.test.history
    model = METHOD.fit(data, FitOptions(seed, threads=1))
    A_DUFF, b_DUF = quadratics(data, model)
    best_UF = optimum(A_DUFF, b_DUF)
    n_domains, _, factors = b_DUF.shape
    inverse_DUFF = np.linalg.inv(A_DUFF + rho * np.eye(factors))
    x_DUF, t_DUF, z_UF = np.zeros_like(b_DUF), np.zeros_like(b_DUF), np.zeros_like(best_UF)
    rows = []
    for number in range(1, ROUNDS + 1):
        before_UF = z_UF
        x_DUF = np.einsum("dufg,dug->duf", inverse_DUFF, b_DUF + rho * (z_UF - t_DUF))  # Eq. (2)
        z_UF = (x_DUF + t_DUF).mean(axis=0)
        t_DUF = t_DUF + x_DUF - z_UF
        if number in SHOWN:
            row = {
                "primal": np.linalg.norm(x_DUF - z_UF),
                "dual": np.sqrt(n_domains) * rho * np.linalg.norm(z_UF - before_UF),
                "off": np.linalg.norm(z_UF - best_UF) / np.linalg.norm(best_UF),
            }
            rows.append({"round": number, **{key: float(value) for key, value in row.items()}})
    return rows


def fits(rho: float, seed: int) -> Rows:
    """How far the fit's users are from the joint optimum at its own items, and the joint objective."""
    data = world(seed).split.test.history
    admm = ADMM(rho=rho, tolerance=1e-6)
    model = replace(METHOD, admm=admm, epochs=40).fit(data, FitOptions(seed, threads=1))
    A_DUFF, b_DUF = quadratics(data, model)
    best_UF = optimum(A_DUFF, b_DUF)
    found_UF = next(iter(model.user_UF.values())).astype(np.float64)
    off = float(np.linalg.norm(found_UF - best_UF) / np.linalg.norm(best_UF))
    return [{"off": off, "objective": _objective(data, model, best_UF, A_DUFF, b_DUF)}]


def stability(rho: float, period: int, variant: str, seed: int) -> Rows:
    """The last gap and NDCG@10 in the sparse domain of a fit, or its divergence."""
    split = world(seed).split
    admm = ADMM(rho=rho, variant=variant, on_divergence="log")
    method = replace(METHOD, admm=admm, consensus=Consensus(every=period), epochs=40)
    try:
        model = method.fit(split.valid.history, FitOptions(seed, threads=1))
    except DivergenceError:
        return [{"gap": None, "ndcg": 0.0}]
    gap = [record["gap"] for record in model.log if "gap" in record and "closing_rounds" not in record][-1]
    return [{"gap": gap, "ndcg": evaluate(model, split.valid).means("ndcg@10")["sparse"]}]


def quadratics(data: MultiDomain, model: ALSModel) -> tuple[Float64, Float64]:
    """A and b of Eq. (1), (D, U, F, F) and (D, U, F)."""
    A, b = [], []
    penalty = FrequencyRidge(METHOD.alpha0, METHOD.reg, METHOD.frequency_exponent)
    for name, events in data.domains.items():
        item_IF = model.item_IF[name].astype(np.float64)
        has_UI = np.zeros((data.n_users, events.n_items))
        has_UI[events.user_idx, events.item_idx] = 1
        ridge_U = penalty.of(events.user_counts, events.catalogue).astype(np.float64)
        own_UFF = np.einsum("ui,if,ig->ufg", has_UI, item_IF, item_IF)
        ridge_UFF = ridge_U[:, None, None] * np.eye(METHOD.factors)
        A.append(METHOD.alpha0 * item_IF.T @ item_IF + own_UFF + ridge_UFF)
        b.append(has_UI @ item_IF)
    return np.stack(A), np.stack(b)


def optimum(A_DUFF: Float64, b_DUF: Float64) -> Float64:
    """x* of Eq. (1), (U, F)."""
    return np.linalg.solve(A_DUFF.sum(axis=0), b_DUF.sum(axis=0)[..., None])[..., 0]


def _objective(data: MultiDomain, model: ALSModel, x_UF: Float64, A_DUFF: Float64, b_DUF: Float64) -> float:
    """Σ_d F_d at x plus what does not depend on users: the number of events and the items' penalty."""
    by_users = np.einsum("uf,ufg,ug->", x_UF, A_DUFF.sum(axis=0), x_UF) - 2 * (x_UF * b_DUF.sum(axis=0)).sum()
    penalty = FrequencyRidge(METHOD.alpha0, METHOD.reg, METHOD.frequency_exponent)
    by_items = sum(
        float(penalty.of(events.item_counts, data.n_users) @ (model.item_IF[name] ** 2).sum(axis=1))
        for name, events in data.domains.items()
    )
    return float(by_users + by_items + data.n_events)

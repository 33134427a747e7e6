"""The models against slow float64 twins written from their objectives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from worlds import dense, far, twin_parts, twin_ridge, twin_step, uneven

from landbridge.core.rng import generator
from landbridge.data.dataset import MultiDomain
from landbridge.models.als import solver as als
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1, seed=3)


def first(label: str, items: int, factors: int) -> Any:
    return als.initial(generator(ONE.seed, "items", label), items, factors).astype(float)


def twin_ials(weight_UI: Any, y_IF: Any, method: IALS) -> tuple[Any, Any]:
    over_U, over_I = twin_ridge(weight_UI, method), twin_ridge(weight_UI.T, method)
    for _ in range(method.epochs):
        x_UF = twin_step(weight_UI, y_IF, method.alpha0, over_U)
        y_IF = twin_step(weight_UI.T, x_UF, method.alpha0, over_I)
    return twin_step(weight_UI, y_IF, method.alpha0, over_U), y_IF


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sharing", ["separate", "joined"])
def test_ials_equals_its_numpy_reference(sharing: str, weighted: bool, exponent: float) -> None:
    data = uneven(weighted=weighted)
    method = IALS(factors=6, sharing=sharing, alpha0=0.1, reg=0.2, frequency_exponent=exponent, epochs=4)
    fitted = method.fit(data, ONE)
    if sharing == "joined":
        table = np.concatenate([dense(table) for table in data.domains.values()], axis=1)
        x_UF, y_IF = twin_ials(table, first("all", table.shape[1], 6), method)
        parts = np.split(x_UF @ y_IF.T, [40, 65], axis=1)
    else:
        twins = [twin_ials(dense(t), first(name, t.n_items, 6), method) for name, t in data.domains.items()]
        parts = [x_UF @ y_IF.T for x_UF, y_IF in twins]
    for name, score_UI in zip(data.domain_names, parts, strict=True):
        assert far(fitted.user_UF[name] @ fitted.item_IF[name].T, score_UI) < 1e-4


def twin_cdimf(data: MultiDomain, m: CDIMF) -> tuple[Any, Any, Any]:
    """z, own rows x and items y after the epochs; in the textbook variant z is the optimum at these items."""
    names, exact = data.domain_names, m.admm.variant == "admm"
    weight = {name: dense(data[name]) for name in names}
    present = {name: weight[name].any(axis=1) for name in names}
    tied_U = np.sum([present[name] for name in names], axis=0) >= (
        2 if m.consensus.domains == "active" else 1
    )
    if m.consensus.domains == "all":
        present = {name: present[name] | tied_U for name in names}
    bound = {name: present[name] & tied_U for name in names}
    count_U = np.sum([bound[name] for name in names], axis=0)
    over_U = {name: twin_ridge(weight[name], m) for name in names}
    over_I = {name: twin_item_ridge(weight[name], present[name], m) for name in names}
    y = {name: first(name, data[name].n_items, m.factors) for name in names}
    if exact:  # items fitted to one Gaussian row per user, the same in all parties
        common_UF = 100 * als.initial(generator(ONE.seed, "users"), data.n_users, m.factors).astype(float)
        y = {n: twin_step(weight[n].T, common_UF * present[n][:, None], m.alpha0, over_I[n]) for n in names}
    x = {name: np.zeros((data.n_users, m.factors)) for name in names}
    t, z = {name: x[name].copy() for name in names}, x[names[0]].copy()
    for epoch in range(m.epochs):
        warm = exact and epoch < m.admm.rho_warmup
        rho = 0.0 if warm else m.admm.rho * m.admm.rho_growth ** max(0, epoch - m.admm.rho_warmup)
        if exact and epoch > m.admm.rho_warmup:
            t = {name: t[name] / m.admm.rho_growth for name in names}
        exchange = epoch % m.consensus.every == 0
        for _ in range(m.admm.inner_sweeps if exact and rho and exchange else 1):
            for name in names:
                scale_U = rho * np.ones(data.n_users)
                if not exact:
                    scale_U = rho * m.reg * (over_U[name] / m.reg) ** 0.5
                pull_UF = np.where(bound[name][:, None], scale_U[:, None] * (z - t[name]), 0)
                ridge_U = over_U[name] + (rho * bound[name] if exact else 0)
                x[name] = twin_step(weight[name], y[name], m.alpha0, ridge_U, pull_UF)
                x[name][~present[name]] = 0
            if exchange:
                total_UF = sum(np.where(bound[name][:, None], x[name] + t[name], 0) for name in names)
                divisor_U = count_U + (m.consensus.reg / rho if rho else 0)
                z = np.where(tied_U[:, None], total_UF / np.maximum(divisor_U, 1e-9)[:, None], 0)
                if not warm:
                    t = {n: t[n] + np.where(bound[n][:, None], x[n] - z, 0) for n in names}
        for name in names:
            rows_UF = np.where(bound[name][:, None], z, x[name]) if exact else x[name]
            y[name] = twin_step(weight[name].T, rows_UF, m.alpha0, over_I[name])
    if exact:
        z, x = optimum(weight, present, bound, tied_U, over_U, y, m)
    return z, x, y


def twin_item_ridge(weight_UI: Any, present_U: Any, m: CDIMF) -> Any:
    """A party that only hosts a user counts her among its users."""
    share_I = (weight_UI > 0).sum(axis=0) / present_U.sum()
    return m.reg * (share_I + m.alpha0) ** (2 * m.frequency_exponent)


def optimum(weight: Any, present: Any, bound: Any, tied_U: Any, over_U: Any, y: Any, m: CDIMF) -> Any:
    eye, total, right, own = np.eye(m.factors), 0.0, 0.0, {}
    for name in weight:
        system, toward = twin_parts(weight[name], y[name], m.alpha0)
        system = system + over_U[name][:, None, None] * eye
        own[name] = np.linalg.solve(system, toward[..., None])[..., 0]
        total = total + np.where(bound[name][:, None, None], system, 0)
        right = right + np.where(bound[name][:, None], toward, 0)
    total = total + np.where(tied_U[:, None, None], m.consensus.reg, 1.0) * eye
    return np.linalg.solve(total, right[..., None])[..., 0], own


ADMM = [
    {},
    {"consensus.domains": "active"},
    {"consensus.reg": 0.3},
    {"consensus.every": 2},
    {"admm.rho_growth": 1.5, "admm.rho_warmup": 2},
    {"admm.rho": 3.0, "admm.inner_sweeps": 2},
    {"admm.rho_warmup": 0},
]


@pytest.mark.parametrize("change", ADMM, ids=str)
def test_admm_equals_its_numpy_reference(change: dict[str, Any]) -> None:
    data = uneven(weighted=True)
    settings = {"factors": 5, "alpha0": 0.1, "reg": 0.3, "epochs": 4}
    settings |= {"admm.rho": 0.5, "admm.tolerance": 1e-6}
    method = CDIMF.from_settings({**settings, **change})
    fitted = method.fit(data, ONE)
    z_UF, own, y = twin_cdimf(data, method)
    tied_U = data.shared_U if method.consensus.domains == "active" else data.activity_UD.any(axis=1)
    assert tied_U.any()
    for column, name in enumerate(data.domain_names):
        assert far(fitted.item_IF[name], y[name]) < 1e-3
        assert far(fitted.user_UF[name][tied_U], z_UF[tied_U]) < 1e-3
        alone_U = ~tied_U & (data.activity_UD[:, column] > 0)
        if alone_U.any():
            assert far(fitted.user_UF[name][alone_U], own[name][alone_U]) < 1e-3


@pytest.mark.parametrize("change", [{}, {"consensus.domains": "active"}, {"consensus.every": 3}], ids=str)
def test_paper_code_equals_its_numpy_reference(change: dict[str, Any]) -> None:
    data = uneven()
    settings = {"factors": 5, "alpha0": 0.3, "reg": 0.3, "epochs": 4}
    settings |= {"admm.rho": 0.5, "admm.variant": "paper_code"}
    method = CDIMF.from_settings({**settings, **change})
    fitted = method.fit(data, ONE)
    _, own, y = twin_cdimf(data, method)
    for column, name in enumerate(data.domain_names):
        here_U = data.activity_UD[:, column] > 0
        assert far(fitted.user_UF[name][here_U], own[name][here_U]) < 1e-3
        assert far(fitted.item_IF[name], y[name]) < 1e-3

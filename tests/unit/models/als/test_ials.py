"""Implicit ALS: the objective's identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from worlds import dense, far, fit_error, twin_ridge, uneven

from landbridge.core.errors import SettingsError
from landbridge.core.threads import thread_limit
from landbridge.data.queries import Queries
from landbridge.data.synthetic import planted_transfer
from landbridge.models.als import solver as als
from landbridge.models.als.ials import IALS
from landbridge.training.options import FitOptions

ONE = FitOptions(threads=1)


@pytest.mark.parametrize(("target", "factor"), [(1 / 1.3, 1.0), (1.0, 1.3)])
def test_weights_one_plus_alpha_give_the_same_row_times_target(target: float, factor: float) -> None:
    """Confidence 1 + α₀ on events and α₀ elsewhere: equal at target 1 / (1 + α₀), at 1 larger by 1 + α₀."""
    table = uneven()["a"]
    seen_UI = dense(table)
    y_IF = als.initial(np.random.default_rng(0), table.n_items, 4) * 10
    ridge_U = np.full(table.n_users, 0.7, np.float32)
    fixed = als.basis(y_IF, 1)
    with thread_limit(1):
        x_UF = als.solve(table.by_user, fixed, 0.3, ridge_U) @ fixed.rotation_FF.T
    confidence_UI = 0.3 + seen_UI
    wide = y_IF.astype(float)
    for user in range(table.n_users):
        system_FF = (wide.T * confidence_UI[user]) @ wide + 0.7 * np.eye(4)
        row_F = np.linalg.solve(system_FF, wide.T @ (confidence_UI[user] * seen_UI[user] * target))
        np.testing.assert_allclose(row_F, factor * x_UF[user], atol=1e-5)


@pytest.mark.parametrize("sharing", ["separate", "joined"])
def test_no_sweep_increases_the_objective(sharing: str) -> None:
    data = uneven(weighted=True)
    table_UI = np.concatenate([dense(table) for table in data.domains.values()], axis=1)
    losses = []
    for epochs in range(1, 8):
        method = IALS(factors=5, sharing=sharing, alpha0=0.1, reg=0.1, epochs=epochs)
        fitted = method.fit(data, ONE)
        if sharing == "joined":
            y_IF = np.concatenate([fitted.item_IF[name] for name in data.domain_names])
            losses.append(objective(table_UI, fitted.user_UF["a"], y_IF, method))
        else:
            parts = [
                objective(dense(data[n]), fitted.user_UF[n], fitted.item_IF[n], method)
                for n in data.domain_names
            ]
            losses.append(sum(parts))
    assert np.all(np.diff(losses) <= 1e-6 * losses[0])
    assert losses[-1] < losses[0]


def objective(weight_UI: Any, x_UF: Any, y_IF: Any, method: IALS) -> float:
    over_U, over_I = twin_ridge(weight_UI, method), twin_ridge(weight_UI.T, method)
    return fit_error(weight_UI, x_UF, y_IF, method.alpha0) + float(
        over_U @ (x_UF.astype(float) ** 2).sum(axis=1) + over_I @ (y_IF.astype(float) ** 2).sum(axis=1)
    )


def test_a_domain_alone_is_the_same_model_separate_or_beside_others() -> None:
    data = uneven()
    both, alone = IALS(factors=5).fit(data, ONE), IALS(factors=5).fit(data.select(["b"]), ONE)
    assert np.array_equal(both.item_IF["b"], alone.item_IF["b"])
    assert np.array_equal(both.user_UF["b"], alone.user_UF["b"])


def test_weights_of_one_are_no_weights() -> None:
    plain = uneven()
    ones = plain.with_events(
        {
            name: type(t)(t.user_idx, t.item_idx, t.n_users, t.n_items, np.ones(len(t), np.float32))
            for name, t in plain.domains.items()
        }
    )
    one, other = (IALS(factors=5).fit(data, ONE) for data in (plain, ones))
    assert far(one.item_IF["a"], other.item_IF["a"]) < 1e-5


def test_sums_over_many_blocks_do_not_depend_on_threads() -> None:
    rows = als.initial(np.random.default_rng(0), 3 * als.BLOCK_ROWS + 7, 6)
    one, two = als.basis(rows, 1), als.basis(rows, 2)
    assert np.array_equal(one.spectrum_F, two.spectrum_F)
    assert np.array_equal(one.rotated_IF, two.rotated_IF)


def test_unknown_sharing_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="joined"):
        IALS(sharing="joint")


def test_auto_solver_ends_near_the_exact_model() -> None:
    """Long rows by conjugate gradients: three sweeps to the stated tolerance add up to little."""
    data = planted_transfer(users=400, items=100, groups=4).data
    exact = IALS(factors=48, epochs=3, sharing="joined").fit(data)
    auto = IALS(factors=48, epochs=3, sharing="joined", solver="auto").fit(data)
    queries = Queries.of_users(np.arange(data.n_users))
    name = data.domain_names[0]
    assert data[name].item_counts.max() > als.AUTO.steps_from
    assert not np.array_equal(auto.item_IF[name], exact.item_IF[name])
    right_UI = exact.score(name, queries)
    error = np.linalg.norm(auto.score(name, queries) - right_UI) / np.linalg.norm(right_UI)
    assert error < 20 * als.AUTO.tolerance


def test_unknown_solver_is_refused() -> None:
    with pytest.raises(SettingsError, match="did you mean 'auto'"):
        IALS(solver="autp")

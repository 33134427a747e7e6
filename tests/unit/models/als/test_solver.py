"""The ALS solver against a direct float64 solve of its equations, its identities and its objective."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landbridge.core.threads import thread_limit
from landbridge.core.types import Float32, Ragged
from landbridge.data.counts import RowLengths
from landbridge.data.interactions import Interactions
from landbridge.models.als import solver as als

ALPHA0 = 0.05
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 11, 12, 19, 20, 23, 24, 25, 31, 47, 48, 95, 96, 97, 130, 260)


def _rows(lengths: tuple[int, ...], n_columns: int, weighted: bool) -> Ragged:
    rng = np.random.default_rng(5)
    columns = np.concatenate(
        [np.sort(rng.choice(n_columns, n, replace=False)) for n in lengths] or [np.empty(0)]
    )
    weight = rng.uniform(0.2, 5, len(columns)).astype(np.float32) if weighted else None
    return Ragged(
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64), columns.astype(np.int32), weight
    )


def _factors(n_rows: int, n_factors: int, seed: int = 1) -> Float32:
    """Correlated columns, so that the Gramian is far from a multiple of the identity."""
    rng = np.random.default_rng(seed)
    mixing_FF = rng.normal(size=(n_factors, n_factors)) / np.sqrt(n_factors)
    return (0.3 * rng.normal(size=(n_rows, n_factors)) @ mixing_FF + 0.1).astype(np.float32)


def _direct(
    rows: Ragged, y_IF: Float32, ridge_R: Float32, pull_RF: Float32 | None
) -> npt.NDArray[np.float64]:
    """Every row by a dense float64 solve of the normal equations of Eq. (1), in the basis of ``y_IF``."""
    y_IF = y_IF.astype(np.float64)
    out_RF = np.zeros((len(ridge_R), y_IF.shape[1]))
    for row, ridge in enumerate(ridge_R.astype(np.float64)):
        part = slice(rows.offsets[row], rows.offsets[row + 1])
        y_NF = y_IF[rows.columns[part]]
        w_N = np.ones(len(y_NF)) if rows.weight is None else rows.weight[part].astype(np.float64)
        system_FF = ALPHA0 * y_IF.T @ y_IF + (y_NF.T * w_N) @ y_NF + ridge * np.eye(y_IF.shape[1])
        right_F = w_N @ y_NF + (0 if pull_RF is None else pull_RF[row])
        out_RF[row] = np.linalg.solve(system_FF, right_F)
    return out_RF


def _case(n_factors: int, weighted: bool, pulled: bool) -> tuple[Ragged, Float32, Float32, Float32 | None]:
    rows, y_IF = _rows(LENGTHS, 300, weighted), _factors(300, n_factors)
    rng = np.random.default_rng(9)
    ridge_R = rng.uniform(0.3, 2, len(LENGTHS)).astype(np.float32)
    pull_RF = rng.normal(size=(len(LENGTHS), n_factors)).astype(np.float32) if pulled else None
    return rows, y_IF, ridge_R, pull_RF


def _solved(
    rows: Ragged,
    y_IF: Float32,
    ridge_R: Float32,
    pull_RF: Float32 | None,
    solver: als.Solver = als.EXACT,
    start_RF: Float32 | None = None,
    threads: int = 1,
) -> Float32:
    """``als.solve`` with everything given and returned in the basis of ``y_IF``."""
    with thread_limit(threads):
        fixed = als.basis(y_IF, threads)
        pull_RF, start_RF = (None if a is None else a @ fixed.rotation_FF for a in (pull_RF, start_RF))
        x_RF = als.solve(rows, fixed, ALPHA0, ridge_R, pull_RF, als.SolveOptions(solver, start_RF))
        # inside the limit: BLAS of several threads cuts the rows at places that depend on the load
        return np.asarray(x_RF @ fixed.rotation_FF.T)


def _error(found_RF: Float32, wanted_RF: npt.NDArray[np.float64]) -> float:
    """The largest relative error of a row; a row that must be zero counts by its length."""
    length_R = np.linalg.norm(wanted_RF, axis=1)
    off_R = np.linalg.norm(found_RF - wanted_RF, axis=1)
    return float(np.max(off_R / np.where(length_R > 0, length_R, 1)))


@pytest.mark.parametrize("pulled", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_factors", [1, 6, 17, 64, 192])
def test_exact_equals_direct_float64_solve(n_factors: int, weighted: bool, pulled: bool) -> None:
    case = _case(n_factors, weighted, pulled)
    assert _error(_solved(*case), _direct(*case)) < 1e-5


@pytest.mark.parametrize("pulled", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_factors", [17, 64, 192])
def test_auto_equals_direct_solve_to_its_tolerance(n_factors: int, weighted: bool, pulled: bool) -> None:
    case = _case(n_factors, weighted, pulled)
    assert _error(_solved(*case, als.AUTO), _direct(*case)) < 20 * als.AUTO.tolerance


def test_steps_that_start_at_the_optimum_stay_there() -> None:
    case = _case(64, True, False)
    optimum_RF = _direct(*case).astype(np.float32)
    loose = als.Solver(steps_from=1, tolerance=0.5)
    assert _error(_solved(*case, loose, optimum_RF), _direct(*case)) < 1e-5
    assert _error(_solved(*case, loose), _direct(*case)) > 1e-3


def test_steps_that_do_not_converge_fall_back_to_cholesky() -> None:
    case = _case(64, True, True)
    never = als.Solver(steps_from=1, tolerance=0.0)
    np.testing.assert_array_equal(_solved(*case, never), _solved(*case))


def test_both_direct_forms_agree_at_their_border() -> None:
    """A row of F - 1 entries uses Eq. (3); an entry of vanishing weight more and it uses Eq. (4)."""
    y_IF, ridge = _factors(300, 64), np.ones(1, np.float32)
    below = _rows((63,), 300, True)
    assert below.weight is not None
    other = np.setdiff1d(np.arange(300), below.columns)[:1].astype(np.int32)
    above = Ragged(
        np.array([0, 64], np.int64),
        np.concatenate([below.columns, other]),
        np.concatenate([below.weight, np.float32([1e-9])]),
    )
    assert _error(_solved(above, y_IF, ridge, None), _solved(below, y_IF, ridge, None).astype(float)) < 1e-5


def test_a_row_without_events_is_zero_or_only_pulled() -> None:
    rows, y_IF = _rows((0, 0), 300, False), _factors(300, 6)
    ridge_R, pull_RF = np.float32([1, 2]), np.float32([[1] * 6, [2] * 6])
    np.testing.assert_array_equal(_solved(rows, y_IF, ridge_R, None), 0)
    assert _error(_solved(rows, y_IF, ridge_R, pull_RF), _direct(rows, y_IF, ridge_R, pull_RF)) < 1e-5


def test_no_rows() -> None:
    assert _solved(_rows((), 300, False), _factors(300, 6), np.empty(0, np.float32), None).shape == (0, 6)


@pytest.mark.parametrize("solver", [als.EXACT, als.AUTO])
def test_one_and_two_threads_give_the_same_bits(solver: als.Solver) -> None:
    lengths, y_IF = LENGTHS * 40, _factors(5000, 33)
    rows, ridge_R = _rows(lengths, 300, True), np.ones(len(lengths), np.float32)
    one, two = (_solved(rows, y_IF, ridge_R, None, solver, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_gramian_is_the_float64_product() -> None:
    y_IF = _factors(5000, 20)
    np.testing.assert_allclose(als.gramian(y_IF, 2), y_IF.T.astype(float) @ y_IF, rtol=1e-5, atol=1e-3)


def test_rotate_is_the_product() -> None:
    y_IF, turn_FF = _factors(5000, 20), _factors(20, 20)
    np.testing.assert_allclose(als.rotate(y_IF, turn_FF, 2), y_IF @ turn_FF, rtol=1e-4, atol=1e-5)


def test_basis_diagonalises_the_gramian_and_keeps_the_factors() -> None:
    y_IF = _factors(5000, 20)
    base = als.basis(y_IF, 2)
    np.testing.assert_allclose(base.rotation_FF.T @ base.rotation_FF, np.eye(20), atol=1e-5)
    scale = base.spectrum_F.max()
    np.testing.assert_allclose(
        als.gramian(base.rotated_IF, 1) / scale, np.diag(base.spectrum_F) / scale, atol=1e-5
    )
    np.testing.assert_allclose(base.rotated_IF @ base.rotation_FF.T, y_IF, atol=1e-4)


def test_ridge_by_hand() -> None:
    """λ (n/|V| + α₀)^(2ν) with n = 3 and 0, |V| = 4, α₀ = .25: 2·1^1 and 2·.25^1."""
    np.testing.assert_allclose(als.FrequencyRidge(0.25, 2.0, 0.5).of(np.array([3, 0]), 4), [2.0, 0.5])


def test_initial_scale() -> None:
    start_RF = als.initial(np.random.default_rng(0), 4000, 25)
    assert start_RF.dtype == np.float32
    assert float(start_RF.std()) == pytest.approx(0.1 / 5, rel=0.02)


def _objective(
    table: Interactions, x_UF: Float32, y_IF: Float32, ridge_U: Float32, ridge_I: Float32
) -> float:
    x_UF, y_IF = x_UF.astype(np.float64), y_IF.astype(np.float64)
    scores_UI = x_UF @ y_IF.T
    w_N = 1.0 if table.weight is None else table.weight
    fit = (w_N * (1 - scores_UI[table.user_idx, table.item_idx]) ** 2).sum() + ALPHA0 * (scores_UI**2).sum()
    return float(fit + ridge_U @ (x_UF**2).sum(axis=1) + ridge_I @ (y_IF**2).sum(axis=1))


@settings(max_examples=25)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 11)), min_size=1, max_size=60),
    n_factors=st.integers(1, 9),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_half_step_raises_the_objective(
    pairs: list[tuple[int, int]], n_factors: int, weighted: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    users_N, items_N = np.array(pairs).T
    weight_N = rng.uniform(0.5, 3, len(pairs)) if weighted else None
    table = Interactions.from_events(users_N, items_N, 8, 12, weight_N)
    ridge_U, ridge_I = (rng.uniform(0.05, 1, size).astype(np.float32) for size in (8, 12))
    x_UF, y_IF = _factors(8, n_factors, seed), _factors(12, n_factors, seed + 1)
    values = [_objective(table, x_UF, y_IF, ridge_U, ridge_I)]
    for _ in range(3):
        x_UF = _solved(table.by_user, y_IF, ridge_U, None)
        values.append(_objective(table, x_UF, y_IF, ridge_U, ridge_I))
        y_IF = _solved(table.by_item, x_UF, ridge_I, None)
        values.append(_objective(table, x_UF, y_IF, ridge_U, ridge_I))
    assert np.all(np.diff(values) <= 1e-5 * values[0])


@pytest.mark.parametrize(
    ("users", "items", "factors", "expected"),
    [
        ((9928, 18), (69_804, 3), 192, als.EXACT),  # many short rows: turning them costs more than it saves
        ((6040, 166), (3706, 270), 64, als.AUTO),
        ((6040, 166), (3706, 270), 16, als.AUTO),
        ((6040, 166), (3706, 270), 8, als.EXACT),  # a small system is solved at once
    ],
)
def test_conjugate_gradients_are_taken_where_they_save_work(
    users: tuple[int, int], items: tuple[int, int], factors: int, expected: als.Solver
) -> None:
    counts = [RowLengths.of(np.full(size, events)) for size, events in (users, items)]
    assert als.solver_named("auto", counts, factors) == expected
    assert als.solver_named("exact", counts, factors) == als.EXACT

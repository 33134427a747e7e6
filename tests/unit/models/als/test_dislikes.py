"""Disliked pairs as weak negatives of ALS: a slow twin, fold-in, explanation, and no effect by default."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import dense, own_events, uneven

import landbridge as lb
from landbridge.core.threads import thread_limit
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.data.seen import Seen
from landbridge.models.als import solver as als
from landbridge.models.als.consensus import ADMM
from landbridge.models.als.fitted import ALSModel

ONE = lb.FitOptions(threads=1)
SMALL: dict[str, Any] = {"factors": 4, "epochs": 2, "alpha0": 0.1, "reg": 0.1}
METHODS: dict[str, lb.IALS | lb.CDIMF] = {
    "separate": lb.IALS(**SMALL),
    "joined": lb.IALS(**SMALL, sharing="joined"),
    "cdimf": lb.CDIMF(**SMALL, admm=ADMM(tolerance=1e-7)),
}


def disliking(weighted: bool = True, users: int = 30) -> MultiDomain:
    """Random pairs without an event are disliked."""
    data, rng = uneven(users=users, weighted=weighted), np.random.default_rng(7)
    seen = {}
    for name, table in data.domains.items():
        marks_UI = (rng.random((table.n_users, table.n_items)) < 0.1) & (dense(table) == 0)
        pairs = Interactions.from_events(*np.nonzero(marks_UI), table.n_users, table.n_items)
        seen[name] = Seen(pairs, np.ones(len(pairs), bool))
    return replace(data, seen=seen)


def twin_rows(weight_UI: Any, marks_UI: Any, y_IF: Any, alpha0: float, ridge_U: Any, v: float) -> np.ndarray:
    """Each row by its normal equations in float64."""
    rows = []
    for weight_I, marks_I, ridge in zip(weight_UI, marks_UI, ridge_U, strict=True):
        system_FF = y_IF.T @ np.diag(alpha0 + weight_I + v * marks_I) @ y_IF + ridge * np.eye(y_IF.shape[1])
        rows.append(np.linalg.solve(system_FF, y_IF.T @ weight_I))
    return np.array(rows)


@pytest.mark.parametrize("factors", [3, 40])
@pytest.mark.parametrize("options", [als.DEFAULT_OPTIONS, als.SolveOptions(als.Solver(2, 1e-7))])
def test_rows_with_dislikes_are_those_of_the_normal_equations(
    factors: int, options: als.SolveOptions
) -> None:
    """Short rows by Eq. (3), long ones by Eq. (4), with Cholesky or conjugate gradients."""
    data = disliking()
    table, marks = data["a"], data.excluded("a", seen=True)
    y_IF = als.initial(np.random.default_rng(0), table.n_items, factors) * 10
    ridge_U = np.full(table.n_users, 0.7, np.float32)
    fixed = als.basis(y_IF, 1)
    rows = als.with_dislikes(table.by_user, marks.by_user, 0.4)
    with thread_limit(1):
        x_UF = als.solve(rows, fixed, 0.3, ridge_U, options=options) @ fixed.rotation_FF.T
    expected_UF = twin_rows(dense(table), dense(marks) > 0, y_IF.astype(float), 0.3, ridge_U, 0.4)
    np.testing.assert_allclose(x_UF, expected_UF, atol=2e-4)


@pytest.mark.parametrize("label", METHODS)
def test_without_a_weight_dislikes_change_nothing(label: str) -> None:
    data = disliking()
    one, other = (METHODS[label].fit(world, ONE) for world in (data, replace(data, seen={})))
    for name in data.domain_names:
        assert np.array_equal(one.item_IF[name], other.item_IF[name])
        assert np.array_equal(one.user_UF[name], other.user_UF[name])


@pytest.mark.parametrize("label", METHODS)
def test_a_weight_lowers_the_scores_of_disliked_items(label: str) -> None:
    data = disliking()
    mean = []
    for weight in (0.0, 5.0):
        fitted = replace(METHODS[label], dislike_weight=weight).fit(data, ONE)
        scores = [fitted.score(name, Queries.of_users(np.arange(data.n_users))) for name in data.domain_names]
        own = [data.excluded(name, seen=True) for name in data.domain_names]
        pairs = zip(scores, own, strict=True)
        mean.append(np.mean(np.concatenate([np.abs(s[t.user_idx, t.item_idx]) for s, t in pairs])))
    assert mean[1] < 0.8 * mean[0]


def folded(fitted: ALSModel, data: MultiDomain, name: str) -> np.ndarray:
    marks = {n: data.excluded(n, seen=True).by_user for n in data.domain_names}
    queries = Queries(np.full(data.n_users, -1, np.int32), own_events(data), None, marks)
    return fitted.score(name, queries)


@pytest.mark.parametrize("label", METHODS)
def test_a_known_user_folded_in_with_their_dislikes_gets_their_own_scores(label: str) -> None:
    data = disliking()
    fitted = replace(METHODS[label], dislike_weight=0.5).fit(data, ONE)
    for name in data.domain_names:
        known_U = data.activity_UD.any(axis=1)
        scores_UI = fitted.score(name, Queries.of_users(np.arange(data.n_users)))
        np.testing.assert_allclose(folded(fitted, data, name)[known_U], scores_UI[known_U], atol=2e-3)


def test_an_explanation_with_dislikes_sums_to_the_score_without_a_rest() -> None:
    data = disliking()
    fitted = replace(METHODS["joined"], dislike_weight=0.5).fit(data, ONE)
    item_N = np.arange(5, dtype=np.int32)
    user = int(np.flatnonzero(data.activity_UD[:, 0] > 0)[0])
    for explanation in fitted.explain("a", Queries.of_users([user]), item_N):
        assert abs(explanation.rest) < 1e-4
        assert any(len(part_N) for part_N in explanation.events.values())


def test_a_run_with_dislikes_is_read_as_it_was(tmp_path: Path) -> None:
    data = disliking()
    fitted = replace(METHODS["cdimf"], dislike_weight=0.5).fit(data, ONE)
    lb.save(fitted, tmp_path / "run")
    again = lb.load(tmp_path / "run")
    assert again.history.fingerprint == data.fingerprint
    assert isinstance(again, ALSModel)
    assert again.rule == fitted.rule
    assert np.array_equal(folded(again, again.history, "b"), folded(fitted, data, "b"))


def test_a_row_of_dislikes_alone_is_zero() -> None:
    y_IF = als.initial(np.random.default_rng(0), 9, 4)
    rows = als.with_dislikes(Ragged.empty(1), Ragged.from_rows([[1, 2, 5]]), 1.0)
    with thread_limit(1):
        assert not als.solve(rows, als.basis(y_IF, 1), 0.1, np.ones(1, np.float32)).any()

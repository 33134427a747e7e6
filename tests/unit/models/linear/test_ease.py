"""EASE against inverses in float64 that share no code with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import dense, explained, of_tables, uneven

from landbridge.core.errors import DataError, DivergenceError
from landbridge.core.types import Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.queries import Queries
from landbridge.models.linear.ease import EASE
from landbridge.models.linear.fitted import ItemItemModel
from landbridge.models.linear.matrix import DenseMatrix, SparseMatrix
from landbridge.models.linear.ridge import inverted, plan
from landbridge.training.options import FitOptions

REG, RATIO = 7.0, 4.0
GIB = 2**30


def joined_x(data: MultiDomain) -> tuple[np.ndarray, dict[str, slice]]:
    _, slices = data.joined()
    return np.concatenate([dense(events) for events in data.domains.values()], axis=1), slices


def ridges(slices: dict[str, slice], target: str, sharing: str) -> np.ndarray:
    """λ of every item as a source for ``target``; a separate model is the limit of an infinite ridge."""
    ratio = {"joined": 1.0, "cross": RATIO, "separate": 1e12}[sharing]
    return np.concatenate(
        [
            np.full(part.stop - part.start, REG * (1 if name == target else ratio))
            for name, part in slices.items()
        ]
    )


def by_inverse(
    data: MultiDomain, sharing: str, denoise: float = 0.0, limit: float = 0.0
) -> dict[str, np.ndarray]:
    """B of every target domain, (J, I), from the inverse of the whole system."""
    x_UJ, slices = joined_x(data)
    gram_JJ = x_UJ.T @ x_UJ
    result = {}
    for target, part in slices.items():
        ridge_J = ridges(slices, target, sharing) + denoise / (1 - denoise) * np.diag(gram_JJ)
        p_JJ = np.linalg.inv(gram_JJ + np.diag(ridge_J))
        b_JJ = -p_JJ * np.maximum(ridge_J, (1 - limit) / np.diag(p_JJ))
        np.fill_diagonal(b_JJ, 0)
        result[target] = b_JJ[:, part]
    return result


def matrix(fitted: ItemItemModel, target: str) -> np.ndarray:
    """The model's B of a target domain, (J, I), zero for pairs of domains that share nothing."""
    history = fitted.history
    blocks = []
    for source in history.domain_names:
        whole = fitted.matrices[source].get(target)
        n_sources, n_targets = history[source].n_items, history[target].n_items
        rows = [np.zeros(n_targets) if whole is None else whole.row(i) for i in range(n_sources)]
        blocks.append(np.array(rows).reshape(n_sources, n_targets))
    return np.concatenate(blocks)


@pytest.mark.parametrize("form", ["exact", "dual"])
@pytest.mark.parametrize("sharing", ["separate", "joined", "cross"])
@pytest.mark.parametrize(("denoise", "limit"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.3), (0.2, 0.3)])
def test_both_dense_forms_are_the_inverse(form: str, sharing: str, denoise: float, limit: float) -> None:
    data = uneven(weighted=True)
    method = EASE(sharing=sharing, reg=REG, cross_ratio=RATIO, form=form, denoise=denoise, max_diagonal=limit)
    fitted = method.fit(data)
    # the model divides weights by their mean
    mean = sum(e.weight.sum() for e in data.domains.values()) / data.n_events
    tables = {n: replace(e, weight=(e.weight / mean).astype(np.float32)) for n, e in data.domains.items()}
    for target, b_JI in by_inverse(data.with_events(tables), sharing, denoise, limit).items():
        np.testing.assert_allclose(matrix(fitted, target), b_JI, atol=1e-6)


def test_a_column_is_the_ridge_regression_of_the_item_on_all_others() -> None:
    data = uneven()
    x_UJ, slices = joined_x(data)
    fitted = EASE(reg=REG, cross_ratio=RATIO, form="exact").fit(data)
    for target, item in (("a", 3), ("b", 7), ("c", 11)):
        at = slices[target].start + item
        others = np.arange(x_UJ.shape[1]) != at
        system = x_UJ[:, others].T @ x_UJ[:, others] + np.diag(ridges(slices, target, "cross")[others])
        expected = np.linalg.solve(system, x_UJ[:, others].T @ x_UJ[:, at])
        np.testing.assert_allclose(matrix(fitted, target)[others, item], expected, atol=1e-6)


@pytest.mark.parametrize(("ratio", "sharing"), [(1.0, "joined"), (1e9, "separate")])
@pytest.mark.parametrize("form", ["exact", "dual", "local"])
def test_the_cross_ridge_leads_from_one_table_to_a_model_per_domain(
    ratio: float, sharing: str, form: str
) -> None:
    data = uneven({"a": (20, 55), "b": (15, 50)})
    cross, limit = (
        EASE(sharing=each, reg=REG, cross_ratio=ratio, form=form, neighbours=35).fit(data)
        for each in ("cross", sharing)
    )
    for target in data.domain_names:
        np.testing.assert_allclose(matrix(cross, target), matrix(limit, target), atol=1e-6)


def test_a_ratio_of_its_own_for_one_pair_of_domains() -> None:
    data = uneven()
    pair = EASE(reg=REG, cross_ratio=RATIO, pair_ratios={"a": {"b": 1e9}}, form="exact").fit(data)
    b_JI = matrix(pair, "b")
    assert np.abs(b_JI[:40]).max() < 1e-6  # a says nothing about b
    np.testing.assert_allclose(matrix(pair, "a"), by_inverse(data, "cross")["a"], atol=1e-6)


@pytest.mark.parametrize("neighbours", [1, 5, 12, 1000])
@pytest.mark.parametrize("limit", [0.0, 0.4])
@pytest.mark.parametrize("gram_bytes", [0, 1 << 28])
def test_the_local_form_regresses_on_the_strongest_neighbours(
    neighbours: int, limit: float, gram_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landbridge.models.linear.ridge.GRAM_BYTES", gram_bytes)
    data = uneven()
    x_UJ, slices = joined_x(data)
    gram_JJ = x_UJ.T @ x_UJ
    fitted = EASE(reg=REG, cross_ratio=RATIO, form="local", neighbours=neighbours, max_diagonal=limit).fit(
        data
    )
    for target, part in slices.items():
        ridge_J, b_JI = ridges(slices, target, "cross"), np.zeros((len(gram_JJ), part.stop - part.start))
        for j in range(part.start, part.stop):
            strength_J = gram_JJ[:, j] ** 2 / np.maximum(np.diag(gram_JJ), 1e-9)
            strength_J[j] = 0
            chosen = np.argsort(-strength_J, kind="stable")[:neighbours]
            chosen = chosen[strength_J[chosen] > 0]
            right = gram_JJ[chosen, j]
            b = np.linalg.solve(gram_JJ[np.ix_(chosen, chosen)] + np.diag(ridge_J[chosen]), right)
            own = 1 / (gram_JJ[j, j] + ridge_J[j] - right @ b)
            b_JI[chosen, j - part.start] = b * max(ridge_J[j] * own, 1 - limit)
        np.testing.assert_allclose(matrix(fitted, target), b_JI, atol=1e-6)


def test_duplicate_items_and_tiny_ridges_stay_finite() -> None:
    """Equal columns make the Gramian singular; the local form then falls back on its least ridge."""
    rows = np.repeat(np.arange(30), 4)
    data = of_tables({"a": Interactions.from_events(rows, np.tile(np.arange(4), 30), 30, 4)})
    for form in ("exact", "dual", "local"):
        fitted = EASE(reg=1e-6, form=form).fit(data)
        assert np.isfinite(fitted.score("a", Queries.of_users([0]))).all()


def test_scores_are_sums_over_events_and_new_users_need_no_fit() -> None:
    data = uneven(weighted=True)
    fitted = EASE(form="local").fit(data)
    known = Queries.of_users([4, 9])
    events = {name: rows.by_user.take([4, 9]) for name, rows in data.domains.items()}
    new = Queries(np.array([-1, -1], np.int32), events)
    for domain in data.domain_names:
        np.testing.assert_allclose(fitted.score(domain, known), fitted.score(domain, new), rtol=1e-6)


@pytest.mark.parametrize("form", ["exact", "local"])
@pytest.mark.parametrize("policy", ["blend", "popularity", "zero"])
def test_explanations_add_up_and_name_the_source_domain(form: str, policy: str) -> None:
    data = uneven({"a": (30, 50), "b": (20, 10)})
    fitted = EASE(form=form, cold_policy=policy, reg=REG).fit(data)
    for user in (0, 1, 2):
        query = Queries.of_users([user])
        part = explained(fitted, "b", query, 3)
        score = float(fitted.score("b", query)[0, 3])
        assert abs(part.rest) < 1e-5
        assert score == pytest.approx(
            part.popularity + part.rest + sum(e.sum() for e in part.events.values())
        )
        assert [len(part.events[name]) for name in "ab"] == [data[name].user_counts[user] for name in "ab"]


def test_a_catalogue_that_helps_wants_a_low_cross_ridge_and_one_that_harms_a_high_one() -> None:
    """The source repeats the target's taste, or is noise: the better ratio on held-out pairs says which."""
    rng = np.random.default_rng(0)
    users, items = 200, 30
    group_U, group_I = rng.integers(0, 3, users), np.arange(items) % 3
    likes_UI = (group_U[:, None] == group_I) & (rng.random((users, items)) < 0.5)
    few_UI = likes_UI & (rng.random((users, items)) < 0.15)
    noise_UI = rng.random((users, items)) < 0.5

    def hit_rate(source_UI: np.ndarray, ratio: float) -> float:
        tables = {
            name: Interactions.from_events(*np.nonzero(liked), users, items)
            for name, liked in (("source", source_UI), ("target", few_UI))
        }
        fitted = EASE(form="exact", reg=1.0, cross_ratio=ratio).fit(of_tables(tables))
        scores_UI = fitted.score("target", Queries.of_users(np.arange(users)))
        scores_UI[few_UI] = -np.inf
        best_U5 = np.argsort(-scores_UI, axis=1)[:, :5]
        return float((group_I[best_U5] == group_U[:, None]).mean())

    assert hit_rate(likes_UI, 1.0) > hit_rate(likes_UI, 1000.0) + 0.05
    assert hit_rate(noise_UI, 1000.0) > hit_rate(noise_UI, 1.0) + 0.05


def test_an_item_has_its_row_for_neighbours_in_any_domain() -> None:
    data = uneven()
    fitted = EASE(form="local").fit(data)
    assert np.array_equal(fitted.similar("a", 2, "b"), fitted.matrices["a"]["b"].row(2))
    apart = EASE(form="local", sharing="separate").fit(data)
    assert apart.similar("a", 2, "b").shape == (25,)
    assert not apart.shares_user_space("a", "b")


class TestMemory:
    def test_the_first_form_that_fits_is_taken(self) -> None:
        assert plan(10_000, 3000, "auto", GIB).form == "exact"
        assert plan(3000, 10_000, "auto", GIB).form == "dual"
        assert plan(30_000, 20_000, "auto", GIB).form == "local"

    def test_single_precision_before_a_sparse_form(self) -> None:
        assert plan(10**6, 10_000, "auto", 2.1 * GIB).itemsize == 8
        assert plan(10**6, 10_000, "auto", 1.2 * GIB).itemsize == 4

    def test_a_form_that_does_not_fit_is_one_sentence(self) -> None:
        with pytest.raises(DataError, match="form = local, or raise memory_gib"):
            EASE(form="exact", memory_gib=1e-6).fit(uneven())

    def test_the_log_says_which(self) -> None:
        (record,) = EASE(form="auto").fit(uneven()).log
        assert record["form"] == "exact"
        assert record["items"] == 125

    def test_single_precision_is_close(self) -> None:
        data = uneven()
        two = [EASE(form="exact", reg=REG, cross_ratio=RATIO, memory_gib=g).fit(data) for g in (1.0, 2.5e-4)]
        np.testing.assert_allclose(matrix(two[0], "a"), matrix(two[1], "a"), atol=1e-4)


def test_the_inverse_in_place() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(700, 700))
    square = a @ a.T + 5 * np.eye(700)
    np.testing.assert_allclose(inverted(square.copy()) @ square, np.eye(700), atol=1e-7)
    with pytest.raises(DivergenceError, match="singular"):
        inverted(-np.eye(3))


def test_forged_matrices_are_refused() -> None:
    fitted = EASE(form="local").fit(uneven())
    fitted.check_arrays()
    matrix_ab = fitted.matrices["a"]["b"]
    assert isinstance(matrix_ab, SparseMatrix)
    rows = matrix_ab.rows
    assert rows.weight is not None
    wrong = (
        Ragged(rows.offsets, rows.columns + 25, rows.weight),
        Ragged(rows.offsets[:-1], rows.columns, rows.weight),
        Ragged(rows.offsets, rows.columns, rows.weight * np.float32(np.nan)),
        Ragged(rows.offsets[::-1].copy(), rows.columns, rows.weight),
    )
    for forged in wrong:
        one = replace(matrix_ab, rows=forged)
        matrices = {**fitted.matrices, "a": {**fitted.matrices["a"], "b": one}}
        with pytest.raises(DataError, match="fit it again"):
            replace(fitted, matrices=matrices).check_arrays()


def test_threads_change_no_bit_of_the_local_form() -> None:
    data = uneven(users=300)
    one, two = (EASE(form="local").fit(data, FitOptions(threads=n)) for n in (1, 2))
    assert all(np.array_equal(matrix(one, name), matrix(two, name)) for name in data.domain_names)


def test_a_forged_dense_matrix_is_refused() -> None:
    """Compiled code would read beyond the end of rows that are too short."""
    fitted = EASE(form="exact").fit(uneven())
    fitted.check_arrays()
    whole = fitted.matrices["a"]["b"]
    assert isinstance(whole, DenseMatrix)
    for forged_JI in (whole.weight_JI[:, :-1], whole.weight_JI[:-1]):
        matrices = {**fitted.matrices, "a": {**fitted.matrices["a"], "b": DenseMatrix(forged_JI)}}
        with pytest.raises(DataError, match="fit it again"):
            replace(fitted, matrices=matrices).check_arrays()


def test_an_item_whose_events_count_for_nothing_is_no_neighbour() -> None:
    """Weights of 1e-30 beside usual ones: the inverse of their squares does not fit in float32."""
    data = uneven({"a": (12, 30)}, users=30, weighted=True)
    table = data["a"]
    faint_N = table.item_idx == 3
    weight_N = np.where(faint_N, np.float32(1e-30), table.weight)
    faint = EASE(form="local").fit(
        data.with_events({"a": replace(table, weight=weight_N)}), FitOptions(threads=1)
    )
    without = EASE(form="local").fit(data.with_events({"a": table.take(~faint_N)}), FitOptions(threads=1))
    assert np.isfinite(matrix(faint, "a")).all()
    np.testing.assert_array_equal(matrix(faint, "a")[3], 0)
    np.testing.assert_array_equal(matrix(without, "a")[3], 0)


@pytest.mark.parametrize(("items", "copied"), [([2, 3, 4], False), ([2, 4, 3], True), ([1, 3], True)])
def test_the_weights_of_consecutive_items_are_no_copy(items: list[int], copied: bool) -> None:
    rng = np.random.default_rng(3)
    weight_JI = rng.standard_normal((5, 4), np.float32)
    full = DenseMatrix(weight_JI)
    sparse = SparseMatrix(
        Ragged(np.arange(0, 21, 4), np.tile(np.arange(4, dtype=np.int32), 5), weight_JI.ravel()), 4
    )
    some = np.array(items, np.int32)
    for matrix, weights in ((full, full.weight_JI), (sparse, sparse.rows.weights)):
        part = matrix.rows_of(some)
        assert part.shape == (len(items), 4)
        for place, item in enumerate(items):
            np.testing.assert_array_equal(part.row(place), weight_JI[item])
        own = next(array for key, array in part.arrays().items() if key in ("dense", "weight"))
        assert np.shares_memory(own, weights) is not copied

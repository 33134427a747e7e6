from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import PermutationMethod, kstest, t, ttest_1samp, wilcoxon

from landbridge.core.errors import DataError, SettingsError
from landbridge.core.types import Record
from landbridge.evaluation.bootstrap import drawn_means, mean_interval
from landbridge.evaluation.evaluate import Evaluation, evaluate
from landbridge.evaluation.significance import (
    _difference,
    _wilcoxon,
    compare,
    compare_over_domains,
    effect_size,
    holm,
    power_note,
)

from .worlds import model


@pytest.fixture
def two(random_world) -> tuple[Evaluation, Evaluation]:  # type: ignore[no-untyped-def]
    holdout, scores = random_world
    better = {domain: table.copy() for domain, table in scores.items()}
    for domain, targets in holdout.targets.items():
        better[domain][targets.user_idx[::2], targets.item_idx[::2]] += 4
    judged = [evaluate(model(holdout.history, given), holdout) for given in (better, scores)]
    return replace(judged[0], name="better"), replace(judged[1], name="base")


def test_holm_by_hand() -> None:
    """Sorted .005 .01 .03 .04 times 4 3 2 1, never falling."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_the_difference_is_that_of_the_means(two) -> None:  # type: ignore[no-untyped-def]
    better, base = two
    rows = compare(better, base, "ndcg@10").rows
    for row in rows.iter_rows(named=True):
        mean_a, mean_b = better.means("ndcg@10")[row["domain"]], base.means("ndcg@10")[row["domain"]]
        assert row["difference"] == pytest.approx(mean_a - mean_b)
        assert row["gain_percent"] == pytest.approx(100 * (mean_a / mean_b - 1))
        assert 0 < row["low"] < row["difference"] < row["high"]
        assert row["p"] <= row["p_holm"] < 0.01


def test_swapping_mirrors_everything(two) -> None:  # type: ignore[no-untyped-def]
    one, other = compare(*two, by="activity").rows, compare(*two[::-1], by="activity").rows
    assert one["difference"].to_list() == (-other["difference"]).to_list()
    assert one["low"].to_list() == pytest.approx((-other["high"]).to_list())
    assert one["high"].to_list() == pytest.approx((-other["low"]).to_list())
    assert one["p"].to_list() == other["p"].to_list()
    assert one["a"].to_list() == other["b"].to_list()


def test_the_order_of_rows_does_not_matter(two) -> None:  # type: ignore[no-untyped-def]
    better, base = two
    mixed = replace(better, rows=better.rows.sample(fraction=1.0, shuffle=True, seed=1))
    assert compare(mixed, base).rows.equals(compare(better, base).rows)


def test_a_model_against_itself(two) -> None:  # type: ignore[no-untyped-def]
    rows = compare(two[0], two[0], by="popularity").rows
    for name, value in {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "p_holm": 1.0}.items():
        assert set(rows[name]) == {value}


def test_pairs_of_a_user_count_once_for_wilcoxon(two) -> None:  # type: ignore[no-untyped-def]
    """Sampled figures are means over pairs, yet the test is over users."""
    better, base = (replace(judged, protocol="1+99") for judged in two)
    rows = compare(better, base, "mrr@10").rows
    for domain in ("books", "films"):
        per_user = []
        for judged in (better, base):
            found = judged.rows.filter(pl.col("domain") == domain).with_columns(
                pl.Series("value", _mrr(judged.rows.filter(pl.col("domain") == domain)))
            )
            per_user.append(found.group_by("user", maintain_order=True).agg(pl.col("value").mean())["value"])
        difference = np.round((per_user[0] - per_user[1]).to_numpy(), 12)
        row = rows.row(by_predicate=pl.col("domain") == domain, named=True)
        assert row["users"] == len(difference) == 40
        assert row["wilcoxon_p"] == pytest.approx(wilcoxon(difference[difference != 0]).pvalue)


def _mrr(rows: pl.DataFrame) -> list[float]:
    """Expected reciprocal rank within ten, term by term."""
    return [
        sum(1 / p for p in range(above + 1, min(above + ties + 1, 10) + 1)) / (ties + 1)
        for above, ties in rows.select("above", "ties").rows()
    ]


def test_other_pairs_are_refused(two) -> None:  # type: ignore[no-untyped-def]
    better, base = two
    for other in (
        replace(base, rows=base.rows[1:]),
        replace(base, protocol="1+99"),
        replace(base, rows=base.rows.with_columns(pl.col("candidates") + 1)),
    ):
        with pytest.raises(
            DataError, match="'better' and 'base' were not evaluated on the same held-out pairs"
        ):
            compare(better, other)


def test_a_baseline_of_nothing_has_no_relative_gain(two) -> None:  # type: ignore[no-untyped-def]
    hopeless = replace(two[1], rows=two[1].rows.with_columns(above=pl.lit(1000, pl.Int64)))
    comparison = compare(two[0], hopeless)
    assert comparison.rows["gain_percent"].is_null().all()
    assert "books" in str(comparison)


def test_it_can_be_read(two) -> None:  # type: ignore[no-untyped-def]
    lines = str(compare(*two)).splitlines()
    assert lines[0] == "ndcg@10: better against base"
    header = "domain segment users better base difference [95 %] gain p (Holm)"
    assert " ".join(lines[1].split()) == header
    assert lines[2].startswith("books   all         40")
    sampled = str(compare(*(replace(judged, protocol="1+99") for judged in two)))
    assert sampled.startswith("ndcg@10, sampled 1+99: better against base")


def test_the_table_names_what_was_compared(two) -> None:  # type: ignore[no-untyped-def]
    table = compare(*two, metric="hr@5", by="duplicate").table()
    assert (
        table.row(0, named=True).items() >= {"model": "better", "baseline": "base", "metric": "hr@5"}.items()
    )


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """300 samples of 200 users from a known mean: 95 % of the intervals hold it, within 4 standard errors."""
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(300):
        value = (rng.random(200) < 0.3).astype(float)
        low, high = mean_interval(value, np.ones(200), 400, rng)
        held += low <= 0.3 <= high
    assert held / 300 == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 300))


def test_the_interval_is_as_wide_as_theory_says_for_clustered_pairs() -> None:
    """A user's pairs are drawn together: five equal pairs per user must not count as five users."""
    rng = np.random.default_rng(2)
    value = rng.normal(size=2000)
    low, high = mean_interval(5 * value, np.full(2000, 5), 2000, rng)
    assert high - low == pytest.approx(2 * 1.96 * value.std() / np.sqrt(2000), rel=0.06)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 9, 13, 14, 30])
def test_the_p_value_is_scipys(n: int, ties: bool) -> None:
    rng = np.random.default_rng(n)
    difference = rng.choice([-0.3, -0.1, 0.1, 0.2, 0.3], n) if ties else rng.normal(0.4, 1, n)
    # what "auto" does under ties differs between versions of SciPy; all signs of 13 can be gone through
    method = PermutationMethod(n_resamples=2**n) if ties and 1 < n <= 13 else "auto"
    expected = wilcoxon(difference, method=method).pvalue
    assert _wilcoxon(np.append(difference, 0.0)) == pytest.approx(expected)


def test_an_effect_is_the_t_statistic_over_the_root_of_the_users() -> None:
    difference = np.random.default_rng(4).normal(0.2, 1, 50)
    assert effect_size(difference) == pytest.approx(ttest_1samp(difference, 0).statistic / np.sqrt(50))


def test_effects_without_a_spread() -> None:
    assert effect_size(np.zeros(5)) == 0
    assert effect_size(np.full(5, 0.1)) is None
    assert effect_size(np.array([0.1])) is None


def test_the_detectable_difference_is_found_in_four_cases_of_five() -> None:
    rng = np.random.default_rng(6)
    smallest = between(rng.normal(0, 2, 10_000))["detectable"] * 10  # as of 100 users
    means = rng.normal(smallest, 2, (4000, 100)).mean(axis=1)
    assert np.mean(np.abs(means) > 1.96 * 2 / np.sqrt(100)) == pytest.approx(0.8, abs=0.03)


def between(difference: np.ndarray, level: float = 1.0, margin: float | None = None) -> Record:
    """The record of users' values ``level`` + difference against ``level``, (U,) or (S, U)."""
    difference = np.atleast_2d(difference)
    base = np.full(difference.shape, level)
    sums = np.stack([base + difference, base, np.ones_like(base)])[:, None]
    return _difference(sums, margin, 1000, np.random.default_rng(5))


@pytest.mark.parametrize("test", ["p", "wilcoxon_p"])
def test_p_is_uniform_where_nothing_differs(test: str) -> None:
    """200 null worlds of 60 users with a symmetric difference."""
    rng = np.random.default_rng(21)
    found = [between(rng.normal(0, 1, 60))[test] for _ in range(200)]
    assert kstest(found, "uniform").pvalue > 0.05


def test_a_planted_effect_is_found_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(22)
    records = [between(rng.normal(0.5, 1, 60)) for _ in range(100)]
    assert np.mean([record["p"] < 0.05 for record in records]) > 0.9  # 97 % in theory
    assert np.mean([record["low"] <= 0.5 <= record["high"] for record in records]) >= 0.9


def test_another_seed_is_part_of_what_may_differ() -> None:
    """Each of eight seeds shifts all users alike. Intervals over users alone would hold 0 in a tenth of the
    worlds: many users say nothing about another seed."""
    rng, held = np.random.default_rng(23), 0
    for _ in range(100):
        shift_S1 = rng.normal(0, 1, (8, 1))
        record = between(shift_S1 + rng.normal(0, 0.1, (8, 200)))
        held += record["low"] <= 0 <= record["high"]
    assert held >= 85


@given(
    st.lists(st.floats(-1, 1).map(lambda value: round(value, 2)), min_size=1, max_size=40),
    st.floats(-0.2, 0.2),
)
def test_no_p_contradicts_its_interval(values: list[float], shift: float) -> None:
    record = between(np.array(values) + shift)
    assert (record["low"] > 0 or record["high"] < 0) == (record["p"] < 0.05)


def test_p_beyond_all_draws_is_that_of_a_normal_tail() -> None:
    """Else 2,000 draws and sixty rows would leave nothing significant after Holm's correction."""
    value = np.random.default_rng(26).normal(0.6, 1, 400)
    record = between(value)
    by_theory = ttest_1samp(value, 0).pvalue
    assert np.log10(record["p"]) == pytest.approx(np.log10(by_theory), rel=0.15)


@pytest.mark.parametrize("users", [1, 2, 5])
def test_a_few_users_cannot_show_a_difference(users: int) -> None:
    record = between(np.full(users, 0.3))
    assert record["p"] >= 2.0 ** (1 - users)
    assert record["low"] <= 0


def test_the_drawn_means_have_the_standard_error_of_the_mean() -> None:
    """s / sqrt(U), times Student's quantile over the normal one; with seeds, s of the seeds' means."""
    value = np.random.default_rng(24).normal(size=12)
    widening = t.ppf(0.975, 11) / 1.959964
    drawn = drawn_means(value, np.ones(12), 20_000, np.random.default_rng(1))
    assert drawn.std() == pytest.approx(widening * value.std(ddof=1) / np.sqrt(12), rel=0.02)
    seeds = np.repeat(value[None, :4].T, 12, axis=1)  # 4 seeds, users alike
    drawn = drawn_means(seeds[None], np.ones((1, 4, 12)), 20_000, np.random.default_rng(2))
    assert drawn.std() == pytest.approx(widening * value[:4].std(ddof=1) / 2, rel=0.03)


def test_kept_within_a_margin_is_shown_only_where_it_is_sure() -> None:
    rng = np.random.default_rng(25)
    noise = rng.normal(0, 0.2, 400)
    noise -= noise.mean()
    assert between(noise, margin=0.05)["p_kept"] < 0.01  # standard error .01
    assert between(noise, margin=0.005)["p_kept"] > 0.05  # too near to tell
    assert between(noise - 0.1, margin=0.05)["p_kept"] > 0.9


def test_a_margin_adds_its_columns_and_must_be_a_share(two) -> None:  # type: ignore[no-untyped-def]
    rows = compare(*two, margin=0.01).rows
    assert rows["kept"].all()
    assert (rows["p_kept"] < 0.05).all()
    assert not compare(two[1], two[0], margin=0.01).rows["kept"].any()
    with pytest.raises(SettingsError, match="margin must be above 0 and below 1, not 1"):
        compare(*two, margin=1.0)


def test_the_mean_over_domains_draws_users_with_all_their_pairs(two) -> None:  # type: ignore[no-untyped-def]
    per_domain, whole = compare(*two).rows, compare_over_domains(*two)
    assert whole["difference"] == pytest.approx(per_domain["difference"].mean())
    assert whole["a"] == pytest.approx(np.mean(list(two[0].means("ndcg@10").values())))
    assert 0 < whole["low"] < whole["difference"] < whole["high"]


def test_only_small_segments_have_a_note() -> None:
    assert power_note(200, 0.01) == ""
    assert power_note(199, 0.0123) == "few users: differences below 0.012 go unseen"
    assert power_note(3, 0.0) == power_note(1, None) == "few users"


def test_comparisons_have_effects_and_what_is_detectable(two) -> None:  # type: ignore[no-untyped-def]
    rows = compare(*two).rows
    assert (rows["effect_size"] > 0).all()
    assert (rows["detectable"] > 0).all()

"""Gains in a planted world, cells that are kept, and how well a prediction held."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from landbridge.core.errors import DataError, SettingsError
from landbridge.data.dataset import MultiDomain
from landbridge.data.splitting.holdout import Holdout, Split, Targets
from landbridge.data.synthetic import planted_transfer
from landbridge.evaluation.evaluate import evaluate
from landbridge.evaluation.significance import compare, holm
from landbridge.models.als.cdimf import CDIMF
from landbridge.models.als.ials import IALS
from landbridge.models.base import Fitted, Method
from landbridge.models.popularity import Popularity
from landbridge.studies.transfer.compatibility import Transferability, transferability
from landbridge.studies.transfer.matrix import TransferMatrix, prediction_quality, transfer_matrix
from landbridge.training.options import FitOptions

SMALL = IALS(factors=8, epochs=4, sharing="joined")


@dataclass(frozen=True)
class Counted(Method):
    """Popularity that writes down what it is fitted on, and is killed at a given fit."""

    name: ClassVar[str] = "counted"
    fits: ClassVar[list[tuple[str, ...]]] = []
    killed_at: ClassVar[int] = -1

    def fit(self, train: MultiDomain, options: FitOptions | None = None) -> Fitted:
        if len(self.fits) == Counted.killed_at:
            raise KeyboardInterrupt
        self.fits.append(train.domain_names)
        return replace(Popularity().fit(train, options), method=self)


@pytest.fixture
def counted() -> Counted:
    Counted.fits, Counted.killed_at = [], -1
    return Counted()


@pytest.fixture(scope="module")
def split() -> Split:
    return planted_transfer().split


@pytest.fixture(scope="module")
def measured(split: Split) -> TransferMatrix:
    return transfer_matrix(SMALL, split)


def cell(rows: pl.DataFrame, source: str, target: str) -> dict[str, Any]:
    return rows.row(by_predicate=(pl.col("source") == source) & (pl.col("target") == target), named=True)


@pytest.mark.parametrize("method", [SMALL, CDIMF(factors=8, epochs=4)], ids=["joined", "cdimf"])
def test_the_sparse_domain_gains_from_a_dense_one(split: Split, method: Method) -> None:
    rows = transfer_matrix(method, split).rows
    assert rows.select("source", "target").rows() == list(permutations(split.train.domain_names, 2))
    for source in ("dense_0", "dense_1"):
        gain = cell(rows, source, "sparse")
        assert gain["low"] > 0
        assert gain["p_holm"] < 0.001
        assert gain["users"] == 100
    assert not (rows.filter(pl.col("target") != "sparse")["p_holm"] < 0.05).any()


def test_a_cell_is_the_comparison_of_two_fits(split: Split, measured: TransferMatrix) -> None:
    holdout = split.valid.select(["dense_0", "sparse"])
    both = evaluate(
        SMALL.fit(holdout.history), Holdout(holdout.history, {"sparse": holdout.targets["sparse"]})
    )
    alone = split.valid.select(["sparse"])
    verdict = compare(both, evaluate(SMALL.fit(alone.history), alone)).rows.row(0, named=True)
    found = cell(measured.rows, "dense_0", "sparse")
    for name, other in {"joint": "a", "alone": "b"}.items():
        assert found[name] == pytest.approx(verdict[other])
    for name in ("difference", "low", "high", "gain_percent", "p"):
        assert found[name] == pytest.approx(verdict[name])
    assert measured.rows["p_holm"].to_list() == holm(measured.rows["p"].to_numpy()).tolist()


def test_each_pair_is_fitted_once_and_on_what_is_known(split: Split, counted: Counted) -> None:
    transfer = transfer_matrix(counted, split)
    names = split.train.domain_names
    assert sorted(Counted.fits, key=len) == [
        *((name,) for name in names),
        *((names[i], names[j]) for i, j in ((0, 1), (0, 2), (1, 2))),
    ]
    assert (transfer.rows["difference"] == 0).all()  # popularity does not look elsewhere


def test_test_data_are_evaluated_only_on_request(split: Split, counted: Counted) -> None:
    asked = transfer_matrix(counted, split, on="test").rows
    judge = evaluate(Popularity().fit(split.test.history), split.test).means("ndcg@10")
    assert dict(asked.select("target", "alone").unique().rows()) == pytest.approx(judge)
    with pytest.raises(SettingsError, match="Unknown part of a split 'tset': did you mean 'test'"):
        transfer_matrix(counted, split, on="tset")


def test_killed_and_resumed_is_as_if_nothing_had_happened(
    split: Split, counted: Counted, tmp_path: Path
) -> None:
    whole = transfer_matrix(counted, split)
    Counted.fits, Counted.killed_at = [], 4
    with pytest.raises(KeyboardInterrupt):
        transfer_matrix(counted, split, work_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == len(Counted.fits) == 4
    Counted.killed_at = -1
    resumed = transfer_matrix(counted, split, work_dir=tmp_path)
    assert len(Counted.fits) == 6
    assert resumed.rows.equals(whole.rows)
    transfer_matrix(counted, split, metric="hr@10", work_dir=tmp_path)
    assert len(Counted.fits) == 6


@pytest.mark.parametrize("change", ["seed", "part", "settings"])
def test_cells_of_something_else_are_not_taken(split: Split, tmp_path: Path, change: str) -> None:
    method: Any = IALS(factors=2, epochs=1, sharing="joined")
    transfer_matrix(method, split, work_dir=tmp_path)
    if change == "settings":
        method = replace(method, reg=0.1)
    options = FitOptions(seed=1 if change == "seed" else 0)
    transfer_matrix(method, split, options, on="test" if change == "part" else "valid", work_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 12


def test_a_domain_without_held_out_pairs_is_no_target(split: Split, counted: Counted) -> None:
    none = Targets(np.empty(0, np.int32), np.empty(0, np.int32))
    valid = Holdout(split.train, {**split.valid.targets, "sparse": none})
    rows = transfer_matrix(counted, Split(valid, split.test)).rows
    assert set(rows["target"]) == {"dense_0", "dense_1"}
    assert set(rows["source"]) == {"dense_0", "dense_1", "sparse"}


def test_one_domain_is_refused(split: Split, counted: Counted) -> None:
    one = Split(split.valid.select(["sparse"]), split.test.select(["sparse"]))
    with pytest.raises(DataError, match="there is only 'sparse'"):
        transfer_matrix(counted, one)
    with pytest.raises(SettingsError):
        transfer_matrix(counted, split, metric="ndgc@10")
    assert Counted.fits == []


def test_a_selected_holdout_keeps_its_pairs(split: Split) -> None:
    part = split.valid.select(["sparse", "dense_0"])
    assert part.history.domain_names == tuple(part.targets) == ("sparse", "dense_0")
    assert part.targets["sparse"] is split.valid.targets["sparse"]
    assert part.history.n_users == split.train.n_users


def test_the_table_for_the_report(split: Split, measured: TransferMatrix) -> None:
    prediction = transferability(split.train)
    table = measured.table("planted", prediction)
    assert table.columns == ["data", "source", "target", "gain", "low", "high", "predicted"]
    assert len(table) == 6
    found, raw = cell(table, "dense_1", "sparse"), cell(measured.rows, "dense_1", "sparse")
    assert found["gain"] == pytest.approx(100 * (raw["joint"] / raw["alone"] - 1))
    assert found["low"] == pytest.approx(100 * raw["low"] / raw["alone"])
    assert found["low"] < found["gain"] < found["high"]
    assert found["predicted"] == cell(prediction.rows, "dense_1", "sparse")["predicted"]


# how well a prediction held


def figures(names: list[str], expected_DD: Any, gain_DD: Any) -> tuple[Transferability, TransferMatrix]:
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names)) if i != j]
    rows = pl.DataFrame({"source": [names[i] for i, _ in pairs], "target": [names[j] for _, j in pairs]})
    prediction = rows.with_columns(predicted=pl.Series([float(expected_DD[p]) for p in pairs]))
    gains = rows.with_columns(gain_percent=pl.Series([float(gain_DD[p]) for p in pairs]).fill_nan(None))
    return Transferability(prediction), TransferMatrix(gains, "m", "ndcg@10", "full")


def test_the_p_value_counts_every_exchange_of_domains() -> None:
    rng = np.random.default_rng(7)
    expected, gain = rng.normal(size=(2, 4, 4))
    gain += expected
    off = ~np.eye(4, dtype=bool)
    found = prediction_quality(*figures(list("abcd"), expected, gain))
    assert found.correlation == pytest.approx(spearmanr(expected[off], gain[off]).statistic)
    chance = [
        spearmanr(expected[np.ix_(order, order)][off], gain[off]).statistic
        for order in permutations(range(4))
    ]
    assert found.p == pytest.approx(np.mean(np.array(chance) >= found.correlation - 1e-12))


def test_a_perfect_prediction_of_ten_domains() -> None:
    gain = np.random.default_rng(0).normal(size=(10, 10))
    prediction, transfer = figures(list("abcdefghij"), 3 * gain, gain)
    found = prediction_quality(prediction, transfer)
    assert (found.correlation, found.pairs, found.domains) == (pytest.approx(1), 90, 10)
    assert found.p == 1 / 2000
    assert str(found).endswith("more than chance would give (p = 0.0005, domains exchanged).")
    reverse = prediction_quality(figures(list("abcdefghij"), -gain, gain)[0], transfer)
    assert reverse.p > 0.99
    assert "no more than chance" in str(reverse)


def test_the_p_value_is_honest_where_a_domain_colours_its_whole_column() -> None:
    """Targets of different difficulty, predictions of nothing: pairs are not independent, p must be."""
    rng, below = np.random.default_rng(5), 0
    for _ in range(300):
        gain, expected = (rng.normal(size=(4, 4)) + 3 * rng.normal(size=4) for _ in range(2))
        below += prediction_quality(*figures(list("abcd"), expected, gain)).p <= 0.25
    assert below / 300 == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 300))


def test_two_domains_prove_nothing() -> None:
    gain = np.array([[0, 1.0], [2.0, 0]])
    found = prediction_quality(*figures(["a", "b"], gain, gain))
    assert found.p == 0.5
    assert str(found).endswith("2 ordered pairs of 2 domains; so few domains cannot tell this from chance.")


def test_pairs_without_a_gain_are_left_out_and_other_domains_refused() -> None:
    gain = np.random.default_rng(0).normal(size=(4, 4))
    gain[0, 1] = np.nan
    prediction, transfer = figures(list("abcd"), np.nan_to_num(gain), gain)
    assert prediction_quality(prediction, transfer).pairs == 11
    with pytest.raises(DataError, match="Unknown domain 'e'"):
        prediction_quality(prediction, figures(list("abce"), gain, gain)[1])

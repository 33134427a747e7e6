"""A benchmark's folder is read as it is, unfinished ones too, and damage is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from landbridge.core.errors import StoreError
from landbridge.core.files import write_json
from landbridge.reports.runs import Runs, read
from landbridge.reports.values import tidy_table

from . import world


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def cell_file(folder: Path, name: str) -> Path:
    return sorted(folder.glob(f"cells/shops/cdimf-0*/1/{name}"))[0]


def test_it_knows_methods_data_and_what_is_missing(runs: Runs) -> None:
    assert runs.labels == world.LABELLED
    assert runs.names == list(world.DOMAINS)
    assert (runs.reference, runs.metric) == ("separate ALS", "ndcg@10")
    assert runs.missing == (("shops", "CDIMF", 3),)
    assert [runs.protocol(name) for name in runs.names] == ["full", "1+999"]


def test_a_cell_that_is_finished_but_not_yet_in_the_tables_counts_as_missing(copy: Path) -> None:
    costs = pl.read_csv(copy / "costs.csv")
    costs.filter(~((pl.col("label") == "popularity") & (pl.col("seed") == 2))).write_csv(copy / "costs.csv")
    assert ("shops", "popularity", 2) in read(copy).missing


def test_tables_are_in_the_order_of_the_specification_not_of_the_file(copy: Path, runs: Runs) -> None:
    for name in ("results", "comparisons"):
        table = pl.read_csv(copy / f"{name}.csv", schema_overrides={"segment": pl.String})
        table.sample(fraction=1, shuffle=True, seed=1).write_csv(copy / f"{name}.csv")
    shuffled = read(copy)
    assert shuffled.results.equals(runs.results)
    assert shuffled.comparisons.equals(runs.comparisons)
    activity = runs.results.filter(by="activity")["segment"].unique(maintain_order=True).to_list()
    assert activity == ["0", "1-2", "3-5", "6-10", "11-30", "31+"]
    first = runs.results.filter(data="shops", by="domain")
    assert first["domain"].unique(maintain_order=True).to_list() == world.DOMAINS["shops"]
    assert first["protocol"].unique(maintain_order=True).to_list() == ["full", "1+999"]


def test_values_join_each_mean_with_its_own_comparison(runs: Runs) -> None:
    tidy = tidy_table(runs)
    assert len(tidy) == len(runs.results)
    compared = tidy.filter(pl.col("difference").is_not_null())
    assert len(compared) == len(runs.comparisons)
    assert set(tidy.filter(pl.col("difference").is_null())["label"]) == {"separate ALS"}
    keys = ["data", "label", "by", "domain", "segment", "metric", "protocol"]
    base = tidy.filter(label="separate ALS").drop("label").select(*keys[:1], *keys[2:], base="mean")
    told = compared.join(base, on=[key for key in keys if key != "label"])
    assert told.select((pl.col("mean") - pl.col("base") - pl.col("difference")).abs().max()).item() < 1e-12


def test_a_verdict_needs_both_the_test_and_the_interval(runs: Runs) -> None:
    tidy = tidy_table(runs)
    for row in tidy.filter(pl.col("p_holm").is_not_null()).iter_rows(named=True):
        sure = row["p_holm"] < 0.05 and not row["difference_low"] <= 0 <= row["difference_high"]
        direction = "better" if row["difference"] > 0 else "worse"
        assert row["verdict"] == (direction if sure else "")
    assert {"better", "worse", ""} == set(tidy["verdict"])


def test_all_numbers_of_a_log_are_kept_under_any_name(runs: Runs) -> None:
    told = runs.series.filter(data="shops", label="CDIMF", seed=1)
    figures = {"valid", "gap", "shift", "rho", "temperature", "closing_rounds", "taste_by_activity"}
    assert set(told["quantity"]) == figures
    temperature = told.filter(quantity="temperature")
    assert temperature["part"].unique(maintain_order=True).to_list() == ["0", "1-2", "31+"]
    assert temperature.filter(epoch=3, part="1-2")["value"].to_list() == [0.25 - 0.008 * 3]
    once = told.filter(pl.col("epoch").is_null())
    assert once["quantity"].unique(maintain_order=True).to_list() == [
        "closing_rounds",
        "gap",
        "taste_by_activity",
    ]
    assert once["part"].to_list()[2:5] == ["1, mean", "1, sd", "1, users"]
    assert runs.series.filter(label="CDIMF, guarded").is_empty()


def test_decisions_are_one_row_per_member(runs: Runs) -> None:
    told = runs.decisions.filter(data="shops")
    sums = told.group_by("seed", "domain", "group").agg(pl.col("weight").sum())["weight"]
    assert len(sums) == 3 * 6 * 6
    assert sums.round(5).unique().to_list() == [1.0]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no folder of a benchmark: it has no spec\.toml"):
        read(tmp_path)


def test_no_cell_finished(copy: Path) -> None:
    shutil.rmtree(copy / "cells")
    with pytest.raises(StoreError, match=r"No cell .* is finished yet"):
        read(copy)


def test_without_the_reference_there_are_results_and_no_comparisons(copy: Path) -> None:
    header = (copy / "comparisons.csv").read_text().splitlines()[0]
    (copy / "comparisons.csv").write_text(header + "\n")
    found = read(copy)
    assert found.comparisons.is_empty()
    assert set(tidy_table(found)["verdict"]) == {""}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("results.csv", None, r"results\.csv is missing; run the benchmark again"),
        ("results.csv", "data,label\na,b\n", r"results\.csv lacks the column by, domain"),
        ("costs.csv", "data,label,seed,fit_seconds,evaluate_seconds,peak_mib\na,b,x,1,1,1\n", "is damaged"),
        ("environment.json", "{", r"environment\.json is damaged .*delete it"),
        ("spec.toml", "seeds = [", r"spec\.toml is damaged"),
        ("spec.toml", "seeds = [1]", "no resolved specification: data, methods, metrics missing"),
    ],
)
def test_damage_is_named(copy: Path, name: str, content: str | None, said: str) -> None:
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_text(content)
    with pytest.raises(StoreError, match=said):
        read(copy)


def test_a_damaged_cell_is_named(copy: Path) -> None:
    cell_file(copy, "log.json").write_text("[{")
    with pytest.raises(StoreError, match=r"cdimf-0.*log\.json is damaged"):
        read(copy)
    write_json(cell_file(copy, "cell.json"), {"data": "shops"})
    with pytest.raises(StoreError, match=r"cell\.json lacks label, seed; delete its folder"):
        read(copy)

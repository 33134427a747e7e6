"""The summary says what the numbers say, and is careful where they do not say much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from landbridge.reports.runs import Runs
from landbridge.reports.values import tidy_table
from landbridge.reports.words import Strong, summary

DOMAIN = {"data": "d", "by": "domain", "segment": "all", "metric": "ndcg@10", "protocol": "full"}
NAMES = ("one", "two", "three")


def told(runs: Runs, gains: dict[str, tuple[float, ...]], *, p_holm: float = 0.001, **more: Any) -> list[str]:
    """The summary of a world in which every method has these gains per domain over a twin of 0.1."""
    rows: list[dict[str, Any]] = []
    for label, values in {"twin": (0.0,) * len(NAMES), **gains}.items():
        for name, gain in zip(NAMES, values, strict=False):
            rows.append(DOMAIN | {"label": label, "domain": name, "mean": 0.1 + gain, "gain": gain})
    table = pl.DataFrame(rows).with_columns(
        sampled=pl.lit(False), low=pl.col("mean") - 0.01, high=pl.col("mean") + 0.01, users=9, rows=9
    )
    gain = pl.col("gain")
    against = table.filter(pl.col("label") != "twin").with_columns(
        reference=pl.lit("twin"), difference=gain, low=gain - 0.001, high=gain + 0.001, a=0.0, b=0.0,
        gain_percent=1000 * gain, effect_size=0.0, p=0.0, p_holm=p_holm, family=pl.lit("f"),
        power_note=pl.lit(""),
    )  # fmt: skip
    spec = {"data": [{"name": "d"}], "methods": [{"label": label} for label in ("twin", *gains)]}
    spec |= {"seeds": [1], "metrics": ["ndcg@10"], "reference": "twin"}
    costs = pl.DataFrame(
        [("d", label, 1, 2.0 if label == "twin" else 9.0) for label in ("twin", *gains)],
        schema=["data", "label", "seed", "fit_seconds"],
        orient="row",
    )
    made = replace(runs, spec=spec, results=table, comparisons=against, costs=costs, missing=(), **more)
    return ["".join(paragraph) for paragraph in summary(made, tidy_table(made))]


def test_a_method_that_gains_everywhere_does_best(runs: Runs) -> None:
    short, long, closing = told(runs, {"joint": (0.02, 0.01, 0.03), "other": (0.0, 0.01, 0.0)})
    assert short.strip() == (
        "On d, joint does best: +20.0 % against twin in the mean over the domains (NDCG@10, full ranking), "
        "better in 3 of 3 domains, worse in none."
    )
    assert "joint reaches 0.1200 in the mean over the domains, twin 0.1000. It loses no domain." in long
    assert "A fit takes 9 s, 4.5 times as long as twin." in long
    assert "does not mean that there is none" in closing


def test_losses_are_named_with_their_size(runs: Runs) -> None:
    short, long, _ = told(runs, {"joint": (0.05, -0.02, 0.01), "other": (0.0, -0.03, 0.0)})
    assert "joint has the highest mean but loses domains" in short
    assert "better in 2 of 3 domains, worse in 1." in short
    assert "It loses two (-20.0 %)." in long
    assert "Domains that other methods lose: other: two (-30.0 %)." in long


def test_what_is_not_significant_is_not_called_better(runs: Runs) -> None:
    short, long, _ = told(runs, {"joint": (0.05, -0.02, 0.01)}, p_holm=0.2)
    assert "has the highest mean but is surely better in no domain" in short
    assert "better in 0 of 3 domains, worse in none" in short
    assert "It loses no domain." in long


def test_a_reference_that_no_method_surpasses_is_named_first(runs: Runs) -> None:
    short = told(runs, {"joint": (-0.01, -0.01, -0.01)})[0]
    assert short.startswith("On d, twin is surpassed by no method; joint comes next: -10.0 % against twin")


def test_another_method_may_be_higher_in_a_domain(runs: Runs) -> None:
    long = told(runs, {"joint": (0.05, 0.0, 0.05), "other": (0.0, 0.04, 0.0)})[1]
    assert "Higher than it, though not tested against it: other in two (0.1400 against 0.1000)." in long


def test_methods_within_one_per_cent_are_reported_as_level(runs: Runs) -> None:
    long = told(runs, {"joint": (0.05, 0.05, 0.05), "other": (0.05, 0.05, 0.0497)})[1]
    assert "; other is within 1 % of that or above" in long


def test_nothing_to_compare_with(runs: Runs) -> None:
    assert "nothing can be compared with twin yet" in told(runs, {})[0]


def test_missing_cells_are_named(runs: Runs) -> None:
    paragraphs = summary(runs, tidy_table(runs))
    text = "".join(paragraphs[1])
    assert "1 of 24 cells are missing (CDIMF on shops, seed 3)" in text
    assert isinstance(paragraphs[1][0], Strong)


@pytest.mark.parametrize("data", ["shops", "a-b"])
def test_the_numbers_are_those_of_the_tables(runs: Runs, data: str) -> None:
    tidy = tidy_table(runs).filter(data=data, by="domain", metric="ndcg@10", protocol=runs.protocol(data))
    mean = tidy.group_by("label").agg(pl.col("mean").mean()).filter(label="CDIMF, guarded")["mean"][0]
    paragraphs = map("".join, summary(runs, tidy_table(runs)))
    text = next(each for each in paragraphs if each.startswith(f"{data}:"))
    assert f"CDIMF, guarded reaches {mean:.4f}" in text

"""What came of two runs that served at once, each to its own users (an A/B test).

A server's log has the lists, and its event store what came of them. Of user u of a run, n_u are the lists,
and s_u those of them with an outcome: an event of theirs that names the list and one of its items. Rates are

    lists  r = Σ_u s_u / Σ_u n_u      the share of the lists with an outcome                               (1)
    users  r = Σ_u [s_u > 0] / U      the share of the users with an outcome                               (2)

and the difference r_b - r_a has a 95 % interval and a p-value from the differences of drawn rates: users are
drawn with all their lists, those of each run for themselves (:mod:`landbridge.evaluation.bootstrap`).     (3)

All this compares alike users only if they were divided as was stated. The log states the test and the share
p of run b; of the n users whose lists do, n_b are of run b, and

    χ² = (n_b - n p)² / (n p (1 - p)),   P(χ²_1 ≥ χ²) = erfc(√(χ² / 2))                                  (4)

is Pearson's statistic of n_a and n_b with one degree of freedom. A small probability (sample-ratio mismatch)
says that users were lost or added on one side, as by a run that fails for some. Fabijan et al. (KDD 2019).
Letters: U users of a run, X draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.rng import generator
from landbridge.core.types import Float64, Record
from landbridge.evaluation.bootstrap import drawn_means, interval, p_value
from landbridge.evaluation.impressions import complete_rows, is_log_folder
from landbridge.evaluation.significance import holm

if TYPE_CHECKING:
    import polars as pl

RUNS = ("a", "b")
EVERY = "all"  # the domain of whole lists
DRAWS = 2000
MISMATCH = 0.001  # of Eq. (4), below which a split is not the one that was stated
NAMED = ["user", "domain", "item", "recommendation_id"]


class Comparison(NamedTuple):
    """What came of two runs.

    ``rates``: run b against run a, a row per domain ("all": whole lists) and rate, with the columns domain,
    rate, users_a, users_b, a, b, difference (b - a), low, high, p, and p_holm, corrected for the rows.
    ``splits``: a row per test and share that the log states: test, share, users_a, users_b, p of Eq. (4), and
    whether that is a mismatch; none for a log that states none. ``left_out``: users whom both runs have
    served, as the share, the name of the test, or the server was another for a time.
    """

    rates: pl.DataFrame
    splits: pl.DataFrame
    left_out: int


def compare_runs(log: Path, outcomes: pl.DataFrame, *, seed: int = 0, draws: int = DRAWS) -> Comparison:
    """Run b against run a. ``outcomes``: events (user, domain, item, recommendation_id).

    DataError for a log that is no server's, or has not two users or more of each run.
    """
    import polars as pl

    if not is_log_folder(log):
        raise DataError(f"{log} is no folder that a server wrote; give the one of serve --impressions.")
    rows = complete_rows(Path(log))
    lists, left_out = _one_run_each(_lists(_with_outcomes(rows, outcomes)))
    users = {run: lists.filter(pl.col("run") == run)["user"].n_unique() for run in RUNS}
    if min(users.values()) < 2:
        raise DataError(
            f"The log {log} has {users['a']} users of run a alone and {users['b']} of run b; a comparison "
            "needs two of each, served with --against."
        )
    records: list[Record] = []
    for (domain,), own in lists.group_by("domain", maintain_order=True):
        tables = {run: _per_user(own.filter(pl.col("run") == run)) for run in RUNS}
        if min(len(lists_U) for lists_U, _ in tables.values()) > 1:
            records += _rates(str(domain), tables, draws, seed)
    frame = pl.DataFrame(records)
    frame = frame.with_columns(p_holm=pl.Series(holm(frame["p"].to_numpy())))
    return Comparison(frame, _splits(rows), left_out)


def _splits(rows: pl.DataFrame) -> pl.DataFrame:
    """How the users of each test and share were divided, and Eq. (4)."""
    import polars as pl

    columns = ["test", "share"]
    missing = [pl.lit(None).alias(name) for name in columns if name not in rows.columns]  # from older logs
    stated = rows.with_columns(missing).select("user", "run", *columns).drop_nulls()
    served = stated.cast({"test": pl.String, "share": pl.Float64}).unique()
    counts = [(pl.col("run") == run).sum().alias(f"users_{run}") for run in RUNS]
    splits = served.group_by(*columns).agg(counts).sort(*columns)
    p = [split_p(a, b, share) for share, a, b in splits.select("share", "users_a", "users_b").iter_rows()]
    return splits.with_columns(pl.Series("p", p, pl.Float64)).with_columns(mismatch=pl.col("p") < MISMATCH)


def split_p(users_a: int, users_b: int, share: float) -> float:
    """The probability of a split at least as far from the ``share`` of run b, Eq. (4)."""
    users = users_a + users_b
    chi_square = (users_b - users * share) ** 2 / (users * share * (1 - share))
    return math.erfc(math.sqrt(chi_square / 2))


def _with_outcomes(rows: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """The log's rows of known users, each with whether an outcome names it."""
    import polars as pl

    if "run" not in rows.columns:
        raise DataError("The log has no column run; it was written without --against.")
    named = outcomes.drop_nulls("recommendation_id").select(pl.col(NAMED).cast(pl.String)).unique()
    shown = rows.drop_nulls(["user", "run"]).with_columns(pl.col(NAMED).cast(pl.String))
    return shown.join(named.with_columns(outcome=pl.lit(True)), on=NAMED, how="left").with_columns(
        pl.col("outcome").fill_null(False)
    )


def _lists(shown: pl.DataFrame) -> pl.DataFrame:
    """A row for each list, and for its part in each domain: run, user, domain, outcome."""
    import polars as pl

    domains = [EVERY, *shown["domain"].unique().sort()]
    whole = shown.with_columns(domain=pl.lit(EVERY))
    parts = [whole] if len(domains) == 2 else [whole, shown]
    lists = (
        pl.concat(parts).group_by("run", "user", "domain", "recommendation_id").agg(pl.col("outcome").any())
    )
    order = pl.Enum(domains)
    return lists.sort(pl.col("domain").cast(order), "run", "user", "recommendation_id")


def _one_run_each(lists: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The lists of users of one run, and how many users have lists of both."""
    import polars as pl

    both = lists.group_by("user").agg(pl.col("run").n_unique()).filter(pl.col("run") > 1)["user"]
    return lists.filter(~pl.col("user").is_in(both.implode())), len(both)


def _per_user(lists: pl.DataFrame) -> tuple[Float64, Float64]:
    """n_u and s_u, (U,)."""
    import polars as pl

    users = lists.group_by("user", maintain_order=True).agg(pl.len(), pl.col("outcome").sum())
    return users["len"].to_numpy().astype(np.float64), users["outcome"].to_numpy().astype(np.float64)


def _rates(domain: str, tables: Mapping[str, tuple[Float64, Float64]], draws: int, seed: int) -> list[Record]:
    """A row for each rate of a domain."""
    of_lists = {run: (with_U, lists_U) for run, (lists_U, with_U) in tables.items()}  # Eq. (1)
    of_users = {
        run: ((with_U > 0).astype(np.float64), np.ones(len(with_U))) for run, (_, with_U) in tables.items()
    }  # Eq. (2)
    users = {f"users_{run}": len(lists_U) for run, (lists_U, _) in tables.items()}
    return [
        {
            "domain": domain,
            "rate": name,
            **users,
            **_difference(sums, draws, generator(seed, "ab", domain, name)),
        }
        for name, sums in (("lists", of_lists), ("users", of_users))
    ]


def _difference(sums: Mapping[str, tuple[Float64, Float64]], draws: int, rng: np.random.Generator) -> Record:
    """Both rates and what is known of their difference."""
    rate = {run: float(with_U.sum() / count_U.sum()) for run, (with_U, count_U) in sums.items()}
    drawn = {run: drawn_means(with_U, count_U, draws, rng) for run, (with_U, count_U) in sums.items()}
    difference_X = drawn["b"] - drawn["a"]  # Eq. (3)
    low, high = interval(difference_X)
    return {
        **rate,
        "difference": rate["b"] - rate["a"],
        "low": low,
        "high": high,
        "p": p_value(difference_X),
    }

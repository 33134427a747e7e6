"""The order of a user's events of equal time: unknown, or that of the file.

Of a user's n events at time t, the k-th in the order of the rows, k = 0, 1, …, gets the time

    t + k / n · (min(⌊t⌋ + 1, t') - t)                                                                   (1)

in seconds, where t' is the user's next later time: they stay within their second, and before what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import polars as pl

Ties = Literal["random", "file"]
TIES = get_args(Ties)


def in_file_order(user: pl.Series, time: pl.Series) -> pl.Series:
    """Times that keep the order of the rows, Eq. (1), (N,); as they are where none of a user are equal."""
    import polars as pl

    events, tied, t = pl.DataFrame({"user": user, "time": time}), ["user", "time"], pl.col("time")
    second = t.floor() + 1
    end = pl.min_horizontal(second, t.shift(-1).over("user").fill_null(second))
    times = events.unique().sort(tied).with_columns(end=end)
    if len(times) == len(events):
        return time
    share = pl.int_range(pl.len()).over(tied) / pl.len().over(tied)
    placed = events.join(times, on=tied, how="left", maintain_order="left")
    return placed.select(t + share * (pl.col("end") - t))["time"]  # Eq. (1)

"""Counts of event files before a fit: users, items, events, and how many events each has.

Only the columns of ids are read, in chunks where the format allows. A pair of user and item counts once, as
in a fit; what a fit would leave out for its rating or kind counts, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError
from landbridge.data.counts import Counts, RowLengths, TableCounts
from landbridge.data.io.columns import Columns, NamedColumns
from landbridge.data.io.readers import Source, named_tables, place_of
from landbridge.data.io.tables import ROLES, Rules, TableSource, check_events, read_table
from landbridge.data.io.user_linking import CHOICES

if TYPE_CHECKING:
    import polars as pl


def count_events(
    source: Source, users: str | None = None, columns: Columns = None, fold_ids: bool = False
) -> Counts:
    """The counts of events in any form of :func:`landbridge.data.io.readers.read`.

    ``users``: "shared" or "local"; one table means shared ids. ``columns`` and ``fold_ids`` as there.
    DataError for what cannot be read.
    """
    import polars as pl

    tables = named_tables(source)
    named = NamedColumns.of(columns, ROLES)
    named.check(list(tables))
    # of several tables each is one domain, even with a column of domains
    roles = ("user", "item") if len(tables) > 1 else ("user", "item", "domain")
    pairs = pl.concat(
        [_pairs(table, name, named, roles, fold_ids) for name, table in tables.items()]
    ).unique()
    names = sorted(pairs["domain"].unique().to_list())
    if users not in ("shared", "local") and len(tables) > 1:
        raise DataError(f"Say which user ids of {', '.join(names)} are the same users: {CHOICES}.")
    user = ["user", "domain"] if users == "local" else ["user"]
    everyone = pairs.select(user).n_unique()
    domains = {}
    for name in names:
        own = pairs.filter(pl.col("domain") == name)
        domains[name] = TableCounts(_lengths(own, user, everyone), _lengths(own, ["item"]))
    return Counts(domains, TableCounts(_lengths(pairs, user), _lengths(pairs, ["item", "domain"])))


def _pairs(source: Source, name: str, named: NamedColumns, roles: Sequence[str], fold: bool) -> pl.DataFrame:
    """The distinct pairs of a table with their domain, ``name`` where it has no column of domains."""
    import polars as pl

    where = place_of(source, name)
    table, origin = read_table(TableSource(source, named.table(name), roles, where, Rules(fold)))
    check_events(origin, table.skipped)
    ids = {role: table.ids(role).cast(pl.String).alias(role) for role in roles if role in table}
    domain = pl.lit(name) if "domain" not in ids else pl.col("domain")
    return pl.DataFrame(list(ids.values())).select("user", "item", domain.alias("domain")).unique()


def _lengths(pairs: pl.DataFrame, by: Sequence[str], rows: int | None = None) -> RowLengths:
    """How many pairs each row has; ``rows``: how many there are with those without."""
    counted = RowLengths.of(pairs.group_by(by).len()["len"].to_numpy().astype(np.int64))
    return counted if rows is None else RowLengths(counted.length_K, counted.rows_K, float(rows))

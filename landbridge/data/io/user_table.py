"""A table of users (user, any columns; domain where ids are of a domain) as user features.

Columns are read as those of items are (:mod:`landbridge.data.io.feature_table`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from landbridge.core.errors import DataError, unknown
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.encoding import id_array
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.feature_table import checked_ids, encoded
from landbridge.data.io.tables import raw_table
from landbridge.data.io.user_linking import link_users
from landbridge.data.new_users import with_users
from landbridge.data.user_features import UserFeatures

if TYPE_CHECKING:
    import polars as pl

WHERE = "the table of user features"
KEYS = ("user", "domain")


def with_user_features(
    data: MultiDomain, source: object, users: object, domains: Collection[str]
) -> MultiDomain:
    """The data with the features of a table, and with the users whom only the table names.

    Without a column ``domain`` ids are those of the data; with it they are the domain's, and are linked as
    ``users`` says. ``domains``: those that a row may name. Of a repeated user the last row counts. DataError
    for anything unusable.
    """
    import polars as pl

    frame = raw_table(source, WHERE)
    if KEYS[0] not in frame.columns:
        raise DataError(f"No column user in {WHERE}; it needs one.")
    columns = [name for name in frame.columns if name not in KEYS]
    if not columns:
        raise DataError(f"There is no column beside user in {WHERE}; give one with a feature.")
    ids = EventTable(frame.select("user"), WHERE, fold=data.users.folded).ids("user")
    if "domain" in frame.columns:
        ids = _linked(frame, ids, users, domains, data.users.folded)
    frame = frame.select(columns).with_columns(user=ids.cast(pl.String))
    frame = frame.unique("user", keep="last", maintain_order=True)
    before, given = len(data.users), checked_ids(frame["user"], data.users, "Users", WHERE)
    names, whole, _ = encoded(frame.select(columns), WHERE, "users")
    data = with_users(data, given)
    row_U = np.full(len(data.users), -1, np.int32)
    row_U[data.users.index(given)] = np.arange(len(given))
    rows = whole.take(row_U)
    about = {
        "are in no table of events": len(data.users) - before,
        "with events have no row": int((row_U < 0).sum()),
    }
    provenance = replace(data.provenance, user_features={why: n for why, n in about.items() if n})
    made = UserFeatures(id_array(names["column"]), id_array(names["value"]), rows)
    return replace(data, user_features=made, provenance=provenance)


def _linked(
    frame: pl.DataFrame, ids: pl.Series, users: object, domains: Collection[str], fold: bool
) -> pl.Series:
    """The ids of the data, of each row, as text."""
    import polars as pl

    domain = EventTable(frame.select("domain"), WHERE, fold=fold).ids("domain").cast(pl.String)
    for name in domain.unique().sort():
        if name not in domains:
            raise DataError(f"In {WHERE}: {unknown('domain', name, domains)}")
    table = pl.DataFrame({"domain": domain, "user": ids}).with_row_index("row")
    own = {str(name): part for (name,), part in table.group_by("domain", maintain_order=True)}
    linked = link_users({name: part["user"] for name, part in own.items()}, users, fold)
    rows = pl.concat(
        [
            pl.DataFrame({"row": part["row"], "user": linked[name].cast(pl.String)})
            for name, part in own.items()
        ]
    )
    return rows.sort("row")["user"]

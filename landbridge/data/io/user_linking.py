"""User linking (entity resolution): which user ids of different domains are one user.

``"shared"``: equal ids are one user. ``"local"``: no user is shared. A ``range``: whole-number ids
inside it are shared, all others local. ``{"link": table}``: one column per domain, one row per user.
Local and linked users get the id ``domain:id`` (a linked one of the first domain in the row); a colon in the
name of the domain is written ``%3A``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from landbridge.core.errors import DataError, unknown
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.tables import raw_table
from landbridge.data.vocabulary import folded

if TYPE_CHECKING:
    import polars as pl

CHOICES = (
    "users='shared' (equal ids are one user), 'local' (no user is shared), a range of shared whole "
    "numbers, or {'link': table} with one column per domain; `landbridge data check` gives evidence"
)


def link_users(ids_of: Mapping[str, pl.Series], users: object, fold: bool = False) -> dict[str, pl.Series]:
    """The linked user id of each id of each domain; ``ids_of`` and the result map domain -> (V,).

    ``fold``: the ids were folded; those of a link table and the linked ids are to be.
    """
    import polars as pl

    linked = _linked(ids_of, users, fold)
    if not fold or users == "shared":
        return linked
    _unlike_when_folded(list(ids_of))
    return {name: folded(column) if column.dtype == pl.String else column for name, column in linked.items()}


def _linked(ids_of: Mapping[str, pl.Series], users: object, fold: bool) -> dict[str, pl.Series]:
    if users == "shared":
        _one_kind(ids_of)
        return dict(ids_of)
    if users == "local":
        return {name: _local(name, column) for name, column in ids_of.items()}
    if isinstance(users, range):
        return {name: _by_range(name, column, users) for name, column in ids_of.items()}
    if isinstance(users, Mapping) and set(users) == {"link"}:
        return _by_link(ids_of, users["link"], fold)
    if users is None:
        raise DataError(f"Say which user ids of {', '.join(ids_of)} are the same users: {CHOICES}.")
    raise DataError(f"Cannot use users={users!r}; valid are {CHOICES}.")


def _unlike_when_folded(domains: list[str]) -> None:
    """DataError for domains whose local users would be the same once folded."""
    first: dict[str, str] = {}
    for name in domains:
        other = first.setdefault(name.strip().lower(), name)
        if other != name:
            raise DataError(f"The names {other!r} and {name!r} are one when ids are folded; rename a domain.")


def shared_between(domain: str, column: pl.Series, shared_V: pl.Series) -> pl.Series:
    """Text ids: plain where ``shared_V`` is true, ``domain:id`` elsewhere."""
    import polars as pl

    return _local(domain, column).to_frame("local").select(
        pl.when(shared_V).then(column.cast(pl.String)).otherwise(pl.col("local")).alias(column.name)
    ).to_series()  # fmt: skip


def _one_kind(ids_of: Mapping[str, pl.Series]) -> None:
    kinds = {str(column.dtype): name for name, column in ids_of.items()}
    if len(kinds) > 1:
        kinds_text = " and ".join(f"{kind} in {name!r}" for kind, name in kinds.items())
        raise DataError(f"Shared user ids are {kinds_text}; give them all as text or all as whole numbers.")


def _local(domain: str, column: pl.Series) -> pl.Series:
    import polars as pl

    # without colons, so that user "c" of a domain "a:b" is not user "b:c" of a domain "a"
    name = domain.replace("%", "%25").replace(":", "%3A")
    return (f"{name}:" + column.cast(pl.String)).alias(column.name)


def _by_range(domain: str, column: pl.Series, shared: range) -> pl.Series:
    if not column.dtype.is_integer():
        raise DataError(
            f"Users of {domain!r} have text ids, so a range of shared ids says nothing; use a link table."
        )
    if shared.step != 1:
        raise DataError(f"A range of shared ids has step 1, not {shared.step}.")
    return shared_between(domain, column, (column >= shared.start) & (column < shared.stop))


def _by_link(ids_of: Mapping[str, pl.Series], source: object, fold: bool) -> dict[str, pl.Series]:
    import polars as pl

    table = raw_table(source, "the link table")
    if fold:
        table = table.with_columns(folded(pl.col(pl.String)))
    for name in table.columns:
        if name not in ids_of:
            raise DataError(f"The link table: {unknown('domain', name, ids_of)}")
    if table.width < 2 or not table.height:
        raise DataError("The link table needs rows and a column for each of two domains or more.")
    links = {
        name: _link_column(table, name, column) for name, column in ids_of.items() if name in table.columns
    }
    # the linked id of a row is the local id in the first domain that has one
    linked = pl.select(pl.coalesce([_local(name, column) for name, column in links.items()])).to_series()
    return {
        name: _joined(name, column, links[name], linked) if name in links else _local(name, column)
        for name, column in ids_of.items()
    }


def _link_column(table: pl.DataFrame, name: str, event_ids: pl.Series) -> pl.Series:
    import polars as pl

    where = f"the link table's column {name!r}"
    filled = EventTable(table.select(user=name).drop_nulls(), where).ids("user")
    if filled.is_duplicated().any():
        twice = filled.filter(filled.is_duplicated())[0]
        raise DataError(f"In {where} id {twice!r} occurs twice; keep one row per user.")
    # not strict: ids that do not convert become null, and are reported below
    column = table[name].cast(event_ids.dtype, strict=False)
    # text that is no canonical number, such as 007, is not the number that it converts to
    as_text = filled.dtype == pl.String and event_ids.dtype != pl.String
    if as_text or column.null_count() > table[name].null_count():
        raise DataError(
            f"In {where} some ids are no {event_ids.dtype} as in the events; give the same kind of ids."
        )
    return column


def _joined(domain: str, column: pl.Series, own: pl.Series, linked: pl.Series) -> pl.Series:
    import polars as pl

    links = pl.DataFrame({"id": own, "linked": linked}).drop_nulls("id")
    joined = column.to_frame("id").join(links, on="id", how="left", maintain_order="left")
    return joined["linked"].fill_null(_local(domain, column))

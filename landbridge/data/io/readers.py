"""Reading events from files and data frames into a :class:`MultiDomain`, with dense indices for raw ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import Bool
from landbridge.data.dataset import MultiDomain, check_name
from landbridge.data.interactions import DUPLICATE_RULES, Interactions, in_order
from landbridge.data.io import tables
from landbridge.data.io.columns import Columns, NamedColumns
from landbridge.data.io.encoding import EncodedColumn, Events, encode
from landbridge.data.io.event_table import EventTable, folded
from landbridge.data.io.tables import Rules, read_sql
from landbridge.data.io.user_linking import link_users
from landbridge.data.provenance import Provenance, TableOrigin
from landbridge.data.titles import without_blank
from landbridge.data.vocabulary import IdArray, Vocabulary

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read", "read_sql"]

Source: TypeAlias = object  # a path, a data frame, {name: path or frame}, or a list of paths


def read(
    source: Source,
    *,
    users: str | range | Mapping[str, Source] | None = None,
    columns: Columns = None,
    min_rating: float | None = None,
    duplicates: str = "last",
    domains: Sequence[str] | None = None,
    titles: Source = None,
    memberships: Source = None,
    fold_ids: bool = False,
    skip_bad_rows: str | Path | None = None,
) -> MultiDomain:
    """Events from one table, a list of files (their stems name the domains) or {domain: file or frame}.

    ``users`` says which ids of different domains are one user (see
    :mod:`landbridge.data.io.user_linking`); a single table means shared ids. ``columns``: {role: column}, or
    its position from 1; {domain: {role: column}} or {"domain.role": column} for one table. Events rated below
    ``min_rating`` are left out. ``titles``: a table (item, title[, domain]); ``memberships``: a table
    (item, domain). ``fold_ids``: ids that differ only in case and surrounding blanks are one, in lower case.
    ``skip_bad_rows``: a file; rows that cannot be read are written to it, as JSON lines, instead of being an
    error. DataError, naming file, row or column, for anything unusable.
    """
    if duplicates not in DUPLICATE_RULES:
        raise DataError(unknown("duplicate rule", duplicates, DUPLICATE_RULES))
    if users is None and not isinstance(source, Mapping | list | tuple):
        users = "shared"
    rules = Rules(bool(fold_ids), skip_bad_rows is not None)
    reader = _Reader(NamedColumns.of(columns, tables.ROLES), _Kept(min_rating, duplicates), rules)
    tables_read = _tables(source, reader)
    events_of = _chosen(
        {name: events for each in tables_read for name, events in each.events.items()}, domains
    )
    for name in events_of:
        check_name(name)  # before it becomes part of ids
    if users is None and len(events_of) == 1:
        users = "shared"
    provenance = _provenance(tables_read, users == "shared", rules.fold)
    provenance = replace(provenance, skipped_to=None if skip_bad_rows is None else Path(skip_bad_rows))
    provenance.write_skipped()
    user_of = link_users({name: events.user.ids for name, events in events_of.items()}, users, rules.fold)
    all_users = _union(user_of.values())
    items = {name: _vocabulary(events.item.ids) for name, events in events_of.items()}
    return MultiDomain(
        _vocabulary(all_users),
        items,
        {
            name: _interactions(events, all_users, user_of[name], duplicates)
            for name, events in events_of.items()
        },
        _titles(events_of, titles, rules),
        {} if memberships is None else _memberships(events_of, memberships, rules),
        provenance,
    )


@dataclass(frozen=True)
class _Kept:
    """Which events are kept: those rated ``min_rating`` or more, of repeated pairs by ``duplicates``."""

    min_rating: float | None
    duplicates: str

    def rated(self, table: EventTable) -> Bool | None:
        """Whether each event is rated high enough, (N,); None where ratings do not matter."""
        return None if self.min_rating is None else _rated_enough(table, self.min_rating)

    def of(self, events: Events, rated_N: Bool | None, where: str) -> Events:
        """The events that are kept; DataError where there is none. Pairs are merged later."""
        if rated_N is None:
            return events
        # a rating that was lowered later is no liked item: the last rating of a pair decides
        kept_N = rated_N & _last_of_pair(events) if self.duplicates == "last" else rated_N
        return events.take(_not_empty(kept_N, where))


def _last_of_pair(events: Events) -> Bool:
    """Whether an event is the last of its user and item, by time, else by position, (N,)."""
    key_N = events.user.idx.astype(np.int64) * len(events.item.ids) + events.item.idx
    order_N, last_N = in_order(key_N, events.time)
    last_of_pair_N = np.zeros(len(key_N), bool)
    last_of_pair_N[order_N[last_N]] = True
    return last_of_pair_N


@dataclass(frozen=True)
class _Reader:
    """What is the same for all tables of one call."""

    columns: NamedColumns
    kept: _Kept
    rules: Rules

    @property
    def roles(self) -> list[str]:
        """The roles that are used: ratings matter as a threshold only."""
        return [role for role in tables.ROLES if role != "rating" or self.kept.min_rating is not None]

    def table(
        self, source: Source, name: str, roles: Sequence[str], where: str
    ) -> tuple[EventTable, TableOrigin]:
        """A table with users and items; DataError where one of them or every event is missing."""
        table, origin = tables.read_table(source, self.columns.table(name), roles, where, self.rules)
        for role in ("user", "item"):
            if role not in table:
                raise DataError(_lacks(role, where, origin.unused))
        if not len(table):
            if table.skipped:
                raise DataError(f"No row of {where} can be read; the first: {table.skipped[0].sentence}.")
            raise DataError(f"There are no events in {where}; give at least one row.")
        return table, origin

    def events(self, table: EventTable) -> tuple[Events, Bool | None]:
        """All events of a table, and whether each is rated high enough."""
        return _events_of(table), self.kept.rated(table)


@dataclass(frozen=True, eq=False)
class _Read:
    """A table that was read, and domain -> its events."""

    table: EventTable
    origin: TableOrigin
    events: dict[str, Events]


def _tables(source: Source, reader: _Reader) -> list[_Read]:
    if isinstance(source, list | tuple):
        source = _by_stem(source)
    if not isinstance(source, Mapping):
        return [_one_table(source, reader)]
    if not source:
        raise DataError("No table was given; give at least one file or frame.")
    reader.columns.check([str(name) for name in source])
    roles = [role for role in reader.roles if role != "domain"]
    return [
        _of_one_domain(*reader.table(table, str(name), roles, _where(table, name)), str(name), reader)
        for name, table in source.items()
    ]


def _by_stem(paths: Sequence[Source]) -> dict[str, Source]:
    named: dict[str, Source] = {}
    for path in paths:
        if not tables.is_path(path):
            raise DataError("A list may hold only paths; give frames as {domain: frame}.")
        named[_stem(path)] = path
    if len(named) < len(paths):
        raise DataError("Two files of the list have the same stem; name the domains as {domain: path}.")
    return named


def _of_one_domain(table: EventTable, origin: TableOrigin, name: str, reader: _Reader) -> _Read:
    table, (events, rated_N) = table.parsed(reader.events)
    events = reader.kept.of(events, rated_N, table.where)
    return _Read(table, replace(origin, domains=(name,)), {name: events})


def _one_table(source: Source, reader: _Reader) -> _Read:
    stem = _stem(source) if tables.is_path(source) else "events"
    reader.columns.check([stem])
    table, origin = reader.table(source, stem, reader.roles, _where(source, "the table"))
    if "domain" not in table:
        return _of_one_domain(table, origin, stem, reader)
    # encoded once for all domains: each then takes its rows and the ids that occur there
    table, (domain, (events, rated_N)) = table.parsed(
        lambda table: (EncodedColumn.of(table.ids("domain")), reader.events(table))
    )
    masks = {str(name): domain.idx == code for code, name in enumerate(domain.ids)}
    events_of = {
        name: reader.kept.of(
            events.take(mask_N),
            None if rated_N is None else rated_N[mask_N],
            f"domain {name!r} of {table.where}",
        )
        for name, mask_N in masks.items()
    }
    return _Read(table, replace(origin, domains=tuple(events_of)), events_of)


def _lacks(role: str, where: str, names: Sequence[str]) -> str:
    """The sentence about a table without users or items."""
    if names and list(names) == [str(place + 1) for place in range(len(names))]:
        return (
            f"No {role} column in {where}: it has no header; name its {len(names)} columns by position, such "
            "as --column user=1,item=2."
        )
    usual = ", ".join(tables.ROLES[role][:4])
    return (
        f"No {role} column in {where} (usual names: {usual}); name it with "
        f"columns={{'{role}': ...}} or --column {role}=NAME."
    )


def _provenance(tables_read: Sequence[_Read], shared: bool, fold: bool) -> Provenance:
    return Provenance(
        tuple(each.origin for each in tables_read),
        _became_one([each.table.frame for each in tables_read], shared) if fold else {},
        tuple(
            row for each in tables_read for row in sorted(each.table.skipped or (), key=lambda row: row.row)
        ),
    )


def _became_one(frames: Sequence[pl.DataFrame], shared: bool) -> dict[str, int]:
    """How many ids of users and of items became another one."""
    import polars as pl

    def lost(role: str, within: pl.Expr) -> int:
        """Ids ``within`` one another's reach: those of one table, one domain, or all."""
        ids = pl.col(role).cast(pl.String)
        raw = pl.concat([frame.select(ids, within.alias("within")).unique() for frame in placed]).unique()
        return raw.height - raw.with_columns(folded(ids)).unique().height

    placed = [
        frame.with_columns(
            place=pl.lit(str(place)), domain=pl.col("domain") if "domain" in frame.columns else pl.lit("")
        )
        for place, frame in enumerate(frames)
    ]
    everywhere, of_table = pl.lit(""), pl.col("place")
    of_domain = pl.concat_str("place", pl.col("domain").cast(pl.String), separator=":")
    return {"users": lost("user", everywhere if shared else of_table), "items": lost("item", of_domain)}


def _events_of(table: EventTable) -> Events:
    """All events of a table."""
    time, weight = table.seconds(), table.numbers("weight")
    if weight is not None:
        weight = weight.cast(_float32())
        table.raise_on_bad_rows(
            (weight <= 0) | weight.is_infinite(),
            "weight",
            "is not positive and finite",
            "leave out events that count for nothing",
        )
    return Events(
        EncodedColumn.of(table.ids("user")),
        EncodedColumn.of(table.ids("item")),
        None if time is None else time.to_numpy(),
        None if weight is None else weight.to_numpy(),
        table.text("title") if "title" in table else None,
    )


def _rated_enough(table: EventTable, min_rating: float) -> Bool:
    rating = table.numbers("rating")
    if rating is None:
        raise DataError(
            f"min_rating is set but {table.where} has no rating column; "
            "name it with columns={'rating': ...} or --column rating=NAME."
        )
    return np.asarray((rating >= min_rating).to_numpy())


def _not_empty(mask_N: Bool, where: str) -> Bool:
    if not mask_N.any():
        raise DataError(f"No event of {where} reaches min_rating; lower it or leave this domain out.")
    return mask_N


def _chosen(events_of: dict[str, Events], domains: Sequence[str] | None) -> dict[str, Events]:
    for name in domains or ():
        if name not in events_of:
            raise DataError(unknown("domain", name, events_of))
    return events_of if domains is None else {name: events_of[name] for name in domains}


def _interactions(events: Events, all_users: pl.Series, user_V: pl.Series, duplicates: str) -> Interactions:
    linked_user = encode(user_V, all_users)
    return Interactions.from_events(
        linked_user[events.user.idx],
        events.item.idx,
        len(all_users),
        len(events.item.ids),
        events.weight,
        events.time,
        duplicates,
    )


def _titles(events_of: Mapping[str, Events], source: Source, rules: Rules) -> dict[str, IdArray]:
    import polars as pl

    named: dict[str, IdArray] = {}
    table = None if source is None else _title_table(source, rules)
    for name, events in events_of.items():
        if table is not None:
            own = table.filter(pl.col("domain") == name) if "domain" in table.columns else table
            titled = own.select("item", "title")
        elif events.title is not None:
            titled = pl.DataFrame({"item": events.item.ids.gather(events.item.idx), "title": events.title})
        else:
            continue
        named[name] = _array(_looked_up(events.item.ids, titled))
    return named


def _title_table(source: Source, rules: Rules) -> pl.DataFrame:
    where = _where(source, "the titles table")
    table, _ = tables.read_table(source, {}, ("item", "title", "domain"), where, Rules(rules.fold))
    if not ("item" in table and "title" in table):
        raise DataError(f"No item and title columns in {where}; name them 'item' and 'title'.")
    return table.frame.with_columns(table.ids("item"), table.text("title"))


def _looked_up(ids: pl.Series, titled: pl.DataFrame) -> pl.Series:
    """The first title of each id, the id itself where there is none to be seen."""
    import polars as pl

    titled = titled.with_columns(without_blank(titled["title"]))
    first = titled.drop_nulls().unique("item", keep="first", maintain_order=True)
    keys = ids.cast(pl.String).alias("item").to_frame()
    titles = keys.join(first.cast(pl.String), on="item", how="left", maintain_order="left")["title"]
    return titles.fill_null(keys["item"])


def _memberships(
    events_of: Mapping[str, Events], source: Source, rules: Rules
) -> dict[str, npt.NDArray[np.bool_]]:
    where, names = _where(source, "the memberships table"), list(events_of)
    table, _ = tables.read_table(source, {}, ("item", "domain"), where, Rules(rules.fold))
    if not ("item" in table and "domain" in table):
        raise DataError(f"No item and domain columns in {where}; name them 'item' and 'domain'.")
    item_M, domain_M = _array(table.ids("item")), _array(table.text("domain"))
    belongs = {}
    for name, events in events_of.items():
        listed = Vocabulary(_array(events.item.ids)).index(item_M)
        column = Vocabulary.of(names).index(domain_M)
        column_of = np.array([names.index(other) for other in sorted(names)], np.int64)
        belongs_ID = np.zeros((len(events.item.ids), len(names)), bool)
        usable_M = (listed >= 0) & (column >= 0)
        belongs_ID[listed[usable_M], column_of[column[usable_M]]] = True
        # an item always belongs to the domain that lists it
        belongs_ID[:, names.index(name)] = True
        belongs[name] = belongs_ID
    return belongs


def _union(columns: Iterable[pl.Series]) -> pl.Series:
    import polars as pl

    return pl.concat([column.alias("id") for column in columns]).unique().sort()


def _vocabulary(ids: pl.Series) -> Vocabulary:
    return Vocabulary(_array(ids))


def _array(column: pl.Series) -> IdArray:
    """A String column as NumPy's StringDType, a whole-number column as int64."""
    array: IdArray = column.to_numpy()
    return array.astype(np.int64 if column.dtype.is_integer() else np.dtypes.StringDType())


def _float32() -> pl.DataType:
    import polars as pl

    return pl.Float32()


def _where(source: Source, name: object) -> str:
    if tables.is_path(source):
        return f"file {source}"
    return str(name) if str(name).startswith("the ") else f"the table of domain {name!r}"


def _stem(path: str | Path) -> str:
    """The name of a domain: a file's name up to the first dot; of a pattern what is fixed of it, such as
    books for ``books-*.csv`` and ``books/*.csv``."""
    if not tables.is_pattern(path):
        return Path(path).name.split(".")[0]
    parts = [re.sub(r"\[[^]]*\]|[*?]", "", part) for part in (Path(path).name.split(".")[0], *_above(path))]
    return next((name for part in parts if (name := part.strip("-_ ."))), "events")


def _above(path: str | Path) -> list[str]:
    return [parent.name for parent in Path(path).parents]

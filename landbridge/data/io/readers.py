"""Reading events from files and data frames into a :class:`MultiDomain`, with dense indices for raw ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, unknown
from landbridge.data.dataset import MultiDomain, check_name
from landbridge.data.filters import without_unknown
from landbridge.data.interactions import DUPLICATE_RULES, Interactions
from landbridge.data.io import tables
from landbridge.data.io.encoding import EncodedColumn, Events, encode
from landbridge.data.io.event_rules import EventRules, faded, with_seen_rows
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.tables import read_sql
from landbridge.data.io.user_linking import link_users
from landbridge.data.kinds import EventKinds
from landbridge.data.seen import Rows, Seen, divided
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
    columns: Mapping[str, str] | None = None,
    min_rating: float | None = None,
    duplicates: str = "last",
    domains: Sequence[str] | None = None,
    titles: Source = None,
    memberships: Source = None,
    kinds: Mapping[str, float | str] | None = None,
    half_life_days: float | None = None,
    seen: Source = None,
) -> MultiDomain:
    """Events from one table, a list of files (their stems name the domains) or {domain: file or frame}.

    ``users`` says which ids of different domains are one user (see
    :mod:`landbridge.data.io.user_linking`); a single table means shared ids. ``titles``: a table
    (item, title[, domain]); ``memberships``: a table (item, domain).

    Events rated below ``min_rating`` are not learned from: their pairs are disliked (``MultiDomain.seen``).
    ``kinds``: what events count by their kind (:class:`~landbridge.data.kinds.EventKinds`), where there is a
    column of kinds. ``half_life_days``: after which an event counts half. ``seen``: tables of further pairs
    (user, item[, domain, time, kind, rating]) that no list may hold, in any form of ``source``.
    ``duplicates``: where there are kinds, "last" takes the weight of the strongest, as "max" does.
    DataError, naming file, row or column, for anything unusable.
    """
    if duplicates not in DUPLICATE_RULES:
        raise DataError(unknown("duplicate rule", duplicates, DUPLICATE_RULES))
    if users is None and not isinstance(source, Mapping | list | tuple):
        users = "shared"
    rules = EventRules(min_rating, EventKinds.of(kinds, half_life_days or 0.0))
    all_events = _events_by_domain(source, columns, rules)
    if seen is not None:
        all_events = _with_seen(all_events, seen, columns, rules)
    events_of = faded(_chosen(all_events, domains), rules.kinds)
    for name in events_of:
        check_name(name)  # before it becomes part of ids
    if users is None and len(events_of) == 1:
        users = "shared"
    user_of = link_users({name: events.user.ids for name, events in events_of.items()}, users)
    all_users = _union(user_of.values())
    items = {name: _vocabulary(events.item.ids) for name, events in events_of.items()}
    tables_of = {
        name: _divided(events, all_users, user_of[name], duplicates, rules)
        for name, events in events_of.items()
    }
    data = MultiDomain(
        _vocabulary(all_users),
        items,
        {name: events for name, (events, _) in tables_of.items()},
        _titles(events_of, titles),
        {} if memberships is None else _memberships(events_of, memberships),
        {name: pairs for name, (_, pairs) in tables_of.items() if pairs is not None},
        rules.kinds,
    )
    return without_unknown(data) if data.seen else data


def _events_by_domain(
    source: Source, columns: Mapping[str, str] | None, rules: EventRules
) -> dict[str, Events]:
    if isinstance(source, list | tuple):
        source = _by_stem(source)
    if not isinstance(source, Mapping):
        return _one_table(source, columns, rules)
    if not source:
        raise DataError("No table was given; give at least one file or frame.")
    roles = [role for role in tables.ROLES if role != "domain"]
    return {
        str(name): _events_of(_load(table, columns, roles, _where(table, name)), rules)
        for name, table in source.items()
    }


def _with_seen(
    events_of: dict[str, Events], source: Source, columns: Mapping[str, str] | None, rules: EventRules
) -> dict[str, Events]:
    """The events with those of further tables, none of which is learned from."""
    source = _by_stem(source) if isinstance(source, list | tuple) else source
    # other columns than these may have other names there, or be missing
    names = {role: name for role, name in (columns or {}).items() if role in ("user", "item", "domain")}
    marks = rules.of_seen()
    if isinstance(source, Mapping):
        seen_of = _events_by_domain(source, names, marks)
    else:
        table = _load(source, names, list(tables.ROLES), _where(source, "the seen table"))
        if "domain" not in table and len(events_of) > 1:
            raise DataError(
                f"{table.where} has no domain column, and there are several domains; add one, or give "
                "seen={domain: table}."
            )
        only = next(iter(events_of))
        seen_of = _by_column(table, marks) if "domain" in table else {only: _events_of(table, marks)}
    for name in seen_of:
        if name not in events_of:
            raise DataError(f"The seen tables: {unknown('domain', name, events_of)}")
    return {
        name: with_seen_rows(events, seen_of[name]) if name in seen_of else events
        for name, events in events_of.items()
    }


def _by_stem(paths: Sequence[Source]) -> dict[str, Source]:
    named: dict[str, Source] = {}
    for path in paths:
        if not tables.is_path(path):
            raise DataError("A list may hold only paths; give frames as {domain: frame}.")
        named[_stem(path)] = path
    if len(named) < len(paths):
        raise DataError("Two files of the list have the same stem; name the domains as {domain: path}.")
    return named


def _one_table(source: Source, columns: Mapping[str, str] | None, rules: EventRules) -> dict[str, Events]:
    table = _load(source, columns, list(tables.ROLES), _where(source, "the table"))
    if "domain" not in table:
        return {_stem(source) if tables.is_path(source) else "events": _events_of(table, rules)}
    return _by_column(table, rules)


def _by_column(table: EventTable, rules: EventRules) -> dict[str, Events]:
    domain = EncodedColumn.of(table.ids("domain"))
    # encoded once for all domains: each then takes its rows and the ids that occur there
    events = _events_of(table, rules)
    return {
        str(name): replace(events.take(domain.idx == code), where=f"domain {str(name)!r} of {table.where}")
        for code, name in enumerate(domain.ids)
    }


def _load(source: Source, columns: Mapping[str, str] | None, roles: Iterable[str], where: str) -> EventTable:
    table = tables.read_table(source, columns, roles, where)
    for role in ("user", "item"):
        if role not in table:
            usual = ", ".join(tables.ROLES[role][:4])
            raise DataError(
                f"No {role} column in {where} (usual names: {usual}); name it with "
                f"columns={{'{role}': ...}} or --column {role}=NAME."
            )
    if not len(table):
        raise DataError(f"There are no events in {where}; give at least one row.")
    return table


def _events_of(table: EventTable, rules: EventRules) -> Events:
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
    standing, of_kind, kinds = rules.read(table)
    own = None if weight is None else weight.to_numpy()
    return Events(
        EncodedColumn.of(table.ids("user")),
        EncodedColumn.of(table.ids("item")),
        None if time is None else time.to_numpy(),
        own if of_kind is None else of_kind if own is None else own * of_kind,
        table.text("title") if "title" in table else None,
        table.where,
        standing,
        kinds,
    )


def _chosen(events_of: dict[str, Events], domains: Sequence[str] | None) -> dict[str, Events]:
    for name in domains or ():
        if name not in events_of:
            raise DataError(unknown("domain", name, events_of))
    return events_of if domains is None else {name: events_of[name] for name in domains}


def _divided(
    events: Events, all_users: pl.Series, user_V: pl.Series, duplicates: str, rules: EventRules
) -> tuple[Interactions, Seen | None]:
    """What of a domain's events is learned from, and what is only known; None where all are learned from."""
    sizes = len(all_users), len(events.item.ids)
    user_N, item_N = encode(user_V, all_users)[events.user.idx], events.item.idx
    rule = "max" if duplicates == "last" and events.kinds is not None else duplicates
    columns = events.weight, events.time
    if events.standing is None:
        return Interactions.from_events(user_N, item_N, *sizes, *columns, rule, events.kinds), None
    learned, seen = divided(Rows(user_N, item_N, events.standing, *columns, events.kinds), *sizes, rule)
    if not len(learned):
        raise DataError(rules.nothing_learned(events.where))
    return learned, seen


def _titles(events_of: Mapping[str, Events], source: Source) -> dict[str, IdArray]:
    import polars as pl

    named: dict[str, IdArray] = {}
    table = None if source is None else _title_table(source)
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


def _title_table(source: Source) -> pl.DataFrame:
    where = _where(source, "the titles table")
    table = tables.read_table(source, None, ("item", "title", "domain"), where)
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


def _memberships(events_of: Mapping[str, Events], source: Source) -> dict[str, npt.NDArray[np.bool_]]:
    where, names = _where(source, "the memberships table"), list(events_of)
    table = tables.read_table(source, None, ("item", "domain"), where)
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
    return Path(path).name.split(".")[0]

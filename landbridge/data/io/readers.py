"""Reading events from files and data frames into a :class:`MultiDomain`, with dense indices for raw ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, unknown
from landbridge.core.sizes import parse_bytes
from landbridge.data.dataset import MultiDomain, check_name
from landbridge.data.filters import without_unknown
from landbridge.data.interactions import DUPLICATE_RULES, Interactions
from landbridge.data.io import tables
from landbridge.data.io.columns import Columns, NamedColumns
from landbridge.data.io.encoding import EncodedColumn, Events, encode, id_array
from landbridge.data.io.event_cache import ReadOptions, mapped
from landbridge.data.io.event_rules import EventRules
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.feature_table import with_features
from landbridge.data.io.item_linking import ItemLinks
from landbridge.data.io.storage import DomainEvents, E, InMemory, Storage, TableRead
from landbridge.data.io.tables import Rules, TableSource, read_sql
from landbridge.data.io.ties import TIES, Ties
from landbridge.data.io.user_linking import link_users
from landbridge.data.io.user_table import with_user_features
from landbridge.data.kinds import EventKinds
from landbridge.data.provenance import Provenance
from landbridge.data.seen import Seen
from landbridge.data.titles import without_blank
from landbridge.data.vocabulary import IdArray, Vocabulary, folded

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read", "read_sql"]

Source: TypeAlias = object  # a path, a data frame, {name: path or frame}, or a list of paths


def read(
    source: Source,
    *,
    users: str | range | Mapping[str, Source] | None = None,
    items: str | None = None,
    item_links: Source = None,
    min_confidence: float | None = None,
    columns: Columns = None,
    min_rating: float | None = None,
    duplicates: str = "last",
    domains: Sequence[str] | None = None,
    titles: Source = None,
    memberships: Source = None,
    item_features: Source = None,
    user_features: Source = None,
    kinds: Mapping[str, float | str] | None = None,
    half_life_days: float | None = None,
    seen: Source = None,
    fold_ids: bool = False,
    skip_bad_rows: str | Path | None = None,
    ties: Ties = "random",
    memory: str | int | None = None,
) -> MultiDomain:
    """Events from one table, a list of files (their stems name the domains) or {domain: file or frame}.

    ``users`` says which ids of different domains are one user (see
    :mod:`landbridge.data.io.user_linking`); a single table means shared ids. ``columns``: {role: column}, or
    its position from 1; {domain: {role: column}} or {"domain.role": column} for one table. ``titles``: a
    table (item, title[, domain]); ``memberships``: a table (item, domain).

    ``item_features``: a table (domain, item, any columns) of what is known of the items, such as category,
    brand and price (:mod:`landbridge.data.io.feature_table`); it may name items without events.
    ``user_features``: a table (user, any columns; domain, where ids are of a domain) of what is known of the
    users (:mod:`landbridge.data.io.user_table`); it may name users without events.

    ``items``: "shared" where items of equal ids in different domains are one product ("local", the default:
    they are not). ``item_links``: a table domain_a, item_a, domain_b, item_b[, confidence] of items that are
    one product; ``min_confidence``: rows with less are left out (:mod:`landbridge.data.io.item_linking`).

    Events rated below ``min_rating`` are not learned from: their pairs are disliked (``MultiDomain.seen``).
    ``kinds``: what events count by their kind (:class:`~landbridge.data.kinds.EventKinds`), where there is a
    column of kinds. ``half_life_days``: after which an event counts half. ``seen``: tables of further pairs
    (user, item[, domain, time, kind, rating]) that no list may hold, in any form of ``source``.
    ``duplicates``: where there are kinds, "last" takes the weight of the strongest, as "max" does.

    ``fold_ids``: ids that differ only in case and surrounding blanks are one, in lower case.
    ``skip_bad_rows``: a file; rows that cannot be read are written to it, as JSON lines, instead of being an
    error. DataError, naming file, row or column, for anything unusable.

    ``ties``: the order of a user's events of equal time: "random", as it is not known, or "file" where a
    table has its rows in the order in which the events happened (:mod:`landbridge.data.io.ties`).

    ``memory``: bytes, or text such as "4GB". The tables of events are then read and sorted on disk, in blocks
    that need about so much, and the same data come back with memory-mapped events, which the next call with
    the same input finds in the user's cache (:mod:`landbridge.data.io.out_of_core`).
    """
    options = ReadOptions(
        users, items, item_links, min_confidence, columns, min_rating, duplicates, domains, titles,
        memberships, item_features, user_features, kinds, half_life_days, seen, fold_ids, skip_bad_rows, ties,
    )  # fmt: skip
    if memory is None:
        return _read(source, options, InMemory())
    return mapped(source, options, parse_bytes(memory), partial(_read, source, options))


def _read(source: Source, given: ReadOptions, storage: Storage[E]) -> MultiDomain:
    """The data, whose events are kept in ``storage`` while they are read."""
    duplicates, users, domains = given.duplicates, given.users, given.domains
    if duplicates not in DUPLICATE_RULES:
        raise DataError(unknown("duplicate rule", duplicates, DUPLICATE_RULES))
    if given.ties not in TIES:
        raise DataError(unknown("order of ties", given.ties, TIES))
    if users is None and not isinstance(source, Mapping | list | tuple):
        users = "shared"
    links = ItemLinks(given.items, given.item_links, given.min_confidence)
    rules = Rules(bool(given.fold_ids), given.skip_bad_rows is not None)
    kinds = EventKinds.of(given.kinds, given.half_life_days or 0.0)
    event_rules = EventRules(given.min_rating, kinds, ties=given.ties)
    # ratings matter as a threshold only
    roles = tuple(role for role in tables.ROLES if role != "rating" or given.min_rating is not None)
    reader = _Reader(NamedColumns.of(given.columns, tables.ROLES), roles, rules, event_rules, storage)
    reader.columns.check(list(named_tables(source)))
    tables_read = _tables(source, reader)
    all_events = _events_by_domain(tables_read)
    seen_read = [] if given.seen is None else _seen_tables(given.seen, list(all_events), reader.of_seen())
    with_seen = _with_seen(all_events, _events_by_domain(seen_read), storage)
    events_of = _faded(_chosen(with_seen, domains), event_rules.kinds)
    for name in events_of:
        check_name(name)  # before it becomes part of ids
    if users is None and len(events_of) == 1:
        users = "shared"
    skipped_to = None if given.skip_bad_rows is None else Path(given.skip_bad_rows)
    provenance = _provenance(tables_read, seen_read, users == "shared", rules.fold, skipped_to)
    provenance.write_skipped()
    user_of = link_users({name: events.user.ids for name, events in events_of.items()}, users, rules.fold)
    all_users = _union(user_of.values())
    vocabularies = {name: _vocabulary(events.item.ids, rules) for name, events in events_of.items()}
    tables_of = {
        name: _divided(events, all_users, user_of[name], duplicates, event_rules)
        for name, events in events_of.items()
    }
    data = MultiDomain(
        _vocabulary(all_users, rules),
        vocabularies,
        {name: events for name, (events, _) in tables_of.items()},
        _titles(events_of, given.titles, rules),
        {} if given.memberships is None else _memberships(events_of, given.memberships, rules),
        {name: pairs for name, (_, pairs) in tables_of.items() if pairs is not None},
        event_rules.kinds,
        provenance,
    )
    data = without_unknown(data) if data.seen else data
    data = _with_products(data, links, list(all_events), rules.fold) if links.given else data
    if given.item_features is not None:
        data = with_features(data, given.item_features, list(all_events))
    if given.user_features is None:
        return data
    return with_user_features(data, given.user_features, users, list(all_events))


def _with_products(data: MultiDomain, links: ItemLinks, domains: Sequence[str], fold: bool) -> MultiDomain:
    products, left_out = links.products(data.items, domains, fold)
    return replace(data, products=products, provenance=replace(data.provenance, links_left_out=left_out))


@dataclass(frozen=True)
class _Reader(Generic[E]):
    """What is the same for all tables of one call: the columns that were named, the roles that are used, how
    rows are read, what becomes of events, and where they are kept."""

    columns: NamedColumns
    roles: tuple[str, ...]
    rules: Rules
    event_rules: EventRules
    storage: Storage[E]

    def of_seen(self) -> _Reader[E]:
        """The reader of tables of seen pairs, which weigh nothing."""
        return replace(
            self,
            # other columns than these may have other names there, or be missing
            columns=self.columns.only(("user", "item", "domain")),
            roles=tuple(role for role in self.roles if role not in ("weight", "title")),
            event_rules=self.event_rules.of_seen(),
        )

    def table(self, source: Source, name: str, roles: Sequence[str], where: str) -> TableRead[E]:
        """A table of the domains that its domain column names, else of the domain ``name``."""

        def parse(table: EventTable) -> dict[str, Events]:
            return _by_domain(table, name, self.event_rules)

        table = TableSource(source, self.columns.table(name), roles, where, self.rules)
        read = self.storage.read(table, parse)
        return replace(read, origin=replace(read.origin, domains=tuple(read.events)))


def _tables(source: Source, reader: _Reader[E]) -> list[TableRead[E]]:
    named = named_tables(source)
    if not isinstance(source, Mapping | list | tuple):
        (name,) = named
        return [reader.table(source, name, reader.roles, place_of(source, "the table"))]
    roles = [role for role in reader.roles if role != "domain"]
    return [reader.table(table, name, roles, place_of(table, name)) for name, table in named.items()]


def named_tables(source: Source) -> dict[str, Source]:
    """The tables by name: that of the domain, or of a single table of several domains."""
    if isinstance(source, list | tuple):
        source = _by_stem(source)
    if not isinstance(source, Mapping):
        return {_stem(source) if tables.is_path(source) else "events": source}
    if not source:
        raise DataError("No table was given; give at least one file or frame.")
    return {str(name): table for name, table in source.items()}


def _seen_tables(source: Source, domains: Sequence[str], reader: _Reader[E]) -> list[TableRead[E]]:
    """Tables of seen pairs of these domains."""
    if isinstance(source, Mapping | list | tuple):
        seen = _tables(source, reader)
    else:
        # without a domain column it is a table of the only domain
        seen = [reader.table(source, domains[0], reader.roles, place_of(source, "the seen table"))]
        if len(domains) > 1 and "domain" not in seen[0].origin.used:
            raise DataError(
                f"{seen[0].origin.where} has no domain column, and there are several domains; add one, or "
                "give seen={domain: table}."
            )
    for name in _events_by_domain(seen):
        if name not in domains:
            raise DataError(f"The seen tables: {unknown('domain', name, domains)}")
    return seen


def _events_by_domain(tables_read: Sequence[TableRead[E]]) -> dict[str, E]:
    return {name: events for each in tables_read for name, events in each.events.items()}


def _with_seen(events_of: dict[str, E], seen_of: Mapping[str, E], storage: Storage[E]) -> dict[str, E]:
    """The events with those of tables of seen pairs, none of which is learned from."""
    return {
        name: storage.with_seen(events, seen_of[name]) if name in seen_of else events
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


def _by_domain(table: EventTable, name: str, rules: EventRules) -> dict[str, Events]:
    """The events of the domains that the domain column names, else those of the domain ``name``."""
    if "domain" not in table:
        return {name: _events_of(table, rules)}
    # encoded once for all domains: each then takes its rows and the ids that occur there
    domain, events = EncodedColumn.of(table.ids("domain")), _events_of(table, rules)
    return {
        str(each): replace(events.take(domain.idx == code), where=f"domain {str(each)!r} of {table.where}")
        for code, each in enumerate(domain.ids)
    }


def _provenance(
    tables_read: Sequence[TableRead[E]],
    seen_read: Sequence[TableRead[E]],
    shared: bool,
    fold: bool,
    skipped_to: Path | None,
) -> Provenance:
    all_read = [*tables_read, *seen_read]
    return Provenance(
        tuple(each.origin for each in tables_read),
        tuple(each.origin for each in seen_read),
        _became_one(all_read, shared) if fold else {},
        tuple(row for each in all_read for row in sorted(each.skipped, key=lambda row: row.row)),
        skipped_to,
    )


def _became_one(tables_read: Sequence[TableRead[E]], shared: bool) -> dict[str, int]:
    """How many ids of users and of items became another one."""
    import polars as pl

    def lost(role: str, within: pl.Expr) -> int:
        """Ids ``within`` one another's reach: those of one domain, or all."""
        ids = pl.col(role).cast(pl.String)
        lazy = pl.concat([rows.select(ids, within.alias("within")).unique() for rows in placed]).unique()
        raw = lazy.collect(engine="streaming")
        return raw.height - raw.with_columns(folded(ids)).unique().height

    placed = [
        each.rows.with_columns(
            domain=pl.col("domain").cast(pl.String)
            if "domain" in each.origin.used
            else pl.lit(each.origin.domains[0])
        )
        for each in tables_read
    ]
    of_domain = pl.col("domain")
    return {"users": lost("user", pl.lit("") if shared else of_domain), "items": lost("item", of_domain)}


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
    user = table.ids("user")
    time = rules.ordered(time, user, table.where)
    return Events(
        EncodedColumn.of(user),
        EncodedColumn.of(table.ids("item")),
        None if time is None else time.to_numpy(),
        own if of_kind is None else of_kind if own is None else own * of_kind,
        table.text("title") if "title" in table else None,
        table.where,
        standing,
        kinds,
    )


def _faded(events_of: dict[str, E], kinds: EventKinds) -> dict[str, E]:
    """The events with weights by their age, where there is a half-life; DataError without times."""
    if not kinds.half_life_days:
        return events_of
    for events in events_of.values():
        if not events.is_timed:
            raise DataError(f"half_life_days needs times, and {events.where} has none; name the time column.")
    latest = max(events.latest for events in events_of.values())
    return {name: events.faded(kinds, latest) for name, events in events_of.items()}


def _chosen(events_of: dict[str, E], domains: Sequence[str] | None) -> dict[str, E]:
    for name in domains or ():
        if name not in events_of:
            raise DataError(unknown("domain", name, events_of))
    return events_of if domains is None else {name: events_of[name] for name in domains}


def _divided(
    events: DomainEvents, all_users: pl.Series, user_V: pl.Series, duplicates: str, rules: EventRules
) -> tuple[Interactions, Seen | None]:
    """What of a domain's events is learned from, and what is only known; None where all are learned from."""
    rule = "max" if duplicates == "last" and events.has_kinds else duplicates
    learned, seen = events.divided(encode(user_V, all_users), len(all_users), rule)
    if not len(learned):
        raise DataError(rules.nothing_learned(events.where))
    return learned, seen


def _titles(events_of: Mapping[str, DomainEvents], source: Source, rules: Rules) -> dict[str, IdArray]:
    import polars as pl

    named: dict[str, IdArray] = {}
    table = None if source is None else _title_table(source, rules)
    for name, events in events_of.items():
        if table is not None:
            own = table.filter(pl.col("domain") == name) if "domain" in table.columns else table
            titled = own.select("item", "title")
        elif events.titled is not None:
            titled = events.titled
        else:
            continue
        named[name] = id_array(_looked_up(events.item.ids, titled))
    return named


def _title_table(source: Source, rules: Rules) -> pl.DataFrame:
    where = place_of(source, "the titles table")
    table, _ = tables.read_table(
        TableSource(source, {}, ("item", "title", "domain"), where, Rules(rules.fold))
    )
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
    events_of: Mapping[str, DomainEvents], source: Source, rules: Rules
) -> dict[str, npt.NDArray[np.bool_]]:
    where, names = place_of(source, "the memberships table"), list(events_of)
    table, _ = tables.read_table(TableSource(source, {}, ("item", "domain"), where, Rules(rules.fold)))
    if not ("item" in table and "domain" in table):
        raise DataError(f"No item and domain columns in {where}; name them 'item' and 'domain'.")
    item_M, domain_M = id_array(table.ids("item")), id_array(table.text("domain"))
    belongs = {}
    for name, events in events_of.items():
        listed = Vocabulary(id_array(events.item.ids)).index(item_M)
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


def _vocabulary(ids: pl.Series, rules: Rules) -> Vocabulary:
    return Vocabulary(id_array(ids), rules.fold)


def _float32() -> pl.DataType:
    import polars as pl

    return pl.Float32()


def place_of(source: Source, name: object) -> str:
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

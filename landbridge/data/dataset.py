"""Several catalogues with partly the same users: {domain: Interactions} under ONE user vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, unknown
from landbridge.core.text import html_table, is_unicode
from landbridge.core.types import AnyArray, Int32, Ragged, blocks
from landbridge.data.interactions import Interactions
from landbridge.data.item_features import ItemFeatures
from landbridge.data.kinds import EventKinds
from landbridge.data.products import Products, of_other_domains
from landbridge.data.provenance import Provenance
from landbridge.data.seen import Seen
from landbridge.data.user_blocks import UserBlock, merged
from landbridge.data.user_features import UserFeatures
from landbridge.data.vocabulary import IdArray, Vocabulary

IDS_AT_ONCE = 1 << 16  # texts that the fingerprint holds as objects


@dataclass(frozen=True, eq=False)
class MultiDomain:
    """Any number of domains D over one user vocabulary U; items are (domain, id).

    ``domains``: name -> events; ``items``: name -> vocabulary of that domain's items. ``titles``: name ->
    StringDType (I,) for display, may be missing per domain. ``memberships``: name -> bool (I, D), every
    domain an item belongs to (a film's genres), columns in the order of ``domain_names``; may be missing.
    ``seen``: name -> pairs that are known and not learned from; may be missing. ``kinds``: what kinds of
    events say, also of events to come. All mappings are read-only. ``provenance``: how they were read; no
    part of the fingerprint, and not saved. ``products``: which items of different domains are one product;
    None: every item is its own. ``item_features``, ``user_features``: what is known beside the events; None
    where nothing is.
    """

    users: Vocabulary
    items: Mapping[str, Vocabulary]
    domains: Mapping[str, Interactions]
    titles: Mapping[str, IdArray] = field(default_factory=dict)
    memberships: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    seen: Mapping[str, Seen] = field(default_factory=dict)
    kinds: EventKinds = field(default_factory=EventKinds)
    provenance: Provenance = field(default_factory=Provenance)
    products: Products | None = None
    item_features: ItemFeatures | None = None
    user_features: UserFeatures | None = None

    def __post_init__(self) -> None:
        if not self.domains:
            raise DataError("There is no domain: give at least one table of events.")
        if set(self.items) != set(self.domains):
            raise DataError("Every domain needs exactly one item vocabulary.")
        for name, events in self.domains.items():
            check_name(name)
            if (events.n_users, events.n_items) != (len(self.users), len(self.items[name])):
                raise DataError(f"The events of domain {name!r} do not fit its vocabularies.")
        for name, titles in self.titles.items():
            if titles.shape != (len(self.items[name]),):
                raise DataError(f"Domain {name!r} needs one title per item.")
        for name, seen in self.seen.items():
            if (seen.pairs.n_users, seen.pairs.n_items) != (len(self.users), len(self.items[name])):
                raise DataError(f"The seen pairs of domain {name!r} do not fit its vocabularies.")
        if self.products is not None:
            of_items = {name: len(product_I) for name, product_I in self.products.product_I.items()}
            if of_items != {name: len(self.items[name]) for name in self.domains}:
                raise DataError("Every item needs exactly one product.")
        if self.item_features is not None:
            rows_of = {name: len(rows) for name, rows in self.item_features.rows.items()}
            if rows_of != {name: len(self.items[name]) for name in self.domains}:
                raise DataError("Every item needs exactly one row of features.")
        if self.user_features is not None and len(self.user_features.rows) != len(self.users):
            raise DataError("Every user needs exactly one row of features.")
        for mapping in ("items", "domains", "titles", "memberships", "seen"):
            # the dataclass is frozen, but a dict in it would not be: fits and fingerprints rely on equal
            # data
            object.__setattr__(self, mapping, MappingProxyType(dict(getattr(self, mapping))))

    @property
    def domain_names(self) -> tuple[str, ...]:
        """The domains' names, in order."""
        return tuple(self.domains)

    @property
    def n_users(self) -> int:
        """Number of users over all domains."""
        return len(self.users)

    @property
    def n_events(self) -> int:
        """Number of events over all domains."""
        return sum(len(events) for events in self.domains.values())

    def named(self, domain: str) -> str:
        """``domain`` itself; an unknown one is an error that names the nearest."""
        if domain not in self.domains:
            raise DataError(unknown("domain", domain, self.domains))
        return domain

    def __getitem__(self, domain: str) -> Interactions:
        return self.domains[self.named(domain)]

    @property
    def shares_items(self) -> bool:
        """Whether any item of one domain is the product of another's."""
        return self.products is not None and self.products.n_shared > 0

    def new_items(self, domain: str) -> npt.NDArray[np.bool_]:
        """Which items of a domain have features but no event to learn from, (I,)."""
        if self.item_features is None:
            return np.zeros(len(self.items[self.named(domain)]), bool)
        has_features_I = self.item_features.rows[self.named(domain)].lengths > 0
        return np.asarray(has_features_I & (self[domain].item_counts == 0))

    @cached_property
    def described_U(self) -> npt.NDArray[np.bool_]:
        """Which users have features, (U,)."""
        if self.user_features is None:
            return np.zeros(self.n_users, bool)
        return np.asarray(self.user_features.rows.lengths > 0)

    @property
    def new_users_U(self) -> npt.NDArray[np.bool_]:
        """Which users have features but no event in any domain, (U,)."""
        return np.asarray(self.described_U & ~self.activity_UD.any(axis=1))

    @cached_property
    def activity_UD(self) -> npt.NDArray[np.int64]:
        """Events of each user in each domain, (U, D)."""
        return np.stack([events.user_counts for events in self.domains.values()], axis=1)

    @cached_property
    def latest_UD(self) -> npt.NDArray[np.float64]:
        """The time of each user's latest event in each domain, (U, D); -inf without one or without times."""
        latest_UD = np.full((self.n_users, len(self.domains)), -np.inf)
        for latest_U, events in zip(latest_UD.T, self.domains.values(), strict=True):
            if events.time is not None:
                for block in blocks(len(events)):
                    np.maximum.at(latest_U, events.user_idx[block], events.time[block])
        return latest_UD

    @cached_property
    def shared_U(self) -> npt.NDArray[np.bool_]:
        """Whether a user has events in two domains or more, (U,)."""
        return np.asarray((self.activity_UD > 0).sum(axis=1) >= 2)

    @cached_property
    def latest(self) -> float:
        """The time of the latest event, learned from or not; -inf without times."""
        seen = [each.pairs.time for each in self.seen.values()]
        times = [*(events.time for events in self.domains.values()), *seen]
        return max((float(time.max()) for time in times if time is not None and len(time)), default=-np.inf)

    def excluded(self, domain: str, *, seen: bool = False) -> Interactions:
        """The pairs that lists leave out: those with an event and those seen or disliked; the disliked ones
        alone where ``seen`` items may be listed."""
        events, own = self[domain], self.seen.get(domain)
        if own is None or not len(own):
            return events.take(np.zeros(len(events), bool)) if seen else events
        if seen:
            return own.disliked
        if domain not in self._excluded:
            self._excluded[domain] = _union(events, own.pairs)
        return self._excluded[domain]

    def left_out(
        self, domain: str, user_B: Int32, *, seen: bool = False, seen_elsewhere: bool = True
    ) -> Ragged:
        """The items that each user's list of a domain leaves out, (B rows): as :meth:`excluded` and, without
        ``seen_elsewhere``, those whose product the user has, or has seen, in another domain."""
        own = self.excluded(domain, seen=seen).by_user.take(user_B)
        if seen_elsewhere or self.products is None:
            return own
        rows = {name: self.excluded(name).by_user.take(user_B) for name in self.domains}
        return own.concat(of_other_domains(self.products, domain, rows))

    @cached_property
    def _excluded(self) -> dict[str, Interactions]:
        return {}

    def all_excluded(self) -> MultiDomain:
        """All pairs that lists leave out as events, for look-ups over several domains."""
        return self.with_events({name: self.excluded(name) for name in self.domains}) if self.seen else self

    def only_disliked(self) -> MultiDomain:
        """The disliked pairs as events."""
        return self.with_events({name: self.excluded(name, seen=True) for name in self.domains})

    def with_events(self, domains: Mapping[str, Interactions]) -> MultiDomain:
        """The same vocabularies with other events."""
        return replace(self, domains=dict(domains))

    def with_seen(self, masks: Mapping[str, npt.NDArray[np.bool_]]) -> MultiDomain:
        """The same events, of the seen pairs of each domain those where its mask is true."""
        return replace(self, seen={name: seen.take(masks[name]) for name, seen in self.seen.items()})

    def select(self, names: Iterable[str]) -> MultiDomain:
        """Only the named domains, with all users kept."""
        chosen = [self.named(name) for name in names]
        columns = [self.domain_names.index(name) for name in chosen]
        return MultiDomain(
            self.users,
            {name: self.items[name] for name in chosen},
            {name: self.domains[name] for name in chosen},
            {name: self.titles[name] for name in chosen if name in self.titles},
            {name: self.memberships[name][:, columns] for name in chosen if name in self.memberships},
            {name: self.seen[name] for name in chosen if name in self.seen},
            self.kinds,
            self.provenance,
            None if self.products is None else self.products.select(chosen),
            None if self.item_features is None else self.item_features.select(chosen),
            self.user_features,
        )

    def joined(self) -> tuple[Interactions, dict[str, slice]]:
        """All domains as one table over the concatenated item catalogues, and each domain's item slice."""
        slices = self.item_slices
        size = sum(events.n_items for events in self.domains.values())
        return merged(self.domains, lambda block: _side_by_side(block.tables, slices, size)), slices

    @property
    def item_slices(self) -> dict[str, slice]:
        """Each domain's items in the concatenated catalogues, as :meth:`joined` numbers them."""
        slices, start = {}, 0
        for name, events in self.domains.items():
            slices[name] = slice(start, start + events.n_items)
            start += events.n_items
        return slices

    def by_product(self) -> tuple[Interactions, dict[str, Int32]]:
        """All domains as one table over the products, and the product of each domain's items, (I,).

        A user's events of one product in several domains are one, of the largest weight.
        """
        table, slices = self.joined()
        if self.products is None:
            return table, {
                name: np.arange(part.start, part.stop, dtype=np.int32) for name, part in slices.items()
            }
        product_J = np.concatenate([self.products.product_I[name] for name in slices])
        n_products = self.products.n_products

        def of_products(block: UserBlock) -> Interactions:
            own = block.tables["all"]
            columns = block.n_users, n_products, own.weight, own.time, "max"
            return Interactions.from_events(own.user_idx, product_J[own.item_idx], *columns)

        return merged({"all": table}, of_products), dict(self.products.product_I)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, ids and events: equal data, equal fingerprint."""
        digest = hashlib.sha256()
        _update(digest, self.users.ids)
        for name, events in self.domains.items():
            digest.update(name.encode())
            _update(digest, self.items[name].ids)
            for array in (events.user_idx, events.item_idx, events.weight, events.time):
                # a missing column and an empty one must differ
                digest.update(b"-" if array is None else _bytes(array))
            if events.kinds is not None:
                digest.update(b"kinds")
                digest.update(_bytes(events.kinds))
            if name in self.seen and len(seen := self.seen[name].pairs):
                digest.update(b"seen")
                digest.update(_bytes(seen.user_idx))
                digest.update(_bytes(seen.item_idx))
                digest.update(_bytes(self.seen[name].disliked_N))
        if self.products is not None:
            digest.update(b"products by id" if self.products.by_id else b"products")
            for product_I in self.products.product_I.values():
                digest.update(product_I.tobytes())
        if self.item_features is not None:
            self.item_features.update(digest)
        if self.user_features is not None:
            self.user_features.update(digest)
        return digest.hexdigest()

    @property
    def shape_rows(self) -> list[dict[str, object]]:
        """One row per domain: domain, users (with events), items, events."""
        return [
            {
                "domain": name,
                "users": int((events.user_counts > 0).sum()),
                "items": events.n_items,
                "events": len(events),
            }
            for name, events in self.domains.items()
        ]

    @property
    def shape_text(self) -> str:
        """Numbers of users, and of events and items of every domain, in words."""
        parts = ", ".join(
            f"{name}: {len(e):,} events × {e.n_items:,} items" for name, e in self.domains.items()
        )
        if seen := sum(map(len, self.seen.values())):
            parts += f"; {seen:,} pairs seen"
        if self.products is not None:
            parts += f"; {self.products.n_shared:,} items shared"
        if self.item_features is not None:
            parts += f"; {self.item_features.n_features:,} item features"
        if self.user_features is not None:
            parts += f"; {self.user_features.n_features:,} user features"
        return f"{self.n_users:,} users; {parts}"

    def __repr__(self) -> str:
        return f"MultiDomain({self.shape_text})"

    def _repr_html_(self) -> str:
        return html_table(f"MultiDomain, {self.n_users:,} users", self.shape_rows)


def check_name(domain: str) -> None:
    """DataError for a domain's name that is empty or no Unicode, as of a file named in an old encoding."""
    if not domain or not is_unicode(domain):
        raise DataError(f"{domain!r} names no domain; rename the file, or give the table as {{name: path}}.")


def _union(events: Interactions, seen: Interactions) -> Interactions:
    """The pairs of both, without weights and times."""

    def union(block: UserBlock) -> Interactions:
        one, other = block.tables.values()
        users, items = np.append(one.user_idx, other.user_idx), np.append(one.item_idx, other.item_idx)
        return Interactions.from_events(users, items, block.n_users, events.n_items)

    return merged({"events": events, "seen": seen}, union)


def _side_by_side(
    domains: Mapping[str, Interactions], slices: Mapping[str, slice], n_items: int
) -> Interactions:
    """The events of some domains as one table, in which each domain has a slice of the items."""
    tables = domains.values()
    weighted = any(events.weight is not None for events in tables)
    # one domain without times makes any order of the joined table meaningless
    timed = all(events.time is not None for events in tables)
    return Interactions.from_events(
        np.concatenate([events.user_idx for events in tables]),
        np.concatenate([events.item_idx + slices[name].start for name, events in domains.items()]),
        next(iter(tables)).n_users,
        n_items,
        np.concatenate([_ones_or(events) for events in tables]) if weighted else None,
        np.concatenate([events.time for events in tables if events.time is not None]) if timed else None,
    )


def _ones_or(events: Interactions) -> npt.NDArray[np.float32]:
    return np.ones(len(events), np.float32) if events.weight is None else events.weight


def _bytes(array: AnyArray) -> memoryview:
    """The bytes of an array, without a copy."""
    return np.ascontiguousarray(array).data


def _update(digest: hashlib._Hash, ids: IdArray) -> None:
    if ids.dtype == np.int64:
        digest.update(_bytes(ids))
        return
    for block in blocks(len(ids), IDS_AT_ONCE):
        # with a separator: ["ab", "c"] and ["a", "bc"] must differ
        digest.update((("\x00" if block.start else "") + "\x00".join(ids[block].tolist())).encode())

"""Shared items: which items of different domains are one product, such as a film in two countries' shops.

An item belongs to one product, and a product has one item or none in each domain. Letters: I items,
P products, L links.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from landbridge.core.errors import DataError
from landbridge.core.types import Bool, Float64, Int32, Int64, Ragged
from landbridge.data.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Products:
    """``product_I``: domain -> int32 (I,), the product of each item, from 0 to P - 1, none without an item.

    ``by_id``: whether equal ids of items to come are one product, too. Build it with :func:`products_of`.
    """

    product_I: Mapping[str, Int32]
    by_id: bool

    def __post_init__(self) -> None:
        for name, product_I in self.product_I.items():
            if product_I.dtype != np.int32 or product_I.ndim != 1:
                raise DataError(f"The products of domain {name!r} must be one whole number per item.")
            if len(np.unique(product_I)) < len(product_I):
                raise DataError(
                    f"Two items of domain {name!r} are one product; a domain has each product once."
                )
            product_I.flags.writeable = False
        # kernels index with these numbers and check no bounds
        if not np.array_equal(np.unique(self._all), np.arange(self.n_products)):
            raise DataError("Products must be numbered from 0 without gaps.")
        object.__setattr__(self, "product_I", MappingProxyType(dict(self.product_I)))

    @property
    def n_products(self) -> int:
        """P."""
        return int(self._all.max(initial=-1)) + 1

    @property
    def _all(self) -> Int32:
        return np.concatenate([np.empty(0, np.int32), *self.product_I.values()])

    @property
    def domains_P(self) -> Int64:
        """In how many domains each product is, (P,)."""
        return np.bincount(self._all, minlength=self.n_products)

    @property
    def n_shared(self) -> int:
        """How many products are in two domains or more."""
        return int((self.domains_P > 1).sum())

    def select(self, names: Iterable[str]) -> Products:
        """Of the named domains, in this order."""
        return _numbered({name: self.product_I[name].astype(np.int64) for name in names}, self.by_id)

    def take(self, mask_I: Mapping[str, Bool]) -> Products:
        """Of the items where the domain's mask is true."""
        kept = {name: product_I[mask_I[name]].astype(np.int64) for name, product_I in self.product_I.items()}
        return _numbered(kept, self.by_id)

    def grown(self, before: Mapping[str, Vocabulary], items: Mapping[str, Vocabulary]) -> Products:
        """Of ``items``, which hold all of ``before``: known ones keep their product, new ones have their own
        or, where products go by ids, that of equal ids."""
        pairs, start_of = [np.empty((0, 2), np.int64)], starts(items)
        first_P = np.full(self.n_products, -1, np.int64)
        for name, product_I in self.product_I.items():
            own_I = start_of[name] + items[name].index(before[name].ids).astype(np.int64)
            first_P[product_I] = np.where(first_P[product_I] < 0, own_I, first_P[product_I])
            pairs.append(np.stack([first_P[product_I], own_I], axis=1))
        if self.by_id:
            known_I = {name: items[name].index(before[name].ids) for name in items}
            pairs.append(_new_pairs(items, known_I))
        return products_of(items, np.concatenate(pairs), self.by_id)


def products_of(items: Mapping[str, Vocabulary], pair_L2: Int64, by_id: bool) -> Products:
    """The products that pairs of items make: numbers of items, counted through the domains (:func:`starts`),
    (L, 2). DataError, naming both, where they make two items of a domain one product."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_items = sum(map(len, items.values()))
    graph = coo_array((np.ones(len(pair_L2), bool), (pair_L2[:, 0], pair_L2[:, 1])), (n_items, n_items))
    product_N = connected_components(graph, directed=False)[1].astype(np.int64)
    product_I = {name: product_N[start : start + len(items[name])] for name, start in starts(items).items()}
    for name, own_I in product_I.items():
        _check_once(name, items[name], own_I)
    return _numbered(product_I, by_id)


def equal_ids(items: Mapping[str, Vocabulary]) -> Int64:
    """Pairs of items of equal ids, (L, 2); as text: 17 and "17" are one id, as wherever ids are looked up."""
    import polars as pl

    texts = [pl.Series(vocabulary.ids.tolist()).cast(pl.String) for vocabulary in items.values()]
    item = pl.DataFrame({"text": pl.concat(texts)}).with_row_index("item").select(
        pl.col("item").first().over("text").alias("first"), "item"
    )  # fmt: skip
    return item.cast(pl.Int64).to_numpy()


def starts(items: Mapping[str, Vocabulary]) -> dict[str, int]:
    """The number of each domain's first item, counted through the domains."""
    ends = np.cumsum([0, *map(len, items.values())])
    return {name: int(end) for name, end in zip(items, ends, strict=False)}


def _new_pairs(items: Mapping[str, Vocabulary], known_I: Mapping[str, Int32]) -> Int64:
    """The pairs of equal ids of which one item or both are new; what is known of two others stays."""
    pair_L2 = equal_ids(items)
    known_N = np.zeros(sum(map(len, items.values())), bool)
    for name, start in starts(items).items():
        known_N[start + known_I[name].astype(np.int64)] = True
    return pair_L2[~known_N[pair_L2].all(axis=1)]


def _check_once(name: str, items: Vocabulary, product_I: Int64) -> None:
    order_I = np.argsort(product_I, kind="stable")
    again = np.flatnonzero(np.diff(product_I[order_I]) == 0)
    if len(again):
        one, two = (items.ids[order_I[again[0] + step]] for step in (0, 1))
        raise DataError(
            f"The links make items {str(one)!r} and {str(two)!r} of domain {name!r} one product; link an "
            "item with one item of each other domain at most, directly or through others."
        )


def _numbered(product_I: Mapping[str, Int64], by_id: bool) -> Products:
    """The same products with numbers in the order of their first items: without shared ones, as items are
    counted through the domains."""
    all_N = np.concatenate([np.empty(0, np.int64), *product_I.values()])
    _, first_P, of_N = np.unique(all_N, return_index=True, return_inverse=True)
    rank_P = np.argsort(np.argsort(first_P))
    parts = np.split(rank_P[of_N].astype(np.int32), np.cumsum([len(own) for own in product_I.values()])[:-1])
    return Products({name: part.copy() for name, part in zip(product_I, parts, strict=True)}, by_id)


def of_other_domains(products: Products, domain: str, rows: Mapping[str, Ragged]) -> Ragged:
    """The items of ``domain`` whose products are among the items of the same row in another domain;
    ``rows``: domain -> items, (B rows)."""
    item_P = np.full(products.n_products, -1, np.int32)
    item_P[products.product_I[domain]] = np.arange(len(products.product_I[domain]), dtype=np.int32)
    others = {name: own for name, own in rows.items() if name != domain}
    found = Ragged.empty(len(rows[domain]))
    for name, own in others.items():
        item_N = item_P[products.product_I[name][own.columns]]
        found = found.concat(Ragged.from_index(own.entry_rows[item_N >= 0], item_N[item_N >= 0], len(own)))
    return found


def share_I(products: Products, domain: str) -> Float64:
    """1 / the number of domains that an item's product is in, (I,)."""
    return np.asarray(1 / products.domains_P[products.product_I[domain]], np.float64)

"""More items in a domain's vocabulary: items without events, of which something else is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from landbridge.core.types import AnyArray, Int32
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.seen import Seen
from landbridge.data.vocabulary import IdArray, Vocabulary


def with_items(data: MultiDomain, ids: Mapping[str, IdArray]) -> MultiDomain:
    """The same events over vocabularies that hold these ids, too; ``ids``: domain -> ids of the type that the
    domain has. A new item is called by its id, belongs to its domain and is a product of its own, unless
    products go by ids."""
    items = {name: _grown(vocabulary, ids.get(name)) for name, vocabulary in data.items.items()}
    place_I = {name: items[name].index(data.items[name].ids) for name in items}
    return replace(
        data,
        items=items,
        domains={name: _moved(table, place_I[name], items[name]) for name, table in data.domains.items()},
        titles={
            name: _spread(titles, place_I[name], items[name].ids.astype(np.dtypes.StringDType()))
            for name, titles in data.titles.items()
        },
        memberships={
            name: _spread(table, place_I[name], _member_of(data, name, len(items[name])))
            for name, table in data.memberships.items()
        },
        seen={
            name: Seen(_moved(seen.pairs, place_I[name], items[name]), seen.disliked_N)
            for name, seen in data.seen.items()
        },
        products=None if data.products is None else data.products.grown(data.items, items),
        item_features=None if data.item_features is None else data.item_features.grown(data.items, items),
    )


def _grown(vocabulary: Vocabulary, ids: IdArray | None) -> Vocabulary:
    if ids is None or not len(ids):
        return vocabulary
    return Vocabulary(np.unique(np.concatenate([vocabulary.ids, ids])), vocabulary.folded)


def _moved(events: Interactions, place_I: Int32, items: Vocabulary) -> Interactions:
    # ids stay in order, and so do the events
    return replace(events, item_idx=place_I[events.item_idx], n_items=len(items))


def _spread(known: AnyArray, place_I: Int32, usual: AnyArray) -> AnyArray:
    """Known rows at their new places, the usual ones elsewhere."""
    usual[place_I] = known
    return usual


def _member_of(data: MultiDomain, name: str, n_items: int) -> AnyArray:
    belongs_ID = np.zeros((n_items, len(data.domain_names)), bool)
    belongs_ID[:, data.domain_names.index(name)] = True
    return belongs_ID

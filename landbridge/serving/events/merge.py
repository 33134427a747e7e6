"""Merge stored events into a run's data, and remove the users to be forgotten.

Ids stay sorted, so new ids shift the dense indices of old ones; code that needs a row again looks it up by
its raw id. Events of an unknown domain, and text ids where the run has whole numbers, are left out: learning
them would change what the ids of the run are.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from landbridge.core.types import AnyArray, Int32
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.vocabulary import Vocabulary, as_ids

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class MergedData:
    """What is new (``events``: pairs of user and item), whom the data forgot, and how many events of the
    store were left out."""

    events: int
    users: int
    items: int
    forgotten: int
    left_out: int


def merge_events(
    history: MultiDomain, heard: pl.DataFrame, gone: Collection[str | int]
) -> tuple[MultiDomain, MergedData]:
    """``history`` with the events ``heard`` (user, domain, item, timestamp) and without the users ``gone``.

    A pair that is already known keeps its weight and takes the later time; a new one weighs 1. Data without
    times stay without. Items stay even without events.
    """
    import polars as pl

    left_U = _index_of(history.users, gone)
    staying_U = np.isin(np.arange(history.n_users), left_U, invert=True)
    # compared as text: 17 and "17" are one user
    heard = heard.filter(~pl.col("user").cast(pl.String).is_in([str(user) for user in gone]))
    parts = {
        name: _usable(heard.filter(pl.col("domain") == name), history, name) for name in history.domain_names
    }
    users = _with(history.users.ids[staying_U], pl.concat([part["user"] for part in parts.values()]))
    items = {name: _with(history.items[name].ids, part["item"]) for name, part in parts.items()}
    domains = {name: _merged(history, name, users, items[name], part) for name, part in parts.items()}
    data = MultiDomain(
        users,
        items,
        domains,
        {name: _titles(history, name, items[name]) for name in history.titles},
        {name: _memberships(history, name, items[name]) for name in history.memberships},
    )
    remaining = sum(int(staying_U[events.user_idx].sum()) for events in history.domains.values())
    return data, MergedData(
        data.n_events - remaining,
        len(users) - int(staying_U.sum()),
        sum(len(items[name]) - len(history.items[name]) for name in items),
        len(left_U),
        heard.height - sum(part.height for part in parts.values()),
    )


def missing_events(vocabulary: Vocabulary, raw: Collection[str | int]) -> set[str]:
    """Those of the ids, as text, that the vocabulary does not hold."""
    held = vocabulary.ids[_index_of(vocabulary, raw)]
    return {str(each) for each in raw} - set(held.astype(np.dtypes.StringDType()).tolist())


def _usable(part: pl.DataFrame, history: MultiDomain, name: str) -> pl.DataFrame:
    """The events whose ids can be ids of the run."""
    return part.with_columns(
        _as_in(history.users, part["user"]), _as_in(history.items[name], part["item"])
    ).drop_nulls()


def _as_in(vocabulary: Vocabulary, column: pl.Series) -> pl.Series:
    """Ids as the vocabulary keeps them; null for text among whole numbers (007 is text)."""
    import polars as pl

    text = column.cast(pl.String)
    if vocabulary.is_text:
        return text
    whole = text.cast(pl.Int64, strict=False)
    # "007" casts to 7, but is another id
    return whole.set(whole.cast(pl.String) != text, None)


def _index_of(vocabulary: Vocabulary, raw: Collection[str | int]) -> Int32:
    """Dense indices of the ids that the vocabulary holds, each once."""
    import polars as pl

    texts = pl.Series("id", sorted({str(each) for each in raw}), pl.String)
    index = vocabulary.index(_array(_as_in(vocabulary, texts).drop_nulls()))
    return index[index >= 0]


def _with(ids: AnyArray, heard: pl.Series) -> Vocabulary:
    return Vocabulary.of(np.concatenate([ids, _array(heard.unique())]))


def _merged(
    history: MultiDomain, name: str, users: Vocabulary, items: Vocabulary, heard: pl.DataFrame
) -> Interactions:
    """One domain's events in the grown indices."""
    before = _moved(
        history[name],
        users.index(history.users.ids),
        items.index(history.items[name].ids),
        len(users),
        len(items),
    )
    user_N, item_N = users.index(_array(heard["user"])), items.index(_array(heard["item"]))
    weight, time = before.weight, before.time
    return Interactions.from_events(
        np.concatenate([before.user_idx, user_N]),
        np.concatenate([before.item_idx, item_N]),
        len(users),
        len(items),
        None if weight is None else np.concatenate([weight, before.weights_of(user_N, item_N)]),
        None if time is None else np.concatenate([time, heard["timestamp"].to_numpy()]),
    )


def _moved(events: Interactions, place_U: Int32, place_I: Int32, n_users: int, n_items: int) -> Interactions:
    """The events of the users who stay, in other indices; both orders are that of the ids, so it holds."""
    events = events.take(place_U[events.user_idx] >= 0)
    return Interactions(
        place_U[events.user_idx], place_I[events.item_idx], n_users, n_items, events.weight, events.time
    )


def _titles(history: MultiDomain, name: str, items: Vocabulary) -> AnyArray:
    """New items are called by their ids."""
    titles = items.ids.astype(np.dtypes.StringDType())
    titles[items.index(history.items[name].ids)] = history.titles[name]
    return titles


def _memberships(history: MultiDomain, name: str, items: Vocabulary) -> npt.NDArray[np.bool_]:
    """New items belong to the domain they were seen in."""
    belongs_ID = np.zeros((len(items), len(history.domain_names)), bool)
    belongs_ID[:, history.domain_names.index(name)] = True
    belongs_ID[items.index(history.items[name].ids)] = history.memberships[name]
    return belongs_ID


def _array(column: pl.Series) -> AnyArray:
    return as_ids(column.to_numpy())

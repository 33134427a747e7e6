"""Merge stored events into a run's data, and remove the users to be forgotten.

Ids stay sorted, so new ids shift the dense indices of old ones; code that needs a row again looks it up by
its raw id. Events of an unknown domain, and text ids where the run has whole numbers, are left out: learning
them would change what the ids of the run are.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from landbridge.core.types import AnyArray, Float32, Int32, Int64
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.kinds import DISLIKED, SEEN, EventKinds, at_least
from landbridge.data.seen import LONG_AGO, Rows, Seen, divided
from landbridge.data.vocabulary import Vocabulary, as_ids
from landbridge.serving.engine.query_builder import Live, is_plain, live_weights

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class MergedData:
    """What is new (``events``: pairs of user and item), whom the data forgot, and how many events of the
    store were left out; ``seen``: pairs that nothing is learned from, or no longer."""

    events: int
    users: int
    items: int
    forgotten: int
    left_out: int
    seen: int = 0


class _Merged(NamedTuple):
    """One domain's data, and how many pairs are new among them."""

    events: Interactions
    seen: Seen
    new_events: int
    new_seen: int


def merge_events(
    history: MultiDomain, heard: pl.DataFrame, gone: Collection[str | int]
) -> tuple[MultiDomain, MergedData]:
    """``history`` with the events ``heard`` (user, domain, item, timestamp, kind, weight) and without the
    users ``gone``.

    A pair keeps its weight, or gets that of its strongest new event, and takes the later time; a new one
    without a kind and a weight weighs 1. Of events of one pair that are learned from or count against it
    the latest decides. Data without times stay without. Items stay even without events.
    """
    import polars as pl

    left_U = _index_of(history.users, gone)
    staying_U = np.isin(np.arange(history.n_users), left_U, invert=True)
    # compared as text: 17 and "17" are one user
    leaving = history.users.spelled_texts(pl.Series([str(user) for user in gone], dtype=pl.String))
    heard = heard.filter(~history.users.spelled_texts(heard["user"].cast(pl.String)).is_in(leaving.to_list()))
    parts = {
        name: _usable(heard.filter(pl.col("domain") == name), history, name) for name in history.domain_names
    }
    users = _with(history.users.only(staying_U), pl.concat([part["user"] for part in parts.values()]))
    items = {name: _with(history.items[name], part["item"]) for name, part in parts.items()}
    heard_N = pl.concat([part["timestamp"].cast(pl.Float64) for part in parts.values()]).drop_nulls()
    latest = max([history.latest, *heard_N.top_k(1)])
    merged = {name: _merged(history, name, users, items[name], part, latest) for name, part in parts.items()}
    data = MultiDomain(
        users,
        items,
        {name: each.events for name, each in merged.items()},
        {name: _titles(history, name, items[name]) for name in history.titles},
        {name: _memberships(history, name, items[name]) for name in history.memberships},
        {name: each.seen for name, each in merged.items() if len(each.seen)},
        history.kinds,
        products=None if history.products is None else history.products.grown(history.items, items),
        item_features=None
        if history.item_features is None
        else history.item_features.grown(history.items, items),
        user_features=None
        if history.user_features is None
        else history.user_features.take(history.users.index(users.ids)),
    )
    return data, MergedData(
        sum(each.new_events for each in merged.values()),
        len(users) - int(staying_U.sum()),
        sum(len(items[name]) - len(history.items[name]) for name in items),
        len(left_U),
        heard.height - sum(part.height for part in parts.values()),
        sum(each.new_seen for each in merged.values()),
    )


def missing_events(vocabulary: Vocabulary, raw: Collection[str | int]) -> set[str]:
    """Those of the ids, as text, that the vocabulary does not hold."""
    texts = [str(each) for each in raw]
    return {text for text, place in zip(texts, vocabulary.index(texts).tolist(), strict=True) if place < 0}


def _usable(part: pl.DataFrame, history: MultiDomain, name: str) -> pl.DataFrame:
    """The events whose ids can be ids of the run, and whose kinds it knows."""
    import polars as pl

    part = part.with_columns(_as_in(history.users, part["user"]), _as_in(history.items[name], part["item"]))
    known = pl.col("kind").is_null() | pl.col("kind").is_in(list(history.kinds.values))
    return part.filter(known).drop_nulls(("user", "item", "timestamp"))


def _as_in(vocabulary: Vocabulary, column: pl.Series) -> pl.Series:
    """Ids as the vocabulary keeps them; null for text among whole numbers (007 is text)."""
    import polars as pl

    text = vocabulary.spelled_texts(column.cast(pl.String))
    if vocabulary.is_text:
        return text
    whole = text.cast(pl.Int64, strict=False)
    # "007" casts to 7, but is another id
    return whole.set(whole.cast(pl.String) != text, None)


def _index_of(vocabulary: Vocabulary, raw: Collection[str | int]) -> Int32:
    """Dense indices of the ids that the vocabulary holds, each once."""
    place_N = vocabulary.index([str(each) for each in raw])
    return np.unique(place_N[place_N >= 0])


def _with(vocabulary: Vocabulary, heard: pl.Series) -> Vocabulary:
    ids = np.concatenate([vocabulary.ids, _array(heard.unique())])
    return Vocabulary(np.unique(ids), vocabulary.folded)


def _merged(
    history: MultiDomain,
    name: str,
    users: Vocabulary,
    items: Vocabulary,
    heard: pl.DataFrame,
    latest: float,
) -> _Merged:
    """One domain's events, and its seen pairs, in the grown indices."""
    kinds, place_U = history.kinds, users.index(history.users.ids)
    places = place_U, items.index(history.items[name].ids), len(users), len(items)
    before = _moved(history[name], *places)
    rows, known = [Rows(before.user_idx, before.item_idx, np.zeros(len(before), np.int8))], [before]
    if name in history.seen:
        stays_N = place_U[history.seen[name].pairs.user_idx] >= 0
        seen, marks_N = _moved(history.seen[name].pairs, *places), history.seen[name].disliked_N[stays_N]
        rows.append(Rows(seen.user_idx, seen.item_idx, np.where(marks_N, DISLIKED, SEEN), time=seen.time))
        known = [before, seen]
    kind_M = heard["kind"].to_list()
    user_M, item_M = users.index(_array(heard["user"])), items.index(_array(heard["item"]))
    standing_M = np.array([kinds.standing(kind) for kind in kind_M], np.int8)
    rows.append(Rows(user_M, item_M, standing_M, time=heard["timestamp"].to_numpy()))
    learned, also = divided(
        Rows(
            np.concatenate([each.user_idx for each in rows]),
            np.concatenate([each.item_idx for each in rows]),
            np.concatenate([each.standing_N for each in rows]).astype(np.int8),
            _weights(before, rows, kinds, _live(rows[-1], kind_M, heard), history.latest, latest),
            None if before.time is None else np.concatenate([before.time, *map(_times, rows[1:])]),
            _kinds(before, rows, kinds, kind_M),
        ),
        len(users),
        len(items),
        "max",
    )
    return _Merged(learned, also, _n_new(learned, known[:1]), _n_new(also.pairs, known[1:]))


def _n_new(pairs: Interactions, known: list[Interactions]) -> int:
    """How many pairs none of the tables has."""
    new_N = np.ones(len(pairs), bool)
    for table in known:
        new_N &= ~table.contains(pairs.user_idx, pairs.item_idx)
    return int(new_N.sum())


def _weights(
    before: Interactions,
    rows: list[Rows],
    kinds: EventKinds,
    live: Live,
    then: float,
    latest: float,
) -> Float32 | None:
    """The weight of every row; those known fade by the time that has passed since. None where all are 1."""
    new_M = live_weights(kinds, before, live, latest)
    if before.weight is None and not kinds.half_life_days and bool((new_M == 1).all()):
        return None
    faded = kinds.faded(np.array([then]), latest) if np.isfinite(then) else np.ones(1, np.float32)
    # a plain event takes the weight known of its pair, which has faded too
    old_M = is_plain(live) & before.contains(live.row_M, live.item_M)
    others = [np.ones(len(each.user_idx), np.float32) for each in rows[1:-1]]
    return np.concatenate(
        [at_least(before.by_user.weights * faded), *others, at_least(np.where(old_M, new_M * faded, new_M))]
    )


def _live(rows: Rows, kind_M: list[str | None], heard: pl.DataFrame) -> Live:
    return Live(rows.user_idx, rows.item_idx, _times(rows), kind_M, heard["weight"].to_list())


def _kinds(
    before: Interactions, rows: list[Rows], kinds: EventKinds, kind_M: list[str | None]
) -> Int64 | None:
    """The kinds of every row as bits; None where there are none."""
    if before.kinds is None and not any(kind_M):
        return None
    own = np.zeros(len(before), np.int64) if before.kinds is None else before.kinds
    others = [np.zeros(len(each.user_idx), np.int64) for each in rows[1:-1]]
    return np.concatenate([own, *others, np.array([kinds.bit(kind) for kind in kind_M], np.int64)])


def _times(rows: Rows) -> AnyArray:
    return np.full(len(rows.user_idx), LONG_AGO) if rows.time is None else rows.time


def _moved(events: Interactions, place_U: Int32, place_I: Int32, n_users: int, n_items: int) -> Interactions:
    """The events of the users who stay, in other indices; both orders are that of the ids, so it holds."""
    events = events.take(place_U[events.user_idx] >= 0)
    return Interactions(
        place_U[events.user_idx],
        place_I[events.item_idx],
        n_users,
        n_items,
        events.weight,
        events.time,
        events.kinds,
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

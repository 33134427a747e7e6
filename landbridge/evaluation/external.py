"""Scores and lists that another program made, as something to evaluate beside our own models.

Letters: N listed items, U users, I items, B queries, S items that have a score of one user.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, unknown
from landbridge.core.types import AnyArray, Bool, Float32, Float64, Int32, Int64, Ragged
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.encoding import id_array
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.tables import ROLES, TableSource, is_path, read_table
from landbridge.data.queries import Queries
from landbridge.data.splitting.holdout import Holdout
from landbridge.data.vocabulary import Vocabulary

LIST_ROLES = {role: ROLES[role] for role in ("user", "item", "domain")} | {
    "score": ("score", "prediction", "rating"),
    "rank": ("rank", "position"),
}


@dataclass(frozen=True)
class ExternalMethod:
    """The name under which figures are shown."""

    name: str


@dataclass(frozen=True, eq=False)
class External(ABC):
    """What another program says of every user: every item can be ranked, on one scale for all domains."""

    history: MultiDomain
    method: ExternalMethod

    @abstractmethod
    def score(self, domain: str, queries: Queries) -> Float32:
        """A score of every item, (B, I)."""

    def list_scores(self, domain: str, queries: Queries) -> Float32:
        """The same, (B, I)."""
        return self.score(domain, queries)

    def unlisted(self, domain: str) -> Bool:
        """None, (I,)."""
        return np.zeros(self.history[domain].n_items, bool)


@dataclass(frozen=True, eq=False)
class ExternalLists(External):
    """The items that another program scored for each user; all others stand behind them and tie.

    ``levels``: domain -> rows of items with whole weights above 0, (U,), which order all items of one user
    over all domains: the numbers of distinct scores up to theirs.
    """

    levels: Mapping[str, Ragged]

    def score(self, domain: str, queries: Queries) -> Float32:
        """The levels, 0 where an item has none, (B, I)."""
        rows = self.levels[self.history.named(domain)].take(queries.user_idx)
        scores_BI = np.zeros((len(queries), self.history[domain].n_items), np.float32)
        scores_BI[rows.entry_rows, rows.columns] = rows.weights
        return scores_BI


@dataclass(frozen=True, eq=False)
class ExternalScores(External):
    """A score of every user and item. ``scores_UI``: domain -> float32 (U, I)."""

    scores_UI: Mapping[str, Float32]

    def score(self, domain: str, queries: Queries) -> Float32:
        """Rows of the scores, (B, I)."""
        return np.asarray(self.scores_UI[self.history.named(domain)][queries.user_idx])


def external(given: object, holdout: Holdout, *, name: str = "external") -> External:
    """What another program recommends, for :func:`evaluate` on the same ``holdout`` as our models.

    ``given``: a data frame or file with the columns user, item, domain (where there are several) and score
    (more is better) or rank (1 is best), raw ids, one row per item of a user's list or of all items; or
    domain -> array (U, I) of scores in the order of ``holdout.history``'s users and items. Items of a user
    that have no row stand behind those that have one and tie there; metrics are exact under ties.

    Whether the program knew the held-out events cannot be seen here: give it ``holdout.history`` alone.
    DataError for unknown ids or domains, a pair that is given twice, scores that are no finite numbers, and
    arrays of another shape.
    """
    method = ExternalMethod(name)
    if isinstance(given, Mapping):
        return ExternalScores(holdout.history, method, _score_arrays(given, holdout.history))
    return ExternalLists(holdout.history, method, _levels(given, holdout.history))


def _score_arrays(given: Mapping[str, npt.ArrayLike], history: MultiDomain) -> dict[str, Float32]:
    if set(given) != set(history.domain_names):
        raise DataError(f"Give the scores of each of the domains {', '.join(history.domain_names)}.")
    arrays = {}
    for name in history.domain_names:
        scores_UI = np.asarray(given[name])
        shape = history.n_users, history[name].n_items
        if scores_UI.shape != shape or scores_UI.dtype.kind not in "fiu":
            raise DataError(f"The scores of {name!r} must be numbers of shape {shape} (users, items).")
        with np.errstate(over="ignore"):
            arrays[name] = scores_UI.astype(np.float32, copy=False)
        if not np.isfinite(arrays[name]).all():
            raise DataError(f"The scores of {name!r} are not all finite numbers of 32 bits.")
    return arrays


def _levels(source: object, history: MultiDomain) -> dict[str, Ragged]:
    where = f"file {source}" if is_path(source) else "the table of lists"
    table, _ = read_table(TableSource(source, {}, tuple(LIST_ROLES), where, usual=LIST_ROLES))
    value_N = _values(table)
    domain_N = _domains(table, history)
    user_N = _known(table, "user", history.users)
    item_ids = id_array(table.ids("item"))
    item_N = np.zeros(len(table), np.int32)
    for number, name in enumerate(history.domain_names):
        item_N[domain_N == number] = history.items[name].index(item_ids[domain_N == number])
    _check(table, item_N < 0, "item", "is unknown in its domain")
    order_N = np.lexsort((item_N, domain_N, user_N))
    key_N = np.stack((user_N, domain_N, item_N))[:, order_N]
    twice_N = np.zeros(len(table), bool)
    twice_N[order_N[1:]] = (key_N[:, 1:] == key_N[:, :-1]).all(axis=0)
    _check(table, twice_N, "item", "is given twice to one user")
    level_N = levels_of(user_N, value_N)
    return {
        name: Ragged.from_index(user_N[here_N], item_N[here_N], history.n_users, level_N[here_N])
        for number, name in enumerate(history.domain_names)
        for here_N in (domain_N == number,)
    }


def levels_of(user_N: Int32, value_N: Float64) -> Float32:
    """How many distinct values of its user are at most each value, (N,): the same order, exact in float32."""
    order_N = np.lexsort((value_N, user_N))
    user_S, value_S = user_N[order_N], value_N[order_N]
    new_S = np.ones(len(order_N), bool)
    new_S[1:] = (user_S[1:] != user_S[:-1]) | (value_S[1:] != value_S[:-1])
    first_S = np.ones(len(order_N), bool)
    first_S[1:] = user_S[1:] != user_S[:-1]
    count_S = np.cumsum(new_S)
    level_N = np.empty(len(order_N), np.float32)
    level_N[order_N] = count_S - np.maximum.accumulate(np.where(first_S, count_S - 1, 0))
    return level_N


def _values(table: EventTable) -> Float64:
    """What orders the items, more is better, (N,)."""
    import polars as pl

    if ("score" in table) == ("rank" in table):
        raise DataError(f"Give {table.where} either a column score or a column rank.")
    role = "score" if "score" in table else "rank"
    number = table.frame[role].cast(pl.Float64, strict=False)
    _check(table, ~number.is_finite().fill_null(False).to_numpy(), role, "is no finite number")
    value_N: Float64 = number.to_numpy()
    return value_N if role == "score" else -value_N


def _domains(table: EventTable, history: MultiDomain) -> Int64:
    """The number of every row's domain, (N,)."""
    import polars as pl

    names = history.domain_names
    if "domain" not in table:
        if len(names) > 1:
            raise DataError(f"Name the domain of every row of {table.where} in a column domain.")
        return np.zeros(len(table), np.int64)
    texts = table.text("domain").fill_null("")
    if others := set(texts.unique()) - set(names):
        raise DataError(unknown("domain", min(others), names))
    number_of = {name: number for number, name in enumerate(names)}
    return texts.replace_strict(number_of, return_dtype=pl.Int64).to_numpy()


def _known(table: EventTable, role: str, vocabulary: Vocabulary) -> Int32:
    index_N = vocabulary.index(id_array(table.ids(role)))
    _check(table, index_N < 0, role, "is unknown")
    return index_N


def _check(table: EventTable, bad_N: Bool | AnyArray, role: str, fault: str) -> None:
    import polars as pl

    table.raise_on_bad_rows(pl.Series(bad_N), role, fault, "correct the row or leave it out")

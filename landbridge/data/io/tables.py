"""Files, frames and queries as checked polars tables with the columns of :data:`ROLES`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landbridge.core.errors import DataError, MissingExtraError, unknown
from landbridge.data.io import formats

if TYPE_CHECKING:
    import polars as pl

ROLES: Mapping[str, tuple[str, ...]] = {
    "user": ("user", "user_id", "userid", "uid", "reviewerid", "reviewer_id", "customer_id", "visitor_id"),
    "item": (
        "item",
        "item_id",
        "itemid",
        "iid",
        "parent_asin",
        "asin",
        "product_id",
        "movie_id",
        "movieid",
        "video_id",
        "sku",
    ),
    "domain": ("domain", "category", "catalogue", "catalog"),
    "time": ("timestamp", "time", "unixreviewtime", "ts", "date", "datetime"),
    "rating": ("rating", "overall", "stars", "score"),
    "weight": ("weight", "count", "strength"),
    "title": ("title", "item_title", "movie_title"),
}
EXTENSIONS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json", ".inter", ".item", ".link")
LATEST_SECOND = 100_000_000_000  # the year 5138: a larger number is milliseconds, not seconds


def read_frame(
    source: Any, columns: Mapping[str, str] | None, roles: Iterable[str], where: str
) -> pl.DataFrame:
    """``source`` (path or any data frame) with the wanted roles it has, under the roles' names."""
    import polars as pl

    with _as_data_error(where):
        lazy = _scan(Path(source), headless=not columns) if is_path(source) else _native(source, where)
        names = lazy.collect_schema().names()
        chosen = _choose(names, columns or {}, where)
        if formats.is_amazon_2023(names) and not columns:
            chosen.pop("title", None)  # the title of the review
        wanted = {role: name for role, name in chosen.items() if role in roles}
        picked = lazy.select(pl.col([name]).alias(role) for role, name in wanted.items())
        frame = picked.collect(engine="streaming")
        return formats.in_seconds(frame) if formats.is_amazon_2023(names) else frame


def raw_table(source: Any, where: str) -> pl.DataFrame:
    """``source`` (path or any data frame) with all its columns as they are named."""
    with _as_data_error(where):
        lazy = _scan(Path(source), headless=False) if is_path(source) else _native(source, where)
        return lazy.collect()


def read_sql(query: str, connection: Any) -> pl.DataFrame:
    """The rows of a database query as a frame for ``read``.

    ``connection``: an open DB-API, SQLAlchemy or DuckDB connection, or a URI; ``sqlite:///path`` needs
    no other package.
    """
    import sqlite3

    import polars as pl

    with _as_data_error("the query"):
        if not isinstance(connection, str):
            return _by_connection(query, connection)
        if connection.startswith("sqlite:///"):
            path = Path(connection.removeprefix("sqlite:///"))
            if not path.is_file():
                raise DataError(f"There is no database file {path}; check the URI {connection!r}.")
            opened = sqlite3.connect(path)
            try:
                return _by_connection(query, opened)
            finally:
                opened.close()
        try:
            return pl.read_database_uri(query, connection)
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"Reading {connection.split(':')[0]} by URI needs another package: {error}; "
                "or give an open connection."
            ) from error


def is_path(source: Any) -> bool:
    """Whether ``source`` names a file."""
    return isinstance(source, str | Path)


def parse_ids(frame: pl.DataFrame, role: str, where: str) -> pl.Series:
    """The id column as int64 or String. Text that is all canonical whole numbers becomes int64, so
    that ``17`` in a csv file and 17 in a parquet file are one id, while ``007`` stays text."""
    import polars as pl

    column = frame[role]
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if column.dtype.is_float():
        fraction = column.is_not_null() & (~column.is_finite() | (column != column.floor())).fill_null(False)
        raise_on_bad_rows(fraction, where, role, "is no whole number", "give whole numbers or text as ids")
    raise_on_bad_rows(column.is_null(), where, role, "is missing", "fill or remove it")
    if column.dtype == pl.String:
        raise_on_bad_rows(column == "", where, role, "is empty", "fill or remove it")
        return _whole_or_text(column)
    if not column.dtype.is_numeric() or column.dtype.is_decimal():
        raise DataError(
            f"Column {role!r} of {where} holds {column.dtype}; convert it to whole numbers or text."
        )
    whole = column.cast(pl.Int64, strict=False)
    raise_on_bad_rows(whole.is_null(), where, role, "does not fit in 64 bits", "give such ids as text")
    return whole


def parse_seconds(frame: pl.DataFrame, where: str) -> pl.Series | None:
    """The time column as int64 seconds; dates and ISO text are converted."""
    import polars as pl

    if "time" not in frame.columns:
        return None
    column = frame["time"]
    if column.dtype == pl.String:
        as_number = column.cast(pl.Float64, strict=False)
        with _as_data_error(f"column 'time' of {where}"):
            column = column.str.to_datetime(strict=False) if _all_null(as_number) else as_number
    if column.dtype.is_temporal() and column.dtype not in (pl.Time, pl.Duration):
        column = column.dt.epoch("s")
    if not column.dtype.is_numeric():
        raise DataError(f"Column 'time' of {where} holds {column.dtype}; give seconds, dates or ISO text.")
    if column.dtype.is_float():
        raise_on_bad_rows(column.is_nan().fill_null(False), where, "time", "is NaN", "fill or remove it")
        column = column.floor()
    raise_on_bad_rows(column.is_null(), where, "time", "is missing or no time", "fill it or remove the row")
    raise_on_bad_rows(column.abs() >= LATEST_SECOND, where, "time", "is no second of the next 3,000 years",
           "if these are milliseconds, divide by 1,000")  # fmt: skip
    return column.cast(pl.Int64)


def parse_numbers(frame: pl.DataFrame, role: str, where: str) -> pl.Series | None:
    """A rating or weight column as Float64, every value finite."""
    import polars as pl

    if role not in frame.columns:
        return None
    column = frame[role]
    if not (column.dtype.is_numeric() or column.dtype == pl.String or column.dtype == pl.Null):
        raise DataError(f"Column {role!r} of {where} holds {column.dtype}; give numbers.")
    number = column.cast(pl.Float64, strict=False)
    raise_on_bad_rows(
        ~number.is_finite().fill_null(False), where, role, "is missing or no number", "fill or remove it"
    )
    return number


def raise_on_bad_rows(bad_N: pl.Series, where: str, role: str, what: str, remedy: str) -> None:
    """A DataError naming the first row (counted from 1, header excluded) where ``bad_N`` is true."""
    if bad_N.any():
        row = int(bad_N.arg_max() or 0)
        raise DataError(f"Column {role!r} of {where} {what} in row {row + 1}; {remedy}.")


def _choose(names: list[str], columns: Mapping[str, str], where: str) -> dict[str, str]:
    for role in columns:
        if role not in ROLES:
            raise DataError(unknown("column role", role, ROLES))
    for name in columns.values():
        if name not in names:
            raise DataError(f"{where}: {unknown('column', name, names)}")
    lowered = {name.lower().split(":")[0]: name for name in reversed(names)}
    guessed = {
        role: next(lowered[name] for name in usual if name in lowered)
        for role, usual in ROLES.items()
        if any(name in lowered for name in usual)
    }
    taken = set(columns.values())
    return {role: name for role, name in guessed.items() if name not in taken} | dict(columns)


def _scan(path: Path, headless: bool) -> pl.LazyFrame:
    import polars as pl

    if not path.is_file():
        raise DataError(f"There is no file {path}; check the path.")
    packed = path.suffix.lower() == ".gz"
    kind = (Path(path.stem) if packed else path).suffix.lower()
    if kind not in EXTENSIONS:
        raise DataError(f"{path}: {unknown('file extension', kind, EXTENSIONS)}")
    content: Any = _unpacked(path) if packed else path
    if not (len(content) if packed else path.stat().st_size):
        raise DataError(f"File {path} is empty; give a file with a header and events.")
    if kind == ".parquet":
        return pl.scan_parquet(content, glob=False)
    if kind in (".jsonl", ".ndjson", ".json"):
        return pl.scan_ndjson(content, infer_schema_length=None)
    return _scan_text(content, kind, headless)


def _scan_text(content: Any, kind: str, headless: bool) -> pl.LazyFrame:
    import polars as pl

    quote = '"' if kind in (".csv", ".tsv") else None
    layout: dict[str, Any] = {"separator": "," if kind == ".csv" else "\t", "quote_char": quote}
    layout["infer_schema"] = False
    first = pl.read_csv(content, has_header=False, n_rows=1, **layout).row(0)
    names = formats.amazon_ratings_columns(first) if headless and kind == ".csv" else None
    if names:
        return pl.scan_csv(content, has_header=False, new_columns=list(names), glob=False, **layout)
    return pl.scan_csv(content, glob=False, **layout)


def _unpacked(path: Path) -> bytes:
    import gzip

    return gzip.decompress(path.read_bytes())


def _native(source: Any, where: str) -> pl.LazyFrame:
    import narwhals as nw

    try:
        frame = nw.from_native(source)
    except TypeError:
        raise DataError(
            f"Cannot read {where} of type {type(source).__name__}; give a path or a pandas, polars, "
            "Arrow or DuckDB frame."
        ) from None
    table: pl.DataFrame = frame.lazy().collect("polars").to_native()
    return table.lazy()


def _by_connection(query: str, connection: Any) -> pl.DataFrame:
    import polars as pl

    return pl.read_database(query, connection, infer_schema_length=None)


def _whole_or_text(column: pl.Series) -> pl.Series:
    import polars as pl

    if len(column) and column.head(1).cast(pl.Int64, strict=False).is_null().any():
        return column
    whole = column.cast(pl.Int64, strict=False)
    canonical = not whole.is_null().any() and bool((whole.cast(pl.String) == column).all())
    return whole if canonical else column


def _all_null(column: pl.Series) -> bool:
    return column.null_count() == len(column)


@contextmanager
def _as_data_error(where: str) -> Iterator[None]:
    """What the parsers say about broken input, as one sentence that names the file."""
    import sqlite3
    import zlib

    import polars as pl

    try:
        yield
    except (
        pl.exceptions.PolarsError,
        sqlite3.Error,
        OSError,
        EOFError,
        zlib.error,
        ValueError,
        TypeError,
        OverflowError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"Cannot read {where}: {reason.rstrip('.')}; repair it or check its format."
        ) from error

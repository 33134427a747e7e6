"""Files, data frames and database queries as polars tables with the columns of :data:`ROLES`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from landbridge.core.errors import DataError, MissingExtraError, unknown
from landbridge.core.text import is_unicode
from landbridge.data.io import formats
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.parsing import parsing_errors

if TYPE_CHECKING:
    import polars as pl

ROLES: Mapping[str, tuple[str, ...]] = {
    "user": ("user", "user_id", "userid", "uid", "reviewerid", "reviewer_id", "customer_id", "visitor_id"),
    "item": (
        "item", "item_id", "itemid", "iid", "parent_asin", "asin", "product_id", "movie_id", "movieid",
        "video_id", "sku",
    ),
    "domain": ("domain", "category", "catalogue", "catalog"),
    "time": ("timestamp", "time", "unixreviewtime", "ts", "date", "datetime"),
    "rating": ("rating", "overall", "stars", "score"),
    "weight": ("weight", "count", "strength"),
    "title": ("title", "item_title", "movie_title"),
    "kind": ("kind", "event_type", "event", "action", "behavior", "behaviour"),
}  # fmt: skip
"""Role -> usual column names, in the order of preference; case and RecBole's ``:type`` are ignored."""

IMPRESSION_ROLES: Mapping[str, tuple[str, ...]] = {
    **{role: ROLES[role] for role in ("user", "item", "domain")},
    "propensity": ("propensity", "probability", "pscore"),
    "reward": ("reward", "click", "clicked", "converted"),
}
"""The same of a log of what was shown."""


def read_table(
    source: object,
    columns: Mapping[str, str] | None,
    roles: Iterable[str],
    where: str,
    usual: Mapping[str, tuple[str, ...]] = ROLES,
) -> EventTable:
    """``source`` (path or any data frame) with those of ``roles`` that it has, under the roles' names.

    ``usual``: role -> usual column names, of all roles that ``columns`` may name.
    """
    import polars as pl

    with parsing_errors(where, _plain_file(source)):
        lazy = _scan(Path(source)) if is_path(source) else _native(source, where)
        names = lazy.collect_schema().names()
        chosen = _choose(names, columns or {}, where, usual)
        if formats.is_amazon_2023(names) and not columns:
            chosen.pop("title", None)  # the title of the review
        wanted = {role: name for role, name in chosen.items() if role in roles}
        picked = lazy.select(pl.col([name]).alias(role) for role, name in wanted.items())
        # only the needed columns, in chunks: review files may be larger than memory
        frame = picked.collect(engine="streaming")
        frame = formats.in_seconds(frame) if formats.is_amazon_2023(names) else frame
        return EventTable(frame, where)


def raw_table(source: object, where: str) -> pl.DataFrame:
    """``source`` (path or any data frame) with all its columns as they are named."""
    with parsing_errors(where, _plain_file(source)):
        lazy = _scan(Path(source)) if is_path(source) else _native(source, where)
        return lazy.collect()


def read_sql(query: str, connection: object) -> pl.DataFrame:
    """The rows of a database query as a frame for ``read``.

    ``connection``: an open DB-API, SQLAlchemy or DuckDB connection, or a URI; ``sqlite:///path`` needs
    no other package.
    """
    import sqlite3

    import polars as pl

    with parsing_errors("the query"):
        if not isinstance(connection, str):
            return _by_connection(query, connection)
        if connection.startswith("sqlite:///"):
            path = Path(connection.removeprefix("sqlite:///"))
            if not path.is_file():
                raise DataError(f"There is no database file {path}; check the URI {connection!r}.")
            # connect would create a missing file, hence the test above
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


def is_path(source: object) -> TypeGuard[str | Path]:
    """Whether ``source`` names a file."""
    return isinstance(source, str | Path)


def _plain_file(source: object) -> Path | None:
    """The file that a source names, unless it is packed or no file."""
    path = Path(source) if is_path(source) else None
    return path if path is not None and path.is_file() and path.suffix.lower() != ".gz" else None


def _choose(
    names: list[str], columns: Mapping[str, str], where: str, usual: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    for role in columns:
        if role not in usual:
            raise DataError(unknown("column role", role, usual))
    for name in columns.values():
        if name not in names:
            raise DataError(f"{where}: {unknown('column', name, names)}")
    # RecBole writes the type behind a colon, many files a blank behind the comma; reversed, so that of equal
    # names the first column wins
    lowered = {name.lower().split(":")[0].strip(): name for name in reversed(names)}
    guessed = {
        role: next(lowered[name] for name in known if name in lowered)
        for role, known in usual.items()
        if any(name in lowered for name in known)
    }
    taken = set(columns.values())
    return {role: name for role, name in guessed.items() if name not in taken} | dict(columns)


def _scan(path: Path) -> pl.LazyFrame:
    if not is_unicode(str(path)):
        raise DataError(f"The name of file {str(path)!r} is no UTF-8; rename it.")
    if path.is_dir():
        return formats.parts_of_folder(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}; check the path.")
    packed = path.suffix.lower() == ".gz"
    scan = formats.scanner((Path(path.stem) if packed else path).suffix.lower(), path)
    # polars scans no gzip, so the unpacked bytes are kept in memory
    content = _unpacked(path) if packed else path
    if not (len(content) if isinstance(content, bytes) else path.stat().st_size):
        raise DataError(f"File {path} is empty; give a file with a header and events.")
    return scan(content)


def _unpacked(path: Path) -> bytes:
    import gzip

    return gzip.decompress(path.read_bytes())


def _native(source: object, where: str) -> pl.LazyFrame:
    import narwhals as nw

    try:
        frame = nw.from_native(source)  # type: ignore[call-overload]  # checked by the call itself
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

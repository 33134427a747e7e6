"""Files, data frames and database queries as polars tables with the columns of :data:`ROLES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np

from landbridge.core.errors import DataError, MissingExtraError
from landbridge.core.text import is_unicode
from landbridge.core.types import Int64
from landbridge.data.io import formats
from landbridge.data.io.columns import choose, positions, time_names
from landbridge.data.io.event_table import EventTable
from landbridge.data.io.parsing import READ_AT_ONCE, parsing_errors
from landbridge.data.io.time_form import TimeForm
from landbridge.data.provenance import SkippedRow, TableOrigin
from landbridge.data.time_units import BEFORE_1990, UNITS

if TYPE_CHECKING:
    import polars as pl

Usual: TypeAlias = "Mapping[str, tuple[str, ...]]"  # role -> usual column names

ROLES: Usual = {
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
"""Role -> usual column names, in the order of preference; case, blanks, underscores and RecBole's ``:type``
are ignored. A time is also recognised by endings such as ``_at`` (:mod:`landbridge.data.io.columns`)."""

IMPRESSION_ROLES: Usual = {
    **{role: ROLES[role] for role in ("user", "item", "domain")},
    "propensity": ("propensity", "probability", "pscore"),
    "reward": ("reward", "click", "clicked", "converted"),
    "recommendation": ("recommendation_id",),
}
"""The same of a log of what was shown."""

SAMPLE = 100  # rows that show whether a column holds times
DATE = r"^\s*(\d{4}[/.-]\d{1,2}[/.-]\d{1,2}|\d{1,2}[/.-]\d{1,2}[/.-](\d{4}|\d{2}))([T\s].*)?$"
LAST_LIKELY = 4_102_444_800  # seconds, the year 2100


@dataclass(frozen=True)
class Rules:
    """How tables are read: whether ids are folded; whether bad rows are left out, or an error. ``scratch``: a
    folder for unpacked files; None: they are unpacked in memory."""

    fold: bool = False
    skip: bool = False
    scratch: Path | None = None


PLAIN = Rules()


@dataclass(frozen=True, eq=False)
class _Scan:
    """A table that is not read yet; with skipping, its rows' numbers, and those that no parser reads."""

    lazy: pl.LazyFrame
    row_N: Int64 | None = None
    skipped: tuple[SkippedRow, ...] | None = None


@dataclass(frozen=True, eq=False)
class TableSource:
    """A table to read: a path or any data frame, and those of its columns that have ``roles``.

    ``named``: role -> column, or its position. ``where``: its name in messages. ``usual``: role -> usual
    column names, of all roles.
    """

    source: object
    named: Mapping[str, str]
    roles: Sequence[str]
    where: str
    rules: Rules = PLAIN
    usual: Usual = field(default_factory=lambda: ROLES)


def read_table(table: TableSource) -> tuple[EventTable, TableOrigin]:
    """The table with the roles' names, and which columns these are."""
    with parsing_errors(table.where, plain_file(table.source)):
        scanned = scan_table(table)
        # only the needed columns, in chunks: review files may be larger than memory
        frame = scanned.lazy.collect(engine="streaming")
    return scanned.table(frame), scanned.origin(len(frame))


@dataclass(frozen=True, eq=False)
class ScannedTable:
    """A table that is not read yet: its rows under the roles' names, and which columns these are."""

    lazy: pl.LazyFrame
    where: str
    used: Mapping[str, str]
    unused: tuple[str, ...]
    time_like: tuple[str, ...]
    fold: bool
    row_N: Int64 | None
    skipped: tuple[SkippedRow, ...] | None

    def table(self, frame: pl.DataFrame) -> EventTable:
        """``frame``, which holds all rows, as a table."""
        return EventTable(frame, self.where, self.used, self.fold, self.row_N, self.skipped)

    def block(self, frame: pl.DataFrame, start: int, form: TimeForm | None) -> EventTable:
        """``frame``, which holds the rows after the first ``start``, as a table; ``form``: of all times."""
        row_B = np.arange(start + 1, start + 1 + len(frame))
        return EventTable(frame, self.where, self.used, self.fold, row_B, self.skipped, form)

    def origin(self, rows: int) -> TableOrigin:
        """Where the table comes from, and its columns; ``rows``: how many could be read."""
        total = rows + len(self.skipped or ())
        return TableOrigin(self.where, (), self.used, self.unused, self.time_like, total)


def scan_table(table: TableSource) -> ScannedTable:
    """What :func:`read_table` reads, before its rows are read."""
    named, roles, where, rules = table.named, table.roles, table.where, table.rules
    scan = _scan(table.source, named, where, rules, table.usual)
    names = scan.lazy.collect_schema().names()
    chosen = choose(names, named, table.usual, where)
    if formats.is_amazon_2023(names) and not named:
        chosen.pop("title", None)  # the title of the review
    wanted = {role: name for role, name in chosen.items() if role in roles}
    others = [name for name in names if name not in wanted.values()]
    likely = _likely_times(scan.lazy, others) if "time" in roles and "time" not in wanted else {}
    complete = [name for name in time_names(others) if likely.get(name)]
    if len(complete) == 1:
        wanted, likely = {**wanted, "time": complete[0]}, {}
    lazy = _picked(scan.lazy, wanted)
    lazy = formats.in_seconds(lazy) if formats.is_amazon_2023(names) else lazy
    unused = tuple(name for name in names if name not in wanted.values())
    return ScannedTable(lazy, where, wanted, unused, tuple(likely), rules.fold, scan.row_N, scan.skipped)


def _picked(lazy: pl.LazyFrame, wanted: Mapping[str, str]) -> pl.LazyFrame:
    import polars as pl

    # by place: polars reads the name * as all columns
    names = lazy.collect_schema().names()
    return lazy.select(pl.nth(names.index(name)).alias(role) for role, name in wanted.items())


def check_columns(origin: TableOrigin) -> None:
    """DataError for a table without users or items."""
    for role in ("user", "item"):
        if role not in origin.used:
            raise DataError(_lacks(role, origin.where, origin.unused))


def check_events(origin: TableOrigin, skipped: tuple[SkippedRow, ...] | None) -> None:
    """DataError for a table without users, items or any event that can be read."""
    check_columns(origin)
    if origin.rows == len(skipped or ()):
        if skipped:
            raise DataError(f"No row of {origin.where} can be read; the first: {skipped[0].sentence}.")
        raise DataError(f"There are no events in {origin.where}; give at least one row.")


def _lacks(role: str, where: str, names: Sequence[str]) -> str:
    """The sentence about a table without users or items."""
    if names and list(names) == [str(place + 1) for place in range(len(names))]:
        return (
            f"No {role} column in {where}: it has no header; name its {len(names)} columns by position, such "
            "as --column user=1,item=2."
        )
    usual = ", ".join(ROLES[role][:4])
    return (
        f"No {role} column in {where} (usual names: {usual}); name it with "
        f"columns={{'{role}': ...}} or --column {role}=NAME."
    )


def raw_table(source: object, where: str) -> pl.DataFrame:
    """``source`` (path or any data frame) with all its columns as they are named."""
    with parsing_errors(where, plain_file(source)):
        return _scan(source, {}, where).lazy.collect()


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


def plain_file(source: object) -> Path | None:
    """The file that a source names, unless it is packed or no file."""
    path = Path(source) if is_path(source) else None
    return path if path is not None and path.is_file() and path.suffix.lower() != ".gz" else None


def _likely_times(lazy: pl.LazyFrame, names: Sequence[str]) -> dict[str, bool]:
    """Those of the columns whose first cells are dates, or times since 1990 in seconds or a finer unit; and
    whether all of the cells are filled."""
    import polars as pl

    places = [lazy.collect_schema().names().index(name) for name in names]
    head = lazy.select(pl.nth(places)).head(SAMPLE).collect() if places else pl.DataFrame()
    filled = {name: head[name].drop_nulls() for name in names}
    return {
        name: len(cells) == len(head) for name, cells in filled.items() if len(cells) and _are_times(cells)
    }


def _are_times(cells: pl.Series) -> bool:
    import polars as pl

    if cells.dtype.is_temporal():
        return cells.dtype not in (pl.Time, pl.Duration)
    # a few odd cells do not change what a column is: they are refused, or left out, by row
    if cells.dtype == pl.String and _most(cells.str.contains(DATE)):
        return True
    if not (cells.dtype == pl.String or cells.dtype.is_numeric()):
        return False
    number = cells.cast(pl.Float64, strict=False).fill_null(0)
    # in another unit than seconds they are refused, with what to do
    likely = [number.is_between(BEFORE_1990 * per, LAST_LIKELY * per) for _, per in UNITS]
    return _most(reduce(or_, likely))


def _most(cells: pl.Series) -> bool:
    return 2 * int(cells.sum()) > len(cells)


def _scan(
    source: object, named: Mapping[str, str], where: str, rules: Rules = PLAIN, usual: Usual = ROLES
) -> _Scan:
    if not is_path(source):
        return _Scan(_native(source, where), skipped=() if rules.skip else None)
    parts = [_scan_file(path, named, where, rules, usual) for path in files_of(source)]
    return parts[0] if len(parts) == 1 else _joined(parts)


def files_of(source: str | Path) -> list[Path]:
    """The files that a path names: itself, the Parquet files of a folder, or those that a pattern such as
    ``events/*.csv`` matches, by name. DataError where there is none."""
    import glob

    path = Path(source)
    if not is_unicode(str(path)):
        raise DataError(f"The name of file {str(path)!r} is no UTF-8; rename it.")
    if path.is_dir():
        return formats.parts_of_folder(path)
    if path.is_file():
        return [path]
    matched = sorted(Path(name) for name in glob.glob(str(path), recursive=True)) if is_pattern(path) else []
    files = [file for file in matched if file.is_file()]
    if not files:
        raise DataError(f"There is no file {path}; check the path.")
    return files


def is_pattern(path: str | Path) -> bool:
    """Whether a path is a pattern such as ``events/*.csv``, and no file of that name."""
    import glob

    return glob.has_magic(str(path)) and not Path(path).exists()


def _scan_file(path: Path, named: Mapping[str, str], where: str, rules: Rules, usual: Usual) -> _Scan:
    packed = path.suffix.lower() == ".gz"
    form = formats.format_of((Path(path.stem) if packed else path).suffix.lower(), path)
    # polars scans no gzip
    content = formats.as_utf8(_unpacked(path, rules.scratch) if packed else path)
    if not (len(content) if isinstance(content, bytes) else content.stat().st_size):
        raise DataError(f"File {path} is empty; give a file with a header and events.")
    if not rules.skip or form.sieve is None:
        return _Scan(_table(form, content, named, usual), skipped=() if rules.skip else None)
    readable = form.sieve(content)
    lazy = _table(form, readable.content, named, usual)
    # a header is one more row of the file than of the table
    header = len(readable.place_N) - height(lazy)
    bad = [SkippedRow(where, place + 1 - header, reason, content) for place, reason, content in readable.bad]
    return _Scan(lazy, readable.place_N[header:] + 1 - header, tuple(bad))


def _table(
    form: formats.Format, content: Path | bytes, named: Mapping[str, str], usual: Usual
) -> pl.LazyFrame:
    """The table of a file; without a header where columns are named by positions that no column is called."""
    lazy = form.scan(content)
    names = lazy.collect_schema().names()
    by_position = positions(named) - set(names)
    return form.without_header(content) if by_position and not choose(names, {}, usual, "") else lazy


def _joined(parts: Sequence[_Scan]) -> _Scan:
    """Several files as one table, their rows counted through."""
    import polars as pl

    lazy = pl.concat([part.lazy for part in parts], how="diagonal_relaxed")
    if parts[0].skipped is None:
        return _Scan(lazy)
    sizes = [height(part.lazy) for part in parts]
    row_N: list[Int64] = []
    skipped: list[SkippedRow] = []
    before = 0
    for part, size in zip(parts, sizes, strict=True):
        numbers = np.arange(1, size + 1) if part.row_N is None else part.row_N
        row_N.append(numbers + before)
        skipped += [replace(row, row=row.row + before) for row in part.skipped or ()]
        before += size + len(part.skipped or ())
    return _Scan(lazy, np.concatenate(row_N), tuple(skipped))


def height(lazy: pl.LazyFrame) -> int:
    """How many rows there are."""
    import polars as pl

    return int(lazy.select(pl.len()).collect().item())


def _unpacked(path: Path, scratch: Path | None) -> Path | bytes:
    """The unpacked bytes, or a file of them in ``scratch``."""
    import gzip
    import shutil
    import tempfile

    if scratch is None:
        return gzip.decompress(path.read_bytes())
    with gzip.open(path) as packed, tempfile.NamedTemporaryFile(dir=scratch, delete=False) as unpacked:
        shutil.copyfileobj(packed, unpacked, READ_AT_ONCE)
    return Path(unpacked.name)


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

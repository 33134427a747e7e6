"""Odd input as strategies of Hypothesis: what files, settings, requests and folders of others may hold."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import polars as pl
from hypothesis import strategies as st

from landbridge.core.settings import Bounds, Setting
from landbridge.models import registry

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
PLACEHOLDERS = ("NaN", "nan", "null", "None", "NA", "N/A", "-", "0")
NUMBER_LIKE = ("007", "7", "+7", " 7", "7 ", "7.0", "1e3", "1_0", "-0", "٣", "9223372036854775808")
SEPARATORS = (",", ";", "\t", "|", "a,b", 'say "hi"', "'", "#1", "=1+1", "\\n", "a\nb", "a\r\nb", "\ufeffx")
TEXT_IDS = ANY_TEXT.filter(bool) | st.sampled_from([*PLACEHOLDERS, *NUMBER_LIKE, *SEPARATORS])
NAMES = TEXT_IDS | st.sampled_from(["a|text", "ends:a", "a=b", "../x", ".", "[b]", "</script>", "x" * 300])

WIDTHS = {
    **{f"Int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}  # dtype -> least and largest number

ROUNDED = 2**53  # whole numbers from here on are rounded in a column of floats
LARGEST = 2**63 - 1
MIDNIGHT = datetime(2020, 1, 1, tzinfo=UTC)
FINER_TIMES = tuple(1_700_000_000 * 10**digits for digits in (3, 6, 9))  # milli-, micro- and nanoseconds


@dataclass(frozen=True)
class Column:
    """Cells of a column, and what each means; None: it means nothing, and the table must be refused.

    ``typed``: only what keeps types carries it: a frame or Parquet.
    """

    cells: pl.Series
    meaning: list[Any]
    typed: bool = False


@st.composite
def id_columns(draw: st.DrawFn, size: int) -> Column:
    """Ids of every type, by the text that they are."""
    return draw(st.sampled_from([_whole, _floats, _texts, _categories, _no_ids]))(draw, size)


def _whole(draw: st.DrawFn, size: int) -> Column:
    dtype = draw(st.sampled_from(sorted(WIDTHS)))
    low, high = WIDTHS[dtype]
    numbers = _drawn(draw, st.sampled_from([low, high, 7]) | st.integers(low, high), size)
    meaning = [str(number) if number <= LARGEST else None for number in numbers]
    return Column(pl.Series(numbers, dtype=getattr(pl, dtype)), meaning, None in meaning)


def _floats(draw: st.DrawFn, size: int) -> Column:
    """Whole numbers in a column of floats, as pandas makes it where one is missing."""
    odd = st.sampled_from([0.5, float("nan"), float("inf"), float(ROUNDED), 1e300, None])
    numbers = _drawn(draw, st.integers(-(2**53) + 1, 2**53 - 1).map(float), size)
    if draw(st.booleans()):
        numbers[-1] = draw(odd)
    fine = [number is not None and abs(number) < ROUNDED and number == int(number) for number in numbers]
    meaning = [str(int(number)) if good else None for number, good in zip(numbers, fine, strict=True)]
    return Column(pl.Series(numbers, dtype=pl.Float64), meaning, True)


def _texts(draw: st.DrawFn, size: int) -> Column:
    texts = _drawn(draw, draw(st.sampled_from([TEXT_IDS, st.integers(-9, 10**20).map(str)])), size)
    if draw(st.integers(0, 9)) == 0:
        texts[-1] = draw(st.sampled_from(["", None]))
    return Column(pl.Series(texts, dtype=pl.String), [text or None for text in texts])


def _categories(draw: st.DrawFn, size: int) -> Column:
    texts = _drawn(draw, TEXT_IDS, size)
    return Column(pl.Series(texts, dtype=pl.Categorical), texts, True)


def _no_ids(draw: st.DrawFn, size: int) -> Column:
    """Types that are no ids."""
    value = draw(
        st.sampled_from([True, date(2020, 1, 1), Decimal("1.5"), b"x", ["a"], {"a": 1}, timedelta(1)])
    )
    return Column(pl.Series([value] * size), [None] * size, True)


@st.composite
def time_columns(draw: st.DrawFn, size: int) -> Column:
    """Times in every form, as seconds since 1970."""
    kinds = [_seconds, _fractions, _moments, _iso, _no_times, _other_units]
    return draw(st.sampled_from(kinds))(draw, size)


def _seconds(draw: st.DrawFn, size: int) -> Column:
    dtype = draw(st.sampled_from(["Int32", "UInt32", "Int64", "Float64", "String"]))
    low, high = WIDTHS.get(dtype, (-(10**11) + 1, 10**11 - 1))
    numbers = _drawn(draw, st.integers(max(low, -(10**11) + 1), min(high, 10**11 - 1)), size)
    cells = [str(number) for number in numbers] if dtype == "String" else numbers
    return Column(pl.Series(cells, dtype=getattr(pl, dtype)), [float(number) for number in numbers])


def _fractions(draw: st.DrawFn, size: int) -> Column:
    """Within one second, so that nothing but the fraction orders them."""
    numbers = [1_700_000_000 + part / 1000 for part in _drawn(draw, st.integers(0, 999), size)]
    return Column(pl.Series(numbers, dtype=pl.Float64), numbers)


def _moments(draw: st.DrawFn, size: int) -> Column:
    """Temporal columns of any unit."""
    unit, zone = draw(st.sampled_from(["ms", "us", "ns"])), draw(st.sampled_from([None, "UTC", "Asia/Tokyo"]))
    milliseconds = _drawn(draw, st.integers(-(10**12), 10**12), size)
    moments = pl.Series(
        [MIDNIGHT + timedelta(milliseconds=n) for n in milliseconds], dtype=pl.Datetime("us", "UTC")
    )
    moments = moments.dt.cast_time_unit(unit)
    moments = moments.dt.replace_time_zone(None) if zone is None else moments.dt.convert_time_zone(zone)
    return Column(moments, [MIDNIGHT.timestamp() + n / 1000 for n in milliseconds], True)


def _iso(draw: st.DrawFn, size: int) -> Column:
    """ISO text, with and without fractions and zones, all cells in one form."""
    form = draw(
        st.sampled_from(["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%SZ"])
    )
    moments = [
        MIDNIGHT + timedelta(milliseconds=n) for n in _drawn(draw, st.integers(-(10**12), 10**12), size)
    ]
    texts = [moment.strftime(form) for moment in moments]
    return Column(
        pl.Series(texts), [datetime.strptime(t, form).replace(tzinfo=UTC).timestamp() for t in texts]
    )


def _no_times(draw: st.DrawFn, size: int) -> Column:
    """NaT of NumPy, missing and other values."""
    value = draw(
        st.sampled_from(
            [
                -(2**63),
                float("nan"),
                float("inf"),
                None,
                "soon",
                "",
                "31/31/2020",
                True,
                b"x",
            ]
        )
    )
    return Column(pl.Series([value] * size), [None] * size, True)


def _other_units(draw: st.DrawFn, size: int) -> Column:
    """A time of a finer unit, in all cells or in one among seconds."""
    odd = draw(st.sampled_from(FINER_TIMES))
    cells = _drawn(draw, st.integers(0, 2_000_000_000) if draw(st.booleans()) else st.just(odd), size)
    cells[draw(st.integers(0, size - 1))] = odd
    return Column(pl.Series(cells, dtype=pl.Int64), [None if cell == odd else float(cell) for cell in cells])


@st.composite
def weight_columns(draw: st.DrawFn, size: int) -> Column:
    """Weights from 1e-30 to 1e30; zero, negative and infinite ones and NaN are refused."""
    exponents = _drawn(draw, st.floats(-30, 30), size)
    numbers = [10.0**exponent for exponent in exponents]
    if draw(st.integers(0, 4)) == 0:
        numbers[0] = draw(st.sampled_from([0.0, -1.0, float("nan"), float("inf"), 1e39, 1e-50]))
    meaning = [number if 1e-31 < number < 1e31 else None for number in numbers]
    return Column(pl.Series(numbers), meaning)


@dataclass(frozen=True)
class EventTable:
    """``frame``: columns user, item and perhaps time and weight. ``events``: (user, item, time, weight) by
    what the cells mean, None where one of them means nothing. ``carrier``: how the table is given."""

    frame: pl.DataFrame
    events: list[tuple[Any, ...]] | None
    carrier: str

    def source(self, folder: Path) -> Any:
        """The table as ``read`` takes it."""
        return CARRIERS[self.carrier](self.frame, folder / f"events.{self.carrier}")


@st.composite
def event_tables(draw: st.DrawFn) -> EventTable:
    """One to eight events with ids, times and weights of any kind."""
    size = draw(st.integers(1, 8))
    columns = {"user": draw(id_columns(size)), "item": draw(id_columns(size))}
    if draw(st.booleans()):
        columns["time"] = draw(time_columns(size))
    if draw(st.booleans()):
        columns["weight"] = draw(weight_columns(size))
    typed = any(column.typed for column in columns.values())
    carrier = draw(st.sampled_from(TYPED if typed else [*TYPED, *UNTYPED]))
    meanings = [columns[role].meaning if role in columns else ["-"] * size for role in ROLES]
    rows = list(zip(*meanings, strict=True))
    events = None if any(None in row for row in rows) else rows
    return EventTable(pl.DataFrame({role: column.cells for role, column in columns.items()}), events, carrier)


ROLES = ("user", "item", "time", "weight")


def _as_csv(frame: pl.DataFrame, path: Path) -> Path:
    """As Python's csv module writes it, with the line ends of Windows."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if ".tsv" in path.name else ",")
    writer.writerow(frame.columns)
    writer.writerows(frame.rows())
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def _as_polars_csv(frame: pl.DataFrame, path: Path) -> Path:
    path = path.with_suffix(".csv")
    frame.write_csv(path)
    return path


def _as_json_lines(frame: pl.DataFrame, path: Path) -> Path:
    lines = [json.dumps(row, ensure_ascii=False) for row in frame.to_dicts()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _as_parquet(frame: pl.DataFrame, path: Path) -> Path:
    frame.write_parquet(path)
    return path


CARRIERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "polars": lambda frame, _: frame,
    "pandas": lambda frame, _: frame.to_pandas(),
    "arrow": lambda frame, _: frame.to_arrow(),
    "parquet": _as_parquet,
    "csv": _as_csv,
    "tsv": _as_csv,
    "csv.gz": _as_csv,
    "polars-csv": _as_polars_csv,
    "jsonl": _as_json_lines,
}
TYPED, UNTYPED = ("polars", "pandas", "arrow", "parquet"), ("csv", "tsv", "csv.gz", "polars-csv", "jsonl")


def _drawn(draw: st.DrawFn, values: st.SearchStrategy[Any], size: int) -> list[Any]:
    return draw(st.lists(values, min_size=size, max_size=size))


ODD_VALUES: tuple[Any, ...] = (
    0, -1, 1, 2.5, -2.5, 1e30, 10**30, float("nan"), float("inf"), True, None, "", "text", ".5", "1e1", "0,5",
    "1e400", [], [1, 2], {}, {"a": 1}, b"x",
)  # fmt: skip


def setting_values(entry: Setting) -> st.SearchStrategy[Any]:
    """Values of a setting: in its range, at its ends, beyond them, and of wrong types."""
    low, high, above, below = (getattr(entry.bounds, end) for end in ("low", "high", "above", "below"))
    ends = [end for end in (low, high, above, below) if end is not None]
    beyond = [change(end) for end in ends for change in (float, int, lambda n: n - 1, lambda n: n + 1e-9)]
    return st.one_of(_inside(entry.hint, entry.bounds), st.sampled_from([*beyond, *ODD_VALUES]))


def _inside(hint: Any, bounds: Bounds) -> st.SearchStrategy[Any]:
    """Values that a setting takes; sizes stay small."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return st.none() | _inside(args[0], bounds)
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple:
        return st.lists(_inside(args[0], bounds), max_size=3)
    if origin is Mapping:
        return st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), _inside(args[1], bounds), max_size=3)
    if hint is bool:
        return st.booleans()
    if hint is int:
        least = int(bounds.low or 0)
        return st.integers(least, int(min(least + 4, bounds.high or least + 4)))
    if hint is float:
        ends = {"min_value": bounds.low, "max_value": bounds.high}
        return st.floats(**ends, allow_nan=False) | st.sampled_from([1e-30, 1e-3, 0.5, 3.0, 1e6])
    return ANY_TEXT


def mostly(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One value in eight is odd: with more of them hardly a whole request would be answered."""
    return st.integers(0, 7).flatmap(lambda number: odd if number == 7 else usual)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ODD_JSON = JSON_VALUES | st.sampled_from(
    [
        10**10,
        10**30,
        -1,
        0,
        2.5,
        True,
        False,
        "",
        "a\x00b",
        "\ud800",
        "x" * 600,
        [[[[[[[[[1]]]]]]]]],
        {"a": {"b": 1}},
    ]
)


@dataclass(frozen=True)
class Shop:
    """What a served model knows: domain -> item ids; user ids; column of the items' table -> its values."""

    items: dict[str, list[Any]]
    users: list[Any]
    columns: dict[str, list[Any]]
    rules: tuple[str, ...] = ()

    def requests(self, path: str) -> st.SearchStrategy[dict[str, Any]]:
        """Bodies of an endpoint, any key of which may be missing."""
        if path == "/v1/recommend/batch":
            bodies = self.requests("/v1/recommend").map(lambda body: {**body, "explain": False})
            return st.fixed_dictionaries(
                {"requests": mostly(st.lists(bodies, min_size=1, max_size=3), ODD_JSON)}
            )
        fields = {key: mostly(usual, ODD_JSON) for key, usual in self._fields(path).items()}
        needed = {
            key: fields.pop(key) for key in [*fields] if key in ("domain", "domains", "item", "q", "column")
        }
        return st.fixed_dictionaries(needed, optional=fields)

    def _fields(self, path: str) -> dict[str, st.SearchStrategy[Any]]:
        domain, user = st.sampled_from([*self.items]), st.sampled_from([*self.users, "unknown user", 10**6])
        item = st.sampled_from([item for items in self.items.values() for item in items])
        time = st.integers(0, 10**9) | st.sampled_from(FINER_TIMES)
        event = st.builds(dict, domain=domain, item=item) | st.builds(
            dict, domain=domain, item=item, time=time, id=st.text(min_size=1, max_size=3)
        )
        events, k = st.lists(event, max_size=4), st.integers(1, 30)
        some = st.dictionaries(domain, st.lists(item, max_size=20), max_size=2)
        value = st.sampled_from([value for values in self.columns.values() for value in values])
        where = st.dictionaries(
            st.sampled_from([*self.columns]), value | st.lists(value, max_size=3), max_size=2
        )
        where = where | st.sampled_from(self.rules) if self.rules else where
        flag = st.booleans()
        return {
            "/v1/recommend": {
                "domains": st.lists(domain, min_size=1, max_size=3), "user": user, "events": events, "k": k,
                "seen": flag, "allow": some, "deny": some, "where": where, "explain": flag,
            },
            "/v1/similar": {"domain": domain, "item": item, "k": k, "to": domain, "where": where},
            "/v1/explain": {"domain": domain, "item": item, "user": user, "events": events},
            "/v1/events": {"user": user, "events": st.lists(event, min_size=1, max_size=4)},
            "/v1/search": {"q": st.text(min_size=1, max_size=3) | item.map(str), "domain": domain, "k": k},
            "/v1/popular": {"domain": domain, "k": k},
            "/v1/values": {"column": st.sampled_from([*self.columns]), "q": value.map(str), "k": k},
        }[path]  # fmt: skip


Damage = Callable[[Path], None]


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Something that happens to one file of a folder: cut, changed, lost, replaced, or a changed manifest."""
    place, amount, byte = draw(st.integers(0, 99)), draw(st.floats(0, 1)), draw(st.integers(1, 255))
    kind = draw(st.sampled_from([_cut, _flipped, _lost, _swapped, _emptied, _longer, _entry, _entry_lost]))
    value = draw(ODD_JSON.filter(is_json))
    return lambda folder: kind(sorted(folder.iterdir()), place, amount, byte, value)


def is_json(value: Any) -> bool:
    """Whether any parser reads it."""
    try:
        json.dumps(value, allow_nan=False).encode()
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def _cut(files: list[Path], place: int, amount: float, *_: Any) -> None:
    content = (file := files[place % len(files)]).read_bytes()
    file.write_bytes(content[: int(amount * len(content))])


def _flipped(files: list[Path], place: int, amount: float, byte: int, _: Any) -> None:
    content = bytearray((file := files[place % len(files)]).read_bytes())
    if content:
        content[int(amount * (len(content) - 1))] ^= byte
    file.write_bytes(content)


def _lost(files: list[Path], place: int, *_: Any) -> None:
    files[place % len(files)].unlink()


def _swapped(files: list[Path], place: int, *_: Any) -> None:
    file, other = files[place % len(files)], files[(place + 1) % len(files)]
    file.write_bytes(other.read_bytes())


def _emptied(files: list[Path], place: int, *_: Any) -> None:
    """A folder in the place of a file."""
    (file := files[place % len(files)]).unlink()
    file.mkdir()


def _longer(files: list[Path], place: int, _: float, byte: int, __: Any) -> None:
    with files[place % len(files)].open("ab") as stream:
        stream.write(bytes([byte]))


def _entry(files: list[Path], place: int, amount: float, byte: int, value: Any) -> None:
    """Another value somewhere in the manifest, or that of another entry."""
    manifest = json.loads((file := next(file for file in files if file.suffix == ".json")).read_text())
    tables = [manifest, manifest["files"], *manifest["files"].values()]
    table = tables[place % len(tables)]
    keys = sorted(table)
    key, other = keys[byte % len(keys)], keys[(byte + 1) % len(keys)]
    table[key] = table[other] if amount < 0.3 else value
    if amount > 0.7 and key == "kind":
        table[key] = sorted(registry.KINDS)[byte % len(registry.KINDS)]
    file.write_text(json.dumps(manifest))


def _entry_lost(files: list[Path], place: int, _: float, byte: int, __: Any) -> None:
    manifest = json.loads((file := next(file for file in files if file.suffix == ".json")).read_text())
    tables = [manifest, manifest["files"], *manifest["files"].values()]
    table = tables[place % len(tables)]
    del table[sorted(table)[byte % len(table)]]
    file.write_text(json.dumps(manifest))


@dataclass(frozen=True)
class EventFile:
    """A file as a shop writes it: rows of user, item, time and a price, in a layout of its own.

    ``lines``: raw lines that stand before a row, by its place. ``names``: the columns of user, item and time.
    """

    rows: list[tuple[str, str, int, str]]
    separator: str
    encoding: str
    packed: bool
    header: tuple[str, ...]
    columns: dict[str, Any]
    suffix: str
    lines: tuple[tuple[int, str], ...] = ()

    @property
    def events(self) -> set[tuple[str, str, int]]:
        """(user, item, time) of the last event of each pair."""
        latest = {row[:2]: row[2] for row in sorted(self.rows, key=lambda row: row[2])}
        return {(*pair, time) for pair, time in latest.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns of user, item and time."""
        return self.header[:3] or ("1", "2", "3")

    def with_bad_rows(self, draw: Callable[[Any], Any]) -> tuple[EventFile, list[int]]:
        """With lines that cannot be read, and their numbers in the file."""
        mark = self.separator
        faults = [f"{mark}b{mark}1700000000{mark}", f"a{mark}b{mark}soon{mark}", "", f'a{mark}"b', mark * 7]
        # without a header a first row of text would be taken for one
        place = st.integers(0 if self.header else 1, len(self.rows))
        places = sorted(draw(st.lists(place, max_size=len(self.rows) // 2)))
        lines = tuple((place, draw(st.sampled_from(faults))) for place in places)
        return replace(self, lines=lines), [place + k + 1 for k, place in enumerate(places)]

    def write(self, folder: Path) -> Path:
        """The file."""
        text = io.StringIO()
        # csv writes separators of one character
        writer = csv.writer(text, delimiter="\x1f" if len(self.separator) > 1 else self.separator)
        if self.header:
            writer.writerow(self.header)
        for place in range(len(self.rows) + 1):
            for _, line in (line for line in self.lines if line[0] == place):
                text.write(f"{line}\r\n")
            if place < len(self.rows):
                writer.writerow(self.rows[place])
        content = text.getvalue().replace("\x1f", self.separator).encode(self.encoding)
        path = folder / f"events{self.suffix}{'.gz' if self.packed else ''}"
        path.write_bytes(gzip.compress(content) if self.packed else content)
        return path


@st.composite
def event_files(draw: st.DrawFn) -> EventFile:
    """Two to eight events in any layout, the columns found by usual names, by others, or by position."""
    separator = draw(st.sampled_from([",", ";", "\t", "|", "::"]))
    ids = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=5)
    # no file of "::" has quotation marks; and without a header, nothing but the rows shows the separator
    odd = r'[:"\s]' if separator == "::" else r"[,;|:]"
    ids = ids.map(lambda text: "x" + re.sub(odd, "", text))
    row = st.tuples(
        ids, ids, st.integers(1_500_000_000, 1_700_000_000), st.sampled_from(["1,5", "2.5", "", "x"])
    )
    names, columns = draw(
        st.sampled_from(
            [
                (("Customer ID", "sku", "purchased_at", "price"), {}),
                (("userId", "Product-Id", "orderDate", "price"), {}),
                (("who", "what", "when", "price"), {"user": "who", "item": "what", "time": "when"}),
                (("who", "what", "when", "price"), {"events": {"user": 1, "item": "2", "time": 3}}),
                ((), {"user": 1, "item": 2, "time": 3}),
                ((), {"user": "1", "events.item": 2, "time": "3"}),
            ]
        )
    )
    return EventFile(
        draw(st.lists(row, min_size=2, max_size=8)),
        separator,
        draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
        draw(st.booleans()),
        names,
        columns,
        draw(st.sampled_from([".csv", ".tsv", ".txt", ".dat"])),
    )


def spelled_ids() -> st.SearchStrategy[str]:
    """Ids of few letters in any case, some with blanks around them."""
    blank = st.sampled_from(["", " ", "\t", "\u00a0"])
    core = st.text("aAbBéÉ", min_size=1, max_size=2) | st.integers(0, 3).map(str)
    return st.tuples(blank, core, blank).map("".join)

"""Output of a verb: a table on the terminal, JSON lines, or a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from landbridge.core.errors import SettingsError, unknown

if TYPE_CHECKING:
    import polars as pl

    from landbridge.data.dataset import MultiDomain

# a title must not colour, move or clear a terminal
CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
PIPE_WIDTH = 200  # characters of a table that is not printed on a terminal


def answer(frame: pl.DataFrame, *, json: bool = False, out: Path | None = None) -> None:
    """Write ``frame`` to ``out`` (.csv, .parquet, .jsonl), or print it."""
    if out is not None:
        _to_file(frame, out)
    elif json:
        # JSON is UTF-8 on every terminal
        typer.echo(frame.write_ndjson().encode(), nl=False)
    else:
        table(frame)


def record(value: Mapping[str, object]) -> None:
    """Print one JSON object: several tables, each a list of rows, or facts."""
    import orjson
    import polars as pl

    plain = {key: each.to_dicts() if isinstance(each, pl.DataFrame) else each for key, each in value.items()}
    typer.echo(orjson.dumps(plain, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS))


def table(frame: pl.DataFrame) -> None:
    """Print a frame as a table; floats are rounded to four decimals."""
    from rich.console import Console
    from rich.table import Table

    # printed data is data: no title is read as markup or emoji
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, markup=False, emoji=False)
    frame, same = _narrowed(frame, console.width)
    shown = Table(caption=same or None, caption_justify="left")
    for name in frame.columns:
        # a long word, such as a path, is continued on the next line: cut off it would be lost
        shown.add_column(name, overflow="fold")
    for row in frame.iter_rows():
        shown.add_row(*(_cell(value) for value in row))
    console.print(shown)


def tables(titled: Mapping[str, pl.DataFrame]) -> None:
    """Print the tables of a study under their titles."""
    for title, frame in titled.items():
        typer.echo(f"{title} (* significant after Holm's correction)")
        table(frame)


def _narrowed(frame: pl.DataFrame, width: int) -> tuple[pl.DataFrame, str]:
    """Where a table is wider than the terminal: without its columns of one value, which the caption names.

    ``--json`` and ``--out`` have all columns.
    """
    widths = [max(len(name), *map(len, map(_cell, frame[name])), 0) for name in frame.columns]
    if frame.height < 2 or sum(widths) + 3 * len(widths) + 1 <= width:
        return frame, ""
    alike = [name for name in frame.columns if frame[name].n_unique() == 1]
    same = ", ".join(f"{name}: {_cell(frame[name][0])}" for name in alike)
    return frame.drop(alike), same


def warn_of_missing_test_events(run: Path) -> None:
    """One sentence on standard error where a run's model does not know the events that it was tested on."""
    from landbridge import store

    if store.lacks_test_events(run):
        sys.stderr.write(
            f"{run} was saved without its test events, so each user's last events are unknown to it. "
            "Fit it again with --deploy to serve them.\n"
        )


def say_seen(data: MultiDomain) -> None:
    """One sentence on standard error where pairs are known and not learned from."""
    pairs = sum(len(seen) for seen in data.seen.values())
    disliked = sum(int(seen.disliked_N.sum()) for seen in data.seen.values())
    if pairs:
        sys.stderr.write(
            f"{pairs:,} pairs of user and item are seen and not learned from, {disliked:,} of them disliked; "
            "no list holds them.\n"
        )


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value).translate(CONTROL)


def _to_file(frame: pl.DataFrame, out: Path) -> None:
    from landbridge.core.files import atomic_write

    writers: dict[str, Callable[[Path], object]] = {
        ".csv": frame.write_csv,
        ".parquet": frame.write_parquet,
        ".jsonl": frame.write_ndjson,
    }
    if out.suffix not in writers:
        raise SettingsError(unknown("kind of file", out.suffix, writers))
    with atomic_write(out) as temporary:
        writers[out.suffix](temporary)

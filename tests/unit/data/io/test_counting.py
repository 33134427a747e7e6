"""Counts of files are those of the data that a fit would read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from landbridge.core.errors import DataError
from landbridge.data.counts import Counts, RowLengths
from landbridge.data.io.counting import count_events
from landbridge.data.io.readers import read


def same(left: RowLengths, right: RowLengths) -> bool:
    pairs = ((left.length_K, right.length_K), (left.rows_K, right.rows_K))
    return left.n_rows == right.n_rows and all(np.array_equal(*pair) for pair in pairs)


def equal(left: Counts, right: Counts) -> bool:
    tables = [
        (left.joined, right.joined),
        *((left.domains[name], right.domains[name]) for name in right.domains),
    ]
    return set(left.domains) == set(right.domains) and all(
        same(mine.users, yours.users) and same(mine.items, yours.items) for mine, yours in tables
    )


def files(folder: Path) -> list[str]:
    """Two domains with repeated pairs, ids as text and as numbers; one as Parquet."""
    rng, paths = np.random.default_rng(3), []
    for name in ("books", "movies"):
        table = pl.DataFrame(
            {"buyer": rng.integers(0, 40, 300), "sku": rng.integers(0, 25, 300), "at": np.arange(300)}
        )
        paths.append(str(folder / f"{name}.{'csv' if name == 'books' else 'parquet'}"))
        (table.write_csv if name == "books" else table.write_parquet)(paths[-1])
    return paths


@pytest.mark.parametrize("users", ["shared", "local"])
def test_files_are_counted_as_they_are_read(users: str, tmp_path: Path) -> None:
    paths, columns = files(tmp_path), {"user": "buyer", "item": "sku"}
    counted = count_events(paths, users, columns)
    assert equal(counted, Counts.of(read(paths, users=users, columns=columns)))
    assert not counted.assumed


def test_one_table_of_several_domains(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("user,item,domain\nA ,1,x\na,1,y\na,2,y\nb,2,y\nb,2,y\n")
    assert equal(count_events(str(path)), Counts.of(read(str(path))))
    assert equal(count_events(str(path), fold_ids=True), Counts.of(read(str(path), fold_ids=True)))


def test_what_cannot_be_counted(tmp_path: Path) -> None:
    paths = files(tmp_path)
    with pytest.raises(DataError, match="Say which user ids of books, movies are the same users"):
        count_events(paths, None, {"user": "buyer", "item": "sku"})
    with pytest.raises(DataError, match="No user column in"):
        count_events(paths[0], None, {"item": "sku"})
    empty = tmp_path / "empty.csv"
    empty.write_text("user,item\n")
    with pytest.raises(DataError, match="no events"):
        count_events(str(empty))
